//! A file in which the command may say what it knows of its failure.
//!
//! It is the command's to write: whatever it holds does no harm.

use std::ffi::CString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags, open};
use tempfile::TempPath;

use crate::config::value::Seconds;
use crate::engine::classify::Hint;
use crate::engine::event::Verdict;
use crate::engine::time::Timestamp;
use crate::error::Error;

/// How much of its end is read: more is no hint.
const MAX_BYTES: u64 = 1024 * 1024;

/// How many characters of a reason, or of a line, are shown.
const MAX_SHOWN: usize = 200;

/// The file of one attempt; removed when it is dropped.
pub struct HintFile(TempPath);

impl Drop for HintFile {
    fn drop(&mut self) {
        // The command may have put a folder in its place; what is a file or a link goes with the path.
        if fs::symlink_metadata(&self.0).is_ok_and(|metadata| metadata.is_dir()) {
            let _not_ours_to_remove = fs::remove_dir_all(&self.0);
        }
    }
}

impl HintFile {
    /// An empty file that only its owner can read.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create() -> io::Result<HintFile> {
        // Opened here, since of an error of its own opening the number is not known, by which some pass.
        let open =
            |path: &Path| File::options().write(true).create_new(true).mode(0o600).open(path);
        let file = tempfile::Builder::new().prefix("retryrun-hint-").make(open)?;
        Ok(HintFile(file.into_temp_path()))
    }

    /// Whether one can be made.
    ///
    /// # Errors
    /// It cannot.
    pub fn check() -> Result<(), Error> {
        HintFile::create().map(drop).map_err(|source| {
            let path = std::env::temp_dir();
            Error::Option { option: "hints", action: "make files in", path, source }
        })
    }

    /// The entry of the environment by which the command finds it.
    #[must_use]
    pub fn fact(&self) -> CString {
        let mut entry = b"RETRYRUN_HINT_FILE=".to_vec();
        entry.extend_from_slice(self.0.as_os_str().as_bytes());
        CString::new(entry).unwrap_or_default()
    }

    /// What the command wrote, masked; nothing if that is no hint, or not in a file.
    #[must_use]
    pub fn read(&self, mask: &dyn Fn(&str) -> String) -> Said {
        let Said { hint, fault } =
            self.text().map_or_else(|_| Said::default(), |text| parse(&text));
        let reason = hint.reason.map(|reason| shown(&reason, mask));
        let fault =
            fault.map(|Fault { line, expected }| Fault { line: shown(&line, mask), expected });
        Said { hint: Hint { reason, ..hint }, fault }
    }

    fn text(&self) -> io::Result<String> {
        // Not through a link, and never waiting: the command may have put anything in its place.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(open(self.0.to_path_buf(), flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        file.seek(SeekFrom::Start(metadata.len().saturating_sub(MAX_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// What a command said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// What counts of it.
    pub hint: Hint,
    /// The first line of it that cannot be read.
    pub fault: Option<Fault>,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    line: String,
    expected: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { line, expected } = self;
        write!(f, "--hints: the line `{line}` counts for nothing: {expected}")
    }
}

