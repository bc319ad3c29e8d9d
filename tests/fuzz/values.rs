//! Values as users write them: what is taken is shown in a form that is taken for the same.

#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use retryrun::config::budget::Budget;
use retryrun::config::value::{Count, Delays, Multiplier, Seconds, Seed, Size};
use retryrun::engine::backoff::Jitter;
use retryrun::engine::exit::ExitCode;
use retryrun::engine::policy::{Attempts, Consecutive, Retries};
use retryrun::engine::signal::Signal;
use retryrun::engine::time::{Timestamp, seconds, to_micros};
use retryrun::hint::asked_delay;

fuzz_target!(|text: &str| {
    duration(text);
    is_shown_as_it_is_written::<Attempts>(text);
    is_shown_as_it_is_written::<Budget>(text);
    is_shown_as_it_is_written::<Consecutive>(text);
    is_shown_as_it_is_written::<Count>(text);
    is_shown_as_it_is_written::<ExitCode>(text);
    is_shown_as_it_is_written::<Jitter>(text);
    is_shown_as_it_is_written::<Multiplier>(text);
    is_shown_as_it_is_written::<Retries>(text);
    is_shown_as_it_is_written::<Seed>(text);
    is_shown_as_it_is_written::<Signal>(text);
    is_shown_as_it_is_written::<Size>(text);
    delays(text);
});

fn is_shown_as_it_is_written<T: FromStr<Err = String> + Display + Debug + PartialEq>(text: &str) {
    match text.parse::<T>() {
        Ok(value) => {
            let shown = value.to_string();
            assert_eq!(shown.parse::<T>().as_ref(), Ok(&value), "{shown}");
        }
        Err(message) => assert!(message.contains("expected"), "{message}"),
    }
}

fn duration(text: &str) {
    let asked = asked_delay(text, Timestamp::default());
    let Ok(Seconds(duration)) = text.parse() else { return };
    assert_eq!(asked, Some(duration));
    assert_eq!(format!(" {text}\n").parse(), Ok(Seconds(duration)));
    is_read_again(duration);
    let written = to_micros(duration);
    let mut json = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut json);
    seconds::serialize(&written, &mut serializer).expect("a number");
    let mut deserializer = serde_json::Deserializer::from_slice(&json);
    let read = seconds::deserialize(&mut deserializer).expect("it was just written");
    assert_eq!(read, written);
}

/// People are shown milliseconds below a minute, and whole seconds from there on.
fn is_read_again(duration: Duration) {
    let shown = Seconds(duration).to_string();
    let Seconds(read) = shown.parse().expect("what is shown can be read");
    let is_short = duration < Duration::from_secs(60);
    let precision = Duration::from_nanos(if is_short { 500_000 } else { 999_999_999 });
    assert!(read.abs_diff(duration) <= precision, "{duration:?} is shown as {shown}");
    assert_eq!(Seconds(read).to_string(), shown);
}

fn delays(text: &str) {
    let Ok(delays) = text.parse::<Delays>() else { return };
    let shown: Delays = delays.to_string().parse().expect("what is shown can be read");
    assert_eq!(shown.durations().len(), delays.durations().len());
}
