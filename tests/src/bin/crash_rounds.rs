//! `crash_rounds`: parses, runs, says what came of it. See [`ringfence_tests::crash`].

use std::process::ExitCode;

use ringfence_tests::crash::{self, Options, Stop};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n\n{}", Options::USAGE);
            return ExitCode::from(3);
        }
    };
    if options.plan {
        print!("{}", crash::plan(&options));
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a process that cannot start threads cannot do anything");
    let outcome = runtime.block_on(crash::run(&options, stop_signal()));
    // Load that was aborted may still wait for an answer that never comes.
    runtime.shutdown_background();
    match outcome {
        Ok(report) => {
            println!("{report}\nEvery promise was kept. Seed {}.", options.seed);
            ExitCode::SUCCESS
        }
        Err(stop) => {
            eprintln!("\n{stop}");
            if !matches!(stop, Stop::Interrupted) {
                eprintln!("seed {}; `--plan` prints the schedule", options.seed);
            }
            ExitCode::from(stop.exit_code())
        }
    }
}

/// Ready when someone asks us to stop.
async fn stop_signal() {
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened to");
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be listened to");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
