//! `ringctl lock`: run a command while holding a lock.

use std::ffi::OsString;

use clap::{Args, ValueHint};

use crate::Context;
use crate::exit::{Exit, Failure};
use crate::signals::{ENDING, Signals};
use crate::under_lease::{self, LeaseArgs};

const EXAMPLES: &str = "\
Examples:
  ringctl lock backup -- ./backup.sh                       one at a time; the others wait in order
  ringctl lock backup --no-wait -- ./backup.sh             or not at all: exit code 4
  ringctl lock {user:42}cart --ttl 2s --wait 30s -- make import
  ringctl lock report --shared -- ./read-it                many readers, or one without it
  ringctl lock gpu --permits 4 -- sh -c 'train --device \"$RINGFENCE_PERMIT\"'

CMD finds in its environment:
  RINGFENCE_LOCK        the name
  RINGFENCE_TOKEN       the fencing token, higher for every later holder. Whatever the lock
                        protects should keep the highest that it has seen, and refuse lower ones
  RINGFENCE_GENERATION  the same for --shared: one number for all who share
  RINGFENCE_PERMIT      with --permits: which of them, from 0. Each has tokens of its own

Exit codes:
  that of CMD, or 128 and the number of the signal that ended it
  126, 127  CMD cannot be run, or is not there
  4         not granted: held (--no-wait), not free in time (--wait), too many wait
  6         the lease was lost: CMD was stopped, or somebody had released the lease before it ended
  130, 143  SIGINT or SIGTERM came while it waited
  and before CMD runs those of every ringctl command. A CMD that ends with such a code looks the \
same; stderr tells.

The lease is renewed while CMD runs, and released when CMD ends, though processes may go on that it \
left in the background.

If the lease cannot be renewed, CMD and its whole process group get SIGTERM when only the grace is \
left of it, and SIGKILL when it ends, before anybody else can be granted. If an operator has released \
it they get SIGKILL as soon as that is known. Processes that moved to a group of their own are not reached.

SIGINT, SIGTERM, SIGHUP and SIGQUIT are passed on to CMD's group; the lease is released when CMD has ended. \
Ctrl-Z is not: who is suspended cannot stop in time.

If ringctl is killed (SIGKILL), Linux kills CMD, but not what CMD has started; the lock is free after the ttl. \
If ringctl is stopped (SIGSTOP), or the machine suspended, nothing can be stopped in time: therefore the token.";

/// Run a command while holding a lock.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Lock {
    /// The lock; all that its users share is this name
    name: OsString,
    #[command(flatten)]
    lease: LeaseArgs,
    /// Share it with others who give --shared
    #[arg(long, conflicts_with = "permits")]
    shared: bool,
    /// Let N hold it at once; the same N from all who use it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    permits: Option<u32>,
    /// What to run, after --
    #[arg(last = true, required = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

impl Lock {
    /// Waits, runs, releases. Prints nothing of its own on stdout, which is the command's.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let terms = self.lease.terms()?;
        let name = self.name.into_encoded_bytes();
        let mut signals = Signals::of(ENDING)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot watch signals: {error}")))?;
        let client = context.connect().await?;
        let acquire = match (self.shared, self.permits) {
            (true, _) => client.rw_lock(&name).read(),
            (false, Some(permits)) => client.semaphore(&name, permits).acquire(),
            (false, None) => client.lock(&name),
        };
        let mut acquire = acquire.ttl(terms.ttl).holder(terms.holder.clone());
        if terms.no_wait {
            acquire = acquire.without_waiting();
        }
        if let Some(wait) = terms.wait {
            acquire = acquire.wait_at_most(wait);
        }
        let lease = under_lease::granted(acquire, &client, &name, &terms.holder, &mut signals).await?;
        let mut command = under_lease::command(self.command, &lease)?;
        if self.permits.is_some() {
            command.env("RINGFENCE_PERMIT", lease.permit().to_string());
        }
        let ran = under_lease::run(&lease, command, terms.grace, &mut signals).await;
        ran.release(lease.release(), &mut signals).await
    }
}
