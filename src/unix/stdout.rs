//! Our stdout, which is the command's.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::stdout;

/// Whether nobody reads it any more. A file or a terminal is always read.
#[must_use]
pub fn is_closed() -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let stdout = stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::OUT)];
    let polled = poll(&mut fds, Some(&now));
    polled.is_ok() && fds.iter().any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}
