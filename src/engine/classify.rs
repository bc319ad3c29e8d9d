//! The rules of a policy: an ordered list that turns the ending of an attempt into a verdict; the first that holds decides.
//!
//! Where the rules come from and in which order they stand is `config`'s.

use std::borrow::Cow;
use std::time::Duration;

use super::event::{Ending, Judgement, Verdict};
use super::output::{Matches, OutputPattern};
pub use super::rule::Rule;
use super::table::BUILT_IN;

/// A rule in its place: what it means where it holds, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedRule {
    /// When it holds.
    pub rule: Rule,
    /// What it means.
    pub verdict: Verdict,
    /// Where it stands, e.g. `policy curl (built in)`.
    pub origin: Cow<'static, str>,
    /// How many retries it may order, where that is less than the run's own limit.
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
        let origin = origin.into();
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
            rule_origin: Some(self.origin.clone().into_owned()),
            evidence: self.rule.evidence(matches),
        }
    }
}

/// The rules of a policy, in the order in which they are asked; always ends in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    given: Vec<PlacedRule>,
    /// What holds when none of these does: a part of the built-in table.
    built_in: Cow<'static, [PlacedRule]>,
}

impl Rules {
    /// The given rules, then the built-in table.
    #[must_use]
    pub fn new(given: Vec<PlacedRule>) -> Rules {
        Rules { given, built_in: Cow::Borrowed(&BUILT_IN) }
    }

    /// The given rules alone, of which the last names every failure; and that exit 0 is success.
    #[must_use]
    pub fn closed(given: Vec<PlacedRule>) -> Rules {
        let [success, ..] = &BUILT_IN;
        Rules { given, built_in: Cow::Borrowed(std::slice::from_ref(success)) }
    }

    /// The same, whoever gave them.
    #[must_use]
    pub fn without_origins(&self) -> Rules {
        let of_nobody = |placed: &PlacedRule| PlacedRule { origin: "".into(), ..placed.clone() };
        Rules {
            given: self.given.iter().map(of_nobody).collect(),
            built_in: self.built_in.iter().map(of_nobody).collect(),
        }
    }

    /// The rules in the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &PlacedRule> {
        self.given.iter().chain(self.built_in.iter())
    }

    /// What the rules look for in the output, each once, in the order in which it is first asked for.
    #[must_use]
    pub fn patterns(&self) -> Vec<OutputPattern> {
        let mut patterns: Vec<OutputPattern> = Vec::new();
        for pattern in self.iter().flat_map(|placed| placed.rule.patterns()) {
            if !patterns.contains(pattern) {
                patterns.push(pattern.clone());
            }
        }
        patterns
    }

    /// The first rule that holds, and what it says.
    #[must_use]
    pub fn judge(&self, ending: &Ending, matches: &Matches) -> Ruling {
        let decided = self.iter().find(|placed| placed.rule.holds(ending, matches));
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
    /// How many retries that rule may order.
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

    /// The same, where the input cannot be replayed, and another attempt would need it: then no failure passes, and no success is
    /// confirmed.
    #[must_use]
    pub fn without_input(mut self, is_success_enough: bool) -> Ruling {
        let needs_it = match self.judgement.verdict {
            Some(Verdict::Transient) => true,
            Some(Verdict::Success) => !is_success_enough,
            Some(Verdict::Permanent) | None => false,
        };
        if needs_it {
            self.judgement = Judgement {
                verdict: Some(Verdict::Permanent),
                reason: Some("input-lost".to_owned()),
                rule_origin: Some("input".to_owned()),
                ..Judgement::default()
            };
        }
        self
    }

    /// Whether it is a success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.judgement.verdict == Some(Verdict::Success)
    }

    /// The same, where what the command wrote is lost: then all was for nothing.
    #[must_use]
    pub fn without_output(mut self) -> Ruling {
        self.judgement.verdict = Some(Verdict::Permanent);
        self.judgement.reason = Some("output-lost".to_owned());
        self
    }
}
