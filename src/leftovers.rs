//! Processes that an attempt left behind: ends them, first with a signal that they can obey.
//!
//! Which of them is the run's decision.

use std::io;
use std::time::Duration;

use crate::engine::Sweep;
use crate::engine::signal::Signal;
use crate::unix::cgroup::Cgroup;
use crate::unix::clock::Alarm;
use crate::unix::tree::{Member, Tree};

/// Time from the first signal to SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// What still lives so long after SIGKILL does not die.
const UNKILLABLE_AFTER: Duration = Duration::from_secs(5);

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
    Killed,
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
                return false;
            }
            match self.stage {
                Stage::Untold => {
                    send(&members, self.signal);
                    send(&members, Signal::CONT);
                    self.stage = Stage::Told;
                    self.alarm.set(GRACE);
                }
                Stage::Told => {}
                Stage::Killed => send(&members, Signal::KILL),
            }
            self.alarm.rings().await;
            match self.stage {
                Stage::Untold | Stage::Told => {
                    self.stage = Stage::Killed;
                    self.alarm.set(UNKILLABLE_AFTER);
                }
                Stage::Killed => return true,
            }
        }
    }

    /// Ends them at once, as far as it goes: the run ends, and they were being ended.
    pub fn kill(&self, tree: &Tree) {
        send(&self.members(tree), Signal::KILL);
    }

    fn members(&self, tree: &Tree) -> Vec<Member> {
        let in_cgroup = self.cgroup.as_ref().map(Cgroup::members).unwrap_or_default();
        let mut members = tree.members(&in_cgroup);
        if self.which == Sweep::Session {
            members.retain(|member| member.session == self.session);
        }
        members
    }
}

fn send(members: &[Member], signal: Signal) {
    for member in members {
        let _not_ours_to_end = member.signal(signal);
    }
}
