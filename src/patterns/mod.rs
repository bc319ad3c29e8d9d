//! Searching the output of attempts for all patterns of a policy at once: one lazy DFA, driven over the bytes as they come.
//!
//! Its memory does not depend on how much is written or how long lines are, and what is found does not depend on how the bytes
//! are cut. It reads nothing by itself, and knows no rules.

pub mod delay;
mod escapes;
mod evidence;
pub mod excerpt;
pub mod words;

use regex_automata::Anchored;
use regex_automata::MatchKind;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{self, Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::{start, syntax};

use crate::engine::output::{Matches, OutputPattern, Search, Stream};
use escapes::Escapes;
use evidence::{Evidence, Pending};

/// What the automaton of a pattern may take, as in the regex crate: `(a{1000}){1000}` would take gigabytes.
const MAX_BYTES: usize = 10 * 1024 * 1024;

/// What each stream's states may take before they are forgotten and built anew. It is taken only as they are needed.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Which output of the command is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Both streams, each by itself.
    Both,
    /// One of them; the other goes where nobody sees it.
    Only(Stream),
    /// Both as one: rules for either see all of it.
    Merged,
}

impl Reading {
    fn reads(self, stream: Stream) -> bool {
        match self {
            Reading::Both | Reading::Merged => true,
            Reading::Only(one) => one == stream,
        }
    }
}

/// Whether any of the patterns is looked for in a stream: one of which none is need not be read.
#[must_use]
pub fn are_for(patterns: &[OutputPattern], stream: Stream) -> bool {
    patterns.iter().any(|pattern| pattern.is_for(stream))
}

/// Whether a pattern is a regular expression that can be searched for.
///
/// # Errors
/// What is wrong with it.
pub fn check(pattern: &OutputPattern) -> Result<(), String> {
    build(std::slice::from_ref(pattern), Some(MAX_BYTES)).map(|_| ()).map_err(|error| {
        let OutputPattern { regex, .. } = pattern;
        format!("expected a regular expression that can be searched for: `{regex}`: {error}")
    })
}

/// Looks for patterns in the output of one attempt after the other.
pub struct Matcher {
    patterns: Vec<OutputPattern>,
    reading: Reading,
    /// Built when the first byte comes, since most commands that succeed say little.
    dfa: Option<DFA>,
    /// It cannot be built, for want of a check: then nothing is known of what was written.
    is_broken: bool,
    stdout: Reader,
    stderr: Reader,
}

impl Matcher {
    /// A search for patterns, each given once and [checked](check), in what is read.
    #[must_use]
    pub fn new(patterns: Vec<OutputPattern>, reading: Reading) -> Matcher {
        let reader = || Reader::new(patterns.len());
        let (stdout, stderr) = (reader(), reader());
        Matcher { patterns, reading, dfa: None, is_broken: false, stdout, stderr }
    }

    /// Whether anything is looked for in a stream.
    #[must_use]
    pub fn searches(&self, stream: Stream) -> bool {
        self.reading == Reading::Merged || are_for(&self.patterns, stream)
    }

    /// Takes what the attempt wrote next to a stream; where both are read as one, either name will do.
    pub fn feed(&mut self, stream: Stream, bytes: &[u8]) {
        let Matcher { patterns, reading, dfa, is_broken, stdout, stderr } = self;
        let is_merged = *reading == Reading::Merged;
        if bytes.is_empty() || !(is_merged || are_for(patterns, stream)) {
            return;
        }
        if dfa.is_none() && !*is_broken {
            *dfa = build(patterns, None).ok();
            *is_broken = dfa.is_none();
        }
        let Some(dfa) = dfa else { return };
        let wanted = |index: usize| {
            is_merged || patterns.get(index).is_some_and(|pattern| pattern.is_for(stream))
        };
        let reader = match stream {
            Stream::Stderr if !is_merged => stderr,
            Stream::Stdout | Stream::Stderr => stdout,
        };
        reader.feed(dfa, bytes, &wanted);
    }

    /// The attempt will write no more: what was found, with the lines of it masked. The next one can begin.
    ///
    /// A stream to which nothing was written is an empty text, in which `^$` is found.
    pub fn finish(&mut self, mask: &dyn Fn(&str) -> String) -> Matches {
        self.search_nothing();
        let out = self.stdout.finish(self.dfa.as_ref(), mask);
        let err = self.stderr.finish(self.dfa.as_ref(), mask);
        let Matcher { patterns, reading, is_broken, .. } = self;
        let (reading, is_broken) = (*reading, *is_broken);
        let found = patterns.iter().zip(out).zip(err).map(|((pattern, out), err)| {
            let is_merged = reading == Reading::Merged;
            let of_out = out.filter(|_| is_merged || pattern.is_for(Stream::Stdout));
            let of_err = err.filter(|_| pattern.is_for(Stream::Stderr));
            let is_all_read = [Stream::Stdout, Stream::Stderr]
                .into_iter()
                .all(|stream| reading.reads(stream) || !pattern.is_for(stream));
            let search = match of_err.or(of_out) {
                Some(line) => Search::Found(line),
                None if is_all_read && !is_broken => Search::Absent,
                None => Search::Unknown,
            };
            (pattern.clone(), search)
        });
        found.collect()
    }

