//! Bytes that come from logs, disks and peers: what is written is read back, what is damaged is refused, and nothing
//! panics.

use bytes::Bytes;
use proptest::prelude::*;
use ringfence_shard_router::{Epoch, Replica, Role, ShardDescriptor, ShardRange};
use ringfence_types::{
    ClientId, Fence, FencingToken, Holder, Key, LeaseTtl, LockMode, LockName, Metadata, NodeId, Permits, ReplicaId,
    RequestId, Revision, RingPosition, ShardId, Value,
};

use crate::keys::{LockPart, StoredKey};
use crate::record::VersionRecord;
use crate::*;

/// A log that was written once must be readable for ever. If this fails, the format has changed: give it a new version
/// and keep reading the old one.
#[test]
fn the_log_format_never_changes() {
    let id = Some(RequestId { client: ClientId(7), sequence: 1, birth: Revision(300) });
    let request = |id, command| Request { id, seen: Revision(5), command };
    let mutate =
        |condition, action| request(id, Command::Mutate(Mutation { key: Key::new("k").unwrap(), condition, action }));
    let put = |ttl_ms| Action::Put { value: Value::new("v").unwrap(), ttl_ms };
    let entry = Entry {
        now_ms: 1000,
        lease_clock_ms: 20,
        requests: vec![
            mutate(Condition::None, put(None)),
            mutate(Condition::Absent, put(Some(9))),
            mutate(Condition::Exists, Action::Delete),
            mutate(Condition::RevisionIs(Revision(4)), Action::Add { delta: -1, min: 0, max: 10 }),
            mutate(Condition::VersionIs(2), Action::Delete),
            mutate(Condition::ValueIs("w".into()), Action::Delete),
            request(None, Command::ExpireKeys(vec![Key::new("e").unwrap()])),
            request(None, Command::Collect { history: Revision(1), dedup: Revision(2) }),
            request(None, Command::Advance(Revision(3))),
            request(None, Command::SetLimits(Limits { value_bytes_max: 64 })),
            request(
                None,
                Command::Meta(MetaCommand::RegisterNode(NodeInfo {
                    node: NodeId(1),
                    address: "a:1".into(),
                    labels: String::new(),
                    incarnation: 5,
                })),
            ),
            request(None, Command::Meta(MetaCommand::ReportShard(descriptor()))),
            request(
                None,
                Command::Meta(MetaCommand::ReviveNode {
                    info: NodeInfo { node: NodeId(1), address: "a:1".into(), labels: String::new(), incarnation: 6 },
                    forgotten: vec![5],
                }),
            ),
            request(None, Command::Meta(MetaCommand::AllotReplica)),
            request(id, Command::Lock(acquire(LockMode::Exclusive))),
            request(id, Command::Lock(acquire(LockMode::Shared))),
            request(id, Command::Lock(acquire(LockMode::Permit { of: Permits::new(3).unwrap() }))),
            request(
                None,
                Command::Lock(LockCommand::Renew {
                    lease: lease(),
                    ttl: LeaseTtl::from_ms(200).ok(),
                    metadata: Some(Metadata::new("m").unwrap()),
                }),
            ),
            request(id, Command::Lock(LockCommand::Release(lease()))),
            request(None, Command::Lock(LockCommand::Wait(waiter()))),
            request(None, Command::Lock(LockCommand::GiveUp(waiter()))),
            request(None, Command::Lock(LockCommand::Expire(vec![(lease().name, lease().token)]))),
            request(
                id,
                Command::Fenced {
                    fences: vec![Fence { lock: lease().name, token: lease().token }],
                    mutation: Mutation {
                        key: Key::new("k").unwrap(),
                        condition: Condition::None,
                        action: Action::Delete,
                    },
                },
            ),
        ],
    };
    assert_eq!(hex(&entry.encode()), LOG_FORMAT_1.concat());
    assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
}

/// Wrapped for reading.
const LOG_FORMAT_1: &[&str] = &[
    "01e8071417010701d8040a00016b0000017600010701d8040a00016b010001760109010701d8040a00016b0201010701d8",
    "040a00016b030802010014010701d8040a00016b040201010701d8040a00016b05017701000a01010165000a020204000a",
    "0306000a0440000a05000103613a310005000a05010400ffffffffffffffffff01010202010b00020c00000a0502010361",
    "3a3100060105000a0503010701d8040a0600016c01680064016d01010701d8040a0600016c01680164016d01010701d804",
    "0a0600016c0168020364016d01000a0601016c01680601c80101016d010701d8040a0602016c016806000a0603016c0168",
    "06000a0604016c016806000a060501016c06010701d8040a0701016c06016b0001",
];

