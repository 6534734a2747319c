//! Words from outside, made harmless. Keys, values and messages are whatever somebody made of them.

use std::fmt::{Display, Write as _};

/// As text of the page or between the quotes of an attribute: markup is none, and what can't be seen (control
/// characters, and those that turn the direction of writing) is shown as `�`.
pub(super) fn text(value: impl Display) -> String {
    let mut escaped = Escaped(String::new());
    write!(escaped, "{value}").expect("a string takes everything");
    escaped.0
}

/// The same, but no longer than this.
pub(super) fn text_max(value: impl Display, chars_max: usize) -> String {
    text(shortened(value, chars_max))
}

/// The beginning, with `…` for the rest. Stops to write when it is full, so that a value of megabytes costs little.
pub(super) fn shortened(value: impl Display, chars_max: usize) -> String {
    let mut beginning = Beginning { text: String::new(), left: chars_max, cut: false };
    let _ = write!(beginning, "{value}"); // an error says that it is full
    if beginning.cut {
        beginning.text.pop();
        beginning.text.push('…');
    }
    beginning.text
}

struct Escaped(String);

impl std::fmt::Write for Escaped {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        for c in part.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' => self.0.push('\n'),
                '\t' => self.0.push(' '),
                '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.push('\u{fffd}'),
                c if c.is_control() => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

struct Beginning {
    text: String,
    left: usize,
    cut: bool,
}

impl std::fmt::Write for Beginning {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        match part.char_indices().nth(self.left) {
            Some((end, _)) => {
                self.text.push_str(&part[..end]);
                (self.left, self.cut) = (0, true);
                Err(std::fmt::Error)
            }
            None => {
                self.text.push_str(part);
                self.left -= part.chars().count();
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_from_outside_is_text() {
        let hostile = "</script><img src=x onerror='alert(1)'>&\"";
        let shown = text(hostile);
        assert!(!shown.contains(['<', '>', '"', '\'']), "{shown}");
        assert_eq!(shown, "&lt;/script&gt;&lt;img src=x onerror=&#39;alert(1)&#39;&gt;&amp;&quot;");
        assert_eq!(text("a\u{0}b\u{202e}c\r"), "a\u{fffd}b\u{fffd}c\u{fffd}");
    }

    #[test]
    fn what_is_too_long_says_so() {
        assert_eq!(shortened("abcde", 5), "abcde");
        assert_eq!(shortened("abcdef", 5), "abcd…");
        assert_eq!(shortened(format_args!("{}{}", "äöü", "äöü"), 4), "äöü…");
        assert_eq!(text_max("<<<<", 2), "&lt;…");
    }
}
