//! Time as the engine sees it: readings that are handed in, and their form on the wire.
//!
//! Nothing here reads a clock.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment of a run, measured from its beginning by two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Time in which the run could act: it stands still while the machine sleeps or the job is stopped.
    /// Limits of an attempt and the grace are measured by it.
    pub active: Duration,
    /// Time that passed for everybody else. Waits and the deadline are measured by it.
    pub elapsed: Duration,
}

impl Time {
    /// The later of two moments, clock by clock.
    #[must_use]
    pub fn max(self, other: Time) -> Time {
        Time { active: self.active.max(other.active), elapsed: self.elapsed.max(other.elapsed) }
    }

    /// This moment and `duration` more, on both clocks; saturates.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Time {
        Time {
            active: self.active.saturating_add(duration),
            elapsed: self.elapsed.saturating_add(duration),
        }
    }
}

/// A point in calendar time: a label on records, never an input to a decision within a run.
///
/// On the wire: RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// The last second of the year 9999: RFC 3339 has no later one.
    const LAST: Duration = Duration::from_secs(253_402_300_799);

    /// The point so long after the Unix epoch, cut to whole milliseconds and to the range of RFC 3339.
    #[must_use]
    pub fn since_epoch(duration: Duration) -> Timestamp {
        let duration = duration.min(Timestamp::LAST);
        Timestamp(duration - Duration::from_nanos(u64::from(duration.subsec_nanos()) % 1_000_000))
    }

    /// This point and `duration` more.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Timestamp {
        Timestamp::since_epoch(self.0.saturating_add(duration))
    }

    /// This point less `duration`; the epoch at the earliest.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Timestamp {
        Timestamp::since_epoch(self.0.saturating_sub(duration))
    }

    /// Time since the Unix epoch.
    #[must_use]
    pub fn as_duration(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(UNIX_EPOCH + self.0).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = humantime::parse_rfc3339(&text).map_err(de::Error::custom)?;
        let since = time.duration_since(UNIX_EPOCH).map_err(de::Error::custom)?;
        Ok(Timestamp::since_epoch(since))
    }
}

/// Cuts a duration to the precision of every record, so that a record that was written and read again is the same
/// record: whole microseconds; whole seconds from 2^32 seconds on, and at most 2^49 of them, since a number of JSON is a
/// double.
#[must_use]
pub fn to_micros(duration: Duration) -> Duration {
    let seconds = duration.as_secs();
    if seconds < 1 << 32 {
        duration - Duration::from_nanos(u64::from(duration.subsec_nanos()) % 1_000)
    } else {
        Duration::from_secs(seconds.min(1 << 49))
    }
}

/// Durations on the wire: seconds as a number.
pub mod seconds {
    use super::{Deserialize, Deserializer, Duration, Serializer, de, to_micros};

    /// Writes seconds as a floating-point number.
    ///
    /// # Errors
    /// Only those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    /// Reads seconds, rounded to microseconds.
    ///
    /// # Errors
    /// A number that is negative, not finite, or too large for a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let duration = Duration::try_from_secs_f64(seconds).map_err(de::Error::custom)?;
        Ok(to_micros(duration.saturating_add(Duration::from_nanos(500))))
    }
}

/// Optional durations on the wire: seconds as a number, or null.
pub mod optional_seconds {
    use super::{Deserialize, Deserializer, Duration, Serializer, seconds};

    /// Writes seconds, or null.
    ///
    /// # Errors
    /// Only those of the serializer.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => seconds::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads seconds, or null.
    ///
    /// # Errors
    /// As [`seconds::deserialize`].
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Seconds(#[serde(with = "seconds")] Duration);
        Ok(Option::<Seconds>::deserialize(deserializer)?.map(|seconds| seconds.0))
    }
}

/// A duration for people, e.g. `5s`, `7.5s`, `0.25s`, `2m 5s`: at most milliseconds below a minute, whole
/// seconds from there on.
#[must_use]
pub fn human(duration: Duration) -> String {
    if duration < Duration::from_secs(60) {
        let text = format!("{:.3}", duration.as_secs_f64());
        let text = text.trim_end_matches('0').trim_end_matches('.');
        format!("{text}s")
    } else {
        // Not by humantime, whose months and years have a length that nobody means, and that we do not read.
        let seconds = duration.as_secs();
        let parts = [
            (seconds / 86_400, "d"),
            (seconds / 3_600 % 24, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        parts.map(|(count, unit)| format!("{count}{unit}")).collect::<Vec<_>>().join(" ")
    }
}

/// A measured duration for people, e.g. `0.0s`, `1.2s`, `2m 5s`: tenths of a second below a minute.
#[must_use]
pub fn human_measured(duration: Duration) -> String {
    if duration < Duration::from_secs(60) {
        // Cut, not rounded: 59.96 s must not become "60.0s".
        format!("{}.{}s", duration.as_secs(), duration.subsec_millis() / 100)
    } else {
        human(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339_with_milliseconds() {
        let stamp = Timestamp::since_epoch(Duration::from_micros(1_763_756_130_123_456));
        assert_eq!(stamp.to_string(), "2025-11-21T20:15:30.123Z");
        let json = serde_json::to_string(&stamp).expect("a string");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("the same"), stamp);
        assert_eq!(Timestamp::since_epoch(Duration::MAX).to_string(), "9999-12-31T23:59:59.000Z");
    }

    #[test]
    fn timestamps_count_from_the_epoch() {
        let stamp = Timestamp::since_epoch(Duration::from_millis(1_500));
        assert_eq!(stamp.as_duration(), Duration::from_millis(1_500));
        assert_eq!(stamp.minus(Duration::from_secs(1)).as_duration(), Duration::from_millis(500));
        assert_eq!(stamp.minus(Duration::from_secs(2)), Timestamp::default());
    }

    #[test]
    fn the_precision_of_records_ends_where_that_of_a_double_does() {
        let exact = Duration::new((1 << 32) - 1, 999_999_000);
        assert_eq!(to_micros(exact + Duration::from_nanos(999)), exact);
        assert_eq!(to_micros(exact + Duration::from_micros(2)), Duration::from_secs(1 << 32));
        assert_eq!(to_micros(Duration::MAX), Duration::from_secs(1 << 49));
    }

    #[test]
    fn durations_for_people() {
        let text = |seconds: f64| human(Duration::from_secs_f64(seconds));
        assert_eq!(text(0.0), "0s");
        assert_eq!(text(5.0), "5s");
        assert_eq!(text(10.0), "10s");
        assert_eq!(text(15.1875), "15.188s");
        assert_eq!(text(0.25), "0.25s");
        assert_eq!(text(125.0), "2m 5s");
        assert_eq!(text(3_600.0 * 24.0 * 400.0 + 3_601.0), "400d 1h 1s");
        assert_eq!(human_measured(Duration::from_millis(59_960)), "59.9s");
        assert_eq!(human_measured(Duration::from_millis(1_234)), "1.2s");
    }
}
