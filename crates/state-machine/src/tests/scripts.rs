//! Runs the golden scripts in `src/testscripts`: one shard (or the meta group) on a store in memory, told what to do line
//! by line. `UPDATE_GOLDENFILES=1 cargo test -p ringfence-state-machine` records new outcomes; review them as a diff.

use std::error::Error;
use std::fmt::Write as _;

use ringfence_shard_router::{Epoch, Replica, Role, ShardDescriptor, ShardRange};
use ringfence_types::{
    ClientId, Fence, FencingToken, HashTag, Holder, Key, LeaseTtl, LockMode, LockName, Metadata, NodeId, Permits,
    ReplicaId, RequestId, Revision, RingPosition, ShardId, Value,
};

use crate::*;

/// A line of a script.
#[derive(goldenscript::Command)]
enum Step {
    /// Forgets everything; a newborn shard 1 owns the ring from `first` to `last` (hexadecimal).
    Shard {
        #[arg(key)]
        first: Option<String>,
        #[arg(key)]
        last: Option<String>,
    },
    /// Forgets everything; a newborn meta group.
    Meta,
    /// Sets the leader's wall clock, in ms. It stands at 0 (not trusted) until set.
    Now(u64),
    /// Moves the leader's lease clock on, by ms.
    Tick(u64),
    /// Sets the leader's lease clock, in ms: a new leader that does not know how far the shard is.
    Lease(u64),
    /// What follows up to `commit` goes into one entry.
    Begin,
    Commit,

    Put {
        key: String,
        value: String,
        #[arg(key)]
        ttl: Option<u64>,
        #[arg(key = "if")]
        condition: Option<String>,
        /// `client.sequence@birth`
        #[arg(key)]
        id: Option<String>,
        #[arg(key)]
        seen: Option<i64>,
        /// `lock@token`, several with commas between.
        #[arg(key)]
        fence: Option<String>,
    },
    Del {
        key: String,
        #[arg(key = "if")]
        condition: Option<String>,
        #[arg(key)]
        id: Option<String>,
    },
    Add {
        key: String,
        delta: i64,
        #[arg(key)]
        min: Option<i64>,
        #[arg(key)]
        max: Option<i64>,
        #[arg(key = "if")]
        condition: Option<String>,
        #[arg(key)]
        id: Option<String>,
    },
    Expire(Vec<String>),
    Collect {
        #[arg(key, optional)]
        history: i64,
        #[arg(key, optional)]
        dedup: i64,
    },
    Advance(i64),
    Limit(u32),
    Register {
        node: u64,
        address: String,
        labels: Option<String>,
        #[arg(key, optional)]
        incarnation: u64,
    },
    Report {
        shard: u64,
        #[arg(key)]
        epoch: u64,
        #[arg(key, optional)]
        nodes: String,
    },

    Revive {
        node: u64,
        address: String,
        #[arg(key)]
        incarnation: u64,
        #[arg(key, optional)]
        forgotten: u64,
    },
    Allot,

    /// `mode` is `exclusive` (if not given), `shared`, or the number of permits.
    Acquire {
        lock: String,
        holder: String,
        #[arg(key)]
        ttl: u64,
        #[arg(key)]
        mode: Option<String>,
        #[arg(key, optional)]
        wait: bool,
        #[arg(key, optional)]
        metadata: String,
        #[arg(key)]
        id: Option<String>,
    },
    /// `lease` is `lock@token`.
    Renew {
        lease: String,
        holder: String,
        #[arg(key)]
        ttl: Option<u64>,
        #[arg(key)]
        metadata: Option<String>,
        #[arg(key)]
        id: Option<String>,
    },
    Release {
        lease: String,
        holder: String,
        #[arg(key)]
        id: Option<String>,
    },
    /// `waiter` is `lock@ticket`.
    Wait {
        waiter: String,
        holder: String,
    },
    GiveUp {
        waiter: String,
        holder: String,
    },
    /// The leader says that these leases, `lock@token`, are due.
    ExpireLeases(Vec<String>),
    Inspect(String),
    Leases {
        #[arg(key, optional)]
        prefix: String,
        #[arg(key)]
        limit: Option<usize>,
    },

