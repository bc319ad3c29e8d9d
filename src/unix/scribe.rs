//! Whoever writes for us where a write may block: to a terminal or a pipe that cannot be opened again, as another user's after su.
//!
//! That such a thing is writable does not help: a terminal says so while it has room for one byte. So a thread writes, a piece at a time,
//! and may hang in that as long as it likes: it ends with us.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::Stat;
use rustix::io::{Errno, retry_on_intr};

use super::spawn::{block_all_signals, restore_signals};

/// How much is written at once: what every pipe takes whole (PIPE_BUF).
const PIECE: usize = 4096;

const STACK: usize = 64 * 1024;

/// The counter of an eventfd that is not writable.
const FULL: u64 = u64::MAX - 1;

/// All threads, each for one file: what several of us write there stays in its order.
static DESKS: Mutex<Vec<Desk>> = Mutex::new(Vec::new());

static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// One of those who write to a file.
pub(super) struct Scribe {
    desk: usize,
    number: u64,
}

/// Where a file's pieces are written.
struct Desk {
    identity: (u64, u64),
    file: OwnedFd,
    /// An eventfd that is writable as long as nothing is being written, which is what others wait for.
    room: OwnedFd,
    /// The thread, once there was something to write.
    thread: Option<Thread>,
    /// Whose piece it has.
    writes_for: Option<u64>,
    /// What became of pieces, until their owners ask.
    written: Vec<(u64, io::Result<usize>)>,
}

struct Thread {
    pieces: Sender<Vec<u8>>,
    results: Receiver<io::Result<usize>>,
}

impl Scribe {
    /// A scribe for a file, and what is writable when it has room.
    ///
    /// # Errors
    /// Descriptors are lacking.
    pub(super) fn of(file: BorrowedFd<'_>, stat: &Stat) -> io::Result<(Scribe, OwnedFd)> {
        let identity = (stat.st_dev, stat.st_ino);
        let mut desks = desks();
        let found = desks.iter().position(|desk| desk.identity == identity);
        let desk = found.unwrap_or(desks.len());
        if found.is_none() {
            let room = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let file = file.try_clone_to_owned()?;
            let (thread, writes_for, written) = (None, None, Vec::new());
            desks.push(Desk { identity, file, room, thread, writes_for, written });
        }
        let room = desks.get(desk).ok_or(Errno::BADF)?.room.try_clone()?;
        Ok((Scribe { desk, number: NUMBERS.fetch_add(1, Ordering::Relaxed) }, room))
    }

    /// Has the beginning of the bytes written, and answers how much was; until then WouldBlock. To be asked again with the same bytes,
    /// or more. Where no thread can be made, it is written at once, however long that takes.
    ///
    /// # Errors
    /// Those of write(2).
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match desks().get_mut(self.desk) {
            Some(desk) => desk.try_write(self.number, bytes),
            None => Err(Errno::BADF.into()),
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        if let Some(desk) = desks().get_mut(self.desk) {
            desk.forget(self.number);
        }
    }
}

