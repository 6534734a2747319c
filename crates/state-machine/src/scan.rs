//! Reading many keys, in ring order and then in key order, now or at a past revision.
//!
//! With a complete hash tag the scan stays at one ring position, where keys are sorted: an ordered range read. Without one
//! it walks the whole shard in ring order and filters. Either way it answers in pages.
//!
//! Past versions stand in another space than current ones. At a past revision both are read, each in order, as two
//! *lanes* that are merged. A lane knows how far it has read, and an item is given out only once no lane can still
//! find one before it. Both never have the same key: at one revision a key has at most one version.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::Bytes;
use ringfence_shard_router::ShardRange;
use ringfence_types::{Key, Revision, RingPosition, ShardId};

use crate::keys::{self, StoredKey};
use crate::read::{admit, versioned};
use crate::record::VersionRecord;
use crate::{ReadAnswer, ReadRefusal, ShardState, Space, Unreadable, Versioned, View};

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanQuery {
    /// Only keys that begin so.
    pub prefix: Bytes,
    /// Only keys at this position: given when the hash tag is complete. Otherwise the whole shard is walked.
    pub position: Option<RingPosition>,
    /// Only keys at or after this.
    pub from: Bytes,
    /// Only keys before this.
    pub to: Option<Bytes>,
    /// Begin after this key at this position: where the page before ended. An empty key begins at the position itself.
    pub after: Option<(RingPosition, Bytes)>,
    /// Items in a page at the most; at least 1 is given.
    pub limit_items: usize,
    /// A page ends once its keys and values have this many bytes.
    pub limit_bytes: usize,
    /// Leave the values out.
    pub keys_only: bool,
    /// As it was at this revision.
    pub at: Option<Revision>,
    /// A page ends after looking at this many records, even if few passed the filter.
    pub examined_max: usize,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPage {
    /// In ring order, then in key order.
    pub items: Vec<Versioned>,
    /// Where to go on: the next query's `after`. `None`: everything up to the end of `range` (or of the position) was looked
    /// at.
    pub resume: Option<(RingPosition, Bytes)>,
    /// What the shard owned. A walk over the ring goes on behind its last position, whatever it believed of the shard
    /// before: the shard may have been split since.
    pub range: ShardRange,
}

/// Reads one page.
pub fn scan(
    view: &dyn View,
    shard: ShardId,
    query: &ScanQuery,
) -> Result<Result<ReadAnswer<ScanPage>, ReadRefusal>, Unreadable> {
    let state = ShardState::load_existing(view, shard)?;
    // A walk that was interrupted goes on here only if the place where it stopped is still ours.
    let begin = query.position.or(query.after.as_ref().map(|(position, _)| *position));
    if let Err(refusal) = admit(&state, begin.unwrap_or(state.descriptor.range.first), query.at) {
        return Ok(Err(refusal));
    }

    let mut lanes = vec![Lane::new(Space::Current, query, &state)];
    if query.at.is_some() {
        lanes.push(Lane::new(Space::History, query, &state));
    }
    let (items, resume) = merge(view, query, &state, &mut lanes)?;
    let page = ScanPage { items, resume, range: state.descriptor.range };
    Ok(Ok(ReadAnswer { clock: state.clock, value: page }))
}

type Place = (RingPosition, Bytes);

fn merge(
    view: &dyn View,
    query: &ScanQuery,
    state: &ShardState,
    lanes: &mut [Lane],
) -> Result<(Vec<Versioned>, Option<Place>), Unreadable> {
    let mut items: Vec<Versioned> = Vec::new();
    let mut bytes = 0;
    let mut last = None;
    loop {
        let full = !items.is_empty() && (items.len() >= query.limit_items || bytes >= query.limit_bytes);
        if full {
            let more = lanes.iter().any(|lane| !lane.found.is_empty() || !lane.done);
            return Ok((items, last.filter(|_| more)));
        }

        // No lane that has more to read can find anything up to here.
        let horizon = lanes.iter().filter(|lane| !lane.done).map(|lane| lane.reached.clone()).min();
        let heads = lanes.iter().enumerate().filter_map(|(i, lane)| Some((lane.found.front()?.place(), i)));
        match heads.min() {
            Some((place, i)) if horizon.as_ref().is_none_or(|horizon| Some(&place) <= horizon.as_ref()) => {
                let item = lanes[i].found.pop_front().expect("it has a head");
                bytes += item.bytes();
                last = Some(place);
                items.push(item.version);
                continue;
            }
            None if horizon.is_none() => return Ok((items, None)),
            _ => {}
        }

        let examined: usize = lanes.iter().map(|lane| lane.examined).sum();
        let horizon = horizon.expect("a lane has more to read");
        // Every lane reads at least once, so every page gets further than the one before.
        if horizon.is_some() && examined >= query.examined_max {
            return Ok((items, horizon));
        }
        let page = Budget {
            // One more than fits tells whether there is a next page.
            items: query.limit_items.max(1) - items.len() + 1,
            bytes: query.limit_bytes.saturating_sub(bytes).max(1),
            examined: query.examined_max.saturating_sub(examined).max(1),
        };
        let behind = lanes.iter_mut().find(|lane| !lane.done && lane.reached == horizon).expect("the least is one");
        behind.read_on(view, query, state, &page)?;
    }
}

/// One item, and where it lies.
struct Item {
    position: RingPosition,
    version: Versioned,
}

impl Item {
    fn place(&self) -> Place {
        (self.position, self.version.key.bytes().clone())
    }

    fn bytes(&self) -> usize {
        self.version.key.as_ref().len() + self.version.value.as_ref().len()
    }
}

/// How much a lane may read at a time.
struct Budget {
    items: usize,
    bytes: usize,
    examined: usize,
}

/// One space being read in order.
///
/// * `found` holds every item up to `reached` that was not given out yet.
/// * `from` is the first stored key that was not read.
struct Lane {
    space: Space,
    from: Vec<u8>,
    to: Vec<u8>,
    found: VecDeque<Item>,
    reached: Option<Place>,
    done: bool,
    examined: usize,
}

impl Lane {
    fn new(space: Space, query: &ScanQuery, state: &ShardState) -> Lane {
        let at = |position: RingPosition, key: &[u8]| match space {
            Space::History => keys::history_from(position, key),
            _ => keys::current(position, key),
        };
        let (mut from, mut to) = keys::space_range(space, &state.descriptor.range);
        if let Some(position) = query.position {
            from = at(position, query.from.as_ref().max(query.prefix.as_ref()));
            to = keys::space_range(space, &ShardRange { first: position, last: position }).1;
            let ends = [query.to.clone().map(Vec::from), prefix_end(&query.prefix)];
            if let Some(end) = ends.into_iter().flatten().min() {
                to = at(position, &end);
            }
        }
        if let Some((position, key)) = &query.after {
            let after = match space {
                Space::History => after_history_of(*position, key),
                _ => successor(keys::current(*position, key)),
            };
            from = from.max(after);
        }
        let done = from >= to;
        Lane { space, from, to, found: VecDeque::new(), reached: None, done, examined: 0 }
    }

    fn read_on(
        &mut self,
        view: &dyn View,
        query: &ScanQuery,
        state: &ShardState,
        budget: &Budget,
    ) -> Result<(), Unreadable> {
        let (from, to) = (std::mem::take(&mut self.from), std::mem::take(&mut self.to));
        let mut pass = Pass {
            query,
            state,
            space: self.space,
            budget,
            found: &mut self.found,
            items: 0,
            bytes: 0,
            examined: 0,
            last_key: Vec::new(),
            stopped: false,
        };
        let mut outcome = Ok(());
        view.scan(self.space, &from, &to, &mut |stored, record| match pass.visit(stored, record) {
            Ok(flow) => flow,
            Err(error) => {
                outcome = Err(error);
                ControlFlow::Break(())
            }
        })?;
        outcome?;

        let Pass { examined, last_key, stopped, .. } = pass;
        self.examined += examined;
        self.to = to;
        self.done = !stopped;
        if stopped {
            let (position, key) = split_last(self.space, &last_key)?;
            self.from = match self.space {
                Space::History => after_history_of(position, &key),
                _ => successor(last_key),
            };
            self.reached = Some((position, key));
        }
        Ok(())
    }
}

/// One pass of a lane over its space.
struct Pass<'a> {
    query: &'a ScanQuery,
    state: &'a ShardState,
    space: Space,
    budget: &'a Budget,
    found: &'a mut VecDeque<Item>,
    items: usize,
    bytes: usize,
    examined: usize,
    /// The stored key visited last; in history without the revision, so that all records of a key have one.
    last_key: Vec<u8>,
    stopped: bool,
}

