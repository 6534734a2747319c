use super::{last_told, subject, told_at, without};
use crate::linearizability::{Debt, Model, Prepared, Unfit};
use crate::operation::Operation;

const KNOWN: &str = "`acquire`, whose ok has a `token`; `release` or `renew`, which ask with one";

/// A lock whose leases do **not** expire: held by one at a time, with tokens that rise.
///
/// `acquire`'s `ok` says the fencing token in the field `token`; `release` and `renew` ask with it. Without token, whoever acquired is
/// known by its process.
///
/// This is mutual exclusion as of a mutex, and right only where every lease lasts until it is released: with a ttl far beyond the
/// run, or while renewals succeed. **Once leases can expire, two clients may both believe to hold the lock**, one of them
/// wrongly and harmlessly, and this model would accuse a store that keeps its promise. Then judge what is promised: tokens
/// and the resource ([`tokens`](crate::tokens)), and the tenures that are certain ([`semaphore`](crate::semaphore)).
///
/// An unknown `acquire` may have got any token, and holds the lock until a `release` shows that token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lock;

/// Who holds, or says to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    process: u64,
    token: Option<u64>,
}

impl Holder {
    /// Whether a tenure can be the one that is meant: by its token if both say one, else by process, except that nobody
    /// knows what an unknown acquire got.
    fn is(&self, meant: &Holder, unknown: bool) -> bool {
        match (self.token, meant.token) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (None, Some(_)) if unknown => true,
            _ => self.process == meant.process,
        }
    }
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Granted; `unknown` if nobody was told.
    Acquire {
        /// To whom, under which token.
        holder: Holder,
        /// Nobody was told.
        unknown: bool,
    },
    /// Given back.
    Release(Holder),
    /// Confirmed.
    Renew(Holder),
}

/// The lock, and the tokens to come.
///
/// * Tokens only rise, so they are granted in the order of their size.
#[derive(Clone, Debug)]
pub struct State {
    held: Option<(Holder, bool)>,
    newest: Option<u64>,
    /// Tokens that were told, by size, and how many of them were granted so far.
    tokens: Vec<u64>,
    granted: usize,
}

/// The state before a step.
type Undo = (Option<(Holder, bool)>, Option<u64>, usize);

impl Lock {
    fn call(self, op: &Operation) -> Result<Call, Unfit> {
        let token = op.token.or_else(|| op.asked.as_u64());
        match op.f.as_str() {
            "acquire" => {
                // What was not told, or is forgotten, is not known.
                let token = if op.is_ok() { op.token.or_else(|| op.answer.as_u64()) } else { None };
                Ok(Call::Acquire { holder: Holder { process: op.process, token }, unknown: op.is_unknown() })
            }
            "release" => Ok(Call::Release(Holder { process: op.process, token })),
            "renew" => Ok(Call::Renew(Holder { process: op.process, token })),
            _ => Err(Unfit::new(op, "lock", KNOWN)),
        }
    }
}

impl Model for Lock {
    type Call = Call;
    type State = State;
    type Undo = Undo;
    type Digest = (Option<(Holder, bool)>, Option<u64>);

