//! What a build needs beyond Rust and git, because RocksDB is C++ and its bindings are made from its headers:
//! a C and a C++20 compiler, and libclang with its own headers. `make`, `cmake` and `protoc` are not needed.
//!
//! `cargo xtask bench --peer etcd` needs `protoc` too, because the crate `etcd-client` does.
//!
//! On Debian and Ubuntu, as root, what is missing is installed. Elsewhere we say what to type and stop: a build task should
//! not ask for anybody's password.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Context, Outcome, fail};
use crate::say;

/// Checks, installs what is missing if it can, and checks again.
pub(crate) fn ensure() -> Outcome {
    say::step("checking what the build needs");
    let missing = missing();
    if missing.is_empty() {
        say::note("a C compiler, a C++20 compiler and libclang are here");
        return Ok(());
    }
    install(&missing, remedy(), &["libclang-dev", "g++"])?;
    still_missing(self::missing())
}

/// Checks for `protoc` and the `.proto` files that come with it, and installs them if it can.
pub(crate) fn ensure_protoc() -> Outcome {
    say::step("checking what the peer's client needs to build");
    let missing = missing_protoc();
    if missing.is_empty() {
        say::note("protoc is here");
        return Ok(());
    }
    let remedy = if on_path("apt-get") {
        "sudo apt-get update && sudo apt-get install --yes protobuf-compiler libprotobuf-dev"
    } else if on_path("dnf") {
        "sudo dnf install --assumeyes protobuf-compiler protobuf-devel"
    } else if on_path("brew") {
        "brew install protobuf"
    } else {
        "(your package manager's names for) protoc and its .proto files, or set PROTOC and PROTOC_INCLUDE"
    };
    install(&missing, remedy, &["protobuf-compiler", "libprotobuf-dev"])?;
    still_missing(missing_protoc())
}

/// Installs Debian packages where that is ours to do, or says what to type.
fn install(missing: &[&str], remedy: &str, packages: &[&str]) -> Outcome {
    for what in missing {
        say::note(format!("missing: {what}"));
    }
    if !on_path("apt-get") || !is_root() {
        return fail(format!("install what is missing, then run this again:\n\n    {remedy}\n"));
    }
    say::note(format!("installing with apt-get: {}", packages.join(", ")));
    apt_get(&["update", "--quiet"])?;
    apt_get(&[&["install", "--yes", "--quiet", "--no-install-recommends"], packages].concat())
}

fn still_missing(missing: Vec<&str>) -> Outcome {
    if missing.is_empty() {
        Ok(())
    } else {
        fail(format!("still missing after the installation: {}", missing.join("; ")))
    }
}

fn missing_protoc() -> Vec<&'static str> {
    let mut missing = Vec::new();
    let protoc = std::env::var_os("PROTOC").map(PathBuf::from).or_else(|| find("protoc"));
    let Some(protoc) = protoc.filter(|protoc| protoc.is_file()) else {
        missing.push("protoc (or set PROTOC)");
        return missing;
    };
    // protoc looks beside itself.
    let beside = std::fs::canonicalize(&protoc).ok().and_then(|path| Some(path.parent()?.parent()?.join("include")));
    let include = std::env::var_os("PROTOC_INCLUDE").map(PathBuf::from).or(beside);
    if !include.is_some_and(|include| include.join("google/protobuf/descriptor.proto").is_file()) {
        missing.push(
            "the .proto files of protoc itself, such as google/protobuf/descriptor.proto (or set PROTOC_INCLUDE)",
        );
    }
    missing
}

/// Runs apt-get with its output shown. It must not stop to ask anything.
pub(crate) fn apt_get(args: &[&str]) -> Outcome {
    let line = format!("apt-get {}", args.join(" "));
    say::note(format!("$ {line}"));
    let status =
        Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).status();
    match status.context(format!("cannot run `{line}`"))? {
        status if status.success() => Ok(()),
        status => fail(format!("`{line}` failed ({status}); its own output above says why")),
    }
}

/// Whether we may install packages.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").stderr(Stdio::null()).output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// Whether a program can be found.
pub(crate) fn on_path(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file())
}

fn missing() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if !compiles(&compiler("CC", "cc"), "c", &[]) {
        missing.push("a C compiler that works (`cc`, or what $CC names)");
    }
    if !compiles(&compiler("CXX", "c++"), "c++", &["-std=c++20"]) {
        missing.push("a C++ compiler that knows C++20 (`c++`, or what $CXX names)");
    }
    if std::env::var_os("LIBCLANG_PATH").is_none() {
        let dirs = library_dirs(Path::new("/"));
        if !dirs.iter().any(|dir| has_libclang(dir)) {
            missing.push("libclang (or set LIBCLANG_PATH to the directory it is in)");
        } else if cfg!(target_os = "linux") && !dirs.iter().any(|dir| has_clang_headers(dir)) {
            missing.push("libclang's own headers, such as stddef.h");
        }
    }
    missing
}

