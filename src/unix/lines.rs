//! Our own lines on stderr, which are never waited for while the run goes on, and begin where a line does.
//!
//! How to write without blocking is `outlet`'s.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::line;
use super::outlet::{Outlet, Writer};
use super::output::Output;

/// Our own lines that stderr has not taken yet, whoever of us has written them: they stay in their order.
static LINES: Mutex<Lines> = Mutex::new(Lines::new());

/// With so much that nobody has taken, more is too much.
const MOST: usize = 1024 * 1024;

/// Our stderr, for our own lines. While the run goes on, a reader who does not read is not waited for: the lines stay with us, and
/// where those are too many, the next are lost. At its end he is, but not for long: then what is left is lost.
pub struct Stderr;

impl Stderr {
    /// Passes on lines that were not taken, as soon as there is room for some; for ever, where there are none.
    pub async fn catch_up() {
        let outlet =
            if lines().queue.is_empty() { None } else { Outlet::open(Output::Stderr).ok() };
        match outlet {
            Some(outlet) => {
                outlet.when_there_is_room(|| lines().pass_on().unwrap_or(true)).await;
            }
            None => pending().await,
        }
    }

    /// Something of the command's was written there: our next line is to begin one.
    pub fn note(written: &[u8]) {
        match written.last() {
            Some(b'\n') => lines().stands = Stands::AtTheBeginning,
            Some(_) => lines().stands = Stands::WithinALine,
            None => {}
        }
    }

    /// Something is written there that we do not see.
    pub fn lose_track() {
        lines().stands = Stands::Anywhere;
    }

    /// The run is over: what is said of that is never too much.
    pub fn begin_the_end() {
        lines().is_the_end = true;
    }

    /// Waits a little for what has not been taken yet.
    ///
    /// # Errors
    /// Those of write(2); or nobody takes it.
    pub fn finish() -> io::Result<()> {
        lines().finish()
    }
}

impl io::Write for Stderr {
    /// Takes all of it: what is written in one piece is lost in one piece.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lines().write(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lines() -> MutexGuard<'static, Lines> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lines on their way, each by itself: a pipe takes one whole, and what others write there does not come between.
struct Lines {
    writer: Option<Writer>,
    queue: VecDeque<Vec<u8>>,
    /// Whether the first of them has a beginning that fits.
    is_begun: bool,
    stands: Stands,
    is_the_end: bool,
}

/// Where stderr stands, as far as all that is written there goes through us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    Anywhere,
    AtTheBeginning,
    WithinALine,
}

impl Lines {
    const fn new() -> Lines {
        Lines {
            writer: None,
            queue: VecDeque::new(),
            is_begun: false,
            stands: Stands::Anywhere,
            is_the_end: false,
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.pass_on()?;
        if self.size() > MOST && !self.is_the_end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"));
        }
        self.queue.push_back(line.to_vec());
        self.pass_on().map(drop)
    }

    /// Passes on what there is room for; answers whether there was any. What fails is not tried again.
    fn pass_on(&mut self) -> io::Result<bool> {
        let before = self.size();
        let passed_on = self.try_pass_on();
        if passed_on.is_err() {
            self.queue.clear();
            self.is_begun = false;
        }
        passed_on.map(|()| self.size() < before)
    }

