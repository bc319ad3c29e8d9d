//! Answers `--classify`: endings on stdin, a JSON object a line, each judged under the policy that its command gets.
//!
//! It judges as a run would, by the same rules and the same search, and runs nothing.

use std::ffi::OsString;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::config::Sources;
use crate::engine::ExitStatus;
use crate::engine::event::{EndedBy, Ending, SpawnErrorKind, Verdict};
use crate::engine::output::{Matches, OutputPattern, Stream};
use crate::engine::signal::Signal;
use crate::error::Error;
use crate::patterns::{Matcher, Reading};

/// How many searches are kept ready: for each set of patterns one.
const READY: usize = 64;

/// Why the answers broke off.
#[derive(Debug)]
pub enum Failure {
    /// A line is no ending, or cannot be judged.
    Line(Error),
    /// The endings cannot be read.
    Read(io::Error),
    /// The answers cannot be written.
    Write(io::Error),
}

/// An ending as a line gives it.
#[derive(Deserialize)]
#[serde(
    expecting = "an object such as {\"command\":[\"curl\",\"-f\"],\"exit_code\":22,\"stderr\":\"...\"}"
)]
struct Line {
    #[serde(default)]
    command: Vec<String>,
    exit_code: Option<u8>,
    signal: Option<Signal>,
    ended_by: Option<EndedBy>,
    error_kind: Option<SpawnErrorKind>,
    #[serde(default = "empty")]
    stdout: Option<String>,
    #[serde(default = "empty")]
    stderr: Option<String>,
}

/// A stream of which nothing is said: nothing was written. Null is one that was not read.
fn empty() -> Option<String> {
    Some(String::new())
}

/// The answer; all but the policy null where nothing is judged.
#[derive(Serialize)]
struct Answer<'a> {
    verdict: Option<Verdict>,
    reason: Option<String>,
    rule: Option<String>,
    rule_origin: Option<String>,
    policy: &'a str,
}

/// Answers line by line, however many there are; blank ones are left out.
///
/// # Errors
/// A line that is no ending, after the answers to those before it; or a stream fails.
pub fn answer(
    sources: &Sources,
    mask: &dyn Fn(&str) -> String,
    mut endings: impl BufRead,
    mut answers: impl Write,
) -> Result<(), Failure> {
    let mut searches = Searches::default();
    let mut bytes = Vec::new();
    for number in 1_u64.. {
        bytes.clear();
        if endings.read_until(b'\n', &mut bytes).map_err(Failure::Read)? == 0 {
            break;
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let fail = |message| {
            Failure::Line(Error::Usage(format!("--classify: line {number} of stdin: {message}")))
        };
        let line: Line = serde_json::from_slice(&bytes).map_err(|error| fail(fault(&error)))?;
        let ending = line.ending().map_err(|message| fail(message.to_owned()))?;
        let mut text = judge(line, &ending, sources, mask, &mut searches).map_err(Failure::Line)?;
        text.push('\n');
        let written = answers.write_all(text.as_bytes()).and_then(|()| answers.flush());
        written.map_err(Failure::Write)?;
    }
    Ok(())
}

fn judge(
    line: Line,
    ending: &Ending,
    sources: &Sources,
    mask: &dyn Fn(&str) -> String,
    searches: &mut Searches,
) -> Result<String, Error> {
    let command: Vec<OsString> = line.command.into_iter().map(OsString::from).collect();
    let policy = sources.layers(&command)?.resolve(mask).policy;
    let judgement = if ending.ended_by.is_judged() {
        let streams = [(Stream::Stdout, line.stdout), (Stream::Stderr, line.stderr)];
        let matches = searches.search(policy.rules.patterns(), streams);
        policy.rules.judge(ending, &matches).judgement
    } else {
        Default::default()
    };
    let answer = Answer {
        verdict: judgement.verdict,
        reason: judgement.reason,
        rule: judgement.rule,
        rule_origin: judgement.rule_origin,
        policy: &policy.name,
    };
    Ok(serde_json::to_string(&answer).expect("strings alone"))
}

impl Line {
    /// The ending; what is not said follows from the rest.
    fn ending(&self) -> Result<Ending, &'static str> {
        let exited = self.exit_code.map(|code| ExitStatus::Code(code.into()));
        let died = self.signal.map(|signal| ExitStatus::Signal { signal, core_dumped: false });
        let ended_by = match (self.ended_by, died, exited) {
            (Some(ended_by), ..) => ended_by,
            (None, Some(_), _) => EndedBy::Signal,
            (None, None, Some(_)) => EndedBy::Exit,
            (None, None, None) => return Err("expected an `exit_code`, a `signal` or `ended_by`"),
        };
        let status = match ended_by {
            EndedBy::Exit => {
                Some(exited.ok_or("expected an `exit_code` where it ended by `exit`")?)
            }
            EndedBy::Signal => Some(died.ok_or("expected a `signal` where it ended by `signal`")?),
            EndedBy::SpawnError => None,
            EndedBy::Timeout
            | EndedBy::IdleTimeout
            | EndedBy::Deadline
            | EndedBy::Stop
            | EndedBy::Lost => died.or(exited),
        };
        Ok(match status {
            Some(status) => Ending { ended_by, ..Ending::of(status, None) },
            None => Ending::failed(ended_by, String::new(), self.error_kind(ended_by)),
        })
    }

    /// Why it could not be started: as a shell's code says, unless it is said.
    fn error_kind(&self, ended_by: EndedBy) -> Option<SpawnErrorKind> {
        let by_code = match self.exit_code {
            Some(126) => SpawnErrorKind::NotExecutable,
            _ => SpawnErrorKind::NotFound,
        };
        (ended_by == EndedBy::SpawnError).then_some(self.error_kind.unwrap_or(by_code))
    }
}

