//! The flash sale: what was there is sold at most once.
//!
//! Each key is an article with the same stock at first. The history has `buy` and `restock` (of a quantity; `null` is 1) and `read`
//! of what is left. Then
//!
//! * no more is sold than there was, and may have come in;
//! * no read is below zero;
//! * every read tells what was there, less every sale acknowledged before it was asked for, and less as many of those
//!   asked for before it ended as may have happened; and the other way round with what came in. With nothing under way, and
//!   nothing unknown, that is one number.
//!
//! These bounds follow from linearizability and are checked in the time it takes to sort, so also for histories beyond a search.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::enough::Enough;
use crate::history::History;
use crate::linearizability::Unfit;
use crate::operation::{Operation, at};
use crate::verdict::{Checked, Explanation, Verdict};

const RULE: &str = "stock";

/// Judges a sale in which there were `stock` of each key.
pub fn check(history: &History, stock: i64, enough: Enough) -> Result<Verdict, Unfit> {
    let mut checked = Checked::of(&history.operations);
    let mut keys: BTreeMap<_, Vec<&Operation>> = BTreeMap::new();
    for op in &history.operations {
        keys.entry(&op.key).or_default().push(op);
    }
    for (key, operations) in keys {
        let sale = Sale::new(&operations)?;
        checked.telling += sale.reads.len();
        if let Some((headline, piece)) = sale.wrong(stock) {
            return Ok(Verdict::Invalid { explanation: Explanation::new(RULE, headline, key.clone(), piece) });
        }
    }
    Ok(enough.judge(checked))
}

struct Sale<'a> {
    /// Acknowledged sales, by end.
    sales: Vec<(u64, &'a Operation)>,
    sold: Flow,
    came: Flow,
    reads: Vec<(i64, &'a Operation)>,
}

impl<'a> Sale<'a> {
    fn new(operations: &[&'a Operation]) -> Result<Sale<'a>, Unfit> {
        let mut sale = Sale { sales: Vec::new(), sold: Flow::default(), came: Flow::default(), reads: Vec::new() };
        for &op in operations {
            let unfit =
                || Unfit::new(op, RULE, "`buy` or `restock` of a quantity from 0 on, or `read` of what is left");
            let quantity = || match &op.asked {
                Value::Null => Ok(1),
                value => value.as_u64().and_then(|q| i64::try_from(q).ok()).ok_or_else(unfit),
            };
            match op.f.as_str() {
                "buy" => {
                    sale.sold.take(op, quantity()?);
                    sale.sales.extend(op.is_ok().then_some(op.end_ns).flatten().map(|end| (end, op)));
                }
                "restock" => sale.came.take(op, quantity()?),
                "read" if op.is_ok() => sale.reads.push((op.answer.as_i64().ok_or_else(unfit)?, op)),
                "read" => {}
                _ => return Err(unfit()),
            }
        }
        sale.sales.sort_by_key(|(end, op)| (*end, op.id));
        sale.sold.add_up();
        sale.came.add_up();
        Ok(sale)
    }

    fn wrong(&self, stock: i64) -> Option<(String, Vec<&'a Operation>)> {
        for (nth, &(end, op)) in self.sales.iter().enumerate() {
            let sold = self.sold.surely(end.saturating_add(1));
            let there = stock.saturating_add(self.came.perhaps(end));
            if sold > there {
                let headline = format!(
                    "oversold: with the sale to process {} at {} there are {sold} sold, of {there}",
                    op.process,
                    at(end)
                );
                return Some((headline, self.sales[..=nth].iter().map(|(_, op)| *op).collect()));
            }
        }
        for &(left, op) in &self.reads {
            let (begins, ends) = (op.start_ns, op.end_ns.unwrap_or(u64::MAX));
            let (surely, at_most) = (self.sold.surely(begins), self.sold.perhaps(ends));
            let (came, may_have_come) = (self.came.surely(begins), self.came.perhaps(ends));
            let least = stock.saturating_add(came).saturating_sub(at_most).max(0);
            let there = stock.saturating_add(may_have_come);
            let most = there.saturating_sub(surely);
            let start = format!("process {} read {left} left at {}", op.process, at(op.end_ns.unwrap_or_default()));
            let why = if left < 0 {
                format!("{start}: below zero")
            } else if left > most {
                format!("{start}, but {surely} of {there} had been sold before it asked: {} came back", left - most)
            } else if left < least {
                format!(
                    "{start}, but at most {at_most} of {} can have been sold by then: {} are missing",
                    stock.saturating_add(came),
                    least - left
                )
            } else {
                continue;
            };
            let before = self.sales.partition_point(|(end, _)| *end < begins);
            let last_sold = self.sales[..before].iter().rev().take(8).map(|(_, op)| *op);
            return Some((why, last_sold.chain([op]).collect()));
        }
        None
    }
}

/// What went one way: out, or in.
#[derive(Default)]
struct Flow {
    /// Acknowledged, by end, each with the sum so far.
    ended: Vec<(u64, i64)>,
    /// Acknowledged or unknown, by start, each with the sum so far.
    begun: Vec<(u64, i64)>,
}

impl Flow {
    fn take(&mut self, op: &Operation, quantity: i64) {
        if let (true, Some(end)) = (op.is_ok(), op.end_ns) {
            self.ended.push((end, quantity));
        }
        if !op.is_fail() {
            self.begun.push((op.start_ns, quantity));
        }
    }

    fn add_up(&mut self) {
        for list in [&mut self.ended, &mut self.begun] {
            list.sort_unstable();
            let mut sum = 0i64;
            for (_, quantity) in list {
                sum = sum.saturating_add(*quantity);
                *quantity = sum;
            }
        }
    }

    /// What was acknowledged before a time.
    fn surely(&self, before: u64) -> i64 {
        let count = self.ended.partition_point(|(end, _)| *end < before);
        count.checked_sub(1).map_or(0, |last| self.ended[last].1)
    }

    /// What was asked for up to a time, and not refused.
    fn perhaps(&self, until: u64) -> i64 {
        let count = self.begun.partition_point(|(start, _)| *start <= until);
        count.checked_sub(1).map_or(0, |last| self.begun[last].1)
    }
}
