//! Who held which lock, as its clients saw it: from the acknowledgement of a grant to the asking for its release, or
//! to the loss that a client noted. Two tenures of one lock may overlap, when a client sleeps through its lease: then
//! they stand one below the other, and what the protected resource made of it stands in the verdict.

use std::collections::BTreeMap;

use jepsen_checkers::{Name, Operation};

use super::account::Account;
use super::bands::Bands;
use super::chart::Chart;
use super::figures::{at, count, counted};
use super::lanes;
use super::omitted;
use super::text::text_max;

/// What one page can take, of one workload and of all.
const LOCKS_MAX: usize = 12;
const TENURES_MAX: usize = 2_000;

const LANE: u32 = 15;

/// How a tenure ended, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Released,
    Lost,
    /// Nothing was heard of it: the client never came back, or the run was over.
    Open,
}

/// One grant, with its token.
#[derive(Debug, PartialEq, Eq)]
struct Tenure {
    token: u64,
    process: u64,
    from_ns: u64,
    until_ns: u64,
    end: End,
}

/// None if no workload has locks.
pub(super) fn section(accounts: &[Account], bands: &Bands<'_>) -> Option<String> {
    let mut html = String::new();
    let mut left = TENURES_MAX;
    for (number, account) in (1..).zip(accounts) {
        let locks = locks(&account.operations, bands.axis.end_ns());
        if !locks.is_empty() {
            html += &workload(number, account, &locks, bands, &mut left);
        }
    }
    (!html.is_empty()).then_some(html)
}

fn workload(
    number: usize,
    account: &Account,
    locks: &BTreeMap<Option<Name>, Vec<Tenure>>,
    bands: &Bands<'_>,
    left: &mut usize,
) -> String {
    let all: usize = locks.values().map(Vec::len).sum();
    let lost = locks.values().flatten().filter(|tenure| tenure.end == End::Lost).count();
    let about = format!(
        "{}: {}, {}, {} lost",
        account.workload,
        counted(locks.len(), "lock"),
        counted(all, "grant"),
        count(lost)
    );
    let title = format!(
        "{}: who held each lock, by token: until the release (blue), until the client noted the loss (ochre, with a \
         cross), or without an end (grey, dashed)",
        account.workload
    );
    let mut chart = Chart::new(format!("locks-{number}"), title, about, &bands.axis);
    bands.draw(&mut chart);
    let mut left_out = 0;
    for (shown, (lock, tenures)) in locks.iter().enumerate() {
        if shown >= LOCKS_MAX {
            left_out += tenures.len();
            continue;
        }
        let drawn = &tenures[..tenures.len().min(*left)];
        left_out += tenures.len() - drawn.len();
        *left -= drawn.len();
        let (places, lanes) = lanes::assign(drawn.iter().map(|tenure| (tenure.from_ns, tenure.until_ns)));
        chart.grow(5);
        let top = chart.grow(LANE * lanes.max(1) as u32);
        chart.rule(top, "grid");
        let name = lock.as_ref().map_or_else(|| "lock".to_owned(), Name::to_string);
        chart.name(top + 11, "name", &name);
        for (tenure, lane) in drawn.iter().zip(places) {
            draw(&mut chart, tenure, top + LANE * lane as u32);
        }
    }
    chart.grow(4);
    chart.times(0);
    let note = omitted::note(left_out, "grants are left out here; they stand in the history");
    format!("<h3>{}</h3>\n{}{note}\n", text_max(&account.workload, 80), chart.html())
}

fn draw(chart: &mut Chart<'_>, tenure: &Tenure, y: u32) {
    let Tenure { token, process, from_ns, until_ns, end } = *tenure;
    let (class, word) = match end {
        End::Released => ("tenure released", "asked for its release"),
        End::Lost => ("tenure lost", "lost"),
        End::Open => ("tenure open", "no end was noted"),
    };
    let told = format!("token {token}, process {process}: granted at {}, {word} at {}", at(from_ns), at(until_ns));
    chart.bar((from_ns, until_ns), (y + 2, LANE - 4), class, "", &told);
    let axis = chart.axis();
    let label = token.to_string();
    if axis.percent(until_ns) - axis.percent(from_ns) > 1.1 * label.len() as f64 + 1.5 {
        chart.inscribe(from_ns, y + 11, &label);
    }
    if end == End::Lost {
        chart.word(until_ns, y + 11, "middle", "bad", "×");
    }
}

/// The tenures of each lock, by their beginnings.
fn locks(operations: &[Operation], end_of_all: u64) -> BTreeMap<Option<Name>, Vec<Tenure>> {
    let mut ends: BTreeMap<(Option<Name>, u64), (u64, End)> = BTreeMap::new();
    for op in operations {
        let end = match op.f.as_str() {
            "release" if !op.is_fail() => End::Released,
            "lost" => End::Lost,
            _ => continue,
        };
        if let Some(token) = op.token.or_else(|| op.asked.as_u64()) {
            let first = ends.entry((lock_of(op), token)).or_insert((op.start_ns, end));
            if op.start_ns < first.0 {
                *first = (op.start_ns, end);
            }
        }
    }
    let mut locks: BTreeMap<Option<Name>, Vec<Tenure>> = BTreeMap::new();
    for op in operations.iter().filter(|op| op.f == "acquire" && op.is_ok()) {
        let (Some(token), Some(from_ns)) = (op.token.or_else(|| op.answer.as_u64()), op.end_ns) else { continue };
        let lock = lock_of(op);
        let (until_ns, end) = ends.get(&(lock.clone(), token)).copied().unwrap_or((end_of_all, End::Open));
        let until_ns = until_ns.max(from_ns);
        locks.entry(lock).or_default().push(Tenure { token, process: op.process, from_ns, until_ns, end });
    }
    locks.values_mut().for_each(|tenures| tenures.sort_by_key(|tenure| (tenure.from_ns, tenure.token)));
    locks
}

/// The field `lock` names it if it is not the key.
fn lock_of(op: &Operation) -> Option<Name> {
    match op.extra.get("lock") {
        Some(serde_json::Value::String(name)) => Some(Name::from(name.as_str())),
        Some(value) => value.as_i64().map(Name::from).or_else(|| op.key.clone()),
        None => op.key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use jepsen_checkers::{Event, History, Kind};

    use super::*;

    fn event(time: u64, process: u64, kind: Kind, f: &str, token: Option<u64>) -> Event {
        let mut event = Event::new(time, process, kind, f);
        (event.key, event.token) = (Some("l".into()), token);
        event
    }

    /// The sleeper's tenure lasts until it notes the loss, also while another has been granted the lock.
    #[test]
    fn tenures_end_with_what_their_clients_know() {
        let events = [
            event(0, 0, Kind::Invoke, "acquire", None),
            event(1, 0, Kind::Ok, "acquire", Some(4)),
            event(5, 1, Kind::Invoke, "acquire", None),
            event(6, 1, Kind::Ok, "acquire", Some(9)),
            event(7, 0, Kind::Invoke, "lost", Some(4)),
            event(7, 0, Kind::Ok, "lost", Some(4)),
        ];
        let history = History::from_events(events).unwrap();
        let locks = locks(&history.operations, 20);
        let sleeper = Tenure { token: 4, process: 0, from_ns: 1, until_ns: 7, end: End::Lost };
        let other = Tenure { token: 9, process: 1, from_ns: 6, until_ns: 20, end: End::Open };
        assert_eq!(locks[&Some("l".into())], [sleeper, other]);
    }
}
