//! What the status line says: pure text, narrower than the terminal. Where it stands, and when, is the driver's.

use std::time::Duration;

use super::columns::{cut, width};
use super::log::counted;
use super::text::harmless;
use crate::engine::history::{Attempt, History};
use crate::engine::time::human;

/// What keys do, from wordy to short.
const KEYS: [&str; 2] = [" - r: now, q: give up", " [r/q]"];

/// The least of a reason that is worth its place.
const LEAST: usize = 16;

/// What turns while an attempt runs.
const SPINNER: [char; 4] = ['|', '/', '-', '\\'];

/// What the line may take up.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// The terminal's width.
    pub columns: usize,
    /// Whether somebody can press keys.
    pub takes_keys: bool,
}

/// During a wait: which attempt comes, when, and why. Empty where there is no room even for the time.
#[must_use]
pub fn waiting(history: &History, remaining: Duration, room: Room) -> String {
    let seconds = human(whole_seconds(remaining));
    let what =
        format!("{} in {seconds}", counted(history.last_number().saturating_add(1), history));
    let head = format!("retryrun: {what}");
    let why = history.last_attempt().map(why).unwrap_or_default();
    let keys = if room.takes_keys { KEYS } else { [""; 2] };
    let with_why = keys.iter().filter_map(|keys| {
        let taken = width(&head) + width(": ") + width(keys);
        let free = room.most().checked_sub(taken)?;
        (free >= LEAST.min(width(&why))).then(|| format!("{head}: {}{keys}", cut(&why, free)))
    });
    let [_, keys] = keys;
    let without = [format!("{head}{keys}"), format!("{what}{keys}"), what.clone(), seconds];
    with_why.chain(without).find(|text| room.fits(text)).unwrap_or_default()
}

/// While an attempt runs: which, and its age. `turn` turns the spinner.
#[must_use]
pub fn attempting(
    attempt: u64,
    history: &History,
    age: Duration,
    turn: u128,
    room: Room,
) -> String {
    let age = human(Duration::from_secs(age.as_secs()));
    let spinner = SPINNER.get((turn % 4) as usize).unwrap_or(&'|');
    let what = format!("{} running for {age} {spinner}", counted(attempt, history));
    let texts = [format!("retryrun: {what}"), what, format!("{age} {spinner}"), age];
    texts.into_iter().find(|text| room.fits(text)).unwrap_or_default()
}

/// How long until the line of a wait says something else.
#[must_use]
pub fn until_change(remaining: Duration) -> Duration {
    const SECOND: Duration = Duration::from_secs(1);
    if remaining.is_zero() {
        return SECOND;
    }
    remaining - whole_seconds(remaining).saturating_sub(SECOND)
}

/// Rounded up: it is over when it says nought.
fn whole_seconds(remaining: Duration) -> Duration {
    let begun = u64::from(remaining.subsec_nanos() > 0);
    Duration::from_secs(remaining.as_secs().saturating_add(begun))
}

/// `exit 7 (connect)`.
fn why(attempt: &Attempt) -> String {
    let ending = harmless(&attempt.ending());
    match &attempt.reason {
        Some(reason) => format!("{ending} ({})", harmless(reason)),
        None => ending,
    }
}

impl Room {
    /// The last column stays free: a terminal that is written to its edge may begin another row.
    fn most(self) -> usize {
        self.columns.saturating_sub(1)
    }

