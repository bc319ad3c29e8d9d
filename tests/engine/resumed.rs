//! Going on with a run whose process died, from wherever it stood: with the right count, and the rest of its wait.

use std::time::Duration;

use retryrun::engine::Token::{Granted, Refused};
use retryrun::engine::classify::{PlacedRule, Rules};
use retryrun::engine::event::{EndedBy, Event, Outcome, Record, RunStarted, Trigger, Verdict};
use retryrun::engine::exit::Exit;
use retryrun::engine::history::{Attempt, Condensed, History};
use retryrun::engine::policy::{Policy, Retries};
use retryrun::engine::resume::{Stood, Unended};
use retryrun::engine::signal::Signal;
use retryrun::engine::{Action, Input, Run};

use serde_json::json;

use crate::sim::{Happening, Played, Script, default_policy, dies, exits, hangs, rule, secs};

/// What a run of the default policy has told when its process dies.
fn told_until(moment: Duration) -> Vec<Record> {
    Script::new([exits(7)]).dies_at(moment)
}

fn triggers(played: &Played) -> Vec<Trigger> {
    played.history().attempts.iter().map(|attempt| attempt.trigger).collect()
}

#[test]
fn before_the_first_attempt() {
    let mut told = told_until(Duration::ZERO);
    told.truncate(1);
    assert_eq!(Unended::of(&told).map(|unended| unended.stood), Some(Stood::Begun));
    let played = Script::new([exits(7), exits(0)]).go_on(&told, secs(60.0));
    played.shows(
        "60.000 run resumed
         60.000 start 1 (resumed)
         60.000 attempt 1 started
         60.100 attempt 1 ended: exit 7, transient (unlisted)
         60.100 retry 1 in 5s
         65.100 start 2 (retry)
         65.100 attempt 2 started
         65.200 attempt 2 ended: exit 0, success (success)
         65.200 run stopped: succeeded, status 0
         succeeded after 2 attempts in 1m 5s",
    );
    assert_eq!(played.history().retry_count, 1, "the first attempt is no retry");
}

#[test]
fn in_an_attempt() {
    let told = Script::new([exits(7), hangs()]).dies_at(secs(6.0));
    let played = Script::new([exits(7), exits(0)]).go_on(&told, secs(8.0));
    played.shows(
        "8.000 run resumed
         8.000 attempt 2 ended: lost, not judged (no reason)
         8.000 retry 2 in 7.1s
         15.100 start 3 (resumed)
         15.100 attempt 3 started
         15.200 attempt 3 ended: exit 7, transient (unlisted)
         15.200 retry 3 in 20s
         35.200 start 4 (retry)
         35.200 attempt 4 started
         35.300 attempt 4 ended: exit 0, success (success)
         35.300 run stopped: succeeded, status 0
         succeeded after 4 attempts in 35.3s",
    );
    let history = played.history();
    assert_eq!((history.retry_count, history.pid), (3, 5_000));
    let lost = &history.attempts[1];
    assert_eq!((lost.ended_by, lost.verdict), (Some(EndedBy::Lost), None));
    assert_eq!(lost.elapsed, Some(secs(2.9)), "no more than that");
}

#[test]
fn in_an_attempt_long_ago() {
    let told = Script::new([hangs()]).dies_at(secs(6.0));
    Script::new([exits(0)]).go_on(&told, secs(86_400.0)).shows(
        "86400.000 run resumed
         86400.000 attempt 1 ended: lost, not judged (no reason)
         86400.000 retry 1 in 0s
         86400.000 start 2 (resumed)
         86400.000 attempt 2 started
         86400.100 attempt 2 ended: exit 0, success (success)
         86400.100 run stopped: succeeded, status 0
         succeeded after 2 attempts in 1d",
    );
}

