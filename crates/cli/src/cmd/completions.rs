//! `ringctl completions`: a script that teaches a shell our commands.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Ringctl;
use crate::exit::Failure;

const EXAMPLES: &str = "\
Examples:
  source <(ringctl completions bash)                                   in ~/.bashrc
  ringctl completions zsh > \"${fpath[1]}/_ringctl\"
  ringctl completions fish > ~/.config/fish/completions/ringctl.fish";

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

impl Completions {
    /// Needs no cluster.
    pub fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        // The generator panics when it cannot write, so it writes to memory.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Ringctl::command(), "ringctl", &mut script);
        Ok(out.write_all(&script)?)
    }
}
