use std::time::Duration;

use ringfence_types::limits::{TTL_MS_MAX, TTL_MS_MIN};

/// Why a duration is not a time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TtlError {
    /// Ttls count whole milliseconds, from one.
    #[error("a time to live of {0:?} is too short; the shortest is {TTL_MS_MIN} ms. To remove a key, delete it")]
    TooShort(Duration),
    /// Longer than the lease clock can promise.
    #[error("a time to live of {0:?} is too long; the longest is ten years. Leave it out for a key that stays")]
    TooLong(Duration),
}

/// Milliseconds, as the wire wants them.
pub(super) fn ttl_ms(ttl: Option<Duration>) -> Result<Option<i64>, TtlError> {
    let Some(ttl) = ttl else { return Ok(None) };
    match u64::try_from(ttl.as_millis()) {
        Ok(ms) if ms < TTL_MS_MIN => Err(TtlError::TooShort(ttl)),
        Ok(ms) if ms <= TTL_MS_MAX => Ok(Some(ms as i64)),
        _ => Err(TtlError::TooLong(ttl)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttls_are_whole_milliseconds_up_to_ten_years() {
        assert_eq!(ttl_ms(None), Ok(None));
        assert_eq!(ttl_ms(Some(Duration::from_millis(1))), Ok(Some(1)));
        assert_eq!(ttl_ms(Some(Duration::from_millis(TTL_MS_MAX))), Ok(Some(TTL_MS_MAX as i64)));
        let short = Duration::from_micros(999);
        assert_eq!(ttl_ms(Some(short)), Err(TtlError::TooShort(short)));
        for long in [Duration::from_millis(TTL_MS_MAX + 1), Duration::MAX] {
            assert_eq!(ttl_ms(Some(long)), Err(TtlError::TooLong(long)));
        }
    }
}
