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

/// Where the records of a write-ahead log or MANIFEST begin, in its last block of 32 KiB: crc(4) length(2) type(1) payload.
pub fn last_records(bytes: &[u8]) -> Vec<usize> {
    let mut at = bytes.len().saturating_sub(1) / (32 << 10) * (32 << 10);
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