#[test]
fn behind_an_attempt() {
    let mut told = told_until(secs(0.1));
    assert!(matches!(told.pop(), Some(Record { event: Event::RetryPlanned(_), .. })));
    Script::new([exits(0)]).go_on(&told, secs(2.1)).shows(
        "2.100 run resumed
         2.100 retry 1 in 3s
         5.100 start 2 (resumed)
         5.100 attempt 2 started
         5.200 attempt 2 ended: exit 0, success (success)
         5.200 run stopped: succeeded, status 0
         succeeded after 2 attempts in 5.2s",
    );
}

#[test]
fn behind_the_last_attempt() {
    for (code, stopped) in [(0, "succeeded, status 0"), (7, "exhausted, status 7")] {
        let mut told = Script::new([exits(code)]).retries(0).play().records;
        assert!(matches!(told.pop(), Some(Record { event: Event::RunStopped(_), .. })));
        let played = Script::new([exits(9)]).retries(0).go_on(&told, secs(60.0));
        let expected = format!("60.000 run resumed\n60.000 run stopped: {stopped}\n");
        assert!(played.transcript.starts_with(&expected), "{}", played.transcript);
    }
}

#[test]
fn behind_an_attempt_that_was_stopped() {
    let mut told = Script::new([hangs()]).at(secs(2.0), Happening::Stop).play().records;
    told.pop();
    let played = Script::new([exits(0)]).go_on(&told, secs(60.0));
    assert_eq!((played.history().outcome, played.exit().code()), (Some(Outcome::Stopped), 143));
}

#[test]
fn in_a_wait() {
    Script::new([exits(7), exits(0)]).go_on(&told_until(secs(6.0)), secs(10.0)).shows(
        "10.000 run resumed
         15.200 start 3 (resumed)
         15.200 attempt 3 started
         15.300 attempt 3 ended: exit 7, transient (unlisted)
         15.300 retry 3 in 20s
         35.300 start 4 (retry)
         35.300 attempt 4 started
         35.400 attempt 4 ended: exit 0, success (success)
         35.400 run stopped: succeeded, status 0
         succeeded after 4 attempts in 35.4s",
    );
}

#[test]
fn the_rest_of_a_wait_is_never_more_than_was_planned_and_never_less_than_nothing() {
    let told = told_until(secs(6.0));
    let next_start = |elapsed: f64| {
        let played = Script::new([exits(0)]).go_on(&told, secs(elapsed));
        played.history().attempts[2].started_at
    };
    let began = told[0].at;
    // The calendar was set back, to before the wait or even the run began; then the wait goes on from its last known moment.
    for elapsed in [0.0, 5.0, 5.2, 10.0, 15.1] {
        assert_eq!(next_start(elapsed), began.plus(secs(15.2)), "{elapsed}");
    }
    // Nobody ran it for a while.
    for elapsed in [15.2, 60.0, 1e6] {
        assert_eq!(next_start(elapsed), began.plus(secs(elapsed)), "{elapsed}");
    }
}

#[test]
fn the_time_that_was_waited_adds_up() {
    let played = Script::new([exits(0)]).go_on(&told_until(secs(6.0)), secs(60.0));
    assert_eq!(played.history().waited, secs(15.0));
    let told = Script::new([hangs()]).dies_at(secs(1.0));
    let played = Script::new([exits(0)]).go_on(&told, secs(3.0));
    assert_eq!(played.history().waited, secs(2.0), "the rest of 5 seconds");
}

#[test]
fn the_limit_is_used_up_by_a_lost_attempt() {
    let told = Script::new([exits(7), hangs()]).retries(1).dies_at(secs(6.0));
    Script::new([exits(0)]).retries(1).go_on(&told, secs(60.0)).shows(
        "60.000 run resumed
         60.000 attempt 2 ended: lost, not judged (no reason)
         60.000 run stopped: exhausted, status 125
         gave up after 2 attempts in 1m: lost",
    );
}

