//! The values of settings that are not the engine's own: how users write them, and how they are shown.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use regex_automata::hybrid::dfa;
use regex_automata::hybrid::regex::{Builder, Regex};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::engine::backoff::Jitter;
use crate::engine::classify::Rule;
use crate::engine::exit::ExitCode;
use crate::engine::keyword::{keywords, scalars};
use crate::engine::policy::{Attempts, Consecutive, Retries};
use crate::engine::time::human;
use crate::patterns::delay::{DelaySearch, USUAL_FORMS};

keywords! {
    /// What a failure is that no rule names.
    Otherwise {
        /// Transient.
        Retry = "retry",
        /// Permanent.
        Stop = "stop",
    }
}

keywords! {
    /// When the history is printed.
    HistoryWhen {
        /// When the run did not succeed.
        Failure = "failure",
        /// Always.
        Always = "always",
        /// Never.
        Never = "never",
    }
}

keywords! {
    /// The form of our own lines.
    LogFormat {
        /// For people.
        Text = "text",
        /// A JSON object a line.
        Json = "json",
    }
}

/// Where a wait that somebody asks for is found in the output: by the usual forms, or by a regular expression with a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DelayFrom(String);

impl DelayFrom {
    /// The regular expression.
    #[must_use]
    pub fn regex(&self) -> &str {
        if self.0 == "auto" { USUAL_FORMS } else { &self.0 }
    }
}

impl FromStr for DelayFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<DelayFrom, String> {
        let delay_from = DelayFrom(text.to_owned());
        DelaySearch::new(delay_from.regex())?;
        Ok(delay_from)
    }
}

impl fmt::Display for DelayFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

keywords! {
    /// What the command reads.
    StdinMode {
        /// What fits our stdin.
        Auto = "auto",
        /// Our stdin.
        Inherit = "inherit",
        /// Nothing.
        Null = "null",
        /// The same in every attempt.
        Replay = "replay",
    }
}

keywords! {
    /// Where the command's stdout goes.
    StdoutMode {
        /// To ours, as it comes.
        Stream = "stream",
        /// Only the last attempt's, when the run is over.
        Final = "final",
    }
}

/// A number of bytes: `4096`, `4KiB`, `1M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
        match text.parse::<bytesize::ByteSize>() {
            Ok(size) if is_plain => Ok(Size(size.as_u64())),
            _ => Err("expected a number of bytes such as `4096`, `64KiB` or `1M`".into()),
        }
    }
}

/// The units in which sizes are shown, each 1024 of the one before.
const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

impl fmt::Display for Size {
    /// In the largest unit of which it is a whole number, so that what is shown can be written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut count, mut shown) = (self.0, "");
        for unit in UNITS {
            if count == 0 || count % 1024 != 0 {
                break;
            }
            (count, shown) = (count / 1024, unit);
        }
        write!(f, "{count}{shown}")
    }
}

keywords! {
    /// Where the command stands among the other processes.
    ProcessGroup {
        /// With a terminal in our group, else in one of its own.
        Auto = "auto",
        /// In our group.
        Inherit = "inherit",
        /// In a group of its own.
        New = "new",
        /// In a session of its own.
        Session = "session",
    }
}

keywords! {
    /// When there is a status line.
    Live {
        /// On a terminal, while we wait.
        Auto = "auto",
        /// Wherever there is a terminal.
        Always = "always",
        /// Never.
        Never = "never",
    }
}

keywords! {
    /// When our lines have colours.
    Color {
        /// On a terminal, unless the environment says otherwise.
        Auto = "auto",
        /// Always.
        Always = "always",
        /// Never.
        Never = "never",
    }
}

keywords! {
    /// Which CI system is spoken to.
    CiChoice {
        /// The one whose environment we run in, if it is any.
        Auto = "auto",
        /// GitHub Actions.
        GitHub = "github",
        /// GitLab CI/CD.
        GitLab = "gitlab",
        /// Azure Pipelines.
        Azure = "azure",
        /// Buildkite.
        Buildkite = "buildkite",
        /// None.
        None = "none",
    }
}

