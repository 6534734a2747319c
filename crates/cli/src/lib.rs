//! `ringctl`: reads and changes keys of a Ringfence cluster, and shows how the cluster is.
//!
//! * [`args`] is the command line; each command stands in a file under [`cmd`]: its flags, what it asks the SDK, how it
//!   prints the answer.
//! * [`exit`] has the exit codes; `sdk_errors` says which of them an error of the SDK is, and what to do next.
//! * [`record`] is the one shape that a key and its value have in JSON: what `get`, `scan` and `export` print and `import`
//!   takes, byte for byte.
//!
//! It decides nothing about data: that is the cluster's. It knows no protobuf types: those are the SDK's.
//!
//! > **Invariant:** stdout carries results alone; whatever is for people goes to stderr.
//! > **Invariant:** no input makes it panic: [`exit::Failure`] is the only way to fail.

pub mod args;
pub mod cmd;
mod context;
pub mod duration;
pub mod exit;
pub mod health;
pub mod import;
pub mod record;
mod sdk_errors;
pub mod table;
pub mod text;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cluster, Command, Node, Ringctl, Shard};
pub use context::Context;
use exit::{Exit, Failure};

/// Runs the command line of this process.
pub fn main() -> Exit {
    let args = match parse(std::env::args_os()) {
        Ok(args) => args,
        Err(exit) => return exit,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let result = run(args, &mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => Exit::Ok,
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

fn run(args: Ringctl, out: &mut dyn Write) -> Result<(), Failure> {
    if let Command::Completions(completions) = &args.command {
        return completions.run(out);
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

async fn dispatch(args: Ringctl, out: &mut dyn Write) -> Result<(), Failure> {
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
        Command::Cluster(Cluster::Status(status)) => status.run(&context, out).await,
        Command::Node(Node::Replace(replace)) => replace.run(&context, out).await,
        Command::Shard(Shard::List(list)) => list.run(&context, out).await,
        Command::Bench(bench) => bench.run(&context, out).await,
        Command::Completions(completions) => completions.run(out),
    }
}