#[test]
fn a_run_that_is_killed_again_and_again_ends() {
    let mut told = Script::new([hangs()]).dies_at(secs(1.0));
    let mut deaths = 1;
    loop {
        let elapsed = secs(100.0 * f64::from(deaths));
        let played = Script::new([exits(0)]).go_on(&told, elapsed);
        if played.history().outcome == Some(Outcome::Exhausted) {
            assert_eq!((deaths, played.history().last_number()), (4, 4), "the limit is 3 retries");
            return;
        }
        let is_start = |record: &Record| matches!(record.event, Event::AttemptStarted(_));
        let start = played.records.iter().position(is_start).expect("it goes on");
        told.extend(played.records.into_iter().take(start + 1));
        deaths += 1;
    }
}

#[test]
fn an_attempt_by_hand_that_is_lost_does_not_count() {
    let script = Script::new([exits(7), hangs()]).retries(1);
    let told = script.at(secs(1.0), Happening::RetryNow).dies_at(secs(2.0));
    let played = Script::new([exits(7)]).retries(1).go_on(&told, secs(60.0));
    assert_eq!(triggers(&played), [Trigger::First, Trigger::Manual, Trigger::Resumed]);
    assert_eq!(played.history().retry_count, 1);
    assert_eq!(played.history().outcome, Some(Outcome::Exhausted));
}

#[test]
fn an_attempt_by_hand_ends_the_rest_of_a_wait() {
    let script = Script::new([exits(7)]).retries(2).at(secs(11.0), Happening::RetryNow);
    let played = script.go_on(&told_until(secs(6.0)), secs(10.0));
    let expected = [Trigger::First, Trigger::Retry, Trigger::Manual, Trigger::Retry];
    assert_eq!(triggers(&played), expected);
    assert_eq!(played.history().retry_count, 2);
}

#[test]
fn a_stop_in_the_rest_of_a_wait_has_the_status_of_the_last_attempt() {
    let go_on = |command| {
        let told = Script::new([command]).dies_at(secs(2.0));
        Script::new([exits(0)]).at(secs(4.0), Happening::Stop).go_on(&told, secs(3.0))
    };
    let played = go_on(exits(7));
    assert_eq!((played.history().outcome, played.exit()), (Some(Outcome::Stopped), Exit::Code(7)));
    assert_eq!(go_on(dies(Signal::KILL)).exit(), Exit::Signal(Signal::KILL));
    // Nobody knows which status a lost one has.
    let told = Script::new([hangs()]).dies_at(secs(2.0));
    let played = Script::new([exits(0)]).at(secs(4.0), Happening::Stop).go_on(&told, secs(3.0));
    assert_eq!(played.exit(), Exit::Code(125));
}

#[test]
fn the_deadline_is_that_of_the_whole_run() {
    let told = || Script::new([exits(7), hangs()]).deadline(secs(12.0)).dies_at(secs(6.0));
    let go_on = |elapsed| Script::new([hangs()]).deadline(secs(12.0)).go_on(&told(), elapsed);
    go_on(secs(7.0)).shows(
        "7.000 run resumed
         7.000 attempt 2 ended: lost, not judged (no reason)
         7.000 run stopped: deadline, status 125
         gave up after 2 attempts in 7.0s: out of time, lost",
    );
    let told = Script::new([exits(7)]).deadline(secs(12.0)).dies_at(secs(2.0));
    Script::new([hangs()]).deadline(secs(12.0)).go_on(&told, secs(7.0)).shows(
        "7.000 run resumed
         7.000 start 2 (resumed)
         7.000 attempt 2 started
         12.000 attempt 2 cut: deadline
         12.000 kill SIGTERM
         12.000 attempt 2 ended: ended at the deadline, transient (timeout)
         12.000 run stopped: deadline, status 124
         gave up after 2 attempts in 12.0s: out of time, ended at the deadline (timeout)",
    );
    Script::new([hangs()]).deadline(secs(12.0)).go_on(&told, secs(60.0)).shows(
        "60.000 run resumed
         60.000 run stopped: deadline, status 7
         gave up after 1 attempt in 1m: out of time, exit 7 (unlisted)",
    );
}

