//! The settings: one definition for flags, configuration keys, help, man page and completions.
//!
//! A field is a long option, its key in files with `_` for `-`, and, in capitals behind `RETRYRUN_`, its variable in the
//! environment. None is "not said here".

use std::path::PathBuf;

use clap::ValueHint;
use serde::Deserialize;

use super::argument::{checked_rule, word};
use super::budget::Budget;
use super::name::Name;
use super::report::{Report, ReportWhen};
use super::store::Store;
use super::value::{
    CiChoice, Color, Count, DelayFrom, Delays, HistoryWhen, Live, LogFormat, Multiplier, Otherwise,
    Pattern, ProcessGroup, Seconds, Seed, Size, StdinMode, StdoutMode,
};
use super::verbosity::Verbosity;
use crate::engine::backoff::{Jitter, Shape};
use crate::engine::classify::Rule;
use crate::engine::exit::ExitCode;
use crate::engine::policy::{Attempts, Consecutive, Leftovers, Retries};
use crate::engine::signal::Signal;

/// What one layer says.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Retries after the first attempt [default: 3]
    ///
    /// 0 runs the command once; `unlimited` (or `inf`) never stops retrying by count.
    #[arg(short = 'n', long, value_name = "N", help_heading = LIMITS)]
    pub retries: Option<Retries>,

    /// The same limit, counted with the first attempt
    ///
    /// At least 1. Conflicts with --retries.
    #[arg(long, value_name = "N", help_heading = LIMITS, hide_short_help = true)]
    pub attempts: Option<Attempts>,

    /// Limit on the whole run [default: none]
    ///
    /// An attempt that still runs then is ended as by --timeout. A wait that would end past it is not begun: the
    /// run gives up at once. 0 is no limit.
    #[arg(long, value_name = "DUR", help_heading = LIMITS)]
    pub deadline: Option<Seconds>,

    /// Limit on one attempt [default: none]
    ///
    /// An attempt that runs longer is sent the stop signal and, after the grace of --kill-after, SIGKILL; with all
    /// of its processes. 0 is no limit.
    #[arg(short = 't', long, value_name = "DUR", help_heading = LIMITS)]
    pub timeout: Option<Seconds>,

    /// Grace between the stop signal and SIGKILL [default: 5s]
    ///
    /// For timeouts, and when retryrun is told to stop. 0 is SIGKILL at once.
    #[arg(short = 'k', long, value_name = "DUR", help_heading = LIMITS, hide_short_help = true)]
    pub kill_after: Option<Seconds>,

    /// What ends an attempt first [default: SIGTERM]
    ///
    /// A signal by name, with or without SIG, or by number.
    #[arg(long, value_name = "SIG", help_heading = LIMITS, hide_short_help = true)]
    pub stop_signal: Option<Signal>,

    /// Limit on the silence of an attempt [default: none]
    ///
    /// An attempt that writes nothing to stdout or stderr for this long is ended as by --timeout. Both streams are read for that, and
    /// passed on at once; a terminal stays a terminal for the command. 0 is no limit.
    #[arg(long, value_name = "DUR", help_heading = LIMITS, hide_short_help = true)]
    pub idle_timeout: Option<Seconds>,

    /// Count anew after an attempt that ran this long [default: none]
    ///
    /// An attempt that ran at least this long before it failed was healthy: it sets the count of retries and the backoff back to
    /// zero. 0 is off.
    #[arg(long, value_name = "DUR", help_heading = LIMITS, hide_short_help = true)]
    pub healthy_after: Option<Seconds>,

    /// Successes in a row that are needed [default: 1]
    ///
    /// For waiting until a service is steady. Between them the wait is --delay, and no retry is spent.
    #[arg(long, value_name = "N", help_heading = LIMITS, hide_short_help = true)]
    pub consecutive: Option<Consecutive>,

    /// Wait before the first retry [default: 5s]
    #[arg(short = 'd', long, value_name = "DUR", help_heading = BACKOFF)]
    pub delay: Option<Seconds>,

    /// How the wait grows [default: exponential]
    ///
    /// constant, linear, exponential or fibonacci. For the retries r = 0, 1, 2, ... after a delay d: constant d; linear d*(r+1); exponential d*multiplier^r; fibonacci
    /// d*1, d*1, d*2, d*3, d*5, ...
    #[arg(
        long, value_name = "SHAPE", help_heading = BACKOFF, hide_possible_values = true,
        value_parser = word::<Shape>(),
    )]
    pub backoff: Option<Shape>,

    /// Growth of the exponential backoff [default: 2]
    ///
    /// 1 or more.
    #[arg(long, value_name = "F", help_heading = BACKOFF, hide_short_help = true)]
    pub multiplier: Option<Multiplier>,

    /// Cap on any wait [default: 5m]
    #[arg(long, value_name = "DUR", help_heading = BACKOFF)]
    pub max_delay: Option<Seconds>,

    /// The waits written out; the last one repeats
    ///
    /// E.g. 1s,5s,30s. Replaces --delay, --backoff and --multiplier.
    #[arg(long, value_name = "D1,D2,...", help_heading = BACKOFF, hide_short_help = true)]
    pub delays: Option<Delays>,

    /// Chance in it: none, full, N%, ... [default: none]
    ///
    /// One of none, full, equal, decorrelated or N%. For a wait x: full, anything from 0 to x; equal, half of x and up to the other half; N%, x plus or
    /// minus N percent; decorrelated, anything from the first delay to three times the previous wait. The cap holds
    /// afterwards, too.
    #[arg(long, value_name = "KIND", help_heading = BACKOFF)]
    pub jitter: Option<Jitter>,

    /// Makes jitter repeatable [default: random]
    ///
    /// The same seed gives the same waits. The seed in use is in the history.
    #[arg(long, value_name = "N", help_heading = BACKOFF, hide_short_help = true)]
    pub seed: Option<Seed>,

    /// Wait as the command's output asks for [default: none]
    ///
    /// Where the failed attempt's output matches, the first group of REGEX (a duration, seconds, or an HTTP date; a past date is 0)
    /// is the least wait before the next attempt; the last match counts. auto knows the usual forms, such as Retry-After: 30 and
    /// retry in 5s. Never earlier than that: a wait beyond --max-delay ends the run.
    #[arg(long, value_name = "REGEX", help_heading = BACKOFF, hide_short_help = true)]
    pub delay_from: Option<DelayFrom>,

    /// These endings count as success
    ///
    /// RULE = [REASON: ]COND[&COND]...: all conditions must hold; for "or" give the option again. COND = [!]STATUS[,STATUS]... or
    /// [!][out|err]/REGEX/[i]. STATUS is an exit code N, a range N-M, nonzero, any (every ending but exit 0), a signal's name,
    /// signal, crash (a signal such as SEGV), timeout (also the deadline), idle-timeout, or spawn (the command could not be
    /// started). REGEX is looked for in stdout (out), stderr (err) or either: bytes without terminal escapes, ^ and $ at the ends
    /// of lines, \/ for a slash, i for both cases; output that is not read holds nothing, and lacks nothing. REASON is a word for
    /// the history.
    ///
    /// Rules are asked in the order of their layers: flags, environment, the configuration's policy, its top level, the
    /// built-in policy; within one layer --success-on before --stop-on before --retry-on. The first that holds decides.
    #[arg(long, value_name = "RULE", help_heading = CLASSIFICATION, value_parser = checked_rule)]
    pub success_on: Option<Vec<Rule>>,

    /// These failures are transient; any other is permanent
    ///
    /// As a flag or in the environment it closes the list: no other rule is asked. In a file it only adds a rule.
    #[arg(long, value_name = "RULE", help_heading = CLASSIFICATION, value_parser = checked_rule)]
    pub retry_on: Option<Vec<Rule>>,

    /// These failures are permanent: no retry
    #[arg(long, value_name = "RULE", help_heading = CLASSIFICATION, value_parser = checked_rule)]
    pub stop_on: Option<Vec<Rule>>,

    /// What a failure is that no rule names
    ///
    /// It closes the list where it stands, so that not even the built-in rules are asked.
    #[arg(
        long, value_name = "retry|stop", help_heading = CLASSIFICATION, hide_short_help = true,
        value_parser = word::<Otherwise>(),
    )]
    pub otherwise: Option<Otherwise>,

    /// Ask a command of your own before a retry [default: none]
    ///
    /// Asked last, for a failure that would be retried: sh -c CMD with the attempt's facts in RETRYRUN_ variables and its event as JSON on
    /// stdin, limited by --hook-timeout. Exit 0 is retry, 1 and 125 are permanent, anything else is a warning and retry.
    #[arg(long, value_name = "CMD", help_heading = CLASSIFICATION, hide_short_help = true, value_hint = ValueHint::CommandString)]
    pub retry_if: Option<String>,

    /// Let the command say what it knows
    ///
    /// It finds a file's name in RETRYRUN_HINT_FILE, and may write lines verdict=transient|permanent|success, reason=TEXT and
    /// retry-after=DUR; the last line of a kind counts. A verdict from there wins over every rule but those of flags, environment
    /// and files.
    #[arg(
        long, help_heading = CLASSIFICATION, hide_short_help = true,
        num_args = 0, default_missing_value = "true",
    )]
    pub hints: Option<bool>,

    /// Run the command with LC_ALL=C.UTF-8
    ///
    /// So that rules on text hold whatever the user's language.
    #[arg(
        long, help_heading = CLASSIFICATION, hide_short_help = true,
        num_args = 0, default_missing_value = "true",
    )]
    pub c_locale: Option<bool>,

    /// A named set of options [default: auto]
    ///
    /// auto chooses by the command's first words, none chooses none; else the name of a built-in policy or of one of the
    /// configuration's.
    #[arg(long, value_name = "NAME", help_heading = CLASSIFICATION)]
    pub policy: Option<String>,

    /// What the command reads [default: auto]
    ///
    /// inherit: retryrun's stdin; null: nothing; replay: every attempt reads the same from its start; auto: a terminal is inherited, a
    /// file is inherited and set back before each retry, a pipe or socket is replayed, and where no retry is possible everything is
    /// inherited. Of a pipe no more is taken than the command took; of a socket or terminal, which cannot show without giving, up to a page more.
    #[arg(
        long, value_name = "MODE", help_heading = STREAMS, hide_short_help = true,
        value_parser = word::<StdinMode>(),
    )]
    pub stdin: Option<StdinMode>,

    /// Where the command's stdout goes [default: stream]
    ///
    /// stream: to retryrun's, as it comes; final: it is held back, and only the last attempt's is written, when the run is over,
    /// however it ended.
    #[arg(
        long, value_name = "MODE", help_heading = STREAMS, hide_short_help = true,
        value_parser = word::<StdoutMode>(),
    )]
    pub stdout: Option<StdoutMode>,

    /// Keep what each attempt writes [default: none]
    ///
    /// In DIR/attempt-1.stdout.log, attempt-1.stderr.log and so on, as well as where it goes; in attempt-1.output.log where both are
    /// one open file. An earlier run's files are removed at the start; a second run at the same time uses a folder in DIR. The first
    /// 10 and the last 100 attempts' are kept.
    #[arg(
        long, value_name = "DIR", help_heading = STREAMS, hide_short_help = true,
        value_hint = ValueHint::DirPath,
    )]
    pub log_dir: Option<PathBuf>,

    /// How much of the end of stderr the history keeps
    ///
    /// 4KiB where stderr is read for another option; a SIZE given reads it. 0 keeps none.
    #[arg(long, value_name = "SIZE", help_heading = STREAMS, hide_short_help = true)]
    pub tail: Option<Size>,

    /// Limit on the input that is kept for a replay [default: none]
    ///
    /// An attempt that reads more is the last.
    #[arg(long, value_name = "SIZE", help_heading = STREAMS, hide_short_help = true)]
    pub spool_limit: Option<Size>,

    /// When the JSON history is printed [default: failure]
    ///
    /// failure, always or never. On stderr: one line, or indented on a terminal; always the last thing that is written there.
    #[arg(
        long, value_name = "WHEN", help_heading = REPORTS, hide_possible_values = true,
        value_parser = word::<HistoryWhen>(),
    )]
    pub history: Option<HistoryWhen>,

    /// Write a report of the run to a file
    ///
    /// json, ndjson (the events, a line each as it happens), markdown, html, junit, or bundle (a folder with history, events, policy,
    /// environment, limits and the attempts' logs, fit to be attached to a bug). Without FORMAT: the name's ending tells, of
    /// .json, .ndjson, .jsonl, .md, .markdown, .html, .htm and .xml. PATH - is stdout, and fd:N an open descriptor. A file is written whole, at the
    /// end; what is no file, such as a fifo, is written in place, and nobody is waited for. Repeatable.
    #[arg(
        long, value_name = "[FORMAT:]PATH", help_heading = REPORTS, hide_short_help = true,
        value_hint = ValueHint::FilePath,
    )]
    pub report: Option<Vec<Report>>,

    /// When reports are written [default: always]
    ///
    /// failure or always.
    #[arg(
        long, value_name = "WHEN", help_heading = REPORTS, hide_short_help = true,
        value_parser = word::<ReportWhen>(),
    )]
    pub report_when: Option<ReportWhen>,

    /// Write *** for what matches
    ///
    /// In all text that retryrun writes; never in numbers or its own words. Always masked are the values (6 characters or more) of
    /// environment variables whose names hold TOKEN, SECRET, PASSWORD or KEY, and passwords in URLs. Repeatable.
    #[arg(long, value_name = "REGEX", help_heading = REPORTS, hide_short_help = true)]
    pub redact: Option<Vec<Pattern>>,

    /// Print only errors and the history
    #[arg(
        short = 'q', long, help_heading = REPORTS,
        num_args = 0, default_missing_value = "true",
    )]
    pub quiet: Option<bool>,

    /// Print more, e.g. each attempt as it starts
    #[arg(skip)]
    pub verbose: Option<Verbosity>,

    /// The form of what retryrun prints [default: text]
    #[arg(
        long, value_name = "FORMAT", help_heading = REPORTS, hide_short_help = true,
        value_parser = word::<LogFormat>(),
    )]
    pub log_format: Option<LogFormat>,

    /// Colours in what retryrun prints [default: auto]
    ///
    /// auto is on a terminal; NO_COLOR, CLICOLOR_FORCE and TERM=dumb are honoured.
    #[arg(
        long, value_name = "WHEN", help_heading = REPORTS, hide_short_help = true,
        value_parser = word::<Color>(),
    )]
    pub color: Option<Color>,

    /// The status line [default: auto]
    ///
    /// auto: on a terminal, while retryrun waits for the next attempt; r or Enter starts it at once, q gives up. Not with --quiet, in a
    /// job of a CI system, or where TERM is dumb. always: there, too, and on the terminal that controls retryrun where neither stdout nor
    /// stderr is one; then also while an attempt runs. never: nowhere. Keys are heard where stdin is that terminal, too, and nobody else
    /// may read them, such as a pager that reads what is written.
    #[arg(
        long, value_name = "WHEN", help_heading = REPORTS, hide_short_help = true,
        value_parser = word::<Live>(),
    )]
    pub live: Option<Live>,

    /// The CI system to speak to [default: auto]
    ///
    /// One of auto (by the environment), github, gitlab, azure, buildkite or none. From the first failure on each further attempt stands
    /// in a collapsible group; at the end come an annotation (github, azure) and a job summary (github: the file that
    /// GITHUB_STEP_SUMMARY names; azure). --quiet leaves out the groups and all annotations but errors.
    #[arg(
        long, value_name = "SYSTEM", help_heading = REPORTS, hide_short_help = true, hide_possible_values = true,
        value_parser = word::<CiChoice>(),
    )]
    pub ci: Option<CiChoice>,

    /// Share retries with all runs that name this budget [default: none]
    ///
    /// NAME=N/DUR[+P%], e.g. deploys=10/1h+20%: all runs of this user that name it share N retries in each DUR, refilled evenly, and a
    /// success at the first attempt puts back P percent of one. A first attempt is free; where no retry is left, the run ends. The
    /// last caller's numbers hold. An attempt by hand takes none. Kept in $XDG_STATE_HOME/retryrun (~/.local/state/retryrun).
    #[arg(long, value_name = "NAME=N/DUR[+P%]", help_heading = BUDGET, hide_short_help = true)]
    pub budget: Option<Budget>,

    /// Where machines share their budgets [default: none]
    ///
    /// redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss:// for TLS, or unix:PATH[?db=DB]. Without it a budget is this machine's, or that of
    /// those who share the state folder. Where the store does not answer within 500 ms, that serves in its place, and the run says so.
    /// A flag's value can be read by other users, as by ps: a password belongs into RETRYRUN_BUDGET_STORE, or into a file.
    #[arg(long, value_name = "URL", help_heading = BUDGET, hide_short_help = true, value_hint = ValueHint::Url)]
    pub budget_store: Option<Store>,

    /// End the run where the store does not answer
    ///
    /// Instead of going on with a budget of this machine.
    #[arg(
        long, help_heading = BUDGET, hide_short_help = true,
        num_args = 0, default_missing_value = "true",
    )]
    pub budget_strict: Option<bool>,

    /// Run a command of your own as each wait begins
    ///
    /// By sh -c, beside the wait, which it never lengthens. Hooks get the facts in RETRYRUN_ variables and their event as JSON on stdin; what
    /// they print goes to stderr. They are limited by --hook-timeout, and ended with all that they started when the run ends. One that
    /// fails is a warning.
    #[arg(long, value_name = "CMD", help_heading = HOOKS, hide_short_help = true, value_hint = ValueHint::CommandString)]
    pub on_retry: Option<String>,

    /// Run a command of your own before each retry
    ///
    /// The attempt begins when it has ended. RETRYRUN_ATTEMPT is that of the attempt.
    #[arg(long, value_name = "CMD", help_heading = HOOKS, hide_short_help = true, value_hint = ValueHint::CommandString)]
    pub before_attempt: Option<String>,

    /// Run a command of your own after a success
    ///
    /// When reports have been written. With the history, too, on stdin.
    #[arg(long, value_name = "CMD", help_heading = HOOKS, hide_short_help = true, value_hint = ValueHint::CommandString)]
    pub on_success: Option<String>,

    /// Run a command of your own when the run ends without success
    ///
    /// When reports have been written. With the history, too, on stdin. A second signal to retryrun ends it.
    #[arg(long, value_name = "CMD", help_heading = HOOKS, hide_short_help = true, value_hint = ValueHint::CommandString)]
    pub on_give_up: Option<String>,

    /// Limit on a hook, and on --retry-if [default: 30s]
    ///
    /// 0 is no limit.
    #[arg(long, value_name = "DUR", help_heading = HOOKS, hide_short_help = true)]
    pub hook_timeout: Option<Seconds>,

    /// Keep the run's state under a name
    ///
    /// So that it survives retryrun: if the last run of that name did not end, this one goes on from its count and its wait, with its
    /// options where none are given now. Two at once are refused. A name is 1 to 100 of letters, digits, ., _ and -, not beginning with . or
    /// -.
    #[arg(long, value_name = "NAME", help_heading = NAMED_RUNS, hide_short_help = true)]
    pub job: Option<Name>,

    /// With --job, forget an unended run
    #[arg(
        long, help_heading = NAMED_RUNS, hide_short_help = true,
        num_args = 0, default_missing_value = "true",
    )]
    pub fresh: Option<bool>,

    /// How many ended runs are kept, in all [default: 100]
    #[arg(long, value_name = "N", help_heading = NAMED_RUNS, hide_short_help = true)]
    pub keep_runs: Option<Count>,

    /// How long an ended run is kept [default: 30d]
    #[arg(long, value_name = "DUR", help_heading = NAMED_RUNS, hide_short_help = true)]
    pub keep_for: Option<Seconds>,

    /// What becomes of processes left behind [default: auto]
    ///
    /// auto ends, before the next attempt, what an attempt left behind in its session; what went to a session of its own, such as
    /// gpg-agent, lives on, and after the last attempt everything. keep ends nothing. kill ends all, also after the last attempt. What
    /// is ended is sent the stop signal and, after a second, SIGKILL.
    #[arg(
        long, value_name = "WHAT", help_heading = SUPERVISION, hide_short_help = true,
        value_parser = word::<Leftovers>(),
    )]
    pub leftovers: Option<Leftovers>,

    /// The process group of the command [default: auto]
    ///
    /// auto: with a terminal the command stays in retryrun's group, so that Ctrl-C, Ctrl-Z and password prompts work as without
    /// retryrun; without one it gets a group of its own. inherit and new are one of these always, and session is a session of its own.
    #[arg(
        long, value_name = "GROUP", help_heading = SUPERVISION, hide_short_help = true,
        value_parser = word::<ProcessGroup>(),
    )]
    pub process_group: Option<ProcessGroup>,

    /// A folder in which attempts get cgroups [default: none]
    ///
    /// A folder of a cgroup file system, version 2, that may be written: each attempt gets a cgroup below it, so that nothing that it
    /// starts escapes. It is removed afterwards.
    #[arg(
        long, value_name = "DIR", help_heading = SUPERVISION, hide_short_help = true,
        value_hint = ValueHint::DirPath,
    )]
    pub cgroup: Option<PathBuf>,

    /// Another exit status for an outcome
    ///
    /// WHY is permanent, exhausted, deadline, budget, retry-after, stopped, interrupted, not-started, flaky (success, but not at the first attempt), or timeout
    /// (the last attempt was ended by a limit, and its outcome is not replaced). N is a status or same: what the
    /// command really left. Repeatable.
    #[arg(long, value_name = "WHY=N", help_heading = EXIT_STATUS, hide_short_help = true)]
    pub exit_code: Option<Vec<ExitCode>>,

    /// Read this configuration file, too
    ///
    /// It beats $XDG_CONFIG_HOME/retryrun/config.toml, which beats /etc/retryrun/config.toml.
    #[arg(
        long, value_name = "FILE", help_heading = CONFIGURATION, hide_short_help = true,
        value_hint = ValueHint::FilePath,
    )]
    pub config: Option<PathBuf>,

    /// Read no configuration file
    #[arg(
        long, help_heading = CONFIGURATION, hide_short_help = true,
        num_args = 0, default_missing_value = "true",
    )]
    pub no_config: Option<bool>,
}

const LIMITS: &str = "Limits";
const BACKOFF: &str = "Backoff";
const CLASSIFICATION: &str = "Classification";
const BUDGET: &str = "Budget";
const HOOKS: &str = "Hooks";
pub(crate) const NAMED_RUNS: &str = "Named runs";
const SUPERVISION: &str = "Supervision";
const STREAMS: &str = "Streams";
pub(crate) const REPORTS: &str = "Reports";
const EXIT_STATUS: &str = "Exit status";
const CONFIGURATION: &str = "Configuration";

impl Settings {
    /// All rules of the three lists.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        [&self.success_on, &self.stop_on, &self.retry_on].into_iter().flatten().flatten()
    }
}
