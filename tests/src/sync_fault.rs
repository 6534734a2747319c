//! Syncs that fail, hang, or are never answered, in a real process: see `sync_fault.c`, which is compiled when a test needs it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Cluster, eventually, temporary_directory};

/// What happens to one sync. All later ones are well again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers EIO.
    Fails,
    /// The process is killed in it.
    Kills,
    /// It takes until the order is withdrawn.
    Hangs,
}

/// Gives orders to the servers that are started with its environment. One order at a time.
pub struct SyncFaults {
    dir: PathBuf,
    library: PathBuf,
}

impl SyncFaults {
    /// Compiles the library and prepares the directory, which is made.
    pub fn new(dir: &Path) -> SyncFaults {
        fs::create_dir_all(dir).expect("the directory can be made");
        let (source, library) = (dir.join("sync_fault.c"), dir.join("libsync_fault.so"));
        fs::write(&source, include_str!("sync_fault.c")).expect("the source can be written");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let compiled = compile.status().expect("there is a C compiler: RocksDB was built with it");
        assert!(compiled.success(), "the library is not compiled: {compiled}");
        SyncFaults { dir: dir.to_owned(), library }
    }

    /// A cluster that takes orders, started, with further arguments to `ringfence start`.
    pub async fn start_cluster(nodes: u64, extra: &[&str]) -> (Cluster, SyncFaults) {
        let mut cluster = Cluster::prepare(temporary_directory(), nodes, extra);
        let faults = SyncFaults::new(&cluster.path("faults"));
        cluster.environment(faults.environment());
        cluster.start_all().await;
        (cluster, faults)
    }

    /// What a server must be started with.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let variable = |name: &str, path: &Path| (name.into(), path.into());
        vec![variable("LD_PRELOAD", &self.library), variable("RINGFENCE_SYNC_FAULTS", &self.dir)]
    }

    /// The next sync of a file whose path holds all these words, or is `=PATH`, meets this fault.
    pub fn order(&self, fault: Fault, words: &[&str]) {
        self.withdraw();
        let fault = match fault {
            Fault::Fails => "fail",
            Fault::Kills => "kill",
            Fault::Hangs => "hang",
        };
        let new = self.dir.join("order.new");
        fs::write(&new, format!("{fault} {}\n", words.join(" "))).expect("an order can be written");
        fs::rename(new, self.dir.join("order")).expect("an order can be given");
    }

    /// Waits until the order has been carried out, and tells on which file.
    pub async fn bitten(&self) -> PathBuf {
        eventually("a sync met the fault", async || self.bite()).await
    }

    /// On which file the order was carried out, if it was.
    pub fn bite(&self) -> Option<PathBuf> {
        let text = fs::read_to_string(self.dir.join("bite")).ok()?;
        text.lines().nth(1).map(PathBuf::from)
    }

    /// All is well from now on; what hangs goes on.
    pub fn withdraw(&self) {
        let _ = fs::remove_file(self.dir.join("order")); // it may have been carried out
        let _ = fs::remove_file(self.dir.join("bite")); // or not
    }
}
