//! The journal of a named run: what it was called with, and then its records, a line each, only ever added to.
//!
//! A line is whole or it does not count, and so a death in the middle of a write costs at most what that was to say. What was damaged
//! otherwise is passed over, and what is whole counts.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::mem;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::Call;
use super::folder::Folder;
use crate::engine::event::{AttemptStarted, Event, Line, Record, RunStarted, Trigger};
use crate::engine::history::History;
use crate::engine::time::{Timestamp, seconds};

const JOURNAL: &str = "journal";

/// A journal that has nothing to say yet.
const NEW: &str = "journal.new";

/// The version of the format; it changes only where this program could not read a journal any more.
const VERSION: u64 = 1;

/// How much is kept that cannot be written: a disk may have room again.
const MOST_UNWRITTEN: usize = 1024 * 1024;

/// What a journal says.
#[derive(Clone, Debug)]
pub struct Told {
    /// What the run was called with, and what it was gone on with; the last is the latest.
    pub calls: Vec<Call>,
    /// What happened in it: first of all that it started, with what is known of that.
    pub records: Vec<Record>,
    /// How many lines say nothing that can be understood, or are missing.
    pub damaged: usize,
    /// How many bytes of it are whole lines.
    whole: u64,
    /// How many of them there are up to the record of the start.
    head: u64,
}

/// A journal that is written.
pub struct Journal {
    folder: Folder,
    file: File,
    /// Whether it still has the name of one that has nothing to say.
    is_new: bool,
    /// How many bytes of it are whole lines.
    whole: u64,
    /// How many of them there are up to the record of the start.
    head: u64,
    /// Lines that could not be written.
    unwritten: Vec<u8>,
}

#[derive(Serialize)]
struct CallLine<'a> {
    v: u64,
    call: &'a Call,
}

