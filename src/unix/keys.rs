//! Keys that somebody presses while we listen: until then the terminal gives them one by one, and does not show them.
//!
//! What they mean is the driver's. Its modes are given back before anybody else uses the terminal, also within a signal handler.

use std::future::pending;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, ioctl_fionread};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, isatty, tcgetattr, tcsetattr,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::line::controlling;
use super::output::Output;
use super::start::Start;
use super::terminal::{Undisturbed, is_ours};
use super::tree::has_neighbours;

/// The terminal whose keys we hear, for a handler; negative is none.
static TTY: AtomicI32 = AtomicI32::new(-1);

/// What is to be given back: the local modes, and above them MIN and TIME; with it a mark that there is something.
static LENT: AtomicU64 = AtomicU64::new(0);

const IS_LENT: u64 = 1 << 63;

/// With lines gone, keys come one by one; without echo nothing of them is seen. ISIG stays, so that Ctrl-C and Ctrl-Z work.
const LINES: LocalModes = LocalModes::ICANON.union(LocalModes::ECHO);

/// Keys that are heard.
pub struct Keys(AsyncFd<OwnedFd>);

/// Whether keys are pressed for us: in the foreground of a terminal that is both our stdin and our stderr.
#[must_use]
pub fn are_ours() -> bool {
    let [is_closed, ..] = Start::get().closed();
    let stdin = rustix::stdio::stdin();
    // Only of the terminal that controls us the foreground can be asked for: so both are that one.
    !is_closed
        && isatty(stdin)
        && is_ours(stdin)
        && is_ours(Output::Stderr.fd())
        && !may_be_others()
}

/// Whether keys may be pressed for whoever reads what we write, as for a pager: it takes the terminal without asking, and so must
/// not find it changed.
#[must_use]
pub fn may_be_others() -> bool {
    let kind = fstat(Output::Stdout.fd()).map(|stat| FileType::from_raw_mode(stat.st_mode));
    matches!(kind, Ok(FileType::Fifo | FileType::Socket)) && has_neighbours()
}

impl Keys {
    /// Begins to listen, where [`are_ours`] says so, but not if something was typed before: that is left to the command.
    #[must_use]
    pub fn listen() -> Option<Keys> {
        let tty = controlling()?;
        if !borrow(&tty) {
            return None;
        }
        // SAFETY: an OwnedFd is open, stays open and stays the same one as long as it is owned, and it is owned by what is made
        // here. When there is room for what is written does not matter.
        let registered = unsafe { AsyncFd::register_with_interest(tty, Interest::READABLE) };
        if registered.is_err() {
            give_back();
        }
        Some(Keys(registered.ok()?))
    }

    /// Whether they still come one by one: not after a stop, and not if somebody else has changed the modes.
    #[must_use]
    pub fn are_heard(&self) -> bool {
        let modes = tcgetattr(self.0.get_ref());
        LENT.load(Ordering::Relaxed) != 0
            && modes.is_ok_and(|modes| !modes.local_modes.intersects(LINES))
    }

    /// Waits for the next one. May be cancelled and called again.
    pub async fn pressed(&mut self) -> u8 {
        loop {
            let Ok(mut ready) = self.0.readable().await else { return pending().await };
            match self.read() {
                Ok(Some(key)) => return key,
                Ok(None) => {}
                Err(Errno::AGAIN) => ready.clear_ready(),
                // It went away, or is somebody else's.
                Err(_) => return pending().await,
            }
        }
    }

    /// One key; none for one that sends a sequence, such as those of a keypad: nothing of that is a key's own.
    fn read(&self) -> Result<Option<u8>, Errno> {
        const ESCAPE: u8 = 0x1b;
        let _undisturbed = Undisturbed::begin();
        let mut key = [0u8];
        if !is_ours(self.0.get_ref()) || rustix::io::read(self.0.get_ref(), &mut key)? == 0 {
            return Err(Errno::IO);
        }
        let [key] = key;
        if key == ESCAPE {
            let _already_read = rustix::io::read(self.0.get_ref(), &mut [0u8; 64]);
            return Ok(None);
        }
        Ok(Some(key))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        give_back();
        TTY.store(-1, Ordering::Relaxed);
    }
}

/// Changes the modes; not where something was typed before.
fn borrow(tty: &OwnedFd) -> bool {
    let _undisturbed = Undisturbed::begin();
    // What is already a line is seen without a change; the beginning of one only by it.
    let is_typed = || ioctl_fionread(tty).is_ok_and(|bytes| bytes > 0);
    if !is_ours(tty) || is_typed() {
        return false;
    }
    let Ok(mut modes) = tcgetattr(tty) else { return false };
    if !modes.local_modes.contains(LocalModes::ICANON) {
        // Somebody else reads keys.
        return false;
    }
    let [min, time] = [SpecialCodeIndex::VMIN, SpecialCodeIndex::VTIME]
        .map(|index| u64::from(modes.special_codes[index]));
    let local = u64::from(modes.local_modes.bits());
    TTY.store(tty.as_raw_fd(), Ordering::Relaxed);
    LENT.store(IS_LENT | time << 40 | min << 32 | local, Ordering::Relaxed);
    modes.local_modes.remove(LINES);
    modes.special_codes[SpecialCodeIndex::VMIN] = 1;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    // Now, and without throwing away what is typed.
    let is_changed = tcsetattr(tty, OptionalActions::Now, &modes).is_ok();
    if !is_changed || is_typed() {
        give_back();
        return false;
    }
    true
}

/// Gives back what was changed, and nothing else: not where that is somebody else's by now. Async-signal-safe.
pub(super) fn give_back() {
    let _undisturbed = Undisturbed::begin();
    let lent = LENT.swap(0, Ordering::Relaxed);
    let number = TTY.load(Ordering::Relaxed);
    if lent == 0 || number < 0 {
        return;
    }
    // SAFETY: the number is that of a descriptor that takes it away before it is closed.
    let tty = unsafe { BorrowedFd::borrow_raw(number) };
    if !is_ours(tty) {
        return;
    }
    let Ok(mut modes) = tcgetattr(tty) else { return };
    if modes.local_modes.intersects(LINES) {
        return;
    }
    let [local, min, time] = [lent & u64::from(u32::MAX), lent >> 32 & 0xff, lent >> 40 & 0xff];
    let local = LocalModes::from_bits_retain(u32::try_from(local).unwrap_or_default());
    modes.local_modes.insert(local & LINES);
    modes.special_codes[SpecialCodeIndex::VMIN] = u8::try_from(min).unwrap_or_default();
    modes.special_codes[SpecialCodeIndex::VTIME] = u8::try_from(time).unwrap_or_default();
    let _gone_with_its_terminal = tcsetattr(tty, OptionalActions::Now, &modes);
}