    /// Begins the search in streams that are read and to which nothing was written, where a pattern may match that.
    fn search_nothing(&mut self) {
        let Matcher { patterns, reading, dfa, is_broken, stdout, stderr } = self;
        let is_merged = *reading == Reading::Merged;
        let is_silent = |stream, reader: &Reader| {
            reader.is_fresh() && reading.reads(stream) && (is_merged || are_for(patterns, stream))
        };
        let out = is_silent(Stream::Stdout, stdout);
        let err = is_silent(Stream::Stderr, stderr) && !is_merged;
        if !(out || err) || *is_broken {
            return;
        }
        // Most match something alone, and then no automaton is needed.
        if dfa.is_none() && patterns.iter().all(needs_text) {
            return;
        }
        if dfa.is_none() {
            *dfa = build(patterns, None).ok();
            *is_broken = dfa.is_none();
        }
        let Some(dfa) = dfa else { return };
        for reader in [out.then_some(stdout), err.then_some(stderr)].into_iter().flatten() {
            reader.search(dfa, &[], &|_| true);
        }
    }
}

/// Whether there must be something for a pattern to match.
fn needs_text(pattern: &OutputPattern) -> bool {
    let parsed = syntax::parse_with(&pattern.regex, &syntax_of(pattern));
    parsed.is_ok_and(|parsed| parsed.properties().minimum_len() != Some(0))
}

/// All patterns as one automaton on bytes, without Unicode classes, `^` and `$` at the ends of lines, be they `\n` or `\r\n`.
///
/// What each may take is checked where it is given; together they may take as much as all of them.
fn build(patterns: &[OutputPattern], limit: Option<usize>) -> Result<DFA, String> {
    let parsed = patterns.iter().map(|pattern| {
        // The parser draws a picture; its last line says what is wrong.
        syntax::parse_with(&pattern.regex, &syntax_of(pattern)).map_err(|error| {
            let text = error.to_string();
            let fault = text.lines().next_back().unwrap_or_default();
            fault.trim_start_matches("error: ").to_owned()
        })
    });
    let parsed: Vec<_> = parsed.collect::<Result<_, _>>()?;
    let nfa = thompson::Compiler::new()
        .configure(
            thompson::Config::new()
                .utf8(false)
                .nfa_size_limit(limit)
                .which_captures(thompson::WhichCaptures::None),
        )
        .build_many_from_hir(&parsed)
        .map_err(|error| match error.size_limit() {
            Some(_) => "it is too large".to_owned(),
            None => error.to_string(),
        })?;
    let config = dfa::Config::new()
        .match_kind(MatchKind::All)
        .cache_capacity(CACHE_BYTES)
        .skip_cache_capacity_check(true);
    let dfa = dfa::Builder::new().configure(config).build_from_nfa(nfa);
    dfa.map_err(|error| error.to_string())
}

fn syntax_of(pattern: &OutputPattern) -> syntax::Config {
    syntax::Config::new()
        .unicode(false)
        .utf8(false)
        .multi_line(true)
        .crlf(true)
        .case_insensitive(pattern.ignore_case)
}

/// The search in one stream.
struct Reader {
    cache: Option<Cache>,
    /// Where the automaton stands; none before the first byte, and where there is nothing more to look for.
    state: State,
    escapes: Escapes,
    evidence: Evidence,
    found: Vec<Option<Pending>>,
}

#[derive(Clone, Copy)]
enum State {
    /// Nothing was read yet.
    Fresh,
    /// It goes on from here.
    At(LazyStateID),
    /// Whatever comes, nothing more can match.
    Done,
}

impl Reader {
    fn new(patterns: usize) -> Reader {
        Reader {
            cache: None,
            state: State::Fresh,
            escapes: Escapes::default(),
            evidence: Evidence::default(),
            found: vec![None; patterns],
        }
    }

    fn feed(&mut self, dfa: &DFA, bytes: &[u8], wanted: &dyn Fn(usize) -> bool) {
        if matches!(self.state, State::Done) && !self.has_open_lines() {
            return;
        }
        // What is left of the bytes without escapes lies in them in pieces.
        let mut escapes = std::mem::take(&mut self.escapes);
        escapes.strip(bytes, &mut |piece| self.search(dfa, piece, wanted));
        self.escapes = escapes;
    }

