//! `--budget NAME=N/DUR[+P%]`: how many retries the runs of one name share.
//!
//! Only the words: where a budget is kept, and what is left of it, is `budget`'s.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::name::Name;
use super::value::Seconds;
use crate::engine::keyword::scalars;

/// A century of 366 days a year: nobody lives to see it, and it fits every arithmetic.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

/// A budget as users write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What it is called.
    pub name: Name,
    /// Retries in each period; at least 1.
    pub retries: u32,
    /// How long that is; above 0, and at most a century.
    pub period: Duration,
    /// The share of a token that a success at the first attempt puts back, in percent.
    pub percent: u8,
    text: String,
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Budget, String> {
        const EXPECTED: &str =
            "expected NAME=N/DUR or NAME=N/DUR+P%, e.g. `deploys=10/1h` or `deploys=10/1h+20%`";
        let (name, numbers) = text.split_once('=').ok_or(EXPECTED)?;
        let (retries, rest) = numbers.split_once('/').ok_or(EXPECTED)?;
        let (period, percent) = match rest.split_once('+') {
            Some((period, percent)) => (period, share(percent)?),
            None => (rest, 0),
        };
        let name = name.parse().map_err(|error| format!("before the `=`, {error}"))?;
        let retries = whole(retries).filter(|retries| *retries > 0).ok_or_else(|| {
            format!("before the `/`, expected a whole number of retries from 1 to {}", u32::MAX)
        })?;
        let Seconds(period) = period.parse().map_err(|error| format!("after the `/`, {error}"))?;
        if period.is_zero() || period > LONGEST {
            return Err("after the `/`, expected a duration above 0, and of at most 36600d".into());
        }
        Ok(Budget { name, retries, period, percent, text: text.to_owned() })
    }
}

/// A percentage behind the `+`.
fn share(text: &str) -> Result<u8, String> {
    let percent =
        text.strip_suffix('%').and_then(whole).and_then(|percent| percent.try_into().ok());
    percent
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| "after the `+`, expected a whole percentage from `0%` to `100%`".to_owned())
}

/// A whole number in digits alone: no sign, no spaces.
fn whole(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Budget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

scalars!(Word: Budget);

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Result<(String, u32, Duration, u8), String> {
        let budget: Budget = text.parse()?;
        assert_eq!(budget.to_string(), text);
        Ok((budget.name.to_string(), budget.retries, budget.period, budget.percent))
    }

    #[test]
    fn a_budget_is_a_name_and_its_numbers() {
        let seconds = Duration::from_secs;
        for (text, expected) in [
            ("x=5/1h", ("x", 5, seconds(3600), 0)),
            ("a.b=1/.5", ("a.b", 1, Duration::from_millis(500), 0)),
            ("x=10/2h 15m+20%", ("x", 10, seconds(8100), 20)),
            ("x=4294967295/36600d+100%", ("x", u32::MAX, LONGEST, 100)),
            ("x=1/1+0%", ("x", 1, seconds(1), 0)),
        ] {
            let (name, retries, period, percent) = expected;
            assert_eq!(numbers(text), Ok((name.to_owned(), retries, period, percent)), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, said) in [
            ("", "expected NAME=N/DUR"),
            ("x", "expected NAME=N/DUR"),
            ("x=5", "expected NAME=N/DUR"),
            ("=5/1h", "before the `=`, expected a name"),
            ("../x=5/1h", "before the `=`, expected a name"),
            ("x=0/1h", "before the `/`, expected a whole number"),
            ("x=/1h", "before the `/`, expected a whole number"),
            ("x=-1/1h", "before the `/`, expected a whole number"),
            ("x=1.5/1h", "before the `/`, expected a whole number"),
            ("x=4294967296/1h", "before the `/`, expected a whole number"),
            ("x=5/0", "expected a duration above 0"),
            ("x=5/36601d", "expected a duration above 0"),
            ("x=5/-1", "after the `/`, expected a duration"),
            ("x=5/", "after the `/`, expected a duration"),
            ("x=5/1h+", "after the `+`, expected a whole percentage"),
            ("x=5/1h+20", "after the `+`, expected a whole percentage"),
            ("x=5/1h+101%", "after the `+`, expected a whole percentage"),
            ("x=5/1h+-1%", "after the `+`, expected a whole percentage"),
        ] {
            let error = numbers(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
