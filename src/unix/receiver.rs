//! What takes text in place: a descriptor that we were given, a fifo, a device.
//!
//! Nobody who reads it is waited for, but for the last of the text, and then not for long.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;

use super::outlet::{PATIENCE_WITH_ONE, Writer};
use super::start::Start;

/// With so much that nobody has taken, more is too much.
const MOST: usize = 1024 * 1024;

/// A receiver of text.
pub struct Receiver {
    writer: Option<Writer>,
    /// Where it is opened as soon as somebody reads it.
    path: Option<PathBuf>,
    queue: Vec<u8>,
}

impl Receiver {
    /// A descriptor that we were given, and that was checked.
    ///
    /// # Errors
    /// Descriptors are lacking.
    pub fn of_descriptor(number: i32) -> io::Result<Receiver> {
        // SAFETY: it is borrowed for this function alone; if it is not open, the first call says so.
        let given = unsafe { BorrowedFd::borrow_raw(number) };
        Ok(Receiver { writer: Some(Writer::of(given)?), path: None, queue: Vec::new() })
    }

    /// What has a path and is no file; none if it is one, or is not there. A fifo that nobody reads yet is opened later.
    ///
    /// # Errors
    /// It cannot be opened, or is a folder.
    pub fn at(path: &Path) -> io::Result<Option<Receiver>> {
        let kind = match fs::metadata(path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if kind.is_file() {
            return Ok(None);
        }
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let writer = match Writer::at(path) {
            Ok(writer) => Some(writer),
            Err(error) if kind.is_fifo() && is_unread(&error) => None,
            Err(error) => return Err(error),
        };
        Ok(Some(Receiver { writer, path: Some(path.to_owned()), queue: Vec::new() }))
    }

    /// Takes more text, and passes on what there is room for.
    ///
    /// # Errors
    /// Those of write(2); or too much was not taken.
    pub fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if self.queue.len() > MOST {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"));
        }
        self.queue.extend_from_slice(text);
        self.flush()
    }

    /// Waits a little for what has not been taken yet.
    ///
    /// # Errors
    /// Those of write(2); or nobody takes it.
    pub fn finish(&mut self) -> io::Result<()> {
        let mut patience = PATIENCE_WITH_ONE;
        loop {
            self.flush()?;
            match &self.writer {
                _ if self.queue.is_empty() => return Ok(()),
                Some(writer) => {
                    patience = patience.saturating_sub(writer.wait_for_a_report(patience)?);
                }
                None => return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it")),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let (None, Some(path)) = (&self.writer, &self.path) {
            match Writer::at(path) {
                Ok(writer) => self.writer = Some(writer),
                Err(error) if is_unread(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        while let Some(writer) = self.writer.as_ref().filter(|_| !self.queue.is_empty()) {
            match writer.try_write(&self.queue) {
                Ok(written) => drop(self.queue.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Checks that we were given a descriptor, to write to: to be asked before we open any of our own, since one of those may get its
/// number.
///
/// # Errors
/// It is not open, or not for writing (EBADF).
pub fn check_descriptor(number: i32) -> io::Result<()> {
    let closed = Start::get().closed();
    let was_closed = usize::try_from(number).map(|number| closed.get(number) == Some(&true));
    if was_closed.unwrap_or(true) {
        return Err(Errno::BADF.into());
    }
    // SAFETY: it is borrowed for this function alone; if it is not open, the call says so.
    let given = unsafe { BorrowedFd::borrow_raw(number) };
    if fcntl_getfl(given)? & OFlags::ACCMODE == OFlags::RDONLY {
        return Err(Errno::BADF.into());
    }
    Ok(())
}

/// Whether it is a fifo that cannot be opened since nobody reads it.
fn is_unread(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENXIO)
}
