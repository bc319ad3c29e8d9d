//! The processes that descend from us.
//!
//! As a subreaper we are the parent of every orphan among them, so that a walk from our own pid finds also what left
//! the command's group or session.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::iter::successors;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, pidfd_open, pidfd_send_signal, test_kill_process, test_kill_process_group,
};

use super::process::{has_children, reap_all_but, signal_group, signal_process};
use crate::engine::signal::Signal;

/// A process as /proc shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its process id.
    pub pid: i32,
    parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    state: u8,
    /// Ticks since boot: tells it from a later process of the same pid.
    started: u64,
}

/// What stands in the environment of every process of a hook's, together with the run's id.
const HOOK: &[u8] = b"RETRYRUN_HOOK=";

/// The processes of an attempt: all that descend from us but those that were there before it, and those of hooks.
#[derive(Debug)]
pub struct Tree {
    us: i32,
    before: HashSet<(i32, u64)>,
    /// Hooks that somebody waits for.
    hooks: Vec<Pid>,
    /// The groups that hooks led and that still are: nobody else has their numbers.
    hook_groups: Vec<Pid>,
    /// The entry with the run's id in the environment of hooks; none before the first.
    run_id: Option<Vec<u8>>,
}

impl Tree {
    /// A tree without members. Makes orphans of it our children; without that, as on an old kernel, they are init's.
    #[must_use]
    pub fn new() -> Tree {
        // SAFETY: plain numbers.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
        let us = rustix::process::getpid().as_raw_nonzero().get();
        let (before, hooks, hook_groups) = (HashSet::new(), Vec::new(), Vec::new());
        Tree { us, before, hooks, hook_groups, run_id: None }
    }

    /// A hook has been started, with this entry in its environment and in a group of its own: it and what it starts are none of an
    /// attempt's, and it is reaped by whoever waits for it.
    pub fn add_hook(&mut self, hook: Pid, run_id: &[u8]) {
        self.hooks.push(hook);
        self.hook_groups.push(hook);
        self.run_id.get_or_insert_with(|| run_id.to_owned());
    }

    /// A hook has ended; what it started may go on.
    pub fn remove_hook(&mut self, hook: Pid) {
        self.hooks.retain(|known| *known != hook);
        self.forget_groups();
    }

    /// Others may get the number of a group that is no more. One that has just been started may not have made it yet.
    fn forget_groups(&mut self) {
        let hooks = &self.hooks;
        self.hook_groups.retain(|group| {
            hooks.contains(group) || test_kill_process_group(*group) != Err(Errno::SRCH)
        });
    }

    /// Whether there ever was a hook.
    #[must_use]
    pub fn has_hooks(&self) -> bool {
        self.run_id.is_some()
    }

    /// Reaps orphans that have ended. A `leader` that has ended is left to whoever waits for it, and so are hooks. Answers whether
    /// there were any.
    pub fn reap_orphans(&self, leader: Option<Pid>) -> bool {
        let kept: Vec<Pid> = leader.into_iter().chain(self.hooks.iter().copied()).collect();
        reap_all_but(&kept)
    }

    /// Begins anew: what descends from us now is none of it.
    pub fn begin(&mut self) {
        self.before.clear();
        self.forget_groups();
        // A look at all processes is expensive, and mostly there is nothing to see.
        if has_children() {
            let all = walk(&processes(), self.us, &[], &|_| false);
            self.before = all.iter().map(Member::identity).collect();
        }
    }

    /// The living processes of hooks.
    #[must_use]
    pub fn of_hooks(&self) -> Vec<Member> {
        let processes = processes();
        let is_not_ours = |process: &Member| process.parent == self.us && !self.is_hook(process);
        let mut members = walk(&processes, self.us, &[], &is_not_ours);
        members.retain(|member| !member.is_zombie());
        members
    }

    /// Whether a child of ours is a hook, or an orphan of one: by its group, or where it has left that by its environment.
    fn is_hook(&self, child: &Member) -> bool {
        let Some(run_id) = &self.run_id else { return false };
        let is = |hook: &Pid, number| hook.as_raw_nonzero().get() == number;
        if self.hooks.iter().any(|hook| is(hook, child.pid))
            || self.hook_groups.iter().any(|group| is(group, child.group))
        {
            return true;
        }
        let environment = fs::read(format!("/proc/{}/environ", child.pid)).unwrap_or_default();
        let has = |is: &dyn Fn(&[u8]) -> bool| environment.split(|byte| *byte == 0).any(is);
        has(&|entry| entry == run_id) && has(&|entry| entry.starts_with(HOOK))
    }

