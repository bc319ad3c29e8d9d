//! Merging: the policy that the layers come to, and where each of its values is from.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::catalogue::{Chosen, Stack};
use super::layer::{Layer, Place, Source};
use super::name::Name;
use super::report::{Report, ReportWhen};
use super::resolved::{
    Hooks, Keeping, Reporting, Resolved, Row, Sharing, Streaming, Supervision, TextRules,
};
use super::settings::Settings;
use super::value::{
    CiChoice, Color, Count, DelayFrom, HistoryWhen, Live, LogFormat, Multiplier, Pattern,
    ProcessGroup, Seconds, Seed, Size, StdinMode, StdoutMode,
};
use super::verbosity::Verbosity;
use crate::engine::backoff::{Backoff, Jitter, Shape, Waits};
use crate::engine::classify::{PlacedRule, Rules};
use crate::engine::policy::{Attempts, Consecutive, Leftovers, Policy, Retries};
use crate::engine::signal::Signal;

/// What a setting is called that nobody set.
const BUILT_IN: &str = super::file::BUILT_IN;

/// Where a value is from.
type Origin = Cow<'static, str>;

/// Whether every setting in effect is put into words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// Nobody will see them.
    Left,
    /// For people, or a report.
    Written,
}

struct Resolver<'a> {
    layers: &'a [Layer],
    /// None where nobody will see them: most calls.
    rows: Option<Vec<Row>>,
}

