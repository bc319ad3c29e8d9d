//! Searching the output of attempts for all patterns of a policy at once: one lazy DFA, driven over the bytes as they come.
//!
//! Its memory does not depend on how much is written or how long lines are, and what is found does not depend on how the bytes
//! are cut. It reads nothing by itself, and knows no rules.

mod escapes;
mod evidence;

use std::ops::Range;

use regex_automata::Anchored;
use regex_automata::MatchKind;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{self, Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::{start, syntax};

use crate::engine::output::{Matches, OutputPattern, Search, Stream};
use escapes::Escapes;
use evidence::{Evidence, Pending};

/// What the automaton of all patterns together may take, as in the regex crate for one: `(a{1000}){1000}` would take gigabytes.
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

/// Looks for patterns in the output of one attempt after the other.
pub struct Matcher {
    patterns: Vec<OutputPattern>,
    reading: Reading,
    dfa: DFA,
    stdout: Reader,
    stderr: Reader,
}

impl Matcher {
    /// A search for patterns, each given once, in what is read.
    ///
    /// # Errors
    /// A pattern that is none, or is too large; or all together are. The message names it.
    pub fn new(patterns: Vec<OutputPattern>, reading: Reading) -> Result<Matcher, String> {
        let dfa = compile(&patterns)?;
        let reader = || Reader::new(&dfa, patterns.len());
        let (stdout, stderr) = (reader(), reader());
        Ok(Matcher { patterns, reading, dfa, stdout, stderr })
    }

    /// Takes what the attempt wrote next to a stream; where both are read as one, either name will do.
    pub fn feed(&mut self, stream: Stream, bytes: &[u8]) {
        let Matcher { patterns, reading, dfa, stdout, stderr } = self;
        let is_merged = *reading == Reading::Merged;
        let wanted = |index: usize| {
            is_merged || patterns.get(index).is_some_and(|pattern| pattern.is_for(stream))
        };
        let reader = match stream {
            Stream::Stderr if !is_merged => stderr,
            Stream::Stdout | Stream::Stderr => stdout,
        };
        reader.feed(dfa, bytes, &wanted);
    }

    /// The attempt will write no more: what was found. The next one can begin.
    pub fn finish(&mut self) -> Matches {
        let out = self.stdout.finish(&self.dfa);
        let err = self.stderr.finish(&self.dfa);
        let (reading, patterns) = (self.reading, &self.patterns);
        let found = patterns.iter().zip(out).zip(err).map(|((pattern, out), err)| {
            let is_merged = reading == Reading::Merged;
            let of_out = out.filter(|_| is_merged || pattern.is_for(Stream::Stdout));
            let of_err = err.filter(|_| pattern.is_for(Stream::Stderr));
            let is_all_read = [Stream::Stdout, Stream::Stderr]
                .into_iter()
                .all(|stream| reading.reads(stream) || !pattern.is_for(stream));
            let search = match of_err.or(of_out) {
                Some(line) => Search::Found(line),
                None if is_all_read => Search::Absent,
                None => Search::Unknown,
            };
            (pattern.clone(), search)
        });
        found.collect()
    }
}

/// Whether a pattern is a regular expression that can be searched for.
///
/// # Errors
/// What is wrong with it.
pub fn check(pattern: &OutputPattern) -> Result<(), String> {
    build(std::slice::from_ref(pattern)).map(|_| ()).map_err(|error| {
        let OutputPattern { regex, .. } = pattern;
        format!("expected a regular expression that can be searched for: `{regex}`: {error}")
    })
}

fn compile(patterns: &[OutputPattern]) -> Result<DFA, String> {
    build(patterns).map_err(|error| {
        // Which of them it is costs as much again, but only where something is wrong.
        let culprit = patterns.iter().find_map(|pattern| check(pattern).err());
        culprit.unwrap_or_else(|| format!("the regular expressions of all rules together: {error}"))
    })
}

/// All patterns as one automaton on bytes, without Unicode classes, `^` and `$` at the ends of lines, be they `\n` or `\r\n`.
fn build(patterns: &[OutputPattern]) -> Result<DFA, String> {
    let parsed = patterns.iter().map(|pattern| {
        let config = syntax::Config::new()
            .unicode(false)
            .utf8(false)
            .multi_line(true)
            .crlf(true)
            .case_insensitive(pattern.ignore_case);
        // The parser draws a picture; its last line says what is wrong.
        syntax::parse_with(&pattern.regex, &config).map_err(|error| {
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
                .nfa_size_limit(Some(MAX_BYTES))
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

/// The search in one stream.
struct Reader {
    cache: Cache,
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
    fn new(dfa: &DFA, patterns: usize) -> Reader {
        Reader {
            cache: dfa.create_cache(),
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

    fn has_open_lines(&self) -> bool {
        self.found.iter().flatten().any(Pending::is_open)
    }

    /// Moves over a piece; a match is known one byte after its end.
    fn search(&mut self, dfa: &DFA, piece: &[u8], wanted: &dyn Fn(usize) -> bool) {
        for pending in self.found.iter_mut().flatten() {
            pending.go_on(piece);
        }
        let mut at = 0;
        while let Some(state) = self.state_before(dfa) {
            let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) else { break };
            let Some((length, state)) = walk(dfa, &mut self.cache, state, rest) else {
                // The states did not fit: what was half matched is lost, and the search begins anew.
                self.cache.reset(dfa);
                self.state = State::Fresh;
                at += 1;
                continue;
            };
            at += length;
            self.state = State::At(state);
            if state.is_match() {
                // The last byte only told.
                self.note(dfa, state, piece, 0..at - 1, wanted);
            } else if state.is_dead() {
                self.state = State::Done;
            }
        }
        self.evidence.keep(piece);
    }

    /// The state from which to go on; none if there is nothing to look for.
    fn state_before(&mut self, dfa: &DFA) -> Option<LazyStateID> {
        match self.state {
            State::At(state) => Some(state),
            State::Done => None,
            State::Fresh => {
                let config = start::Config::new().anchored(Anchored::No);
                // It fails only for states that do not fit, and there are none yet.
                let state = dfa.start_state(&mut self.cache, &config).ok();
                self.state = state.map_or(State::Done, State::At);
                state
            }
        }
    }

    /// Notes the patterns that matched up to the end of a range of the piece.
    fn note(
        &mut self,
        dfa: &DFA,
        state: LazyStateID,
        piece: &[u8],
        range: Range<usize>,
        wanted: &dyn Fn(usize) -> bool,
    ) {
        for index in 0..dfa.match_len(&self.cache, state) {
            let pattern = dfa.match_pattern(&self.cache, state, index).as_usize();
            let Some(found) = self.found.get_mut(pattern) else { continue };
            if found.is_none() && wanted(pattern) {
                *found = Some(self.evidence.line(piece, range.end));
            }
        }
        let is_complete = (0..self.found.len())
            .all(|index| !wanted(index) || self.found.get(index).is_some_and(Option::is_some));
        if is_complete {
            self.state = State::Done;
        }
    }

    /// What matched in all that was read, the line of each match; ready for another stream.
    fn finish(&mut self, dfa: &DFA) -> Vec<Option<String>> {
        if let Some(state) = self.state_before(dfa)
            && let Ok(state) = dfa.next_eoi_state(&mut self.cache, state)
            && state.is_match()
        {
            // What nobody wants of it is left out by whoever asks.
            self.note(dfa, state, &[], 0..0, &|_| true);
        }
        self.state = State::Fresh;
        self.escapes = Escapes::default();
        self.evidence = Evidence::default();
        self.found.iter_mut().map(|found| found.take().map(Pending::into_text)).collect()
    }
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