/// Lines `verdict=...`, `reason=...` and `retry-after=...`; the last of a kind that can be read counts. Others are let be: later versions
/// may know them.
fn parse(text: &str) -> Said {
    let mut hint = Hint::default();
    let mut fault = None;
    for line in text.lines() {
        let mut refuse = |expected: String| {
            fault.get_or_insert_with(|| Fault { line: line.to_owned(), expected });
        };
        let Some((name, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        match name.trim() {
            "verdict" => match value.parse::<Verdict>() {
                Ok(verdict) => hint.verdict = Some(verdict),
                Err(expected) => refuse(expected),
            },
            "reason" if !value.is_empty() => hint.reason = Some(value.to_owned()),
            "retry-after" => match Seconds::or_longest(value) {
                Ok(Seconds(delay)) => hint.retry_after = Some(delay),
                Err(expected) => refuse(expected),
            },
            _ => {}
        }
    }
    Said { hint, fault }
}

/// A reason as it is shown: half a secret would not be known as one, so it is masked before it is cut. And before control characters
/// go, as one may be part of a secret, and once more then, as one may stand in it.
fn shown(reason: &str, mask: &dyn Fn(&str) -> String) -> String {
    let plain: String = mask(reason).chars().filter(|c| !c.is_control()).collect();
    mask(&plain).chars().take(MAX_SHOWN).collect()
}

/// The wait that a text from the output asks for: a duration, seconds, or a date by RFC 9110, 5.6.7, of which a past one is none. One
/// longer than any is the longest: what is asked for is never too little.
#[must_use]
pub fn asked_delay(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    // As it stands first, since `M` is a month where `m` is a minute.
    let duration = Seconds::or_longest(text).or_else(|_| Seconds::or_longest(&text.to_lowercase()));
    if let Ok(Seconds(delay)) = duration {
        return Some(delay);
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let since_epoch = date.duration_since(UNIX_EPOCH).ok()?;
    Some(since_epoch.saturating_sub(now.as_duration()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_kind_counts() {
        let Said { hint, fault } = parse(
            "verdict=permanent\nreason=one\nverdict=transient\nretry-after=1m30s\nreason=two words\n",
        );
        assert_eq!(hint.verdict, Some(Verdict::Transient));
        assert_eq!(hint.reason.as_deref(), Some("two words"));
        assert_eq!(hint.retry_after, Some(Duration::from_secs(90)));
        assert_eq!(fault, None);
        assert_eq!(parse("reason=\nnothing\n=\nlater=x"), Said::default());
    }

    #[test]
    fn the_first_line_that_cannot_be_read_is_named() {
        let Said { hint, fault } = parse("retry-after=5\nverdict=maybe\nretry-after=-1\n");
        assert_eq!(hint, Hint { retry_after: Some(Duration::from_secs(5)), ..Hint::default() });
        assert_eq!(
            fault.map(|fault| fault.to_string()).as_deref(),
            Some(
                "--hints: the line `verdict=maybe` counts for nothing: expected `success`, `transient` or `permanent`"
            )
        );
    }

    #[test]
    fn a_reason_is_masked_before_it_is_cut() {
        let mask = |text: &str| text.replace("s3cr3t word", "***").replace("ta\tb", "***");
        assert_eq!(shown("a\0b\u{1b}c", &mask), "abc");
        for before in 185..=200 {
            let text = format!("{}s3cr3t word and more behind", "x".repeat(before));
            let masked = format!("{}*** and more behind", "x".repeat(before));
            assert_eq!(shown(&text, &mask), masked[..200], "{before}");
        }
        assert_eq!(shown("s3c\u{1b}r3t word and ta\tb", &mask), "*** and ***");
    }

    #[test]
    fn a_wait_is_asked_for_in_several_ways() {
        let now = Timestamp::since_epoch(Duration::from_secs(1_792_567_650));
        let seconds = |text| asked_delay(text, now).map(|delay| delay.as_secs_f64());
        assert_eq!(seconds("30"), Some(30.0));
        assert_eq!(seconds("1.5 seconds"), Some(1.5));
        assert_eq!(seconds("1m 30s "), Some(90.0));
        assert_eq!(seconds("2 minutes"), Some(120.0));
        assert_eq!(seconds("2 Hours"), Some(7_200.0));
        assert_eq!(seconds("5 days"), Some(432_000.0));
        assert_eq!(seconds("Wed, 21 Oct 2026 07:28:00 GMT"), Some(30.0));
        assert_eq!(seconds("Wed, 21 Oct 2020 07:28:00 GMT"), Some(0.0));
        assert_eq!(seconds("Wed Oct 21 07:28:00 2026"), Some(30.0));
        for text in ["soon", "2026-10-21T07:28:00Z", "11:30", "10.0.0.1", ""] {
            assert_eq!(seconds(text), None, "{text}");
        }
        for text in ["99999999999999999999", "99999999999999999999s", "99999999999999999999.5"] {
            assert_eq!(asked_delay(text, now), Some(Duration::MAX), "{text}");
        }
    }

    #[test]
    fn what_is_no_hint_does_no_harm() {
        let file = HintFile::create().expect("a file");
        assert_eq!(file.read(&str::to_owned), Said::default(), "nothing was written");
        fs::write(&file.0, vec![0xff; 3_000_000]).expect("it is ours");
        assert_eq!(file.read(&str::to_owned), Said::default());
        let mut long = vec![b'x'; 3_000_000];
        long.extend_from_slice(b"\nverdict=success\n");
        fs::write(&file.0, long).expect("it is ours");
        assert_eq!(file.read(&str::to_owned).hint.verdict, Some(Verdict::Success));
        fs::remove_file(&file.0).expect("it is ours");
        assert_eq!(file.read(&str::to_owned), Said::default(), "it is gone");
        std::os::unix::fs::symlink("/dev/zero", &file.0).expect("it is ours");
        assert_eq!(file.read(&str::to_owned), Said::default(), "it is a link");
        fs::remove_file(&file.0).expect("it is ours");
        let path = file.0.to_path_buf();
        fs::create_dir_all(path.join("folder")).expect("it is ours");
        assert_eq!(file.read(&str::to_owned), Said::default(), "it is a folder");
        drop(file);
        assert!(!path.exists());
    }
}