    /// Removes physically what lies below the floors, as a store's compaction does.
    Sweep,
    Get {
        key: String,
        #[arg(key)]
        at: Option<i64>,
    },
    Scan {
        #[arg(key, optional)]
        prefix: String,
        /// Stays at the position of this hash tag.
        #[arg(key)]
        tag: Option<String>,
        #[arg(key, optional)]
        from: String,
        #[arg(key)]
        to: Option<String>,
        #[arg(key)]
        limit: Option<usize>,
        #[arg(key)]
        bytes: Option<usize>,
        #[arg(key)]
        examine: Option<usize>,
        #[arg(key, optional)]
        keys_only: bool,
        #[arg(key)]
        at: Option<i64>,
        /// Goes on where the scan before ended.
        #[arg(key, optional)]
        go_on: bool,
    },
    /// Where a key lies on the ring.
    Position(String),
    Nodes,
    Map,
    State,
    /// Every stored key, in order.
    Records,
}

struct Script {
    shard: ShardId,
    store: MemoryView,
    now_ms: u64,
    lease_clock_ms: u64,
    gathering: Option<Vec<Request>>,
    resume: Option<(RingPosition, bytes::Bytes)>,
}

#[test]
fn scripts() {
    // As it is where the test runs: checkouts that share a target directory share this binary.
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo runs this") + "/src/testscripts";
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {folder}");
    for path in paths {
        println!("{}", path.display());
        goldenscript::run(&mut Script::new(ShardId(1), ShardRange::ALL), path).unwrap();
    }
}

impl goldenscript::Runner for Script {
    type Command = Step;

