//! Stdin as we were given it, and the pipe through which a command reads it where it is replayed.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{
    FileType, MemfdFlags, Mode, OFlags, SeekFrom, fcntl_getfl, fcntl_setfl, fstat, memfd_create,
    open, seek, tell,
};
use rustix::io::{Errno, ioctl_fionread, retry_on_intr};
use rustix::net::{RecvFlags, recv};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, tee};
use rustix::termios::isatty;
use tokio::io::unix::AsyncFd;

use super::start::Start;

/// How much a pipe between holds: a page, the least that the kernel makes.
pub const PAGE: usize = 4096;

/// What stdin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: it was closed when we started.
    Closed,
    /// A terminal.
    Terminal,
    /// A file, which can be set back.
    File,
    /// A pipe, also one with a name.
    Pipe,
    /// A socket.
    Socket,
    /// Another device.
    Other,
}

fn stdin() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

/// What our stdin is.
#[must_use]
pub fn kind() -> Kind {
    let [is_closed, ..] = Start::get().closed();
    if is_closed {
        return Kind::Closed;
    }
    match fstat(stdin()).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::RegularFile) => Kind::File,
        Ok(FileType::Fifo) => Kind::Pipe,
        Ok(FileType::Socket) => Kind::Socket,
        _ if isatty(stdin()) => Kind::Terminal,
        _ => Kind::Other,
    }
}

/// Where our stdin, a file, stands.
#[must_use]
pub fn offset() -> Option<u64> {
    tell(stdin()).ok()
}

/// Sets our stdin, a file, to a place.
///
/// # Errors
/// Those of lseek(2).
pub fn set_offset(place: u64) -> io::Result<()> {
    seek(stdin(), SeekFrom::Start(place))?;
    Ok(())
}

/// An input that is at its end.
///
/// # Errors
/// Descriptors are lacking.
pub fn null() -> io::Result<OwnedFd> {
    Ok(open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// An input that holds these bytes, from its start.
///
/// # Errors
/// Descriptors or memory are lacking.
pub fn holding(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// Our stdin, to be read.
pub struct Source {
    fd: Registered,
    kind: Kind,
}

enum Registered {
    Waits(AsyncFd<OwnedFd>),
    /// The kernel does not wait for it: a device that always has something.
    Gives(OwnedFd),
}

impl Source {
    /// Our stdin in the event loop. Its description, which others have too, is not changed.
    ///
    /// # Errors
    /// Descriptors are lacking.
    pub fn open() -> io::Result<Source> {
        let fd = stdin().try_clone_to_owned()?;
        // SAFETY: an OwnedFd is open, stays open and stays the same one as long as it is owned, and it is owned by what is
        // made here.
        let fd = match unsafe { AsyncFd::register(fd) } {
            Ok(fd) => Registered::Waits(fd),
            Err(error) => Registered::Gives(error.into_parts().0),
        };
        Ok(Source { fd, kind: kind() })
    }

    /// Whether what it gives can be shown to a command without being taken.
    #[must_use]
    pub fn can_be_shown(&self) -> bool {
        self.kind == Kind::Pipe
    }

    /// Shows the next bytes, a page at most, to the reader of an empty pipe, and leaves them where they are. 0 is the end.
    ///
    /// # Errors
    /// Those of tee(2).
    pub fn poll_show(&self, context: &mut Context<'_>, pipe: &Pipe) -> Poll<io::Result<usize>> {
        let Registered::Waits(source) = &self.fd else {
            return Poll::Ready(Err(Errno::INVAL.into()));
        };
        loop {
            let mut room = ready!(pipe.ours.poll_write_ready(context))?;
            let mut data = ready!(source.poll_read_ready(context))?;
            match tee(source.get_ref(), pipe.ours.get_ref(), PAGE, SpliceFlags::NONBLOCK) {
                Ok(shown) => {
                    if shown > 0 {
                        // Nobody told the event loop, which knows only of our writes.
                        room.clear_ready();
                    }
                    return Poll::Ready(Ok(shown));
                }
                Err(Errno::AGAIN) if pipe.unread() > 0 => room.clear_ready(),
                Err(Errno::AGAIN) => data.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Takes bytes that were shown.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn take(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::io::read(self.raw(), &mut *buffer))?)
    }

    /// Reads once, as soon as there is something. 0 is the end.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let source = match &self.fd {
            Registered::Waits(source) => source,
            Registered::Gives(_) => return Poll::Ready(self.take(buffer)),
        };
        loop {
            let mut ready = ready!(source.poll_read_ready(context))?;
            // What was true once may not be any more, and a read would block.
            if !has_something(source.get_ref()) {
                ready.clear_ready();
                continue;
            }
            let read = match self.kind {
                Kind::Socket => recv(source.get_ref(), &mut *buffer, RecvFlags::DONTWAIT)
                    .map(|(_, length)| length),
                _ => rustix::io::read(source.get_ref(), &mut *buffer),
            };
            match read {
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                read => return Poll::Ready(read.map_err(io::Error::from)),
            }
        }
    }

    fn raw(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Registered::Waits(fd) => fd.get_ref().as_fd(),
            Registered::Gives(fd) => fd.as_fd(),
        }
    }
}

fn has_something(fd: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&now)), Ok(1..))
}

/// A pipe of one page: when it takes something, all that was in it has been read.
pub struct Pipe {
    ours: AsyncFd<OwnedFd>,
    theirs: Option<OwnedFd>,
}

impl Pipe {
    /// An empty pipe.
    ///
    /// # Errors
    /// Descriptors are lacking.
    pub fn open() -> io::Result<Pipe> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setpipe_size(&ours, PAGE)?;
        fcntl_setfl(&ours, fcntl_getfl(&ours)? | OFlags::NONBLOCK)?;
        // SAFETY: as for a source.
        let ours = unsafe { AsyncFd::register(ours) }?;
        Ok(Pipe { ours, theirs: Some(theirs) })
    }

    /// The command's end, until it is given away.
    #[must_use]
    pub fn theirs(&self) -> Option<BorrowedFd<'_>> {
        self.theirs.as_ref().map(AsFd::as_fd)
    }

    /// Closes the command's end of ours.
    pub fn give_away(&mut self) {
        self.theirs = None;
    }

    /// How much in it was not read.
    #[must_use]
    pub fn unread(&self) -> usize {
        ioctl_fionread(self.ours.get_ref()).map_or(0, |unread| usize::try_from(unread).unwrap_or(0))
    }

    /// Waits until all that was in it has been read.
    ///
    /// # Errors
    /// The event loop shuts down.
    pub fn poll_empty(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut room = ready!(self.ours.poll_write_ready(context))?;
            if self.unread() == 0 {
                return Poll::Ready(Ok(()));
            }
            // Whether anybody is left who could read it, a write would tell: so does the event.
            if has_no_reader(self.ours.get_ref()) {
                return Poll::Ready(Err(Errno::PIPE.into()));
            }
            room.clear_ready();
        }
    }

    /// Writes once, as soon as there is room.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut room = ready!(self.ours.poll_write_ready(context))?;
            match room.try_io(|fd| Ok(retry_on_intr(|| rustix::io::write(fd.get_ref(), bytes))?)) {
                Ok(written) => return Poll::Ready(written),
                Err(_would_block) => {}
            }
        }
    }
}

fn has_no_reader(fd: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(fd, PollFlags::OUT)];
    matches!(poll(&mut fds, Some(&now)), Ok(1..))
        && fds.iter().any(|fd| fd.revents().contains(PollFlags::ERR))
}
