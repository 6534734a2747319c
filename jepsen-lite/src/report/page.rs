//! The frame of the page: one file, which asks nobody for anything. The policy in its head lets a browser see to that.

use super::figures::{date, lasting};
use super::text::{text, text_max};
use crate::results::Results;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The page in the making.
pub(super) struct Page<'a> {
    results: &'a Results,
    sections: Vec<(&'static str, &'static str, String)>,
}

impl<'a> Page<'a> {
    pub(super) fn new(results: &'a Results) -> Page<'a> {
        Page { results, sections: Vec::new() }
    }

    /// Adds a section; its content is markup.
    pub(super) fn section(&mut self, id: &'static str, heading: &'static str, content: String) {
        self.sections.push((id, heading, content));
    }

    /// All of it. `definitions` is what drawings refer to.
    pub(super) fn html(self, definitions: &str) -> String {
        let Results { command, began_unix_ms, ended_ns, .. } = self.results;
        let word = word(self.results);
        let links: String =
            self.sections.iter().map(|(id, heading, _)| format!("<li><a href=\"#{id}\">{heading}</a></li>")).collect();
        let section = |(id, heading, content): &(&str, &str, String)| {
            let opened = format!("<section id=\"{id}\" aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{heading}</h2>");
            format!("{opened}\n{content}</section>\n")
        };
        let sections: String = self.sections.iter().map(section).collect();
        let when = if *began_unix_ms == 0 { String::new() } else { format!("{}, ", date(*began_unix_ms)) };
        let took = lasting(*ended_ns);
        let command = text_max(command, 300);
        let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{word}: {command}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <header><p class=\"what\"><strong>jepsen-lite</strong> {when}took {took}</p>\
             <nav aria-label=\"Sections\"><ul>{links}</ul></nav></header>\n\
             {definitions}\n<main>\n{sections}</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
        )
    }
}

/// The verdict as a word for a title.
pub(super) fn word(results: &Results) -> String {
    match results.verdict.as_str() {
        "harness" => "The harness broke".to_owned(),
        other => {
            let mut chars = other.chars();
            let first = chars.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
            text(first + chars.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::STYLE;

    /// The colours by their names, by daylight and in the dark, where those that are not named again stay as they are.
    fn palettes() -> [BTreeMap<String, [f64; 3]>; 2] {
        let (light, dark) = STYLE.split_once("prefers-color-scheme: dark").unwrap();
        let end = dark.find("\n}").unwrap();
        [light, &dark[..end]].map(|css| {
            let named = css.split("--").skip(1).filter_map(|part| part.split_once(": #"));
            named.map(|(name, rest)| (name.to_owned(), channels(&rest[..6]))).collect()
        })
    }

    fn channels(hex: &str) -> [f64; 3] {
        let channel = |at: usize| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
        [channel(0), channel(2), channel(4)]
    }

    /// As WCAG 2 counts it: 4.5 is asked for words, 3 for shapes.
    fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
        let linear = |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
        let light = |[r, g, b]: [f64; 3]| 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
        let (one, other) = (light(one), light(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn everything_can_be_read_by_day_and_by_night() {
        assert!((contrast(channels("000000"), channels("ffffff")) - 21.0).abs() < 0.01);
        let [light, dark] = palettes();
        assert_eq!(light.keys().collect::<Vec<_>>(), dark.keys().collect::<Vec<_>>());
        for palette in [light, dark] {
            for ground in ["page", "panel"] {
                for word in ["ink", "soft", "link", "bad", "kept", "open"] {
                    let contrast = contrast(palette[word], palette[ground]);
                    assert!(contrast >= 4.5, "{word} on {ground}: {contrast}");
                }
                for shape in ["ok", "refused", "unknown"] {
                    let contrast = contrast(palette[shape], palette[ground]);
                    assert!(contrast >= 3.0, "{shape} on {ground}: {contrast}");
                }
            }
            let bars = palette.keys().filter(|name| name.starts_with(['n', 's']) && name.len() == 2);
            for bar in bars.chain([&"ok".to_owned(), &"refused".to_owned()]) {
                let contrast = contrast(palette["on"], palette[bar]);
                assert!(contrast >= 4.5, "words on {bar}: {contrast}");
            }
        }
    }
}
