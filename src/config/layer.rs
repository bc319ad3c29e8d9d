//! A layer of the configuration: the settings that one place gives, and what that place is called.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::file::BUILT_IN;
use super::settings::Settings;
use super::value::Seconds;
use super::verbosity::Verbosity;
use crate::engine::classify::{PlacedRule, Rule};
use crate::engine::event::Verdict;
use crate::engine::policy::Retries;

/// What one place says.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its settings.
    pub settings: Settings,
    /// Its ordered list of rules, in place of `success_on`, `stop_on` and `retry_on`.
    pub rules: Option<Vec<RuleEntry>>,
    /// Where it stands.
    pub source: Source,
}

/// Where a layer stands.
#[derive(Clone, Debug)]
pub enum Source {
    /// Flags of the command line.
    Flags,
    /// Variables of the environment.
    Environment,
    /// The call of the run that this one goes on with.
    Earlier,
    /// The top level of a file, with the line of each key.
    File {
        /// Its path.
        path: String,
        /// Key to line, from 1.
        lines: BTreeMap<String, usize>,
    },
    /// A policy of a file; by the line of its heading.
    Policy {
        /// Its name.
        name: String,
        /// Where it is defined.
        place: Place,
    },
}

/// Where a policy is defined; `PATH:LINE` or `built in`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the program.
    BuiltIn,
    /// In a file.
    File {
        /// Its path.
        path: String,
        /// The line of the policy's heading, from 1.
        line: usize,
    },
}

impl Place {
    /// The same with the path masked.
    #[must_use]
    pub fn masked(&self, mask: &dyn Fn(&str) -> String) -> Place {
        match self {
            Place::BuiltIn => Place::BuiltIn,
            Place::File { path, line } => Place::File { path: mask(path), line: *line },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::BuiltIn => f.write_str(BUILT_IN),
            Place::File { path, line } => write!(f, "{path}:{line}"),
        }
    }
}

/// One rule of an ordered list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as `{ stop_on = \"2\" }`")]
pub struct RuleEntry {
    success_on: Option<Rule>,
    stop_on: Option<Rule>,
    retry_on: Option<Rule>,
    /// How many retries it may order.
    limit: Option<Retries>,
    /// The wait after an ending that it decided.
    delay: Option<Seconds>,
    /// Where the knowledge in it is from.
    pub source: Option<String>,
}

impl RuleEntry {
    /// Its keys, for suggestions.
    pub const KEYS: [&str; 6] = ["success_on", "stop_on", "retry_on", "limit", "delay", "source"];

    /// The rule and what it means; none unless exactly one is given.
    #[must_use]
    pub fn rule(&self) -> Option<(&Rule, Verdict)> {
        match (&self.success_on, &self.stop_on, &self.retry_on) {
            (Some(rule), None, None) => Some((rule, Verdict::Success)),
            (None, Some(rule), None) => Some((rule, Verdict::Permanent)),
            (None, None, Some(rule)) => Some((rule, Verdict::Transient)),
            _ => None,
        }
    }

    /// What it says of retries though it orders none.
    #[must_use]
    pub fn idle_key(&self) -> Option<&'static str> {
        let limit = self.limit.map(|_| "limit");
        limit.or(self.delay.map(|_| "delay")).filter(|_| self.retry_on.is_none())
    }
}

impl Source {
    /// The same with the user's own words masked: paths, and names of policies.
    #[must_use]
    pub fn masked(&self, mask: &dyn Fn(&str) -> String) -> Source {
        match self {
            Source::File { path, lines } => Source::File { path: mask(path), lines: lines.clone() },
            Source::Policy { name, place: place @ Place::File { .. } } => {
                Source::Policy { name: mask(name), place: place.masked(mask) }
            }
            Source::Flags
            | Source::Environment
            | Source::Earlier
            | Source::Policy { place: Place::BuiltIn, .. } => self.clone(),
        }
    }

    /// How users write a setting there.
    #[must_use]
    pub fn name_of(&self, key: &str) -> String {
        match self {
            Source::Flags | Source::Earlier => format!("--{}", key.replace('_', "-")),
            Source::Environment => variable(key),
            Source::File { .. } | Source::Policy { .. } => key.to_owned(),
        }
    }

