//! Tests of whole groups: real Raft, real pure core, storage in memory or RocksDB, a network held in the hand.

mod cluster;
mod groups;
mod locks;
mod power_loss;
mod replace;
mod sessions;
mod slow_disk;
mod storage_suite;
mod trust;
