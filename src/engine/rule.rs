//! A rule: a condition on endings and on what was written, with a name for what it finds.
//!
//! What it means where it holds, and which of several is asked first, is `classify`'s.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::event::{EndedBy, Ending, SpawnErrorKind};
use super::keyword::did_you_mean;
use super::output::{Matches, OutputPattern, Search, Stream};
use super::signal::Signal;

/// A condition on endings with a name for what it finds: `[REASON: ]COND[&COND]...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(super) reason: Option<Cow<'static, str>>,
    pub(super) conditions: Cow<'static, [Condition]>,
    pub(super) text: Cow<'static, str>,
}

/// A test, or its contrary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) negated: bool,
    pub(super) test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// It ended in one of these ways.
    Statuses(Cow<'static, [Status]>),
    /// It wrote this.
    Wrote(OutputPattern),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Codes(RangeInclusive<i32>),
    Any,
    Signal(Signal),
    AnySignal,
    Crash,
    Timeout,
    IdleTimeout,
    Spawn,
    /// One kind of the last: only the built-in table tells them apart.
    SpawnOf(SpawnErrorKind),
}

/// Words that are statuses; numbers and names of signals are the others.
const WORDS: [(&str, Status); 7] = [
    ("nonzero", Status::Codes(1..=255)),
    ("any", Status::Any),
    ("signal", Status::AnySignal),
    ("crash", Status::Crash),
    ("timeout", Status::Timeout),
    ("idle-timeout", Status::IdleTimeout),
    ("spawn", Status::Spawn),
];

/// Deaths that are the program's own fault.
const CRASHES: [Signal; 7] =
    [Signal::SEGV, Signal::ABRT, Signal::BUS, Signal::ILL, Signal::FPE, Signal::TRAP, Signal::SYS];

impl Rule {
    /// The rule that holds for every failure.
    #[must_use]
    pub fn any(reason: &str) -> Rule {
        const ANY: &[Status] = &[Status::Any];
        const CONDITIONS: &[Condition] =
            &[Condition { negated: false, test: Test::Statuses(Cow::Borrowed(ANY)) }];
        Rule {
            reason: Some(reason.to_owned().into()),
            conditions: Cow::Borrowed(CONDITIONS),
            text: Cow::Borrowed("any"),
        }
    }

    /// The word for what the rule finds, if it has one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The conditions as they were written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same, with another text where it holds regular expressions, from the first to the last: they are the user's own words.
    #[must_use]
    pub fn masked(self, mask: &dyn Fn(&str) -> String) -> Rule {
        let (Some(first), Some(last)) = (self.text.find('/'), self.text.rfind('/')) else {
            return self;
        };
        let parts =
            (self.text.get(..first), self.text.get(first..=last), self.text.get(last + 1..));
        let (Some(before), Some(own), Some(behind)) = parts else { return self };
        let text = format!("{before}{}{behind}", mask(own));
        Rule { text: text.into(), ..self }
    }

    /// What it looks for in the output.
    pub fn patterns(&self) -> impl Iterator<Item = &OutputPattern> {
        self.conditions.iter().filter_map(|condition| match &condition.test {
            Test::Statuses(_) => None,
            Test::Wrote(pattern) => Some(pattern),
        })
    }

    /// Whether the rule holds for an ending.
    ///
    /// A condition on output that was not read does not hold, be it negated: of what nobody saw nothing is known.
    #[must_use]
    pub fn holds(&self, ending: &Ending, matches: &Matches) -> bool {
        let names_it = || {
            self.conditions.iter().any(|condition| !condition.negated && condition.names(ending))
        };
        self.conditions.iter().all(|condition| condition.holds(ending, matches))
            // "not 7" and what was written must not turn a success into a failure, and say nothing of what we ended
            // ourselves.
            && (!(is_exit_0(ending) || ending.ended_by.is_ours()) || names_it())
    }

    /// The line by which it holds: of its first pattern that was found.
    #[must_use]
    pub fn evidence(&self, matches: &Matches) -> Option<String> {
        self.conditions.iter().filter(|condition| !condition.negated).find_map(|condition| {
            match &condition.test {
                Test::Statuses(_) => None,
                Test::Wrote(pattern) => match matches.of(pattern) {
                    Search::Found(line) => Some(line.clone()),
                    Search::Absent | Search::Unknown => None,
                },
            }
        })
    }
}

impl Condition {
    fn holds(&self, ending: &Ending, matches: &Matches) -> bool {
        match &self.test {
            Test::Statuses(_) => self.names(ending) != self.negated,
            Test::Wrote(pattern) => match matches.of(pattern) {
                Search::Found(_) => !self.negated,
                Search::Absent => self.negated,
                Search::Unknown => false,
            },
        }
    }

    /// Whether it is a set that contains the ending.
    fn names(&self, ending: &Ending) -> bool {
        match &self.test {
            Test::Statuses(statuses) => statuses.iter().any(|status| status.is(ending)),
            Test::Wrote(_) => false,
        }
    }
}

