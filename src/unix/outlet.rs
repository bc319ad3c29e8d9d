//! Our outputs, written without ever blocking: for what a command wrote, and for our own lines, which are `lines`'s.
//!
//! O_NONBLOCK belongs to an open file description, which we share with whoever gave it to us: it is never set there.

use std::fs::File;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, open, sendfile};
use rustix::io::{Errno, ioctl_fionread, retry_on_intr};
use rustix::net::{SendFlags, send};
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::task::unconstrained;

use super::clock::reading;
use super::input::PAGE;
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

/// How long we have waited with what we write ourselves, in nanoseconds.
static WAITED: AtomicU64 = AtomicU64::new(0);

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
    /// It is open for reading alone, as each call says. To open it again would give us a right that we were not given.
    None,
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
            FileType::Fifo | FileType::CharacterDevice
                if fcntl_getfl(given)? & OFlags::ACCMODE == OFlags::RDONLY =>
            {
                Way::None
            }
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
            Way::Own | Way::Plain | Way::None => Ok(rustix::io::write(&self.fd, bytes)?),
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
    pub(super) fn wait_for_room(&self) -> io::Result<()> {
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
        if matches!(writer.way, Way::None) {
            // There never is room in it.
            return Ok(Outlet(Registered::Takes(writer)));
        }
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

impl Outlet {
    /// Tries something whenever there is room, until it succeeds; for ever where there always is.
    pub(super) async fn when_there_is_room(&self, mut succeeds: impl FnMut() -> bool) {
        let Registered::Waits(writer) = &self.0 else { return pending().await };
        while let Ok(mut room) = writer.writable().await {
            if succeeds() {
                return;
            }
            room.clear_ready();
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

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};

    use super::*;

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
}
