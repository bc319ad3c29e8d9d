//! Masking secrets in text of others before it enters our records: command words, folders, messages of the system.
//!
//! It happens at the door, so that every report gets masked text, and our own words and numbers are never touched.

use std::borrow::Cow;
use std::iter;
use std::ops::Range;

use regex_automata::hybrid::regex::{Cache, Regex};

use crate::config::environment::Environment;
use crate::config::value::Pattern;
use crate::error::Error;

/// What stands in place of a secret.
const MASK: &str = "***";

/// How many characters a variable's value has at least that is masked for its name: a shorter one would mask ordinary words.
const MIN_SECRET: usize = 6;

/// How many bytes a line of a secret has at least that is one by itself.
const MIN_LINE: usize = 16;

/// Masks text.
pub struct Redactor {
    patterns: Vec<Regex>,
    secrets: Vec<String>,
}

impl Redactor {
    /// Masks what matches one of the patterns, secrets of the environment, and passwords in URLs.
    ///
    /// # Errors
    /// A pattern that cannot be compiled.
    pub fn new(patterns: &[Pattern], environment: &Environment) -> Result<Redactor, Error> {
        let compiled = patterns.iter().map(|pattern| {
            pattern.compile().map_err(|error| Error::Usage(format!("redact: `{pattern}`: {error}")))
        });
        let secrets =
            environment.variables().filter(|(name, _)| is_secret(name)).filter_map(|(_, value)| {
                // Where it is shown, what is not text is replaced, too; and a file's last newline is rarely shown.
                let value = match value.to_string_lossy() {
                    Cow::Borrowed(value) => Cow::Borrowed(value.trim()),
                    Cow::Owned(value) => Cow::Owned(value.trim().to_owned()),
                };
                (value.chars().count() >= MIN_SECRET).then_some(value)
            });
        let secrets = secrets.flat_map(|secret| with_its_lines(&secret)).collect();
        Ok(Redactor { patterns: compiled.collect::<Result<_, _>>()?, secrets })
    }

    /// Masks this, too, wherever it stands; what is too short to be known again is not.
    pub fn hide(&mut self, secret: &str) {
        if secret.chars().count() >= MIN_SECRET {
            self.secrets.push(secret.to_owned());
        }
    }

    /// The text with every secret in it masked.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        let mut spans: Vec<Range<usize>> = Vec::new();
        for secret in &self.secrets {
            spans.extend(
                text.match_indices(secret.as_str()).map(|(start, _)| start..start + secret.len()),
            );
        }
        spans.extend(url_passwords(text));
        for pattern in &self.patterns {
            spans.extend(matches(pattern, text));
        }
        spans.sort_by_key(|span| span.start);
        replace(text, &spans)
    }
}

/// A secret of several lines, such as a key, and those of its lines that are no ordinary words: they may be shown one by one.
fn with_its_lines(secret: &str) -> Vec<String> {
    let lines =
        secret.lines().map(str::trim).filter(|line| line.len() >= MIN_LINE && *line != secret);
    iter::once(secret).chain(lines).map(str::to_owned).collect()
}

/// Whether a variable's name holds TOKEN, SECRET, PASSWORD or KEY, in any case: then its value is to be masked.
fn is_secret(name: &[u8]) -> bool {
    let holds_one_at = |at: usize| {
        matches!(
            name.get(at..),
            Some(
                [b'T' | b't', b'O' | b'o', b'K' | b'k', b'E' | b'e', b'N' | b'n', ..]
                    | [
                        b'S' | b's',
                        b'E' | b'e',
                        b'C' | b'c',
                        b'R' | b'r',
                        b'E' | b'e',
                        b'T' | b't',
                        ..
                    ]
                    | [
                        b'P' | b'p',
                        b'A' | b'a',
                        b'S' | b's',
                        b'S' | b's',
                        b'W' | b'w',
                        b'O' | b'o',
                        b'R' | b'r',
                        b'D' | b'd',
                        ..
                    ]
                    | [b'K' | b'k', b'E' | b'e', b'Y' | b'y', ..]
            )
        )
    };
    (0..name.len()).any(holds_one_at)
}

/// The matches of a pattern that are not empty, widened to whole characters: patterns work on bytes.
fn matches(pattern: &Regex, text: &str) -> Vec<Range<usize>> {
    let mut cache = Cache::new(pattern);
    let found = pattern.find_iter(&mut cache, text).map(|found| found.range());
    let widen = |span: Range<usize>| {
        let is_boundary = |index: &usize| text.is_char_boundary(*index);
        let start = (0..=span.start).rev().find(is_boundary).unwrap_or(0);
        let end = (span.end..=text.len()).find(is_boundary).unwrap_or(text.len());
        start..end
    };
    found.filter(|span| !span.is_empty()).map(widen).collect()
}

