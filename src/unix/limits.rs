//! The limits under which we run, and what machine it is: for whoever looks into a failure.

use std::fs;
use std::mem::MaybeUninit;

/// Resources by the names of setrlimit(2), in small letters.
const RESOURCES: [(&str, libc::__rlimit_resource_t); 11] = [
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// A limit: its name, and the soft and the hard one; none is without limit.
pub type Limit = (&'static str, Option<u64>, Option<u64>);

/// All limits.
#[must_use]
pub fn limits() -> Vec<Limit> {
    RESOURCES.into_iter().filter_map(|(name, resource)| limit(name, resource)).collect()
}

fn limit(name: &'static str, resource: libc::__rlimit_resource_t) -> Option<Limit> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the place is of the right type, and read only if the call succeeded.
    let limit = unsafe {
        if libc::getrlimit(resource, limit.as_mut_ptr()) != 0 {
            return None;
        }
        limit.assume_init()
    };
    let finite = |value: libc::rlim_t| (value != libc::RLIM_INFINITY).then_some(value);
    Some((name, finite(limit.rlim_cur), finite(limit.rlim_max)))
}

/// The machine's memory in bytes, where the system tells.
#[must_use]
pub fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