/// Merges the layers. `outer_deadline` is what is left of an outer run's; `mask` is for the patterns of what is masked.
pub(super) fn resolve(
    stack: &Stack,
    outer_deadline: Option<Duration>,
    random_seed: u64,
    rows: Rows,
    mask: &dyn Fn(&str) -> String,
) -> Resolved {
    let rows = (rows == Rows::Written).then(Vec::new);
    let mut resolver = Resolver { layers: &stack.layers, rows };
    let name = &stack.policy.name;
    resolver.row("policy", name, || name.clone(), chosen_by(&stack.policy));
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
        rules: resolver.rules(mask),
        retry_if: resolver
            .pick("retry_if", |settings| settings.retry_if.clone())
            .map(|(_, _, origin)| origin.into_owned()),
        before_attempt: resolver
            .pick("before_attempt", |settings| settings.before_attempt.clone())
            .is_some(),
        exit_codes: resolver
            .list("exit_code", |settings| settings.exit_code.clone())
            .into_iter()
            .collect(),
        leftovers: resolver.value("leftovers", |settings| settings.leftovers, Leftovers::Auto),
        budget: resolver
            .pick("budget", |settings| settings.budget.clone())
            .map(|(_, budget, _)| mask(budget.name.as_str())),
    };
    let sharing = resolver.sharing(mask);
    let supervision = Supervision {
        hooks: resolver.hooks(mask),
        hints: resolver.value("hints", |settings| settings.hints, false),
        c_locale: resolver.value("c_locale", |settings| settings.c_locale, false),
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
    let reports = resolver.reports(mask);
    let report_when =
        resolver.value("report_when", |settings| settings.report_when, ReportWhen::Always);
    let shown = |patterns: &Vec<Pattern>| -> Vec<String> {
        patterns.iter().map(|pattern| mask(&pattern.to_string())).collect()
    };
    resolver.list("redact", |settings| settings.redact.as_ref().map(shown));
    let reporting = Reporting {
        history,
        reports,
        report_when,
        quiet: resolver.quiet(),
        verbose: resolver.verbose(),
        log_format: resolver.value("log_format", |settings| settings.log_format, LogFormat::Text),
        color: resolver.value("color", |settings| settings.color, Color::Auto),
        live: resolver.value("live", |settings| settings.live, Live::Auto),
        ci: resolver.value("ci", |settings| settings.ci, CiChoice::Auto),
    };
    let keeping = resolver.keeping();
    Resolved {
        keeping,
        text_rules: text_rules(stack, &policy.rules),
        policy,
        supervision,
        sharing,
        streaming,
        reporting,
        rows: resolver.rows.unwrap_or_default(),
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
fn chosen_by(chosen: &Chosen) -> Origin {
    let origin = chosen.by.as_ref().map(|source| source.origin_of("policy"));
    match (origin, &chosen.place) {
        (None, Place::BuiltIn) => BUILT_IN.into(),
        (None, place) => format!("{BUILT_IN}, defined {place}").into(),
        (Some(origin), place) => format!("{origin}, defined {place}").into(),
    }
}

fn seconds(seconds: u64) -> Seconds {
    Seconds(Duration::from_secs(seconds))
}

impl Resolver<'_> {
    fn row(
        &mut self,
        name: &'static str,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
        origin: Origin,
    ) {
        let Some(rows) = &mut self.rows else { return };
        // A number that JSON cannot hold would be one that no setting accepts.
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        rows.push(Row { name, value, origin: origin.into_owned(), text: text() });
    }

    /// What the strongest layer says that says anything, with its rank and its origin.
    fn pick<T>(
        &self,
        key: &str,
        get: impl Fn(&Settings) -> Option<T>,
    ) -> Option<(usize, T, Origin)> {
        self.layers.iter().enumerate().find_map(|(rank, layer)| {
            Some((rank, get(&layer.settings)?, layer.source.origin_of(key).into()))
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
            None => (default, BUILT_IN.into()),
        };
        self.row(key, &value, || value.to_string(), origin);
        value
    }

    /// Of `quiet` and `verbose` the one that is on closer to the call unsets the other.
    fn quiet(&mut self) -> bool {
        let is_verbose = |settings: &Settings| {
            settings.verbose.filter(|verbose| *verbose > Verbosity::USUAL).map(|_| ())
        };
        let quiet = self.nearer_than("quiet", |settings| settings.quiet, "verbose", is_verbose);
        let (is_on, origin) = quiet.unwrap_or((false, BUILT_IN.into()));
        self.row("quiet", &is_on, || is_on.to_string(), origin);
        is_on
    }

    fn verbose(&mut self) -> Verbosity {
        let is_quiet = |settings: &Settings| settings.quiet.filter(|is_on| *is_on).map(|_| ());
        let verbose = self.nearer_than("verbose", |settings| settings.verbose, "quiet", is_quiet);
        let (verbose, origin) = verbose.unwrap_or((Verbosity::USUAL, BUILT_IN.into()));
        self.row("verbose", &verbose, || verbose.to_string(), origin);
        verbose
    }

    /// What is said of a setting, or its default where another that excludes it is on closer to the call.
    fn nearer_than<T: Default>(
        &self,
        key: &str,
        get: impl Fn(&Settings) -> Option<T>,
        other_key: &str,
        get_other: impl Fn(&Settings) -> Option<()>,
    ) -> Option<(T, Origin)> {
        match (self.pick(key, get), self.pick(other_key, get_other)) {
            (Some((rank, ..)), Some((nearer, (), origin))) if nearer < rank => {
                Some((T::default(), origin))
            }
            (this, _) => this.map(|(_, value, origin)| (value, origin)),
        }
    }

    fn hooks(&mut self, mask: &dyn Fn(&str) -> String) -> Hooks {
        Hooks {
            retry_if: self.command("retry_if", |settings| settings.retry_if.clone(), mask),
            on_retry: self.command("on_retry", |settings| settings.on_retry.clone(), mask),
            before_attempt: self.command(
                "before_attempt",
                |settings| settings.before_attempt.clone(),
                mask,
            ),
            on_success: self.command("on_success", |settings| settings.on_success.clone(), mask),
            on_give_up: self.command("on_give_up", |settings| settings.on_give_up.clone(), mask),
            timeout: self
                .value("hook_timeout", |settings| settings.hook_timeout, seconds(30))
                .limit(),
        }
    }

    fn sharing(&mut self, mask: &dyn Fn(&str) -> String) -> Sharing {
        let (budget, origin) = self.said("budget", |settings| settings.budget.clone());
        self.masked_row("budget", budget.as_ref(), origin, mask);
        let (store, origin) = self.said("budget_store", |settings| settings.budget_store.clone());
        self.masked_row("budget_store", store.as_ref(), origin.clone(), mask);
        let strict = self.value("budget_strict", |settings| settings.budget_strict, false);
        Sharing { budget, store: store.map(|store| (store, origin.into_owned())), strict }
    }

    fn keeping(&mut self) -> Keeping {
        let (job, origin) = self.said("job", |settings| settings.job.clone());
        self.row("job", &job, || or_none(job.as_ref().map(Name::to_string)), origin);
        self.value("fresh", |settings| settings.fresh, false);
        Keeping {
            job,
            runs: self.value("keep_runs", |settings| settings.keep_runs, Count(100)).0,
            time: self.value("keep_for", |settings| settings.keep_for, seconds(30 * 86_400)).0,
        }
    }

    fn reports(&mut self, mask: &dyn Fn(&str) -> String) -> Vec<Report> {
        let (reports, origin) = match self.pick("report", |settings| settings.report.clone()) {
            Some((_, reports, origin)) => (reports, origin),
            None => (Vec::new(), BUILT_IN.into()),
        };
        let texts: Vec<String> = reports.iter().map(|report| mask(&report.to_string())).collect();
        self.row("report", &texts, || none_if_empty(texts.join(" ")), origin);
        reports
    }

    fn delay_from(&mut self, mask: &dyn Fn(&str) -> String) -> Option<DelayFrom> {
        let (delay_from, origin) = self.said("delay_from", |settings| settings.delay_from.clone());
        self.masked_row("delay_from", delay_from.as_ref(), origin, mask);
        delay_from
    }

    /// A command of the user's own.
    fn command(
        &mut self,
        key: &'static str,
        get: impl Fn(&Settings) -> Option<String>,
        mask: &dyn Fn(&str) -> String,
    ) -> Option<String> {
        let (command, origin) = self.said(key, get);
        self.masked_row(key, command.as_ref(), origin, mask);
        command
    }

    /// What is said of a setting that has no default, and where.
    fn said<T>(&self, key: &str, get: impl Fn(&Settings) -> Option<T>) -> (Option<T>, Origin) {
        match self.pick(key, get) {
            Some((_, value, origin)) => (Some(value), origin),
            None => (None, BUILT_IN.into()),
        }
    }

    fn masked_row(
        &mut self,
        key: &'static str,
        value: Option<&impl ToString>,
        origin: Origin,
        mask: &dyn Fn(&str) -> String,
    ) {
        let text = value.map(|value| mask(&value.to_string()));
        self.row(key, &text, || or_none(text.clone()), origin);
    }

    fn size(&mut self, key: &'static str, get: impl Fn(&Settings) -> Option<Size>) -> Option<u64> {
        let (size, origin) = match self.pick(key, get) {
            Some((_, size, origin)) => (Some(size), origin),
            None => (None, BUILT_IN.into()),
        };
        self.row(key, &size, || or_none(size.map(|size| size.to_string())), origin);
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
            None => (None, BUILT_IN.into()),
        };
        let text = path.as_ref().map(|path| mask(&path.to_string_lossy()));
        self.row(key, &text, || or_none(text.clone()), origin);
        path
    }

    fn list<T: ToString>(
        &mut self,
        key: &'static str,
        get: impl Fn(&Settings) -> Option<Vec<T>>,
    ) -> Vec<T> {
        let (list, origin) = match self.pick(key, get) {
            Some((_, list, origin)) => (list, origin),
            None => (Vec::new(), BUILT_IN.into()),
        };
        let texts: Vec<String> = list.iter().map(T::to_string).collect();
        self.row(key, &texts, || none_if_empty(texts.join(" ")), origin);
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
            None => (None, BUILT_IN.into()),
        };
        self.limit_row(key, limit, origin);
        limit
    }

    fn limit_row(&mut self, key: &'static str, limit: Option<Duration>, origin: Origin) {
        let limit = limit.map(Seconds);
        self.row(key, &limit, || or_none(limit.map(|limit| limit.to_string())), origin);
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
            (None, None) => (Retries::Limited(3), BUILT_IN.into()),
        };
        match retries {
            Retries::Limited(limit) => self.row("retries", &limit, || limit.to_string(), origin),
            Retries::Unlimited => {
                self.row("retries", &"unlimited", || retries.to_string(), origin);
            }
        }
        retries
    }

    /// Our own deadline or an outer run's, whichever comes first.
    fn deadline(&mut self, outer: Option<Duration>) -> Option<Duration> {
        let own = self.pick("deadline", |settings| settings.deadline);
        let (own, origin) = match own {
            Some((_, own, origin)) => (own.limit(), origin),
            None => (None, BUILT_IN.into()),
        };
        let (deadline, origin) = match outer {
            Some(outer) if own.is_none_or(|own| outer < own) => {
                (Some(outer), "outer run, RETRYRUN_DEADLINE_AT".into())
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
        let (_, jitter, origin) = jitter.unwrap_or((0, Jitter::None, BUILT_IN.into()));
        self.row("jitter", &jitter.to_string(), || jitter.to_string(), origin);
        let seed = self.pick("seed", |settings| settings.seed);
        let (_, Seed(seed), origin) = seed.unwrap_or((0, Seed(random_seed), "random".into()));
        self.row("seed", &seed, || seed.to_string(), origin);
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
                self.row("delays", &delays, || delays.to_string(), origin);
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
    fn rules(&self, mask: &dyn Fn(&str) -> String) -> Rules {
        let mut rules = Vec::new();
        for layer in self.layers {
            let (placed, closed) = layer.placed_rules();
            rules.extend(placed.into_iter().map(|placed| match placed.is_built_in {
                true => placed,
                false => PlacedRule { rule: placed.rule.masked(mask), ..placed },
            }));
            if closed {
                return Rules::closed(rules);
            }
        }
        Rules::new(rules)
    }
}

fn or_none(text: Option<String>) -> String {
    none_if_empty(text.unwrap_or_default())
}

fn none_if_empty(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}