impl Pass<'_> {
    fn visit(&mut self, stored: &[u8], record: &[u8]) -> Result<ControlFlow<()>, Unreadable> {
        let of_key = match self.space {
            Space::History => &stored[..stored.len().saturating_sub(8)],
            _ => stored,
        };
        if of_key != self.last_key {
            // A pass ends between two keys, never within the history of one.
            let spent = self.items >= self.budget.items
                || self.bytes >= self.budget.bytes
                || self.examined >= self.budget.examined;
            if spent {
                self.stopped = true;
                return Ok(ControlFlow::Break(()));
            }
            self.last_key.clear();
            self.last_key.extend_from_slice(of_key);
        }
        self.examined += 1;

        let (position, key) = match StoredKey::decode(self.space, stored)? {
            StoredKey::Current { position, key } => (position, key),
            StoredKey::History { position, key, ended } => {
                let at = self.query.at.expect("history is read only at a revision");
                if ended <= at {
                    return Ok(ControlFlow::Continue(()));
                }
                (position, key)
            }
            other => return Err(Unreadable::new(format!("a scan met {other:?}"))),
        };
        let query = self.query;
        let wanted = key.starts_with(&query.prefix)
            && query.from.as_ref() <= key.as_ref()
            && query.to.as_ref().is_none_or(|to| key.as_ref() < to.as_ref());
        if !wanted {
            return Ok(ControlFlow::Continue(()));
        }
        let version = VersionRecord::decode(record)?;
        if query.at.is_some_and(|at| version.revision > at) {
            return Ok(ControlFlow::Continue(()));
        }
        let value = if query.keys_only { Bytes::new() } else { Bytes::copy_from_slice(version.value) };
        let key = Key::new(key.into_owned()).map_err(|e| Unreadable::new(format!("a stored key is none: {e}")))?;
        let version = versioned(key, value, &version, self.state, self.space == Space::Current)?;
        let item = Item { position, version };
        self.items += 1;
        self.bytes += item.bytes();
        self.found.push_back(item);
        Ok(ControlFlow::Continue(()))
    }
}

/// The position and key of a stored key as [`Pass`] keeps it.
fn split_last(space: Space, last_key: &[u8]) -> Result<Place, Unreadable> {
    let mut stored = last_key.to_vec();
    if space == Space::History {
        stored.extend_from_slice(&[0; 8]);
    }
    match StoredKey::decode(space, &stored)? {
        StoredKey::Current { position, key } | StoredKey::History { position, key, .. } => {
            Ok((position, key.into_owned().into()))
        }
        other => Err(Unreadable::new(format!("a scan met {other:?}"))),
    }
}

/// The least byte string above another.
fn successor(mut stored: Vec<u8>) -> Vec<u8> {
    stored.push(0);
    stored
}

/// Above all history of a key, and below that of the next: no revision begins with 0xff.
fn after_history_of(position: RingPosition, key: &[u8]) -> Vec<u8> {
    let mut stored = keys::history_of(position, key);
    stored.extend_from_slice(&[0xff; 8]);
    stored
}

/// The least byte string above everything with this prefix, if there is one.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b < 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
