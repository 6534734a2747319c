//! As much JSON as the tasks need: read what cargo and `ringctl` print, write strings. Here because xtask has no
//! dependencies; everything else in the workspace uses serde.

use std::collections::BTreeMap;

/// A JSON value. Numbers stay text: ours are 64-bit, and often come as strings anyway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Reads one complete value.
    pub(crate) fn parse(text: &str) -> Result<Json, String> {
        let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
        let value = reader.value(0)?;
        reader.blanks();
        if reader.at < reader.bytes.len() {
            return Err(reader.wrong("the end"));
        }
        Ok(value)
    }

    /// The member of an object.
    pub(crate) fn get(&self, member: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.get(member),
            _ => None,
        }
    }

    pub(crate) fn str(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// An unsigned number, written as one or, like our 64-bit numbers, as a string.
    pub(crate) fn u64(&self) -> Option<u64> {
        match self {
            Json::Number(text) | Json::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A number, whole or not.
    pub(crate) fn f64(&self) -> Option<f64> {
        match self {
            Json::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The items of a member that is an array; none if it is not.
    pub(crate) fn list(&self, member: &str) -> &[Json] {
        match self.get(member) {
            Some(Json::Array(items)) => items,
            _ => &[],
        }
    }
}

/// A string as a JSON literal, quotes included.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if (c as u32) < 0x20 => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Deeper nesting is refused rather than followed with the stack.
const DEPTH_MAX: usize = 64;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > DEPTH_MAX {
            return Err(self.wrong("less nesting"));
        }
        self.blanks();
        match self.bytes.get(self.at) {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => Ok(self.number()),
            _ if self.take("null") => Ok(Json::Null),
            _ if self.take("true") => Ok(Json::Bool(true)),
            _ if self.take("false") => Ok(Json::Bool(false)),
            _ => Err(self.wrong("a value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, String> {
        let mut members = BTreeMap::new();
        self.expect("{")?;
        self.blanks();
        if self.take("}") {
            return Ok(Json::Object(members));
        }
        loop {
            self.blanks();
            let name = self.string()?;
            self.blanks();
            self.expect(":")?;
            members.insert(name, self.value(depth + 1)?);
            self.blanks();
            if self.take("}") {
                return Ok(Json::Object(members));
            }
            self.expect(",")?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, String> {
        let mut items = Vec::new();
        self.expect("[")?;
        self.blanks();
        if self.take("]") {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blanks();
            if self.take("]") {
                return Ok(Json::Array(items));
            }
            self.expect(",")?;
        }
    }

    fn number(&mut self) -> Json {
        let start = self.at;
        while matches!(self.bytes.get(self.at), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        Json::Number(String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned())
    }

    fn string(&mut self) -> Result<String, String> {
        self.expect("\"")?;
        let mut text = Vec::new();
        loop {
            match self.bytes.get(self.at) {
                None => return Err(self.wrong("the end of the string")),
                Some(b'"') => {
                    self.at += 1;
                    return String::from_utf8(text).map_err(|_| self.wrong("UTF-8"));
                }
                Some(b'\\') => {
                    self.at += 1;
                    let c = self.escaped()?;
                    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(byte) => {
                    text.push(*byte);
                    self.at += 1;
                }
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        let Some(letter) = self.bytes.get(self.at).copied() else { return Err(self.wrong("an escape")) };
        self.at += 1;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut code = self.hex4()?;
                // A character beyond 16 bits comes as two halves.
                if (0xd800..0xdc00).contains(&code) && self.take("\\u") {
                    let low = self.hex4()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(self.wrong("the low half of a surrogate pair"));
                    }
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                }
                char::from_u32(code).ok_or_else(|| self.wrong("a character"))?
            }
            _ => return Err(self.wrong("an escape")),
        })
    }

    fn hex4(&mut self) -> Result<u32, String> {
        let digits = self.bytes.get(self.at..self.at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let code = code.ok_or_else(|| self.wrong("four hexadecimal digits"))?;
        self.at += 4;
        Ok(code)
    }

    fn blanks(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.bytes[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.take(word) { Ok(()) } else { Err(self.wrong(&format!("`{word}`"))) }
    }

    fn wrong(&self, expected: &str) -> String {
        let rest = String::from_utf8_lossy(&self.bytes[self.at.min(self.bytes.len())..]);
        let rest: String = rest.chars().take(40).collect();
        format!("not the JSON expected: at byte {} should be {expected}, but there is `{rest}`", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_tools_print() {
        let json =
            Json::parse(r#" {"a": [1, -2.5e3, "7", null, true], "b": {"c": "x\n\"\u00e9\ud83d\ude00é"}, "d": {}} "#);
        let json = json.unwrap();
        let a = json.list("a");
        assert_eq!([a[0].u64(), a[1].u64(), a[2].u64(), a[3].u64()], [Some(1), None, Some(7), None]);
        assert_eq!([a[0].f64(), a[1].f64(), a[2].f64()], [Some(1.0), Some(-2500.0), None]);
        assert_eq!(json.get("b").unwrap().get("c").unwrap().str(), Some("x\n\"é😀é"));
        assert_eq!(json.get("missing"), None);
    }

    /// What we write for `ringctl import` must come back as it was.
    #[test]
    fn a_quoted_string_reads_back() {
        for text in ["", "plain", "tab\t quote\" back\\slash \n\r\u{1} é 😀 }{][,:"] {
            assert_eq!(Json::parse(&quote(text)), Ok(Json::String(text.into())), "{text:?}");
        }
    }

    #[test]
    fn broken_json_is_an_error_not_a_guess() {
        for text in ["", "{", "[1,]", "{\"a\"}", "\"open", "nul", "1 2", "\"\\x\"", "\"\\u12\"", "\"\\ud800x\""] {
            assert!(Json::parse(text).is_err(), "{text}");
        }
        assert!(Json::parse(&"[".repeat(100_000)).is_err());
    }
}
