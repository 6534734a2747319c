//! The flash sale: what was there is sold at most once.
//!
//! Each key is an article with the same stock at first. The history has `buy` (of a quantity; `null` is 1) and `read` of what is
//! left. Nothing is ever put back. Then
//!
//! * no more is sold than there was;
//! * no read is below zero;
//! * every read tells what was there, less every sale acknowledged before it was asked for, and less as many of those
//!   asked for before it ended as may have happened. With nothing under way, and nothing unknown, that is one number.
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
    /// Acknowledged, by end, each with the sum so far.
    sold: Vec<(u64, i64, &'a Operation)>,
    /// Acknowledged or unknown, by start, each with the sum so far.
    begun: Vec<(u64, i64)>,
    reads: Vec<(i64, &'a Operation)>,
}

impl<'a> Sale<'a> {
    fn new(operations: &[&'a Operation]) -> Result<Sale<'a>, Unfit> {
        let mut sale = Sale { sold: Vec::new(), begun: Vec::new(), reads: Vec::new() };
        for &op in operations {
            let unfit = || Unfit::new(op, RULE, "`buy` of a quantity from 0 on, or `read` of what is left");
            match op.f.as_str() {
                "buy" => {
                    let quantity = match &op.asked {
                        Value::Null => 1,
                        value => value.as_u64().and_then(|q| i64::try_from(q).ok()).ok_or_else(unfit)?,
                    };
                    if let (true, Some(end)) = (op.is_ok(), op.end_ns) {
                        sale.sold.push((end, quantity, op));
                    }
                    if !op.is_fail() {
                        sale.begun.push((op.start_ns, quantity));
                    }
                }
                "read" if op.is_ok() => sale.reads.push((op.answer.as_i64().ok_or_else(unfit)?, op)),
                "read" => {}
                _ => return Err(unfit()),
            }
        }
        sale.sold.sort_by_key(|(end, _, op)| (*end, op.id));
        sale.begun.sort_unstable();
        let mut sum = 0i64;
        for (_, quantity, _) in &mut sale.sold {
            sum = sum.saturating_add(*quantity);
            *quantity = sum;
        }
        sum = 0;
        for (_, quantity) in &mut sale.begun {
            sum = sum.saturating_add(*quantity);
            *quantity = sum;
        }
        Ok(sale)
    }

    fn wrong(&self, stock: i64) -> Option<(String, Vec<&'a Operation>)> {
        if let Some(over) = self.sold.iter().position(|(_, sum, _)| *sum > stock) {
            let (end, sum, op) = self.sold[over];
            let headline = format!(
                "oversold: with the sale to process {} at {} there are {sum} sold, of {stock}",
                op.process,
                at(end)
            );
            return Some((headline, self.sold[..=over].iter().map(|(_, _, op)| *op).collect()));
        }
        for &(left, op) in &self.reads {
            let before = self.sold.partition_point(|(end, _, _)| *end < op.start_ns);
            let surely = before.checked_sub(1).map_or(0, |last| self.sold[last].1);
            let begun = self.begun.partition_point(|(start, _)| *start <= op.end_ns.unwrap_or(u64::MAX));
            let at_most = begun.checked_sub(1).map_or(0, |last| self.begun[last].1);
            let (least, most) = ((stock.saturating_sub(at_most)).max(0), stock - surely);
            let start = format!("process {} read {left} left at {}", op.process, at(op.end_ns.unwrap_or_default()));
            let why = if left < 0 {
                format!("{start}: below zero")
            } else if left > most {
                format!("{start}, but {surely} of {stock} had been sold before it asked: {} came back", left - most)
            } else if left < least {
                format!(
                    "{start}, but at most {at_most} of {stock} can have been sold by then: {} are missing",
                    least - left
                )
            } else {
                continue;
            };
            let last_sold = self.sold[..before].iter().rev().take(8).map(|(_, _, op)| *op);
            return Some((why, last_sold.chain([op]).collect()));
        }
        None
    }
}
