//! Cleans up after us, whatever ends us: success, a failed test, a panic, Ctrl-C, even SIGKILL.
//!
//! A mounted disk, or a server that goes on running, outlives the process that made it. So a shell of its own, in a process
//! group of its own and deaf to signals, reads from a pipe that only we hold. However we end, the pipe closes; then it
//! kills the servers, unmounts the disks and removes the directories that it was told of and not told to forget. What was
//! cleaned up in the ordinary way is forgotten first, so usually nothing is left for it to do.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Orders are lines: a word and what it is about. Paths come from `tempfile`, so they hold no blanks; others are refused.
/// Unmounting is tried for a while: a killed server may take a moment to let go of its files.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
pids=' ' mounts=' ' dirs=' '
while read -r word what; do
    case $word in
        process) pids="$pids$what " ;;
        no-process) case $pids in *" $what "*) pids="${pids%% $what *} ${pids#* $what }" ;; esac ;;
        mount) mounts="$mounts$what " ;;
        no-mount) case $mounts in *" $what "*) mounts="${mounts%% $what *} ${mounts#* $what }" ;; esac ;;
        directory) dirs="$dirs$what " ;;
        no-directory) case $dirs in *" $what "*) dirs="${dirs%% $what *} ${dirs#* $what }" ;; esac ;;
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
    static JANITOR: OnceLock<Option<Mutex<Child>>> = OnceLock::new();
    let hire =
        || hire().inspect_err(|error| eprintln!("no janitor: cannot start a shell: {error}")).ok().map(Mutex::new);
    if let Some(janitor) = JANITOR.get_or_init(hire) {
        tell(&mut janitor.lock().expect("no code panics while it holds this lock"), &line);
    }
}

/// A janitor that is gone cannot clean up; what we do goes on, and cleans up in the ordinary way.
fn tell(janitor: &mut Child, line: &str) {
    let _ = janitor.stdin.as_mut().expect("its stdin is piped").write_all(line.as_bytes());
}

/// A path as the script's word splitting leaves it.
fn word(path: &Path) -> &str {
    let path = path.to_str().filter(|path| !path.contains(|c: char| c.is_whitespace() || "*?[\\".contains(c)));
    path.expect("temporary directories have plain names; set TMPDIR to a path without blanks")
}

/// Nobody waits for the shell: it outlives us.
fn hire() -> std::io::Result<Child> {
    Command::new("sh").args(["-c", SCRIPT, "janitor"]).stdin(Stdio::piped()).process_group(0).spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").spawn().unwrap()
    }

    /// The point of it all: nothing is left, although nobody cleaned up by hand; and what was forgotten is not touched.
    #[test]
    fn what_is_watched_goes_and_what_is_forgotten_stays() {
        let (gone, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(gone.path().join("node-1")).unwrap();
        let (mut watched, mut forgotten) = (sleeper(), sleeper());
        let mut janitor = hire().unwrap();
        for line in [
            format!("process {}\nprocess {}\n", watched.id(), forgotten.id()),
            format!("directory {}\ndirectory {}\n", gone.path().display(), kept.path().display()),
            format!("no-process {}\nno-directory {}\n", forgotten.id(), kept.path().display()),
        ] {
            tell(&mut janitor, &line);
        }
        drop(janitor.stdin.take()); // as when we end
        janitor.wait().unwrap();
        assert!(!watched.wait().unwrap().success(), "killed");
        assert_eq!(forgotten.try_wait().unwrap(), None, "still running");
        assert!(!gone.path().exists() && kept.path().exists());
        forgotten.kill().unwrap();
        forgotten.wait().unwrap();
    }

    /// A list that grew with every order would make the janitor slower and slower, and in the end everybody wait for it.
    #[test]
    fn orders_that_change_nothing_cost_nothing() {
        let mut janitor = hire().unwrap();
        for pid in 0..5_000 {
            tell(&mut janitor, &format!("process x{pid}\nno-process x{pid}\nno-process x{pid}\nno-mount /{pid}\n"));
        }
        drop(janitor.stdin.take());
        janitor.wait().unwrap();
    }
}
