//! The files that RocksDB reads record by record, its write-ahead logs and the MANIFEST, looked through before it does.
//!
//! RocksDB has a checksum on every record, but believes what stands in a record's head before it has checked it, and takes
//! some damage for the end of the file. As of version 11.8, in the modes that we use:
//!
//! | damaged in a head | what RocksDB makes of it |
//! |---|---|
//! | the length reaches beyond the end of the file | "the writer died here": this record and all behind it are gone, silently |
//! | the type, now one of a recycled log, in the first record | "an earlier life of the file": the same |
//! | the type, now one of a recycled log, in a later record | it reads the record again, and again, for ever |
//! | all of it is zero, as in a lost sector | the rest of the block is skipped, silently |
//!
//! In the log DB that is entries and votes that were acknowledged. In a MANIFEST it is whole tables, with what stands in
//! them. So every record is checked here first, and only one thing is taken for the end: a final write that was cut short,
//! with nothing behind it.
//!
//! ```text
//! file:    blocks of 32 KiB; a record never crosses into the next, and fewer than 7 bytes at the end of one are zeros
//! record:  crc32c(4, masked, over type and payload) | length(2) | type(1) | payload       numbers are little endian
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

const BLOCK_BYTES: usize = 32 << 10;
const HEAD_BYTES: usize = 7;

/// Types of records of logs that are used again. We never have one used again.
const RECYCLED: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// Where a file stops being what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// Of the first record that is not whole.
    pub(super) offset: u64,
    pub(super) what: &'static str,
}

/// Looks for damage. A final write that was cut short is none.
pub(super) fn check(path: &Path) -> io::Result<Option<Damage>> {
    look_through(File::open(path)?)
}

fn look_through(mut file: impl Read) -> io::Result<Option<Damage>> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut zeros_since = None;
    let mut begin = 0;
    loop {
        let length = read_block(&mut file, &mut block)?;
        let block = &block[..length];
        if let Some(since) = zeros_since {
            // A file grows before its bytes arrive. So zeros may be its end, but then there is nothing but zeros.
            if block.iter().any(|byte| *byte != 0) {
                return Ok(Some(Damage { offset: since, what: "zeros in the middle" }));
            }
        } else {
            match walk(block, length < BLOCK_BYTES) {
                Walked::Whole => {}
                Walked::Zeros(at) => zeros_since = Some(begin + at as u64),
                Walked::CutShort => return Ok(None),
                Walked::Damaged(at, what) => return Ok(Some(Damage { offset: begin + at as u64, what })),
            }
        }
        if length < BLOCK_BYTES {
            return Ok(None);
        }
        begin += length as u64;
    }
}

/// Makes damage plain: a record with a wrong checksum in the place of the first that is not whole. RocksDB never overlooks
/// that, and knows what must not be believed behind it.
pub(super) fn make_plain(path: &Path, damage: &Damage) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    file.seek(SeekFrom::Start(damage.offset))?;
    file.write_all(&[0, 0, 0, 0, 0, 0, 1])
}