#[test]
fn a_wait_that_the_policy_of_now_does_not_allow_is_not_gone_on_with() {
    let told = told_until(secs(6.0));
    let stopped = |script: Script| {
        let played = script.go_on(&told, secs(7.0));
        let history = played.history();
        (history.outcome, history.elapsed, played.exit(), history.waited)
    };
    let new = || Script::new([exits(0)]);
    let late = stopped(new().deadline(secs(15.0)));
    let at_once = secs(7.0);
    assert_eq!(late, (Some(Outcome::Deadline), at_once, Exit::Code(7), secs(6.8)));
    let fewer = stopped(new().retries(1));
    assert_eq!(fewer, (Some(Outcome::Exhausted), at_once, Exit::Code(7), secs(6.8)));
    let enough = stopped(new().retries(2));
    assert_eq!(enough.0, Some(Outcome::Succeeded));
    let more = Script::new([exits(7)]).policy(|policy| policy.retries = Retries::Limited(9));
    assert_eq!(more.go_on(&told, secs(7.0)).history().retry_count, 9);
}

#[test]
fn successes_in_a_row_go_on_being_counted() {
    let steady = |command| {
        Script::new([command]).policy(|policy| {
            policy.consecutive = 3;
        })
    };
    let told = steady(exits(0)).dies_at(secs(6.0));
    let played = steady(exits(0)).go_on(&told, secs(7.0));
    assert_eq!(triggers(&played), [Trigger::First, Trigger::Consecutive, Trigger::Resumed]);
    assert_eq!((played.history().retry_count, played.history().flaky), (0, false));
    // A lost one breaks the row.
    let told = Script::new([exits(0), hangs()]).policy(|policy| policy.consecutive = 3);
    let played = steady(exits(0)).go_on(&told.dies_at(secs(6.0)), secs(60.0));
    assert_eq!((played.history().last_number(), played.history().retry_count), (5, 1));
    assert!(played.history().flaky);
    // Fewer are enough now.
    let told = steady(exits(0)).dies_at(secs(6.0));
    let played = Script::new([exits(7)]).go_on(&told, secs(7.0));
    assert_eq!(
        (played.history().outcome, played.exit()),
        (Some(Outcome::Succeeded), Exit::Code(0))
    );
}

#[test]
fn only_an_attempt_that_was_seen_to_be_healthy_sets_the_count_to_zero() {
    let healthy = |command| {
        Script::new([command]).policy(|policy| policy.healthy_after = Some(secs(50.0))).retries(1)
    };
    let told = healthy(exits(7).after(secs(60.0))).dies_at(secs(62.0));
    let played = healthy(exits(7)).go_on(&told, secs(63.0));
    assert_eq!(played.history().retry_count, 1);
    let mut told = healthy(exits(7).after(secs(60.0))).dies_at(secs(60.0 + 5.0 + 60.0));
    told.pop();
    let played = healthy(exits(7)).go_on(&told, secs(126.0));
    assert_eq!(played.history().retry_count, 2, "the second was healthy, too");
    let told = Script::new([exits(7), hangs()]).retries(1).dies_at(secs(6.0));
    let played = healthy(exits(7)).go_on(&told, secs(6_000.0));
    assert_eq!(played.history().retry_count, 1, "nobody knows how long it ran");
}

#[test]
fn what_a_rule_orders_holds_also_where_it_decided_before() {
    let ruled = |retries: Option<u64>| {
        Script::new([exits(7)]).rules([(Verdict::Transient, "7")]).policy(|policy| {
            let mut rules: Vec<_> = policy.rules.iter().cloned().collect();
            for placed in &mut rules {
                placed.limit = retries;
                placed.delay = Some(secs(9.0));
            }
            policy.rules = Rules::new(rules);
        })
    };
    let mut told = ruled(Some(1)).dies_at(secs(0.1));
    told.pop();
    let played = ruled(Some(1)).go_on(&told, secs(0.1));
    assert_eq!((played.delays(), played.history().last_number()), (vec![secs(9.0)], 2));
    let played = ruled(Some(0)).go_on(&told, secs(0.1));
    assert_eq!(played.history().last_number(), 1);
}

