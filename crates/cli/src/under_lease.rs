//! A command that runs only as long as a lease does: what `ringctl lock` and `ringctl elect` have in common.
//!
//! ```text
//! granted ── CMD runs ── CMD ends ─────────────────────────────── released: the next one gets it at once
//!               │
//!               ├── not renewed, `grace` is left ── SIGTERM ─┐
//!               └── lost ──────────────────────── SIGKILL ◄──┘
//! ```
//!
//! The grace is taken from the lease, not added to it: it ends when the lease does. So when another may be granted the lock, no
//! process of the command's group runs any more, and a command that is told in time can still clean up under the lock. It is
//! killed with no warning only if the lease ended before its time: an operator has released it.
//!
//! What this cannot promise stands in `ringctl lock --help`: a machine that is suspended kills nobody. Whatever the lock
//! protects must check the token.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use ringfence_client::{AcquireError, Client, Lease, LockInfo, ReleaseError};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::child::{Change, Child};
use crate::exit::{Exit, Failure};
use crate::signals::{self, Signals};
use crate::terminal::Terminal;
use crate::{duration, text};

/// The grace, unless it is given: this part of the ttl ...
const GRACE_PER_TTL: u32 = 5;
/// ... but no longer.
const GRACE_MAX: Duration = Duration::from_secs(5);
/// Whoever waits for longer is told whom for.
const TELL_AFTER: Duration = Duration::from_millis(500);
/// Between two attempts at finding out.
const TELL_PAUSE: Duration = Duration::from_secs(1);
/// How long we stay to see our place in the queue given up, if nobody tells us that it is.
const LEAVE_MAX: Duration = Duration::from_secs(2);
/// Between two looks at the queue.
const LEAVE_PAUSE: Duration = Duration::from_millis(20);
/// So many holders are named; of the others it is said how many they are.
const HOLDERS_TOLD_MAX: usize = 3;
/// While the command waits for the terminal and we are in the background: nobody tells us when that changes.
const TERMINAL_PAUSE: Duration = Duration::from_secs(1);

/// How a lease is asked for, and how long its command has to clean up.
#[derive(Debug, Args)]
pub struct LeaseArgs {
    /// How long the lease lasts once it cannot be renewed any more, from 100ms to 24h
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    ttl: Duration,
    /// Send SIGTERM this long before the lease ends unrenewed, SIGKILL when it ends; at most half the ttl, 0 for SIGKILL alone
    /// [default: a fifth of the ttl, at most 5s]
    #[arg(long, value_name = "DURATION", value_parser = grace)]
    grace: Option<Duration>,
    /// Wait at most so long, then give up with exit code 4 [default: as long as it takes]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, conflicts_with = "no_wait")]
    wait: Option<Duration>,
    /// Do not wait: exit code 4 at once if it is held
    #[arg(long)]
    no_wait: bool,
    /// Who holds it, for others to see [default: HOST:PID]
    #[arg(long, value_name = "TEXT")]
    holder: Option<OsString>,
}

/// The same, ready to be asked with.
#[derive(Debug)]
pub struct Terms {
    /// How long the lease lasts.
    pub ttl: Duration,
    /// How long before its end the command is asked to stop.
    pub grace: Duration,
    /// How long to wait, if not for ever.
    pub wait: Option<Duration>,
    /// Whether to ask only once.
    pub no_wait: bool,
    /// Who asks.
    pub holder: Vec<u8>,
}

fn grace(text: &str) -> Result<Duration, String> {
    match text {
        "0" | "0ms" | "0s" => Ok(Duration::ZERO),
        text => duration::parse(text),
    }
}

