//! What rules look for in the output of an attempt, and what was found of it.
//!
//! Nothing is searched here: a pattern is text, and whoever read the output says what matched.

use std::collections::BTreeMap;

/// Which of the command's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Its stdout.
    Stdout,
    /// Its stderr.
    Stderr,
}

/// A regular expression on the output of an attempt: on bytes, without terminal escapes, `^` and `$` at the ends of lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutputPattern {
    /// Where it is looked for; none is in either.
    pub stream: Option<Stream>,
    /// The regular expression.
    pub regex: String,
    /// Whether letters match in both cases.
    pub ignore_case: bool,
}

impl OutputPattern {
    /// Whether it is looked for in a stream.
    #[must_use]
    pub fn is_for(&self, stream: Stream) -> bool {
        self.stream.is_none_or(|wanted| wanted == stream)
    }
}

/// What became of the search for one pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// It matched; the line in which the first match ended.
    Found(String),
    /// Everything in which it could have matched was read, and it did not.
    Absent,
    /// It did not match in what was read, and something was not.
    Unknown,
}

/// What was found in the output of an attempt. By default nothing was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches(BTreeMap<OutputPattern, Search>);

impl Matches {
    /// What is known of a pattern.
    #[must_use]
    pub fn of(&self, pattern: &OutputPattern) -> &Search {
        self.0.get(pattern).unwrap_or(&Search::Unknown)
    }
}

impl FromIterator<(OutputPattern, Search)> for Matches {
    fn from_iter<I: IntoIterator<Item = (OutputPattern, Search)>>(searches: I) -> Matches {
        Matches(searches.into_iter().collect())
    }
}
