//! Processes that an attempt left behind: ends them, first with a signal that they can obey.
//!
//! Which of them is the run's decision.

use std::io;
use std::time::Duration;

use tokio::task::yield_now;

use crate::engine::Sweep;
use crate::engine::signal::Signal;
use crate::unix::cgroup::Cgroup;
use crate::unix::clock::Alarm;
use crate::unix::process::reap_orphans;
use crate::unix::tree::{Member, Tree};

/// Time from the first signal to SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// After SIGKILL there is another look so often, also without a SIGCHLD: the dead child of a process that stays is not ours.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What still lives after so many looks, 5 s after SIGKILL, does not die.
const LOOKS: u32 = 100;

/// Leftovers that are to end.
pub struct Leftovers {
    which: Sweep,
    signal: Signal,
    session: i32,
    cgroup: Option<Cgroup>,
    alarm: Alarm,
    stage: Stage,
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
        Ok(Leftovers { which, signal, session, cgroup, alarm: Alarm::new()?, stage: Stage::Untold })
    }

    /// Waits until they have ended; answers whether something survives. May be cancelled and called again; to be called again
    /// after each SIGCHLD.
    pub async fn swept(&mut self, tree: &Tree) -> bool {
        loop {
            let members = self.members(tree);
            if members.is_empty() {
                if !reap_orphans(None) {
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
        tree.kill(&self.in_cgroup(), |member| self.is_meant(member));
    }

    fn members(&self, tree: &Tree) -> Vec<Member> {
        let mut members = tree.members(&self.in_cgroup());
        members.retain(|member| self.is_meant(member));
        members
    }

    fn is_meant(&self, member: &Member) -> bool {
        match self.which {
            Sweep::All => true,
            Sweep::Session => member.session == self.session,
        }
    }

    fn in_cgroup(&self) -> Vec<i32> {
        self.cgroup.as_ref().map(Cgroup::members).unwrap_or_default()
    }
}

fn send(members: &[Member], signal: Signal) {
    for member in members {
        let _not_ours_to_end = member.signal(signal);
    }
}
