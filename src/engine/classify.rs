//! Rules that turn the ending of an attempt into a verdict: an ordered list, the first that holds decides.
//!
//! Where the rules come from and in which order they stand is `config`'s.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::event::{EndedBy, Ending, Judgement, SpawnErrorKind, Verdict};
use super::keyword::did_you_mean;
use super::signal::Signal;

/// A condition on endings with a name for what it finds: `[REASON: ]COND[&COND]...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    reason: Option<String>,
    conditions: Vec<Condition>,
    text: String,
}

/// A set of statuses, or everything but it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    negated: bool,
    statuses: Vec<Status>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Status {
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
        Rule::of(reason, Status::Any, "any")
    }

    fn of(reason: &str, status: Status, text: &str) -> Rule {
        Rule {
            reason: Some(reason.to_owned()),
            conditions: vec![Condition { negated: false, statuses: vec![status] }],
            text: text.to_owned(),
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

    /// Whether the rule holds for an ending.
    #[must_use]
    pub fn holds(&self, ending: &Ending) -> bool {
        let names_it = || {
            self.conditions.iter().any(|condition| !condition.negated && condition.contains(ending))
        };
        self.conditions
            .iter()
            .all(|condition| condition.contains(ending) != condition.negated)
            // "not 7" must not turn a success into a failure, and says nothing of what we ended ourselves.
            && (!(is_exit_0(ending) || ending.ended_by.is_ours()) || names_it())
    }
}

impl Condition {
    fn contains(&self, ending: &Ending) -> bool {
        self.statuses.iter().any(|status| status.is(ending))
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
            Some((reason, rest)) if is_reason(reason) => (Some(reason.to_owned()), rest),
            _ => (None, text),
        };
        Ok(Rule {
            reason,
            conditions: conditions.split('&').map(condition).collect::<Result<_, _>>()?,
            text: conditions.trim().to_owned(),
        })
    }
}

fn is_reason(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn condition(text: &str) -> Result<Condition, String> {
    let text = text.trim();
    let (negated, set) = match text.strip_prefix('!') {
        Some(set) => (true, set),
        None => (false, text),
    };
    Ok(Condition {
        negated,
        statuses: set.split(',').map(|word| status(word.trim())).collect::<Result<_, _>>()?,
    })
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
             `timeout`, `idle-timeout` or `spawn`, not `{word}`{hint}"
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

/// A rule in its place: what it means where it holds, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedRule {
    /// When it holds.
    pub rule: Rule,
    /// What it means.
    pub verdict: Verdict,
    /// Where it stands, e.g. `policy curl (built in)`.
    pub origin: String,
}

impl PlacedRule {
    /// One word: the rule's own, else the option by which such rules are given.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.rule.reason().unwrap_or(match self.verdict {
            Verdict::Success => "success-on",
            Verdict::Transient => "retry-on",
            Verdict::Permanent => "stop-on",
        })
    }

    fn judgement(&self) -> Judgement {
        Judgement {
            verdict: Some(self.verdict),
            reason: Some(self.reason().to_owned()),
            rule: Some(self.rule.text().to_owned()),
            rule_origin: Some(self.origin.clone()),
            evidence: None,
        }
    }
}

/// Where the built-in rules stand.
pub const BUILT_IN_ORIGIN: &str = "built in";

/// What holds for statuses when nothing else speaks, in the order in which it is asked.
///
/// 126 and 127: POSIX.1-2024, XCU 2.8.2 "Exit Status for Commands". HUP, INT, QUIT and TERM are how people and systems
/// stop a program; ILL, SYS, TRAP, XCPU and XFSZ come again with the same program and limits.
const BUILT_IN: [(&str, Verdict); 11] = [
    ("success: 0", Verdict::Success),
    ("not-executable: 126", Verdict::Permanent),
    ("not-found: 127", Verdict::Permanent),
    ("stopped: HUP,INT,QUIT,TERM", Verdict::Permanent),
    ("crash: ILL,SYS,TRAP", Verdict::Permanent),
    ("limit: XCPU,XFSZ", Verdict::Permanent),
    ("crash: crash", Verdict::Transient),
    ("signal: signal", Verdict::Transient),
    ("timeout: timeout", Verdict::Transient),
    ("idle-timeout: idle-timeout", Verdict::Transient),
    ("unlisted: nonzero", Verdict::Transient),
];

/// What holds for commands that cannot be started: only a lack of resources passes.
const BUILT_IN_SPAWN: [(SpawnErrorKind, Verdict); 3] = [
    (SpawnErrorKind::Resources, Verdict::Transient),
    (SpawnErrorKind::NotFound, Verdict::Permanent),
    (SpawnErrorKind::NotExecutable, Verdict::Permanent),
];

/// The rules of a policy, in the order in which they are asked; always ends in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules(Vec<PlacedRule>);

impl Rules {
    /// The given rules, then the built-in table.
    #[must_use]
    pub fn new(rules: Vec<PlacedRule>) -> Rules {
        Rules(rules.into_iter().chain(built_in()).collect())
    }

    /// The given rules alone, of which the last names every failure; and that exit 0 is success.
    #[must_use]
    pub fn closed(rules: Vec<PlacedRule>) -> Rules {
        Rules(rules.into_iter().chain(built_in().take(1)).collect())
    }

    /// The rules in the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &PlacedRule> {
        self.0.iter()
    }

    /// The verdict on an ending, by the first rule that holds.
    #[must_use]
    pub fn judge(&self, ending: &Ending) -> Judgement {
        let rule = self.0.iter().find(|placed| placed.rule.holds(ending));
        rule.map(PlacedRule::judgement).unwrap_or_default()
    }
}

fn built_in() -> impl Iterator<Item = PlacedRule> {
    let place = |(rule, verdict)| PlacedRule { rule, verdict, origin: BUILT_IN_ORIGIN.to_owned() };
    let statuses = BUILT_IN
        .iter()
        .map(|(text, verdict)| (text.parse().expect("a test parses the whole table"), *verdict));
    let spawn = BUILT_IN_SPAWN
        .iter()
        .map(|(kind, verdict)| (Rule::of(kind.name(), Status::SpawnOf(*kind), "spawn"), *verdict));
    statuses.chain(spawn).map(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_parses() {
        assert_eq!(built_in().count(), BUILT_IN.len() + BUILT_IN_SPAWN.len());
    }
}
