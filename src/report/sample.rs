//! Runs to report on, for the tests of the reports: played by hand, event by event.

use std::time::Duration;

use crate::engine::backoff::Shape;
use crate::engine::event::{
    AttemptEnded, AttemptStarted, EndedBy, Ending, Event, Judgement, Kept, Outcome, PolicySummary,
    Record, RetryPlanned, RunStarted, RunStopped, Trigger, Usage, Verdict,
};
use crate::engine::history::History;
use crate::engine::time::Timestamp;

/// A run that goes on. All times are milliseconds.
pub struct Sample {
    /// What happened until now.
    pub history: History,
    now: Duration,
    waited: Duration,
}

impl Sample {
    /// A run of a command.
    pub fn of(command: &[&str]) -> Sample {
        let run = RunStarted {
            run_id: "01jd7".into(),
            job: None,
            command: command.iter().map(|&word| word.into()).collect(),
            cwd: Some("/srv".into()),
            host: "ci-7".into(),
            pid: 4711,
            version: "0.1.0".into(),
            policy: policy(),
            max_retries: Some(3),
        };
        let history = History::new(began(), run);
        Sample { history, now: Duration::ZERO, waited: Duration::ZERO }
    }

    fn tell(&mut self, event: Event) {
        let at = began().plus(self.now);
        self.history.apply(&Record { at, t: self.now, event });
    }

    /// An attempt begins.
    pub fn start(mut self, trigger: Trigger) -> Sample {
        let attempt = self.history.last_number() + 1;
        let waited = std::mem::take(&mut self.waited);
        self.tell(Event::AttemptStarted(AttemptStarted { attempt, trigger, pid: Some(1), waited }));
        self
    }

    /// An attempt that exits.
    pub fn attempt(self, trigger: Trigger, took: u64, code: i32) -> Sample {
        let mut sample = self.start(trigger);
        let elapsed = Duration::from_millis(took);
        sample.now += elapsed;
        let verdict = if code == 0 { Verdict::Success } else { Verdict::Transient };
        sample.tell(Event::AttemptEnded(Box::new(AttemptEnded {
            attempt: sample.history.last_number(),
            elapsed,
            ending: Ending {
                ended_by: EndedBy::Exit,
                exit_code: Some(code),
                signal: None,
                core_dumped: false,
                error: None,
                error_kind: None,
            },
            judgement: Judgement { verdict: Some(verdict), ..Judgement::default() },
            usage: Usage::default(),
            leftovers: 0,
            output_held: false,
            kept: Kept::default(),
        })));
        sample
    }

    /// A wait that was planned, and lasted as long or not.
    pub fn wait(mut self, planned: u64, lasted: u64) -> Sample {
        self.tell(Event::RetryPlanned(RetryPlanned {
            attempt: self.history.last_number(),
            trigger: Trigger::Retry,
            retry: self.history.retries_used + 1,
            delay: Duration::from_millis(planned),
        }));
        self.waited = Duration::from_millis(lasted);
        self.now += self.waited;
        self
    }

    /// So many attempts of 10 ms that fail, with waits of 1 s between them.
    pub fn attempts(self, count: u64) -> Sample {
        let first = self.attempt(Trigger::First, 10, 7);
        (1..count).fold(first, |sample, _| sample.wait(1_000, 1_000).attempt(Trigger::Retry, 10, 7))
    }

    /// The run ends.
    pub fn end(mut self, outcome: Outcome) -> History {
        let message = self.history.closing_message(outcome, None, None, self.now);
        let waited = std::mem::take(&mut self.waited);
        self.tell(Event::RunStopped(RunStopped {
            outcome,
            signal: None,
            message,
            exit_code: 7,
            waited,
        }));
        self.history
    }
}

fn began() -> Timestamp {
    Timestamp::since_epoch(Duration::from_secs(1_795_292_130))
}

fn policy() -> PolicySummary {
    PolicySummary {
        name: "curl".into(),
        origin: "built in".into(),
        retries: Some(3),
        backoff: Some(Shape::Exponential),
        delay: Some(Duration::from_secs(5)),
        multiplier: Some(2.0),
        delays: None,
        max_delay: Duration::from_secs(300),
        jitter: "none".into(),
        seed: 42,
        timeout: None,
        idle_timeout: None,
        deadline: None,
        healthy_after: None,
        consecutive: 1,
    }
}

/// What breaks out of HTML, of Markdown, of a table, of a code block and of a line, and commands a terminal and a CI.
pub const HOSTILE: &str = "</pre></details><script>alert(\"1\")</script>|a`b``c```d --> ]]> &amp; @admin https://evil.example \u{1b}[31m\u{202e}\r\n````\n# head\n::error::x\n##[error]y";

/// A failed run that has [`HOSTILE`] in every text of others.
pub fn hostile() -> History {
    let mut history = Sample::of(&[HOSTILE, "-x"]).attempts(2).end(Outcome::Exhausted);
    let text = || Some(HOSTILE.to_owned());
    history.run_id = HOSTILE.into();
    history.job = text();
    history.cwd = text();
    history.host = HOSTILE.into();
    history.version = HOSTILE.into();
    history.message = text();
    history.policy.name = HOSTILE.into();
    history.policy.origin = HOSTILE.into();
    for attempt in &mut history.attempts {
        attempt.ended_by = Some(EndedBy::SpawnError);
        attempt.error = text();
        attempt.reason = text();
        attempt.rule = text();
        attempt.rule_origin = text();
        attempt.evidence = text();
        attempt.stderr_tail = text();
        attempt.stdout_log = text();
        attempt.stderr_log = Some(format!("{HOSTILE}2"));
    }
    history
}
