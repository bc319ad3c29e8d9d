//! Our outputs, written without ever blocking: for what a command wrote, and for our own lines.
//!
//! O_NONBLOCK belongs to an open file description, which we share with whoever gave it to us: it is never set there.

use std::collections::VecDeque;
use std::fs::File;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open, sendfile};
use rustix::io::{Errno, ioctl_fionread, retry_on_intr};
use rustix::net::{SendFlags, send};
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::task::unconstrained;

use super::clock::reading;
use super::input::PAGE;
use super::line;
use super::output::Output;
use super::readable::Readable;
use super::scribe::Scribe;

/// Less is copied into a pipe: moved, every bit of it would take a page there, and the pipe would hold less than without us.
const WORTH_MOVING: u64 = 16 * 1024;

/// How long we wait, in all, for those who do not read what we write ourselves.
const PATIENCE: Duration = Duration::from_secs(2);

/// As much of that as reports may take: some is left for our own lines, and for the history.
const PATIENCE_WITH_REPORTS: Duration = Duration::from_millis(1500);

/// As much of that as one report may take: some is left for the next.
pub(super) const PATIENCE_WITH_ONE: Duration = Duration::from_millis(750);

/// Something that is written, and refuses instead of blocking.
pub(super) struct Writer {
    fd: OwnedFd,
    way: Way,
    is_pipe: bool,
}

/// How not to block.
enum Way {
    /// A description of our own, non-blocking.
    Own,
    /// A flag of each call, for a socket.
    Flag,
    /// By a thread, where it cannot be opened again. The descriptor is one that tells when that has room.
    Aside(Scribe),
    /// Files do not make anybody wait.
    Plain,
}

impl Writer {
    /// A writer to what a descriptor is open for.
    ///
    /// # Errors
    /// Descriptors are lacking.
    pub(super) fn of(given: BorrowedFd<'_>) -> io::Result<Writer> {
        let stat = fstat(given)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let path = format!("/proc/self/fd/{}", given.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let is_pipe = kind == FileType::Fifo;
        let way = match kind {
            FileType::Fifo | FileType::CharacterDevice => match open(path, flags, Mode::empty()) {
                Ok(fd) => return Ok(Writer { fd, way: Way::Own, is_pipe }),
                Err(_) => {
                    let (scribe, fd) = Scribe::of(given, &stat)?;
                    return Ok(Writer { fd, way: Way::Aside(scribe), is_pipe });
                }
            },
            FileType::Socket => Way::Flag,
            _ => Way::Plain,
        };
        Ok(Writer { fd: given.try_clone_to_owned()?, way, is_pipe })
    }

    /// A writer to what has a path, such as a fifo.
    ///
    /// # Errors
    /// It cannot be opened; ENXIO where nobody reads it.
    pub(super) fn at(path: &Path) -> io::Result<Writer> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = open(path, flags, Mode::empty())?;
        let is_pipe = is_pipe(&fd)?;
        Ok(Writer { fd, way: Way::Own, is_pipe })
    }

