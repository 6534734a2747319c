//! What `main` does: parses, builds, runs.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::dev::{self, DevArgs};
use crate::{Config, RawConfig, RunError, StartError, VERSION, bind, run};

/// A sharded, transactional key-value store with Raft.
#[derive(Parser)]
#[command(name = "ringfence", version, max_term_width = 110)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one node. Flags count more than variables, and these more than the file.
    Start {
        /// A TOML file with any of the settings below, in snake_case.
        #[arg(long, env = "RINGFENCE_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        settings: Box<RawConfig>,
    },
    /// Runs a whole cluster in this process, on loopback, for trying things out.
    Dev(DevArgs),
    /// Prints the version.
    Version,
}

/// The whole program.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,openraft=error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match execute(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfence: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<(), RunError> {
    match command {
        Command::Start { config, settings } => {
            let below = config.as_deref().map(RawConfig::from_file).transpose().map_err(StartError::Config)?;
            let config = Config::from_raw(settings.over(below.unwrap_or_default())).map_err(StartError::Config)?;
            block_on(async {
                let listener = bind(&config).await?;
                run(config, listener, stop_signal()).await
            })
        }
        Command::Dev(args) => block_on(dev::run(args, stop_signal())),
        Command::Version => {
            println!("ringfence {VERSION}");
            Ok(())
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a process that cannot start threads cannot do anything").block_on(future)
}

/// Ready when someone asks the process to stop: Ctrl-C, or what service managers send.
async fn stop_signal() {
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened to");
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be listened to");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
