//! The history as JSON, its bounds, and the sentences in it.

use retryrun::engine::ExitStatus;
use retryrun::engine::backoff::{Backoff, Jitter, Waits};
use retryrun::engine::event::{Event, Record, RunStarted, Trigger, Verdict};
use retryrun::engine::history::History;
use retryrun::engine::policy::Retries;
use retryrun::engine::signal::Signal;
use retryrun::engine::time::Timestamp;

use crate::sim::{Played, Script, dies, ends, exits, hangs, secs};

/// The golden run: the second attempt succeeds, under a limit of each kind.
fn golden() -> Played {
    let rules = [(Verdict::Transient, "connect: 7")];
    let scripted = Script::new([exits(7).after(secs(0.01)), exits(0)]).rules(rules);
    scripted.timeout(secs(30.0)).deadline(secs(600.0)).play()
}

#[test]
fn the_history_has_the_fields_of_the_manual_in_their_order() {
    let json = serde_json::to_string_pretty(golden().history()).expect("plain data");
    assert_eq!(
        json,
        r#"{
  "schema": "retryrun.history/1",
  "run_id": "01jd7",
  "job": null,
  "command": [
    "curl",
    "-fsS"
  ],
  "cwd": "/srv",
  "host": "ci-7",
  "pid": 4711,
  "version": "0.1.0",
  "policy": {
    "name": "none",
    "origin": "built in",
    "retries": 3,
    "backoff": "exponential",
    "delay": 5.0,
    "multiplier": 2.0,
    "max_delay": 300.0,
    "jitter": "none",
    "seed": 42,
    "timeout": 30.0,
    "idle_timeout": null,
    "deadline": 600.0,
    "healthy_after": null,
    "consecutive": 1
  },
  "started_at": "2026-11-21T20:15:30.123Z",
  "ended_at": "2026-11-21T20:15:35.233Z",
  "elapsed": 5.11,
  "outcome": "succeeded",
  "flaky": true,
  "message": "succeeded after 2 attempts in 5.1s",
  "exit_code": 0,
  "retry_count": 1,
  "max_retries": 3,
  "last_retry_at": "2026-11-21T20:15:35.133Z",
  "waited": 5.0,
  "attempts": [
    {
      "attempt": 1,
      "trigger": "first",
      "pid": 4712,
      "started_at": "2026-11-21T20:15:30.123Z",
      "elapsed": 0.01,
      "ended_by": "exit",
      "exit_code": 7,
      "signal": null,
      "core_dumped": false,
      "error": null,
      "verdict": "transient",
      "reason": "connect",
      "rule": "7",
      "rule_origin": "flag",
      "evidence": null,
      "cpu_user": 0.004,
      "cpu_system": 0.002,
      "max_rss": 9437184,
      "stderr_tail": null,
      "stdout_log": null,
      "stderr_log": null,
      "leftovers": 0,
      "output_held": false,
      "next_delay": 5.0
    },
    {
      "attempt": 2,
      "trigger": "retry",
      "pid": 4713,
      "started_at": "2026-11-21T20:15:35.133Z",
      "elapsed": 0.1,
      "ended_by": "exit",
      "exit_code": 0,
      "signal": null,
      "core_dumped": false,
      "error": null,
      "verdict": "success",
      "reason": "success",
      "rule": "0",
      "rule_origin": "built in",
      "evidence": null,
      "cpu_user": 0.004,
      "cpu_system": 0.002,
      "max_rss": 9437184,
      "stderr_tail": null,
      "stdout_log": null,
      "stderr_log": null,
      "leftovers": 0,
      "output_held": false,
      "next_delay": null
    }
  ],
  "attempts_omitted": 0
}"#
    );
}

#[test]
fn the_history_reads_back() {
    let history = golden().history().clone();
    let json = serde_json::to_string(&history).expect("plain data");
    let read: History = serde_json::from_str(&json).expect("a history");
    assert_eq!(serde_json::to_string(&read).expect("plain data"), json);
}