    fn run(&mut self, step: &Step, _context: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        match step {
            Step::Shard { first, last } => {
                let bound = |text: &Option<String>, default| match text {
                    Some(text) => u64::from_str_radix(text, 16).map(RingPosition),
                    None => Ok(default),
                };
                let range =
                    ShardRange { first: bound(first, RingPosition::MIN)?, last: bound(last, RingPosition::MAX)? };
                *self = Script::new(ShardId(1), range);
                Ok(String::new())
            }
            Step::Meta => {
                *self = Script::new(ShardId::META, ShardRange::ALL);
                Ok(String::new())
            }
            Step::Now(now_ms) => {
                self.now_ms = *now_ms;
                Ok(String::new())
            }
            Step::Tick(ms) => {
                self.lease_clock_ms += ms;
                Ok(String::new())
            }
            Step::Lease(ms) => {
                self.lease_clock_ms = *ms;
                Ok(String::new())
            }
            Step::Begin => {
                self.gathering = Some(Vec::new());
                Ok(String::new())
            }
            Step::Commit => {
                let requests = self.gathering.take().ok_or("nothing was begun")?;
                let mut out = String::new();
                for reply in self.apply(requests)? {
                    writeln!(out, "{}", reply.unwrap_or_else(|refusal| format!("refused: {refusal}")))?;
                }
                Ok(out)
            }

            Step::Put { key, value, ttl, condition, id, seen, fence } => {
                let action = Action::Put { value: Value::new(value.clone())?, ttl_ms: *ttl };
                let fences = fence.iter().flat_map(|fences| fences.split(',')).map(parse_fence);
                self.mutate(key, condition, id, seen.unwrap_or(0), action, fences.collect::<Result<_, _>>()?)
            }
            Step::Del { key, condition, id } => self.mutate(key, condition, id, 0, Action::Delete, Vec::new()),
            Step::Add { key, delta, min, max, condition, id } => {
                let (min, max) = (min.unwrap_or(i64::MIN), max.unwrap_or(i64::MAX));
                self.mutate(key, condition, id, 0, Action::Add { delta: *delta, min, max }, Vec::new())
            }
            Step::Expire(keys) => {
                let keys: Result<Vec<Key>, _> = keys.iter().map(|key| Key::new(key.clone())).collect();
                self.command(Command::ExpireKeys(keys?))
            }
            Step::Collect { history, dedup } => {
                self.command(Command::Collect { history: Revision(*history), dedup: Revision(*dedup) })
            }
            Step::Advance(revision) => self.command(Command::Advance(Revision(*revision))),
            Step::Limit(value_bytes_max) => {
                self.command(Command::SetLimits(Limits { value_bytes_max: *value_bytes_max }))
            }
            Step::Register { node, address, labels, incarnation } => {
                let (address, labels) = (address.clone(), labels.clone().unwrap_or_default());
                let node = NodeInfo { node: NodeId(*node), address, labels, incarnation: *incarnation };
                self.command(Command::Meta(MetaCommand::RegisterNode(node)))
            }
            Step::Report { shard, epoch, nodes } => {
                let mut reported = descriptor(ShardId(*shard), ShardRange::ALL);
                reported.epoch.membership = *epoch;
                for node in nodes.split(',').filter(|node| !node.is_empty()) {
                    let node: u64 = node.parse()?;
                    let replica = Replica { id: ReplicaId(node), node: NodeId(node), role: Role::Voter };
                    reported.replicas.push(replica);
                }
                self.command(Command::Meta(MetaCommand::ReportShard(reported)))
            }
            Step::Revive { node, address, incarnation, forgotten } => {
                let (address, labels) = (address.clone(), String::new());
                let info = NodeInfo { node: NodeId(*node), address, labels, incarnation: *incarnation };
                self.command(Command::Meta(MetaCommand::ReviveNode { info, forgotten: vec![*forgotten] }))
            }
            Step::Allot => self.command(Command::Meta(MetaCommand::AllotReplica)),

            Step::Acquire { lock, holder, ttl, mode, wait, metadata, id } => {
                let acquire = Acquire {
                    name: LockName::new(lock.clone())?,
                    holder: Holder::new(holder.clone())?,
                    mode: parse_mode(mode.as_deref())?,
                    ttl: LeaseTtl::from_ms(*ttl)?,
                    metadata: Metadata::new(metadata.clone())?,
                    waits: *wait,
                };
                self.lock(LockCommand::Acquire(acquire), id)
            }
            Step::Renew { lease, holder, ttl, metadata, id } => {
                let ttl = ttl.map(LeaseTtl::from_ms).transpose()?;
                let metadata = metadata.clone().map(Metadata::new).transpose()?;
                self.lock(LockCommand::Renew { lease: lease_of(lease, holder)?, ttl, metadata }, id)
            }
            Step::Release { lease, holder, id } => self.lock(LockCommand::Release(lease_of(lease, holder)?), id),
            Step::Wait { waiter, holder } => self.lock(LockCommand::Wait(waiter_of(waiter, holder)?), &None),
            Step::GiveUp { waiter, holder } => self.lock(LockCommand::GiveUp(waiter_of(waiter, holder)?), &None),
            Step::ExpireLeases(leases) => {
                let due: Result<Vec<_>, _> = leases.iter().map(|lease| parse_fence(lease)).collect();
                let due = due?.into_iter().map(|Fence { lock, token }| (lock, token)).collect();
                self.lock(LockCommand::Expire(due), &None)
            }
            Step::Inspect(lock) => {
                let name = LockName::new(lock.clone())?;
                let found = inspect(&self.store, self.shard, &name)??.value;
                let mut out = String::new();
                writeln!(out, "{:?}", found.held)?;
                for lease in &found.leases {
                    writeln!(out, "{}", show_lease(lease))?;
                }
                for WaiterView { ticket, holder, mode, is_silent } in &found.waiters {
                    let silent = if *is_silent { " silent" } else { "" };
                    writeln!(out, "ticket={ticket} {holder} {mode:?}{silent}")?;
                }
                Ok(out)
            }
            Step::Leases { prefix, limit } => {
                let (limit, prefix) = (limit.unwrap_or(100), prefix.clone().into());
                let mut query = LeaseQuery { prefix, after: None, from: None, limit, examined_max: 1000 };
                let mut out = String::new();
                loop {
                    let page = list_leases(&self.store, self.shard, &query)??.value;
                    for lease in &page.leases {
                        writeln!(out, "{}", show_lease(lease))?;
                    }
                    query.after = page.resume;
                    if query.after.is_none() {
                        return Ok(out);
                    }
                    writeln!(out, "-- next page")?;
                }
            }

            Step::Sweep => {
                let state = self.state()?;
                self.store.collect(state.history_floor, state.dedup_floor);
                Ok(String::new())
            }
            Step::Get { key, at } => {
                let key = Key::new(key.clone())?;
                let answer = get(&self.store, self.shard, &key, at.map(Revision))??;
                Ok(match answer.value {
                    Some(found) => show(&found),
                    None => format!("{key} absent"),
                })
            }
            Step::Scan { prefix, tag, from, to, limit, bytes, examine, keys_only, at, go_on } => {
                let query = ScanQuery {
                    prefix: prefix.clone().into(),
                    position: tag.clone().map(HashTag::new).transpose()?.map(|tag| tag.position()),
                    from: from.clone().into(),
                    to: to.clone().map(Into::into),
                    after: self.resume.take().filter(|_| *go_on),
                    limit_items: limit.unwrap_or(100),
                    limit_bytes: bytes.unwrap_or(1 << 20),
                    keys_only: *keys_only,
                    at: at.map(Revision),
                    examined_max: examine.unwrap_or(1000),
                };
                let page = scan(&self.store, self.shard, &query)??.value;
                let mut out = String::new();
                for item in &page.items {
                    writeln!(out, "{}", show(item))?;
                }
                match &page.resume {
                    Some((_, key)) => writeln!(out, "more after {}", key.escape_ascii())?,
                    None => writeln!(out, "end")?,
                }
                self.resume = page.resume;
                Ok(out)
            }
            Step::Position(key) => Ok(Key::new(key.clone())?.position().to_string()),
            Step::Nodes => {
                let line = |n: &NodeInfo| format!("{} {} {}\n", n.node, n.address, n.labels).replace(" \n", "\n");
                Ok(nodes(&self.store)?.iter().map(line).collect())
            }
            Step::Map => {
                let line = |d: &ShardDescriptor| {
                    let on: Vec<_> = d.replicas.iter().map(|r| r.node.to_string()).collect();
                    format!("{} epoch={} on=[{}]\n", d.shard, d.epoch, on.join(" "))
                };
                Ok(shards(&self.store)?.iter().map(line).collect())
            }
            Step::State => {
                let state = self.state()?;
                Ok(format!(
                    "clock={} lease_clock={} history_floor={} dedup_floor={} value_bytes_max={}",
                    state.clock,
                    state.lease_clock_ms,
                    state.history_floor,
                    state.dedup_floor,
                    state.limits.value_bytes_max
                ))
            }
            Step::Records => self.records(),
        }
    }
}

