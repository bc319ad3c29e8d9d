//! The rules of a policy: an ordered list that turns the ending of an attempt into a verdict; the first that holds decides.
//!
//! Where the rules come from and in which order they stand is `config`'s.

use std::time::Duration;

use super::event::{Ending, Judgement, SpawnErrorKind, Verdict};
use super::output::{Matches, OutputPattern};
pub use super::rule::Rule;

/// A rule in its place: what it means where it holds, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedRule {
    /// When it holds.
    pub rule: Rule,
    /// What it means.
    pub verdict: Verdict,
    /// Where it stands, e.g. `policy curl (built in)`.
    pub origin: String,
    /// How many retries in a row it may order, where that is less than the run's own limit.
    pub limit: Option<u64>,
    /// The wait after an ending that it decided, in place of the backoff's; `--max-delay` caps it.
    pub delay: Option<Duration>,
    /// Whether it is shipped in the program.
    pub is_built_in: bool,
}

impl PlacedRule {
    /// A rule with no limit and no delay of its own.
    #[must_use]
    pub fn new(rule: Rule, verdict: Verdict, origin: String) -> PlacedRule {
        PlacedRule { rule, verdict, origin, limit: None, delay: None, is_built_in: false }
    }

    /// One word: the rule's own, else the option by which such rules are given.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.rule.reason().unwrap_or(match self.verdict {
            Verdict::Success => "success-on",
            Verdict::Transient => "retry-on",
            Verdict::Permanent => "stop-on",
        })
    }

    /// What it says of an ending for which it holds.
    fn judgement(&self, matches: &Matches) -> Judgement {
        Judgement {
            verdict: Some(self.verdict),
            reason: Some(self.reason().to_owned()),
            rule: Some(self.rule.text().to_owned()),
            rule_origin: Some(self.origin.clone()),
            evidence: self.rule.evidence(matches),
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

    /// The same, whoever gave them.
    #[must_use]
    pub fn without_origins(&self) -> Rules {
        let rules = self.0.iter().cloned();
        Rules(rules.map(|placed| PlacedRule { origin: String::new(), ..placed }).collect())
    }

    /// The rules in the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &PlacedRule> {
        self.0.iter()
    }

    /// What the rules look for in the output, each once, in the order in which it is first asked for.
    #[must_use]
    pub fn patterns(&self) -> Vec<OutputPattern> {
        let mut patterns: Vec<OutputPattern> = Vec::new();
        for pattern in self.0.iter().flat_map(|placed| placed.rule.patterns()) {
            if !patterns.contains(pattern) {
                patterns.push(pattern.clone());
            }
        }
        patterns
    }

    /// The first rule that holds, and what it says.
    #[must_use]
    pub fn judge(&self, ending: &Ending, matches: &Matches) -> Ruling {
        let decided = self.0.iter().find(|placed| placed.rule.holds(ending, matches));
        decided.map_or_else(Ruling::default, |placed| Ruling {
            judgement: placed.judgement(matches),
            limit: placed.limit,
            delay: placed.delay,
            is_built_in: placed.is_built_in,
        })
    }
}

/// What the command says of its own failure. By default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// What it means.
    pub verdict: Option<Verdict>,
    /// What for; fit to be shown.
    pub reason: Option<String>,
    /// The least wait before the next attempt.
    pub retry_after: Option<Duration>,
}

/// What the rules say of an ending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruling {
    /// The verdict, and the rule.
    pub judgement: Judgement,
    /// How many retries in a row that rule may order.
    pub limit: Option<u64>,
    /// The wait that it orders.
    pub delay: Option<Duration>,
    /// Whether that rule is shipped in the program, and so gives way to what the command itself says.
    pub is_built_in: bool,
}

impl Ruling {
    /// The same, where the command itself says what its failure means: that wins over what is built in.
    #[must_use]
    pub fn with_hint(mut self, hint: &Hint) -> Ruling {
        if !self.is_built_in {
            return self;
        }
        if let Some(verdict) = hint.verdict {
            let rule_origin = Some("hint".to_owned());
            let reason = Some("hint".to_owned());
            self.judgement =
                Judgement { verdict: Some(verdict), reason, rule_origin, ..Judgement::default() };
            (self.limit, self.delay) = (None, None);
        }
        if hint.reason.is_some() {
            self.judgement.reason.clone_from(&hint.reason);
        }
        self
    }

    /// The same, where the input cannot be replayed: then no failure passes.
    #[must_use]
    pub fn with_input(mut self, is_lost: bool) -> Ruling {
        if is_lost && self.judgement.verdict == Some(Verdict::Transient) {
            self.judgement.verdict = Some(Verdict::Permanent);
            self.judgement.reason = Some("input-lost".to_owned());
        }
        self
    }
}

fn built_in() -> impl Iterator<Item = PlacedRule> {
    let place = |(rule, verdict)| PlacedRule {
        is_built_in: true,
        ..PlacedRule::new(rule, verdict, BUILT_IN_ORIGIN.to_owned())
    };
    let statuses = BUILT_IN
        .iter()
        .map(|(text, verdict)| (text.parse().expect("a test parses the whole table"), *verdict));
    let spawn = BUILT_IN_SPAWN.iter().map(|(kind, verdict)| (Rule::spawn(*kind), *verdict));
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
