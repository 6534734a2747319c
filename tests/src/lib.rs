//! The harness of the whole-cluster tests: real `ringfence start` processes on loopback, each with its own directory.
//!
//! It hides ports, directories and waiting, and nothing else: what a scenario does to a cluster stands in the scenario.

mod cluster;
mod load;
mod process;

pub use cluster::{Cluster, eventually};
pub use load::{Load, Recorded};
pub use process::{Ended, Server, binary, free_ports};
