//! The harness of the whole-cluster tests: real `ringfence start` processes on loopback, each with its own directory.
//!
//! It hides ports, directories and waiting, and nothing else: what a scenario does to a cluster stands in the scenario.

mod cluster;
pub mod crash;
pub mod damage;
mod dice;
mod disk;
mod distrust;
mod janitor;
mod load;
mod process;
mod program;
mod small_disk;
mod standstill;
mod sync_fault;

pub use cluster::{Cluster, cuts, data_dir, eventually, in_time, noise, temporary_directory};
pub use dice::Dice;
pub use disk::{DISK_BYTES_MIN, Disk, DiskError};
pub use distrust::Damage;
pub use load::{Load, Recorded};
pub use process::{Ended, Server, binary, free_ports};
pub use program::Program;
pub use small_disk::SmallDisk;
pub use sync_fault::{Fault, SyncFaults};