impl Desk {
    fn try_write(&mut self, number: u64, bytes: &[u8]) -> io::Result<usize> {
        self.collect();
        let of_this = self.written.iter().position(|(owner, _)| *owner == number);
        if let Some(index) = of_this {
            return self.written.swap_remove(index).1;
        }
        if self.writes_for.is_none() {
            let piece = bytes.get(..PIECE).unwrap_or(bytes);
            if self.thread.is_none() {
                match Thread::start(self.file.try_clone()?, self.room.try_clone()?) {
                    Ok(thread) => self.thread = Some(thread),
                    // Where processes are lacking, that may be what it says.
                    Err(_) => return write(self.file.as_fd(), piece),
                }
            }
            self.begin(number, piece)?;
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn begin(&mut self, number: u64, piece: &[u8]) -> io::Result<()> {
        let thread = self.thread.as_ref().ok_or(Errno::SRCH)?;
        // First, since the thread takes it away again.
        rustix::io::write(&self.room, &FULL.to_ne_bytes())?;
        thread.pieces.send(piece.to_vec()).map_err(io::Error::other)?;
        self.writes_for = Some(number);
        Ok(())
    }

    fn collect(&mut self) {
        if let (Some(owner), Some(thread)) = (self.writes_for, &self.thread)
            && let Ok(result) = thread.results.try_recv()
        {
            self.writes_for = None;
            self.written.push((owner, result));
        }
    }

    /// What became of a piece is of no interest any more.
    fn forget(&mut self, number: u64) {
        self.collect();
        self.written.retain(|(owner, _)| *owner != number);
    }
}

fn desks() -> MutexGuard<'static, Vec<Desk>> {
    DESKS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Thread {
    /// Signals never come to it, and no process is made by it.
    fn start(file: OwnedFd, room: OwnedFd) -> io::Result<Thread> {
        let ((pieces, orders), (tell, results)) = (channel::<Vec<u8>>(), channel());
        let work = move || {
            for piece in orders {
                let _nobody_asks = tell.send(write(file.as_fd(), &piece));
                // It fails only where it is empty already.
                let _full_no_more = rustix::io::read(&room, &mut [0; 8]);
            }
        };
        // A new thread inherits the mask.
        let mask = block_all_signals();
        let thread = Builder::new().stack_size(STACK).spawn(work);
        restore_signals(&mask);
        thread.map(|_| Thread { pieces, results })
    }
}

/// Writes something, however long that takes.
fn write(file: BorrowedFd<'_>, piece: &[u8]) -> io::Result<usize> {
    loop {
        match retry_on_intr(|| rustix::io::write(file, piece)) {
            // Whoever gave it to us may have it non-blocking.
            Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(&file, PollFlags::OUT)], None)),
            written => return written.map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};

    use rustix::fs::fstat;

    use super::*;

    fn wait_for(room: &OwnedFd) {
        poll(&mut [PollFd::new(room, PollFlags::OUT)], None).expect("it can be waited for");
    }

    #[test]
    fn what_two_of_us_write_is_taken_in_order_and_nobody_is_kept_waiting() {
        let (mut reader, writer) = pipe().expect("a pipe");
        let stat = fstat(&writer).expect("it is open");
        let (one, room) = Scribe::of(writer.as_fd(), &stat).expect("descriptors");
        let (other, _) = Scribe::of(writer.as_fd(), &stat).expect("descriptors");
        let is_refused = |result: io::Result<usize>| {
            result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        // A pipe holds 16 pieces; the next one hangs.
        for _ in 0..16 {
            assert!(is_refused(one.try_write(&[b'.'; 2 * PIECE])), "it is not written yet");
            wait_for(&room);
            assert!(matches!(one.try_write(&[b'.'; 2 * PIECE]), Ok(PIECE)));
        }
        assert!(is_refused(one.try_write(b"one")) && is_refused(other.try_write(b"other")));
        assert!(is_refused(one.try_write(b"one")), "it hangs");
        drop(one);
        reader.read_exact(&mut [0; 16 * PIECE]).expect("it is full");
        wait_for(&room);
        assert!(is_refused(other.try_write(b"other")), "it is begun with");
        wait_for(&room);
        assert!(matches!(other.try_write(b"other"), Ok(5)));
        let mut text = [0; 8];
        reader.read_exact(&mut text).expect("it was written");
        assert_eq!(&text, b"oneother");
    }

    #[test]
    fn what_fails_is_told() {
        let (reader, writer) = pipe().expect("a pipe");
        let stat = fstat(&writer).expect("it is open");
        let (scribe, room) = Scribe::of(writer.as_fd(), &stat).expect("descriptors");
        drop(reader);
        assert!(scribe.try_write(b"one").is_err());
        wait_for(&room);
        let kind = scribe.try_write(b"one").map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::BrokenPipe));
    }
}