    fn fits(self, text: &str) -> bool {
        width(text) <= self.most()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::Trigger;
    use crate::report::sample::{Sample, hostile};

    const WIDTHS: [usize; 9] = [200, 80, 60, 52, 40, 20, 19, 5, 0];

    fn room(columns: usize) -> Room {
        Room { columns, takes_keys: true }
    }

    fn failed(reason: Option<&str>) -> History {
        let mut history = Sample::of(&["curl"]).attempts(1).history;
        if let Some(attempt) = history.attempts.last_mut() {
            attempt.reason = reason.map(str::to_owned);
        }
        history
    }

    fn shown(history: &History, remaining: Duration) -> [String; 9] {
        WIDTHS.map(|columns| {
            let text = waiting(history, remaining, room(columns));
            assert!(width(&text) < columns.max(1), "{columns}: {text}");
            text
        })
    }

    #[test]
    fn a_wait_says_as_much_as_there_is_room_for() {
        let history = failed(Some("connect"));
        let texts = shown(&history, Duration::from_millis(11_200));
        let all = "retryrun: attempt 2/4 in 12s: exit 7 (connect) - r: now, q: give up";
        let short = "retryrun: attempt 2/4 in 12s: exit 7 (connect) [r/q]";
        assert_eq!(
            texts,
            [
                all,
                all,
                short,
                "retryrun: attempt 2/4 in 12s [r/q]",
                "retryrun: attempt 2/4 in 12s [r/q]",
                "attempt 2/4 in 12s",
                "attempt 2/4 in 12s",
                "12s",
                "",
            ]
        );
    }

    #[test]
    fn keys_that_nobody_hears_are_not_offered() {
        let history = failed(Some("connect"));
        let texts = [80, 40, 20].map(|columns| {
            let room = Room { columns, takes_keys: false };
            waiting(&history, Duration::from_secs(12), room)
        });
        assert_eq!(
            texts,
            [
                "retryrun: attempt 2/4 in 12s: exit 7 (connect)",
                "retryrun: attempt 2/4 in 12s",
                "attempt 2/4 in 12s"
            ]
        );
    }

    #[test]
    fn a_long_reason_is_cut() {
        let history = failed(Some("the server says that it is overloaded"));
        let [_, text, ..] = shown(&history, Duration::from_secs(12));
        assert_eq!(
            text,
            "retryrun: attempt 2/4 in 12s: exit 7 (the server says t... - r: now, q: give up"
        );
    }

    #[test]
    fn hostile_text_stays_harmless_and_in_its_row() {
        for text in shown(&hostile(), Duration::from_secs(12)) {
            assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
            assert!(!text.contains('\u{202e}') && !text.contains("##["), "{text:?}");
        }
        let wide = failed(Some(&"長い".repeat(40)));
        let combining = failed(Some(&"e\u{301}👩\u{200d}💻".repeat(20)));
        for history in [wide, combining] {
            shown(&history, Duration::from_secs(12));
        }
    }

    #[test]
    fn a_run_without_limit_has_no_last_attempt() {
        let mut history = failed(None);
        history.max_retries = None;
        let [text, ..] = shown(&history, Duration::from_secs(90_061));
        assert_eq!(text, "retryrun: attempt 2 in 1d 1h 1m 1s: exit 7 - r: now, q: give up");
        history.attempts[0].attempt = u64::MAX - 1;
        let [text, ..] = shown(&history, Duration::MAX);
        assert!(text.starts_with("retryrun: attempt 18446744073709551615 in "), "{text}");
    }

    #[test]
    fn the_last_second_is_shown_to_its_end() {
        let history = failed(None);
        let at = |milliseconds| {
            let remaining = Duration::from_millis(milliseconds);
            let text = waiting(&history, remaining, room(20));
            (text.rsplit(' ').next().map(str::to_owned), until_change(remaining).as_millis())
        };
        assert_eq!(at(2_000), (Some("2s".into()), 1_000));
        assert_eq!(at(1_999), (Some("2s".into()), 999));
        assert_eq!(at(1), (Some("1s".into()), 1));
        assert_eq!(at(0), (Some("0s".into()), 1_000));
    }

    #[test]
    fn an_attempt_has_an_age() {
        let history = Sample::of(&["curl"]).start(Trigger::First).history;
        let at = |columns, turn| {
            attempting(1, &history, Duration::from_millis(61_900), turn, room(columns))
        };
        assert_eq!(at(80, 0), "retryrun: attempt 1/4 running for 1m 1s |");
        assert_eq!(at(80, 5), "retryrun: attempt 1/4 running for 1m 1s /");
        assert_eq!(at(40, 0), "attempt 1/4 running for 1m 1s |");
        assert_eq!(at(20, 0), "1m 1s |");
        assert_eq!(at(5, 0), "");
    }
}
