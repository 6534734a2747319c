//! One HTML file that tells what happened in a run, for people: self-contained, with nothing from the network.
//!
//! It is read from top to bottom by somebody who asks, in this order: did it hold? what broke, and did that hurt? who
//! led meanwhile? what was each client doing? and, if a promise was broken: show me.
//!
//! | module | what |
//! |---|---|
//! | `page` | the frame, with the style and the one script in it |
//! | `verdicts` | the verdict, in words and in tables |
//! | `plots` | latency and rate, by workload |
//! | `faults` | the faults, as a table; `bands` has them as bands behind everything else that is drawn |
//! | `leaders`, `locks` | who led which shard, who held which lock |
//! | `timeline` | operations by process |
//! | `anomaly` | a broken promise, explained and drawn |
//! | `chart`, `axis`, `lanes` | what all drawings have in common; `table` |
//! | `omitted` | what there was no room for |
//! | `account`, `figures`, `text` | histories, numbers and words as the page wants them |
//!
//! Three rules. **Nothing essential needs the script**: it only zooms, filters and reads out what the mouse points
//! at. **Everything that comes from outside goes through `text`**: keys, values and messages are whatever a client
//! or a faulty server made of them. **What is left out is told**: each drawing has a bound, so that the page of an
//! hour's run can still be opened.

mod account;
mod anomaly;
mod axis;
mod bands;
mod chart;
mod faults;
mod figures;
mod lanes;
mod leaders;
mod locks;
mod omitted;
mod page;
mod plots;
mod table;
mod text;
mod timeline;
mod verdicts;

use jepsen_checkers::Event;

use crate::results::Results;
use account::Account;
use bands::Bands;
use page::Page;

/// The page. A history goes by the name of its workload.
pub fn render(results: &Results, histories: &[(String, Vec<Event>)]) -> String {
    let accounts: Vec<Account> = histories.iter().map(|(name, events)| Account::new(name, events)).collect();
    let (from, until) = span(results, &accounts);
    let bands = Bands::new(results, from, until);
    let anomalies = anomaly::all(results);

    let mut page = Page::new(results);
    page.section("verdict", "Verdict", verdicts::section(results, &anomalies));
    page.section("plots", "Latency and rate", plots::section(&accounts, &bands));
    page.section("faults", "Faults", faults::section(&bands));
    page.section("leaders", "Who led", leaders::section(results, &bands));
    if let Some(locks) = locks::section(&accounts, &bands) {
        page.section("locks", "Who held which lock", locks);
    }
    page.section("timeline", "Operations by process", timeline::section(&accounts, &bands, &anomalies));
    if !anomalies.is_empty() {
        page.section("anomalies", "What went wrong", anomaly::section(&anomalies, &accounts, &bands));
    }
    page.html(&bands.definitions())
}

/// What the drawings of the whole run show: from when something was asked or broken, to the end. The founding of the
/// cluster is left out.
fn span(results: &Results, accounts: &[Account]) -> (u64, u64) {
    let operations = || accounts.iter().flat_map(|account| &account.operations);
    let began = operations().map(|op| op.start_ns).chain(results.faults.iter().map(|fault| fault.from_ns));
    let worked = (results.worked_ns.1 > 0).then_some(results.worked_ns.0);
    let from = began.chain(worked).min().unwrap_or(0);
    let ended = operations().filter_map(|op| op.end_ns).chain(results.faults.iter().map(|fault| fault.until_ns));
    let until = ended.chain([results.ended_ns, results.worked_ns.1]).max().unwrap_or(0);
    (from, until.max(from + 1_000_000))
}