impl Script {
    fn new(shard: ShardId, range: ShardRange) -> Script {
        let mut store = MemoryView::default();
        let descriptor = descriptor(shard, range);
        store.apply_writes(&match shard {
            ShardId::META => seed_meta(&descriptor, Limits::default(), &[], &[]),
            _ => seed(&descriptor, Limits::default()),
        });
        Script { shard, store, now_ms: 0, lease_clock_ms: 0, gathering: None, resume: None }
    }

    fn state(&self) -> Result<ShardState, Box<dyn Error>> {
        Ok(ShardState::load(&self.store, self.shard)?.ok_or("the shard was never seeded")?)
    }

    fn command(&mut self, command: Command) -> Result<String, Box<dyn Error>> {
        self.request(Request { id: None, seen: Revision::ZERO, command })
    }

    fn mutate(
        &mut self,
        key: &str,
        condition: &Option<String>,
        id: &Option<String>,
        seen: i64,
        action: Action,
        fences: Vec<Fence>,
    ) -> Result<String, Box<dyn Error>> {
        let condition = condition.as_deref().map(parse_condition).transpose()?.unwrap_or_default();
        let mutation = Mutation { key: Key::new(key.to_string())?, condition, action };
        let id = id.as_deref().map(parse_id).transpose()?;
        let command = match fences.is_empty() {
            true => Command::Mutate(mutation),
            false => Command::Fenced { fences, mutation },
        };
        self.request(Request { id, seen: Revision(seen), command })
    }

