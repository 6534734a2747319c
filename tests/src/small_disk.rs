//! A disk of a few megabytes, in memory, that can be filled up. Only root can have one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A mounted `tmpfs` of this size. Unmounted when dropped.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one at `path`, which is made if it is not there. `Err` says why there cannot be one here.
    pub fn mount(path: &Path, bytes: u64) -> Result<SmallDisk, String> {
        fs::create_dir_all(path).map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
        let options = std::ffi::CString::new(format!("size={bytes}")).expect("a number has no zero byte");
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), options.as_c_str())
            .map_err(|error| format!("a tmpfs cannot be mounted: {error}; that takes root"))?;
        Ok(SmallDisk { path: path.to_owned() })
    }

    /// Bytes that are left.
    pub fn available(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.path).expect("it is mounted");
        found.f_bavail * found.f_frsize
    }

    /// Writes a file that leaves only so much, as another program might.
    pub fn fill(&self, leave: u64) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).expect("it can be opened");
        let block = vec![0xbb; 64 << 10];
        loop {
            let room = self.available().saturating_sub(leave).min(block.len() as u64) as usize;
            match ballast.write(&block[..room]) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return,
                Err(error) => panic!("the disk cannot be filled: {error}"),
            }
        }
    }

    /// Takes that file away.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("it was filled before");
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Servers that were just killed may hold files for a moment more.
        if let Err(error) = unmount(&self.path, UnmountFlags::DETACH) {
            eprintln!("{} is still mounted: {error}", self.path.display());
        }
    }
}
