//! Journals of named runs: whatever is damaged, what is whole counts, and what is told can be told again and gone on with.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use retryrun::engine::backoff::{Backoff, Jitter, Shape, Waits};
use retryrun::engine::classify::Rules;
use retryrun::engine::event::{Kept, Line, RunStarted, Usage};
use retryrun::engine::history::{Condensed, History};
use retryrun::engine::output::Matches;
use retryrun::engine::policy::{Leftovers, Policy, Retries};
use retryrun::engine::resume::Unended;
use retryrun::engine::signal::Signal;
use retryrun::engine::{Action, ExitStatus, Input, Run};
use retryrun::jobs::journal::{Told, parse};
use retryrun::report::{html, junit, markdown};

/// More inputs than a run of [`policy`] takes, whatever was told of it.
const ENOUGH: usize = 40;

fuzz_target!(|bytes: &[u8]| {
    let Ok(told) = parse(bytes, Some("x")) else { return };
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let whole = parse(&bytes[..end], Some("x")).expect("it is of the same version");
    assert_eq!(format!("{whole:?}"), format!("{told:?}"), "only whole lines count");
    let Some(told) = told else { return };
    let history = told.history().expect("it has begun");
    // Before the records there may be what many others were condensed to.
    if History::of(&told.records).as_ref() == Some(&history) {
        is_told_again(&told, &history);
    }
    is_condensed(&history);
    is_shown(&history);
    if let Some(unended) = told.unended() {
        goes_on(history, unended);
    }
});

/// The records, written anew.
fn is_told_again(told: &Told, history: &History) {
    let mut bytes = Vec::new();
    for record in &told.records {
        serde_json::to_writer(&mut bytes, &Line::new(&history.run_id, record)).expect("plain data");
        bytes.push(b'\n');
    }
    let again = parse(&bytes, Some("x")).expect("it is of this version").expect("it has begun");
    assert_eq!(again.damaged, 0);
    assert_eq!(again.records, told.records);
}

/// What it adds up to, as one line.
fn is_condensed(history: &History) {
    let condensed = Condensed::from(history);
    let line = serde_json::json!({ "v": 1, "run": history.run_id, "condensed": condensed });
    let told = parse(format!("{line}\n").as_bytes(), Some("x")).expect("it is of this version");
    assert_eq!(told.expect("it has begun").history().as_ref(), Some(history));
}

fn is_shown(history: &History) {
    let json = serde_json::to_string(history).expect("plain data");
    let read: History = serde_json::from_str(&json).expect("it was just written");
    assert_eq!(serde_json::to_string(&read).expect("plain data"), json);
    for report in [html::render(history), junit::render(history), markdown::render(history)] {
        assert!(!report.is_empty());
    }
}

/// In the new process every attempt fails.
fn goes_on(mut history: History, unended: Unended) {
    let mut run = Run::resume(policy(), RunStarted::default(), unended, Duration::ZERO);
    let mut input = Input::Begin;
    let mut now = run.now();
    for _ in 0..ENOUGH {
        let mut next = Input::Tick;
        for action in run.handle(now, input) {
            match action {
                Action::Start { .. } => next = Input::Started { pid: 1 },
                Action::Tell(record) => history.apply(&record),
                Action::Sweep { .. } => next = Input::Swept { survives: false },
                Action::Kill(_)
                | Action::Hurry
                | Action::Ask(_)
                | Action::Prepare { .. }
                | Action::TakeToken
                | Action::PutBack(_)
                | Action::Abandon => panic!("nothing in the policy says so: {action:?}"),
            }
        }
        if run.exit().is_some() {
            assert_eq!(&history, run.history());
            return;
        }
        // An attempt has no limit, and ends by itself.
        input = match (next, run.wakeup()) {
            (Input::Tick, None) => failed(),
            (next, wakeup) => {
                now = wakeup.map_or(now, |(moment, _)| moment);
                next
            }
        };
    }
    panic!("it does not end: {:?}", run.history());
}

fn failed() -> Input {
    Input::Exited {
        status: ExitStatus::Code(1),
        usage: Usage::default(),
        leftovers: 0,
        output_held: false,
        hint: Default::default(),
        kept: Kept::default(),
        stdout_closed: false,
        matches: Matches::default(),
    }
}

fn policy() -> Policy {
    let delay = Duration::from_secs(1);
    Policy {
        name: "none".to_owned(),
        origin: "built in".to_owned(),
        retries: Retries::Limited(3),
        backoff: Backoff {
            waits: Waits::Grown { shape: Shape::Exponential, delay, multiplier: 2.0 },
            max_delay: Duration::from_secs(300),
            jitter: Jitter::None,
            seed: 42,
        },
        timeout: None,
        idle_timeout: None,
        deadline: None,
        healthy_after: None,
        consecutive: 1,
        leftovers: Leftovers::Auto,
        kill_after: Duration::from_secs(5),
        stop_signal: Signal::TERM,
        rules: Rules::new(Vec::new()),
        retry_if: None,
        before_attempt: false,
        budget: None,
        exit_codes: [].into_iter().collect(),
    }
}
