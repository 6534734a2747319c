//! What a bad disk does to files.

use std::fs;
use std::path::{Path, PathBuf};

/// The files of a database (`log` or `state`) with this ending, the largest first.
pub fn files_of(data_dir: &Path, database: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(data_dir.join(database)).expect("the database is a directory");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    files.sort_by_key(|file| std::cmp::Reverse(fs::metadata(file).map_or(0, |file| file.len())));
    files
}

/// The MANIFEST of a database.
pub fn manifest_of(data_dir: &Path, database: &str) -> PathBuf {
    let dir = data_dir.join(database);
    let name = fs::read_to_string(dir.join("CURRENT")).expect("a database has a CURRENT");
    dir.join(name.trim_end())
}

/// Flips these bits of one byte; `place` says which, of so many.
pub fn flip(file: &Path, mask: u8, place: impl FnOnce(&[u8]) -> usize) {
    let mut bytes = fs::read(file).expect("it can be read");
    let at = place(&bytes);
    assert!(at < bytes.len(), "{} has no byte {at}", file.display());
    bytes[at] ^= mask;
    fs::write(file, bytes).expect("it can be written");
}

/// Where these bytes stand in a file.
pub fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A write-ahead log or MANIFEST consists of these, and of records that never cross from one into the next.
const BLOCK_BYTES: usize = 32 << 10;

/// Where a record in the middle of the last block of a write-ahead log or MANIFEST begins. None if there are not others
/// both before and behind it: where the file ends is chance, and so is how many records its last block holds.
pub fn middle_record(bytes: &[u8]) -> Option<usize> {
    let records = last_records(bytes);
    (records.len() > 2).then(|| records[records.len() / 2])
}

/// Where the records begin in the last block: crc(4) length(2) type(1) payload.
pub fn last_records(bytes: &[u8]) -> Vec<usize> {
    let mut at = bytes.len().saturating_sub(1) / BLOCK_BYTES * BLOCK_BYTES;
    let mut begins = Vec::new();
    while let Some(&[_, _, _, _, low, high, _]) = bytes[at..].first_chunk::<7>() {
        begins.push(at);
        at += 7 + usize::from(u16::from_le_bytes([low, high]));
        if at > bytes.len() {
            break;
        }
    }
    begins
}

/// Copies a directory, for whoever wants it back as it was.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it can be made");
    for entry in fs::read_dir(from).expect("it can be listed") {
        let entry = entry.expect("it can be listed");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("it has a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("it can be copied");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This many blocks, each filled by one large record, and then small records.
    fn file(blocks: usize, records: usize) -> Vec<u8> {
        let record = |payload: usize| {
            let mut record = vec![7; 7 + payload];
            record[4..6].copy_from_slice(&(payload as u16).to_le_bytes());
            record
        };
        let large = record(BLOCK_BYTES - 7).repeat(blocks);
        [large, record(100).repeat(records)].concat()
    }

    /// A file that has just begun a block, or holds nothing yet, has no record to damage before others.
    #[test]
    fn a_record_is_in_the_middle_only_with_others_on_both_sides() {
        for blocks in 0..3 {
            let begin = blocks * BLOCK_BYTES;
            let middle = |records| middle_record(&file(blocks, records));
            assert_eq!([0, 1, 2].map(middle), [None; 3]);
            assert_eq!(middle(3), Some(begin + 107));
            assert_eq!(middle(10), Some(begin + 5 * 107));
        }
    }
}
