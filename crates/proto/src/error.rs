//! One error, two shapes: [`v1::Error`] inside a Batch or Session, `google.rpc.Status` as the end of a unary call.
//!
//! The one turns into the other and back without loss, so a client handles both with the same code.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::v1;
use crate::{Advice, Outcome, Reason};

/// `ErrorInfo.domain` of every error of ours.
pub const ERROR_DOMAIN: &str = "ringfence";

impl v1::Error {
    /// With the code and the retry time that the reason's row in the table gives. The message is for people: what
    /// happened and what to do next.
    pub fn new(reason: Reason, message: impl Into<String>) -> v1::Error {
        v1::Error {
            code: reason.code() as i32,
            reason: reason.name().to_owned(),
            message: message.into(),
            metadata: Default::default(),
            retry_after_ms: 0,
        }
        .retry_after(reason.retry_after().unwrap_or_default())
    }

    /// With a fact beside the reason; keys stand in [`crate::metadata`].
    pub fn with(mut self, key: &str, value: impl ToString) -> v1::Error {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// With another retry time than the table's. Whole milliseconds; zero means that a retry does not help.
    pub fn retry_after(mut self, wait: Duration) -> v1::Error {
        self.retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        self
    }

    /// The reason, unless the error is not ours or newer than this version.
    pub fn reason(&self) -> Option<Reason> {
        self.reason.parse().ok()
    }

    /// What the sending did. Of a reason that we do not know (a proxy's error, a newer server's) only the code speaks.
    pub fn outcome(&self) -> Outcome {
        match (self.reason(), Code::from_i32(self.code)) {
            (Some(reason), _) => reason.outcome(),
            (
                None,
                Code::InvalidArgument
                | Code::Unimplemented
                | Code::Unauthenticated
                | Code::PermissionDenied
                | Code::FailedPrecondition
                | Code::OutOfRange,
            ) => Outcome::Refused,
            (None, _) => Outcome::Unknown,
        }
    }

    /// What to do next. Of a reason that we do not know only the code and the retry time speak.
    pub fn advice(&self) -> Advice {
        match (self.reason(), Code::from_i32(self.code)) {
            (Some(reason), _) => reason.advice(),
            (None, _) if self.retry_after_ms > 0 => Advice::Later,
            (None, Code::Unavailable | Code::Cancelled) => Advice::Elsewhere,
            (None, Code::DeadlineExceeded | Code::ResourceExhausted | Code::Aborted) => Advice::Later,
            (None, _) => Advice::Never,
        }
    }

    /// How long to wait before a retry, if the server said so.
    pub fn retry_info(&self) -> Option<Duration> {
        (self.retry_after_ms > 0).then(|| Duration::from_millis(self.retry_after_ms.into()))
    }

    /// A fact beside the reason, if it is there and reads as a `T`.
    pub fn fact<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.metadata.get(key)?.parse().ok()
    }
}

impl From<v1::Error> for Status {
    fn from(error: v1::Error) -> Status {
        let mut details = ErrorDetails::new();
        if !error.reason.is_empty() || !error.metadata.is_empty() {
            let metadata: HashMap<_, _> = error.metadata.into_iter().collect();
            details.set_error_info(error.reason, ERROR_DOMAIN, metadata);
        }
        if error.retry_after_ms > 0 {
            details.set_retry_info(Some(Duration::from_millis(error.retry_after_ms.into())));
        }
        Status::with_error_details(Code::from_i32(error.code), error.message, details)
    }
}

impl From<&Status> for v1::Error {
    /// Details of another domain (a proxy's) are left out: their reasons mean something else.
    fn from(status: &Status) -> v1::Error {
        let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN);
        let (reason, metadata) = info.map(|info| (info.reason, info.metadata)).unwrap_or_default();
        let wait = status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or_default();
        v1::Error {
            code: status.code() as i32,
            reason,
            message: status.message().to_owned(),
            metadata: metadata.into_iter().collect(),
            retry_after_ms: 0,
        }
        .retry_after(wait)
    }
}

impl From<Status> for v1::Error {
    fn from(status: Status) -> v1::Error {
        v1::Error::from(&status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata;

    /// Unary clients and SDK sessions must be told the same.
    #[test]
    fn every_reason_survives_the_way_through_a_status() {
        for reason in Reason::ALL {
            let error = v1::Error::new(reason, format!("{reason}: wait, then ask n2 — again"))
                .with(metadata::LEADER_NODE, 2)
                .with(metadata::CLOCK, i64::MAX);
            let status = Status::from(error.clone());
            assert_eq!(status.code(), reason.code());
            let back = v1::Error::from(&status);
            assert_eq!(back, error);
            assert_eq!(back.reason(), Some(reason));
            assert_eq!(back.fact(metadata::CLOCK), Some(i64::MAX));
            assert_eq!(back.fact::<u64>(metadata::FLOOR), None);
        }
    }

    /// `Decided` and `Refused` errors carry no wait unless a retry helps; a server may override the table's wait.
    #[test]
    fn retry_time_follows_the_table_unless_told_otherwise() {
        assert_eq!(v1::Error::new(Reason::ConditionFailed, "").retry_info(), None);
        let patient = v1::Error::new(Reason::Overloaded, "").retry_after(Duration::from_millis(1234));
        assert_eq!(v1::Error::from(Status::from(patient)).retry_info(), Some(Duration::from_millis(1234)));
        assert_eq!(v1::Error::new(Reason::Overloaded, "").retry_after(Duration::MAX).retry_after_ms, u32::MAX);
    }

    /// tonic makes statuses of its own when a connection breaks; for a mutation that means "unknown", never "refused".
    #[test]
    fn a_broken_connection_is_unknown_and_retried_elsewhere() {
        let error = v1::Error::from(Status::unavailable("connection reset"));
        assert_eq!((error.reason(), error.outcome(), error.advice()), (None, Outcome::Unknown, Advice::Elsewhere));
    }

    /// A proxy between may add an ErrorInfo of its own, whose OVERLOADED is not ours.
    #[test]
    fn reasons_of_other_domains_are_not_taken_for_ours() {
        let details = ErrorDetails::with_error_info("OVERLOADED", "proxy.example", HashMap::new());
        let status = Status::with_error_details(Code::PermissionDenied, "no", details);
        assert_eq!(v1::Error::from(&status).reason(), None);
        assert_eq!(v1::Error::from(&status).outcome(), Outcome::Refused);
    }
}
