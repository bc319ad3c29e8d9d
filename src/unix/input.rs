//! Stdin as we were given it, and the pipe through which a command reads it where it is replayed.

use std::fs::File;
use std::io::{self, IoSliceMut, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{
    FileType, MemfdFlags, Mode, OFlags, SeekFrom, fcntl_getfl, fcntl_setfl, fstat, memfd_create,
    open, seek, sendfile, tell,
};
use rustix::io::{Errno, ReadWriteFlags, ioctl_fionread, preadv2, retry_on_intr};
use rustix::net::{RecvFlags, recv};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice, tee};
use rustix::termios::isatty;
use tokio::io::unix::AsyncFd;

use super::start::Start;

/// The least that a pipe holds.
pub const PAGE: usize = 4096;

/// How many pages of what is still in the source a pipe between holds at most.
pub const MOST_PAGES: usize = 16;

/// How many pages of what is kept it holds: as many as an unprivileged process may ask for.
pub const BULK_PAGES: usize = 256;

/// What a poll answers that a read would.
const ANYTHING: PollFlags = PollFlags::IN.union(PollFlags::HUP).union(PollFlags::ERR);

/// What stdin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: it was closed when we started, or is only written to.
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
    let is_read = |flags: OFlags| flags & OFlags::ACCMODE != OFlags::WRONLY;
    if is_closed || !fcntl_getfl(stdin()).is_ok_and(is_read) {
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

/// What takes everything.
fn nowhere() -> io::Result<OwnedFd> {
    Ok(open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?)
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
    can_be_shown: bool,
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
        let kind = kind();
        Ok(Source { fd, kind, can_be_shown: kind == Kind::Pipe })
    }

    /// Whether what it gives can be shown to a command without being taken.
    #[must_use]
    pub fn can_be_shown(&self) -> bool {
        self.can_be_shown
    }

    /// What it gives has to be taken first: the kernel does not show it.
    pub fn cannot_be_shown(&mut self) {
        self.can_be_shown = false;
    }

    /// Shows the next bytes, so many pages at most, to the reader of an empty pipe, and leaves them where they are. 0 is the end.
    ///
    /// # Errors
    /// Those of tee(2).
    pub fn poll_show(
        &self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let Registered::Waits(source) = &self.fd else {
            return Poll::Ready(Err(Errno::INVAL.into()));
        };
        loop {
            let mut data = ready!(source.poll_read_ready(context))?;
            // As many pages as there are for sure: only a pipe that is full tells when it is read.
            let pages = (unread(source.get_ref()) / PAGE).clamp(1, most.max(1));
            pipe.resize(1 << pages.ilog2());
            let length = pipe.pages * PAGE;
            // Asked before: what was shown would be shown again if this were not yet known.
            let mut room = ready!(pipe.ours.poll_write_ready(context))?;
            match tee(source.get_ref(), pipe.ours.get_ref(), length, SpliceFlags::NONBLOCK) {
                Ok(shown) => {
                    if shown > 0 && (pipe.pages == 1 || pipe.is_full()) {
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

    /// Takes bytes that were shown. Where somebody else has taken them, there may be none.
    ///
    /// # Errors
    /// Those of read(2), also WouldBlock.
    pub fn take(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // For a pipe no place is meant.
        const HERE: u64 = u64::MAX;
        let flags = ReadWriteFlags::NOWAIT;
        let read = || preadv2(self.raw(), &mut [IoSliceMut::new(buffer)], HERE, flags);
        match retry_on_intr(read) {
            // Linux before 6.4 knows it only of files.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if !is_ready(&self.raw(), ANYTHING) => {
                Err(Errno::AGAIN.into())
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.read(buffer),
            read => Ok(read?),
        }
    }

    /// The same, to a place in a file, without looking at them.
    ///
    /// # Errors
    /// Those of splice(2).
    pub fn take_to_file(&self, file: &File, mut place: u64, length: usize) -> io::Result<usize> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let splice = || splice(self.raw(), None, file, Some(&mut place), length, flags);
        Ok(retry_on_intr(splice)?)
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
            Registered::Gives(_) => return Poll::Ready(self.read(buffer)),
        };
        loop {
            let mut ready = ready!(source.poll_read_ready(context))?;
            // What was true once may not be any more, and a read would block.
            if !is_ready(source.get_ref(), ANYTHING) {
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

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::io::read(self.raw(), &mut *buffer))?)
    }

    fn raw(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Registered::Waits(fd) => fd.get_ref().as_fd(),
            Registered::Gives(fd) => fd.as_fd(),
        }
    }
}

/// Whether something is true of a descriptor now.
fn is_ready(fd: &impl AsFd, what: PollFlags) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(fd, what)];
    matches!(poll(&mut fds, Some(&now)), Ok(1..))
        && fds.iter().any(|fd| fd.revents().intersects(what))
}