    /// Writes what there is room for; WouldBlock if there is none. Then to be asked again with the same bytes, or more: some may be on
    /// their way.
    ///
    /// # Errors
    /// Those of write(2).
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let write = || match &self.way {
            Way::Own | Way::Plain => Ok(rustix::io::write(&self.fd, bytes)?),
            Way::Flag => Ok(send(&self.fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?),
            Way::Aside(scribe) => scribe.try_write(bytes),
        };
        loop {
            match write() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => return written,
            }
        }
    }

    /// Waits for room in a report, of which there was none, as long as our patience lasts, and no longer than this. Answers how long.
    ///
    /// # Errors
    /// It is over.
    pub(super) fn wait_for_a_report(&self, most: Duration) -> io::Result<Duration> {
        self.wait_within(PATIENCE_WITH_REPORTS, most)
    }

    /// Waits for room, of which there was none, as long as our patience lasts: all that we write shares it.
    ///
    /// # Errors
    /// It is over.
    fn wait_for_room(&self) -> io::Result<()> {
        self.wait_within(PATIENCE, PATIENCE).map(drop)
    }

    fn wait_within(&self, in_all: Duration, most: Duration) -> io::Result<Duration> {
        let waited = Duration::from_nanos(WAITED.load(Ordering::Relaxed));
        let patience = in_all.saturating_sub(waited).min(most);
        if patience.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"));
        }
        let before = reading(libc::CLOCK_MONOTONIC);
        self.has_room_within(patience);
        let waited = reading(libc::CLOCK_MONOTONIC).saturating_sub(before);
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        WAITED.fetch_add(nanos, Ordering::Relaxed);
        Ok(waited)
    }

    /// Whether what is in a pipe is better copied here: where pages would be left half empty that the command would have filled. Without
    /// a reader a pipe is to take as much through us as it does by itself.
    fn prefers_a_copy_of(&self, pipe: &Readable) -> bool {
        let page = PAGE as u64;
        self.is_pipe
            && (ioctl_fionread(pipe.fd()).is_ok_and(|there| there < WORTH_MOVING)
                || ioctl_fionread(&self.fd).is_ok_and(|here| here % page != 0))
    }

    fn has_room_within(&self, patience: Duration) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        let patience = Timespec::try_from(patience).ok();
        matches!(poll(&mut fds, patience.as_ref()), Ok(1..))
    }
}

fn is_pipe(fd: &OwnedFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Fifo)
}

impl AsRawFd for Writer {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Writer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An output in the event loop.
pub struct Outlet(Registered);

enum Registered {
    /// The event loop tells when there is room.
    Waits(AsyncFd<Writer>),
    /// There always is.
    Takes(Writer),
}

impl Outlet {
    /// An outlet to one of our outputs.
    ///
    /// # Errors
    /// Descriptors are lacking.
    pub fn open(output: Output) -> io::Result<Outlet> {
        let writer = Writer::of(output.fd())?;
        // SAFETY: the descriptor is open, stays open and stays the same one as long as the writer owns it, and that is owned by
        // what is made here.
        Ok(Outlet(match unsafe { AsyncFd::register(writer) } {
            Ok(writer) => Registered::Waits(writer),
            // The kernel refuses to wait for files and for /dev/null (EPERM): they always take what they are given.
            Err(error) => Registered::Takes(error.into_parts().0),
        }))
    }

    /// Writes once if there is room; answers how much was taken.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let writer = match &self.0 {
            Registered::Takes(writer) => return Poll::Ready(writer.try_write(bytes)),
            Registered::Waits(writer) => writer,
        };
        loop {
            let mut room = ready!(poll_room(writer, context))?;
            if let Ok(written) = room.try_io(|writer| writer.get_ref().try_write(bytes)) {
                return Poll::Ready(written);
            }
        }
    }
}

/// Waits for room. That it is another's turn, since we were busy for long, does not count: no room means that the reader is stalled.
fn poll_room<'a>(
    writer: &'a AsyncFd<Writer>,
    context: &mut Context<'_>,
) -> Poll<io::Result<AsyncFdReadyGuard<'a, Writer>>> {
    let room = unconstrained(poll_fn(|context| writer.poll_write_ready(context)));
    pin!(room).poll(context)
}

/// What became of bytes that were to be moved without being looked at.
#[derive(Debug)]
pub enum Moved {
    /// So many were; 0 is the end.
    Bytes(usize),
    /// There is no room for them.
    NoRoom,
    /// They are there, and are better copied.
    Refused,
}

impl Outlet {
    /// Whether the kernel may be asked to move bytes here: not where a call would then wait for room.
    #[must_use]
    pub fn can_be_moved_to(&self) -> bool {
        matches!(self.writer().way, Way::Own | Way::Plain)
    }

    fn is_to_a_pipe_with_room(&self) -> bool {
        self.writer().is_pipe && self.writer().has_room_within(Duration::ZERO)
    }

    fn writer(&self) -> &Writer {
        match &self.0 {
            Registered::Takes(writer) => writer,
            Registered::Waits(writer) => writer.get_ref(),
        }
    }

