//! A judge too simple to be wrong, and too slow for more than a handful of operations: it tries every order of every choice of
//! unknown operations, with objects written anew. Shares nothing with the search but the type of an operation.

use std::collections::{BTreeSet, VecDeque};

use jepsen_checkers::{Model, Operation, Outcome};
use serde_json::Value;

#[derive(Clone, Debug)]
enum Object {
    Register(Value),
    Counter(i64, Option<i64>),
    Set(BTreeSet<String>),
    Queue(VecDeque<Value>),
    /// The holder, by token; and all tokens so far.
    Lock(Option<u64>, Vec<u64>),
}

/// Whether some order of these operations, of one key, gives the answers that were given.
pub(crate) fn linearizable(model: Model, operations: &[Operation]) -> bool {
    let object = match model {
        Model::Register => Object::Register(Value::Null),
        Model::Counter { min } => Object::Counter(0, min),
        Model::Set => Object::Set(BTreeSet::new()),
        Model::Queue => Object::Queue(VecDeque::new()),
        Model::Lock => Object::Lock(None, Vec::new()),
        Model::Tokens(_) => panic!("not an object"),
    };
    let rest: Vec<&Operation> = operations.iter().filter(|op| op.outcome != Outcome::Fail).collect();
    some_order(&object, &rest)
}

fn some_order(object: &Object, rest: &[&Operation]) -> bool {
    if rest.iter().all(|op| op.outcome == Outcome::Unknown) {
        return true;
    }
    (0..rest.len()).any(|i| {
        let op = rest[i];
        let must_wait =
            rest.iter().any(|other| other.outcome == Outcome::Ok && other.end_ns.expect("ok has an end") < op.start_ns);
        if must_wait {
            return false;
        }
        let mut others = rest.to_vec();
        others.remove(i);
        step(object.clone(), op).is_some_and(|after| some_order(&after, &others))
    })
}

fn step(object: Object, op: &Operation) -> Option<Object> {
    let ok = op.outcome == Outcome::Ok;
    match (object, op.f.as_str()) {
        (Object::Register(value), "read") => (!ok || value == op.answer).then_some(Object::Register(value)),
        (Object::Register(_), "write") => Some(Object::Register(op.asked.clone())),
        (Object::Register(_), "delete") => Some(Object::Register(Value::Null)),
        (Object::Register(value), "cas") => (value == op.asked[0]).then(|| Object::Register(op.asked[1].clone())),

        (Object::Counter(value, min), "read") => {
            (!ok || Some(value) == op.answer.as_i64()).then_some(Object::Counter(value, min))
        }
        (Object::Counter(value, min), "add") => {
            let delta = op.asked.as_i64()?;
            let after = value + delta;
            let refused = delta < 0 && min.is_some_and(|min| after < min);
            let told = ok && op.answer.is_array();
            (!refused && (!told || op.answer[1].as_i64() == Some(after))).then_some(Object::Counter(after, min))
        }

        (Object::Set(set), "read") => {
            let list: Vec<String> = op.answer.as_array().into_iter().flatten().map(Value::to_string).collect();
            let same = list.len() == set.len() && list.iter().all(|element| set.contains(element));
            let once = list.iter().collect::<BTreeSet<_>>().len() == list.len();
            (!ok || (same && once)).then_some(Object::Set(set))
        }
        (Object::Set(mut set), "add") => {
            set.insert(op.asked.to_string());
            Some(Object::Set(set))
        }

        (Object::Queue(mut queue), "enqueue") => {
            queue.push_back(op.asked.clone());
            Some(Object::Queue(queue))
        }
        (Object::Queue(mut queue), "dequeue") => {
            let front = queue.pop_front().unwrap_or(Value::Null);
            (!ok || front == op.answer).then_some(Object::Queue(queue))
        }

        // Here every acquire says which token it got or would have got, also the unknown ones, so nothing has to be guessed.
        (Object::Lock(None, mut tokens), "acquire") => {
            let token = op.token?;
            let rises = tokens.iter().all(|earlier| *earlier < token);
            tokens.push(token);
            rises.then_some(Object::Lock(Some(token), tokens))
        }
        (Object::Lock(Some(holder), tokens), "release") => {
            (op.token == Some(holder)).then_some(Object::Lock(None, tokens))
        }
        (Object::Lock(Some(holder), tokens), "renew") => {
            (op.token == Some(holder)).then_some(Object::Lock(Some(holder), tokens))
        }
        _ => None,
    }
}
