//! The terminal that controls us.

use rustix::fs::{Mode, OFlags, open};

/// Whether there is one: not whether a standard stream is a terminal, since a password prompt opens `/dev/tty` also where none is.
#[must_use]
pub fn is_controlling() -> bool {
    open("/dev/tty", OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).is_ok()
}
