//! `ringctl elect`: run a command as leader, or watch who leads.

use std::ffi::OsString;
use std::io::{self, Write};
use std::time::Duration;

use clap::{Args, ValueHint};
use ringfence_client::{Leader, LockReadError};
use serde::Serialize;
use tokio::time::sleep;

use crate::args::Format;
use crate::exit::{Exit, Failure};
use crate::signals::{ENDING, Signals};
use crate::table::Table;
use crate::under_lease::{self, LeaseArgs};
use crate::{Context, record, text};

/// After no node could say who leads.
const PAUSE: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  ringctl elect scheduler 10.0.0.7:8080 -- ./scheduler      waits until it leads, then runs
  ringctl elect scheduler --observe                         each leader as it changes, until Ctrl-C
  ringctl elect scheduler --observe -w ndjson | jq -r '.leader.value // \"nobody\"'

Leading is holding the lock NAME. CMD is run and stopped as under `ringctl lock`, finds its token in the same variables, and the \
exit codes are the same. When CMD ends it resigns, and the next candidate leads at once.

--observe prints the leader at once, and then each change; those that were overtaken may be left out. With -w json and with \
-w ndjson each is one object on one line: {\"leader\":{\"token\":…,\"holder\":…,\"value\":…}}, or {\"leader\":null} while \
nobody leads.";

/// Run a command as leader, or watch who leads.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Elect {
    /// The election
    name: OsString,
    /// What to proclaim while leading: an address, say [default: the holder]
    value: Option<OsString>,
    #[command(flatten)]
    lease: LeaseArgs,
    /// Print each leader as it changes, instead of campaigning
    #[arg(long, conflicts_with_all = ["value", "ttl", "grace", "wait", "no_wait", "holder", "command"])]
    observe: bool,
    /// What to run as leader, after --
    #[arg(
        last = true,
        required_unless_present = "observe",
        value_name = "CMD",
        value_hint = ValueHint::CommandWithArguments
    )]
    command: Vec<OsString>,
}

impl Elect {
    /// Campaigns, runs, resigns; or watches.
    pub async fn run(self, context: &Context, out: &mut dyn Write) -> Result<Exit, Failure> {
        let name = self.name.into_encoded_bytes();
        if self.observe {
            observe(context, out, &name).await?;
            return Ok(Exit::Ok);
        }
        let terms = self.lease.terms()?;
        let value = self.value.map_or_else(|| terms.holder.clone(), OsString::into_encoded_bytes);
        let mut signals = Signals::of(ENDING)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot watch signals: {error}")))?;
        let client = context.connect().await?;
        let mut campaign = client.election(&name).campaign(value).ttl(terms.ttl).holder(terms.holder.clone());
        if terms.no_wait {
            campaign = campaign.without_waiting();
        }
        if let Some(wait) = terms.wait {
            campaign = campaign.wait_at_most(wait);
        }
        let leadership = under_lease::granted(campaign, &client, &name, &terms.holder, &mut signals).await?;
        let command = under_lease::command(self.command, leadership.lease())?;
        let ran = under_lease::run(leadership.lease(), command, terms.grace, &mut signals).await;
        ran.release(leadership.resign(), &mut signals).await
    }
}

async fn observe(context: &Context, out: &mut dyn Write, name: &[u8]) -> Result<(), Failure> {
    let client = context.connect().await?;
    let mut observer = client.election(name).observe();
    let mut table = Table::new(&["TOKEN", "HOLDER", "VALUE"]);
    loop {
        match observer.next().await {
            Ok(leader) => print(context.format, out, &mut table, leader.as_ref())?,
            // Watching means to be there still when they are back.
            Err(LockReadError::Unavailable(error)) => {
                eprintln!("who leads is not known for now: {error}");
                sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
        out.flush()?;
    }
}

#[derive(Serialize)]
struct Seen<'a> {
    leader: Option<Json<'a>>,
}

#[derive(Serialize)]
struct Json<'a> {
    token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
}

impl<'a> From<&'a Leader> for Json<'a> {
    fn from(leader: &'a Leader) -> Json<'a> {
        let (holder, holder_hex) = text::plain_or_hex(leader.holder.bytes(), false);
        let (value, value_hex) = text::plain_or_hex(&leader.value, false);
        Json { token: leader.token.to_string(), holder, holder_hex, value, value_hex }
    }
}

fn print(format: Format, out: &mut dyn Write, table: &mut Table, leader: Option<&Leader>) -> io::Result<()> {
    if format != Format::Table {
        serde_json::to_writer(&mut *out, &Seen { leader: leader.map(Json::from) })?;
        return writeln!(out);
    }
    let row = match leader {
        Some(leader) => vec![
            leader.token.to_string(),
            text::to_cell(leader.holder.bytes(), false),
            record::shortened(text::to_cell(&leader.value, false), leader.value.len()),
        ],
        None => vec!["none".to_owned(), String::new(), String::new()],
    };
    table.rows(out, &[row])
}

#[cfg(test)]
mod tests {
    use ringfence_client::{FencingToken, Holder, Revision};

    use super::*;

    fn printed(format: Format) -> String {
        let leader = Leader {
            holder: Holder::new("web1:71").unwrap(),
            value: b"a\xff".as_slice().into(),
            token: FencingToken(Revision(459_000_123)),
        };
        let (mut out, mut table) = (Vec::new(), Table::new(&["TOKEN", "HOLDER", "VALUE"]));
        print(format, &mut out, &mut table, Some(&leader)).unwrap();
        print(format, &mut out, &mut table, None).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn leaders_come_a_line_each_and_so_does_their_absence() {
        let lines =
            "{\"leader\":{\"token\":\"459000123\",\"holder\":\"web1:71\",\"value_hex\":\"61ff\"}}\n{\"leader\":null}\n";
        assert_eq!(printed(Format::Json), lines);
        assert_eq!(printed(Format::Ndjson), lines);
        assert_eq!(printed(Format::Table), "TOKEN      HOLDER   VALUE\n459000123  web1:71  a\\xff\nnone\n");
    }
}