impl LeaseArgs {
    /// Fills in what was not given. The bounds of ttl and holder are the SDK's to check.
    pub fn terms(self) -> Result<Terms, Failure> {
        let LeaseArgs { ttl, grace, wait, no_wait, holder } = self;
        let grace = grace.unwrap_or_else(|| (ttl / GRACE_PER_TTL).min(GRACE_MAX));
        if grace > ttl / 2 {
            let message =
                "--grace is more than half of --ttl: a lease that is being renewed may have no more than that left";
            return Err(
                Failure::usage(message).hint("the grace is a part of the ttl, not added to it: give a longer --ttl")
            );
        }
        let holder = holder.map_or_else(this_process, OsString::into_encoded_bytes);
        Ok(Terms { ttl, grace, wait, no_wait, holder })
    }
}

/// What an operator looks for: the machine, and the process on it.
fn this_process() -> Vec<u8> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{}", std::process::id()).into_bytes()
}

/// The command, with what it needs to know of its lease in its environment.
pub fn command(line: Vec<OsString>, lease: &Lease) -> Result<Command, Failure> {
    let mut line = line.into_iter();
    let program = line.next().ok_or_else(|| Failure::usage("there is no command: give it after --"))?;
    let mut command = Command::new(program);
    command
        .args(line)
        .env("RINGFENCE_LOCK", OsStr::from_bytes(lease.name().as_ref()))
        .env("RINGFENCE_TOKEN", lease.token().to_string())
        .env("RINGFENCE_GENERATION", lease.generation().to_string())
        // Ours may run under another ringctl's.
        .env_remove("RINGFENCE_PERMIT");
    Ok(command)
}

/// Waits for the lease, says on stderr who holds it, once, and gives up when a signal asks us to end.
pub async fn granted<T>(
    asking: impl IntoFuture<Output = Result<T, AcquireError>>,
    client: &Client,
    name: &[u8],
    holder: &[u8],
    signals: &mut Signals,
) -> Result<T, Failure> {
    let failure = tokio::select! {
        biased;
        granted = asking.into_future() => match granted {
            Ok(lease) => return Ok(lease),
            Err(error) if matches!(error, AcquireError::TimedOut { .. }) => Failure::from(error),
            Err(error) => return Err(error.into()),
        },
        never = tell_who_holds(client, name) => match never {},
        signal = signals.next() => {
            let message = format!("gave up waiting for {}", text::to_cell(name, false));
            Failure::new(Exit::Command(signals::exit_code(signal.as_raw())), message)
        }
    };
    // The SDK leaves the queue in the background, for which it needs us to live on. Were we gone first, our turn would come all
    // the same, and everybody wait for the ttl of a lease that nobody has.
    let _ = timeout(LEAVE_MAX, has_left(client, name, holder)).await;
    Err(failure)
}

async fn has_left(client: &Client, name: &[u8], holder: &[u8]) {
    while let Ok(info) = client.inspect_lock(name).await {
        let mut there =
            info.waiters.iter().map(|waiter| &waiter.holder).chain(info.leases.iter().map(|lease| &lease.holder));
        if !there.any(|there| there.bytes() == holder) {
            return;
        }
        sleep(LEAVE_PAUSE).await;
    }
}

async fn tell_who_holds(client: &Client, name: &[u8]) -> Infallible {
    sleep(TELL_AFTER).await;
    loop {
        // It is only for comfort: whether the lock can be had at all is the waiting's business.
        if let Ok(info) = client.inspect_lock(name).await
            && !info.leases.is_empty()
        {
            eprintln!("waiting for {}", who_holds(name, &info));
            return std::future::pending().await;
        }
        sleep(TELL_PAUSE).await;
    }
}

fn who_holds(name: &[u8], info: &LockInfo) -> String {
    let named = info.leases.iter().take(HOLDERS_TOLD_MAX);
    let named = named.map(|lease| format!("{} (token {})", text::to_cell(lease.holder.bytes(), false), lease.token));
    let mut told = format!("{}, held by {}", text::to_cell(name, false), named.collect::<Vec<_>>().join(", "));
    if let more @ 1.. = info.leases.len().saturating_sub(HOLDERS_TOLD_MAX) {
        told += &format!(" and {more} more");
    }
    told + &format!("; {} in the queue", info.waiters.len())
}

