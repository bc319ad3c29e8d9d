//! Scripts for the engine: a policy, what its command does and what comes from outside; and what a run of it
//! comes to.

mod stage;

use std::time::Duration;

use retryrun::engine::backoff::{Backoff, Jitter, Shape, Waits};
use retryrun::engine::classify::{Hint, PlacedRule, Rule, Rules};
use retryrun::engine::event::{Event, Kept, Record, RunStarted, SpawnErrorKind, Usage, Verdict};
use retryrun::engine::exit::Exit;
use retryrun::engine::history::History;
use retryrun::engine::output::{Matches, OutputPattern, Search};
use retryrun::engine::policy::{Leftovers, Policy, Retries};
use retryrun::engine::resume::Unended;
use retryrun::engine::signal::Signal;
use retryrun::engine::time::Timestamp;
use retryrun::engine::{Answer, ExitStatus, Input, Run, Sender, Token};

pub(crate) use stage::SWEEP;
use stage::Stage;

/// 2026-11-21T20:15:30.123Z.
const STARTED_AT: Duration = Duration::from_millis(1_795_292_130_123);

/// That many seconds.
pub(crate) fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// The built-in policy: 3 retries after 5, 10 and 20 seconds, 5 seconds of grace, no other limit.
pub(crate) fn default_policy() -> Policy {
    Policy {
        name: "none".to_owned(),
        origin: "built in".to_owned(),
        retries: Retries::Limited(3),
        backoff: Backoff {
            waits: Waits::Grown { shape: Shape::Exponential, delay: secs(5.0), multiplier: 2.0 },
            max_delay: secs(300.0),
            jitter: Jitter::None,
            seed: 42,
        },
        timeout: None,
        idle_timeout: None,
        deadline: None,
        healthy_after: None,
        consecutive: 1,
        leftovers: Leftovers::Auto,
        kill_after: secs(5.0),
        stop_signal: Signal::TERM,
        rules: Rules::new(Vec::new()),
        retry_if: None,
        before_attempt: false,
        budget: None,
        exit_codes: [].into_iter().collect(),
    }
}

/// A rule as an option of the command line gives it.
pub(crate) fn rule(verdict: Verdict, text: &str) -> PlacedRule {
    let rule = text.parse().expect("a rule of a test is well formed");
    PlacedRule::new(rule, verdict, "flag".to_owned())
}

/// What starting the command once comes to.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// It runs.
    Runs {
        /// How it ends by itself, if it does.
        ends: Option<(Duration, ExitStatus)>,
        /// What a signal other than KILL does to it.
        reaction: Reaction,
        /// Processes that it leaves behind.
        leftovers: u64,
        /// What is found in its output.
        matches: Matches,
    },
    /// It cannot be started.
    CannotStart(SpawnErrorKind),
}

/// What a command does when it gets a signal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reaction {
    /// Nothing.
    Deaf,
    /// It dies of it, so long after.
    Dies(Duration),
    /// It handles it and exits, so long after.
    Exits(Duration, i32),
    /// Nothing, be it SIGKILL.
    Immortal,
}

impl Command {
    /// The same command, but it takes so long.
    pub(crate) fn after(self, lasts: Duration) -> Command {
        match self {
            Command::Runs { ends, reaction, leftovers, matches } => {
                let ends = ends.map(|(_, status)| (lasts, status));
                Command::Runs { ends, reaction, leftovers, matches }
            }
            cannot_start @ Command::CannotStart(_) => cannot_start,
        }
    }

    /// The same command with another answer to signals.
    pub(crate) fn on_signal(self, reaction: Reaction) -> Command {
        match self {
            Command::Runs { ends, leftovers, matches, .. } => {
                Command::Runs { ends, reaction, leftovers, matches }
            }
            cannot_start @ Command::CannotStart(_) => cannot_start,
        }
    }

    /// The same command, which leaves processes behind.
    pub(crate) fn leaving(self, leftovers: u64) -> Command {
        match self {
            Command::Runs { ends, reaction, matches, .. } => {
                Command::Runs { ends, reaction, leftovers, matches }
            }
            cannot_start @ Command::CannotStart(_) => cannot_start,
        }
    }

    /// The same command, which writes a line to stderr for which a rule of this text looks.
    pub(crate) fn writing(self, rule: &str, line: &str) -> Command {
        match self {
            Command::Runs { ends, reaction, leftovers, .. } => {
                let rule: Rule = rule.parse().expect("a rule of a test is well formed");
                let found = |pattern: &OutputPattern| (pattern.clone(), Search::Found(line.into()));
                let matches = rule.patterns().map(found).collect();
                Command::Runs { ends, reaction, leftovers, matches }
            }
            cannot_start @ Command::CannotStart(_) => cannot_start,
        }
    }
}