/// That an attempt is about to start: written before it does, so that one of which nobody knows counts.
#[derive(Serialize)]
struct StartingLine {
    v: u64,
    starting: Starting,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Starting {
    attempt: u64,
    trigger: Trigger,
    at: Timestamp,
    #[serde(with = "seconds")]
    t: Duration,
}

/// Reads a journal. None if it says nothing.
///
/// # Errors
/// It cannot be read, or a later version of this program wrote it.
pub fn read(folder: &Folder) -> io::Result<Option<Told>> {
    let mut bytes = Vec::new();
    folder.open(JOURNAL, OFlags::RDONLY)?.read_to_end(&mut bytes)?;
    parse(&bytes, folder.name())
}

/// The last record of a journal, if it is whole.
///
/// # Errors
/// It cannot be read.
pub fn last_record(folder: &Folder) -> io::Result<Option<Record>> {
    // More than any record that ends a run has.
    const END: u64 = 64 * 1024;
    let mut file = folder.open(JOURNAL, OFlags::RDONLY)?;
    file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(END)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let line =
        bytes.strip_suffix(b"\n").and_then(|bytes| bytes.rsplit(|byte| *byte == b'\n').next());
    let value = line.and_then(|line| serde_json::from_slice::<Value>(line).ok());
    Ok(value.and_then(|value| Record::deserialize(value).ok()))
}

/// Where a journal is that says nothing.
///
/// # Errors
/// It cannot be moved.
pub fn set_aside(folder: &Folder) -> io::Result<PathBuf> {
    let names = (1u32..).map(|number| folder.file(&format!("{JOURNAL}.damaged-{number}")));
    for aside in names {
        if fs::symlink_metadata(&aside).is_err() {
            fs::rename(folder.file(JOURNAL), &aside)?;
            return Ok(aside);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn parse(bytes: &[u8], job: Option<&str>) -> io::Result<Option<Told>> {
    let mut told = Told { calls: Vec::new(), records: Vec::new(), damaged: 0, whole: 0, head: 0 };
    let mut starting = None;
    let mut run_id = None;
    for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        told.whole += line.len() as u64;
        let mut value = serde_json::from_slice::<Value>(line).unwrap_or_default();
        if let Some(run) = value.get("run").and_then(Value::as_str) {
            run_id.get_or_insert_with(|| run.to_owned());
        }
        let Some(version) = value.get("v").and_then(Value::as_u64) else {
            told.damaged += 1;
            continue;
        };
        if version > VERSION {
            let text = "it was written by a later version of retryrun";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        // A kind of line that is not known here is one that a later version has added, and can be done without.
        if let Some(call) = value.get_mut("call") {
            told.calls.extend(Call::deserialize(call.take()));
        } else if let Some(begins) = value.get_mut("starting") {
            starting = Starting::deserialize(begins.take()).ok();
        } else if let Ok(record) = Record::deserialize(value) {
            told.begin(starting.take().filter(|_| !starts(&record)));
            if told.records.is_empty() {
                told.head = told.whole;
            }
            told.records.push(record);
        }
    }
    told.begin(starting);
    let has_begun = told.start_if_missing(run_id, job);
    Ok(has_begun.then_some(told))
}

fn starts(record: &Record) -> bool {
    matches!(record.event, Event::AttemptStarted(_))
}

impl Told {
    /// Whether anything has happened. Where only the record of the start is missing, one takes its place that says what is known.
    fn start_if_missing(&mut self, run_id: Option<String>, job: Option<&str>) -> bool {
        let Some(first) = self.records.first() else { return false };
        if matches!(first.event, Event::RunStarted(_)) {
            return true;
        }
        let at = first.at.minus(first.t);
        let start = RunStarted {
            // It has to be one of its own, and the same at each look.
            run_id: run_id.unwrap_or_else(|| format!("{:016x}", at.as_duration().as_nanos())),
            job: job.map(str::to_owned),
            ..RunStarted::default()
        };
        let event = Event::RunStarted(Box::new(start));
        self.records.insert(0, Record { at, t: Duration::ZERO, event });
        self.damaged = self.damaged.max(1);
        true
    }

    /// An attempt was about to start, and it is not told that it did.
    fn begin(&mut self, starting: Option<Starting>) {
        let Some(Starting { attempt, trigger, at, t }) = starting else { return };
        let waited = match self.records.last() {
            Some(Record { event: Event::RetryPlanned(planned), t: since, .. }) => {
                t.saturating_sub(*since).min(planned.delay)
            }
            _ => Duration::ZERO,
        };
        let event = AttemptStarted { attempt, trigger, pid: None, waited };
        self.records.push(Record { at, t, event: Event::AttemptStarted(event) });
    }
}

impl Journal {
    /// A new journal. It takes the place of an earlier run's, which is forgotten then, as soon as it says that the run has started.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(folder: &Folder, calls: &[Call]) -> io::Result<Journal> {
        match fs::remove_file(folder.file(NEW)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND;
        let file = folder.open(NEW, flags)?;
        let (folder, unwritten) = (folder.clone(), Vec::new());
        let mut journal = Journal { folder, file, is_new: true, whole: 0, head: 0, unwritten };
        calls.iter().try_for_each(|call| journal.add(&CallLine { v: VERSION, call }))?;
        Ok(journal)
    }

    /// A journal that is gone on with; what is not whole at its end is cut off.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn go_on(folder: &Folder, told: &Told, call: &Call) -> io::Result<Journal> {
        let file = folder.open(JOURNAL, OFlags::WRONLY | OFlags::APPEND)?;
        file.set_len(told.whole)?;
        let (folder, unwritten) = (folder.clone(), Vec::new());
        let Told { whole, head, .. } = *told;
        let mut journal = Journal { folder, file, is_new: false, whole, head, unwritten };
        if told.calls.last() != Some(call) {
            journal.add(&CallLine { v: VERSION, call })?;
        }
        Ok(journal)
    }

    /// An attempt is about to start.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn starting(
        &mut self,
        attempt: u64,
        trigger: Trigger,
        at: Timestamp,
        history: &History,
    ) -> io::Result<()> {
        let t = at.as_duration().saturating_sub(history.started_at.as_duration());
        let starting = Starting { attempt, trigger, at, t };
        self.add(&StartingLine { v: VERSION, starting })?;
        self.file.sync_data()
    }

    /// Adds a record.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn record(&mut self, record: &Record, history: &History) -> io::Result<()> {
        let line = Line::new(&history.run_id, record);
        if let Err(error) = self.add(&line) {
            if matches!(record.event, Event::RunStopped(_)) {
                self.end_in_less_room(&line);
            }
            return Err(error);
        }
        match record.event {
            // What was promised: a count, a wait, an end.
            Event::RunStarted(_)
            | Event::RunResumed(_)
            | Event::AttemptEnded(_)
            | Event::RetryPlanned(_)
            | Event::RunStopped(_) => self.file.sync_data()?,
            Event::AttemptStarted(_) | Event::AttemptCut(_) => {}
        }
        if mem::take(&mut self.is_new) {
            self.head = self.whole;
            fs::rename(self.folder.file(NEW), self.folder.file(JOURNAL))?;
            self.folder.sync()?;
        }
        Ok(())
    }

    /// Gives up what happened in between for the record that ends the run: one that has ended must not be gone on with.
    fn end_in_less_room(&mut self, line: &Line<'_>) {
        self.unwritten.clear();
        self.whole = self.head;
        let ended = self.file.set_len(self.head).and_then(|()| self.add(line));
        if ended.is_err() {
            let _stays = fs::remove_file(self.folder.file(JOURNAL));
        }
    }

    /// Adds a line, and what could not be written before it.
    fn add(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.unwritten, line)?;
        self.unwritten.push(b'\n');
        if let Err(error) = self.file.write_all(&self.unwritten) {
            // A part of it may have been written, and the next line is to be one.
            let _stays = self.file.set_len(self.whole);
            if self.unwritten.len() > MOST_UNWRITTEN {
                self.unwritten.clear();
            }
            return Err(error);
        }
        self.whole += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::Outcome;
    use crate::engine::resume::{Stood, Unended};

    const ENDED: &[u8] = include_bytes!("../../tests/data/journals/ended");
    const WAITING: &[u8] = include_bytes!("../../tests/data/journals/waiting");
    const ATTEMPT: &[u8] = include_bytes!("../../tests/data/journals/attempt");
    const STARTING: &[u8] = include_bytes!("../../tests/data/journals/starting");
    const RESUMED: &[u8] = include_bytes!("../../tests/data/journals/resumed");
    const WORDS: &[u8] = include_bytes!("../../tests/data/journals/words");

    fn told(bytes: &[u8]) -> Option<Told> {
        parse(bytes, Some("x")).expect("it is of a version that is known")
    }

    fn lines(bytes: &[u8]) -> Vec<&[u8]> {
        bytes.split_inclusive(|byte| *byte == b'\n').collect()
    }

    #[test]
    fn journals_of_version_1_can_be_read() {
        let stood = |bytes| Unended::of(&told(bytes).expect("it began").records).map(|it| it.stood);
        assert_eq!(stood(ENDED), None);
        assert!(matches!(stood(WAITING), Some(Stood::Waiting { .. })));
        assert!(matches!(stood(ATTEMPT), Some(Stood::Attempting { .. })));
        assert!(matches!(stood(STARTING), Some(Stood::Attempting { .. })));
        assert!(matches!(stood(RESUMED), Some(Stood::Waiting { .. })));
        assert!(matches!(stood(WORDS), Some(Stood::Waiting { .. })));
        for bytes in [ENDED, WAITING, ATTEMPT, STARTING, RESUMED, WORDS] {
            let told = told(bytes).expect("it began");
            assert_eq!((told.damaged, told.whole), (0, bytes.len() as u64));
        }
        let told = told(RESUMED).expect("it began");
        let words: Vec<_> = told.calls.iter().map(|call| call.words().len()).collect();
        let history = History::of(&told.records).expect("it began");
        assert_eq!(
            (words, history.pid, history.command.join(" ")),
            (vec![11, 9], 6584, "sleep 301".into())
        );
    }

    #[test]
    fn an_attempt_that_was_about_to_start_counts() {
        let told = told(STARTING).expect("it began");
        let history = History::of(&told.records).expect("it began");
        let last = history.last_attempt().expect("there is one");
        assert_eq!((last.attempt, last.pid, last.trigger), (1, None, Trigger::First));
        // Also after a wait, of which it is told how much was spent.
        let mut lines = lines(WORDS);
        lines.truncate(12);
        let told = super::tests::told(&lines.concat()).expect("it began");
        let history = History::of(&told.records).expect("it began");
        assert_eq!(history.last_number(), 3);
        assert_eq!(history.waited, Duration::from_micros(10_000 + 19_150));
    }

    #[test]
    fn every_prefix_says_what_is_whole_in_it() {
        for bytes in [ENDED, RESUMED, WORDS] {
            let begins = lines(bytes).iter().take(2).map(|line| line.len()).sum();
            let (mut records, mut attempts) = (0, 0);
            for length in 0..=bytes.len() {
                let prefix = told(bytes.get(..length).expect("it is within"));
                assert_eq!(prefix.is_some(), length >= begins, "{length}");
                let Some(prefix) = prefix else { continue };
                let history = History::of(&prefix.records).expect("it began");
                assert!(prefix.records.len() >= records && history.last_number() >= attempts);
                (records, attempts) = (prefix.records.len(), history.last_number());
                assert_eq!((prefix.damaged, prefix.head), (0, begins as u64));
                assert!(
                    prefix.whole as usize <= length
                        && bytes[..prefix.whole as usize].ends_with(b"\n")
                );
            }
            assert_eq!(records, told(bytes).expect("it began").records.len());
        }
    }

    #[test]
    fn a_line_that_is_damaged_is_passed_over() {
        let lines = lines(ENDED);
        for garbage in
            [&b"\0\0\0\0\0\n"[..], b"{\"v\":1,\"ru\n", b"\xff\xfe\n", b"\n", b"7\n", b"{}\n"]
        {
            for damaged in 2..lines.len() {
                let mut lines = lines.clone();
                lines[damaged] = garbage;
                let told = told(&lines.concat()).expect("it began");
                assert_eq!(told.damaged, 1);
                let history = History::of(&told.records).expect("it began");
                let stopped = damaged + 1 == lines.len();
                assert_eq!(history.outcome, (!stopped).then_some(Outcome::Exhausted));
                assert_eq!(
                    history.last_number(),
                    2,
                    "both were to start, or did, or ended: {damaged}"
                );
            }
        }
        assert!(told(b"").is_none() && told(b"\0\0\n").is_none() && told(lines[0]).is_none());
    }

    #[test]
    fn without_its_start_the_rest_counts() {
        for (journal, damaged) in [(WAITING, 0), (WAITING, 1), (ENDED, 0), (RESUMED, 1)] {
            let whole = told(journal).expect("it began");
            let mut lines = lines(journal);
            match damaged {
                0 => drop(lines.remove(1)),
                _ => lines[1] = b"\0\0\n",
            }
            let told = told(&lines.concat()).expect("something happened");
            assert_eq!((told.damaged, &told.calls), (1, &whole.calls));
            assert_eq!(told.records[1..], whole.records[1..]);
            let [before, after] = [&whole, &told].map(|told| History::of(&told.records));
            let (before, after) = (before.expect("it began"), after.expect("it began"));
            assert_eq!((&after.run_id, &after.attempts), (&before.run_id, &before.attempts));
            assert_eq!((after.retry_count, after.outcome), (before.retry_count, before.outcome));
            let is_known = journal == RESUMED;
            assert_eq!((after.job.as_deref(), after.start_is_known()), (Some("x"), is_known));
            // The parts of a millisecond that a stamp does not have.
            let began = [&before, &after].map(|history| history.started_at.as_duration());
            assert!(began[0].abs_diff(began[1]) <= Duration::from_millis(2), "{began:?}");
        }
        // Of an attempt that was about to start not even the run's id is known.
        let lines = lines(STARTING);
        let of_start = |at: usize| told(&lines[at..].concat()).expect("it was about to start");
        let (one, other) = (of_start(2), of_start(2));
        assert_eq!(one.records, other.records);
        assert_eq!(History::of(&one.records).map(|history| history.last_number()), Some(1));
    }

    #[test]
    fn what_later_versions_add_is_passed_over() {
        let mut lines = lines(ENDED);
        lines.insert(3, b"{\"v\":1,\"lamp\":{\"is\":\"new\"}}\n");
        lines.insert(5, b"{\"v\":1,\"run\":\"x\",\"at\":\"2025-11-26T01:22:14.349Z\",\"t\":0.1,\"event\":\"moon_rose\"}\n");
        let added = told(&lines.concat()).expect("it began");
        assert_eq!((added.damaged, added.records), (0, told(ENDED).expect("it began").records));
        lines.push(b"{\"v\":2,\"lamp\":1}\n");
        let refused = parse(&lines.concat(), None).expect_err("it may mean anything");
        assert_eq!(refused.to_string(), "it was written by a later version of retryrun");
    }

    #[test]
    fn what_is_read_can_be_gone_on_with() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = Folder::at(home.path().to_owned());
        for end in [ENDED.len() - 1, ENDED.len(), ENDED.len() - 40] {
            let cut = ENDED.get(..end).expect("it is within");
            fs::write(folder.file(JOURNAL), cut).expect("a file");
            let before = read(&folder).expect("it can be read").expect("it began");
            let history = History::of(&before.records).expect("it began");
            let call = before.calls.last().expect("there is one");
            let mut journal = Journal::go_on(&folder, &before, call).expect("it can be written");
            let record = before.records.last().expect("there is one");
            journal.record(record, &history).expect("it can be written");
            let after = read(&folder).expect("it can be read").expect("it began");
            assert_eq!(
                (after.calls, after.damaged),
                (before.calls, 0),
                "the same call is said once"
            );
            assert_eq!(after.records.len(), before.records.len() + 1);
        }
    }

    #[test]
    fn an_earlier_run_is_forgotten_when_the_next_has_started() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = Folder::at(home.path().to_owned());
        fs::write(folder.file(JOURNAL), ENDED).expect("a file");
        fs::write(folder.file(NEW), "left by one that died").expect("a file");
        let new = told(WAITING).expect("it began");
        let history = History::of(&new.records).expect("it began");
        let mut journal = Journal::create(&folder, &new.calls).expect("it can be written");
        let id = || {
            let told = read(&folder).expect("it can be read").expect("it began");
            History::of(&told.records).expect("it began").run_id
        };
        assert_ne!(id(), history.run_id);
        for record in &new.records {
            journal.record(record, &history).expect("it can be written");
            assert_eq!(id(), history.run_id);
        }
        assert_eq!(read(&folder).expect("it can be read").expect("it began").records, new.records);
    }
}