impl Status {
    /// An ending that we caused has only the name of its cause, never the code or the signal that it left.
    fn is(&self, ending: &Ending) -> bool {
        let by = ending.ended_by;
        let died_of = ending.signal.filter(|_| by == EndedBy::Signal);
        match self {
            Status::Codes(codes) => {
                by == EndedBy::Exit && ending.exit_code.is_some_and(|code| codes.contains(&code))
            }
            Status::Any => !is_exit_0(ending),
            Status::Signal(signal) => died_of == Some(*signal),
            Status::AnySignal => died_of.is_some(),
            Status::Crash => died_of.is_some_and(|signal| CRASHES.contains(&signal)),
            Status::Timeout => matches!(by, EndedBy::Timeout | EndedBy::Deadline),
            Status::IdleTimeout => by == EndedBy::IdleTimeout,
            Status::Spawn => by == EndedBy::SpawnError,
            Status::SpawnOf(kind) => ending.error_kind == Some(*kind),
        }
    }
}

fn is_exit_0(ending: &Ending) -> bool {
    ending.ended_by == EndedBy::Exit && ending.exit_code == Some(0)
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Rule, String> {
        let (reason, conditions) = match text.split_once(": ") {
            Some((reason, rest)) if is_reason(reason) => (Some(reason.to_owned().into()), rest),
            _ => (None, text),
        };
        let text = conditions.trim().to_owned().into();
        Ok(Rule { reason, conditions: all(conditions)?.into(), text })
    }
}

fn is_reason(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// All conditions of a rule: an `&` between two of them, where it is none of a regular expression.
fn all(text: &str) -> Result<Vec<Condition>, String> {
    let mut conditions = Vec::new();
    let mut rest = text;
    loop {
        let (condition, after) = condition(rest)?;
        conditions.push(condition);
        match after {
            Some(after) => rest = after,
            None => return Ok(conditions),
        }
    }
}

/// The first condition, and what follows the `&` behind it.
fn condition(text: &str) -> Result<(Condition, Option<&str>), String> {
    let text = text.trim_start();
    let (negated, text) = match text.strip_prefix('!') {
        Some(text) => (true, text.trim_start()),
        None => (false, text),
    };
    let (test, after) = match regex_prefix(text) {
        Some((stream, regex)) => wrote(text, stream, regex)?,
        None => statuses(text)?,
    };
    Ok((Condition { negated, test }, after))
}

fn statuses(text: &str) -> Result<(Test, Option<&str>), String> {
    let (set, after) = match text.split_once('&') {
        Some((set, after)) => (set, Some(after)),
        None => (text, None),
    };
    if set.contains('/') {
        let near = if after.is_some() { text } else { set };
        return Err(format!(
            "expected a regular expression as `/.../`, `out/.../` or `err/.../`, not `{}`",
            near.trim()
        ));
    }
    let statuses = set.split(',').map(|word| status(word.trim())).collect::<Result<_, _>>()?;
    Ok((Test::Statuses(statuses), after))
}

/// Where a regular expression begins: its stream, and the text behind its first slash.
fn regex_prefix(text: &str) -> Option<(Option<Stream>, &str)> {
    let prefixes = [("/", None), ("out/", Some(Stream::Stdout)), ("err/", Some(Stream::Stderr))];
    prefixes.iter().find_map(|(prefix, stream)| Some((*stream, text.strip_prefix(prefix)?)))
}

/// A regular expression up to its second slash, its flag, and what follows the `&` behind it; `whole` is for the message.
fn wrote<'a>(
    whole: &str,
    stream: Option<Stream>,
    text: &'a str,
) -> Result<(Test, Option<&'a str>), String> {
    let mut regex = String::new();
    let mut letters = text.chars();
    loop {
        match letters.next() {
            Some('/') => break,
            Some('\\') => match letters.next() {
                Some('/') => regex.push('/'),
                other => regex.extend(['\\'].into_iter().chain(other)),
            },
            Some(letter) => regex.push(letter),
            None => return Err(format!("expected a `/` at the end of `{}`", whole.trim())),
        }
    }
    let rest = letters.as_str();
    let (flags, after) = match rest.split_once('&') {
        Some((flags, after)) => (flags, Some(after)),
        None => (rest, None),
    };
    let ignore_case = match flags.trim_end() {
        "" => false,
        "i" => true,
        other => {
            return Err(format!(
                "expected `i`, `&` or nothing behind the regular expression `/{regex}/`, not `{}`; a slash in it is \
                 written `\\/`",
                other.trim()
            ));
        }
    };
    Ok((Test::Wrote(OutputPattern { stream, regex, ignore_case }), after))
}

fn status(word: &str) -> Result<Status, String> {
    if let Some((_, status)) = WORDS.iter().find(|(name, _)| *name == word) {
        return Ok(status.clone());
    }
    if word.starts_with(|first: char| first.is_ascii_digit()) {
        return codes(word).ok_or_else(|| {
            format!("expected an exit code from 0 to 255 or a range of them such as `64-78`, not `{word}`")
        });
    }
    word.parse().map(Status::Signal).map_err(|no_signal: String| {
        let mut hint = did_you_mean(word, WORDS.iter().map(|(name, _)| *name));
        if let (true, Some((_, meant))) = (hint.is_empty(), no_signal.split_once(';')) {
            hint = format!(";{meant}");
        }
        format!(
            "expected an exit code, a range, a signal's name, `nonzero`, `any`, `signal`, `crash`, \
             `timeout`, `idle-timeout`, `spawn` or a regular expression as `/.../`, not `{word}`{hint}"
        )
    })
}

fn codes(word: &str) -> Option<Status> {
    let code = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|code| plain && *code <= 255)
    };
    let (first, last) = match word.split_once('-') {
        Some((first, last)) => (code(first)?, code(last)?),
        None => (code(word)?, code(word)?),
    };
    (first <= last).then_some(Status::Codes(first..=last))
}