/// Words of serde's, and what JSON and its users call them.
const WORDS: [(&str, &str); 4] = [
    ("invalid type: sequence,", "invalid type: list,"),
    ("invalid type: map,", "invalid type: object,"),
    ("expected u8", "expected a number from 0 to 255"),
    ("expected a sequence", "expected a list of strings"),
];

/// What serde says is wrong, without its line, which is always the first.
fn fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let Some((message, _)) = text.rsplit_once(" at line ") else { return text };
    let message = WORDS.iter().fold(message.to_owned(), |message, (word, plain)| {
        // What stands before it may be the user's own.
        match message.strip_suffix(word) {
            Some(begin) => format!("{begin}{plain}"),
            None => match message.strip_prefix(word) {
                Some(end) => format!("{plain}{end}"),
                None => message,
            },
        }
    });
    format!("{message}, at column {}", error.column())
}

/// Searches that are ready, so that a policy's patterns are compiled once.
#[derive(Default)]
struct Searches(Vec<(Vec<OutputPattern>, Reading, Matcher)>);

impl Searches {
    /// What is found in the streams that were read.
    fn search(
        &mut self,
        patterns: Vec<OutputPattern>,
        streams: [(Stream, Option<String>); 2],
    ) -> Matches {
        let reading = match &streams {
            [(_, Some(_)), (_, Some(_))] => Reading::Both,
            [(stream, Some(_)), _] | [_, (stream, Some(_))] => Reading::Only(*stream),
            [(_, None), (_, None)] => return Matches::default(),
        };
        if patterns.is_empty() {
            return Matches::default();
        }
        let is_it = |(had, by, _): &(Vec<OutputPattern>, Reading, Matcher)| {
            *had == patterns && *by == reading
        };
        let index = match self.0.iter().position(is_it) {
            Some(index) => index,
            None => {
                let matcher = Matcher::new(patterns.clone(), reading);
                self.0.truncate(READY - 1);
                self.0.push((patterns, reading, matcher));
                self.0.len() - 1
            }
        };
        // What is often asked for comes to stand in front, and what is not falls out at the end.
        self.0.swap(index, index / 2);
        let Some((_, _, matcher)) = self.0.get_mut(index / 2) else {
            return Matches::default();
        };
        for (stream, text) in streams {
            if let Some(text) = text {
                matcher.feed(stream, text.as_bytes());
            }
        }
        // The lines are shown nowhere.
        matcher.finish(&str::to_owned)
    }
}
