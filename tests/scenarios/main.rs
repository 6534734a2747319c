//! Scenarios of whole clusters, one a line. See `README.md` beside `Cargo.toml`.

mod all_killed_at_once;
mod any_client_any_node;
mod bad_starts;
mod crash_in_snapshot;
mod crash_rounds;
mod distrusted_node;
mod follower_needs_snapshot;
mod leader_killed;
mod minority_down;
mod overload;
mod paused_leader;
mod retried_add;
mod rolling_restart;
mod wiped_node;
