//! `jepsen-lite list`: what there is to run, and what to break.

use std::io::{self, Write};

use crate::nemesis;
use crate::workload;

/// Prints every workload and every nemesis, with what it does.
pub fn list(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "Workloads:")?;
    for workload in workload::all() {
        writeln!(out, "  {:<18} {}", workload.name(), workload.about())?;
    }
    writeln!(out, "\nNemeses:")?;
    for nemesis in nemesis::all() {
        writeln!(out, "  {:<18} {}", nemesis.name(), nemesis.about())?;
    }
    writeln!(out, "\nIn pairs (by `all`):")?;
    for pair in nemesis::pairs() {
        let names: Vec<String> = pair.iter().map(ToString::to_string).collect();
        writeln!(out, "  {}", names.join(" + "))?;
    }
    Ok(())
}
