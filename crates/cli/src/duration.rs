//! Durations as people type them: `500ms`, `10s`, `5m`, `2h`, `7d`.

use std::time::Duration;

/// Reads a positive whole number and its unit. A bare number is refused: nobody remembers whether it means seconds.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let ms_per_unit: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return Err("give a whole number and a unit: 500ms, 10s, 5m, 2h or 7d".to_owned()),
    };
    let number: u64 = match number.parse() {
        Ok(0) => return Err("a duration must be longer than nothing".to_owned()),
        Ok(number) => number,
        Err(_) if number.is_empty() => return Err("the number is missing, as in 10s".to_owned()),
        Err(_) => return Err("the duration is too long".to_owned()),
    };
    number.checked_mul(ms_per_unit).map(Duration::from_millis).ok_or_else(|| "the duration is too long".to_owned())
}

/// The shortest way to write a number of milliseconds for people: the two largest units that matter.
pub fn display_ms(ms: u64) -> String {
    let (days, hours, minutes, seconds) = (ms / 86_400_000, ms / 3_600_000 % 24, ms / 60_000 % 60, ms / 1000 % 60);
    match (days, hours, minutes, seconds) {
        (0, 0, 0, 0) => format!("{ms}ms"),
        (0, 0, 0, s) => format!("{s}.{}s", ms % 1000 / 100),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, h, _, _) => format!("{d}d{h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, ms) in
            [("1ms", 1), ("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("2h", 7_200_000), ("7d", 604_800_000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    /// A ttl that is silently read as something else loses data, so everything odd is refused.
    #[test]
    fn everything_odd_is_refused() {
        for text in [
            "",
            "10",
            "s",
            "-5s",
            "+5s",
            "0s",
            "1.5s",
            "10 s",
            "10S",
            "10sec",
            "1h30m",
            "99999999999999999999s",
            "9999999999999999999d",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn display_keeps_the_two_largest_units() {
        for (ms, text) in
            [(0, "0ms"), (999, "999ms"), (1500, "1.5s"), (61_000, "1m1s"), (3_660_000, "1h1m"), (90_000_000, "1d1h")]
        {
            assert_eq!(display_ms(ms), text);
        }
    }
}