    fn name(&self) -> &'static str {
        "lock"
    }

    fn prepare(&self, part: &[Operation]) -> Result<Vec<Prepared<Call>>, Unfit> {
        let mut calls = Vec::with_capacity(part.len());
        for (i, op) in part.iter().enumerate() {
            let call = self.call(op)?;
            let idle = matches!(call, Call::Renew(_));
            if op.is_ok() || (op.is_unknown() && !idle) {
                let end = op.ended().unwrap_or(u64::MAX);
                calls.push(Prepared { op: i, call, start: op.start_ns, end, must: op.is_ok() });
            }
        }
        // An unknown acquire is of use only to a release that shows a token which nobody was told of.
        let granted = |calls: &[Prepared<Call>], token: u64| {
            calls.iter().any(|c| matches!(c.call, Call::Acquire { holder, .. } if holder.token == Some(token)))
        };
        let told: Vec<Holder> = calls
            .iter()
            .filter_map(|c| match c.call {
                Call::Release(holder) | Call::Renew(holder) => Some(holder),
                Call::Acquire { .. } => None,
            })
            .collect();
        let of_use = told.iter().any(|holder| holder.token.is_none_or(|token| !granted(&calls, token)));
        if !of_use {
            calls.retain(|c| c.must || !matches!(c.call, Call::Acquire { .. }));
        }
        Ok(calls)
    }

    fn start(&self, calls: &[Prepared<Call>]) -> State {
        let mut tokens: Vec<u64> = calls
            .iter()
            .filter_map(|c| match c.call {
                Call::Acquire { holder, .. } => holder.token,
                Call::Release(_) | Call::Renew(_) => None,
            })
            .collect();
        tokens.sort_unstable();
        State { held: None, newest: None, tokens, granted: 0 }
    }

    fn apply(&self, state: &mut State, call: &Call, _: bool) -> Option<Undo> {
        let before = (state.held, state.newest, state.granted);
        match call {
            Call::Acquire { holder, unknown } => {
                if state.held.is_some() {
                    return None;
                }
                if let Some(token) = holder.token {
                    let is_next = state.tokens.get(state.granted) == Some(&token);
                    if !is_next || state.newest >= Some(token) {
                        return None;
                    }
                    state.newest = Some(token);
                    state.granted += 1;
                }
                state.held = Some((*holder, *unknown));
            }
            Call::Release(meant) | Call::Renew(meant) => {
                let (holder, unknown) = state.held?;
                if !holder.is(meant, unknown) {
                    return None;
                }
                // An unknown grant turns out to have had this token, which must have been a new one.
                if let (true, Some(token)) = (unknown, meant.token) {
                    if holder.token.is_none() && state.newest >= Some(token) {
                        return None;
                    }
                    state.newest = Some(token);
                    state.held = Some((*meant, unknown));
                }
                if matches!(call, Call::Release(_)) {
                    state.held = None;
                }
            }
        }
        Some(before)
    }

    fn undo(&self, state: &mut State, _: &Call, _: bool, before: Undo) {
        (state.held, state.newest, state.granted) = before;
    }

    fn digest(&self, state: &State) -> Self::Digest {
        (state.held, state.newest)
    }

    /// A renewal changes nothing, unless it tells the token of an unknown grant.
    fn at_once(&self, state: &State, call: &Call) -> bool {
        matches!(call, Call::Renew(_)) && state.held.is_some_and(|(_, unknown)| !unknown)
    }

    fn looks(&self, _: &Call) -> bool {
        true
    }

    fn debt(&self, _: &Call) -> Debt {
        Debt::Look
    }

    /// Renewals can be left out; so can a whole tenure, its grant with all that shows its token.
    fn weaken(&self, piece: &[Operation], victims: &[usize]) -> Option<Vec<Operation>> {
        let holders = |i: usize| match self.call(&piece[i]).ok()? {
            Call::Acquire { holder, .. } | Call::Release(holder) | Call::Renew(holder) => holder.token,
        };
        // Without tokens on all sides a tenure can't be told from the next one of the same process.
        let whole = (0..piece.len()).all(|i| holders(i).is_some() || piece[i].f == "acquire");
        let is_victim = |i: usize| victims.binary_search(&i).is_ok();
        let granted = |token: u64| (0..piece.len()).any(|i| piece[i].f == "acquire" && holders(i) == Some(token));
        let tokens: Vec<u64> =
            victims.iter().filter(|&&i| whole && piece[i].f != "renew").filter_map(|&i| holders(i)).collect();
        let gone = |i: usize| match holders(i) {
            Some(token) if tokens.contains(&token) && granted(token) => true,
            _ => is_victim(i) && piece[i].f == "renew",
        };
        (0..piece.len()).any(gone).then(|| without(piece, gone))
    }

    fn explain(&self, piece: &[Operation], part: &[Operation]) -> Option<String> {
        let token = |op: &Operation| match self.call(op).ok()? {
            Call::Acquire { holder, .. } | Call::Release(holder) | Call::Renew(holder) => holder.token,
        };
        let culprit = last_told(piece, |_| true)?;
        let name = subject(culprit, "the lock");
        let said = |op: &Operation| token(op).map_or_else(String::new, |token| format!(" with token {token}"));
        if culprit.f != "acquire" {
            let done = if culprit.f == "renew" { "renewed" } else { "released" };
            let start = format!("process {} {done} {name}{} {}", culprit.process, said(culprit), told_at(culprit));
            let ended = part.iter().find(|op| {
                op.f == "release"
                    && op.is_ok()
                    && op.id != culprit.id
                    && token(op) == token(culprit)
                    && op.before(culprit)
            });
            return Some(match ended {
                Some(op) => format!("{start}, but process {} had released that {}", op.process, told_at(op)),
                None => format!("{start}, but did not hold it then"),
            });
        }
        let start = format!("process {} was granted {name}{} {}", culprit.process, said(culprit), told_at(culprit));
        let others = || piece.iter().filter(|op| op.id != culprit.id && op.f == "acquire" && op.is_ok());
        if let Some(op) = others().find(|op| token(op).is_some() && token(op) == token(culprit)) {
            return Some(format!("{start}, the same token as process {} {}", op.process, told_at(op)));
        }
        if let Some(op) = others().find(|op| op.before(culprit) && token(op) > token(culprit)) {
            return Some(format!(
                "{start}, but process {} had been granted the higher token {} {}",
                op.process,
                token(op)?,
                told_at(op)
            ));
        }
        let holder = others().filter(|op| op.before(culprit)).max_by_key(|op| op.end_ns)?;
        Some(format!(
            "{start}, but process {} had held it{} since its grant was acknowledged {}, and nobody had asked to release that \
             before",
            holder.process,
            said(holder),
            told_at(holder)
        ))
    }
}
