//! What all operations' errors have in common: three ways to end without a result.
//!
//! | | did it happen | what the caller can do |
//! |---|---|---|
//! | [`Rejected`] | no | change the request, or what the message names; the same request gets the same answer |
//! | [`Unavailable`] | no | try again later |
//! | [`OutcomeUnknown`] | perhaps | read, then decide; or repeat what is harmless to repeat |

use ringfence_proto::v1;
use ringfence_types::RequestId;

use crate::Reason;

/// Whether a call that got no result did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It certainly did nothing, and never will.
    Refused,
    /// It may have happened, or may still happen.
    Unknown,
}

/// The cluster refuses this request; sending it again would change nothing. It did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", reason_in_brackets(.reason))]
pub struct Rejected {
    /// Why, if this version of the SDK knows the reason.
    pub reason: Option<Reason>,
    /// For people: what happened and what to do next.
    pub message: String,
}

/// No node could do it before the deadline. It did nothing, so it is safe to try again later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing happened: no node could do it in time ({attempts} attempts). Try again later. The last problem: {last}{}", reason_in_brackets(.reason))]
pub struct Unavailable {
    /// How often it was sent, or tried to be.
    pub attempts: u32,
    /// Why the last attempt failed, if a node said so.
    pub reason: Option<Reason>,
    /// The last problem, for people.
    pub last: String,
}

/// The change was sent and every answer was lost until the deadline: it happened, or not, or will in a moment.
///
/// Read the key before deciding anew. Repeating the call makes a *new* request: harmless for a `put` or a `delete` that
/// nobody else contends with, a second addition for an `add`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it may have happened: the change {id} was sent ({attempts} attempts) and no answer came in time. Read the key before deciding again. The last problem: {last}"
)]
pub struct OutcomeUnknown {
    /// The request's name in the cluster's logs.
    pub id: RequestId,
    /// How often it was sent, or tried to be.
    pub attempts: u32,
    /// The last problem, for people.
    pub last: String,
}

/// How a call ends without a result, before its operation gives that a type of its own.
#[derive(Clone, Debug)]
pub(crate) enum CallFailure {
    Refused(v1::Error),
    Unavailable(Unavailable),
    Unknown(OutcomeUnknown),
}

/// How a read ends without a result: it changes nothing, so nothing is unknown.
#[derive(Clone, Debug)]
pub(crate) enum ReadFailure {
    Refused(v1::Error),
    Unavailable(Unavailable),
}

impl From<CallFailure> for ReadFailure {
    fn from(failure: CallFailure) -> ReadFailure {
        match failure {
            CallFailure::Refused(error) => ReadFailure::Refused(error),
            CallFailure::Unavailable(unavailable) => ReadFailure::Unavailable(unavailable),
            CallFailure::Unknown(unknown) => {
                ReadFailure::Unavailable(Unavailable { attempts: unknown.attempts, reason: None, last: unknown.last })
            }
        }
    }
}

impl From<v1::Error> for Rejected {
    fn from(error: v1::Error) -> Rejected {
        Rejected { reason: error.reason(), message: error.message }
    }
}

fn reason_in_brackets(reason: &Option<Reason>) -> String {
    reason.map(|reason| format!(" [{reason}]")).unwrap_or_default()
}
