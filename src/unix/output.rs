//! Stdout and stderr as we were given them, and what a command gets in their place when we read what it writes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_setfl, fstat, open};
use rustix::io::ioctl_fionread;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    OptionalActions, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use super::outlet::{Moved, Outlet};
use super::readable::Readable;
use super::start::Start;

/// A standard stream for output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Output {
    /// Our descriptor.
    #[must_use]
    pub fn fd(self) -> BorrowedFd<'static> {
        match self {
            Output::Stdout => rustix::stdio::stdout(),
            Output::Stderr => rustix::stdio::stderr(),
        }
    }

    /// Whether it was open when we started.
    #[must_use]
    pub fn was_open(self) -> bool {
        let [_, stdout, stderr] = Start::get().closed();
        match self {
            Output::Stdout => !stdout,
            Output::Stderr => !stderr,
        }
    }

    /// Whether nobody reads it any more. A file or a terminal is always read.
    #[must_use]
    pub fn is_closed(self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let fd = self.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
        let polled = poll(&mut fds, Some(&now));
        polled.is_ok()
            && fds.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP))
    }
}

/// An output that keeps nothing.
///
/// # Errors
/// Descriptors are lacking.
pub fn discarding() -> io::Result<OwnedFd> {
    Ok(open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Whether stdout and stderr are one open file, so that what is written to them has one order.
#[must_use]
pub fn are_one() -> bool {
    let (stdout, stderr) = (Output::Stdout.fd(), Output::Stderr.fd());
    if let Some(same) = same_description(1, 2) {
        return same || (isatty(stdout) && isatty(stderr) && same_file(stdout, stderr));
    }
    same_file(stdout, stderr)
}

fn same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let identity = |fd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino, stat.st_rdev)).ok();
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// Whether two descriptors of ours share an open file description, by kcmp(2); none where the kernel does not tell.
fn same_description(one: i32, other: i32) -> Option<bool> {
    const KCMP_FILE: libc::c_int = 0;
    let us = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: plain numbers.
    match unsafe { libc::syscall(libc::SYS_kcmp, us, us, KCMP_FILE, one, other) } {
        0 => Some(true),
        -1 => None,
        _ => Some(false),
    }
}

/// The end of a stream that we read, and the end that a command gets.
pub struct Channel {
    ours: Readable,
    theirs: Option<OwnedFd>,
    terminal: Option<Output>,
}

impl Channel {
    /// A channel in the place of an output: a pseudo-terminal of the same size where that is a terminal, else a pipe.
    ///
    /// # Errors
    /// Descriptors or pseudo-terminals are lacking.
    pub fn open(output: Output) -> io::Result<Channel> {
        if !isatty(output.fd()) {
            let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
            fcntl_setfl(&ours, OFlags::NONBLOCK | OFlags::RDONLY)?;
            return Ok(Channel {
                ours: Readable::new(ours)?,
                theirs: Some(theirs),
                terminal: None,
            });
        }
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let mut modes = tcgetattr(output.fd())?;
        // The real terminal does all that is to be done to the bytes.
        modes.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &modes)?;
        fcntl_setfl(&master, OFlags::NONBLOCK | OFlags::RDWR)?;
        let ours = Readable::new(master)?;
        let channel = Channel { ours, theirs: Some(slave), terminal: Some(output) };
        channel.resize();
        Ok(channel)
    }

    /// The command's end, until it is given away.
    #[must_use]
    pub fn theirs(&self) -> Option<BorrowedFd<'_>> {
        self.theirs.as_ref().map(AsFd::as_fd)
    }

    /// Closes the command's end of ours: from now on the channel ends when the last of its holders does.
    pub fn give_away(&mut self) {
        self.theirs = None;
    }

    /// Gives a pseudo-terminal the size of the real one. Whether it is one.
    pub fn resize(&self) -> bool {
        let Some(output) = self.terminal else { return false };
        if let Ok(size) = tcgetwinsize(output.fd()) {
            let size: Winsize = size;
            let _same_as_before = tcsetwinsize(self.ours.fd(), size);
        }
        true
    }

    /// How much is there to be read; none where the kernel does not tell, as of a pseudo-terminal, which has more behind it.
    #[must_use]
    pub fn waiting(&self) -> Option<usize> {
        let waiting = ioctl_fionread(self.ours.fd()).ok().filter(|_| self.terminal.is_none());
        waiting.and_then(|waiting| usize::try_from(waiting).ok())
    }

    /// Reads once if there is something; 0 is the end.
    ///
    /// # Errors
    /// Those of read(2). A pseudo-terminal ends by one (EIO).
    pub fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.ours.poll_read(context, buffer)
    }

    /// Whether what comes can be moved on by the kernel: a pipe's can.
    #[must_use]
    pub fn can_be_moved(&self) -> bool {
        self.terminal.is_none()
    }

    /// Moves what is there on, without looking at it.
    ///
    /// # Errors
    /// Those of [`Outlet::poll_move`].
    pub fn poll_move(
        &self,
        context: &mut Context<'_>,
        outlet: &Outlet,
        most: usize,
    ) -> Poll<io::Result<Moved>> {
        outlet.poll_move(context, &self.ours, most)
    }

    /// The same, to a place in a file.
    ///
    /// # Errors
    /// Those of splice(2); EINVAL where the kernel cannot.
    pub fn poll_move_to_file(
        &self,
        context: &mut Context<'_>,
        file: &File,
        place: u64,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        self.ours.poll_move_to_file(context, file, place, most)
    }

    /// Reads once what is there.
    ///
    /// # Errors
    /// As above, and WouldBlock where nothing is there.
    pub fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.ours.read_now(buffer)
    }
}