    fn lock(&mut self, command: LockCommand, id: &Option<String>) -> Result<String, Box<dyn Error>> {
        let id = id.as_deref().map(parse_id).transpose()?;
        self.request(Request { id, seen: Revision::ZERO, command: Command::Lock(command) })
    }

    /// Applies a request in an entry of its own, or gathers it.
    fn request(&mut self, request: Request) -> Result<String, Box<dyn Error>> {
        if let Some(gathering) = &mut self.gathering {
            gathering.push(request);
            return Ok(String::new());
        }
        let mut replies = self.apply(vec![request])?;
        Ok(replies.remove(0)?)
    }

    fn apply(&mut self, requests: Vec<Request>) -> Result<Vec<Result<String, Refusal>>, Box<dyn Error>> {
        let entry = Entry { now_ms: self.now_ms, lease_clock_ms: self.lease_clock_ms, requests };
        let entry = Entry::decode(&entry.encode())?;
        let applied = apply(&self.store, self.shard, &entry)?;
        self.store.apply_writes(&applied.writes);
        self.state()?.check();
        let wakes = applied.wakes.iter().map(|Wake { name, ticket }| format!("\nwakes {name} ticket={ticket}"));
        let wakes: String = wakes.collect();
        let mut replies: Vec<_> = applied.replies.into_iter().map(|reply| reply.map(show_done)).collect();
        if let Some(Ok(last)) = replies.last_mut() {
            last.push_str(&wakes);
        }
        Ok(replies)
    }

    fn records(&self) -> Result<String, Box<dyn Error>> {
        let mut out = String::new();
        for space in Space::ALL {
            for (stored, _) in self.store.records(space) {
                let text = |key: &[u8]| key.escape_ascii().to_string();
                match keys::StoredKey::decode(space, stored)? {
                    keys::StoredKey::Current { key, .. } => writeln!(out, "current {}", text(&key))?,
                    keys::StoredKey::History { key, ended, .. } => {
                        writeln!(out, "history {} ended={ended}", text(&key))?;
                    }
                    keys::StoredKey::Dedup { client, sequence, .. } => writeln!(out, "dedup {client}.{sequence}")?,
                    keys::StoredKey::Deadline { key, .. } => writeln!(out, "deadline {}", text(&key))?,
                    keys::StoredKey::Lock { name, part, .. } => writeln!(out, "lock {} {part:?}", text(&name))?,
                    keys::StoredKey::ShardState { shard } => writeln!(out, "state {shard}")?,
                    keys::StoredKey::Node { node } => writeln!(out, "node {node}")?,
                    keys::StoredKey::MapEntry { shard } => writeln!(out, "map {shard}")?,
                    keys::StoredKey::NextReplica => writeln!(out, "next replica")?,
                }
            }
        }
        Ok(out)
    }
}

fn descriptor(shard: ShardId, range: ShardRange) -> ShardDescriptor {
    ShardDescriptor { shard, range, epoch: Epoch { range: 1, membership: 1 }, replicas: Vec::new() }
}

