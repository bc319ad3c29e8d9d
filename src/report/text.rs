//! Text of others within our own: made harmless for terminals and for CI systems that read commands from output.

use std::fmt::Write;

/// Beginnings of what CI systems take for commands anywhere in a line, each with what it is broken up into: GitHub and
/// Azure (`##[`, `##vso[`), GitLab (sections). GitHub's `::` counts only at a line's beginning, where ours is.
const MARKERS: [(&str, &str); 4] = [
    ("##[", "#\\#["),
    ("##vso[", "#\\#vso["),
    ("section_start:", "section\\_start:"),
    ("section_end:", "section\\_end:"),
];

/// Control characters, the separators of lines and paragraphs, and what makes text that follows appear in another order, ours too.
fn breaks_or_controls(c: char) -> bool {
    let reorders = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || reorders || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The text on one line, with control characters as escapes and CI commands broken up.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if breaks_or_controls(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    for (marker, broken) in MARKERS {
        if shown.contains(marker) {
            shown = shown.replace(marker, broken);
        }
    }
    shown
}

/// The same for text of several lines, which it keeps, with the tabs in them. No line begins with what GitHub takes for a command.
#[must_use]
pub fn harmless_lines(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let parts: Vec<String> = line.split('\t').map(harmless).collect();
        let line = parts.join("\t");
        // A runner looks behind white space.
        let commands = line.trim_start().starts_with("::");
        if commands { line.replacen("::", ":\\:", 1) } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// JSON text in which the strings are harmless too, and still mean the same.
///
/// JSON escapes the control characters below U+0020 by itself. The others, separators at which some readers end a line, and what begins a CI's command, can stand only in
/// strings, where every character may be written as its number.
#[must_use]
pub fn harmless_json(json: &str) -> String {
    let is_plain = |byte: u8| matches!(byte, b'\n' | b' '..=b'~');
    let mut shown = String::with_capacity(json.len());
    if json.bytes().all(is_plain) {
        // It mostly is, and may be long.
        shown.push_str(json);
    } else {
        for c in json.chars() {
            if breaks_or_controls(c) && c != '\n' {
                let _infallible = write!(shown, "\\u{:04x}", u32::from(c));
            } else {
                shown.push(c);
            }
        }
    }
    for (marker, escaped) in [
        ("##", "#\\u0023"),
        ("section_start:", "section\\u005fstart:"),
        ("section_end:", "section\\u005fend:"),
    ] {
        if shown.contains(marker) {
            shown = shown.replace(marker, escaped);
        }
    }
    shown
}

/// A command's words for people: those that a shell would take apart are quoted.
#[must_use]
pub fn command_line(words: &[String]) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    let quoted = words.iter().map(|word| {
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_command_a_terminal_or_a_ci() {
        assert_eq!(
            harmless("a\u{1b}[31m\r\n::error::\u{9b}2J"),
            "a\\u{1b}[31m\\r\\n::error::\\u{9b}2J"
        );
        assert_eq!(harmless("##vso[x]##[error]"), "#\\#vso[x]#\\#[error]");
        assert_eq!(harmless("section_start:1:a"), "section\\_start:1:a");
        assert_eq!(harmless("plain é text"), "plain é text");
        assert_eq!(harmless("a\u{202e}b\u{2069}"), "a\\u{202e}b\\u{2069}");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(
            harmless_lines("a\tb\r\n\n \t::error::x\r::\u{1b}[1m\n##[group]\n"),
            "a\tb\n\n \t:\\:error::x\\r::\\u{1b}[1m\n#\\#[group]"
        );
    }

    #[test]
    fn harmless_json_means_the_same() {
        let text = "\u{1b}\u{7f}\u{9b}\u{2028}\u{202e}##vso[a]###[b]section_start:section_end: é\n";
        let json = serde_json::to_string(text).expect("a string");
        let shown = harmless_json(&json);
        assert_eq!(serde_json::from_str::<String>(&shown).expect("still a string"), text);
        assert!(!shown.contains("##") && !shown.contains("section_start:"), "{shown}");
        assert!(!shown.chars().any(breaks_or_controls), "{shown}");
    }

    #[test]
    fn words_are_quoted_as_for_a_shell() {
        let words = ["echo", "", "it's", "a b", "x=1"].map(str::to_owned);
        assert_eq!(command_line(&words), r"echo '' 'it'\''s' 'a b' x=1");
    }
}
