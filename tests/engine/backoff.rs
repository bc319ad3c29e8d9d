//! The waits: shapes, cap, lists, and what the words for them are.

use std::time::Duration;

use retryrun::engine::backoff::{Backoff, Jitter, Shape, Waits, chance};
use retryrun::engine::policy::{Attempts, Consecutive, Retries};
use retryrun::engine::time::to_micros;

use crate::sim::{Script, exits, secs};

/// Waits that grow, without cap or jitter.
fn grown(shape: Shape, delay: f64, multiplier: f64) -> Backoff {
    let waits = Waits::Grown { shape, delay: secs(delay), multiplier };
    plain(waits)
}

fn plain(waits: Waits) -> Backoff {
    Backoff { waits, max_delay: Duration::MAX, jitter: Jitter::None, seed: 0 }
}

/// The waits, in seconds, of a run in which nothing succeeds.
fn waits(retries: u64, backoff: Backoff) -> Vec<f64> {
    let scripted = Script::new([exits(7)]).retries(retries);
    let played = scripted.policy(|policy| policy.backoff = backoff).play();
    let delays = played.delays();
    let history = played.history();
    assert_eq!(history.waited, delays.iter().sum());
    assert_eq!(history.retry_count, retries);
    delays.iter().map(Duration::as_secs_f64).collect()
}

#[test]
fn exponential_waits_grow_by_the_multiplier() {
    let exponential = |delay, multiplier| grown(Shape::Exponential, delay, multiplier);
    assert_eq!(waits(3, exponential(5.0, 2.0)), [5.0, 10.0, 20.0]);
    assert_eq!(waits(5, exponential(3.0, 1.5)), [3.0, 4.5, 6.75, 10.125, 15.1875]);
    assert_eq!(waits(3, exponential(5.0, 1.0)), [5.0, 5.0, 5.0]);
    assert_eq!(waits(3, exponential(0.0, 2.0)), [0.0, 0.0, 0.0]);
    assert_eq!(waits(0, exponential(5.0, 2.0)), [0.0; 0]);
}

#[test]
fn no_wait_is_longer_than_the_cap() {
    let capped = Backoff { max_delay: secs(120.0), ..grown(Shape::Exponential, 15.0, 2.0) };
    assert_eq!(waits(3, capped.clone()), [15.0, 30.0, 60.0]);
    assert_eq!(waits(6, capped), [15.0, 30.0, 60.0, 120.0, 120.0, 120.0]);
    let capped = Backoff { max_delay: secs(2.0), ..grown(Shape::Constant, 5.0, 2.0) };
    assert_eq!(waits(2, capped), [2.0, 2.0]);
}

#[test]
fn constant_linear_and_fibonacci_waits() {
    let three = |shape| grown(shape, 3.0, 2.0);
    assert_eq!(waits(4, three(Shape::Constant)), [3.0, 3.0, 3.0, 3.0]);
    assert_eq!(waits(4, three(Shape::Linear)), [3.0, 6.0, 9.0, 12.0]);
    assert_eq!(waits(7, three(Shape::Fibonacci)), [3.0, 3.0, 6.0, 9.0, 15.0, 24.0, 39.0]);
}

#[test]
fn of_listed_waits_the_last_repeats() {
    let listed = plain(Waits::Listed(vec![secs(1.0), secs(60.0), secs(0.5)]));
    assert_eq!(waits(5, listed.clone()), [1.0, 60.0, 0.5, 0.5, 0.5]);
    let capped = Backoff { max_delay: secs(10.0), ..listed };
    assert_eq!(waits(3, capped), [1.0, 10.0, 0.5]);
}

#[test]
fn decorrelated_jitter_starts_from_the_first_wait_whatever_the_shape() {
    let decorrelated = |waits| {
        let jitter = Jitter::Decorrelated;
        let backoff = Backoff { jitter, ..plain(waits) };
        backoff.schedule().take(5).collect::<Vec<_>>()
    };
    let listed = decorrelated(Waits::Listed(vec![secs(2.0), secs(50.0)]));
    let linear = decorrelated(grown(Shape::Linear, 2.0, 1.0).waits);
    assert_eq!(listed, linear);
}

#[test]
fn waits_saturate_at_the_cap() {
    let waits = [
        grown(Shape::Linear, 1e18, 1.0).waits,
        grown(Shape::Exponential, 1e-9, f64::MAX).waits,
        grown(Shape::Fibonacci, 1e-9, 1.0).waits,
    ];
    for waits in waits {
        let backoff = plain(waits);
        assert_eq!(backoff.delay(u64::MAX, None), Duration::MAX);
        let capped = Backoff { max_delay: secs(7.0), ..backoff };
        assert_eq!(capped.delay(u64::MAX, Some(Duration::MAX)), secs(7.0));
    }
}

