//! The timeline of a run: its attempts and waits in order, and where each lies between the run's start and its end.
//!
//! How it is drawn is each report's own.

use std::iter;
use std::time::Duration;

use crate::engine::event::Trigger;
use crate::engine::history::{Attempt, History};

/// A wait that was planned as none is told of only if it lasted longer: our own work between two attempts is no wait.
const NOTICEABLE: Duration = Duration::from_millis(100);

/// Distances between marks on a scale that people can count in, in milliseconds; from the last on they double.
const STEPS: [u64; 27] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000,
    120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 10_800_000, 21_600_000,
    43_200_000, 86_400_000,
];

/// The rows of a run's timeline, and its scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline<'a> {
    /// In the order in which they began.
    pub rows: Vec<Row<'a>>,
    /// How long the run lasted. Of one that has not ended: as far as is known or planned.
    pub length: Duration,
}

/// Something that took time.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// What it was.
    pub what: What<'a>,
    /// When it began, since the run did.
    pub start: Duration,
    /// When it ended, since the run began. Of what still lasts: the end of the timeline.
    pub end: Duration,
    /// Whether it has ended: else its length is not known.
    pub is_over: bool,
}

/// What can take time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What<'a> {
    /// The command ran.
    Attempt(&'a Attempt),
    /// A wait for the next attempt.
    Wait {
        /// How long it was to last.
        planned: Duration,
        /// Whether it ended earlier: the run was told to stop, or somebody asked for the next attempt.
        is_cut_short: bool,
    },
    /// Attempts of which nothing was kept, and the waits between them.
    Omitted {
        /// How many.
        attempts: u64,
    },
}

impl<'a> Timeline<'a> {
    /// The timeline of a run.
    ///
    /// A run that has not ended is as long as its `elapsed` says, where the caller has set that, and at least as long as what is
    /// known of it.
    #[must_use]
    pub fn of(history: &'a History) -> Timeline<'a> {
        let mut rows: Vec<Row<'a>> = Vec::with_capacity(history.attempts.len() * 2);
        // From the last one back: only what came after an attempt shows when it must have ended.
        let mut next: Next<'_> = None;
        for attempt in history.attempts.iter().rev() {
            let row = attempt_row(attempt, next, history);
            rows.extend(row_after(attempt, row.end, next, history));
            next = Some((attempt, row.start));
            rows.push(row);
        }
        rows.reverse();
        let known = rows.iter().map(|row| row.end).max().unwrap_or_default();
        let length = known.max(history.elapsed);
        for row in rows.iter_mut().filter(|row| row.still_lasts()) {
            row.end = length;
        }
        Timeline { rows, length }
    }

    /// The rows that belong on one line where a line is an attempt: each attempt with the wait after it.
    pub fn lines(&self) -> impl Iterator<Item = &[Row<'a>]> {
        self.rows.chunk_by(|_, next| matches!(next.what, What::Wait { .. }))
    }

    /// Where a moment lies on the way from the run's start to its end, from 0 to 1.
    #[must_use]
    pub fn place(&self, moment: Duration) -> f64 {
        if self.length.is_zero() {
            return 0.0;
        }
        (moment.as_secs_f64() / self.length.as_secs_f64()).min(1.0)
    }

    /// A row's part of the run, from 0 to 1.
    #[must_use]
    pub fn share(&self, row: &Row<'_>) -> f64 {
        self.place(row.length())
    }

    /// Marks for a scale: 0 and round moments in equal distances, not past the end, and no more than `most` after the 0.
    #[must_use]
    pub fn marks(&self, most: u32) -> Vec<Duration> {
        let longer = iter::successors(STEPS.last().copied(), |step| step.checked_mul(2)).skip(1);
        let mut steps = STEPS.into_iter().chain(longer).map(Duration::from_millis);
        let Some(step) = steps.find(|step| step.saturating_mul(most) >= self.length) else {
            return vec![Duration::ZERO];
        };
        let marks = iter::successors(Some(Duration::ZERO), |mark| mark.checked_add(step));
        marks.take_while(|mark| *mark <= self.length).collect()
    }
}

impl Row<'_> {
    /// How long it lasted.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.end.saturating_sub(self.start)
    }

    /// Whether it goes on now. Of an attempt that was lost nobody knows its end.
    fn still_lasts(&self) -> bool {
        match self.what {
            What::Attempt(attempt) => attempt.ended_by.is_none(),
            What::Wait { .. } | What::Omitted { .. } => !self.is_over,
        }
    }
}

/// An attempt, with the one that followed and when that began.
type Next<'a> = Option<(&'a Attempt, Duration)>;

