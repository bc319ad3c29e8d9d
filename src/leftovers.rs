//! Processes that an attempt, or hooks, left behind: ends them, first with a signal that they can obey.
//!
//! Which of an attempt's is the run's decision.

use std::io;
use std::time::Duration;

use tokio::task::yield_now;

use crate::engine::Sweep;
use crate::engine::signal::Signal;
use crate::unix::cgroup::Cgroup;
use crate::unix::clock::Alarm;
use crate::unix::tree::{Member, Tree};

/// Time from the first signal to SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// After SIGKILL there is another look so often, also without a SIGCHLD: the dead child of a process that stays is not ours.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What still lives after so many looks, 5 s after SIGKILL, does not die.
const LOOKS: u32 = 100;

/// Leftovers that are to end.
pub struct Leftovers {
    of: Of,
    signal: Signal,
    alarm: Alarm,
    stage: Stage,
}

/// Who left them.
enum Of {
    /// An attempt whose command ran in a session and, maybe, in a cgroup.
    Attempt { which: Sweep, session: i32, cgroup: Option<Cgroup> },
    /// The hooks of the run.
    Hooks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Untold,
    Told,
    /// And looked at so often since.
    Killed(u32),
}

impl Leftovers {
    /// The leftovers of an attempt whose command ran in `session` and, maybe, in a cgroup.
    ///
    /// # Errors
    /// Descriptors are lacking.
    pub fn new(
        which: Sweep,
        signal: Signal,
        session: i32,
        cgroup: Option<Cgroup>,
    ) -> io::Result<Leftovers> {
        let of = Of::Attempt { which, session, cgroup };
        Ok(Leftovers { of, signal, alarm: Alarm::new()?, stage: Stage::Untold })
    }

    /// All that hooks have started, with those that run.
    ///
    /// # Errors
    /// Descriptors are lacking.
    pub fn of_hooks() -> io::Result<Leftovers> {
        let (of, signal) = (Of::Hooks, Signal::TERM);
        Ok(Leftovers { of, signal, alarm: Alarm::new()?, stage: Stage::Untold })
    }

    /// Waits until they have ended; answers whether something survives. May be cancelled and called again; to be called again
    /// after each SIGCHLD.
    pub async fn swept(&mut self, tree: &Tree) -> bool {
        loop {
            let members = self.members(tree);
            if members.is_empty() {
                if !tree.reap_orphans(None) {
                    return false;
                }
                // Something died as we looked, and may have forked.
                yield_now().await;
                continue;
            }
            match self.stage {
                Stage::Untold => {
                    send(&members, self.signal);
                    send(&members, Signal::CONT);
                    self.stage = Stage::Told;
                    self.alarm.set(GRACE);
                }
                Stage::Told => {}
                Stage::Killed(LOOKS..) => return true,
                Stage::Killed(_) => self.kill(tree),
            }
            self.alarm.rings().await;
            self.stage = match self.stage {
                Stage::Untold | Stage::Told => Stage::Killed(0),
                Stage::Killed(looks) => Stage::Killed(looks + 1),
            };
            self.alarm.set(LOOK_EVERY);
        }
    }

    /// Ends them at once, as far as it goes: the run ends, and they were being ended.
    pub fn kill(&self, tree: &Tree) {
        match &self.of {
            Of::Attempt { which, session, cgroup } => {
                tree.kill(&in_cgroup(cgroup), |member| is_meant(*which, *session, member));
            }
            Of::Hooks => send(&tree.of_hooks(), Signal::KILL),
        }
    }

    fn members(&self, tree: &Tree) -> Vec<Member> {
        match &self.of {
            Of::Attempt { which, session, cgroup } => {
                let mut members = tree.members(&in_cgroup(cgroup));
                members.retain(|member| is_meant(*which, *session, member));
                members
            }
            Of::Hooks => tree.of_hooks(),
        }
    }
}

fn is_meant(which: Sweep, session: i32, member: &Member) -> bool {
    match which {
        Sweep::All => true,
        Sweep::Session => member.session == session,
    }
}

fn in_cgroup(cgroup: &Option<Cgroup>) -> Vec<i32> {
    cgroup.as_ref().map(Cgroup::members).unwrap_or_default()
}

fn send(members: &[Member], signal: Signal) {
    for member in members {
        let _not_ours_to_end = member.signal(signal);
    }
}