#[test]
fn a_failed_runs_history_has_no_flaky_and_signals_by_name() {
    let status = ExitStatus::Signal { signal: Signal::SEGV, core_dumped: true };
    let played = Script::new([ends(status)]).retries(1).play();
    let json = serde_json::to_value(played.history()).expect("plain data");
    assert_eq!(json.get("flaky"), None);
    assert_eq!(json.pointer("/exit_code"), Some(&139.into()));
    assert_eq!(json.pointer("/attempts/0/signal"), Some(&"SIGSEGV".into()));
    let core_dumped = json.pointer("/attempts/0/core_dumped");
    assert_eq!(core_dumped, Some(&true.into()));
    let exit_code = json.pointer("/attempts/0/exit_code");
    assert_eq!(exit_code, Some(&serde_json::Value::Null));
}

#[test]
fn listed_waits_stand_in_the_place_of_delay_shape_and_multiplier() {
    let scripted = Script::new([exits(0)]).policy(|policy| {
        policy.retries = Retries::Unlimited;
        policy.backoff = Backoff {
            waits: Waits::Listed(vec![secs(1.0), secs(2.5)]),
            max_delay: secs(60.0),
            jitter: Jitter::Percent(10.0),
            seed: 1,
        };
    });
    let json = serde_json::to_value(scripted.play().history()).expect("plain data");
    let policy = json.get("policy").expect("it is there");
    let expected = serde_json::json!({
        "name": "none", "origin": "built in", "retries": null, "backoff": null, "delay": null,
        "multiplier": null, "delays": [1.0, 2.5], "max_delay": 60.0, "jitter": "10%", "seed": 1,
        "timeout": null, "idle_timeout": null, "deadline": null, "healthy_after": null, "consecutive": 1
    });
    assert_eq!(policy, &expected);
    assert_eq!(json.get("max_retries"), Some(&serde_json::Value::Null));
}

#[test]
fn each_event_is_a_flat_object_with_its_name() {
    let scripted = Script::new([exits(7).after(secs(9.0)), exits(0)]);
    let played = scripted.timeout(secs(1.203)).play();
    let json = |record: &Record| serde_json::to_string(record).expect("plain data");
    let lines: Vec<String> = played.records.iter().skip(1).map(json).collect();
    assert_eq!(
        lines.join("\n"),
        r#"{"at":"2026-11-21T20:15:30.123Z","t":0.0,"event":"attempt_started","attempt":1,"trigger":"first","pid":4712,"waited":0.0}
{"at":"2026-11-21T20:15:31.326Z","t":1.203,"event":"attempt_cut","attempt":1,"ended_by":"timeout","elapsed":1.203,"signal":"SIGTERM","kill_after":5.0}
{"at":"2026-11-21T20:15:31.326Z","t":1.203,"event":"attempt_ended","attempt":1,"elapsed":1.203,"ended_by":"timeout","exit_code":null,"signal":"SIGTERM","core_dumped":false,"error":null,"verdict":"transient","reason":"timeout","rule":"timeout","rule_origin":"built in","evidence":null,"cpu_user":0.004,"cpu_system":0.002,"max_rss":9437184,"leftovers":0,"output_held":false,"stderr_tail":null,"stdout_log":null,"stderr_log":null}
{"at":"2026-11-21T20:15:31.326Z","t":1.203,"event":"retry_planned","attempt":1,"trigger":"retry","retry":1,"delay":5.0}
{"at":"2026-11-21T20:15:36.326Z","t":6.203,"event":"attempt_started","attempt":2,"trigger":"retry","pid":4713,"waited":5.0}
{"at":"2026-11-21T20:15:36.426Z","t":6.303,"event":"attempt_ended","attempt":2,"elapsed":0.1,"ended_by":"exit","exit_code":0,"signal":null,"core_dumped":false,"error":null,"verdict":"success","reason":"success","rule":"0","rule_origin":"built in","evidence":null,"cpu_user":0.004,"cpu_system":0.002,"max_rss":9437184,"leftovers":0,"output_held":false,"stderr_tail":null,"stdout_log":null,"stderr_log":null}
{"at":"2026-11-21T20:15:36.426Z","t":6.303,"event":"run_stopped","outcome":"succeeded","signal":null,"message":"succeeded after 2 attempts in 6.3s","exit_code":0,"waited":0.0}"#
    );
}

#[test]
fn records_that_do_not_begin_with_the_start_are_no_history() {
    let records = golden().records;
    assert_eq!(History::of(records.iter().skip(1)), None);
    assert_eq!(History::of([]), None);
}