    /// Writes once from a place in a file, without looking at it, by sendfile(2) if there is room; answers how much was taken.
    ///
    /// # Errors
    /// Those of sendfile(2); EINVAL where the kernel cannot, such as to a file that is appended to.
    pub fn poll_send(
        &self,
        context: &mut Context<'_>,
        file: &File,
        mut place: u64,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let mut send = |writer: &Writer| {
            retry_on_intr(|| sendfile(writer, file, Some(&mut place), most))
                .map_err(io::Error::from)
        };
        let writer = match &self.0 {
            Registered::Takes(writer) => return Poll::Ready(send(writer)),
            Registered::Waits(writer) => writer,
        };
        loop {
            let mut ready = ready!(writer.poll_write_ready(context))?;
            if let Ok(sent) = ready.try_io(|writer| send(writer.get_ref())) {
                return Poll::Ready(sent);
            }
        }
    }

    /// Moves what is in a pipe here by splice(2), as soon as there is something. Where there is no room, whoever asks is woken when there is.
    ///
    /// # Errors
    /// Those of splice(2); EINVAL where the kernel cannot.
    pub(super) fn poll_move(
        &self,
        context: &mut Context<'_>,
        pipe: &Readable,
        most: usize,
    ) -> Poll<io::Result<Moved>> {
        let writer = self.writer();
        loop {
            let mut data = ready!(pipe.poll_ready(context))?;
            if writer.prefers_a_copy_of(pipe) {
                return Poll::Ready(Ok(Moved::Refused));
            }
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            match splice(pipe.fd(), None, writer, None, most, flags) {
                Ok(moved) => return Poll::Ready(Ok(Moved::Bytes(moved))),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if ioctl_fionread(pipe.fd()) == Ok(0) => data.clear_ready(),
                Err(Errno::AGAIN) => {
                    let Registered::Waits(writer) = &self.0 else {
                        return Poll::Ready(Err(Errno::INVAL.into()));
                    };
                    match poll_room(writer, context) {
                        // Its reader may have taken something meanwhile, of which nobody would tell us again.
                        Poll::Ready(Ok(_)) if self.is_to_a_pipe_with_room() => {}
                        Poll::Ready(room) => room?.clear_ready(),
                        Poll::Pending => return Poll::Ready(Ok(Moved::NoRoom)),
                    }
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

/// How long we have waited with what we write ourselves, in nanoseconds.
static WAITED: AtomicU64 = AtomicU64::new(0);

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
        let Some(Outlet(Registered::Waits(stderr))) = outlet else { return pending().await };
        while let Ok(mut room) = stderr.writable().await {
            if lines().pass_on().unwrap_or(true) {
                return;
            }
            room.clear_ready();
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
            let writer = match self.writer.take() {
                Some(writer) => writer,
                None => Writer::of(Output::Stderr.fd())?,
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
                Some(writer) if !self.queue.is_empty() => writer.wait_for_room()?,
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn size(&self) -> usize {
        self.queue.iter().map(Vec::len).sum()
    }
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
    fn there_is_room_however_long_the_event_loop_has_no_turn() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let written = runtime.expect("a runtime").block_on(async {
            let (mut reader, writer) = pipe().expect("a pipe");
            let writer = Writer::of(writer.as_fd()).expect("a description of our own");
            // SAFETY: as for an outlet.
            let writer = unsafe { AsyncFd::register(writer) }.expect("it can be waited for");
            let outlet = Outlet(Registered::Waits(writer));
            // An event loop knows of the room only after its first turn.
            poll_fn(|context| outlet.poll_write(context, b".")).await.expect("there is room");
            poll_fn(|context| {
                let took = |_: &u32| {
                    let mut byte = [0];
                    reader.read_exact(&mut byte).expect("it was written");
                    matches!(outlet.poll_write(context, b"."), Poll::Ready(Ok(1)))
                };
                Poll::Ready((0..1000).take_while(took).count())
            })
            .await
        });
        assert_eq!(written, 1000);
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
