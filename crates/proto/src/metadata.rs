//! Names of the facts that an error carries beside its reason: keys of `ErrorInfo.metadata`. Values are text, numbers
//! in decimal.

/// The node that leads the shard, as far as the answering node knows. With `NOT_LEADER`.
pub const LEADER_NODE: &str = "leader_node";
/// Its `host:port`. With `NOT_LEADER`.
pub const LEADER_ADDRESS: &str = "leader_address";
/// The shard that the error is about.
pub const SHARD: &str = "shard";
/// Revision of the key's last write, 0 if it is absent. With `CONDITION_FAILED`.
pub const REVISION: &str = "revision";
/// How often the key was written since it was created, 0 if it is absent. With `CONDITION_FAILED`.
pub const VERSION: &str = "version";
/// The shard's clock: with `REQUEST_TOO_OLD` a good new birth, with decided refusals what the client has now seen.
pub const CLOCK: &str = "clock";
/// What lies at or below this revision is forgotten. With `REQUEST_TOO_OLD` and `HISTORY_GONE`.
pub const FLOOR: &str = "floor";
/// The integer that the key holds. With `OUT_OF_BOUNDS`.
pub const CURRENT: &str = "current";
/// The newest token of the lock, if it is held. With `FENCED` and `LOCK_HELD`.
pub const TOKEN: &str = "token";
/// Milliseconds until the lease ends unless it is renewed. With `LOCK_HELD`.
pub const TTL_LEFT_MS: &str = "ttl_left_ms";
/// How many wait for the lock. With `LOCK_HELD` and `LOCK_QUEUE_FULL`.
pub const WAITING: &str = "waiting";
/// How many permits the semaphore has. With `PERMITS_DIFFER`.
pub const PERMITS: &str = "permits";