/// The passwords of URLs: `scheme://user:PASSWORD@host`, by RFC 3986, 3.2.1. What stands between the colon and the last `@` before
/// the path is taken, since passwords with an unescaped `@` are common.
fn url_passwords(text: &str) -> Vec<Range<usize>> {
    let authorities = text.match_indices("://").map(|(start, separator)| start + separator.len());
    authorities
        .filter_map(|start| {
            let rest = text.get(start..)?;
            let end = rest.find(|c: char| matches!(c, '/' | '?' | '#') || c.is_whitespace());
            let authority = rest.get(..end.unwrap_or(rest.len()))?;
            let at = authority.rfind('@')?;
            let colon = authority.get(..at)?.find(':')?;
            (colon + 1 < at).then_some(start + colon + 1..start + at)
        })
        .collect()
}

/// Replaces spans, sorted by their start, that may touch or overlap: then they share one mask.
fn replace(text: &str, spans: &[Range<usize>]) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    for span in spans {
        if span.start > done || (span.start == done && !masked.ends_with(MASK)) {
            masked.push_str(text.get(done..span.start).unwrap_or_default());
            masked.push_str(MASK);
        }
        done = done.max(span.end);
    }
    masked.push_str(text.get(done..).unwrap_or_default());
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(patterns: &[&str]) -> Redactor {
        let patterns: Vec<Pattern> =
            patterns.iter().map(|pattern| pattern.parse().expect("a pattern")).collect();
        let environment = Environment::new(vec![
            c"API_TOKEN=tok-12345",
            c"my_password=hunter2",
            c"SHORT_KEY=abc",
            c"BINARY_KEY=ab\xffcdef",
            c"FILE_SECRET=from-a-file\n",
            c"HOME=/home/me",
        ]);
        Redactor::new(&patterns, &environment).expect("patterns that compile")
    }

    #[test]
    fn secrets_of_the_environment_are_masked() {
        let mask = |text| redactor(&[]).mask(text);
        assert_eq!(mask("-H tok-12345, hunter2!"), "-H ***, ***!");
        assert_eq!(mask("abc /home/me"), "abc /home/me");
        assert_eq!(mask("ab\u{fffd}cdef from-a-file"), "*** ***");
    }

    #[test]
    fn the_lines_of_a_long_secret_are_masked_one_by_one() {
        let key = c"A_KEY=-----BEGIN A KEY-----\nMIIEvgIBADANBgkq\nhkiG\n-----END A KEY-----\n";
        let redactor = Redactor::new(&[], &Environment::new(vec![key])).expect("no patterns");
        assert_eq!(redactor.mask("> MIIEvgIBADANBgkq\n> hkiG\n"), "> ***\n> hkiG\n");
        let all = "-----BEGIN A KEY-----\nMIIEvgIBADANBgkq\nhkiG\n-----END A KEY-----\n";
        assert_eq!(redactor.mask(all), "***\n");
    }

    #[test]
    fn passwords_in_urls_are_masked() {
        let mask = |text| redactor(&[]).mask(text);
        assert_eq!(mask("http://u:pw@h/p?x=a:b@c"), "http://u:***@h/p?x=a:b@c");
        assert_eq!(mask("a redis://:s@c@h:1/0 b"), "a redis://:***@h:1/0 b");
        for text in ["http://h:80/a@b", "http://u@h", "http://u:@h", "://", "x://é:"] {
            assert_eq!(mask(text), text);
        }
    }

    #[test]
    fn patterns_work_on_bytes_and_keep_text_whole() {
        let mask = |patterns: &[&str], text| redactor(patterns).mask(text);
        assert_eq!(mask(&["b+"], "abba"), "a***a");
        assert_eq!(mask(&["x*"], "abc"), "abc");
        assert_eq!(mask(&[r"\xa9"], "né!"), "n***!");
        assert_eq!(mask(&["ab", "bc"], "xabcx"), "x***x");
        assert_eq!(mask(&["a"], "aab"), "***b");
        assert_eq!(mask(&[""], "abc"), "abc");
    }

    #[test]
    fn patterns_begin_and_end_with_lines() {
        let mask = |pattern, text| redactor(&[pattern]).mask(text);
        assert_eq!(mask("^pin: .*$", "a\npin: 12\r\nmy pin: 3\n"), "a\n***\r\nmy pin: 3\n");
        assert_eq!(mask(r"\Apin: .*", "a\npin: 12\n"), "a\npin: 12\n");
    }
}