/// What is kept as the outcome of a request is told to a retry by the next build, too.
#[test]
fn the_reply_format_never_changes() {
    let clock = Revision(9);
    let replies: Vec<Reply> = vec![
        Ok(Done::Put { revision: Revision(1), version: 2 }),
        Ok(Done::Deleted { revision: Revision(1), existed: true }),
        Ok(Done::Added { revision: Revision(1), version: 2, value: -3 }),
        Ok(Done::Accepted { revision: Revision(1) }),
        Ok(Done::Allotted { replica: ReplicaId(7), revision: Revision(1) }),
        Err(Refusal::ConditionFailed { revision: Revision(1), version: 2, clock }),
        Err(Refusal::OutOfBounds { current: -3, clock }),
        Err(Refusal::NotAnInteger { clock }),
        Err(Refusal::ValueTooLarge { bytes: 4, bytes_max: 3 }),
        Err(Refusal::RequestTooOld { birth: Revision(1), floor: Revision(2), clock }),
        Err(Refusal::WrongShard { descriptor: descriptor() }),
        Err(Refusal::ClockOutOfRange { now_ms: 1 << 44 }),
        Err(Refusal::WrongGroup),
        Err(Refusal::Contradiction { reason: "x".into() }),
        Ok(Done::Granted {
            token: FencingToken(Revision(3)),
            generation: FencingToken(Revision(2)),
            permit: 1,
            ttl_left_ms: 200,
            revision: Revision(4),
        }),
        Ok(Done::Queued { ticket: Revision(3), waiting: 2, revision: Revision(4) }),
        Ok(Done::Renewed { ttl_left_ms: 200, revision: Revision(4) }),
        Err(Refusal::Fenced { lock: lease().name, token: lease().token, current: None, clock }),
        Err(Refusal::FenceElsewhere { lock: lease().name, shard: ShardId(3) }),
        Err(Refusal::LeaseExpired { late_ms: 5, clock }),
        Err(Refusal::LeaseOver { clock }),
        Err(Refusal::NotTheHolder { holder: lease().holder, clock }),
        Err(Refusal::LockHeld { holder: lease().holder, token: lease().token, ttl_left_ms: 5, waiting: 1, clock }),
        Err(Refusal::LockQueueFull { waiting: 1024, clock }),
        Err(Refusal::PermitsDiffer { of: Permits::new(3).unwrap(), clock }),
    ];
    let encoded: Vec<_> = replies.iter().map(|reply| hex(&encode_reply(reply))).collect();
    assert_eq!(encoded, REPLY_FORMAT_1);
    for reply in replies {
        assert_eq!(decode_reply(&encode_reply(&reply)), Ok(reply));
    }
}

const REPLY_FORMAT_1: &[&str] = &[
    "0100000202",
    "0100010201",
    "010002020205",
    "01000302",
    "0100040702",
    "010100020212",
    "0101010512",
    "01010212",
    "0101030403",
    "010104020412",
    "0101050400ffffffffffffffffff01010202010b00020c00",
    "01010680808080808004",
    "010107",
    "0101080178",
    "010005060401c80108",
    "010006060208",
    "010007c80108",
    "010109016c060012",
    "01010a016c03",
    "01010b0512",
    "01010c12",
    "01010d016812",
    "01010e016806050112",
    "01010f800812",
    "0101100312",
];