    fn is_left_out(&self, process: &Member) -> bool {
        self.before.contains(&process.identity())
            || (process.parent == self.us && self.is_hook(process))
    }

    /// Whether a group has a process that descends from us, whatever that belongs to.
    #[must_use]
    pub fn has_group(&self, group: Pid) -> bool {
        let group = group.as_raw_nonzero().get();
        walk(&processes(), self.us, &[], &|_| false).iter().any(|process| process.group == group)
    }

    /// The living members, parents before children; also these processes and what descends from them.
    #[must_use]
    pub fn members(&self, others: &[i32]) -> Vec<Member> {
        let mut members = walk(&processes(), self.us, others, &|process| self.is_left_out(process));
        members.retain(|member| !member.is_zombie());
        members
    }

    /// Kills the members that are meant, and every group that consists of such alone as a whole: one that forks faster than we can
    /// look is never where it was seen.
    pub fn kill(&self, others: &[i32], is_meant: impl Fn(&Member) -> bool) {
        let processes = processes();
        let mut members = walk(&processes, self.us, others, &|process| self.is_left_out(process));
        members.retain(is_meant);
        for group in groups(&processes, &members) {
            let _gone_or_not_ours_to_end = signal_group(group, Signal::KILL);
        }
        for member in members.iter().filter(|member| !member.is_zombie()) {
            let _not_ours_to_end = member.signal(Signal::KILL);
        }
    }
}

impl Default for Tree {
    fn default() -> Tree {
        Tree::new()
    }
}

impl Member {
    fn identity(&self) -> (i32, u64) {
        (self.pid, self.started)
    }

    fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// Whether it is stopped, as by Ctrl-Z.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state == b'T'
    }

    /// Whether we may send it signals.
    ///
    /// # Errors
    /// It belongs to somebody else (EPERM).
    pub fn check(&self) -> io::Result<()> {
        match Pid::from_raw(self.pid).map(test_kill_process) {
            Some(Err(Errno::PERM)) => Err(Errno::PERM.into()),
            Some(Ok(()) | Err(_)) | None => Ok(()),
        }
    }

    /// Sends it a signal, and nobody who has its pid after it. A process that is gone is no error.
    ///
    /// # Errors
    /// It belongs to somebody else (EPERM).
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(pid) = Pid::from_raw(self.pid).filter(|pid| *pid != Pid::INIT) else {
            return Ok(());
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => {
                // The descriptor holds a process, but maybe one that came later.
                if read(self.pid).is_none_or(|now| now.started != self.started) {
                    return Ok(());
                }
                // SAFETY: a Signal is one of this system.
                let signal =
                    unsafe { rustix::process::Signal::from_raw_unchecked(signal.number()) };
                match pidfd_send_signal(&pidfd, signal) {
                    Ok(()) | Err(Errno::SRCH) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            Err(Errno::SRCH) => Ok(()),
            // Old kernels and strict sandboxes have no pidfds, and we may lack descriptors.
            Err(_) => signal_process(pid, signal),
        }
    }
}

