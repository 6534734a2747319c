//! The binary `ringfence`.

#[cfg(feature = "planted-bugs")]
compile_error!("`ringfence` never has planted bugs: ask for `--bin ringfence-planted` alone");

fn main() -> std::process::ExitCode {
    ringfence_server::program::main()
}
