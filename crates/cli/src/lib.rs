//! `ringctl`: reads and changes keys of a Ringfence cluster, runs commands under its locks, and shows how the cluster is.
//!
//! * [`args`] is the command line; each command stands in a file under [`cmd`]: its flags, what it asks the SDK, how it
//!   prints the answer.
//! * [`exit`] has the exit codes; `sdk_errors` says which of them an error of the SDK is, and what to do next.
//! * [`record`] is the one shape that a key and its value have in JSON: what `get`, `scan` and `export` print and `import`
//!   takes, byte for byte. [`lease`] is the same for leases.
//! * [`under_lease`] runs a command as long as a lease lasts; [`child`], [`signals`] and [`terminal`] are what it needs of Unix.
//!
//! It decides nothing about data: that is the cluster's. It knows no protobuf types: those are the SDK's.
//!
//! > **Invariant:** stdout carries results alone; whatever is for people goes to stderr.
//! > **Invariant:** no input makes it panic: [`exit::Failure`] is the only way to fail.

pub mod args;
pub mod child;
pub mod cmd;
mod context;
pub mod duration;
pub mod exit;
pub mod fence;
pub mod health;
pub mod import;
pub mod lease;
pub mod record;
mod sdk_errors;
pub mod signals;
pub mod table;
pub mod terminal;
pub mod text;
pub mod under_lease;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cluster, Command, Lease, Node, Ringctl, Shard};
pub use context::Context;
use exit::{Exit, Failure};

/// Runs the command line of this process.
pub fn main() -> Exit {
    let args = match parse(std::env::args_os()) {
        Ok(args) => args,
        Err(exit) => return exit,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let result = run(args, &mut out).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            // What was printed before the failure is still a result.
            let _ = out.flush();
            if failure.exit != Exit::Ok {
                let _ = writeln!(io::stderr(), "{failure}");
            }
            failure.exit
        }
    }
}

/// Reads a command line. Help and version are printed, and so is what is wrong with it.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Ringctl, Exit> {
    Ringctl::try_parse_from(args).map_err(|error| {
        let _ = error.print();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok,
            _ => Exit::BadUsage,
        }
    })
}

fn run(args: Ringctl, out: &mut dyn Write) -> Result<Exit, Failure> {
    if let Command::Completions(completions) = &args.command {
        completions.run(out)?;
        return Ok(Exit::Ok);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
    let result = runtime.block_on(dispatch(args, out));
    // A read of stdin that never ends must not keep us.
    runtime.shutdown_background();
    result
}

async fn dispatch(args: Ringctl, out: &mut dyn Write) -> Result<Exit, Failure> {
    let context = Context::new(args.global);
    match args.command {
        Command::Put(put) => put.run(&context, out).await,
        Command::Get(get) => get.run(&context, out).await,
        Command::Del(del) => del.run(&context, out).await,
        Command::Cas(cas) => cas.run(&context, out).await,
        Command::Incr(incr) => incr.run(&context, out).await,
        Command::Scan(scan) => scan.run(&context, out).await,
        Command::Import(import) => import.run(&context).await,
        Command::Export(export) => export.run(&context, out).await,
        // These two end as the command does that they run.
        Command::Lock(lock) => return Box::pin(lock.run(&context)).await,
        Command::Elect(elect) => return Box::pin(elect.run(&context, out)).await,
        Command::Lease(Lease::List(list)) => list.run(&context, out).await,
        Command::Lease(Lease::Inspect(inspect)) => inspect.run(&context, out).await,
        Command::Lease(Lease::Release(release)) => release.run(&context, out).await,
        Command::Cluster(Cluster::Status(status)) => status.run(&context, out).await,
        Command::Cluster(Cluster::Verify(verify)) => verify.run(&context, out).await,
        Command::Node(Node::Replace(replace)) => replace.run(&context, out).await,
        Command::Shard(Shard::List(list)) => list.run(&context, out).await,
        Command::Shard(Shard::TransferLeader(transfer)) => transfer.run(&context, out).await,
        Command::Bench(bench) => bench.run(&context, out).await,
        Command::Completions(completions) => completions.run(out),
    }?;
    Ok(Exit::Ok)
}