#[test]
fn the_rule_that_decided_before_is_known_by_its_text_and_its_place() {
    let placed = |text: &str, origin: &'static str, limit| PlacedRule {
        origin: origin.into(),
        limit,
        ..rule(Verdict::Transient, text)
    };
    let scripted = Script::new([exits(7)]).retries(1).policy(|policy| {
        let strict = [placed("8", "flag", Some(0)), placed("7", "a.toml", Some(0))];
        let rules = [strict.to_vec(), vec![placed("7", "flag", None)]].concat();
        policy.rules = Rules::new(rules);
    });
    let told = Script::new([exits(7)]).rules([(Verdict::Transient, "7")]).dies_at(secs(0.1));
    let played = scripted.go_on(&told[..3], secs(0.1));
    assert_eq!(played.history().last_number(), 2, "{}", played.transcript);
}

#[test]
fn a_wait_that_was_over_in_time_is_not_too_late() {
    let told = told_until(secs(0.1));
    let played = Script::new([exits(0)]).deadline(secs(60.0)).go_on(&told[..3], secs(59.0));
    assert_eq!(played.history().outcome, Some(Outcome::Succeeded), "{}", played.transcript);
}

#[test]
fn what_differs_is_told() {
    let told = told_until(secs(6.0));
    let resumed = |script: Script| {
        let played = script.go_on(&told, secs(7.0));
        let first = played.transcript.lines().next().map(str::to_owned);
        first.expect("it is told")
    };
    assert_eq!(resumed(Script::new([exits(0)])), "7.000 run resumed");
    let changed = resumed(Script::new([exits(0)]).timeout(secs(3.0)));
    assert_eq!(changed, "7.000 run resumed, changed: policy");
}