/// How a command came to its end, or why it never began.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    result: Result<u8, Failure>,
    name: String,
    /// What was left of the lease at that moment. Nothing: it was lost.
    left: Duration,
    at: Instant,
}

/// Runs it until it ends or must not run any more. Call it on the main thread: see [`Child`].
pub async fn run(lease: &Lease, command: Command, grace: Duration, signals: &mut Signals) -> Ran {
    let name = text::to_cell(lease.name().as_ref(), false);
    let result = until_the_end(lease, command, grace, signals, &name).await;
    let left = if lease.is_lost() { Duration::ZERO } else { lease.remaining() };
    Ran { result, name, left, at: Instant::now() }
}

/// How far the stopping of a command has come.
enum Phase {
    Runs,
    /// It was asked to end, and is killed at this time.
    Asked(Instant),
    Killed,
}

async fn until_the_end(
    lease: &Lease,
    command: Command,
    grace: Duration,
    signals: &mut Signals,
    name: &str,
) -> Result<u8, Failure> {
    let cannot = |what: &str, error: &io::Error| Failure::new(Exit::Failed, format!("cannot {what}: {error}"));
    let program = command.get_program().to_string_lossy().into_owned();
    let terminal = Terminal::ours();
    // Only from now on: a ringctl that waits may well be suspended.
    let mut suspensions = Signals::of(&[Signal::TSTP]).map_err(|error| cannot("watch signals", &error))?;
    let mut child = Child::spawn(command).map_err(|error| not_started(&program, &error))?;
    let mut phase = Phase::Runs;
    let mut wants_terminal = false;
    let ended = loop {
        tokio::select! {
            biased;
            change = child.changed() => match change {
                Ok(Change::Ended(code)) => break Ok(code),
                Ok(Change::Stopped(signal)) if signal == Signal::TSTP.as_raw() => {
                    tell_not_suspended();
                    child.signal(Signal::CONT);
                }
                Ok(Change::Stopped(signal)) if [Signal::TTIN.as_raw(), Signal::TTOU.as_raw()].contains(&signal) => {
                    wants_terminal = !lend(terminal.as_ref(), &child);
                    if wants_terminal {
                        eprintln!("{program} waits for the terminal");
                    }
                }
                // Somebody's SIGSTOP: somebody's decision.
                Ok(Change::Stopped(_)) => {}
                Err(error) => break Err(cannot("watch the command", &error)),
            },
            () = lease.lost(), if !matches!(phase, Phase::Killed) => {
                child.signal(Signal::KILL);
                phase = Phase::Killed;
            }
            () = nearly_over(lease, grace), if !grace.is_zero() && matches!(phase, Phase::Runs) => {
                eprintln!("the lease on {name} could not be renewed and ends in {grace:?}: {program} is told to stop");
                child.signal(Signal::TERM);
                child.signal(Signal::CONT);
                phase = Phase::Asked(Instant::now() + grace);
            }
            () = over(&phase) => {
                child.signal(Signal::KILL);
                phase = Phase::Killed;
            }
            signal = signals.next() => {
                child.signal(signal);
                // One that is stopped hears nothing.
                child.signal(Signal::CONT);
            }
            _ = suspensions.next() => tell_not_suspended(),
            () = sleep(TERMINAL_PAUSE), if wants_terminal => wants_terminal = !lend(terminal.as_ref(), &child),
        }
    };
    let stopped = !matches!(phase, Phase::Runs);
    if stopped || ended.is_err() {
        // It may have ended when it was asked to, and left behind others that did not.
        child.signal(Signal::KILL);
    }
    if let Some(terminal) = terminal {
        terminal.take_back(child.group());
    }
    child.forget();
    match stopped {
        false => ended,
        true => Err(lost(name, &format!("{program} was stopped"))),
    }
}

async fn nearly_over(lease: &Lease, grace: Duration) {
    while let Some(longer @ 1..) = lease.remaining().checked_sub(grace).map(|longer| longer.as_nanos()) {
        sleep(Duration::from_nanos(u64::try_from(longer).unwrap_or(u64::MAX))).await;
    }
}

