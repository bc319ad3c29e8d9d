//! Looking for a wait that somebody asks for in the output of an attempt: the last one counts.
//!
//! What the text that is found means is not known here.

use regex_automata::Input;
use regex_automata::hybrid::regex::{Builder, Cache, Regex};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{self, NFA};
use regex_automata::util::syntax;

use super::escapes::Escapes;
use crate::engine::output::Stream;

/// How much of a stream is searched at once.
const WINDOW: usize = 128 * 1024;

/// How much of that is searched again with what follows, for a match that ends there.
const OVERLAP: usize = 8 * 1024;

/// What an automaton may take.
const MAX_BYTES: usize = 10 * 1024 * 1024;

/// The usual forms, in any case: `Retry-After: 30`, `"retry_after": 1.5`, `retry in 5s`, `try again in 2 minutes`,
/// `Retry-After: Wed, 21 Oct 2026 07:28:00 GMT` (RFC 9110, 10.2.3, and 5.6.7 for the older forms of a date). A number with something
/// at its end is found with that, so that a date of another form is not its year; of `5 to 10 minutes` the longer wait.
pub const USUAL_FORMS: &str = r#"(?ix)
    (?: retry[-_\ ]after ["']? \s* [:=] \s* ["']? | retry \s after \s+ | (?:re)?try (?:ing)? \s+ (?:again \s+)? (?:in|after) \s+ (?:about \s+)? )
    (?: [0-9]+ \s (?:to|or) \s )?
    (   (?:mon|tue|wed|thu|fri|sat|sun)[a-z]* , \s [-0-9a-z:\ ]+? \s gmt
      | (?:mon|tue|wed|thu|fri|sat|sun) \s [a-z]{3} \s [\ 0-9][0-9] \s [0-9:]{8} \s [0-9]{4} \b
      | (?: [0-9]+ (?:\.[0-9]+)? \s? (?:w|weeks?|d|days?|h|hours?|hrs?|m|mins?|minutes?|s|secs?|seconds?|ms|msecs?|milliseconds?)\b \s? )+
      | (?: [0-9]+ h )? (?: [0-9]+ m )? [0-9]+ (?:\.[0-9]+)? (?:s|ms)\b
      | [0-9]+ (?: [-:.,/_]? [0-9a-z]+ )*
    )"#;

/// Looks for what the first group of a regular expression matches.
pub struct DelaySearch {
    regex: Regex,
    cache: Cache,
    captures: PikeVM,
    captures_cache: pikevm::Cache,
    stdout: Window,
    stderr: Window,
    last_written: Stream,
}

/// The end of a stream, without escapes.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    escapes: Escapes,
    found: Option<Vec<u8>>,
}

impl DelaySearch {
    /// A search for a pattern.
    ///
    /// # Errors
    /// It is no regular expression, too large a one, or has no group.
    pub fn new(pattern: &str) -> Result<DelaySearch, String> {
        let syntax = syntax::Config::new().unicode(false).utf8(false).multi_line(true).crlf(true);
        let limits = thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_BYTES));
        let fail = |error: &dyn std::error::Error| {
            let mut cause = error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            // The parser draws a picture; its last line says what is wrong.
            let text = cause.to_string();
            let fault = text.lines().next_back().unwrap_or_default();
            format!("expected a regular expression: {}", fault.trim_start_matches("error: "))
        };
        let nfa = NFA::compiler().syntax(syntax).configure(limits.clone()).build(pattern);
        let nfa = nfa.map_err(|error| fail(&error))?;
        if nfa.group_info().group_len(regex_automata::PatternID::ZERO) < 2 {
            return Err(
                "expected a group in it, such as `retry in ([0-9]+)s`: what it matches is the wait"
                    .into(),
            );
        }
        let regex = Builder::new().syntax(syntax).thompson(limits).build(pattern);
        let regex = regex.map_err(|error| fail(&error))?;
        let captures = PikeVM::new_from_nfa(nfa).map_err(|error| fail(&error))?;
        Ok(DelaySearch {
            cache: regex.create_cache(),
            regex,
            captures_cache: captures.create_cache(),
            captures,
            stdout: Window::default(),
            stderr: Window::default(),
            last_written: Stream::Stderr,
        })
    }

    /// Takes what the attempt wrote next to a stream.
    pub fn feed(&mut self, stream: Stream, bytes: &[u8]) {
        self.last_written = stream;
        for piece in bytes.chunks(WINDOW) {
            let window = self.window(stream);
            let kept = &mut window.bytes;
            window.escapes.strip(piece, &mut |text| kept.extend_from_slice(text));
            if self.window(stream).bytes.len() >= WINDOW {
                self.search(stream);
                let bytes = &mut self.window(stream).bytes;
                bytes.drain(..bytes.len() - OVERLAP);
            }
        }
    }

    /// The attempt will write no more: what was found last, in the stream that was written last if in both. The next one can begin.
    pub fn finish(&mut self) -> Option<String> {
        self.search(Stream::Stdout);
        self.search(Stream::Stderr);
        let stdout = std::mem::take(&mut self.stdout).found;
        let stderr = std::mem::take(&mut self.stderr).found;
        let found = match self.last_written {
            Stream::Stdout => stdout.or(stderr),
            Stream::Stderr => stderr.or(stdout),
        };
        found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn window(&mut self, stream: Stream) -> &mut Window {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn search(&mut self, stream: Stream) {
        let window = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let Some(last) = self.regex.find_iter(&mut self.cache, &window.bytes).last() else {
            return;
        };
        let mut captures = self.captures.create_captures();
        let input = Input::new(&window.bytes).range(last.start()..);
        self.captures.captures(&mut self.captures_cache, input, &mut captures);
        let group = captures.get_group(1).and_then(|span| window.bytes.get(span.range()));
        if let Some(group) = group {
            window.found = Some(group.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, pieces: &[&[u8]]) -> Option<String> {
        let mut search = DelaySearch::new(pattern).expect("a pattern");
        pieces.iter().for_each(|piece| search.feed(Stream::Stderr, piece));
        let found = search.finish();
        assert_eq!(search.finish(), None, "the next attempt begins anew");
        found
    }

    #[test]
    fn the_last_match_counts_however_it_comes() {
        let text = b"wait 5s\nwait 7s\nnothing\n";
        assert_eq!(found("wait ([0-9]+s)", &[text]).as_deref(), Some("7s"));
        for cut in 0..text.len() {
            let (one, other) = text.split_at(cut);
            assert_eq!(found("wait ([0-9]+s)", &[one, other]).as_deref(), Some("7s"), "{cut}");
        }
        assert_eq!(found("wait ([0-9]+s)", &[b"nothing"]), None);
        assert_eq!(found("wait (x)?", &[b"wait "]), None, "the group took no part");
    }

    #[test]
    fn much_output_is_searched_in_bounded_memory() {
        let mut search = DelaySearch::new("wait ([0-9]+)").expect("a pattern");
        search.feed(Stream::Stdout, b"wait 3");
        let noise = vec![b'.'; 1_000_000];
        for _ in 0..5 {
            search.feed(Stream::Stdout, &noise);
            assert!(search.stdout.bytes.len() <= 2 * WINDOW);
        }
        assert_eq!(search.finish().as_deref(), Some("3"));
    }

    #[test]
    fn the_usual_forms_are_known() {
        for (text, expected) in [
            ("< Retry-After: 30\r\n", "30"),
            ("retry-after: Wed, 21 Oct 2026 07:28:00 GMT\r\n", "Wed, 21 Oct 2026 07:28:00 GMT"),
            ("{\"retry_after\": 1.5}", "1.5"),
            ("please retry in 5s.", "5s"),
            ("Try again in 2 minutes", "2 minutes"),
            ("rate limited, retrying after 1m30s", "1m30s"),
            ("Retry after 12.5 seconds", "12.5 seconds"),
            ("\u{1b}[31mretry in 3s\u{1b}[0m", "3s"),
            ("Retry-After: Thu Nov 26 09:57:55 2026\r\n", "Thu Nov 26 09:57:55 2026"),
            ("Retry-After: Fri Nov  6 09:57:55 2026", "Fri Nov  6 09:57:55 2026"),
            ("Retry-After: 2026-11-26T09:57:56Z\r\n", "2026-11-26T09:57:56Z"),
            ("retry after 11:30", "11:30"),
            ("retry after 5, or later", "5"),
            ("retrying in 5...", "5"),
            ("{\"retry_after\":30,\"code\":1}", "30"),
            ("Quota used up, try again in 5 days.", "5 days"),
            ("retry in 1d 2h", "1d 2h"),
            ("Retry-After: 2 Weeks", "2 Weeks"),
            ("retry in 5 to 10 minutes", "10 minutes"),
        ] {
            let found = found(USUAL_FORMS, &[text.as_bytes()]);
            assert_eq!(found.as_deref().map(str::trim), Some(expected), "{text}");
        }
        assert_eq!(found(USUAL_FORMS, &[b"retry the command; 5 s are over"]), None);
    }

    #[test]
    fn what_cannot_be_searched_for_is_refused() {
        for (pattern, expected) in [
            ("a(", "unclosed group"),
            ("no group", "expected a group"),
            ("(?:a)", "expected a group"),
        ] {
            let error = DelaySearch::new(pattern).err().unwrap_or_default();
            assert!(error.contains(expected), "{pattern}: {error}");
        }
    }
}
