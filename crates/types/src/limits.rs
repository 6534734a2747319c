//! Bounds that hold everywhere. A bare number names its unit last.

/// Longest key, in bytes. The shortest is 1.
pub const KEY_BYTES_MAX: usize = 4096;

/// Longest value, in bytes, unless the shard's replicated limit is lower.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// Requests in one log entry at the most. Bounds the work of one `apply`, and so how long those wait who come while an entry is
/// under way. What an entry costs by itself is little beside so many.
pub const ENTRY_REQUESTS_MAX: usize = 256;

/// Once an entry holds this many bytes of requests no further request is added to it.
pub const ENTRY_BYTES_SOFT_MAX: usize = 1 << 20;

/// No request is larger: the largest puts one value on the condition that the key holds another, behind all the fences there
/// may be.
pub const REQUEST_BYTES_MAX: usize = 2 * VALUE_BYTES_MAX + KEY_BYTES_MAX + FENCES_MAX * (KEY_BYTES_MAX + 16) + 1024;

/// No entry is larger: a soft-full entry plus one request of the largest size.
pub const ENTRY_BYTES_MAX: usize = ENTRY_BYTES_SOFT_MAX + REQUEST_BYTES_MAX + 1024;

/// Largest gRPC message that servers and SDK accept.
pub const GRPC_MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Operations in one `Batch` call at the most.
pub const BATCH_OPERATIONS_MAX: usize = 4096;

/// Most items that one page of a scan returns.
pub const SCAN_PAGE_ITEMS_MAX: u32 = 10_000;

/// A scan page ends after this many bytes of keys and values, even if fewer items than asked were found.
pub const SCAN_PAGE_BYTES_SOFT_MAX: usize = 2 << 20;

/// Shortest time to live of a key, in milliseconds.
pub const TTL_MS_MIN: u64 = 1;

/// Longest time to live of a key, in milliseconds: ten years, far from any overflow of the lease clock.
pub const TTL_MS_MAX: u64 = 10 * 366 * 24 * 3600 * 1000;

/// Shortest lease, in milliseconds.
pub const LEASE_TTL_MS_MIN: u32 = 100;

/// Longest lease, in milliseconds: a day.
pub const LEASE_TTL_MS_MAX: u32 = 24 * 3600 * 1000;

/// Longest name of a lease's holder, in bytes. The shortest is 1.
pub const LOCK_HOLDER_BYTES_MAX: usize = 256;

/// Most bytes that a holder may have shown with its lease.
pub const LOCK_METADATA_BYTES_MAX: usize = 4096;

/// Most who hold one lock at once: permits of a semaphore, or those who share. As many as worker ids of ten bits.
pub const LOCK_HOLDERS_MAX: u32 = 1024;

/// Most who wait for one lock.
pub const LOCK_WAITERS_MAX: u32 = 1024;

/// A waiter that is not heard of for so long, in milliseconds of the lease clock, is passed over. The node that keeps its
/// call says every third of this that it is there.
pub const WAITER_SILENCE_MS_MAX: u64 = 15_000;

/// Fences of one request at the most.
pub const FENCES_MAX: usize = 16;

const _: () = assert!(ENTRY_BYTES_MAX < GRPC_MESSAGE_BYTES_MAX); // else a full entry could never be replicated
const _: () = assert!(SCAN_PAGE_BYTES_SOFT_MAX + VALUE_BYTES_MAX + KEY_BYTES_MAX < GRPC_MESSAGE_BYTES_MAX);
