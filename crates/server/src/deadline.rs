//! How long a caller is willing to wait.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

/// If the caller does not say.
pub(crate) const DEFAULT: Duration = Duration::from_secs(10);

/// Nothing is worked on for longer, whatever the caller says: it holds memory.
pub(crate) const MAX: Duration = Duration::from_secs(60);

/// A caller stops listening at its deadline, so we stop working a little before: what is known then (that nothing was
/// tried, or that the outcome is unknown) should still reach it. A tenth of the time, but not more than this.
const ANSWER_MAX: Duration = Duration::from_millis(250);

/// Of a unary call, from its `grpc-timeout` header.
pub(crate) fn of_unary(metadata: &MetadataMap) -> Instant {
    let given = metadata.get("grpc-timeout").and_then(|value| parse(value.to_str().ok()?));
    work_until(given)
}

/// Of a call in a session, received now; 0 means that the caller does not say.
pub(crate) fn of_session(timeout_ms: u32) -> Instant {
    let given = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms.into()));
    work_until(given)
}

fn work_until(given: Option<Duration>) -> Instant {
    let given = given.unwrap_or(DEFAULT).min(MAX);
    Instant::now() + given - (given / 10).min(ANSWER_MAX)
}

/// Up to eight digits and a unit, as the gRPC protocol has it. What is malformed is as if it were not there.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_understood_and_malformed_ones_ignored() {
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse("3S"), Some(Duration::from_secs(3)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for malformed in ["", "m", "123456789m", "-1S", "1.5S", "1s", "10", "1é"] {
            assert_eq!(parse(malformed), None, "{malformed:?}");
        }
    }
}