/// When an attempt lasted.
///
/// Its length counts from the order to start it, and its stamp is of a moment later, when its process had begun: where both
/// together reach into what came after, the stamp is moved.
fn attempt_row<'a>(attempt: &'a Attempt, next: Next<'_>, history: &History) -> Row<'a> {
    let since_epoch = attempt.started_at.as_duration();
    let stamp = since_epoch.saturating_sub(history.started_at.as_duration());
    let length = attempt.elapsed.unwrap_or_default();
    let latest_end = match next {
        Some((next, start)) if is_after_a_whole_wait(next) => {
            start.saturating_sub(attempt.next_delay.unwrap_or_default())
        }
        Some((_, start)) => start,
        None if history.outcome.is_some() => history.elapsed,
        None => Duration::MAX,
    };
    let start = stamp.min(latest_end.saturating_sub(length));
    let end = start.saturating_add(length);
    Row { what: What::Attempt(attempt), start, end, is_over: attempt.elapsed.is_some() }
}

/// Whether the wait before an attempt lasted as long as it was planned.
fn is_after_a_whole_wait(attempt: &Attempt) -> bool {
    match attempt.trigger {
        Trigger::Retry | Trigger::Consecutive => true,
        // Asked for, or begun by another process than planned the wait.
        Trigger::First | Trigger::Manual | Trigger::Resumed => false,
    }
}

/// What lies between an attempt that ended at `begin` and the next one, or the run's end.
fn row_after<'a>(
    attempt: &Attempt,
    begin: Duration,
    next: Next<'_>,
    history: &History,
) -> Option<Row<'a>> {
    if let Some((next, start)) = next
        && next.attempt > attempt.attempt.saturating_add(1)
    {
        let what = What::Omitted { attempts: history.attempts_omitted };
        return Some(Row { what, start: begin, end: start.max(begin), is_over: true });
    }
    let planned = attempt.next_delay?;
    let (end, is_over, is_cut_short) = match next {
        Some((next, start)) => (start, true, next.trigger == Trigger::Manual),
        None if history.outcome.is_some() => (history.elapsed, true, true),
        None => (begin.saturating_add(planned), false, false),
    };
    let end = end.max(begin);
    if is_over && planned.is_zero() && end.saturating_sub(begin) < NOTICEABLE {
        return None;
    }
    Some(Row { what: What::Wait { planned, is_cut_short }, start: begin, end, is_over })
}