scalars!(Word: DelayFrom, Jitter, Rule, ExitCode, Pattern);
scalars!(Whole: Count, Retries, Attempts, Consecutive, Seed);
scalars!(Fraction: Multiplier);
scalars!(WordOrWhole: Size);
scalars!(WordOrNumber: Seconds);

/// A duration: a number of seconds (`5`, `0.5`, `.5`) or one with units (`500ms`, `1m30s`, `2h 15m`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Seconds {
    /// The duration as a limit: zero is none.
    #[must_use]
    pub fn limit(self) -> Option<Duration> {
        Some(self.0).filter(|duration| !duration.is_zero())
    }

    /// Reads a duration that others have written: one that is too long for us is the longest.
    ///
    /// # Errors
    /// It is no duration.
    pub fn or_longest(text: &str) -> Result<Seconds, String> {
        match text.parse() {
            Err(fault) if fault == TOO_LONG => Ok(Seconds(Duration::MAX)),
            read => read,
        }
    }
}

const EXPECTED_DURATION: &str = "expected a duration: seconds such as `5` or `0.5`, or units such as `500ms`, `1m30s` or `2h 15m`";

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seconds, String> {
        let text = text.trim();
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return plain_seconds(text).map(Seconds);
        }
        // humantime reads a month as 30.44 days and a year as 365.25: nobody means that by a wait.
        let mut units = text.split(|c: char| !c.is_ascii_alphabetic());
        let is_calendar =
            |unit: &str| unit == "M" || unit.starts_with("mo") || unit.starts_with('y');
        if units.any(is_calendar) {
            return Err(format!("{EXPECTED_DURATION}; months and years have no fixed length"));
        }
        match humantime::parse_duration(text) {
            Ok(duration) => Ok(Seconds(duration)),
            Err(humantime::DurationError::NumberOverflow) => Err(TOO_LONG.to_owned()),
            Err(_) => Err(EXPECTED_DURATION.to_owned()),
        }
    }
}

const TOO_LONG: &str = "expected a duration of at most 18446744073709551615 seconds";

/// Digits with at most one point, and at least one digit. More than nanoseconds are cut.
fn plain_seconds(text: &str) -> Result<Duration, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(EXPECTED_DURATION.to_owned());
    }
    let seconds = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| TOO_LONG)?,
    };
    let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = nanos.fold(0u32, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    Ok(Duration::new(seconds, nanos))
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&human(self.0))
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}

/// Growth of an exponential backoff: finite and at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Multiplier(pub f64);

impl FromStr for Multiplier {
    type Err = String;

    fn from_str(text: &str) -> Result<Multiplier, String> {
        match text.parse() {
            Ok(factor) if (1.0..=f64::MAX).contains(&factor) => Ok(Multiplier(factor)),
            _ => Err("expected a number, 1 or more, such as `2` or `1.5`".into()),
        }
    }
}

impl fmt::Display for Multiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Count(pub u64);

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Count, String> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let count = text.parse().ok().filter(|_| is_plain);
        count.map(Count).ok_or_else(|| "expected a whole number, 0 or more".into())
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What makes jitter repeatable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Seed(pub u64);

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Seed, String> {
        let expected = format!("expected a whole number from 0 to {}", u64::MAX);
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(expected);
        }
        text.parse().map(Seed).map_err(|_| expected)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Waits written out: at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delays(Vec<Seconds>);

impl Delays {
    /// The waits in order.
    #[must_use]
    pub fn durations(&self) -> Vec<Duration> {
        self.0.iter().map(|seconds| seconds.0).collect()
    }

    fn new(delays: Vec<Seconds>) -> Result<Delays, String> {
        if delays.is_empty() {
            return Err("expected at least one duration".into());
        }
        Ok(Delays(delays))
    }
}

impl FromStr for Delays {
    type Err = String;

    fn from_str(text: &str) -> Result<Delays, String> {
        let each = text.split(',').map(str::parse).collect::<Result<_, String>>();
        each.map_err(|error| format!("{error}, with commas between them")).and_then(Delays::new)
    }
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<String> = self.0.iter().map(Seconds::to_string).collect();
        f.write_str(&each.join(","))
    }
}

