//! The limits of the machine, measured in the same run: what `ringfence-limits` prints.

use std::path::Path;
use std::process::Command;

use super::driver::Driver;
use super::figures::median;
use crate::failure::{Context, Outcome, fail};
use crate::json::{Json, quote};

/// With so many clients the echo server is asked; rows with another number are compared with the nearest.
const CLIENTS: &str = "1,64,256";

/// Every limit in turn, with these numbers of clients: how many times as long as one row that takes.
const MEASUREMENTS: u32 = 3 * 3 + 2;

/// One limit, over all rounds.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    pub(crate) name: String,
    pub(crate) clients: usize,
    ops: Vec<f64>,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
}

impl Limit {
    pub(crate) fn ops(&self) -> f64 {
        median(self.ops.clone())
    }

    pub(crate) fn p50_us(&self) -> f64 {
        median(self.p50_us.clone())
    }

    pub(crate) fn p99_us(&self) -> f64 {
        median(self.p99_us.clone())
    }

    /// One line.
    pub(crate) fn json(&self) -> String {
        let (ops, p50, p99) = (self.ops(), self.p50_us(), self.p99_us());
        let (name, clients) = (quote(&self.name), self.clients);
        format!("{{\"limit\":{name},\"clients\":{clients},\"ops\":{ops:.1},\"p50_us\":{p50:.1},\"p99_us\":{p99:.1}}}")
    }
}

/// Measures each once and adds it to what earlier rounds found.
pub(crate) fn measure(driver: &mut Driver, program: &Path, dir: &Path, limits: &mut Vec<Limit>) -> Outcome {
    // A third of a row's time is enough for what does nothing but one thing.
    let duration = driver.shape.duration / 3;
    let mut command = Command::new(program);
    command.args(["--clients", CLIENTS, "--duration-ms", &duration.as_millis().to_string()]).arg("--dir").arg(dir);
    command.args(["--warm-up-ms", &driver.shape.warm_up.as_millis().min(300).to_string()]);
    for line in driver.run("the limits of this machine", command, duration * MEASUREMENTS)?.lines() {
        let json = Json::parse(line).context("reading what ringfence-limits printed")?;
        let number = |member: &str| json.get(member).and_then(Json::f64);
        let (Some(name), Some(clients)) =
            (json.get("limit").and_then(Json::str), json.get("clients").and_then(Json::u64))
        else {
            return fail(format!("ringfence-limits printed a row without a name: {line}"));
        };
        let (Some(ops), Some(p50_us), Some(p99_us)) = (number("ops"), number("p50_us"), number("p99_us")) else {
            return fail(format!("ringfence-limits printed a row without figures: {line}"));
        };
        let clients = clients as usize;
        let limit = match limits.iter_mut().position(|limit| limit.name == name && limit.clients == clients) {
            Some(place) => &mut limits[place],
            None => {
                limits.push(Limit { name: name.into(), clients, ops: vec![], p50_us: vec![], p99_us: vec![] });
                limits.last_mut().expect("just pushed")
            }
        };
        limit.ops.push(ops);
        limit.p50_us.push(p50_us);
        limit.p99_us.push(p99_us);
    }
    Ok(())
}