/// A command that exits after a tenth of a second, and dies of any signal at once.
pub(crate) fn exits(code: i32) -> Command {
    ends(ExitStatus::Code(code))
}

/// A command that is killed by a signal from elsewhere.
pub(crate) fn dies(signal: Signal) -> Command {
    ends(ExitStatus::Signal { signal, core_dumped: false })
}

/// A command that ends after a tenth of a second.
pub(crate) fn ends(status: ExitStatus) -> Command {
    let ends = Some((secs(0.1), status));
    let matches = Matches::default();
    Command::Runs { ends, reaction: Reaction::Dies(Duration::ZERO), leftovers: 0, matches }
}

/// A command that never ends by itself.
pub(crate) fn hangs() -> Command {
    let Command::Runs { reaction, leftovers, matches, .. } = exits(0) else {
        unreachable!("a command that exits runs")
    };
    Command::Runs { ends: None, reaction, leftovers, matches }
}

/// The end of an attempt that leaves so many processes.
pub(crate) fn exited(status: ExitStatus, leftovers: u64, matches: Matches) -> Input {
    let usage = Usage {
        cpu_user: Some(secs(0.004)),
        cpu_system: Some(secs(0.002)),
        max_rss: Some(9_437_184),
    };
    let (output_held, stdout_closed) = (false, false);
    let (kept, hint) = (Kept::default(), Hint::default());
    Input::Exited { status, usage, leftovers, output_held, kept, stdout_closed, matches, hint }
}

/// What comes from outside at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    /// A signal to us; from the terminal the command gets it too.
    Signal(Signal, Sender),
    /// The command writes something.
    Output,
    /// What it writes is not taken.
    OutputStalled,
    /// Somebody wants the next attempt now.
    RetryNow,
    /// Somebody stops the run.
    Stop,
    /// The machine sleeps: time passes, but not for whoever runs on it.
    Sleep(Duration),
}

/// A policy, and what the world does to a run of it.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// What the run is to keep to.
    pub(crate) policy: Policy,
    commands: Vec<Command>,
    happenings: Vec<(Duration, Happening)>,
    told_at_start: usize,
    survives: bool,
    answer: Answer,
    tokens: Vec<Token>,
    fidgety: bool,
}

impl Script {
    /// The default policy and commands one by one; the last of them repeats.
    pub(crate) fn new(commands: impl IntoIterator<Item = Command>) -> Script {
        Script {
            policy: default_policy(),
            commands: commands.into_iter().collect(),
            happenings: Vec::new(),
            told_at_start: 1_000,
            survives: false,
            answer: Answer::Retry,
            tokens: vec![Token::Granted],
            fidgety: false,
        }
    }

    /// Changes the policy.
    pub(crate) fn policy(mut self, change: impl FnOnce(&mut Policy)) -> Script {
        change(&mut self.policy);
        self
    }

    /// Limits the retries.
    pub(crate) fn retries(self, retries: u64) -> Script {
        self.policy(|policy| policy.retries = Retries::Limited(retries))
    }

    /// Limits each attempt.
    pub(crate) fn timeout(self, timeout: Duration) -> Script {
        self.policy(|policy| policy.timeout = Some(timeout))
    }

    /// Limits the run.
    pub(crate) fn deadline(self, deadline: Duration) -> Script {
        self.policy(|policy| policy.deadline = Some(deadline))
    }

    /// The rules that are asked before the built-in table.
    pub(crate) fn rules<const N: usize>(self, rules: [(Verdict, &str); N]) -> Script {
        let placed = rules.map(|(verdict, text)| rule(verdict, text));
        self.policy(|policy| policy.rules = Rules::new(placed.into()))
    }

    /// Replacements of our exit status.
    pub(crate) fn exit_codes<const N: usize>(self, codes: [&str; N]) -> Script {
        let codes = codes.map(|code| code.parse().expect("well formed"));
        self.policy(|policy| policy.exit_codes = codes.into_iter().collect())
    }

    /// At a moment of the elapsed clock something happens; to be given in the order of time.
    pub(crate) fn at(mut self, moment: Duration, happening: Happening) -> Script {
        self.happenings.push((moment, happening));
        self
    }

    /// A signal that another process sends us.
    pub(crate) fn signal(self, moment: Duration, signal: Signal) -> Script {
        self.at(moment, Happening::Signal(signal, Sender::Process))
    }

