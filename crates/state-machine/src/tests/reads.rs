//! Scans against a plain filter over everything: whatever the query and the size of its pages, nothing is missing, nothing
//! comes twice, and the order is the ring's.

use bytes::Bytes;
use proptest::prelude::*;
use ringfence_shard_router::{Epoch, ShardDescriptor, ShardRange};
use ringfence_types::{HashTag, Key, Revision, RingPosition, ShardId, Value};

use crate::*;

const SHARD: ShardId = ShardId(1);

/// Puts (`true`) and deletes of keys that share tags, prefixes and awkward bytes.
fn writes() -> impl Strategy<Value = Vec<(Bytes, bool)>> {
    let name = prop::collection::vec(prop::sample::select(vec![0u8, 1, b'a', b'b', 0xff]), 0..4);
    let tag = prop::sample::select(vec!["", "{t}", "{u}"]);
    let key = (tag, name).prop_map(|(tag, name)| Bytes::from([b"k".as_slice(), tag.as_bytes(), &name].concat()));
    prop::collection::vec((key, prop::bool::weighted(0.7)), 1..60)
}

fn bound() -> impl Strategy<Value = Bytes> {
    let tails = vec!["", "k", "k{t}", "k{t}a", "k{u}b", "k{t}\0", "ka", "z"];
    prop::sample::select(tails).prop_map(Bytes::from)
}

/// The store after all writes, and the shard's picture after each.
fn build(writes: &[(Bytes, bool)]) -> (MemoryView, Vec<Vec<(Key, Bytes)>>) {
    let mut store = MemoryView::default();
    let epoch = Epoch { range: 1, membership: 1 };
    let descriptor = ShardDescriptor { shard: SHARD, range: ShardRange::ALL, epoch, replicas: Vec::new() };
    store.apply_writes(&seed(&descriptor, Limits::default()));
    let mut live: Vec<(Key, Bytes)> = Vec::new();
    let mut pictures = vec![live.clone()];
    for (i, (key, put)) in writes.iter().enumerate() {
        let key = Key::new(key.clone()).unwrap();
        let value = Bytes::from(format!("value {i}"));
        let action = match put {
            true => Action::Put { value: Value::new(value.clone()).unwrap(), ttl_ms: None },
            false => Action::Delete,
        };
        let command = Command::Mutate(Mutation { key: key.clone(), condition: Condition::None, action });
        // Each write its own revision, also a deletion of nothing.
        let advance = Command::Advance(Revision(i as i64));
        let request = |command| Request { id: None, seen: Revision::ZERO, command };
        let entry = Entry { now_ms: 0, lease_clock_ms: 0, requests: vec![request(advance), request(command)] };
        store.apply_writes(&apply(&store, SHARD, &entry).unwrap().writes);
        live.retain(|(known, _)| *known != key);
        if *put {
            live.push((key, value));
        }
        live.sort_by_key(|(key, _)| (key.position(), key.clone()));
        pictures.push(live.clone());
    }
    let end = Command::Advance(Revision(writes.len() as i64));
    let request = Request { id: None, seen: Revision::ZERO, command: end };
    let entry = Entry { now_ms: 0, lease_clock_ms: 0, requests: vec![request] };
    store.apply_writes(&apply(&store, SHARD, &entry).unwrap().writes);
    (store, pictures)
}

proptest! {
    #[test]
    fn pages_of_any_size_give_what_a_plain_filter_gives(
        writes in writes(),
        prefix in bound(),
        tag in prop::option::of(prop::sample::select(vec!["t", "u"])),
        from in bound(),
        to in prop::option::of(bound()),
        limit_items in 0usize..8,
        limit_bytes in 0usize..60,
        examined_max in 0usize..20,
        at in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (store, pictures) = build(&writes);
        let at = at.map(|at| at.index(pictures.len()));
        let position = tag.map(|tag| HashTag::new(tag).unwrap().position());
        let picture = &pictures[at.unwrap_or(pictures.len() - 1)];
        let wanted: Vec<_> = picture.iter().filter(|(key, _)| {
            let key_bytes = key.as_ref();
            key_bytes.starts_with(&prefix)
                && key_bytes >= &from[..]
                && to.as_ref().is_none_or(|to| key_bytes < &to[..])
                && position.is_none_or(|position| key.position() == position)
        }).cloned().collect();

        let mut query = ScanQuery {
            prefix, position, from, to, after: None, limit_items, limit_bytes, keys_only: false,
            at: at.map(|at| Revision(at as i64)), examined_max,
        };
        let mut found = Vec::new();
        loop {
            let page = scan(&store, SHARD, &query).unwrap().unwrap().value;
            // Even a page of no size has one item: otherwise nobody would ever get further.
            prop_assert!(page.items.len() <= limit_items.max(1));
            let before_last: usize = page.items.iter().rev().skip(1)
                .map(|item| item.key.as_ref().len() + item.value.as_ref().len()).sum();
            prop_assert!(page.items.len() <= 1 || before_last < limit_bytes, "a full page went on");
            found.extend(page.items.into_iter().map(|item| (item.key, item.value.bytes().clone())));
            prop_assert!(page.resume.is_none() || page.resume > query.after, "a page that gets nowhere");
            query.after = page.resume;
            if query.after.is_none() {
                break;
            }
        }
        prop_assert_eq!(found, wanted);
    }
}

/// While a client walks the ring, the shard under its cursor is split: the walk must not skip what moved away.
#[test]
fn a_cursor_outside_the_shard_is_refused_and_a_page_says_what_it_covered() {
    let (mut store, _) = build(&[(Bytes::from("k"), true)]);
    let mut state = ShardState::load(&store, SHARD).unwrap().unwrap();
    let range = ShardRange { first: RingPosition::MIN, last: RingPosition(1 << 40) };
    state.descriptor.range = range;
    store.apply_writes(&[state.write()]);
    let mut query = ScanQuery {
        prefix: Bytes::new(),
        position: None,
        from: Bytes::new(),
        to: None,
        after: None,
        limit_items: 10,
        limit_bytes: 1000,
        keys_only: false,
        at: None,
        examined_max: 100,
    };
    let page = scan(&store, SHARD, &query).unwrap().unwrap().value;
    assert_eq!(page, ScanPage { items: Vec::new(), resume: None, range });
    query.after = Some((RingPosition((1 << 40) + 1), Bytes::new()));
    let refusal = scan(&store, SHARD, &query).unwrap().unwrap_err();
    assert_eq!(refusal, ReadRefusal::WrongShard { descriptor: state.descriptor });
}