/// The state DB outlives the build that wrote it.
#[test]
fn the_record_formats_never_change() {
    let mut version = VersionRecord {
        revision: Revision(3),
        create_revision: Revision(2),
        version: 2,
        deadline_ms: None,
        value: b"v",
    };
    assert_eq!(hex(&version.encode()), "0100000000000000000300000000000000020000000000000002".to_string() + "76");
    version.deadline_ms = Some(16);
    assert_eq!(
        hex(&version.encode()),
        "01010000000000000003000000000000000200000000000000020000000000000010".to_string() + "76"
    );
    let (position, key) = (RingPosition(0x0102030405060708), b"a\0b".as_slice());
    let stored = |stored: StoredKey<'_>| hex(&stored.encode());
    assert_eq!(stored(StoredKey::Current { position, key: key.into() }), "01020304050607084b610062");
    assert_eq!(
        stored(StoredKey::History { position, key: key.into(), ended: Revision(5) }),
        "0102030405060708486100ff6200010000000000000005"
    );
    assert_eq!(
        stored(StoredKey::Dedup { home: position, client: ClientId(7), sequence: 1 }),
        "01020304050607084400000000000000070000000000000001"
    );
    assert_eq!(stored(StoredKey::Deadline { position, key: key.into() }), "010203040506070854610062");
    let lock = |part| hex(&StoredKey::Lock { position, name: key.into(), part }.encode());
    assert_eq!(lock(LockPart::Lock), "01020304050607084c6100ff62000100");
    assert_eq!(lock(LockPart::Tenure(FencingToken(Revision(5)))), "01020304050607084c6100ff620001010000000000000005");
    assert_eq!(lock(LockPart::Waiter(Revision(5))), "01020304050607084c6100ff620001020000000000000005");
    assert_eq!(lock_records(), LOCK_FORMAT_1);
    assert_eq!(stored(StoredKey::ShardState { shard: ShardId(1) }), "000000000000000153");
    assert_eq!(stored(StoredKey::Node { node: NodeId(2) }), "00000000000000004e0000000000000002");
    assert_eq!(stored(StoredKey::MapEntry { shard: ShardId(3) }), "00000000000000004d0000000000000003");
    assert_eq!(stored(StoredKey::NextReplica), "000000000000000052");
    assert_eq!(StoredKey::decode(Space::Shard, &StoredKey::NextReplica.encode()), Ok(StoredKey::NextReplica));
    assert_eq!(hex(&seed(&descriptor(), Limits::default())[0].value.clone().unwrap()), STATE_FORMAT_1);
}

/// The records of a semaphore with one holder, and of an exclusive lock with one holder and one who waits.
fn lock_records() -> Vec<String> {
    let mut store = MemoryView::default();
    store.apply_writes(&seed(&descriptor(), Limits::default()));
    let modes = [LockMode::Permit { of: Permits::new(3).unwrap() }, LockMode::Exclusive, LockMode::Exclusive];
    let requests = modes.into_iter().enumerate().map(|(i, mode)| {
        let LockCommand::Acquire(mut asked) = acquire(mode) else { unreachable!("that is what it makes") };
        asked.name = LockName::new(["s", "l", "l"][i]).unwrap();
        Request { id: None, seen: Revision::ZERO, command: Command::Lock(LockCommand::Acquire(asked)) }
    });
    let entry = Entry { now_ms: 0, lease_clock_ms: 7, requests: requests.collect() };
    store.apply_writes(&apply(&store, ShardId(4), &entry).unwrap().writes);
    store.records(Space::Locks).map(|(_, record)| hex(record)).collect()
}

const LOCK_FORMAT_1: &[&str] =
    &["0101010406", "010168016d00000404646b", "010168016d00649f75", "0103030100000200", "010168016d0203000202646b"];

fn acquire(mode: LockMode) -> LockCommand {
    LockCommand::Acquire(Acquire {
        name: LockName::new("l").unwrap(),
        holder: Holder::new("h").unwrap(),
        mode,
        ttl: LeaseTtl::from_ms(100).unwrap(),
        metadata: Metadata::new("m").unwrap(),
        waits: true,
    })
}

fn lease() -> LeaseRef {
    LeaseRef { name: LockName::new("l").unwrap(), holder: Holder::new("h").unwrap(), token: FencingToken(Revision(3)) }
}

fn waiter() -> WaiterRef {
    WaiterRef { name: LockName::new("l").unwrap(), holder: Holder::new("h").unwrap(), ticket: Revision(3) }
}

const STATE_FORMAT_1: &str = "010400ffffffffffffffffff01010202010b00020c0000000000808040";

#[test]
fn what_is_not_an_entry_is_refused_with_the_reason() {
    let bytes = Entry { now_ms: 1, lease_clock_ms: 1, requests: Vec::new() }.encode();
    assert_eq!(Entry::decode(&[]), Err(DecodeError::Empty));
    assert_eq!(Entry::decode(&[9, 1, 2, 3]), Err(DecodeError::UnknownVersion { version: 9 }));
    assert_eq!(Entry::decode(&[&bytes[..], &[0, 0]].concat()), Err(DecodeError::TrailingBytes { bytes: 2 }));
    assert!(matches!(Entry::decode(&bytes[..2]), Err(DecodeError::Malformed { .. })));
    // An entry that expires an empty key: keys are checked wherever they come from.
    assert!(matches!(Entry::decode(&[1, 0, 0, 1, 0, 0, 1, 1, 0]), Err(DecodeError::Malformed { .. })));
    assert!(Entry::decode(&[1, 0, 0, 1, 0, 0, 1, 1, 1, b'k']).is_ok());
    let newer = DecodeError::UnknownVersion { version: 9 }.to_string();
    assert!(newer.contains("format 9") && newer.contains("newer build"), "{newer}");
}

