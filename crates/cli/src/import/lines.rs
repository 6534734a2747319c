//! Lines of bounded length from anything that can be read.

use std::io::{self, BufRead};

/// Longest line of an import, in bytes: a record of the largest key and value with every byte escaped as `\u00xx`, or in hex,
/// and room for the fields that import ignores. Anything longer is no record, and is not read into memory to find out.
pub const LINE_BYTES_MAX: usize = 8 << 20;

const _: () = assert!(
    6 * (ringfence_client::limits::KEY_BYTES_MAX + ringfence_client::limits::VALUE_BYTES_MAX) + 4096 < LINE_BYTES_MAX
);

/// Why there is no line.
#[derive(Debug)]
pub enum LineError {
    /// It is longer than [`LINE_BYTES_MAX`].
    TooLong,
    /// The input cannot be read.
    Read(io::Error),
}

/// Reads one line into `line`, without its `\n` or `\r\n`. `false` at the end of the input.
pub fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> Result<bool, LineError> {
    line.clear();
    loop {
        let chunk = match input.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(LineError::Read(error)),
        };
        let (part, ended) = match chunk.iter().position(|b| *b == b'\n') {
            Some(end) => (&chunk[..end], true),
            None => (chunk, chunk.is_empty()),
        };
        if line.len() + part.len() > LINE_BYTES_MAX {
            return Err(LineError::TooLong);
        }
        line.extend_from_slice(part);
        let at_end_of_input = chunk.is_empty();
        let used = part.len() + usize::from(ended && !at_end_of_input);
        input.consume(used);
        if ended {
            let found = !at_end_of_input || !line.is_empty();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines(input: &[u8]) -> Vec<Vec<u8>> {
        // A tiny buffer, so that lines and their ends fall across reads.
        let mut reader = BufReader::with_capacity(3, input);
        let (mut lines, mut line) = (Vec::new(), Vec::new());
        while read_line(&mut reader, &mut line).unwrap() {
            lines.push(line.clone());
        }
        lines
    }

    #[test]
    fn lines_end_with_lf_or_crlf_or_the_input() {
        assert_eq!(lines(b"one\ntwo\r\n\nfour"), [&b"one"[..], b"two", b"", b"four"]);
        assert_eq!(lines(b"one\n"), [b"one"]);
        assert_eq!(lines(b"\r\n"), [b""]);
        assert_eq!(lines(b"a\rb\r\r\n"), [b"a\rb\r"]);
        assert!(lines(b"").is_empty());
    }

    /// A file without line breaks (a core dump, /dev/zero) must not be read into memory.
    #[test]
    fn an_endless_line_is_refused_after_a_bounded_number_of_bytes() {
        let mut endless = BufReader::new(io::repeat(b'x'));
        assert!(matches!(read_line(&mut endless, &mut Vec::new()), Err(LineError::TooLong)));
        let longest = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(lines(&longest), [longest]);
    }

    #[test]
    fn an_unreadable_input_is_an_error() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("bad sector"))
            }
        }
        assert!(matches!(read_line(&mut BufReader::new(Broken), &mut Vec::new()), Err(LineError::Read(_))));
    }
}
