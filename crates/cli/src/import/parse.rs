//! One line of an import becomes one record, or says what is wrong with it.
//!
//! | format | line |
//! |---|---|
//! | ndjson | `{"key":"a","value":"1"}`, what `ringctl export` writes; `key_hex`, `value_hex` for what is not UTF-8; `ttl_ms` |
//! | tsv | key, tab, value. The first tab divides; the value may hold more of them. `--hex`: both are hex |

use std::borrow::Cow;

use clap::ValueEnum;
use ringfence_client::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use serde::Deserialize;

use crate::text;

/// How the lines of an import are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object to a line, as `ringctl export` writes them.
    Ndjson,
    /// Key, tab, value.
    Tsv,
}

/// What one line asks for. Key and value have lengths that the cluster takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRecord {
    /// 1..=4096 bytes.
    pub key: Vec<u8>,
    /// Up to 1 MiB.
    pub value: Vec<u8>,
    /// Time to live in milliseconds.
    pub ttl_ms: Option<u64>,
}

/// Fields that we do not know, such as `revision`, are ignored: an export is an import.
#[derive(Deserialize)]
struct JsonRecord<'a> {
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key_hex: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value_hex: Option<Cow<'a, str>>,
    ttl_ms: Option<Ttl<'a>>,
}

/// 64-bit numbers are strings in our JSON; people who write a file by hand write a number.
#[derive(Deserialize)]
#[serde(untagged, expecting = "ttl_ms must be a positive whole number of milliseconds")]
enum Ttl<'a> {
    Number(u64),
    Text(#[serde(borrow)] Cow<'a, str>),
}

/// Reads one line. `None` for an empty one.
pub fn parse_line(line: &[u8], format: Format, hex: bool) -> Result<Option<InputRecord>, String> {
    if line.trim_ascii().is_empty() && (format == Format::Ndjson || line.is_empty()) {
        return Ok(None);
    }
    let record = match format {
        Format::Ndjson => parse_json(line)?,
        Format::Tsv => parse_tsv(line, hex)?,
    };
    match (record.key.len(), record.value.len()) {
        (0, _) => Err(format!("the key is empty; a key has 1 to {KEY_BYTES_MAX} bytes")),
        (bytes, _) if bytes > KEY_BYTES_MAX => Err(format!("the key has {bytes} bytes; the most is {KEY_BYTES_MAX}")),
        (_, bytes) if bytes > VALUE_BYTES_MAX => {
            Err(format!("the value has {bytes} bytes; the most is {VALUE_BYTES_MAX}"))
        }
        _ => Ok(Some(record)),
    }
}

fn parse_json(line: &[u8]) -> Result<InputRecord, String> {
    // serde would take an array for a struct, field by field.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err("not a record: a record looks like {\"key\":\"a\",\"value\":\"1\"}".to_owned());
    }
    let json: JsonRecord<'_> = serde_json::from_slice(line).map_err(|error| {
        // serde counts lines too, but it only ever sees one.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        format!(
            "not a record: {message} (column {}). A record looks like {{\"key\":\"a\",\"value\":\"1\"}}",
            error.column()
        )
    })?;
    let ttl_ms = match json.ttl_ms {
        None => None,
        Some(Ttl::Number(ms)) => Some(ms),
        Some(Ttl::Text(text)) => Some(
            text.parse().map_err(|_| format!("ttl_ms is {text:?}; give a positive whole number of milliseconds"))?,
        ),
    };
    if ttl_ms == Some(0) {
        return Err("ttl_ms is 0; give a positive number of milliseconds, or leave it out".to_owned());
    }
    Ok(InputRecord {
        key: either("key", json.key, json.key_hex)?,
        value: either("value", json.value, json.value_hex)?,
        ttl_ms,
    })
}

fn either(name: &str, plain: Option<Cow<'_, str>>, hex: Option<Cow<'_, str>>) -> Result<Vec<u8>, String> {
    match (plain, hex) {
        (Some(text), None) => Ok(text.into_owned().into_bytes()),
        (None, Some(digits)) => {
            text::from_hex(digits.as_bytes()).map_err(|reason| format!("{name}_hex is not hex: {reason}"))
        }
        (None, None) => Err(format!("the record has neither \"{name}\" nor \"{name}_hex\"")),
        (Some(_), Some(_)) => Err(format!("the record has both \"{name}\" and \"{name}_hex\"; give one")),
    }
}

