//! Scenarios of whole clusters, one a line. See `README.md` beside `Cargo.toml`.

mod all_killed_at_once;
mod any_client_any_node;
mod bad_starts;
mod crash_in_snapshot;
mod crash_rounds;
mod damaged_state_db;
mod distrusted_node;
mod failed_fsync;
mod flipped_log;
mod follower_needs_snapshot;
mod full_disk;
mod hung_disk;
mod leader_killed;
mod minority_down;
mod overload;
mod paused_leader;
mod recipes;
mod retried_add;
mod ringctl_lock;
mod rolling_restart;
mod slow_follower;
mod torn_log_tail;
mod unknown_on_disk_version;
mod wiped_node;