async fn over(phase: &Phase) {
    match phase {
        Phase::Asked(kill) => sleep_until(*kill).await,
        Phase::Runs | Phase::Killed => std::future::pending().await,
    }
}

fn lend(terminal: Option<&Terminal>, child: &Child) -> bool {
    let lent = terminal.is_some_and(|terminal| terminal.lend(child.group()));
    if lent {
        child.signal(Signal::CONT);
    }
    lent
}

fn tell_not_suspended() {
    eprintln!("not suspended: whoever holds a lease must be able to stop when it ends");
}

fn not_started(program: &str, error: &io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Failure::new(Exit::Command(code), format!("cannot run {program}: {error}"))
}

fn lost(name: &str, what: &str) -> Failure {
    Failure::new(Exit::LeaseLost, format!("the lease on {name} was lost: {what}")).hint(format!(
        "`ringctl lease inspect {name}` shows who holds it now; what was done under the lock may be half done"
    ))
}

impl Ran {
    /// Gives the lease back, if there is something to give, and says how the program ends.
    pub async fn release(
        self,
        release: impl Future<Output = Result<(), ReleaseError>>,
        signals: &mut Signals,
    ) -> Result<Exit, Failure> {
        let Ran { result, name, left, at } = self;
        if left.is_zero() {
            return result.map(Exit::Command);
        }
        // When the ttl is over there is nothing to give back any more.
        let released = tokio::select! {
            released = timeout(left, release) => released,
            signal = signals.next() => {
                eprintln!("{name} was not released ({signal:?}): it is free when its ttl is over");
                return result.map(Exit::Command);
            }
        };
        match released {
            Ok(Ok(())) => {}
            // It was ours for longer than this, so somebody has ended it, perhaps long before the command did.
            Ok(Err(ReleaseError::Over | ReleaseError::NotTheHolder)) if at.elapsed() < left => {
                if let Ok(code) = result {
                    return Err(lost(
                        &name,
                        &format!("somebody released it before the command ended (with code {code})"),
                    ));
                }
            }
            Ok(Err(error)) => eprintln!("{name} was not released, so it is free when its ttl is over: {error}"),
            Err(_) => eprintln!("{name} could not be released before its ttl was over"),
        }
        result.map(Exit::Command)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        lease: LeaseArgs,
    }

    fn terms(args: &[&str]) -> Result<Terms, Failure> {
        Line::try_parse_from(["ringctl"].iter().chain(args)).unwrap().lease.terms()
    }

    /// A grace that could be longer than what a lease always has left would stop commands for no reason.
    #[test]
    fn the_grace_is_a_part_of_the_ttl() {
        let grace = |args: &[&str]| terms(args).map(|terms| terms.grace);
        assert_eq!(grace(&[]), Ok(Duration::from_secs(2)));
        assert_eq!(grace(&["--ttl", "1h"]), Ok(Duration::from_secs(5)));
        assert_eq!(grace(&["--ttl", "100ms"]), Ok(Duration::from_millis(20)));
        assert_eq!(grace(&["--grace", "0"]), Ok(Duration::ZERO));
        assert_eq!(grace(&["--grace", "5s"]), Ok(Duration::from_secs(5)));
        assert_eq!(grace(&["--grace", "5001ms"]).unwrap_err().exit, Exit::BadUsage);
    }

    #[test]
    fn the_holder_names_this_process_unless_told_otherwise() {
        assert!(terms(&[]).unwrap().holder.ends_with(format!(":{}", std::process::id()).as_bytes()));
        assert_eq!(terms(&["--holder", "alice"]).unwrap().holder, b"alice");
    }

    #[test]
    fn what_cannot_be_started_ends_as_in_a_shell() {
        let exit = |kind: io::ErrorKind| not_started("x", &kind.into()).exit;
        assert_eq!(exit(io::ErrorKind::NotFound), Exit::Command(127));
        assert_eq!(exit(io::ErrorKind::PermissionDenied), Exit::Command(126));
    }
}
