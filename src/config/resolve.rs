//! Merging: the policy that the layers come to, and where each of its values is from.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::catalogue::{Chosen, Stack};
use super::layer::{Layer, Place, Source};
use super::settings::Settings;
use super::value::{
    Color, DelayFrom, HistoryWhen, LogFormat, Multiplier, Pattern, ProcessGroup, Seconds, Seed,
    Size, StdinMode, StdoutMode,
};
use crate::engine::backoff::{Backoff, Jitter, Shape, Waits};
use crate::engine::classify::{PlacedRule, Rules};
use crate::engine::policy::{Attempts, Consecutive, Leftovers, Policy, Retries};
use crate::engine::signal::Signal;

/// What a setting is called that nobody set.
const BUILT_IN: &str = super::file::BUILT_IN;

const QUIET: Switch = ("quiet", |settings| settings.quiet);
const VERBOSE: Switch = ("verbose", |settings| settings.verbose);

/// A switch by its key, and how to read it.
type Switch = (&'static str, fn(&Settings) -> Option<bool>);

/// Everything that a call comes to.
#[derive(Debug)]
pub struct Resolved {
    /// The policy for the engine.
    pub policy: Policy,
    /// How the command is held.
    pub supervision: Supervision,
    /// What is done with its streams.
    pub streaming: Streaming,
    /// How we report.
    pub reporting: Reporting,
    /// Every setting in effect, for people.
    pub rows: Vec<Row>,
    /// What the chosen policy says of itself.
    pub docs: Option<String>,
    /// Which output the rules on text are for.
    pub text_rules: TextRules,
}

/// Which output rules with regular expressions are for. The words are those of `--explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextRules {
    /// There are none: nothing has to be read for rules.
    None,
    /// Any but a terminal: only a policy that the command's words chose asks for it, which must cost a person nothing.
    NoTerminal,
    /// Any.
    All,
}

/// How the command is held.
#[derive(Clone, Debug)]
pub struct Supervision {
    /// The command that is asked before a retry.
    pub retry_if: Option<String>,
    /// Whether the command may say what it knows.
    pub hints: bool,
    /// Whether it runs in a locale in which rules on text hold.
    pub c_locale: bool,
    /// Limit on commands of the user's own.
    pub hook_timeout: Option<Duration>,
    /// Where it stands among the other processes.
    pub process_group: ProcessGroup,
    /// The folder in which each attempt gets a cgroup.
    pub cgroup: Option<PathBuf>,
}

/// What is done with the command's streams.
#[derive(Clone, Debug)]
pub struct Streaming {
    /// What it reads.
    pub stdin: StdinMode,
    /// Where its stdout goes.
    pub stdout: StdoutMode,
    /// The folder for what each attempt writes.
    pub log_dir: Option<PathBuf>,
    /// How a wait that the output asks for is found.
    pub delay_from: Option<DelayFrom>,
    /// How much of the end of stderr is kept; none is not said.
    pub tail: Option<u64>,
    /// Limit on the input that is kept.
    pub spool_limit: Option<u64>,
}

/// How we report.
#[derive(Clone, Debug)]
pub struct Reporting {
    /// When the history is printed.
    pub history: HistoryWhen,
    /// Print none of our lines.
    pub quiet: bool,
    /// Print more of them.
    pub verbose: bool,
    /// Their form.
    pub log_format: LogFormat,
    /// Their colours.
    pub color: Color,
}

/// A setting in effect.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its key.
    pub name: &'static str,
    /// Its value; durations are seconds.
    pub value: Value,
    /// Where it is from.
    pub origin: String,
    /// Its value for people.
    #[serde(skip)]
    pub text: String,
}

struct Resolver<'a> {
    layers: &'a [Layer],
    rows: Vec<Row>,
}

