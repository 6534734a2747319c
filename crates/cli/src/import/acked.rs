//! The list of acknowledged keys: one JSON string to a line, in the order of acknowledgement.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use crate::text;

/// Appends the key of every acknowledged record to a file.
///
/// * A key stands here only after its record was acknowledged, never before.
/// * The caller flushes often, so whoever kills us finds all but the last few milliseconds.
#[derive(Debug)]
pub struct AckedLog {
    file: BufWriter<File>,
}

/// A key that is not UTF-8 cannot be a JSON string.
#[derive(Serialize)]
struct HexKey {
    key_hex: String,
}

impl AckedLog {
    /// Continues the file, or begins it.
    pub fn append_to(path: &Path) -> io::Result<AckedLog> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(AckedLog { file: BufWriter::new(file) })
    }

    /// Adds a key: `"key"`, or `{"key_hex":"ff"}` for one that is not UTF-8.
    pub fn push(&mut self, key: &[u8]) -> io::Result<()> {
        match std::str::from_utf8(key) {
            Ok(key) => serde_json::to_writer(&mut self.file, key)?,
            Err(_) => serde_json::to_writer(&mut self.file, &HexKey { key_hex: text::to_hex(key) })?,
        }
        self.file.write_all(b"\n")
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_json_lines_and_an_older_list_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acked");
        for keys in [[&b"a\"b"[..], b"\xff"], [b"c\n", b"d"]] {
            let mut log = AckedLog::append_to(&path).unwrap();
            keys.iter().try_for_each(|key| log.push(key)).unwrap();
            log.flush().unwrap();
        }
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, "\"a\\\"b\"\n{\"key_hex\":\"ff\"}\n\"c\\n\"\n\"d\"\n");
    }
}
