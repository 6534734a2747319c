//! Reading many keys, in ring order and then in key order, now or at a past revision.
//!
//! With a complete hash tag the scan stays at one ring position, where keys are sorted: an ordered range read. Without one
//! it walks the whole shard in ring order and filters. Either way it answers in pages.
//!
//! Past versions stand in another space than current ones. At a past revision both are read, each in order, and merged.
//! Each may end early, when its share of the page is used up: then only what lies before the earlier end is given out,
//! and the next page goes on there. Both never have the same key: at one revision a key has at most one version.

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
    /// Items in a page at the most. A page ends with its first item at the earliest, whatever the limits.
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

    let mut items = Vec::new();
    let mut reached: Option<Place> = None; // if set, what lies after it was not read in every space
    let spaces: &[Space] = if query.at.is_some() { &[Space::Current, Space::History] } else { &[Space::Current] };
    for space in spaces {
        let stopped = read(view, *space, query, &state, &mut items)?;
        reached = match (reached, stopped) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    if spaces.len() > 1 {
        items.sort_by_cached_key(Item::place);
    }
    let (items, resume) = cut(items, reached, query);
    let page = ScanPage { items, resume, range: state.descriptor.range };
    Ok(Ok(ReadAnswer { clock: state.clock, value: page }))
}

type Place = (RingPosition, Bytes);

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

/// Makes a page of what was found, and says where the next one begins.
fn cut(found: Vec<Item>, reached: Option<Place>, query: &ScanQuery) -> (Vec<Versioned>, Option<Place>) {
    let mut items: Vec<Versioned> = Vec::with_capacity(found.len().min(query.limit_items));
    let mut bytes = 0;
    let mut last = None;
    for item in found {
        if reached.as_ref().is_some_and(|reached| item.place() > *reached) {
            break;
        }
        let full = items.len() >= query.limit_items || bytes >= query.limit_bytes;
        if full && !items.is_empty() {
            return (items, last);
        }
        bytes += item.bytes();
        last = Some(item.place());
        items.push(item.version);
    }
    (items, reached)
}

/// Reads one space in order until the page must be full, or enough was looked at. Says where it stopped, unless at the end.
fn read(
    view: &dyn View,
    space: Space,
    query: &ScanQuery,
    state: &ShardState,
    found: &mut Vec<Item>,
) -> Result<Option<Place>, Unreadable> {
    let (from, to) = bounds(space, query, state);
    if from >= to {
        return Ok(None);
    }
    let mut pass =
        Pass { query, state, space, found, items: 0, bytes: 0, examined: 0, last_key: Vec::new(), stopped: false };
    let mut outcome = Ok(());
    view.scan(space, &from, &to, &mut |stored, record| {
        pass.visit(stored, record).unwrap_or_else(|error| {
            outcome = Err(error);
            ControlFlow::Break(())
        })
    })?;
    outcome?;
    if pass.stopped { split_last(space, &pass.last_key).map(Some) } else { Ok(None) }
}

/// The stored keys that a query may want, as narrow as its tag and prefix allow.
fn bounds(space: Space, query: &ScanQuery, state: &ShardState) -> (Vec<u8>, Vec<u8>) {
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
        from = from.max(match space {
            Space::History => after_history_of(*position, key),
            _ => successor(keys::current(*position, key)),
        });
    }
    (from, to)
}

/// One space being read.
struct Pass<'a> {
    query: &'a ScanQuery,
    state: &'a ShardState,
    space: Space,
    found: &'a mut Vec<Item>,
    items: usize,
    bytes: usize,
    examined: usize,
    /// The stored key visited last; in history without the revision, so that all records of a key have one.
    last_key: Vec<u8>,
    stopped: bool,
}

impl Pass<'_> {
    fn visit(&mut self, stored: &[u8], record: &[u8]) -> Result<ControlFlow<()>, Unreadable> {
        let query = self.query;
        let of_key = match self.space {
            Space::History => &stored[..stored.len().saturating_sub(8)],
            _ => stored,
        };
        if of_key != self.last_key {
            // A pass ends between two keys, never within the history of one; and not before it has looked at something,
            // so that every page gets further than the one before. One item more than fits tells whether more follows.
            let enough =
                self.items > query.limit_items || self.bytes > query.limit_bytes || self.examined >= query.examined_max;
            if enough && self.examined > 0 {
                self.stopped = true;
                return Ok(ControlFlow::Break(()));
            }
            self.last_key.clear();
            self.last_key.extend_from_slice(of_key);
        }
        self.examined += 1;

        let (position, key) = match StoredKey::decode(self.space, stored)? {
            StoredKey::Current { position, key } => (position, key),
            StoredKey::History { ended, .. } if query.at.is_none_or(|at| ended <= at) => {
                return Ok(ControlFlow::Continue(()));
            }
            StoredKey::History { position, key, .. } => (position, key),
            other => return Err(Unreadable::new(format!("a scan met {other:?}"))),
        };
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
        self.found.push(item);
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
