//! A disk of a node's own: a small ext4 image, mounted through a loop device, whose power can be cut.
//!
//! Killing a process takes nothing that it wrote: the operating system has it. To see what a *power loss* takes, the file
//! system itself is shut down, with the `EXT4_IOC_SHUTDOWN` call that exists for this purpose: from that moment every write
//! and every sync fails, nothing that lies in the page cache or in the journal's buffers reaches the image any more, and the
//! next mount finds what a disk would have had. That is harsher than what most disks do and milder than what some do: a
//! sector is never torn, and a disk that lies about its cache is not modelled.
//!
//! Needs root, loop devices, and the programs `mkfs.ext4`, `mount` and `umount`. [`Disk::self_test`] tells whether all that
//! works here, by trying; a machine where it does not is *not covered*, which is another thing than passed.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::janitor::{self, Charge};

/// How long a file system may be called busy after its server was killed.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(20);

/// The smallest image that `mkfs.ext4` gives a journal worth the name.
pub const DISK_BYTES_MIN: u64 = 32 << 20;

/// A mounted file system in an image file. Dropping it unmounts it, frees its loop device and removes the image.
///
/// * While `powered`, it is mounted and takes writes. After [`Disk::cut_power`] it is still mounted, and fails them.
pub struct Disk {
    image: PathBuf,
    mount: PathBuf,
    powered: bool,
    mounted: bool,
    keep_image: bool,
}

/// Why there is no disk.
#[derive(Debug)]
pub enum DiskError {
    /// This machine, or this user, cannot have one. Not a fault of anything.
    NotCovered(String),
    /// What works elsewhere on this machine failed here.
    Broken(String),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::NotCovered(why) => write!(f, "not covered here: {why}"),
            DiskError::Broken(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for DiskError {}

type Result<T> = std::result::Result<T, DiskError>;

impl Disk {
    /// Makes an image of this size and mounts it. Both the image's directory and the mount point's are made if they are not
    /// there. The image is sparse: it takes the room of what was written to it.
    pub fn create(image: &Path, mount: &Path, bytes: u64) -> Result<Disk> {
        assert!(bytes >= DISK_BYTES_MIN, "an ext4 of {bytes} bytes has no room for its journal");
        let broken = |doing: String| move |error: io::Error| DiskError::Broken(format!("cannot {doing}: {error}"));
        if let Some(parent) = image.parent() {
            fs::create_dir_all(parent).map_err(broken(format!("make {}", parent.display())))?;
        }
        fs::create_dir_all(mount).map_err(broken(format!("make {}", mount.display())))?;
        let made = File::create(image).and_then(|file| file.set_len(bytes));
        made.map_err(broken(format!("make {}", image.display())))?;
        let mut disk =
            Disk { image: image.into(), mount: mount.into(), powered: false, mounted: false, keep_image: false };
        // Nothing is left for later, and nothing reserved for root: a full disk is full for everybody.
        let options = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-J", "size=8"];
        run(Command::new("mkfs.ext4").args(options).arg(&disk.image))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// The image file.
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// Takes the power away from several disks at the same moment, as close together as threads can. What was not synced is
    /// lost; every later write and sync fails. The processes that use them go on, until they notice or are killed.
    ///
    /// A sync that is under way in this moment may be called done though nothing of it is on the disk: ext4 waits for the data, fails to
    /// note where they are, and does not tell (seen on Linux 6.18, in one of twenty tries with one writer). So nobody may
    /// believe such a sync: freeze the processes first ([`Server::freeze`](crate::Server::freeze)).
    pub fn cut_power<'a>(disks: impl IntoIterator<Item = &'a mut Disk>) -> Result<()> {
        let disks: Vec<&mut Disk> = disks.into_iter().collect();
        let mut cuts = Vec::new();
        for disk in disks {
            assert!(disk.powered, "{} has no power already", disk.mount.display());
            let root = File::open(&disk.mount);
            cuts.push((
                root.map_err(|e| DiskError::Broken(format!("cannot open {}: {e}", disk.mount.display())))?,
                disk,
            ));
        }
        std::thread::scope(|scope| {
            let cuts = cuts.into_iter().map(|(root, disk)| {
                scope.spawn(move || {
                    shut_down(&root).map_err(|errno| match errno {
                        rustix::io::Errno::NOTTY | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM => {
                            DiskError::NotCovered(format!("ext4 here cannot be shut down: {errno}"))
                        }
                        errno => DiskError::Broken(format!("cannot shut down {}: {errno}", disk.mount.display())),
                    })?;
                    disk.powered = false;
                    Ok(())
                })
            });
            let cuts: Vec<_> = cuts.collect();
            cuts.into_iter().try_for_each(|cut| cut.join().expect("a system call does not panic"))
        })
    }

    /// Gives it power again: unmounts, and mounts what the image has, which replays the journal. Nobody may use it meanwhile.
    pub fn restore_power(&mut self) -> Result<()> {
        assert!(!self.powered, "{} has power", self.mount.display());
        self.unmount()?;
        self.mount()
    }

    /// Whether it has power.
    pub fn is_powered(&self) -> bool {
        self.powered
    }

    /// Leaves the image when this is dropped, for whoever looks into what happened.
    pub fn keep_image(&mut self) {
        self.keep_image = true;
    }

    /// Tries in `dir` whether power losses work here: synced bytes must survive one, and bytes that were only written must
    /// be gone. A test of the means, so that a round never passes because the power stayed on.
    pub fn self_test(dir: &Path) -> Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Err(DiskError::NotCovered("only root can mount a disk".into()));
        }
        let not_covered = |error| DiskError::NotCovered(format!("no disk can be made here: {error}"));
        let mut disk = Disk::create(&dir.join("self-test.img"), &dir.join("self-test"), DISK_BYTES_MIN)
            .map_err(|error| not_covered(error.to_string()))?;
        let (synced, unsynced) = (disk.path().join("synced"), disk.path().join("unsynced"));
        let prepare = || -> io::Result<()> {
            let mut file = File::create(&synced)?;
            file.write_all(&[b's'; 5000])?;
            file.sync_all()?;
            File::open(disk.mount.as_path())?.sync_all()?;
            file.write_all(&[b'u'; 5000])?; // to the same file
            File::create(&unsynced)?.write_all(&[b'u'; 5000]) // and to another
        };
        prepare().map_err(|error| not_covered(error.to_string()))?;
        Disk::cut_power([&mut disk])?;
        if File::options()
            .append(true)
            .open(&synced)
            .and_then(|mut file| {
                file.write_all(b"x")?;
                file.sync_all()
            })
            .is_ok()
        {
            return Err(DiskError::NotCovered("a disk that was shut down still takes synced writes".into()));
        }
        disk.restore_power()?;
        let found =
            fs::read(&synced).map_err(|error| DiskError::NotCovered(format!("synced bytes are gone: {error}")))?;
        if found != [b's'; 5000] {
            return Err(DiskError::NotCovered(format!(
                "after a power loss a file of 5000 synced bytes has {}",
                found.len()
            )));
        }
        if fs::metadata(&unsynced).is_ok_and(|unsynced| unsynced.len() > 0) {
            return Err(DiskError::NotCovered("bytes that were never synced survived a power loss".into()));
        }
        Ok(())
    }