/// A replica with a record of a newer build stops and says so; it does not guess.
#[test]
fn a_record_of_an_unknown_format_is_unreadable() {
    let mut store = MemoryView::default();
    store.apply_writes(&seed(&descriptor(), Limits::default()));
    let key = Key::new("k").unwrap();
    let stored = StoredKey::Current { position: key.position(), key: key.as_ref().into() }.encode();
    store.apply_writes(&[Write { space: Space::Current, key: stored, value: Some(Bytes::from_static(&[2, 0, 0])) }]);
    let error = get(&store, ShardId(4), &key, None).unwrap_err();
    assert!(error.reason.contains("format 2"), "{error}");

    let mutation = Mutation { key, condition: Condition::None, action: Action::Delete };
    let request = Request { id: None, seen: Revision::ZERO, command: Command::Mutate(mutation) };
    let entry = Entry { now_ms: 0, lease_clock_ms: 0, requests: vec![request] };
    assert!(apply(&store, ShardId(4), &entry).unwrap_err().reason.contains("format 2"));
    assert!(apply(&store, ShardId(5), &entry).unwrap_err().reason.contains("s5"), "never seeded here");
}

/// Positions up to the last: the end of the last shard does not fit 64 bits.
#[test]
fn the_last_position_belongs_to_the_last_shard() {
    let range = ShardRange { first: RingPosition(u64::MAX), last: RingPosition::MAX };
    let key = vec![0xff; 4096];
    for stored in [
        StoredKey::Current { position: RingPosition::MAX, key: key.as_slice().into() },
        StoredKey::History { position: RingPosition::MAX, key: key.as_slice().into(), ended: Revision(i64::MAX) },
        StoredKey::Dedup { home: RingPosition::MAX, client: ClientId(u64::MAX), sequence: u64::MAX },
        StoredKey::Deadline { position: RingPosition::MAX, key: key.as_slice().into() },
        StoredKey::Lock {
            position: RingPosition::MAX,
            name: key.as_slice().into(),
            part: LockPart::Waiter(Revision(i64::MAX)),
        },
    ] {
        let (from, to) = space_range(stored.space(), &range);
        let bytes = stored.encode();
        assert!(from.as_slice() <= &bytes[..] && &bytes[..] < to.as_slice(), "{:?}", stored.space());
    }
}

