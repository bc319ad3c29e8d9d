//! Laws of the waits: every one lies within its bounds, and chance spreads them evenly there.

use std::time::Duration;

use proptest::prelude::{Strategy, any};
use proptest::{prop_assert, prop_assert_eq, proptest};

use retryrun::engine::backoff::{Backoff, Jitter, Shape, Waits};
use retryrun::engine::event::{Event, Trigger};
use retryrun::engine::policy::Policy;
use retryrun::engine::time::to_micros;

use super::{arbitrary, cases, decides};
use crate::sim::{Script, exits, secs};

/// Where a wait must lie by its kind of jitter; `previous` is the wait before it.
fn bounds(backoff: &Backoff, retry: u64, previous: Option<Duration>) -> (Duration, Duration) {
    let without = |waits: &Waits, max_delay| Backoff {
        waits: waits.clone(),
        max_delay,
        jitter: Jitter::None,
        seed: 0,
    };
    let max = backoff.max_delay;
    let x = without(&backoff.waits, max).delay(retry, None);
    match backoff.jitter {
        Jitter::None => (x, x),
        Jitter::Full => (Duration::ZERO, x),
        Jitter::Equal => (x / 2, x),
        Jitter::Percent(percent) => {
            let part = |sign: f64| {
                let seconds = x.as_secs_f64() * (1.0 + sign * percent / 100.0);
                Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
            };
            // What doubles lose of the last digits.
            let slack = x / 1_000_000_000 + Duration::from_nanos(1);
            let low = part(-1.0).saturating_sub(slack);
            (low, part(1.0).saturating_add(slack).min(max))
        }
        Jitter::Decorrelated => {
            let first = without(&backoff.waits, Duration::MAX).delay(0, None);
            let high = previous.unwrap_or(first).saturating_mul(3).max(first);
            (first.min(max), high.min(max))
        }
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn every_wait_of_a_run_lies_within_its_bounds(script in arbitrary::script()) {
        let Policy { backoff, rules, .. } = script.policy.clone();
        let (mut previous, mut decided) = (None, None);
        for record in script.play().records {
            if let Event::AttemptEnded(event) = &record.event {
                decided = rules.iter().find(|placed| decides(placed, &event.judgement));
            }
            if let Event::RetryPlanned(event) = record.event {
                if event.trigger == Trigger::Consecutive {
                    prop_assert_eq!(event.delay, to_micros(backoff.first()));
                    continue;
                }
                if let Some(delay) = decided.and_then(|placed| placed.delay) {
                    prop_assert_eq!(event.delay, to_micros(delay.min(backoff.max_delay)));
                    previous = Some(event.delay);
                    continue;
                }
                previous = previous.filter(|_| event.retry > 1);
                let (low, high) = bounds(&backoff, event.retry - 1, previous);
                // A run keeps microseconds.
                prop_assert!(to_micros(low) <= event.delay, "{:?} < {low:?}", event.delay);
                prop_assert!(event.delay <= high, "{:?} > {high:?}", event.delay);
                previous = Some(event.delay);
            }
        }
    }

    #[test]
    fn every_wait_lies_within_its_bounds_however_many_came_before(
        backoff in arbitrary::backoff(),
        retry in any::<u64>(),
        previous in proptest::option::of(arbitrary::duration()),
    ) {
        let delay = backoff.delay(retry, previous);
        let (low, high) = bounds(&backoff, retry, previous);
        prop_assert!(low <= delay && delay <= high, "{low:?} {delay:?} {high:?}");
        prop_assert!(delay <= backoff.max_delay);
    }

    #[test]
    fn the_same_seed_gives_the_same_waits_however_long_the_command_takes(
        backoff in arbitrary::backoff(),
        lasts in (0_u64..10_000).prop_map(Duration::from_millis),
    ) {
        let waits = |lasts| {
            let scripted = Script::new([exits(7).after(lasts)]).retries(5);
            scripted.policy(|policy| policy.backoff = backoff.clone()).play().delays()
        };
        prop_assert_eq!(waits(lasts), waits(Duration::ZERO));
    }
}

/// The first waits of 10,000 seeds, in seconds, in order of length.
fn first_waits(jitter: Jitter, max_delay: Duration) -> Vec<f64> {
    let wait = |seed| {
        let backoff = Backoff {
            waits: Waits::Grown { shape: Shape::Exponential, delay: secs(10.0), multiplier: 2.0 },
            max_delay,
            jitter,
            seed,
        };
        backoff.delay(0, None).as_secs_f64()
    };
    let mut waits: Vec<f64> = (0..10_000).map(wait).collect();
    waits.sort_by(f64::total_cmp);
    waits
}

#[test]
fn chance_spreads_the_waits_evenly_over_their_interval() {
    for (jitter, low, high) in [
        (Jitter::Full, 0.0, 10.0),
        (Jitter::Equal, 5.0, 10.0),
        (Jitter::Percent(20.0), 8.0, 12.0),
        (Jitter::Percent(100.0), 0.0, 20.0),
        (Jitter::Decorrelated, 10.0, 30.0),
    ] {
        let waits = first_waits(jitter, secs(300.0));
        let width = high - low;
        let mean = waits.iter().sum::<f64>() / 10_000.0;
        // Five standard errors of a uniform distribution.
        let error = 5.0 * width / 12_f64.sqrt() / 100.0;
        assert!((mean - low - width / 2.0).abs() < error, "{jitter}: {mean}");
        for (place, wait) in (0..).zip(&waits) {
            // Kolmogorov's distance: chance passes 2 / sqrt(n) once in 1,500 sets of seeds, and these are fixed.
            let even = low + width * f64::from(place) / 10_000.0;
            assert!((wait - even).abs() < width * 0.02, "{jitter}: {wait}");
            assert!((low..=high).contains(wait), "{jitter}: {wait}");
        }
    }
}

#[test]
fn the_cap_holds_after_the_jitter_too() {
    let waits = first_waits(Jitter::Percent(20.0), secs(10.0));
    let capped = waits.iter().filter(|wait| **wait == 10.0).count();
    assert!((4_700..5_300).contains(&capped), "half of them: {capped}");
    let waits = first_waits(Jitter::Decorrelated, secs(15.0));
    assert_eq!(waits.last(), Some(&15.0));
}