#[test]
fn a_schedule_is_what_a_run_waits() {
    for jitter in ["none", "full", "equal", "decorrelated", "10%"] {
        let backoff = Backoff {
            jitter: jitter.parse().expect("well formed"),
            max_delay: secs(60.0),
            ..grown(Shape::Exponential, 2.0, 2.0)
        };
        let planned: Vec<Duration> = backoff.schedule().take(8).collect();
        assert_eq!(planned.len(), 8);
        for (waited, planned) in waits(8, backoff).into_iter().zip(planned) {
            // A run keeps microseconds.
            let difference = (waited - planned.as_secs_f64()).abs();
            assert!(difference < 1e-5, "{jitter}: {waited} {planned:?}");
        }
    }
}

#[test]
fn chance_is_the_published_generator() {
    // The first outputs of the reference implementation for the seed 1234567, cut to 53 bits.
    for (n, output) in [(0, 6_457_827_717_110_365_317_u64), (1, 3_203_168_211_198_807_973)] {
        let upper = (output >> 11) as f64;
        assert_eq!(chance(1_234_567, n), upper / (1_u64 << 53) as f64);
    }
}

#[test]
fn words_for_jitter() {
    for (text, jitter) in [
        ("none", Jitter::None),
        ("full", Jitter::Full),
        ("equal", Jitter::Equal),
        ("decorrelated", Jitter::Decorrelated),
        ("0%", Jitter::Percent(0.0)),
        ("12.5%", Jitter::Percent(12.5)),
        ("100%", Jitter::Percent(100.0)),
    ] {
        assert_eq!(text.parse(), Ok(jitter));
        assert_eq!(jitter.to_string(), text);
    }
    for text in ["", "%", ".%", "10", "101%", "-1%", "+1%", "NaN%", "1e1%", "Full", "10 %"] {
        assert!(text.parse::<Jitter>().is_err(), "{text}");
    }
}

#[test]
fn words_for_the_limit_on_retries() {
    for (text, retries) in [
        ("0", Retries::Limited(0)),
        ("18446744073709551615", Retries::Limited(u64::MAX)),
        ("unlimited", Retries::Unlimited),
        ("inf", Retries::Unlimited),
    ] {
        assert_eq!(text.parse(), Ok(retries));
        assert_eq!(retries.to_string(), text.replace("inf", "unlimited"));
    }
    for text in ["", "-1", "+1", "1.0", " 1", "18446744073709551616", "infinite"] {
        assert!(text.parse::<Retries>().is_err(), "{text}");
        assert!(text.parse::<Attempts>().is_err(), "{text}");
    }
    let retries = |text: &str| text.parse::<Attempts>().map(Attempts::retries);
    assert_eq!(retries("1"), Ok(Retries::Limited(0)));
    assert_eq!(retries("inf"), Ok(Retries::Unlimited));
    assert!(retries("0").is_err());
    let shown = |text: &str| text.parse::<Attempts>().map(|attempts| attempts.to_string());
    assert_eq!((shown("3"), shown("inf")), (Ok("3".to_owned()), Ok("unlimited".to_owned())));
}

#[test]
fn words_for_successes_in_a_row() {
    for count in [1, 2, u64::MAX] {
        let text = count.to_string();
        assert_eq!(text.parse(), Ok(Consecutive(count)));
        assert_eq!(Consecutive(count).to_string(), text);
    }
    for text in ["", "0", "-1", "+1", "inf", "18446744073709551616"] {
        assert!(text.parse::<Consecutive>().is_err(), "{text}");
    }
}

#[test]
fn no_wait_stays_none_and_a_factor_of_one_changes_nothing() {
    // Where the factor is infinite, and where a double has not as many digits as the wait.
    for (delay, multiplier) in [(Duration::ZERO, 2.0), (Duration::new(u64::MAX, 1), 1.0)] {
        let waits = Waits::Grown { shape: Shape::Exponential, delay, multiplier };
        let backoff = Backoff { waits, max_delay: Duration::MAX, jitter: Jitter::None, seed: 0 };
        assert_eq!(backoff.delay(5_000, None), delay);
    }
}

#[test]
fn a_new_count_knows_no_wait_before_it() {
    let scripted = Script::new([exits(1).after(secs(60.0))]).policy(|policy| {
        policy.healthy_after = Some(secs(60.0));
        policy.backoff.jitter = Jitter::Decorrelated;
        policy.deadline = Some(secs(600.0));
    });
    let first = to_micros(scripted.policy.backoff.delay(0, None));
    let delays = scripted.play().delays();
    assert!(delays.len() > 3 && delays.iter().all(|delay| *delay == first), "{delays:?}");
}