proptest! {
    #[test]
    fn requests_and_entries_are_read_back(requests in prop::collection::vec(request(), 0..6), now_ms: u64, lease_clock_ms: u64) {
        for request in &requests {
            let bytes = request.encode();
            prop_assert!(bytes.len() <= request.encoded_len_estimate() + 1, "the estimate is too low");
            prop_assert_eq!(Request::decode(&bytes).unwrap(), request.clone());
        }
        let entry = Entry { now_ms, lease_clock_ms, requests };
        prop_assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
    }

    /// Cut off anywhere, it is refused: a replica never takes half an entry for a whole one.
    #[test]
    fn a_cut_off_entry_is_refused(requests in prop::collection::vec(request(), 1..4), at: prop::sample::Index) {
        let bytes = Entry { now_ms: 1, lease_clock_ms: 1, requests }.encode();
        prop_assert!(Entry::decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    /// Anything may come over the wire or from a damaged disk.
    #[test]
    fn hostile_bytes_never_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        request in request(),
        flip: prop::sample::Index,
        with in 1u8..,
    ) {
        let mut damaged = request.encode().to_vec();
        let at = flip.index(damaged.len());
        damaged[at] ^= with;
        for known_format in [false, true] {
            if known_format && !bytes.is_empty() {
                bytes[0] = FORMAT_VERSION;
            }
            for bytes in [&bytes, &damaged] {
                let _ = Entry::decode(bytes);
                let _ = Request::decode(bytes);
                let _ = decode_reply(bytes);
                let _ = VersionRecord::decode(bytes);
                for space in Space::ALL {
                    let _ = StoredKey::decode(space, bytes);
                    let _ = collectable(space, bytes, bytes, Revision(5), Revision(5));
                    let write = Write { space, key: bytes.clone().into(), value: Some(bytes.clone().into()) };
                    let _ = (deadline_of_write(&write), lease_of_write(&write));
                }
            }
        }
    }

    /// A state DB that was tampered with makes the replica stop, not panic and not guess.
    #[test]
    fn a_damaged_store_never_panics(
        junk in prop::collection::vec((0usize..Space::ALL.len(), prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..8),
        requests in prop::collection::vec(request(), 1..4),
    ) {
        let mut store = MemoryView::default();
        store.apply_writes(&seed(&descriptor(), Limits::default()));
        let looked_at: Vec<_> = requests.iter().filter_map(|r| match &r.command {
            Command::Mutate(m) | Command::Fenced { mutation: m, .. } => {
                Some(StoredKey::Current { position: m.key.position(), key: m.key.as_ref().into() })
            }
            Command::Lock(command) => {
                let (name, part) = (command.name()?, LockPart::Lock);
                Some(StoredKey::Lock { position: name.position(), name: name.as_ref().into(), part })
            }
            _ => None,
        }).map(|stored| (stored.space(), stored.encode())).collect();
        for (i, (space, bytes, beside)) in junk.into_iter().enumerate() {
            let (space, key) = match looked_at.get(i) {
                Some(there) if beside => there.clone(),
                _ => (Space::ALL[space], Bytes::from(bytes.clone())),
            };
            store.apply_writes(&[Write { space, key, value: Some(bytes.into()) }]);
        }
        let _ = apply(&store, ShardId(4), &Entry { now_ms: 1, lease_clock_ms: 1, requests });
        let _ = digest(&store, ShardId(4));
        let _ = deadlines(&store, &ShardRange::ALL, &mut |_, _| {});
        let _ = lease_times(&store, &ShardRange::ALL, &mut |_, _, _| {});
        let _ = nodes(&store);
        let _ = shards(&store);
    }

    /// Stored keys are read back, and sort like what they name: position, then key, then revision.
    #[test]
    fn stored_keys_are_read_back_in_order(
        a in (0u64..3, short_bytes(), 0i64..3),
        b in (0u64..3, short_bytes(), 0i64..3),
    ) {
        let stored = |(position, key, ended): &(u64, Vec<u8>, i64)| {
            let position = RingPosition(*position);
            (
                StoredKey::Current { position, key: key.clone().into() }.encode(),
                StoredKey::History { position, key: key.clone().into(), ended: Revision(*ended) }.encode(),
            )
        };
        let (stored_a, stored_b) = (stored(&a), stored(&b));
        prop_assert_eq!(stored_a.0.cmp(&stored_b.0), (a.0, &a.1).cmp(&(b.0, &b.1)));
        prop_assert_eq!(stored_a.1.cmp(&stored_b.1), a.cmp(&b));
        for (space, bytes) in [(Space::Current, &stored_a.0), (Space::History, &stored_a.1)] {
            prop_assert_eq!(StoredKey::decode(space, bytes).unwrap().encode(), bytes);
        }
    }
}

/// Mostly bytes that the escaping of history keys cares about.
fn short_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0u8, 0, 1, 2, 0xfe, 0xff]), 1..5)
}

fn request() -> impl Strategy<Value = Request> {
    let id = prop::option::of((any::<u64>(), any::<u64>(), any::<i64>()).prop_map(|(client, sequence, birth)| {
        RequestId { client: ClientId(client), sequence, birth: Revision(birth) }
    }));
    (id, any::<i64>(), command()).prop_map(|(id, seen, command)| Request { id, seen: Revision(seen), command })
}