/// How an attempt really ended that we ended: a limit says only why.
#[must_use]
pub fn real_ending(attempt: &Attempt) -> Option<String> {
    if !attempt.was_cut() {
        return None;
    }
    let core = if attempt.core_dumped { ", core dumped" } else { "" };
    let died = attempt.signal.map(|signal| format!("{signal}{core}"));
    died.or_else(|| attempt.exit_code.map(|code| format!("exit {code}")))
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;
    use crate::engine::event::{EndedBy, Outcome};
    use crate::engine::signal::Signal;

    /// The rows as text: what, from and to in milliseconds.
    fn rows(history: &History) -> Vec<String> {
        let text = |row: &Row<'_>| {
            let what = match row.what {
                What::Attempt(attempt) => format!("attempt {}", attempt.attempt),
                What::Wait { planned, is_cut_short } => {
                    let cut = if is_cut_short { " cut" } else { "" };
                    format!("wait {}{cut}", planned.as_millis())
                }
                What::Omitted { attempts } => format!("{attempts} omitted"),
            };
            let over = if row.is_over { "" } else { " and on" };
            format!("{what}: {} to {}{over}", row.start.as_millis(), row.end.as_millis())
        };
        Timeline::of(history).rows.iter().map(text).collect()
    }

    #[test]
    fn attempts_and_waits_follow_each_other() {
        let sample = Sample::of(&["a"]).attempt(Trigger::First, 10, 7).wait(5_000, 5_002);
        let sample = sample.attempt(Trigger::Retry, 200, 7).wait(10_000, 400);
        let history = sample.attempt(Trigger::Manual, 30, 0).end(Outcome::Succeeded);
        assert_eq!(
            rows(&history),
            [
                "attempt 1: 0 to 10",
                "wait 5000: 10 to 5012",
                "attempt 2: 5012 to 5212",
                "wait 10000 cut: 5212 to 5612",
                "attempt 3: 5612 to 5642",
            ]
        );
        let timeline = Timeline::of(&history);
        assert_eq!(timeline.length, Duration::from_millis(5_642));
        assert_eq!(timeline.lines().map(<[Row<'_>]>::len).collect::<Vec<_>>(), [2, 2, 1]);
    }

    #[test]
    fn a_run_may_end_in_a_wait() {
        let history = Sample::of(&["a"]).attempts(1).wait(5_000, 700).end(Outcome::Interrupted);
        assert_eq!(rows(&history), ["attempt 1: 0 to 10", "wait 5000 cut: 10 to 710"]);
        assert_eq!(history.waited, Duration::from_millis(700));
    }

    #[test]
    fn a_wait_of_nothing_is_no_wait_unless_it_took_time() {
        let zero = |lasted| {
            let sample = Sample::of(&["a"]).attempts(1).wait(0, lasted);
            rows(&sample.attempt(Trigger::Retry, 10, 7).end(Outcome::Exhausted))
        };
        assert_eq!(zero(99), ["attempt 1: 0 to 10", "attempt 2: 109 to 119"]);
        assert_eq!(zero(100), ["attempt 1: 0 to 10", "wait 0: 10 to 110", "attempt 2: 110 to 120"]);
    }

    #[test]
    fn omitted_attempts_are_one_row() {
        let rows = rows(&Sample::of(&["a"]).attempts(500).end(Outcome::Exhausted));
        assert_eq!(rows.len(), 10 + 9 + 1 + 100 + 99);
        assert_eq!(
            rows[18..21],
            [
                "attempt 10: 9090 to 9100",
                "390 omitted: 9100 to 404000",
                "attempt 401: 404000 to 404010",
            ]
        );
    }

    #[test]
    fn what_still_lasts_reaches_to_the_end() {
        let running = Sample::of(&["a"]).attempts(1).wait(1_000, 1_000).start(Trigger::Retry);
        let mut history = running.history;
        assert_eq!(rows(&history)[2], "attempt 2: 1010 to 1010 and on");
        history.elapsed = Duration::from_secs(4);
        assert_eq!(rows(&history)[2], "attempt 2: 1010 to 4000 and on");

        let mut history = Sample::of(&["a"]).attempts(1).wait(1_000, 0).history;
        assert_eq!(rows(&history)[1], "wait 1000: 10 to 1010 and on");
        history.elapsed = Duration::from_secs(4);
        assert_eq!(rows(&history)[1], "wait 1000: 10 to 4000 and on");
    }

    #[test]
    fn a_lost_attempt_has_no_length() {
        let sample = Sample::of(&["a"]).start(Trigger::First);
        let mut history = sample.start(Trigger::Resumed).history;
        if let Some(lost) = history.attempts.first_mut() {
            lost.ended_by = Some(EndedBy::Lost);
        }
        history.elapsed = Duration::from_secs(1);
        assert_eq!(rows(&history), ["attempt 1: 0 to 0 and on", "attempt 2: 0 to 1000 and on"]);
    }

    #[test]
    fn a_late_stamp_moves_nothing_out_of_its_place() {
        // The process began 40 ms after the order, from which the attempt's length counts.
        let sample = Sample::of(&["a"]).attempt(Trigger::First, 100, 7).wait(1_000, 1_000);
        let mut history = sample.attempt(Trigger::Retry, 100, 7).end(Outcome::Exhausted);
        for attempt in &mut history.attempts {
            attempt.started_at = attempt.started_at.plus(Duration::from_millis(40));
        }
        assert_eq!(
            rows(&history),
            ["attempt 1: 0 to 100", "wait 1000: 100 to 1100", "attempt 2: 1100 to 1200"]
        );
    }

    #[test]
    fn places_and_shares_are_parts_of_the_run() {
        let sample = Sample::of(&["a"]).attempt(Trigger::First, 1_000, 7).wait(3_000, 3_000);
        let history = sample.attempt(Trigger::Retry, 4_000, 7).end(Outcome::Exhausted);
        let timeline = Timeline::of(&history);
        let shares: Vec<f64> = timeline.rows.iter().map(|row| timeline.share(row)).collect();
        assert_eq!(shares, [0.125, 0.375, 0.5]);
        assert_eq!(timeline.place(Duration::from_secs(2)), 0.25);
        assert_eq!(timeline.place(Duration::MAX), 1.0);

        let nothing = Sample::of(&["a"]).end(Outcome::Deadline);
        let timeline = Timeline::of(&nothing);
        assert_eq!(timeline.rows, []);
        assert_eq!(timeline.place(Duration::from_secs(2)), 0.0);
        assert_eq!(timeline.marks(5), [Duration::ZERO]);
    }

    #[test]
    fn marks_are_round_and_few() {
        let marks = |millis| {
            let length = Duration::from_millis(millis);
            let marks = Timeline { rows: Vec::new(), length }.marks(5);
            marks.iter().map(Duration::as_millis).collect::<Vec<_>>()
        };
        assert_eq!(marks(3), [0, 1, 2, 3]);
        assert_eq!(marks(9_376), [0, 2_000, 4_000, 6_000, 8_000]);
        assert_eq!(marks(902_000), [0, 300_000, 600_000, 900_000]);
        // Sixteen days.
        assert_eq!(marks(86_400_000 * 17).last(), Some(&(86_400_000 * 16)));
        let timeline = Timeline { rows: Vec::new(), length: Duration::MAX };
        assert_eq!(timeline.marks(5), [Duration::ZERO]);
    }

    #[test]
    fn the_real_ending_of_what_we_ended() {
        let mut history = Sample::of(&["a"]).attempts(1).end(Outcome::Exhausted);
        let attempt = &mut history.attempts[0];
        assert_eq!(real_ending(attempt), None);
        attempt.ended_by = Some(EndedBy::Timeout);
        assert_eq!(real_ending(attempt).as_deref(), Some("exit 7"));
        attempt.signal = Some(Signal::KILL);
        assert_eq!(real_ending(attempt).as_deref(), Some("SIGKILL"));
    }
}
