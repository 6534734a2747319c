//! Tests of whole groups: real Raft, real pure core, storage in memory or RocksDB, a network held in the hand.

mod cluster;
mod groups;
mod hand_over;
mod locks;
mod power_loss;
mod replace;
mod replica_hash;
mod sessions;
mod slow_disk;
mod storage_suite;
mod trust;
