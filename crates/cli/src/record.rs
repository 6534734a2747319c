//! A key and its value in JSON and in tables.
//!
//! ```json
//! {"key":"a","value":"1","revision":"459000123","create_revision":"459000123","version":"1","ttl_ms":"5000"}
//! {"key_hex":"ff00","value_hex":"0001","revision":"459000124","create_revision":"459000124","version":"1"}
//! ```
//!
//! A key or value that is UTF-8 stands in `key` or `value`; one that is not, or any under `--hex`, stands in `key_hex` or
//! `value_hex`. 64-bit numbers are strings, because JSON readers round numbers beyond 2^53.

use std::io::{self, Write};

use ringfence_client::KeyValue;
use serde::Serialize;

use crate::{duration, text};

/// Longest value that a table shows whole, in characters.
const CELL_CHARS_MAX: usize = 80;

/// The columns of [`row`].
pub const COLUMNS: &[&str] = &["KEY", "VALUE", "REVISION", "VERSION", "TTL"];
/// The columns of [`row`] when values were left out.
pub const COLUMNS_KEYS_ONLY: &[&str] = &["KEY", "REVISION", "VERSION", "TTL"];

/// What is printed of a record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Hex for everything, even what is UTF-8.
    pub hex: bool,
    /// The values were not asked for.
    pub keys_only: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
    revision: String,
    create_revision: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<String>,
}

/// Prints one object, without a line break.
pub fn write_json(out: &mut dyn Write, kv: &KeyValue, style: Style) -> io::Result<()> {
    let (key, key_hex) = text::plain_or_hex(&kv.key, style.hex);
    let (value, value_hex) = if style.keys_only { (None, None) } else { text::plain_or_hex(&kv.value, style.hex) };
    let json = Json {
        key,
        key_hex,
        value,
        value_hex,
        revision: kv.revision.to_string(),
        create_revision: kv.create_revision.to_string(),
        version: kv.version.to_string(),
        ttl_ms: ttl_ms(kv).map(|ms| ms.to_string()),
    };
    Ok(serde_json::to_writer(out, &json)?)
}

/// The cells of a table's row. Long values are cut, and say how long they are.
pub fn row(kv: &KeyValue, style: Style) -> Vec<String> {
    let mut cells = vec![text::to_cell(&kv.key, style.hex)];
    if !style.keys_only {
        cells.push(shortened(text::to_cell(&kv.value, style.hex), kv.value.len()));
    }
    let ttl = ttl_ms(kv).map(duration::display_ms).unwrap_or_default();
    cells.extend([kv.revision.to_string(), kv.version.to_string(), ttl]);
    cells
}

/// A cell that is cut if it is long, and then says how long what it shows is.
pub fn shortened(cell: String, bytes: usize) -> String {
    match cell.char_indices().nth(CELL_CHARS_MAX) {
        None => cell,
        Some((end, _)) => format!("{}… ({bytes} bytes)", &cell[..end]),
    }
}

fn ttl_ms(kv: &KeyValue) -> Option<u64> {
    kv.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))
}
