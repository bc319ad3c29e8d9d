//! The clocks of a run, and the alarm that ends a wait.
//!
//! The one place where time is read.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::readable::Readable;
use super::stop::stopped;
use crate::engine::time::{Time, Timestamp};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Calendar time now: a label.
#[must_use]
pub fn timestamp() -> Timestamp {
    Timestamp::since_epoch(calendar())
}

/// Calendar time now, since the Unix epoch, for what is measured from one boot to the next. Anybody may set it back or forward.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place where the calendar is read")]
pub fn calendar() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Time since the machine began to run; nobody sets it.
#[must_use]
pub fn since_boot() -> Duration {
    reading(libc::CLOCK_BOOTTIME)
}

/// A number that this boot of the machine has alone; none where the system does not tell.
#[must_use]
pub fn boot() -> Option<u128> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    u128::from_str_radix(&id.trim().replace('-', ""), 16).ok()
}

/// Measures a run from its beginning.
pub struct Clock {
    began: Time,
    at: Time,
}

impl Clock {
    /// A clock that begins now, or where a run stands that is gone on with.
    #[must_use]
    pub fn start(at: Time) -> Clock {
        Clock { began: read(), at }
    }

    /// The present moment of the run.
    #[must_use]
    pub fn now(&self) -> Time {
        let now = read();
        let since = |now: Duration, began: Duration| now.saturating_sub(began);
        Time {
            active: self.at.active.saturating_add(since(now.active, self.began.active)),
            elapsed: self.at.elapsed.saturating_add(since(now.elapsed, self.began.elapsed)),
        }
    }
}

fn read() -> Time {
    let active = reading(libc::CLOCK_MONOTONIC).saturating_sub(stopped());
    Time { active, elapsed: reading(libc::CLOCK_BOOTTIME) }
}

/// What a clock shows. Async-signal-safe.
///
/// By libc, since rustix looks for the kernel's own code at an address that a tool such as valgrind does not map.
pub(super) fn reading(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is of the right type.
    unsafe { libc::clock_gettime(clock, &mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Wakes us once after a while, also when the machine slept in between.
pub struct Alarm(Readable);

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// Descriptors are lacking.
    pub fn new() -> io::Result<Alarm> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Alarm(Readable::new(timerfd_create(TimerfdClockId::Boottime, flags)?)?))
    }

    /// Sets it; what was set before is forgotten.
    pub fn set(&self, after: Duration) {
        // A century is as good as never, and fits every kernel. Zero would unset it.
        let after = after.clamp(Duration::from_nanos(1), Duration::from_secs(100 * 366 * 86_400));
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec::try_from(after).unwrap_or(zero);
        let time = Itimerspec { it_interval: zero, it_value };
        // It fails only for a descriptor that is no timer, or for a time out of range.
        let _old = timerfd_settime(self.0.fd(), TimerfdTimerFlags::empty(), &time);
    }

    /// Waits until it rings.
    pub async fn rings(&self) {
        // It fails only while the runtime shuts down.
        let _expirations = self.0.read(&mut [0u8; 8]).await;
    }
}
