//! The SDK against a fake cluster that loses answers, breaks streams and names other leaders, as told.

mod fake;
mod fake_locks;
mod locks;

mod bad_input;
mod bounds;
mod exactly_once;
mod messages;
mod routes;
mod scans;
