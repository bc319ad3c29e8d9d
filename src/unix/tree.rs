//! The processes that descend from us.
//!
//! As a subreaper we are the parent of every orphan among them, so that a walk from our own pid finds also what left
//! the command's group or session.

use std::fs;
use std::io;

use rustix::process::Pid;

use super::process::signal_process;
use crate::engine::signal::Signal;

/// A process as /proc shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    pid: i32,
    parent: i32,
    is_zombie: bool,
    /// Ticks since boot: tells it from a later process of the same pid.
    started: u64,
}

/// Makes orphans of our tree our children. Without it, as on an old kernel, they are init's.
pub fn become_subreaper() {
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// The descendants of ours that live, parents before children.
#[must_use]
pub fn descendants() -> Vec<Pid> {
    walk(&processes(), rustix::process::getpid().as_raw_nonzero().get())
        .into_iter()
        .filter(|entry| !entry.is_zombie)
        .filter_map(|entry| Pid::from_raw(entry.pid))
        .collect()
}

/// Sends the signal to every descendant of ours that lives.
///
/// # Errors
/// The first one that belongs to somebody else (EPERM), after all have been tried.
pub fn signal_descendants(signal: Signal) -> io::Result<()> {
    let mut result = Ok(());
    for pid in descendants() {
        result = result.and(signal_process(pid, signal));
    }
    result
}

fn processes() -> Vec<Entry> {
    let Ok(folder) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    folder
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
            parse(pid, &stat)
        })
        .collect()
}

/// Fields by proc_pid_stat(5): `PID (NAME) STATE PPID ...`, where NAME may hold anything, also `) `; STARTTIME is the
/// 22nd.
fn parse(pid: i32, stat: &[u8]) -> Option<Entry> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    Some(Entry {
        pid,
        parent: fields.next()?.parse().ok()?,
        is_zombie: matches!(state, "Z" | "X"),
        started: fields.nth(17)?.parse().ok()?,
    })
}

/// The descendants of `root`. A child cannot be older than its parent: one that seems to be has a recycled parent's pid.
fn walk(entries: &[Entry], root: i32) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    let mut parents = vec![(root, 0)];
    while let Some((parent, started)) = parents.pop() {
        for entry in
            entries.iter().filter(|entry| entry.parent == parent && entry.started >= started)
        {
            found.push(*entry);
            parents.push((entry.pid, entry.started));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_what_separates_the_fields() {
        let stat = b"42 (a) R 1 (b) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9999 0 0";
        let entry = Entry { pid: 42, parent: 7, is_zombie: false, started: 9999 };
        assert_eq!(parse(42, stat), Some(entry));
        assert_eq!(parse(42, b"42 (cut"), None);
    }

    #[test]
    fn the_walk_finds_children_of_children() {
        let entry = |pid, parent, started| Entry { pid, parent, is_zombie: false, started };
        let entries =
            [entry(9, 1, 5), entry(5, 2, 5), entry(3, 2, 6), entry(4, 3, 7), entry(6, 4, 2)];
        let mut pids: Vec<i32> = walk(&entries, 2).iter().map(|entry| entry.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [3, 4, 5]);
    }
}