/// The command for this machine's package manager.
fn remedy() -> &'static str {
    if on_path("apt-get") {
        "sudo apt-get update && sudo apt-get install --yes libclang-dev g++"
    } else if on_path("dnf") {
        "sudo dnf install --assumeyes clang-devel gcc-c++"
    } else if on_path("brew") {
        "xcode-select --install; brew install llvm && export LIBCLANG_PATH=\"$(brew --prefix llvm)/lib\""
    } else {
        "(your package manager's names for) a C++20 compiler, libclang, libclang's headers"
    }
}

/// The compiler that the `cc` crate will take.
fn compiler(variable: &str, default: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| default.into())
}

/// Whether a compiler takes a program. Asking for its version is not enough: an old one has one too.
fn compiles(compiler: &str, language: &str, flags: &[&str]) -> bool {
    let mut words = compiler.split_whitespace();
    let Some(program) = words.next() else { return false };
    let mut command = Command::new(program);
    command.args(words).args(flags).args(["-x", language, "-fsyntax-only", "-"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = child else { return false };
    let standard_library = if language == "c" { "stddef.h" } else { "vector" };
    let program = format!("#include <{standard_library}>\nint main() {{ return 0; }}\n");
    let written = child.stdin.take().expect("stdin is piped").write_all(program.as_bytes());
    child.wait().is_ok_and(|status| status.success()) && written.is_ok()
}

/// Directories in which bindgen looks for libclang, below a file system's root.
fn library_dirs(root: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = [
        "usr/lib",
        "usr/lib64",
        "usr/local/lib",
        "lib64",
        "opt/homebrew/opt/llvm/lib",
        "usr/local/opt/llvm/lib",
        "Library/Developer/CommandLineTools/usr/lib",
        "Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib",
    ]
    .iter()
    .map(|dir| root.join(dir))
    .collect();
    // Debian: /usr/lib/llvm-14/lib and /usr/lib/x86_64-linux-gnu. Fedora: /usr/lib64/llvm/lib64. FreeBSD: /usr/local/llvm14/lib.
    for parent in ["usr/lib", "usr/lib64", "usr/local"] {
        for child in children(&root.join(parent)) {
            let name = child.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("llvm") {
                dirs.extend([child.join("lib"), child.join("lib64")]);
            } else if name.contains("-linux-") {
                dirs.push(child);
            }
        }
    }
    dirs
}

fn has_libclang(dir: &Path) -> bool {
    children(dir).iter().any(|file| is_libclang(file.file_name().unwrap_or_default()))
}

/// `libclang.so`, `libclang-14.so.1`, `libclang.so.14.0.6`, `libclang.dylib`; not `libclang-cpp.so` or `libclang_rt.asan.so`.
fn is_libclang(file: &OsStr) -> bool {
    let file = file.to_string_lossy();
    let Some(rest) = file.strip_prefix("libclang") else { return false };
    let rest = match rest.strip_prefix('-') {
        Some(version) => version.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').to_string(),
        None => rest.to_string(),
    };
    // A dot before the suffix may have gone with the version.
    let rest = rest.trim_start_matches('.');
    rest == "so" || rest.starts_with("so.") || rest == "dylib"
}

/// Debian, for one, can have libclang without the headers that every C file needs: `lib/clang/14/include/stddef.h`.
fn has_clang_headers(dir: &Path) -> bool {
    children(&dir.join("clang")).iter().any(|version| version.join("include/stddef.h").is_file())
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let mut children: Vec<PathBuf> = dir.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    children.sort();
    children
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_libclang_from_its_relatives() {
        for file in [
            "libclang.so",
            "libclang.so.1",
            "libclang-14.so",
            "libclang-14.so.1",
            "libclang-14.0.6.so",
            "libclang.dylib",
        ] {
            assert!(is_libclang(OsStr::new(file)), "{file}");
        }
        for file in
            ["libclang-cpp.so", "libclang-cpp.so.14", "libclang_rt.asan.so", "libclang.a", "libclangAST.so", "clang.so"]
        {
            assert!(!is_libclang(OsStr::new(file)), "{file}");
        }
    }

    /// A fresh Debian has neither; some have the library alone, and then the build fails much later, at `stddef.h`.
    #[test]
    fn a_library_without_headers_is_noticed() {
        let root = std::env::temp_dir().join(format!("xtask-prerequisites-{}", std::process::id()));
        let lib = root.join("usr/lib/llvm-14/lib");
        let found = |check: fn(&Path) -> bool| library_dirs(&root).iter().any(|dir| check(dir));
        assert!(!found(has_libclang) && !found(has_clang_headers));

        std::fs::create_dir_all(&lib).unwrap();
        std::fs::write(lib.join("libclang-14.so.1"), "").unwrap();
        assert!(found(has_libclang) && !found(has_clang_headers));

        std::fs::create_dir_all(lib.join("clang/14.0.6/include")).unwrap();
        std::fs::write(lib.join("clang/14.0.6/include/stddef.h"), "").unwrap();
        assert!(found(has_libclang) && found(has_clang_headers));
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_compiler_that_is_not_there_is_missing() {
        assert!(!compiles("no-such-compiler", "c", &[]));
        assert!(!compiles("", "c", &[]));
    }
}
