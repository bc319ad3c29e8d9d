//! A descriptor of ours whose readability the event loop waits for.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// A non-blocking descriptor in the event loop.
pub(super) struct Readable(AsyncFd<OwnedFd>);

impl Readable {
    /// Registers a descriptor that was opened non-blocking.
    ///
    /// # Errors
    /// The kernel lacks the memory for it.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Readable> {
        // SAFETY: an OwnedFd is open, stays open and stays the same one as long as it is owned, and it is owned
        // by what is made here.
        let registered = unsafe { AsyncFd::register(fd) };
        Ok(Readable(registered?))
    }

    /// The descriptor.
    pub(super) fn fd(&self) -> &OwnedFd {
        self.0.get_ref()
    }

    /// Waits until it can be read, or has ended.
    pub(super) async fn ready(&self) {
        // It fails only while the runtime shuts down.
        let _ready = self.0.readable().await;
    }

    /// Reads once, as soon as there is something to read.
    ///
    /// # Errors
    /// Those of read(2).
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|context| self.poll_read(context, buffer)).await
    }

    /// Reads once if there is something to read.
    ///
    /// # Errors
    /// Those of read(2).
    pub(super) fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let read = ready
                .try_io(|fd| rustix::io::read(fd.get_ref(), &mut *buffer).map_err(io::Error::from));
            match read {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(read) => return Poll::Ready(read),
                Err(_would_block) => {}
            }
        }
    }

    /// Waits until the event loop knows of something to read.
    ///
    /// # Errors
    /// It shuts down.
    pub(super) fn poll_ready<'a>(
        &'a self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<AsyncFdReadyGuard<'a, OwnedFd>>> {
        self.0.poll_read_ready(context)
    }

    /// Moves what is in a pipe to a place in a file by splice(2), as soon as there is something. 0 is the end.
    ///
    /// # Errors
    /// Those of splice(2); EINVAL where the kernel cannot.
    pub(super) fn poll_move_to_file(
        &self,
        context: &mut Context<'_>,
        file: &File,
        mut place: u64,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut data = ready!(self.poll_ready(context))?;
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            match splice(self.fd(), None, file, Some(&mut place), most, flags) {
                Err(Errno::AGAIN) => data.clear_ready(),
                Err(Errno::INTR) => {}
                moved => return Poll::Ready(moved.map_err(io::Error::from)),
            }
        }
    }

    /// Reads once what is there, whatever the event loop knows of it.
    ///
    /// # Errors
    /// Those of read(2), also WouldBlock.
    pub(super) fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        rustix::io::retry_on_intr(|| rustix::io::read(self.fd(), &mut *buffer))
            .map_err(io::Error::from)
    }
}
