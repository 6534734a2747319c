//! What the storage of a node promises, each promise a test. One binary, because each links RocksDB.

mod bench;
mod conformance;
mod data_dir;
mod distrust;
mod fixture;
mod hash;
mod install;
mod log;
mod log_random;
mod state;