    fn try_pass_on(&mut self) -> io::Result<()> {
        while let Some(line) = self.queue.front_mut() {
            if !std::mem::replace(&mut self.is_begun, true) {
                self.stands.begin(line);
            }
            line::erase();
            let writer = match self.writer.take().map_or_else(writer, Ok) {
                Ok(writer) => writer,
                Err(error) if is_a_lack(&error) => break,
                Err(error) => return Err(error),
            };
            match self.writer.insert(writer).try_write(line) {
                Ok(written) if written == line.len() => {
                    self.queue.pop_front();
                    self.is_begun = false;
                    if self.stands != Stands::Anywhere {
                        self.stands = Stands::AtTheBeginning;
                    }
                }
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(line.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        loop {
            self.pass_on()?;
            match &self.writer {
                _ if self.queue.is_empty() => return Ok(()),
                Some(writer) => writer.wait_for_room()?,
                None => return self.finish_as_anybody(),
            }
        }
    }

    /// Writes them as they are, where descriptors are still lacking: that may be what they say.
    fn finish_as_anybody(&mut self) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        self.queue.drain(..).try_for_each(|line| io::Write::write_all(&mut stderr, &line))
    }

    fn size(&self) -> usize {
        self.queue.iter().map(Vec::len).sum()
    }
}

fn writer() -> io::Result<Writer> {
    Writer::of(Output::Stderr.fd())
}

fn is_a_lack(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

impl Stands {
    /// Has a line begin where one does. One that begins so by itself does not leave an empty one before it.
    fn begin(self, line: &mut Vec<u8>) {
        match (self, line.first()) {
            (Stands::WithinALine, first) if first != Some(&b'\n') => line.insert(0, b'\n'),
            (Stands::AtTheBeginning, Some(b'\n')) => drop(line.remove(0)),
            (Stands::Anywhere | Stands::AtTheBeginning | Stands::WithinALine, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, pipe};
    use std::os::fd::AsFd;

    use super::*;

    /// What every pipe takes whole.
    const SMALL: usize = 4096;

    /// Lines to a pipe that is full, and its reader.
    fn stalled() -> (Lines, PipeReader) {
        let (reader, writer) = pipe().expect("a pipe");
        let writer = Writer::of(writer.as_fd()).expect("a description of our own");
        while writer.try_write(&[b'.'; SMALL]).is_ok() {}
        (Lines { writer: Some(writer), ..Lines::new() }, reader)
    }

    /// What the reader gets, with whatever the pipe could not hold, less that by which it was full.
    fn read(mut lines: Lines, mut reader: PipeReader) -> String {
        let mut text = String::new();
        while !lines.queue.is_empty() {
            let mut taken = [0; SMALL];
            reader.read_exact(&mut taken).expect("it is full");
            text.push_str(str::from_utf8(&taken).expect("text"));
            lines.pass_on().expect("somebody reads it");
        }
        drop(lines);
        reader.read_to_string(&mut text).expect("text");
        text.trim_start_matches('.').to_owned()
    }

    #[test]
    fn what_is_not_taken_at_once_stays_in_order() {
        let (mut lines, reader) = stalled();
        let long = "two".repeat(100_000) + "\n";
        for line in ["one\n", &long, "three\n"] {
            lines.write(line.as_bytes()).expect("it is kept");
        }
        assert_eq!(lines.pass_on().ok(), Some(false), "there is no room");
        assert!(read(lines, reader) == format!("one\n{long}three\n"));
    }

    #[test]
    fn a_line_begins_where_one_does_as_far_as_we_know() {
        let written = |stands| {
            let (mut lines, reader) = stalled();
            lines.stands = stands;
            for line in ["one\n", "\n{}\n"] {
                lines.write(line.as_bytes()).expect("it is kept");
            }
            read(lines, reader)
        };
        assert_eq!(written(Stands::Anywhere), "one\n\n{}\n");
        assert_eq!(written(Stands::AtTheBeginning), "one\n{}\n");
        assert_eq!(written(Stands::WithinALine), "\none\n{}\n");
    }

    #[test]
    fn of_too_much_the_next_is_lost_but_not_what_is_said_at_the_end() {
        let (mut lines, reader) = stalled();
        let line = [b'x'; 1023];
        let count = (0..2000).take_while(|_| lines.write(&line).is_ok()).count();
        assert_eq!(count, MOST / line.len() + 1);
        lines.is_the_end = true;
        lines.write(b"gave up\n").expect("it is kept");
        lines.write(b"{}\n").expect("it is kept");
        assert!(read(lines, reader) == "x".repeat(count * line.len()) + "gave up\n{}\n");
    }

    #[test]
    fn nothing_is_kept_for_a_reader_that_goes_away() {
        let (mut lines, reader) = stalled();
        lines.write(b"one\n").expect("it is kept");
        drop(reader);
        let kind = |result: io::Result<()>| result.map_err(|error| error.kind());
        assert_eq!(kind(lines.write(b"two\n")), Err(io::ErrorKind::BrokenPipe));
        assert!(lines.queue.is_empty());
        assert_eq!(kind(lines.finish()), Ok(()));
    }
}