#[test]
fn of_many_attempts_the_first_10_and_the_last_100_are_kept() {
    for (attempts, omitted) in [(1, 0), (110, 0), (111, 1), (500, 390)] {
        let scripted = Script::new([exits(7)]).retries(attempts - 1);
        let played = scripted.play();
        let history = played.history();
        let numbers: Vec<u64> = history.attempts.iter().map(|each| each.attempt).collect();
        let kept = (1..=attempts).filter(|number| *number <= 10 || *number + 100 > attempts);
        assert_eq!(numbers, kept.collect::<Vec<_>>());
        assert_eq!(history.attempts_omitted, omitted);
        assert_eq!(history.retry_count, attempts - 1);
        assert_eq!(history.last_number(), attempts);
    }
}

#[test]
fn each_kept_attempt_keeps_its_own_ending() {
    let commands = (1..=250).map(|number| exits(number % 200 + 1));
    let played = Script::new(commands).retries(249).play();
    for attempt in &played.history().attempts {
        let number = i32::try_from(attempt.attempt).expect("250 at most");
        assert_eq!(attempt.exit_code, Some(number % 200 + 1));
    }
}

/// The sentence at the end of a run.
fn message(script: Script) -> String {
    let played = script.play();
    let Some(Event::RunStopped(event)) = played.records.last().map(|last| &last.event) else {
        panic!("the last record tells the end: {:?}", played.records);
    };
    assert_eq!(played.history().message.as_ref(), Some(&event.message));
    event.message.clone()
}

#[test]
fn messages_say_what_the_attempts_have_in_common() {
    let mixed = Script::new([exits(7), exits(22)]).retries(1);
    assert_eq!(message(mixed), "gave up after 2 attempts in 5.2s: exit 22 (unlisted)");
    let killed = Script::new([dies(Signal::KILL)]).retries(1);
    assert_eq!(message(killed), "gave up after 2 attempts in 5.2s: SIGKILL each time (signal)");
    let status = ExitStatus::Signal { signal: Signal::SEGV, core_dumped: true };
    assert_eq!(
        message(Script::new([ends(status)]).retries(0)),
        "gave up after 1 attempt in 0.1s: SIGSEGV, core dumped (crash)"
    );
    // What was left out is unknown.
    let many = Script::new([exits(7)]).retries(110).policy(|policy| {
        policy.backoff.max_delay = secs(1.0);
    });
    assert_eq!(message(many), "gave up after 111 attempts in 2m 1s: exit 7 (unlisted)");
}

#[test]
fn how_many_attempts_there_can_be_is_known_at_any_time() {
    let commands = [exits(7), exits(0), exits(7), exits(0)];
    let scripted = Script::new(commands).retries(2).policy(|policy| policy.consecutive = 3);
    let played = scripted.play();
    let at = |count: usize| History::of(&played.records[..count]).expect("it has begun");
    let all = 1..=played.records.len();
    let most: Vec<Option<u64>> = all.map(|count| at(count).max_attempts()).collect();
    // Before the first attempt and while it runs; up to the end of the third; from there on.
    let expected = [vec![9; 2], vec![7; 6], vec![6; 11]].concat();
    assert_eq!(most, expected.into_iter().map(Some).collect::<Vec<_>>());

    let next = |count, trigger| at(count).max_attempts_with_next(trigger);
    assert_eq!(next(1, Trigger::Manual), Some(9), "there was no failure");
    assert_eq!((next(3, Trigger::Retry), next(3, Trigger::Manual)), (Some(7), Some(10)));
    assert_eq!(next(6, Trigger::Manual), Some(7), "it is in a row of successes");
    let unlimited = Script::new([exits(0)]).policy(|policy| policy.retries = Retries::Unlimited);
    assert_eq!(unlimited.play().history().max_attempts_with_next(Trigger::Manual), None);
}

#[test]
fn an_attempt_is_cut_by_a_limit_and_by_nothing_else() {
    let was_cut = |script: Script| script.retries(0).play().history().attempts[0].was_cut();
    assert!(was_cut(Script::new([hangs()]).timeout(secs(1.0))));
    assert!(was_cut(Script::new([hangs()]).deadline(secs(1.0))));
    assert!(!was_cut(Script::new([dies(Signal::TERM)]).timeout(secs(1.0))));
}

#[test]
fn a_run_of_which_the_start_is_damaged_has_no_command() {
    assert!(golden().history().start_is_known());
    assert!(!History::new(Timestamp::default(), RunStarted::default()).start_is_known());
}