/// `absent`, `exists`, `revision@3`, `version@3`, `value@text`.
fn parse_condition(text: &str) -> Result<Condition, Box<dyn Error>> {
    Ok(match text.split_once('@').unwrap_or((text, "")) {
        ("absent", "") => Condition::Absent,
        ("exists", "") => Condition::Exists,
        ("revision", revision) => Condition::RevisionIs(Revision(revision.parse()?)),
        ("version", version) => Condition::VersionIs(version.parse()?),
        ("value", value) => Condition::ValueIs(value.to_string().into()),
        _ => return Err(format!("unknown condition {text}").into()),
    })
}

/// `client.sequence@birth`.
fn parse_id(text: &str) -> Result<RequestId, Box<dyn Error>> {
    let (client, rest) = text.split_once('.').ok_or("an id is client.sequence@birth")?;
    let (sequence, birth) = rest.split_once('@').ok_or("an id is client.sequence@birth")?;
    Ok(RequestId { client: ClientId(client.parse()?), sequence: sequence.parse()?, birth: Revision(birth.parse()?) })
}

/// `lock@token`.
fn parse_fence(text: &str) -> Result<Fence, Box<dyn Error>> {
    let (lock, token) = text.split_once('@').ok_or("a lease is lock@token")?;
    Ok(Fence { lock: LockName::new(lock.to_string())?, token: FencingToken(Revision(token.parse()?)) })
}

fn lease_of(lease: &str, holder: &str) -> Result<LeaseRef, Box<dyn Error>> {
    let Fence { lock: name, token } = parse_fence(lease)?;
    Ok(LeaseRef { name, holder: Holder::new(holder.to_string())?, token })
}

fn waiter_of(waiter: &str, holder: &str) -> Result<WaiterRef, Box<dyn Error>> {
    let LeaseRef { name, holder, token } = lease_of(waiter, holder)?;
    Ok(WaiterRef { name, holder, ticket: token.0 })
}

fn parse_mode(text: Option<&str>) -> Result<LockMode, Box<dyn Error>> {
    Ok(match text {
        None | Some("exclusive") => LockMode::Exclusive,
        Some("shared") => LockMode::Shared,
        Some(permits) => LockMode::Permit { of: Permits::new(permits.parse()?)? },
    })
}

fn show_lease(lease: &LeaseView) -> String {
    let LeaseView { name, token, holder, metadata, mode, permit, generation, ticket, ttl, ttl_left_ms } = lease;
    let metadata = match metadata.bytes().is_empty() {
        true => String::new(),
        false => format!(" metadata={}", metadata.bytes().escape_ascii()),
    };
    format!(
        "{name}@{token} {holder} {mode:?} permit={permit} generation={generation} ticket={ticket} left={ttl_left_ms} of {}{metadata}",
        ttl.as_ms()
    )
}

fn show_done(done: Done) -> String {
    match done {
        Done::Put { revision, version } => format!("put revision={revision} version={version}"),
        Done::Deleted { revision, existed } => format!("deleted revision={revision} existed={existed}"),
        Done::Added { revision, version, value } => {
            format!("added revision={revision} version={version} value={value}")
        }
        Done::Accepted { revision } => format!("accepted clock={revision}"),
        Done::Granted { token, generation, permit, ttl_left_ms, .. } => {
            format!("granted token={token} generation={generation} permit={permit} left={ttl_left_ms}")
        }
        Done::Queued { ticket, waiting, .. } => format!("queued ticket={ticket} waiting={waiting}"),
        Done::Renewed { ttl_left_ms, revision } => format!("renewed left={ttl_left_ms} revision={revision}"),
        Done::Allotted { replica, revision } => format!("allotted {replica} clock={revision}"),
    }
}

fn show(found: &Versioned) -> String {
    let value = found.value.as_ref().escape_ascii();
    let ttl = found.ttl_left_ms.map(|ms| format!(" ttl_left={ms}")).unwrap_or_default();
    format!(
        "{}={value} revision={} created={} version={}{ttl}",
        found.key, found.revision, found.create_revision, found.version
    )
}
