//! The journal of a named run: what it was called with, and then its records, a line each, only ever added to.
//!
//! A line is whole or it does not count, and so a death in the middle of a write costs at most what that was to say. What was damaged
//! otherwise is passed over, and what is whole counts.

use std::collections::VecDeque;
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
use crate::engine::history::{Condensed, History};
use crate::engine::resume::Unended;
use crate::engine::time::{Timestamp, seconds};

const JOURNAL: &str = "journal";

/// A journal that has nothing to say yet.
const NEW: &str = "journal.new";

/// The version of the format; it changes only where this program could not read a journal any more.
const VERSION: u64 = 1;

/// How long a journal may become before it is condensed; or twice as long as it was then, if that is more.
const MOST: u64 = 1024 * 1024;

/// Of how many lines it is known where they end, should there be no room for the last one.
const ENDS: usize = 32;

/// How much is kept that cannot be written: a disk may have room again.
const MOST_UNWRITTEN: usize = 1024 * 1024;

/// What a journal says.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// What the run was called with, and what it was gone on with; the last is the latest.
    pub calls: Vec<Call>,
    /// What happened in it: first of all that it started, with what is known of that; or what has happened since the journal was condensed.
    pub records: Vec<Record>,
    /// What happened before.
    before: Option<Condensed>,
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
    /// Where the last lines end, the latest last.
    ends: VecDeque<u64>,
    /// Lines that could not be written.
    unwritten: Vec<u8>,
    /// The lines of its calls.
    calls: Vec<u8>,
    /// The line of the last wait.
    wait: Vec<u8>,
    /// How long it may become before it is condensed.
    most: u64,
}

#[derive(Serialize)]
struct CallLine<'a> {
    v: u64,
    call: &'a Call,
}

/// What happened up to the start of an attempt, where the records of it were too many.
#[derive(Serialize)]
struct CondensedLine<'a> {
    v: u64,
    run: &'a str,
    condensed: &'a Condensed,
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
    // What is behind the last newline is not whole.
    let line = bytes.rsplit(|byte| *byte == b'\n').nth(1);
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

/// What the bytes of a journal say; `job` is the run's name, where that is known. None if they say nothing.
///
/// # Errors
/// A later version of this program wrote it.
pub fn parse(bytes: &[u8], job: Option<&str>) -> io::Result<Option<Told>> {
    let mut told = Told::default();
    let mut starting = None;
    let mut wait = None;
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
        } else if let Some(condensed) = value.get_mut("condensed") {
            match Condensed::deserialize(condensed.take()) {
                Ok(condensed) => {
                    told.before = Some(condensed);
                    told.records.clear();
                    told.head = told.whole;
                }
                Err(_) => told.damaged += 1,
            }
        } else if knows(&value) {
            let Ok(record) = Record::deserialize(value) else {
                told.damaged += 1;
                continue;
            };
            told.begin(starting.take().filter(|_| !starts(&record)), wait);
            wait = if starts(&record) { None } else { wait_of(&record).or(wait) };
            if told.records.is_empty() && told.before.is_none() {
                told.head = told.whole;
            }
            told.records.push(record);
        }
    }
    told.begin(starting, wait);
    let has_begun = told.before.is_some() || told.start_if_missing(run_id, job);
    Ok(has_begun.then_some(told))
}

/// Whether a line is a record of a kind that is known here.
fn knows(value: &Value) -> bool {
    let event = value.get("event").and_then(Value::as_str);
    event.is_some_and(|event| Event::NAMES.contains(&event))
}

fn starts(record: &Record) -> bool {
    matches!(record.event, Event::AttemptStarted(_))
}

/// The wait that a record begins: since when, and for how long.
fn wait_of(record: &Record) -> Option<(Duration, Duration)> {
    match &record.event {
        Event::RetryPlanned(planned) => Some((record.t, planned.delay)),
        _ => None,
    }
}

impl Told {
    /// What it adds up to.
    #[must_use]
    pub fn history(&self) -> Option<History> {
        let Some(before) = self.before.clone() else { return History::of(&self.records) };
        let mut history = History::from(before);
        self.records.iter().for_each(|record| history.apply(record));
        Some(history)
    }

    /// The run, if it has not ended.
    #[must_use]
    pub fn unended(&self) -> Option<Unended> {
        match self.before.clone() {
            Some(before) => Unended::after(before.into(), &self.records),
            None => Unended::of(&self.records),
        }
    }

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

    /// An attempt was about to start, after a wait if there was one, and it is not told that it did.
    fn begin(&mut self, starting: Option<Starting>, wait: Option<(Duration, Duration)>) {
        let Some(Starting { attempt, trigger, at, t }) = starting else { return };
        let waited =
            wait.map_or(Duration::ZERO, |(since, delay)| t.saturating_sub(since).min(delay));
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
        let mut journal = Journal::of(folder, new_file(folder)?, &Told::default());
        journal.is_new = true;
        for call in calls {
            journal.calls.extend(bytes_of(&CallLine { v: VERSION, call })?);
        }
        journal.unwritten.clone_from(&journal.calls);
        journal.write()?;
        Ok(journal)
    }