/// Merges the layers. `outer_deadline` is what is left of an outer run's; `mask` is for the patterns of what is masked.
pub(super) fn resolve(
    stack: &Stack,
    outer_deadline: Option<Duration>,
    random_seed: u64,
    mask: &dyn Fn(&str) -> String,
) -> Resolved {
    let mut resolver = Resolver { layers: &stack.layers, rows: Vec::new() };
    resolver.row("policy", &stack.policy.name, stack.policy.name.clone(), chosen_by(&stack.policy));
    let retries = resolver.retries();
    let deadline = resolver.deadline(outer_deadline);
    let policy = Policy {
        name: stack.policy.name.clone(),
        origin: stack.policy.place.to_string(),
        retries,
        deadline,
        timeout: resolver.limit("timeout", |settings| settings.timeout),
        idle_timeout: resolver.limit("idle_timeout", |settings| settings.idle_timeout),
        kill_after: resolver.value("kill_after", |settings| settings.kill_after, seconds(5)).0,
        stop_signal: resolver.value("stop_signal", |settings| settings.stop_signal, Signal::TERM),
        healthy_after: resolver.limit("healthy_after", |settings| settings.healthy_after),
        consecutive: resolver
            .value("consecutive", |settings| settings.consecutive, Consecutive(1))
            .0,
        backoff: resolver.backoff(random_seed),
        rules: resolver.rules(),
        retry_if: resolver
            .pick("retry_if", |settings| settings.retry_if.clone())
            .map(|(_, _, origin)| origin),
        exit_codes: resolver
            .list("exit_code", |settings| settings.exit_code.clone())
            .into_iter()
            .collect(),
        leftovers: resolver.value("leftovers", |settings| settings.leftovers, Leftovers::Auto),
    };
    let supervision = Supervision {
        retry_if: resolver.command("retry_if", |settings| settings.retry_if.clone(), mask),
        hints: resolver.value("hints", |settings| settings.hints, false),
        c_locale: resolver.value("c_locale", |settings| settings.c_locale, false),
        hook_timeout: resolver
            .value("hook_timeout", |settings| settings.hook_timeout, seconds(30))
            .limit(),
        process_group: resolver.value(
            "process_group",
            |settings| settings.process_group,
            ProcessGroup::Auto,
        ),
        cgroup: resolver.path("cgroup", |settings| settings.cgroup.clone(), mask),
    };
    let streaming = Streaming {
        stdin: resolver.value("stdin", |settings| settings.stdin, StdinMode::Auto),
        stdout: resolver.value("stdout", |settings| settings.stdout, StdoutMode::Stream),
        log_dir: resolver.path("log_dir", |settings| settings.log_dir.clone(), mask),
        delay_from: resolver.delay_from(mask),
        tail: resolver.size("tail", |settings| settings.tail),
        spool_limit: resolver.size("spool_limit", |settings| settings.spool_limit),
    };
    let history = resolver.value("history", |settings| settings.history, HistoryWhen::Failure);
    let shown = |patterns: &Vec<Pattern>| -> Vec<String> {
        patterns.iter().map(|pattern| mask(&pattern.to_string())).collect()
    };
    resolver.list("redact", |settings| settings.redact.as_ref().map(shown));
    let reporting = Reporting {
        history,
        quiet: resolver.switch(QUIET, VERBOSE),
        verbose: resolver.switch(VERBOSE, QUIET),
        log_format: resolver.value("log_format", |settings| settings.log_format, LogFormat::Text),
        color: resolver.value("color", |settings| settings.color, Color::Auto),
    };
    Resolved {
        text_rules: text_rules(stack, &policy.rules),
        policy,
        supervision,
        streaming,
        reporting,
        rows: resolver.rows,
        docs: stack.policy.docs.clone(),
    }
}

fn text_rules(stack: &Stack, rules: &Rules) -> TextRules {
    let looks = |placed: &PlacedRule| placed.rule.patterns().next().is_some();
    let of_policy = |layer: &&Layer| matches!(layer.source, Source::Policy { .. });
    let asked_for = stack
        .layers
        .iter()
        .filter(|layer| !(stack.policy.is_auto && of_policy(layer)))
        .any(|layer| layer.placed_rules().0.iter().any(looks));
    match asked_for {
        true => TextRules::All,
        false if rules.iter().any(looks) => TextRules::NoTerminal,
        false => TextRules::None,
    }
}

/// Who chose the policy, and where it is defined.
fn chosen_by(chosen: &Chosen) -> String {
    let origin = chosen.by.as_ref().map(|source| source.origin_of("policy"));
    match (origin, &chosen.place) {
        (None, Place::BuiltIn) => BUILT_IN.to_owned(),
        (None, place) => format!("{BUILT_IN}, defined {place}"),
        (Some(origin), place) => format!("{origin}, defined {place}"),
    }
}

fn seconds(seconds: u64) -> Seconds {
    Seconds(Duration::from_secs(seconds))
}

