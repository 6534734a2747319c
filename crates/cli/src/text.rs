//! Bytes as text. Keys and values are bytes; terminals and JSON want text.
//!
//! One rule for every command: what is UTF-8 is shown as it is; what is not, or anything under `--hex`, is shown as lower-case
//! hex *under another field name* (`key_hex`, `value_hex`), so no reader has to guess which of the two it sees.

use std::ffi::OsString;

use crate::exit::Failure;

/// Bytes from the command line: as they are, or from hex.
pub fn from_arg(what: &str, arg: OsString, hex: bool) -> Result<Vec<u8>, Failure> {
    let bytes = arg.into_encoded_bytes();
    if !hex {
        return Ok(bytes);
    }
    from_hex(&bytes).map_err(|reason| Failure::usage(format!("the {what} is not hex: {reason}")))
}

/// Hex digits of either case, two to a byte, nothing between.
pub fn from_hex(digits: &[u8]) -> Result<Vec<u8>, String> {
    let digit = |(place, byte): (usize, &u8)| {
        (*byte as char)
            .to_digit(16)
            .map(|d| d as u8)
            .ok_or_else(|| format!("`{}` at place {} is not one of 0-9, a-f", byte.escape_ascii(), place + 1))
    };
    let digits = digits.iter().enumerate().map(digit).collect::<Result<Vec<u8>, String>>()?;
    if digits.len() % 2 == 1 {
        return Err(format!("it has {} digits; two make a byte", digits.len()));
    }
    Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Two lower-case digits to a byte.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[(b >> 4) as usize] as char, DIGITS[(b & 15) as usize] as char]).collect()
}

/// For JSON: as it is, or else in hex, for the field whose name says so.
pub fn plain_or_hex(bytes: &[u8], hex: bool) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) if !hex => (Some(text), None),
        _ => (None, Some(to_hex(bytes))),
    }
}

/// For a table's cell: printable text as it is; line breaks, tabs, control characters and stray bytes escaped, so that one
/// record stays on one line and nothing can move the cursor.
pub fn to_cell(bytes: &[u8], hex: bool) -> String {
    if hex {
        return to_hex(bytes);
    }
    let mut cell = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => cell.push_str("\\\\"),
                c if c.is_control() => cell.extend(c.escape_default()),
                c => cell.push(c),
            }
        }
        for byte in chunk.invalid() {
            cell.push_str(&format!("\\x{byte:02x}"));
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_of_every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(to_hex(&all).as_bytes()), Ok(all.clone()));
        assert_eq!(from_hex(to_hex(&all).to_uppercase().as_bytes()), Ok(all));
        assert_eq!(from_hex(b""), Ok(vec![]));
    }

    #[test]
    fn bad_hex_says_where() {
        assert_eq!(from_hex(b"00g0"), Err("`g` at place 3 is not one of 0-9, a-f".into()));
        assert_eq!(from_hex(b"000"), Err("it has 3 digits; two make a byte".into()));
        assert!(from_hex(b"0x00").is_err());
        assert!(from_hex("0\u{660}".as_bytes()).is_err());
        let failure = from_arg("key", "zz".into(), true).unwrap_err();
        assert_eq!(failure.exit, crate::exit::Exit::BadUsage);
    }

    /// A value of someone else's must not be able to rewrite our terminal.
    #[test]
    fn cells_stay_on_one_line_and_cannot_move_the_cursor() {
        assert_eq!(to_cell("grün\t\n\u{1b}[2J\\".as_bytes(), false), "grün\\t\\n\\u{1b}[2J\\\\");
        assert_eq!(to_cell(b"a\xffb", false), "a\\xffb");
        assert_eq!(to_cell(b"a\xff", true), "61ff");
    }
}
