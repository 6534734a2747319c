//! Libraries of ours that a node is started with (`LD_PRELOAD`), so that calls to the C library meet our weather. The
//! sources stand beside this file and are compiled when they are needed: the compiler is there wherever RocksDB was
//! built.
//!
//! A library is told what to do, and tells what it did, by a *page*: a small file that it has mapped, of numbers of
//! eight bytes. While its first number is 0 it does nothing, and a call costs one look at it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::trouble::Trouble;

/// Numbers of a page. The page of any library is smaller.
const PAGE_BYTES: usize = 256;

/// Compiles a library. Without a compiler the fault is not covered here.
pub(super) fn library(dir: &Path, name: &str, source: &str) -> Result<PathBuf, Trouble> {
    compile(dir, &format!("lib{name}.so"), source, &["-shared", "-fPIC"])
}

/// Compiles a program.
pub(super) fn program(dir: &Path, name: &str, source: &str) -> Result<PathBuf, Trouble> {
    compile(dir, name, source, &[])
}

fn compile(dir: &Path, name: &str, source: &str, kind: &[&str]) -> Result<PathBuf, Trouble> {
    let (compiled, text) = (dir.join(name), dir.join(format!("{name}.c")));
    let written = fs::create_dir_all(dir).and_then(|()| fs::write(&text, source));
    written.map_err(|error| Trouble::harness(format!("cannot write to {}", dir.display()), error))?;
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-pthread", "-w"]).args(kind);
    cc.arg("-o").arg(&compiled).arg(&text).arg("-ldl").stdin(Stdio::null());
    let output = cc.output().map_err(|error| Trouble::NotCovered(format!("there is no C compiler `cc`: {error}")))?;
    match output.status.success() {
        true => Ok(compiled),
        false => Err(Trouble::NotCovered(format!(
            "{name} cannot be compiled here: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

/// The numbers that a library and we share. The system keeps a mapped file and one that is read and written in step.
#[derive(Debug)]
pub(super) struct Page {
    file: File,
    path: PathBuf,
}

impl Page {
    /// All zero.
    pub(super) fn new(path: &Path) -> Result<Page, Trouble> {
        let make = || {
            let mut options = File::options();
            let file = options.read(true).write(true).create(true).truncate(true).open(path)?;
            file.write_all_at(&[0; PAGE_BYTES], 0)?;
            Ok(file)
        };
        let file = make().map_err(|error: std::io::Error| broken(path, &error))?;
        Ok(Page { file, path: path.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn get(&self, number: usize) -> Result<i64, Trouble> {
        let mut bytes = [0; 8];
        let read = self.file.read_exact_at(&mut bytes, number as u64 * 8);
        read.map_err(|error| broken(&self.path, &error))?;
        Ok(i64::from_ne_bytes(bytes))
    }

    pub(super) fn set(&self, number: usize, value: i64) -> Result<(), Trouble> {
        let written = self.file.write_all_at(&value.to_ne_bytes(), number as u64 * 8);
        written.map_err(|error| broken(&self.path, &error))
    }
}

fn broken(path: &Path, error: &std::io::Error) -> Trouble {
    Trouble::harness(format!("the page {}", path.display()), error)
}

/// Since the system was started: the clock by which a library knows when to end.
pub(super) fn uptime() -> Result<Duration, Trouble> {
    let text = fs::read_to_string("/proc/uptime").map_err(|error| Trouble::harness("/proc/uptime", error))?;
    let seconds = text.split(' ').next().and_then(|seconds| seconds.parse::<f64>().ok());
    seconds.map(Duration::from_secs_f64).ok_or_else(|| Trouble::Harness(format!("/proc/uptime says {text:?}")))
}