    /// A journal that is gone on with; what is not whole at its end is cut off. The call is written with the first record: one that comes
    /// to nothing has said nothing.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn go_on(folder: &Folder, told: &Told, call: &Call) -> io::Result<Journal> {
        let file = folder.open(JOURNAL, OFlags::WRONLY | OFlags::APPEND)?;
        file.set_len(told.whole)?;
        let mut journal = Journal::of(folder, file, told);
        for call in &told.calls {
            journal.calls.extend(bytes_of(&CallLine { v: VERSION, call })?);
        }
        if told.calls.last() != Some(call) {
            let line = bytes_of(&CallLine { v: VERSION, call })?;
            journal.calls.extend(&line);
            journal.unwritten = line;
        }
        Ok(journal)
    }

    fn of(folder: &Folder, file: File, told: &Told) -> Journal {
        Journal {
            folder: folder.clone(),
            file,
            is_new: false,
            whole: told.whole,
            head: told.head,
            ends: VecDeque::new(),
            unwritten: Vec::new(),
            calls: Vec::new(),
            wait: Vec::new(),
            most: MOST,
        }
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
        let starting = bytes_of(&StartingLine { v: VERSION, starting })?;
        if self.whole > self.most && !self.is_new && self.condense(&starting, history).is_ok() {
            return Ok(());
        }
        self.add(&starting)?;
        self.file.sync_data()
    }

    /// Writes it anew, with what it adds up to in the place of its records, and an attempt that is about to start. As before where that
    /// fails.
    fn condense(&mut self, starting: &[u8], history: &History) -> io::Result<()> {
        // Not again soon, whatever comes of it.
        self.most = self.whole.saturating_mul(2);
        let condensed = &Condensed::from(history);
        let line = bytes_of(&CondensedLine { v: VERSION, run: &history.run_id, condensed })?;
        let head = [&self.calls[..], &self.wait, &line].concat();
        let mut file = new_file(&self.folder)?;
        let written =
            file.write_all(&[&head[..], starting].concat()).and_then(|()| file.sync_data());
        let written =
            written.and_then(|()| fs::rename(self.folder.file(NEW), self.folder.file(JOURNAL)));
        if written.is_err() {
            let _stays = fs::remove_file(self.folder.file(NEW));
            return written;
        }
        // From here on it is the journal, whatever else fails.
        self.file = file;
        self.head = head.len() as u64;
        self.whole = self.head + starting.len() as u64;
        self.most = self.whole.saturating_mul(2).max(MOST);
        self.ends.clear();
        self.unwritten.clear();
        self.folder.sync()
    }

    /// Adds a record.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn record(&mut self, record: &Record, history: &History) -> io::Result<()> {
        let line = bytes_of(&Line::new(&history.run_id, record))?;
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
        if matches!(record.event, Event::RetryPlanned(_)) {
            self.wait = line;
        }
        if mem::take(&mut self.is_new) {
            self.head = self.whole;
            fs::rename(self.folder.file(NEW), self.folder.file(JOURNAL))?;
            self.folder.sync()?;
        }
        Ok(())
    }

    /// Gives up what happened last for the record that ends the run: one that has ended must not be gone on with.
    fn end_in_less_room(&mut self, line: &[u8]) {
        let head = self.head;
        let ends = mem::take(&mut self.ends).into_iter().rev().filter(|end| *end > head);
        for end in ends.chain([head]) {
            self.unwritten.clear();
            self.whole = end;
            if self.file.set_len(end).and_then(|()| self.add(line)).is_ok() {
                return;
            }
        }
        let _stays = fs::remove_file(self.folder.file(JOURNAL));
    }

    /// Adds a line, and what could not be written before it.
    fn add(&mut self, line: &[u8]) -> io::Result<()> {
        self.unwritten.extend(line);
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.write_all(&self.unwritten) {
            // A part of it may have been written, and the next line is to be one.
            let _stays = self.file.set_len(self.whole);
            if self.unwritten.len() > MOST_UNWRITTEN {
                self.unwritten.clear();
            }
            return Err(error);
        }
        if self.ends.len() == ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back(self.whole);
        self.whole += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }
}