fn read_block(file: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < block.len() {
        match file.read(&mut block[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

#[derive(Debug, PartialEq, Eq)]
enum Walked {
    /// Every record is.
    Whole,
    /// From here on there are only zeros.
    Zeros(usize),
    /// The file ends in a record, and there is nothing that could stand behind it.
    CutShort,
    Damaged(usize, &'static str),
}

fn walk(block: &[u8], is_last: bool) -> Walked {
    let mut at = 0;
    while at < block.len() {
        if at + HEAD_BYTES > BLOCK_BYTES {
            return Walked::Whole;
        }
        let rest = &block[at..];
        if rest.iter().all(|byte| *byte == 0) {
            return Walked::Zeros(at);
        }
        match record(rest) {
            Ok(bytes) => at += bytes,
            Err(_) if is_last && is_cut_short(rest) => {
                // A head that was never written fully promises nothing. One that was, and lies about its length, hides
                // records behind it.
                let hides = (1..rest.len()).any(|behind| record(&rest[behind..]).is_ok());
                return if hides { Walked::Damaged(at, "a wrong length") } else { Walked::CutShort };
            }
            Err(what) => return Walked::Damaged(at, what),
        }
    }
    Walked::Whole
}

/// Whether the file ends before the record does.
fn is_cut_short(rest: &[u8]) -> bool {
    match head(rest) {
        Some((_, length, _)) => HEAD_BYTES + length > rest.len(),
        None => true,
    }
}

fn head(bytes: &[u8]) -> Option<(u32, usize, u8)> {
    let [a, b, c, d, low, high, kind] = *bytes.first_chunk::<HEAD_BYTES>()?;
    Some((u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([low, high]).into(), kind))
}

/// The size of the whole record at the beginning of `bytes`, or what is wrong with it.
fn record(bytes: &[u8]) -> Result<usize, &'static str> {
    let (stored, length, kind) = head(bytes).ok_or("bytes that are no record")?;
    if RECYCLED.contains(&kind) {
        return Err("a record of a recycled log, which this is not");
    }
    let end = HEAD_BYTES + length;
    let covered = bytes.get(HEAD_BYTES - 1..end).ok_or("a wrong length")?;
    if unmasked(stored) != crc32c::crc32c(covered) {
        return Err("a wrong checksum");
    }
    Ok(end)
}

/// RocksDB stores checksums in a disguise, so that a checksum over records with checksums in them stays a good one.
fn unmasked(stored: u32) -> u32 {
    stored.wrapping_sub(0xa282_ead8).rotate_right(17)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn masked(crc: u32) -> u32 {
        crc.rotate_right(15).wrapping_add(0xa282_ead8)
    }

    fn push(file: &mut Vec<u8>, kind: u8, payload: &[u8]) {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload);
        file.extend(masked(crc).to_le_bytes());
        file.extend((payload.len() as u16).to_le_bytes());
        file.push(kind);
        file.extend(payload);
    }

    /// Records of 100 bytes, enough for several blocks.
    fn records(count: usize) -> Vec<u8> {
        let mut file = Vec::new();
        for n in 0..count {
            let left = BLOCK_BYTES - file.len() % BLOCK_BYTES;
            if left < HEAD_BYTES {
                file.resize(file.len() + left, 0);
            }
            let left = BLOCK_BYTES - file.len() % BLOCK_BYTES;
            let payload = [n as u8; 93];
            match left {
                100.. => push(&mut file, 1, &payload),
                _ => {
                    let (first, last) = payload.split_at(left - HEAD_BYTES);
                    push(&mut file, 2, first);
                    push(&mut file, 4, last);
                }
            }
        }
        file
    }

    fn found(bytes: &[u8]) -> Option<Damage> {
        look_through(bytes).unwrap()
    }

    #[test]
    fn a_whole_file_and_one_cut_short_anywhere_are_undamaged() {
        let file = records(1000);
        assert!(file.len() > 3 * BLOCK_BYTES);
        assert_eq!(found(&file), None);
        assert_eq!(found(&[]), None);
        for cut in (0..300).chain([file.len() - BLOCK_BYTES, file.len() - BLOCK_BYTES - 3]) {
            assert_eq!(found(&file[..file.len() - cut]), None, "{cut} bytes are missing");
        }
        let mut grown = file.clone();
        grown.resize(file.len() + 3 * BLOCK_BYTES, 0);
        assert_eq!(found(&grown), None, "a file that grew before its bytes arrived");
    }

    /// Whatever byte changes, and however: nothing behind it may be lost silently. In the last record it may pass for a
    /// write that was cut short, which is all that the file tells.
    #[test]
    fn no_changed_byte_before_the_last_record_goes_unnoticed() {
        let file = records(400);
        let blocks = [0..250, BLOCK_BYTES - 250..BLOCK_BYTES + 250, file.len() - 600..file.len() - 100];
        for at in blocks.into_iter().flatten() {
            for mask in [1, 2, 4, 8, 16, 32, 64, 128, 0xff] {
                let mut changed = file.clone();
                changed[at] ^= mask;
                assert!(found(&changed).is_some(), "byte {at} ^ {mask:#x}");
            }
        }
    }

    #[test]
    fn damage_made_plain_is_a_record_with_a_wrong_checksum() {
        let mut file = records(400);
        file[250] ^= 4;
        let on_disk = tempfile::NamedTempFile::new().unwrap();
        fs::write(on_disk.path(), &file).unwrap();
        let damage = check(on_disk.path()).unwrap().unwrap();
        make_plain(on_disk.path(), &damage).unwrap();
        let plain = check(on_disk.path()).unwrap();
        assert_eq!(plain, Some(Damage { offset: 200, what: "a wrong checksum" }));
    }

    #[test]
    fn a_lost_sector_is_noticed() {
        let file = records(2000);
        for begin in (0..file.len() - 1024).step_by(512) {
            let mut changed = file.clone();
            changed[begin..begin + 512].fill(0);
            assert!(found(&changed).is_some(), "sector at {begin}");
        }
    }
}
