//! The program as a script sees it: arguments in; stdout, stderr, exit code and files out; a fake node behind a real socket.

mod bad_usage;
mod bench;
mod cluster_views;
mod export_and_import;
mod fake;
mod import_meets_trouble;
mod one_key;
mod program;
mod scans;