/// A file for a journal that has nothing to say yet, in the place of one that never had.
fn new_file(folder: &Folder) -> io::Result<File> {
    match fs::remove_file(folder.file(NEW)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    folder.open(NEW, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND)
}

fn bytes_of(line: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::Outcome;
    use crate::engine::resume::Stood;

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
        for garbage in [
            &b"\0\0\0\0\0\n"[..],
            b"{\"v\":1,\"event\":\"attempt_ended\"}\n",
            b"{\"v\":1,\"ru\n",
            b"\xff\xfe\n",
            b"\n",
            b"7\n",
            b"{}\n",
        ] {
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

    /// What a wrapper whose command fails again and again tells of its next attempt.
    fn tell_an_attempt(journal: &mut Journal, history: &mut History, number: u64, of: &[Record]) {
        let seconds = Duration::from_secs(number);
        let at = history.started_at.plus(seconds);
        for (step, record) in of.iter().enumerate() {
            let mut record = Record { at, t: seconds, ..record.clone() };
            match &mut record.event {
                Event::AttemptStarted(event) => {
                    event.attempt = number;
                    let trigger = event.trigger;
                    journal.starting(number, trigger, at, history).expect("it can be written");
                }
                Event::AttemptEnded(event) => event.attempt = number,
                Event::RetryPlanned(event) => event.attempt = number,
                _ => panic!("step {step} is none of an attempt"),
            }
            history.apply(&record);
            journal.record(&record, history).expect("it can be written");
        }
    }

    #[test]
    fn one_that_grows_is_condensed_and_says_the_same() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = Folder::at(home.path().to_owned());
        let words = told(WORDS).expect("it began");
        let begins = |record: &&Record| matches!(record.event, Event::RunStarted(_));
        let start = words.records.iter().find(begins).expect("it began");
        let retry = words.records.iter().rposition(|record| {
            matches!(&record.event, Event::AttemptStarted(event) if event.trigger == Trigger::Retry)
        });
        let retry = &words.records[retry.expect("there was one")..];
        assert!(matches!(
            retry,
            [
                _,
                Record { event: Event::AttemptEnded(_), .. },
                Record { event: Event::RetryPlanned(_), .. }
            ]
        ));
        let mut history = History::of([start]).expect("it began");
        let mut journal = Journal::create(&folder, &words.calls).expect("it can be written");
        journal.record(start, &history).expect("it can be written");
        let mut condensed = 0;
        for number in 1..=150 {
            let before = journal.whole;
            if number % 40 == 0 {
                journal.most = 0;
            }
            tell_an_attempt(&mut journal, &mut history, number, retry);
            condensed += u32::from(journal.whole < before);
            assert_eq!(
                fs::metadata(folder.file(JOURNAL)).map(|it| it.len()).ok(),
                Some(journal.whole)
            );
            let told = read(&folder).expect("it can be read").expect("it began");
            assert_eq!((told.damaged, &told.calls), (0, &words.calls));
            assert_eq!(told.history().as_ref(), Some(&history), "after attempt {number}");
            assert!(matches!(told.unended().map(|it| it.stood), Some(Stood::Waiting { .. })));
        }
        assert!(condensed == 3 && history.attempts_omitted == 40, "{condensed} times");
        // Where it is cut off behind that, one attempt was about to start after its wait.
        journal.most = 0;
        let (at, waited) = (history.started_at.plus(Duration::from_secs(9_000)), history.waited);
        journal.starting(151, Trigger::Retry, at, &history).expect("it can be written");
        let told = read(&folder).expect("it can be read").expect("it began");
        let after = told.history().expect("it began");
        assert!(told.before.is_some() && told.records.len() == 1);
        assert_eq!((after.last_number(), after.retry_count), (151, history.retry_count + 1));
        assert!(after.waited > waited, "its wait was over");
        assert!(matches!(told.unended().map(|it| it.stood), Some(Stood::Attempting { .. })));
        // It is gone on with like any other, and has an end.
        let call = told.calls.last().expect("there is one");
        let mut journal = Journal::go_on(&folder, &told, call).expect("it can be written");
        let ended = super::tests::told(ENDED).expect("it began");
        journal
            .record(ended.records.last().expect("it ended"), &history)
            .expect("it can be written");
        let told = read(&folder).expect("it can be read").expect("it began");
        assert!(told.unended().is_none() && told.history().is_some_and(|it| it.outcome.is_some()));
        // Without the line of what happened before, the rest counts.
        let bytes = fs::read(folder.file(JOURNAL)).expect("it is there");
        let mut lines = lines(&bytes);
        let at = lines
            .iter()
            .position(|line| line.windows(11).any(|part| part == b"\"condensed\""))
            .expect("it was condensed");
        lines[at] = b"{\"v\":1,\"condensed\":7}\n";
        let told = super::tests::told(&lines.concat()).expect("something happened");
        assert_eq!((told.damaged, told.history().map(|it| it.last_number())), (1, Some(151)));
    }

    #[test]
    fn the_names_of_events_are_those_on_the_wire() {
        let error = serde_json::from_str::<Record>(
            "{\"at\":\"2025-11-26T01:22:14.349Z\",\"t\":0,\"event\":\"x\"}",
        );
        let known = Event::NAMES.map(|name| format!("`{name}`")).join(", ");
        let error = error.expect_err("there is no such event").to_string();
        assert!(error.contains(&format!("expected one of {known}")), "{error}");
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