    fn mount(&mut self) -> Result<()> {
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&self.image).arg(&self.mount))?;
        janitor::watch(Charge::Mount(&self.mount));
        (self.mounted, self.powered) = (true, true);
        Ok(())
    }

    fn unmount(&mut self) -> Result<()> {
        let begun = Instant::now();
        while let Err(error) = run(Command::new("umount").arg(&self.mount)) {
            if begun.elapsed() > UNMOUNT_PATIENCE {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        janitor::forget(Charge::Mount(&self.mount));
        (self.mounted, self.powered) = (false, false);
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = self.unmount()
        {
            eprintln!("{error}"); // the janitor tries once more
        }
        if !self.keep_image {
            let _ = fs::remove_file(&self.image); // it may never have been made
        }
    }
}

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: at once, without flushing the journal.
#[allow(unsafe_code, reason = "this system call has no safe interface in any crate that we know")]
fn shut_down(root: &File) -> rustix::io::Result<()> {
    use rustix::ioctl::{Setter, ioctl, opcode};
    const SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
    const NO_LOG_FLUSH: u32 = 2;
    // SAFETY: the call takes a pointer to a u32 with flags, and only reads it: `ext4_ioctl_shutdown` in fs/ext4/ioctl.c.
    unsafe { ioctl(root, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) }
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => DiskError::NotCovered(format!("there is no `{program}` here; install it")),
        _ => DiskError::Broken(format!("cannot run {program}: {error}")),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(DiskError::Broken(format!("{program} failed ({}): {}", output.status, said.trim())));
    }
    Ok(())
}