fn parse_tsv(line: &[u8], hex: bool) -> Result<InputRecord, String> {
    let Some(tab) = line.iter().position(|b| *b == b'\t') else {
        return Err("there is no tab between key and value".to_owned());
    };
    let (key, value) = (&line[..tab], &line[tab + 1..]);
    if !hex {
        return Ok(InputRecord { key: key.to_vec(), value: value.to_vec(), ttl_ms: None });
    }
    let key = text::from_hex(key).map_err(|reason| format!("the key is not hex: {reason}"))?;
    let value = text::from_hex(value).map_err(|reason| format!("the value is not hex: {reason}"))?;
    Ok(InputRecord { key, value, ttl_ms: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &[u8], value: &[u8], ttl_ms: Option<u64>) -> Result<Option<InputRecord>, String> {
        Ok(Some(InputRecord { key: key.to_vec(), value: value.to_vec(), ttl_ms }))
    }

    fn json(line: &str) -> Result<Option<InputRecord>, String> {
        parse_line(line.as_bytes(), Format::Ndjson, false)
    }

    #[test]
    fn ndjson_records_are_read_and_unknown_fields_ignored() {
        assert_eq!(json(r#"{"key":"a","value":"1"}"#), record(b"a", b"1", None));
        assert_eq!(
            json(r#" {"revision":"7","value":"","key":"\u00e9\n","x":[{}]} "#),
            record("é\n".as_bytes(), b"", None)
        );
        assert_eq!(json(r#"{"key_hex":"00FF","value_hex":"","ttl_ms":"5000"}"#), record(b"\0\xff", b"", Some(5000)));
        assert_eq!(json(r#"{"key":"a","value":"1","ttl_ms":5000}"#), record(b"a", b"1", Some(5000)));
        assert_eq!(json(r#"{"key":"a","value":"1","ttl_ms":null}"#), record(b"a", b"1", None));
        assert_eq!(json("  "), Ok(None));
    }

    /// Half of a record, or a record that means two things, must not become some other record.
    #[test]
    fn malformed_ndjson_is_refused_with_what_is_wrong() {
        for (line, says) in [
            (r#"{"key":"a","value":"1""#, "EOF"),
            (r#"{"key":"a","value":"1"} {}"#, "trailing"),
            (r#"["a",null,"1",null,null]"#, "not a record"),
            (r#"{"key":"a","value":1}"#, "invalid type"),
            (r#"{"key":"a","value":null}"#, "neither"),
            (r#"{"key":"a","keys_only":true}"#, "neither \"value\""),
            (r#"{"key":"a","key":"b","value":"1"}"#, "duplicate"),
            (r#"{"key":"a","key_hex":"61","value":"1"}"#, "both"),
            (r#"{"key_hex":"6","value":"1"}"#, "1 digits"),
            (r#"{"key":"","value":"1"}"#, "empty"),
            (r#"{"key":"a","value":"1","ttl_ms":0}"#, "ttl_ms is 0"),
            (r#"{"key":"a","value":"1","ttl_ms":-5}"#, "positive whole number"),
            (r#"{"key":"a","value":"1","ttl_ms":1.5}"#, "positive whole number"),
            (r#"{"key":"a","value":"1","ttl_ms":"soon"}"#, "positive whole number"),
            (r#"{"key":"\ud800","value":"1"}"#, "not a record"),
        ] {
            let error = json(line).expect_err(line);
            assert!(error.contains(says), "{line}: {error}");
            assert!(!error.contains("line 1"), "the caller knows the line number: {error}");
        }
        assert!(parse_line(b"{\"key\":\"\xff\",\"value\":\"1\"}", Format::Ndjson, false).is_err());
    }

    #[test]
    fn the_first_tab_of_a_tsv_line_divides() {
        let tsv = |line: &[u8], hex| parse_line(line, Format::Tsv, hex);
        assert_eq!(tsv(b"a\t1\t2", false), record(b"a", b"1\t2", None));
        assert_eq!(tsv(b"\xff\t", false), record(b"\xff", b"", None));
        assert_eq!(tsv(b"ff00\t0A", true), record(b"\xff\0", b"\n", None));
        assert_eq!(tsv(b" \t ", false), record(b" ", b" ", None));
        assert_eq!(tsv(b"", false), Ok(None));
        assert!(tsv(b"a", false).unwrap_err().contains("no tab"));
        assert!(tsv(b"\t1", false).unwrap_err().contains("empty"));
        assert!(tsv(b"a\t1", true).unwrap_err().contains("key is not hex"));
    }

    #[test]
    fn lengths_that_the_cluster_would_refuse_are_refused_here() {
        let line = |key: usize, value: usize| format!("{}\t{}", "k".repeat(key), "v".repeat(value)).into_bytes();
        assert!(parse_line(&line(KEY_BYTES_MAX, VALUE_BYTES_MAX), Format::Tsv, false).is_ok());
        assert!(parse_line(&line(KEY_BYTES_MAX + 1, 0), Format::Tsv, false).unwrap_err().contains("4097"));
        assert!(parse_line(&line(1, VALUE_BYTES_MAX + 1), Format::Tsv, false).unwrap_err().contains("1048577"));
    }
}