    /// A signal of the terminal.
    pub(crate) fn key(self, moment: Duration, signal: Signal) -> Script {
        self.at(moment, Happening::Signal(signal, Sender::Terminal))
    }

    /// TERM comes between the order to start this attempt and the answer to it. If nothing else is said that is
    /// the thousandth, so that every run ends.
    pub(crate) fn told_at_start(mut self, attempt: usize) -> Script {
        self.told_at_start = attempt;
        self
    }

    /// The user's own command is asked before a retry, and answers this.
    pub(crate) fn asking(mut self, answer: Answer) -> Script {
        self.answer = answer;
        self.policy(|policy| policy.retry_if = Some("flag --retry-if".to_owned()))
    }

    /// Retries are paid from a budget, which says this, one by one; the last of it repeats.
    pub(crate) fn paying(mut self, tokens: impl IntoIterator<Item = Token>) -> Script {
        self.tokens = tokens.into_iter().collect();
        self.policy(|policy| policy.budget = Some("deploys".to_owned()))
    }

    /// Something of the user's is done before each attempt but the first.
    pub(crate) fn preparing(self) -> Script {
        self.policy(|policy| policy.before_attempt = true)
    }

    /// What is left behind does not die.
    pub(crate) fn surviving(mut self) -> Script {
        self.survives = true;
        self
    }

    /// Ticks come too early and twice, and must do nothing.
    pub(crate) fn fidgety(mut self) -> Script {
        self.fidgety = true;
        self
    }

    fn identity(&self) -> RunStarted {
        RunStarted {
            run_id: "01jd7".to_owned(),
            job: None,
            command: vec!["curl".to_owned(), "-fsS".to_owned()],
            cwd: Some("/srv".to_owned()),
            host: "ci-7".to_owned(),
            pid: 4711,
            version: "0.1.0".to_owned(),
            policy: self.policy.summary(),
            max_retries: self.policy.retries.limit(),
        }
    }

    /// A run of the policy, not begun.
    pub(crate) fn run(&self) -> Run {
        let started_at = Timestamp::since_epoch(STARTED_AT);
        Run::new(self.policy.clone(), self.identity(), started_at)
    }

    /// Plays it to the end of the run.
    pub(crate) fn play(self) -> Played {
        let run = self.run();
        Stage::new(self, run).play()
    }

    /// What it has told when the process dies, with all that happens at that moment.
    pub(crate) fn dies_at(self, moment: Duration) -> Vec<Record> {
        let run = self.run();
        Stage::new(self, run).play_until(moment)
    }

    /// Plays on, in a new process, with a run that was told of until its process died. `elapsed` is what the calendar says that has
    /// passed since it began.
    pub(crate) fn go_on(self, told: &[Record], elapsed: Duration) -> Played {
        let unended = Unended::of(told).expect("it has begun and not ended");
        let identity = RunStarted { pid: 5_000, ..self.identity() };
        let run = Run::resume(self.policy.clone(), identity, unended, elapsed);
        Stage::new(self, run).play()
    }
}

/// A run that was played to its end.
#[derive(Debug)]
pub(crate) struct Played {
    /// A line for each order, record and happening.
    pub(crate) transcript: String,
    /// What the run told.
    pub(crate) records: Vec<Record>,
    /// The run.
    pub(crate) run: Run,
}

impl Played {
    /// How the run ended.
    pub(crate) fn exit(&self) -> Exit {
        self.run.exit().expect("it was played to its end")
    }

    /// What the run remembers.
    pub(crate) fn history(&self) -> &History {
        self.run.history()
    }

    /// The waits that were planned.
    pub(crate) fn delays(&self) -> Vec<Duration> {
        let delay = |record: &Record| match &record.event {
            Event::RetryPlanned(event) => Some(event.delay),
            Event::RunStarted(_)
            | Event::RunResumed(_)
            | Event::AttemptStarted(_)
            | Event::AttemptCut(_)
            | Event::AttemptEnded(_)
            | Event::RunStopped(_) => None,
        };
        self.records.iter().filter_map(delay).collect()
    }

    /// Fails unless the transcript is this, indentation aside.
    #[track_caller]
    pub(crate) fn shows(&self, expected: &str) {
        let lines = |text: &str| -> String {
            let lines = text.trim().lines();
            lines.map(|line| format!("{}\n", line.trim())).collect()
        };
        let (expected, transcript) = (lines(expected), lines(&self.transcript));
        assert!(transcript == expected, "expected\n{expected}\nbut it was\n{transcript}");
    }
}
