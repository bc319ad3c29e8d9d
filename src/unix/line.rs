//! A line on our terminal that is written over and goes away again. What it says is others'.
//!
//! The cursor stays at its beginning: wherever a terminal that changes its size moves the line to, the cursor goes with it, and whatever
//! is written by others hides it. It is written only in the foreground, and never waited for. Its escape sequences
//! are EL and ED of ECMA-48: erasing from the cursor to the end of its row, or of the screen.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use rustix::fs::{Mode, OFlags, open};
use rustix::termios::{LocalModes, tcgetattr, tcgetwinsize};

use super::output::Output;
use super::terminal::{Undisturbed, is_ours};

/// The terminal of the one line that there is, for a handler and for our other lines; negative is none.
static TTY: AtomicI32 = AtomicI32::new(-1);

/// How many columns of it are written.
static SHOWN: AtomicUsize = AtomicUsize::new(0);

/// Whether the terminal knows no escape sequences.
static IS_DUMB: AtomicBool = AtomicBool::new(false);

/// What a terminal has that does not say so.
const USUAL_COLUMNS: usize = 80;

/// Blanks for a terminal that cannot erase.
const BLANKS: [u8; 512] = [b' '; 512];

/// Where a line may stand.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// On which terminal.
    pub terminal: Where,
    /// Whether that knows no escape sequences.
    pub is_dumb: bool,
    /// Whether no line of ours stands before it.
    pub is_quiet: bool,
}

/// On which terminal a line may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Where our stderr is, if that is the terminal that controls us.
    Stderr,
    /// On the terminal that controls us, wherever our streams go.
    Controlling,
}

/// The line.
pub struct Line {
    tty: OwnedFd,
}

impl Line {
    /// A line, not written yet; none where there is no terminal for it, for now.
    #[must_use]
    pub fn open(place: Place) -> Option<Line> {
        // One whose foreground cannot be asked for does not control us.
        if place.terminal == Where::Stderr && !is_ours(Output::Stderr.fd()) {
            return None;
        }
        let tty = controlling()?;
        IS_DUMB.store(place.is_dumb, Ordering::Relaxed);
        TTY.store(tty.as_raw_fd(), Ordering::Relaxed);
        Some(Line { tty })
    }

    /// Whether we are in the foreground.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        is_ours(&self.tty)
    }

    /// Whether what is typed is shown: if not, then somebody asks for a password, or reads keys.
    #[must_use]
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.tty).is_ok_and(|modes| modes.local_modes.contains(LocalModes::ECHO))
    }

    /// How wide the terminal is.
    #[must_use]
    pub fn columns(&self) -> usize {
        columns(self.tty.as_fd())
    }

    /// Whether anything of it is written.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        SHOWN.load(Ordering::Relaxed) > 0
    }

    /// Writes it, in the place of what it was, if there is room for it and we are in the foreground. It has to be narrower than the
    /// terminal.
    pub fn show(&self, text: &str, width: usize) {
        let _undisturbed = Undisturbed::begin();
        let shown = SHOWN.load(Ordering::Relaxed);
        if !is_ours(&self.tty) {
            return;
        }
        let mut bytes = vec![b'\r'];
        if IS_DUMB.load(Ordering::Relaxed) {
            bytes.extend_from_slice(text.as_bytes());
            bytes.resize(bytes.len() + shown.saturating_sub(width), b' ');
        } else {
            if shown > self.columns() {
                bytes.extend_from_slice(b"\x1b[J");
            }
            bytes.extend_from_slice(text.as_bytes());
            bytes.extend_from_slice(b"\x1b[K");
        }
        bytes.push(b'\r');
        if rustix::io::write(&self.tty, &bytes).is_ok() {
            SHOWN.store(width, Ordering::Relaxed);
        }
    }

    /// Leaves a row to what others have written to it.
    pub fn begin_a_row(&self) {
        let _undisturbed = Undisturbed::begin();
        if is_ours(&self.tty) {
            let _full = rustix::io::write(
                &self.tty, b"
",
            );
        }
    }

    /// Erases it.
    pub fn erase(&self) {
        erase();
    }

    /// Erases what others have not written over, and leaves the cursor where it is.
    pub fn give_way(&self) {
        let _undisturbed = Undisturbed::begin();
        if SHOWN.swap(0, Ordering::Relaxed) > 0
            && is_ours(&self.tty)
            && !IS_DUMB.load(Ordering::Relaxed)
        {
            let _full = rustix::io::write(&self.tty, b"\x1b[K");
        }
    }

    /// Leaves it as it is: somebody else has the terminal.
    pub fn forget(&self) {
        SHOWN.store(0, Ordering::Relaxed);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        erase();
        TTY.store(-1, Ordering::Relaxed);
    }
}

/// Erases the line, if there is one, so that something else can be written. In the background it is already behind somebody's prompt.
/// Async-signal-safe.
pub(super) fn erase() {
    if SHOWN.load(Ordering::Relaxed) == 0 {
        return;
    }
    let _undisturbed = Undisturbed::begin();
    let shown = SHOWN.swap(0, Ordering::Relaxed);
    let number = TTY.load(Ordering::Relaxed);
    if shown == 0 || number < 0 {
        return;
    }
    // SAFETY: the number is that of the line's own descriptor, which takes it away before it is closed.
    let tty = unsafe { BorrowedFd::borrow_raw(number) };
    if !is_ours(tty) {
        return;
    }
    let parts: &[&[u8]] = if IS_DUMB.load(Ordering::Relaxed) {
        &[b"\r", BLANKS.get(..shown).unwrap_or(&BLANKS), b"\r"]
    } else if shown > columns(tty) {
        // A terminal that has become narrower may have put it on several rows, all below the cursor.
        &[b"\r\x1b[J"]
    } else {
        &[b"\r\x1b[K"]
    };
    for part in parts {
        let _full = rustix::io::write(tty, part);
    }
}

fn columns(tty: BorrowedFd<'_>) -> usize {
    match tcgetwinsize(tty) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        Ok(_) | Err(_) => USUAL_COLUMNS,
    }
}

/// The terminal that controls us, as a description of our own that never blocks.
pub(super) fn controlling() -> Option<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    open("/dev/tty", flags, Mode::empty()).ok()
}