    /// Where a setting of the layer stands, as `--explain` and the history show it.
    #[must_use]
    pub fn origin_of(&self, key: &str) -> String {
        match self {
            Source::Flags => format!("flag {}", self.name_of(key)),
            Source::Environment => format!("environment {}", self.name_of(key)),
            Source::Earlier => format!("earlier call {}", self.name_of(key)),
            Source::File { path, lines } => match lines.get(key) {
                Some(line) => format!("{path}:{line}"),
                None => path.clone(),
            },
            Source::Policy { name, place } => format!("policy {name} ({place})"),
        }
    }

    /// Whether it is shipped in the program.
    fn is_built_in(&self) -> bool {
        matches!(self, Source::Policy { place: Place::BuiltIn, .. })
    }

    /// Whether `retry_on` closes the list of rules there: what is said for one call names all that is transient.
    fn is_of_the_call(&self) -> bool {
        match self {
            Source::Flags | Source::Environment | Source::Earlier => true,
            Source::File { .. } | Source::Policy { .. } => false,
        }
    }
}

/// The environment variable of a setting.
#[must_use]
pub fn variable(key: &str) -> String {
    format!("RETRYRUN_{}", key.to_ascii_uppercase())
}

impl Layer {
    /// The rules of the layer in the order in which they are asked, and whether they close the list.
    #[must_use]
    pub fn placed_rules(&self) -> (Vec<PlacedRule>, bool) {
        let mut placed = Vec::new();
        for entry in self.rules.iter().flatten() {
            let Some((rule, verdict)) = entry.rule() else { continue };
            placed.push(PlacedRule {
                rule: rule.clone(),
                verdict,
                origin: self.source.origin_of("rules").into(),
                limit: entry.limit.and_then(Retries::limit),
                delay: entry.delay.map(|Seconds(delay)| delay),
                is_built_in: self.source.is_built_in(),
            });
        }
        let is_built_in = self.source.is_built_in();
        let mut place = |key: &str, rule: &Rule, verdict| {
            let origin = self.source.origin_of(key);
            let rule = PlacedRule::new(rule.clone(), verdict, origin);
            placed.push(PlacedRule { is_built_in, ..rule });
        };
        let settings = &self.settings;
        let lists = [
            ("success_on", &settings.success_on, Verdict::Success),
            ("stop_on", &settings.stop_on, Verdict::Permanent),
            ("retry_on", &settings.retry_on, Verdict::Transient),
        ];
        for (key, rules, verdict) in lists {
            rules.iter().flatten().for_each(|rule| place(key, rule, verdict));
        }
        let closed = if let Some(otherwise) = settings.otherwise {
            let verdict = match otherwise {
                super::value::Otherwise::Retry => Verdict::Transient,
                super::value::Otherwise::Stop => Verdict::Permanent,
            };
            place("otherwise", &Rule::any("otherwise"), verdict);
            true
        } else if settings.retry_on.iter().flatten().next().is_some()
            && self.source.is_of_the_call()
        {
            place("retry_on", &Rule::any("unlisted"), Verdict::Permanent);
            true
        } else {
            false
        };
        (placed, closed)
    }

    /// Two settings that exclude each other within a layer, by their keys.
    #[must_use]
    pub fn conflict(&self) -> Option<(&'static str, &'static str)> {
        let settings = &self.settings;
        let delays = settings.delays.is_some();
        let rules = self.rules.is_some();
        let both = |a: bool, b: bool, keys| (a && b).then_some(keys);
        let on = |value: Option<bool>| value == Some(true);
        let is_verbose = settings.verbose.is_some_and(|verbose| verbose > Verbosity::USUAL);
        both(settings.retries.is_some(), settings.attempts.is_some(), ("retries", "attempts"))
            .or(both(delays, settings.delay.is_some(), ("delays", "delay")))
            .or(both(delays, settings.backoff.is_some(), ("delays", "backoff")))
            .or(both(delays, settings.multiplier.is_some(), ("delays", "multiplier")))
            .or(both(rules, settings.success_on.is_some(), ("rules", "success_on")))
            .or(both(rules, settings.stop_on.is_some(), ("rules", "stop_on")))
            .or(both(rules, settings.retry_on.is_some(), ("rules", "retry_on")))
            .or(both(on(settings.quiet), is_verbose, ("quiet", "verbose")))
            .or(both(settings.config.is_some(), on(settings.no_config), ("config", "no_config")))
    }
}