fn command() -> impl Strategy<Value = Command> {
    let revision = || any::<i64>().prop_map(Revision);
    prop_oneof![
        8 => (key(), condition(), action())
            .prop_map(|(key, condition, action)| Command::Mutate(Mutation { key, condition, action })),
        3 => lock_command().prop_map(Command::Lock),
        2 => (prop::collection::vec((name(), token()), 0..4), key(), action()).prop_map(|(fences, key, action)| {
            let fences = fences.into_iter().map(|(lock, token)| Fence { lock, token }).collect();
            Command::Fenced { fences, mutation: Mutation { key, condition: Condition::None, action } }
        }),
        1 => prop::collection::vec(key(), 0..5).prop_map(Command::ExpireKeys),
        1 => (revision(), revision()).prop_map(|(history, dedup)| Command::Collect { history, dedup }),
        1 => revision().prop_map(Command::Advance),
        1 => any::<u32>().prop_map(|value_bytes_max| Command::SetLimits(Limits { value_bytes_max })),
        1 => (any::<u64>(), ".{0,20}", ".{0,20}", any::<u64>()).prop_map(|(node, address, labels, incarnation)| {
            Command::Meta(MetaCommand::RegisterNode(NodeInfo { node: NodeId(node), address, labels, incarnation }))
        }),
        1 => Just(Command::Meta(MetaCommand::ReportShard(descriptor()))),
        1 => (any::<u64>(), ".{0,20}", prop::collection::vec(any::<u64>(), 0..4)).prop_map(|(n, address, forgotten)| {
            let info = NodeInfo { node: NodeId(n), address, labels: String::new(), incarnation: n };
            Command::Meta(MetaCommand::ReviveNode { info, forgotten })
        }),
        1 => Just(Command::Meta(MetaCommand::AllotReplica)),
    ]
}

fn lock_command() -> impl Strategy<Value = LockCommand> {
    let holder = || prop::collection::vec(any::<u8>(), 1..200).prop_map(|holder| Holder::new(holder).unwrap());
    let ttl = || (100u64..86_400_000).prop_map(|ms| LeaseTtl::from_ms(ms).unwrap());
    let metadata = || prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| Metadata::new(bytes).unwrap());
    let mode = prop_oneof![
        Just(LockMode::Exclusive),
        Just(LockMode::Shared),
        (1u32..1024).prop_map(|of| LockMode::Permit { of: Permits::new(of).unwrap() }),
    ];
    let lease = (name(), holder(), token()).prop_map(|(name, holder, token)| LeaseRef { name, holder, token });
    let lease = lease.boxed();
    let waiter = lease.clone().prop_map(|LeaseRef { name, holder, token }| WaiterRef { name, holder, ticket: token.0 });
    let waiter = waiter.boxed();
    let acquire = (name(), holder(), mode, ttl(), metadata(), any::<bool>());
    prop_oneof![
        acquire.prop_map(|(name, holder, mode, ttl, metadata, waits)| {
            LockCommand::Acquire(Acquire { name, holder, mode, ttl, metadata, waits })
        }),
        (lease.clone(), prop::option::of(ttl()), prop::option::of(metadata()))
            .prop_map(|(lease, ttl, metadata)| LockCommand::Renew { lease, ttl, metadata }),
        lease.prop_map(LockCommand::Release),
        waiter.clone().prop_map(LockCommand::Wait),
        waiter.prop_map(LockCommand::GiveUp),
        prop::collection::vec((name(), token()), 0..4).prop_map(LockCommand::Expire),
    ]
}

fn name() -> impl Strategy<Value = LockName> {
    prop::collection::vec(any::<u8>(), 1..200).prop_map(|name| LockName::new(name).unwrap())
}

fn token() -> impl Strategy<Value = FencingToken> {
    any::<i64>().prop_map(|token| FencingToken(Revision(token)))
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::None),
        Just(Condition::Absent),
        Just(Condition::Exists),
        any::<i64>().prop_map(|revision| Condition::RevisionIs(Revision(revision))),
        any::<u64>().prop_map(Condition::VersionIs),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|value| Condition::ValueIs(value.into())),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (prop::collection::vec(any::<u8>(), 0..300), prop::option::of(any::<u64>()))
            .prop_map(|(value, ttl_ms)| Action::Put { value: Value::new(value).unwrap(), ttl_ms }),
        Just(Action::Delete),
        (any::<i64>(), any::<i64>(), any::<i64>()).prop_map(|(delta, min, max)| Action::Add { delta, min, max }),
    ]
}

fn key() -> impl Strategy<Value = Key> {
    prop::collection::vec(any::<u8>(), 1..200).prop_map(|key| Key::new(key).unwrap())
}

fn descriptor() -> ShardDescriptor {
    let replica = |id| Replica { id: ReplicaId(id), node: NodeId(id + 10), role: Role::Voter };
    ShardDescriptor {
        shard: ShardId(4),
        range: ShardRange::ALL,
        epoch: Epoch { range: 1, membership: 2 },
        replicas: vec![replica(1), replica(2)],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
