//! What attempts wrote last to stderr, where that was kept: tails that are alike, one after the other, are told once.

use crate::engine::event::Verdict;
use crate::engine::history::{Attempt, History};

/// The tail of one attempt, or of several in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tail<'a> {
    /// The first attempt that wrote it.
    pub first: &'a Attempt,
    /// The last one.
    pub last: &'a Attempt,
    /// What they wrote.
    pub text: &'a str,
}

impl<'a> Tail<'a> {
    /// All tails of a run that are not blank, in order.
    #[must_use]
    pub fn all(history: &'a History) -> Vec<Tail<'a>> {
        let mut tails: Vec<Tail<'a>> = Vec::new();
        for attempt in &history.attempts {
            let Some(text) = attempt.stderr_tail.as_deref() else { continue };
            if text.trim().is_empty() {
                continue;
            }
            match tails.last_mut() {
                Some(tail) if tail.is_repeated_by(attempt) => tail.last = attempt,
                _ => tails.push(Tail { first: attempt, last: attempt, text }),
            }
        }
        tails
    }

    /// Whether an attempt is the next one, wrote the same and ended in the same way.
    fn is_repeated_by(&self, attempt: &Attempt) -> bool {
        self.last.attempt.checked_add(1) == Some(attempt.attempt)
            && attempt.stderr_tail.as_deref() == Some(self.text)
            && attempt.ending() == self.last.ending()
            && attempt.verdict == self.last.verdict
    }

    /// Whether those who wrote it were no successes.
    #[must_use]
    pub fn is_of_failure(&self) -> bool {
        self.last.verdict != Some(Verdict::Success)
    }

    /// Who wrote it, e.g. `attempt 2` or `attempts 2 to 4`.
    #[must_use]
    pub fn writers(&self) -> String {
        if self.first.attempt == self.last.attempt {
            format!("attempt {}", self.last.attempt)
        } else {
            format!("attempts {} to {}", self.first.attempt, self.last.attempt)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::Outcome;
    use crate::report::sample::Sample;

    #[test]
    fn tails_that_are_alike_in_a_row_are_told_once() {
        let mut history = Sample::of(&["a"]).attempts(7).end(Outcome::Exhausted);
        let texts = [Some("x\n"), Some("x\n"), Some("y"), Some(" \n"), Some("y"), None, Some("y")];
        for (attempt, text) in history.attempts.iter_mut().zip(texts) {
            attempt.stderr_tail = text.map(str::to_owned);
        }
        if let Some(last) = history.attempts.last_mut() {
            last.verdict = Some(Verdict::Success);
        }
        let tails = Tail::all(&history);
        let told: Vec<_> =
            tails.iter().map(|tail| (tail.writers(), tail.text, tail.is_of_failure())).collect();
        assert_eq!(
            told,
            [
                ("attempts 1 to 2".to_owned(), "x\n", true),
                ("attempt 3".to_owned(), "y", true),
                ("attempt 5".to_owned(), "y", true),
                ("attempt 7".to_owned(), "y", false),
            ]
        );
    }
}