/// A process, if there is one of that pid.
#[must_use]
pub fn read(pid: i32) -> Option<Member> {
    parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether our process group holds processes that neither descend from us nor we from them, as the other commands of a pipeline do.
#[must_use]
pub(super) fn has_neighbours() -> bool {
    let us = rustix::process::getpid().as_raw_nonzero().get();
    has_neighbours_among(&processes(), us)
}

fn has_neighbours_among(processes: &[Member], us: i32) -> bool {
    let of = |pid: i32| processes.iter().find(|process| process.pid == pid);
    let descends = |process: &Member, from: i32| {
        let above = successors(Some(process), |process| of(process.parent));
        // What was read one after the other need not fit together.
        above.take(processes.len()).any(|process| process.pid == from)
    };
    let Some(ours) = of(us) else { return false };
    processes.iter().any(|process| {
        process.group == ours.group
            && !process.is_zombie()
            && !descends(process, us)
            && !descends(ours, process.pid)
    })
}

fn processes() -> Vec<Member> {
    let Ok(folder) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    folder.filter_map(|entry| read(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// Fields by proc_pid_stat(5): `PID (NAME) STATE PPID PGRP SESSION ...`, where NAME may hold anything, also `) `; STARTTIME is
/// the 22nd.
fn parse(pid: i32, stat: &[u8]) -> Option<Member> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let mut number = || fields.next()?.parse().ok();
    let (parent, group, session) = (number()?, number()?, number()?);
    Some(Member { pid, parent, group, session, state, started: fields.nth(15)?.parse().ok()? })
}

/// What descends from `root`, `others` and what descends from them, but for what is left out with what descends from that. A child cannot be older than its parent: one that seems to be has a recycled parent's pid.
fn walk(
    processes: &[Member],
    root: i32,
    others: &[i32],
    is_left_out: &dyn Fn(&Member) -> bool,
) -> Vec<Member> {
    let mut found: Vec<Member> =
        processes.iter().filter(|process| others.contains(&process.pid)).copied().collect();
    let mut parents: Vec<(i32, u64)> = found.iter().map(Member::identity).collect();
    parents.push((root, 0));
    while let Some((parent, started)) = parents.pop() {
        let children = processes.iter().filter(|process| {
            process.parent == parent
                && process.started >= started
                && !others.contains(&process.pid)
                && !is_left_out(process)
        });
        for child in children {
            found.push(*child);
            parents.push(child.identity());
        }
    }
    found
}

/// The groups of which all processes are `members`, zombies among them: where one has forked and died, the group goes on.
fn groups(processes: &[Member], members: &[Member]) -> Vec<Pid> {
    let members_of = |of: &[Member], group| of.iter().filter(|one| one.group == group).count();
    let mut groups: Vec<i32> = members.iter().map(|member| member.group).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
        .retain(|group| *group > 1 && members_of(processes, *group) == members_of(members, *group));
    groups.into_iter().filter_map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    fn member(pid: i32, parent: i32, started: u64) -> Member {
        Member { pid, parent, group: 1, session: 1, state: b'S', started }
    }

    #[test]
    fn a_name_may_hold_what_separates_the_fields() {
        let stat = b"42 (a) R 1 (b) T 7 43 44 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9999 0 0";
        let expected = Member { group: 43, session: 44, state: b'T', ..member(42, 7, 9999) };
        assert_eq!(parse(42, stat), Some(expected));
        assert_eq!(parse(42, b"42 (cut"), None);
    }

    #[test]
    fn who_has_the_pid_of_another_is_left_alone() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("it runs");
        let now = read(i32::try_from(child.id()).expect("a pid")).expect("it lives");
        let before = Member { started: now.started - 1, ..now };
        for (member, signal) in [(before, Signal::KILL), (now, Signal::TERM)] {
            member.signal(signal).expect("it is ours");
        }
        let status = child.wait().expect("it is our child");
        assert_eq!(status.signal(), Some(libc::SIGTERM));
    }

    #[test]
    fn a_group_is_whole_if_nobody_else_is_in_it() {
        let of = |pid, group| Member { group, ..member(pid, 2, 5) };
        let members = [of(3, 3), of(4, 3), of(5, 7), of(6, 1), of(8, 0)];
        let processes = [&members[..], &[of(7, 7), of(9, 9)]].concat();
        assert_eq!(groups(&processes, &members), [Pid::from_raw(3).expect("not zero")]);
    }

    #[test]
    fn neighbours_are_of_our_group_and_no_relatives() {
        let of = |pid, parent, group| Member { group, ..member(pid, parent, 5) };
        // A shell, a script of its, we, our command, and one of another group.
        let relatives = [of(2, 1, 2), of(3, 2, 3), of(4, 3, 3), of(5, 4, 3), of(6, 2, 6)];
        assert!(!has_neighbours_among(&relatives, 4));
        assert!(has_neighbours_among(&[&relatives[..], &[of(7, 3, 3)]].concat(), 4));
        assert!(has_neighbours_among(&[&relatives[..], &[of(7, 2, 3)]].concat(), 4));
        let ended = Member { state: b'Z', ..of(7, 3, 3) };
        assert!(!has_neighbours_among(&[&relatives[..], &[ended]].concat(), 4));
        let circle = [of(8, 9, 3), of(9, 8, 3)];
        assert!(has_neighbours_among(&[&relatives[..], &circle].concat(), 4));
    }

    #[test]
    fn the_walk_finds_children_of_children() {
        let processes =
            [member(9, 1, 5), member(5, 2, 5), member(3, 2, 6), member(4, 3, 7), member(6, 4, 2)];
        let pids = |others: &[i32], before: &[(i32, u64)]| {
            let is_left_out = |process: &Member| before.contains(&process.identity());
            let found = walk(&processes, 2, others, &is_left_out);
            let mut pids: Vec<i32> = found.iter().map(|member| member.pid).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(pids(&[], &[]), [3, 4, 5]);
        assert_eq!(pids(&[9, 4], &[]), [3, 4, 5, 9]);
        assert_eq!(pids(&[], &[(3, 6)]), [5], "neither what was there before nor its children");
        assert_eq!(pids(&[], &[(3, 1)]), [3, 4, 5], "another process of the same pid");
    }
}