impl Resolver<'_> {
    fn row(&mut self, name: &'static str, value: &impl Serialize, text: String, origin: String) {
        // A number that JSON cannot hold would be one that no setting accepts.
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.rows.push(Row { name, value, origin, text });
    }

    /// What the strongest layer says that says anything, with its rank and its origin.
    fn pick<T>(
        &self,
        key: &str,
        get: impl Fn(&Settings) -> Option<T>,
    ) -> Option<(usize, T, String)> {
        self.layers.iter().enumerate().find_map(|(rank, layer)| {
            Some((rank, get(&layer.settings)?, layer.source.origin_of(key)))
        })
    }

    fn value<T: Serialize + ToString>(
        &mut self,
        key: &'static str,
        get: impl Fn(&Settings) -> Option<T>,
        default: T,
    ) -> T {
        let (value, origin) = match self.pick(key, get) {
            Some((_, value, origin)) => (value, origin),
            None => (default, BUILT_IN.to_owned()),
        };
        self.row(key, &value, value.to_string(), origin);
        value
    }

    /// One of two switches that exclude each other: the one that is on closer to the call unsets the other.
    fn switch(&mut self, (key, get): Switch, (other_key, get_other): Switch) -> bool {
        let this = self.pick(key, get);
        let other = self.pick(other_key, |settings| get_other(settings).filter(|is_on| *is_on));
        let (is_on, origin) = match (this, other) {
            (Some((rank, ..)), Some((nearer, _, origin))) if nearer < rank => (false, origin),
            (Some((_, is_on, origin)), _) => (is_on, origin),
            (None, _) => (false, BUILT_IN.to_owned()),
        };
        self.row(key, &is_on, is_on.to_string(), origin);
        is_on
    }

    fn delay_from(&mut self, mask: &dyn Fn(&str) -> String) -> Option<DelayFrom> {
        let (delay_from, origin) =
            match self.pick("delay_from", |settings| settings.delay_from.clone()) {
                Some((_, delay_from, origin)) => (Some(delay_from), origin),
                None => (None, BUILT_IN.to_owned()),
            };
        let text = delay_from.as_ref().map(|delay_from| mask(&delay_from.to_string()));
        self.row("delay_from", &text, none_if_empty(text.clone().unwrap_or_default()), origin);
        delay_from
    }

    /// A command of the user's own.
    fn command(
        &mut self,
        key: &'static str,
        get: impl Fn(&Settings) -> Option<String>,
        mask: &dyn Fn(&str) -> String,
    ) -> Option<String> {
        let (command, origin) = match self.pick(key, get) {
            Some((_, command, origin)) => (Some(command), origin),
            None => (None, BUILT_IN.to_owned()),
        };
        let text = command.as_deref().map(mask);
        self.row(key, &text, none_if_empty(text.clone().unwrap_or_default()), origin);
        command
    }

    fn size(&mut self, key: &'static str, get: impl Fn(&Settings) -> Option<Size>) -> Option<u64> {
        let (size, origin) = match self.pick(key, get) {
            Some((_, size, origin)) => (Some(size), origin),
            None => (None, BUILT_IN.to_owned()),
        };
        let text = size.map_or(String::new(), |size| size.to_string());
        self.row(key, &size, none_if_empty(text), origin);
        size.map(|size| size.0)
    }

    fn path(
        &mut self,
        key: &'static str,
        get: impl Fn(&Settings) -> Option<PathBuf>,
        mask: &dyn Fn(&str) -> String,
    ) -> Option<PathBuf> {
        let (path, origin) = match self.pick(key, get) {
            Some((_, path, origin)) => (Some(path), origin),
            None => (None, BUILT_IN.to_owned()),
        };
        let text = path.as_ref().map(|path| mask(&path.to_string_lossy()));
        self.row(key, &text, none_if_empty(text.clone().unwrap_or_default()), origin);
        path
    }

    fn list<T: ToString>(
        &mut self,
        key: &'static str,
        get: impl Fn(&Settings) -> Option<Vec<T>>,
    ) -> Vec<T> {
        let (list, origin) = match self.pick(key, get) {
            Some((_, list, origin)) => (list, origin),
            None => (Vec::new(), BUILT_IN.to_owned()),
        };
        let texts: Vec<String> = list.iter().map(T::to_string).collect();
        self.row(key, &texts, none_if_empty(texts.join(" ")), origin);
        list
    }

    /// A limit, of which zero is none.
    fn limit(
        &mut self,
        key: &'static str,
        get: impl Fn(&Settings) -> Option<Seconds>,
    ) -> Option<Duration> {
        let (limit, origin) = match self.pick(key, get) {
            Some((_, limit, origin)) => (limit.limit(), origin),
            None => (None, BUILT_IN.to_owned()),
        };
        self.limit_row(key, limit, origin);
        limit
    }

    fn limit_row(&mut self, key: &'static str, limit: Option<Duration>, origin: String) {
        let limit = limit.map(Seconds);
        self.row(
            key,
            &limit,
            none_if_empty(limit.map_or(String::new(), |limit| limit.to_string())),
            origin,
        );
    }

    /// `retries` or `attempts`, whichever is said closer to the call.
    fn retries(&mut self) -> Retries {
        let retries = self.pick("retries", |settings| settings.retries);
        let attempts = self.pick("attempts", |settings| settings.attempts.map(Attempts::retries));
        let (retries, origin) = match (retries, attempts) {
            (Some((rank, retries, origin)), Some((other, ..))) if rank < other => (retries, origin),
            (_, Some((_, retries, origin))) | (Some((_, retries, origin)), None) => {
                (retries, origin)
            }
            (None, None) => (Retries::Limited(3), BUILT_IN.to_owned()),
        };
        match retries {
            Retries::Limited(limit) => self.row("retries", &limit, limit.to_string(), origin),
            Retries::Unlimited => self.row("retries", &"unlimited", retries.to_string(), origin),
        }
        retries
    }

    /// Our own deadline or an outer run's, whichever comes first.
    fn deadline(&mut self, outer: Option<Duration>) -> Option<Duration> {
        let own = self.pick("deadline", |settings| settings.deadline);
        let (own, origin) = match own {
            Some((_, own, origin)) => (own.limit(), origin),
            None => (None, BUILT_IN.to_owned()),
        };
        let (deadline, origin) = match outer {
            Some(outer) if own.is_none_or(|own| outer < own) => {
                (Some(outer), "outer run, RETRYRUN_DEADLINE_AT".to_owned())
            }
            _ => (own, origin),
        };
        self.limit_row("deadline", deadline, origin);
        deadline
    }

    fn backoff(&mut self, random_seed: u64) -> Backoff {
        let waits = self.waits();
        let max_delay = self.value("max_delay", |settings| settings.max_delay, seconds(300)).0;
        let jitter = self.pick("jitter", |settings| settings.jitter);
        let (_, jitter, origin) = jitter.unwrap_or((0, Jitter::None, BUILT_IN.to_owned()));
        self.row("jitter", &jitter.to_string(), jitter.to_string(), origin);
        let seed = self.pick("seed", |settings| settings.seed);
        let (_, Seed(seed), origin) = seed.unwrap_or((0, Seed(random_seed), "random".to_owned()));
        self.row("seed", &seed, seed.to_string(), origin);
        Backoff { waits, max_delay, jitter, seed }
    }

    /// `delays`, or any of what it replaces, whichever is said closer to the call.
    fn waits(&mut self) -> Waits {
        let grown = self.pick("delay", |settings| {
            let said = settings.delay.is_some()
                || settings.backoff.is_some()
                || settings.multiplier.is_some();
            said.then_some(())
        });
        let listed = self.pick("delays", |settings| settings.delays.clone());
        if let Some((rank, delays, origin)) = listed {
            if grown.is_none_or(|(other, ..)| rank < other) {
                self.row("delays", &delays, delays.to_string(), origin);
                return Waits::Listed(delays.durations());
            }
            // The list is unset from above, and has itself unset what is below it.
            let all = self.layers;
            self.layers = all.get(..rank).unwrap_or(all);
            let waits = self.grown_waits();
            self.layers = all;
            return waits;
        }
        self.grown_waits()
    }

    fn grown_waits(&mut self) -> Waits {
        Waits::Grown {
            delay: self.value("delay", |settings| settings.delay, seconds(5)).0,
            shape: self.value("backoff", |settings| settings.backoff, Shape::Exponential),
            multiplier: self.value("multiplier", |settings| settings.multiplier, Multiplier(2.0)).0,
        }
    }

    /// The rules of all layers, down to the first that closes the list.
    fn rules(&self) -> Rules {
        let mut rules = Vec::new();
        for layer in self.layers {
            let (placed, closed) = layer.placed_rules();
            rules.extend(placed);
            if closed {
                return Rules::closed(rules);
            }
        }
        Rules::new(rules)
    }
}

fn none_if_empty(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}
