//! Patterns on output: the same is found however it is cut, and nothing else than a plain search finds.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::{Corpus, fuzz_target};
use regex_automata::nfa::thompson::{self, pikevm::PikeVM};
use regex_automata::util::syntax;
use retryrun::engine::output::{Matches, OutputPattern, Search, Stream};
use retryrun::patterns::{Matcher, Reading, check};

#[derive(Arbitrary, Debug)]
struct Output<'a> {
    regexes: [(&'a str, bool); 2],
    bytes: &'a [u8],
    cuts: Vec<u8>,
}

/// Longer ones are slow to compile, and find no more faults.
const LONGEST_REGEX: usize = 60;

fuzz_target!(|output: Output<'_>| -> Corpus {
    let patterns = output.regexes.map(|(regex, ignore_case)| OutputPattern {
        stream: None,
        regex: regex.to_owned(),
        ignore_case,
    });
    let is_short = |pattern: &OutputPattern| pattern.regex.len() <= LONGEST_REGEX;
    if !patterns.iter().all(|pattern| is_short(pattern) && check(pattern).is_ok()) {
        return Corpus::Reject;
    }
    let whole = found(&patterns, &[output.bytes]);
    assert_eq!(found(&patterns, &pieces(output.bytes, &output.cuts)), whole);
    let single: Vec<&[u8]> = output.bytes.chunks(1).collect();
    assert_eq!(found(&patterns, &single), whole);
    for pattern in &patterns {
        match whole.of(pattern) {
            Search::Found(line) => assert!(line.len() <= 1024),
            Search::Absent => {}
            Search::Unknown => panic!("all was read"),
        }
        // Without escapes.
        if output.bytes.is_ascii() && !output.bytes.contains(&0x1b) {
            let is_found = *whole.of(pattern) != Search::Absent;
            assert_eq!(is_found, plainly_found(pattern, output.bytes), "{pattern:?}");
        }
    }
    Corpus::Keep
});

/// What is found in pieces of the one stream that there is, for a matcher that was used before.
fn found(patterns: &[OutputPattern], pieces: &[&[u8]]) -> Matches {
    let mut patterns = patterns.to_vec();
    patterns.dedup();
    let mut matcher = Matcher::new(patterns, Reading::Merged);
    matcher.feed(Stream::Stdout, b"an attempt before\x1b[");
    matcher.finish(&str::to_owned);
    for piece in pieces {
        matcher.feed(Stream::Stdout, piece);
    }
    matcher.finish(&str::to_owned)
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    for cut in cuts {
        let (piece, behind) = rest.split_at(usize::from(*cut).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}

fn plainly_found(pattern: &OutputPattern, bytes: &[u8]) -> bool {
    let syntax = syntax::Config::new()
        .unicode(false)
        .utf8(false)
        .multi_line(true)
        .crlf(true)
        .case_insensitive(pattern.ignore_case);
    let config = thompson::Config::new().utf8(false);
    let search = PikeVM::builder().syntax(syntax).thompson(config).build(&pattern.regex);
    let search = search.expect("it was checked");
    search.is_match(&mut search.create_cache(), bytes)
}