/// How much in a pipe was not read.
fn unread(fd: &OwnedFd) -> usize {
    ioctl_fionread(fd).map_or(0, |unread| usize::try_from(unread).unwrap_or(0))
}

/// A pipe through which a command reads.
///
/// That something in it was read is told only where it was full: so it is when it holds a page, and is written to by us, or when it
/// holds as many pages as it was shown.
pub struct Pipe {
    ours: AsyncFd<OwnedFd>,
    theirs: Option<OwnedFd>,
    pages: usize,
    /// What taking back needs, where that is possible.
    spare: Option<Spare>,
}

/// Descriptors for taking back.
struct Spare {
    /// Where it goes.
    nowhere: OwnedFd,
    /// One that is kept free.
    _free: OwnedFd,
}

/// What became of what was in a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// All of it was read.
    All,
    /// A part of it was, and it will not be told when the rest is.
    Part,
}

impl Pipe {
    /// An empty pipe of one page.
    ///
    /// # Errors
    /// Descriptors are lacking.
    pub fn open() -> io::Result<Pipe> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setpipe_size(&ours, PAGE)?;
        fcntl_setfl(&ours, fcntl_getfl(&ours)? | OFlags::NONBLOCK)?;
        // SAFETY: as for a source.
        let ours = unsafe { AsyncFd::register(ours) }?;
        Ok(Pipe { ours, theirs: Some(theirs), pages: 1, spare: None })
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
        unread(self.ours.get_ref())
    }

    fn is_full(&self) -> bool {
        !is_ready(self.ours.get_ref(), PollFlags::OUT)
    }

    /// Lets it hold so many pages, a power of two; one where what is in more could not be taken back. What it holds has to fit. Answers
    /// whether it does.
    pub fn resize(&mut self, pages: usize) -> bool {
        if pages > 1 && self.spare.is_none() {
            let spare = || Ok(Spare { nowhere: nowhere()?, _free: nowhere()? });
            self.spare = self.reader().and_then(|_closed| spare()).ok();
        }
        let possible = if self.spare.is_some() { pages } else { 1 };
        let size = possible * PAGE;
        if possible != self.pages && fcntl_setpipe_size(self.ours.get_ref(), size).is_ok() {
            self.pages = possible;
        }
        self.pages == pages
    }

    /// Lets it hold many pages, so that whoever reads them seldom waits for us. Answers whether it does.
    pub fn widen(&mut self) -> bool {
        self.pages > MOST_PAGES || self.resize(BULK_PAGES) || self.resize(MOST_PAGES)
    }

    /// An end to read from, only for a while: whoever writes is to find out when the command has none any more.
    fn reader(&self) -> io::Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.ours.get_ref().as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(open(path, flags, Mode::empty())?)
    }

    /// Takes back what was not read; answers how much that is. It holds one page from then on.
    ///
    /// # Errors
    /// It cannot be read, though it could before; or descriptors are lacking, and it holds one page.
    pub fn take_back(&mut self) -> io::Result<usize> {
        let nowhere = match self.spare.take() {
            Some(Spare { nowhere, .. }) => nowhere,
            None => nowhere()?,
        };
        let reader = self.reader()?;
        // All of it in one call, in which nobody else reads: else the command could miss what is in the middle. A read would end
        // where a packet does, if whoever made our stdin has asked for that.
        let length = self.pages * PAGE;
        let splice = || splice(&reader, None, &nowhere, None, length, SpliceFlags::NONBLOCK);
        let taken = match retry_on_intr(splice) {
            Err(Errno::AGAIN) => 0,
            taken => taken?,
        };
        drop(reader);
        self.resize(1);
        Ok(taken)
    }

    /// Waits until what was in it has been read, or as much of it as it will tell.
    ///
    /// # Errors
    /// Nobody reads it, or the event loop shuts down.
    pub fn poll_read(&self, context: &mut Context<'_>) -> Poll<io::Result<Read>> {
        loop {
            let mut room = ready!(self.ours.poll_write_ready(context))?;
            if self.unread() == 0 {
                return Poll::Ready(Ok(Read::All));
            }
            // Whether anybody is left who could read it, a write would tell: so does the event.
            if is_ready(self.ours.get_ref(), PollFlags::ERR) {
                return Poll::Ready(Err(Errno::PIPE.into()));
            }
            if self.pages > 1 {
                return Poll::Ready(Ok(Read::Part));
            }
            room.clear_ready();
        }
    }

    /// Writes once from a place in a file, as soon as there is room, without looking at it.
    ///
    /// # Errors
    /// Those of sendfile(2).
    pub fn poll_send(
        &self,
        context: &mut Context<'_>,
        file: &File,
        mut place: u64,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut room = ready!(self.ours.poll_write_ready(context))?;
            let mut send = |fd| Ok(retry_on_intr(|| sendfile(fd, file, Some(&mut place), most))?);
            if let Ok(sent) = room.try_io(|fd| send(fd.get_ref())) {
                return Poll::Ready(sent);
            }
        }
    }

    /// Writes a page or less to one that is empty, which takes it whole.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn write_page(&self, bytes: &[u8]) -> io::Result<()> {
        retry_on_intr(|| rustix::io::write(self.ours.get_ref(), bytes))?;
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_shown_is_shown_once_however_long_the_event_loop_has_no_turn() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let shown = runtime.expect("a runtime").block_on(async {
            let (from, mut to) = io::pipe().expect("a pipe");
            // SAFETY: as for a source.
            let fd =
                unsafe { AsyncFd::register(OwnedFd::from(from)) }.expect("it can be waited for");
            let source = Source { fd: Registered::Waits(fd), kind: Kind::Pipe, can_be_shown: true };
            let mut pipe = Pipe::open().expect("a pipe");
            let mut command = File::from(pipe.reader().expect("an end"));
            let mut shown = Vec::new();
            let mut next = 0u32;
            poll_fn(|context| {
                while next < 1000 {
                    to.write_all(&next.to_be_bytes()).expect("there is room");
                    let result = source.poll_show(context, &mut pipe, 1);
                    // The command reads at once what there is.
                    let mut read = [0; PAGE];
                    let length = command.read(&mut read).unwrap_or(0);
                    shown.extend_from_slice(&read[..length]);
                    next += 1;
                    match result {
                        Poll::Ready(length) => {
                            let length = length.expect("it is shown");
                            let taken = source.take(&mut read[..length]).expect("it was shown");
                            assert_eq!(taken, length);
                        }
                        Poll::Pending => {
                            context.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                    }
                }
                Poll::Ready(())
            })
            .await;
            drop(to);
            let mut rest = Vec::new();
            let mut buffer = [0; PAGE];
            while let Ok(length @ 1..) = source.take(&mut buffer) {
                rest.extend_from_slice(&buffer[..length]);
            }
            [shown, rest].concat()
        });
        let expected: Vec<u8> = (0..1000u32).flat_map(u32::to_be_bytes).collect();
        assert!(shown == expected, "{} bytes of {}", shown.len(), expected.len());
    }
}
