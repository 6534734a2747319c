//! Cleans up after us, whatever ends us: success, a failed test, a panic, Ctrl-C, even SIGKILL.
//!
//! A mounted disk, or a server that goes on running, outlives the process that made it. So a shell of its own, in a process
//! group of its own and deaf to signals, reads from a pipe that only we hold. However we end, the pipe closes; then it
//! kills the servers, unmounts the disks and removes the directories that it was told of and not told to forget. What was
//! cleaned up in the ordinary way is forgotten first, so usually nothing is left for it to do.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Orders are lines: a word and what it is about. Paths come from `tempfile`, so they hold no blanks; others are refused.
/// Unmounting is tried for a while: a killed server may take a moment to let go of its files.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
pids=' ' mounts=' ' dirs=' '
while read -r word what; do
    case $word in
        process) pids="$pids$what " ;;
        no-process) pids="${pids%% $what *} ${pids#* $what }" ;;
        mount) mounts="$mounts$what " ;;
        no-mount) mounts="${mounts%% $what *} ${mounts#* $what }" ;;
        directory) dirs="$dirs$what " ;;
        no-directory) dirs="${dirs%% $what *} ${dirs#* $what }" ;;
    esac
done
for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done
for mount in $mounts; do
    tries=0
    until umount "$mount" 2>/dev/null || [ $tries -ge 100 ]; do tries=$((tries + 1)); sleep 0.1; done
done
for dir in $dirs; do rm -rf --one-file-system -- "$dir"; done
"#;

/// What the janitor looks after.
#[derive(Clone, Copy)]
pub(crate) enum Charge<'a> {
    /// A child of ours, until it is waited for: then its number may become another's.
    Process(u32),
    /// A mount point, while something is mounted there.
    Mount(&'a Path),
    /// A directory, with everything in it, while it is temporary.
    Directory(&'a Path),
}

/// From now on this goes when we go.
pub(crate) fn watch(charge: Charge<'_>) {
    order("", charge);
}

/// It is gone already, or shall stay.
pub(crate) fn forget(charge: Charge<'_>) {
    order("no-", charge);
}

fn order(not: &str, charge: Charge<'_>) {
    let line = match charge {
        Charge::Process(pid) => format!("{not}process {pid}\n"),
        Charge::Mount(path) => format!("{not}mount {}\n", word(path)),
        Charge::Directory(path) => format!("{not}directory {}\n", word(path)),
    };
    static ORDERS: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();
    if let Some(orders) = ORDERS.get_or_init(hire) {
        // A janitor that is gone cannot clean up; what we do goes on, and cleans up in the ordinary way.
        let _ = orders.lock().expect("no code panics while it holds this lock").write_all(line.as_bytes());
    }
}

/// A path as the script's word splitting leaves it.
fn word(path: &Path) -> &str {
    let path = path.to_str().filter(|path| !path.contains(|c: char| c.is_whitespace() || "*?[\\".contains(c)));
    path.expect("temporary directories have plain names; set TMPDIR to a path without blanks")
}

fn hire() -> Option<Mutex<ChildStdin>> {
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "janitor"]).stdin(Stdio::piped()).process_group(0);
    let mut shell = command.spawn().inspect_err(|error| eprintln!("no janitor: cannot start a shell: {error}")).ok()?;
    shell.stdin.take().map(Mutex::new) // nobody waits for the shell: it outlives us
}