    fn is_fresh(&self) -> bool {
        matches!(self.state, State::Fresh)
    }

    fn has_open_lines(&self) -> bool {
        self.found.iter().flatten().any(Pending::is_open)
    }

    /// Moves over a piece; a match is known one byte after its end.
    fn search(&mut self, dfa: &DFA, piece: &[u8], wanted: &dyn Fn(usize) -> bool) {
        for pending in self.found.iter_mut().flatten() {
            pending.go_on(piece);
        }
        let mut at = 0;
        let mut cache = self.cache.take().unwrap_or_else(|| dfa.create_cache());
        while let Some(state) = self.state_before(dfa, &mut cache) {
            let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) else { break };
            let Some((length, state)) = walk(dfa, &mut cache, state, rest) else {
                // The states did not fit: what was half matched is lost, and the search begins anew.
                cache.reset(dfa);
                self.state = State::Fresh;
                at += 1;
                continue;
            };
            at += length;
            self.state = State::At(state);
            if state.is_match() {
                // The last byte only told.
                let matched = patterns_at(dfa, &cache, state);
                self.note(matched, piece, at - 1, wanted);
            } else if state.is_dead() {
                self.state = State::Done;
            }
        }
        self.cache = Some(cache);
        self.evidence.keep(piece);
    }

    /// The state from which to go on; none if there is nothing to look for.
    fn state_before(&mut self, dfa: &DFA, cache: &mut Cache) -> Option<LazyStateID> {
        match self.state {
            State::At(state) => Some(state),
            State::Done => None,
            State::Fresh => {
                let config = start::Config::new().anchored(Anchored::No);
                // It fails only for states that do not fit, and there are none yet.
                let state = dfa.start_state(cache, &config).ok();
                self.state = state.map_or(State::Done, State::At);
                state
            }
        }
    }

    /// Notes patterns that matched up to a place in the piece.
    fn note(
        &mut self,
        matched: impl Iterator<Item = usize>,
        piece: &[u8],
        end: usize,
        wanted: &dyn Fn(usize) -> bool,
    ) {
        for pattern in matched.filter(|pattern| wanted(*pattern)) {
            if let Some(found @ None) = self.found.get_mut(pattern) {
                *found = Some(self.evidence.line(piece, end));
            }
        }
        let is_complete =
            self.found.iter().enumerate().all(|(index, found)| found.is_some() || !wanted(index));
        if is_complete {
            self.state = State::Done;
        }
    }

    /// What matched in all that was read, the line of each match; ready for another stream.
    fn finish(&mut self, dfa: Option<&DFA>, mask: &dyn Fn(&str) -> String) -> Vec<Option<String>> {
        if let State::At(state) = self.state
            && let Some(dfa) = dfa
            && let Some(mut cache) = self.cache.take()
        {
            if let Ok(state) = dfa.next_eoi_state(&mut cache, state) {
                // What nobody wants of it is left out by whoever asks.
                self.note(patterns_at(dfa, &cache, state), &[], 0, &|_| true);
            }
            self.cache = Some(cache);
        }
        self.state = State::Fresh;
        self.escapes = Escapes::default();
        self.evidence = Evidence::default();
        let found = self.found.iter_mut().map(Option::take);
        found.map(|found| found.map(|pending| pending.into_text(mask))).collect()
    }
}

/// The patterns that match in a state.
fn patterns_at(dfa: &DFA, cache: &Cache, state: LazyStateID) -> impl Iterator<Item = usize> {
    let count = if state.is_match() { dfa.match_len(cache, state) } else { 0 };
    (0..count).map(move |index| dfa.match_pattern(cache, state, index).as_usize())
}

/// Goes on from a state to the next one that says something, or to the end: how many bytes, and where that is. None if the cache of
/// states cannot take what is needed.
fn walk(
    dfa: &DFA,
    cache: &mut Cache,
    mut state: LazyStateID,
    bytes: &[u8],
) -> Option<(usize, LazyStateID)> {
    for (index, byte) in bytes.iter().enumerate() {
        // What is tagged, such as a match, is rare, and the rest fast.
        let next = match state.is_tagged() {
            true => dfa.next_state(cache, state, *byte).ok()?,
            false => dfa.next_state_untagged(cache, state, *byte),
        };
        if !next.is_tagged() {
            state = next;
            continue;
        }
        state = match next.is_unknown() {
            true => dfa.next_state(cache, state, *byte).ok()?,
            false => next,
        };
        if state.is_match() || state.is_dead() {
            return Some((index + 1, state));
        }
    }
    Some((bytes.len(), state))
}