#[test]
fn another_policy_is_told_though_its_summary_is_the_same() {
    let told = told_until(secs(6.0));
    let Event::RunStarted(identity) = &told[0].event else { panic!("it begins with its start") };
    let changed = |before: Policy| {
        let mut unended = Unended::of(&told).expect("it has not ended");
        unended.policy = Some(before);
        let identity = RunStarted::clone(identity);
        let mut run = Run::resume(default_policy(), identity, unended, secs(7.0));
        match run.handle(run.now(), Input::Begin).first() {
            Some(Action::Tell(Record { event: Event::RunResumed(event), .. })) => {
                event.changed.clone()
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(changed(default_policy()).is_empty());
    let rules = Rules::new(vec![rule(Verdict::Permanent, "7")]);
    assert_eq!(changed(Policy { rules, ..default_policy() }), ["policy"]);
}

#[test]
fn policies_that_decide_alike_are_one() {
    let with = |text: &str, origin: &'static str| {
        let placed = PlacedRule { origin: origin.into(), ..rule(Verdict::Transient, text) };
        Policy { rules: Rules::new(vec![placed]), ..default_policy() }
    };
    let policy = with("7", "flag");
    let mut other = with("7", "a.toml:3");
    other.origin = "a.toml:1".to_owned();
    other.backoff.seed = 7;
    assert!(policy.decides_as(&other) && policy != other);
    assert!(!policy.decides_as(&with("8", "flag")));
    let asking = |place: &str| Policy { retry_if: Some(place.to_owned()), ..policy.clone() };
    assert!(asking("flag").decides_as(&asking("a.toml:3")) && !asking("flag").decides_as(&policy));
    assert!(!policy.decides_as(&Policy { timeout: Some(secs(1.0)), ..policy.clone() }));
}

#[test]
fn the_records_of_both_processes_give_back_the_history() {
    let mut told = Script::new([exits(7), hangs()]).dies_at(secs(6.0));
    let played = Script::new([exits(7)]).go_on(&told, secs(60.0));
    told.extend(played.records.iter().cloned());
    assert_eq!(History::of(&told).as_ref(), Some(played.history()));
    assert!(Unended::of(&told).is_none(), "it has ended");
    let times: Vec<Duration> = told.iter().map(|record| record.t).collect();
    assert!(times.is_sorted());
}

#[test]
fn a_lost_attempt_is_retried_at_the_cost_of_a_token() {
    let told = told_until(secs(0.05));
    let refused = Script::new([exits(0)]).paying([Refused]).go_on(&told, secs(60.0));
    let outcome = refused.history().outcome;
    assert_eq!((outcome, refused.history().last_number()), (Some(Outcome::Budget), 1));
    let granted = Script::new([exits(0)]).paying([Granted]).go_on(&told, secs(60.0));
    assert_eq!(triggers(&granted), [Trigger::First, Trigger::Resumed]);
    assert_eq!(granted.history().retry_count, 1);
    // Which is given back where it is made by hand, and not where the wait is broken off.
    let told = told_until(secs(5.2));
    let waiting = Script::new([exits(0)]).paying([Granted]);
    for (happening, gives_back) in [(Happening::RetryNow, true), (Happening::Stop, false)] {
        let told = &told[..told.len() - 1];
        let played = waiting.clone().at(secs(5.5), happening).go_on(told, secs(5.2));
        let transcript = &played.transcript;
        assert!(transcript.contains("< Granted"), "{transcript}");
        assert_eq!(transcript.contains("put back: Token"), gives_back, "{transcript}");
    }
}

#[test]
fn a_history_that_was_condensed_is_gone_on_with_like_its_records() {
    let scripted = Script::new([exits(7), exits(7), exits(0)]);
    let told = scripted.policy(|policy| policy.consecutive = 3).dies_at(secs(16.0));
    let whole = Unended::of(&told).expect("it has not ended");
    assert!(whole.history.successes == 1 && whole.history.retries_used == 2);
    for count in 1..=told.len() {
        let (before, after) = told.split_at(count);
        let history = History::of(before).expect("it has begun");
        let json = serde_json::to_string(&Condensed::from(&history)).expect("plain data");
        let condensed: Condensed = serde_json::from_str(&json).expect("it was just written");
        let read = History::from(condensed);
        assert_eq!(read, history);
        let unended = Unended::after(read, after).expect("it has not ended");
        assert_eq!(unended.history, whole.history);
        assert!(after.is_empty() || unended.last == whole.last);
    }
}

#[test]
fn whatever_numbers_a_journal_says_nothing_is_counted_past_the_largest() {
    let scripted = Script::new([exits(0)]).policy(|policy| policy.retries = Retries::Unlimited);
    let told = Script::new([exits(7), exits(0)]).play().records;
    let most = |mut history: History| {
        history.retry_count = u64::MAX;
        history.retries_used = u64::MAX;
        let Attempt { rule, rule_origin, .. } = &history.attempts[0];
        let most = json!([{ "rule": rule, "rule_origin": rule_origin, "retries": u64::MAX }]);
        history.retries_by_rule = serde_json::from_value(most).expect("a tally");
        history.attempts_omitted = u64::MAX;
        history.successes = u64::MAX;
        history
    };
    // The retry begins again and again, until none is kept any more, and succeeds.
    let mut history = most(History::of(&told[..4]).expect("it has begun"));
    let (retry, success) = (&told[4], &told[5]);
    for _ in 0..120 {
        history.apply(retry);
    }
    history.apply(success);
    assert!(history.max_attempts().is_some());
    let counts = [history.retry_count, history.attempts_omitted];
    assert_eq!((counts, history.successes), ([u64::MAX; 2], u64::MAX));
    // What has failed is retried, as the count has no limit.
    let unended = Unended::after(most(History::of(&told[..2]).expect("it has begun")), &told[2..3]);
    let unended = unended.expect("it has not ended");
    let identity = RunStarted::default();
    let mut run = Run::resume(scripted.policy, identity, unended, secs(1.0));
    let planned = run.handle(run.now(), Input::Begin).into_iter().find_map(|action| match action {
        Action::Tell(Record { event: Event::RetryPlanned(event), .. }) => Some(event.retry),
        _ => None,
    });
    assert_eq!(planned, Some(u64::MAX));
}