impl<'de> Deserialize<'de> for Delays {
    /// Takes the text form, or a list of durations.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrList;
        impl<'de> Visitor<'de> for TextOrList {
            type Value = Delays;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of durations")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Delays, E> {
                text.parse()
                    .map_err(|expected| E::custom(format!("invalid value `{text}`: {expected}")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Delays, A::Error> {
                let mut delays = Vec::new();
                while let Some(delay) = seq.next_element()? {
                    delays.push(delay);
                }
                Delays::new(delays).map_err(serde::de::Error::custom)
            }
        }
        deserializer.deserialize_any(TextOrList)
    }
}

/// What a pattern may take when it is compiled: as in the regex crate. `(a{1000}){1000}` would take gigabytes.
const MAX_PATTERN_BYTES: usize = 10 * 1024 * 1024;

/// A regular expression on bytes, by the syntax of the regex crate without Unicode classes; `^` and `$` at line ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern, ready to search.
    ///
    /// # Errors
    /// What is wrong with its syntax or size.
    pub fn compile(&self) -> Result<Regex, String> {
        let syntax = syntax::Config::new().unicode(false).utf8(false).multi_line(true).crlf(true);
        let limit = thompson::Config::new().nfa_size_limit(Some(MAX_PATTERN_BYTES));
        let cache = dfa::Config::new().skip_cache_capacity_check(true);
        let mut builder = Builder::new();
        builder.syntax(syntax).thompson(limit).dfa(cache).build(&self.0).map_err(|error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            let of_size = cause.downcast_ref().and_then(thompson::BuildError::size_limit);
            if of_size.is_some() {
                return "expected a smaller regular expression".to_owned();
            }
            // The parser draws a picture; its last line says what is wrong.
            let text = cause.to_string();
            let fault = text.lines().next_back().unwrap_or_default();
            format!("expected a regular expression: {}", fault.trim_start_matches("error: "))
        })
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        let pattern = Pattern(text.to_owned());
        pattern.compile()?;
        Ok(pattern)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<f64> {
        text.parse::<Seconds>().ok().map(|seconds| seconds.0.as_secs_f64())
    }

    #[test]
    fn sizes_are_shown_as_they_can_be_written() {
        for (text, shown) in [
            ("0", "0"),
            ("1000", "1000"),
            ("1025", "1025"),
            ("4096", "4KiB"),
            ("1.5MiB", "1536KiB"),
            ("64MiB", "64MiB"),
            ("2E", "1953125000000000KiB"),
            ("15EiB", "15EiB"),
        ] {
            let size: Size = text.parse().expect(text);
            assert_eq!(size.to_string(), shown);
            assert_eq!(shown.parse(), Ok(size));
        }
    }

    #[test]
    fn durations_are_seconds_or_have_units() {
        for (text, expected) in [
            ("5", 5.0),
            ("0", 0.0),
            ("0.5", 0.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("500ms", 0.5),
            ("1m30s", 90.0),
            ("2h 15m", 8100.0),
            ("1.5s", 1.5),
            ("1d", 86400.0),
            ("18446744073709551615", u64::MAX as f64),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in [
            "",
            ".",
            " ",
            "-1",
            "+1",
            "1e3",
            "nan",
            "inf",
            "infinity",
            "1..2",
            "5x",
            "s",
            "1M",
            "2months",
            "1y",
            "1year",
            "18446744073709551616",
            "99999999999999999999s",
            "5 5",
            "٣",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn multipliers_are_at_least_one_and_finite() {
        for text in ["0.9", "nan", "inf", "-2", "", "1e999", "two"] {
            assert!(text.parse::<Multiplier>().is_err(), "{text}");
        }
        assert_eq!("1.5".parse(), Ok(Multiplier(1.5)));
    }

    #[test]
    fn a_bad_pattern_says_what_is_wrong() {
        let error = "a(".parse::<Pattern>().expect_err("an open group");
        assert!(error.contains("unclosed group"), "{error}");
        let error = "((a{1,1000}){1,1000}){1,1000}".parse::<Pattern>().expect_err("gigabytes");
        assert_eq!(error, "expected a smaller regular expression");
        assert!("([a-z]{1,100}){1,100}".parse::<Pattern>().is_ok());
    }
}
