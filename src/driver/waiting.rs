//! Waiting for what may not be there: then for ever.

use std::future::pending;
use std::time::Duration;

use crate::child::{Child, Report};
use crate::command::Command;
use crate::engine::Why;
use crate::engine::signal::Signal;
use crate::engine::time::Time;
use crate::error::reason;
use crate::jobs::control::{Control, Request};
use crate::leftovers::Leftovers;
use crate::report::Sinks;
use crate::streams::Streams;
use crate::unix::clock::Alarm;
use crate::unix::spawn::SpawnError;
use crate::unix::tree::Tree;

/// How long until a moment, by the clock that its reason is measured by.
pub(super) fn remaining(now: Time, at: Time, why: Why) -> Duration {
    match why {
        Why::Timeout | Why::Idle | Why::PassOn | Why::Grace | Why::Unkillable => {
            at.active.saturating_sub(now.active)
        }
        Why::Deadline | Why::Delay => at.elapsed.saturating_sub(now.elapsed),
    }
}

pub(super) async fn next_report(
    child: Option<&mut Child>,
    streams: &mut Streams,
    tree: &Tree,
) -> Result<Report, SpawnError> {
    match child {
        Some(child) => child.report(streams, tree).await,
        None => pending().await,
    }
}

/// Where a named run hears what is asked of it; none where it cannot, which is said.
pub(super) fn control(command: &Command, sinks: &mut Sinks) -> Option<Control> {
    let opened = Control::open(command.job.as_ref()?);
    let opened = opened.map_err(|error| {
        let reason = reason(&error);
        sinks.warn(&format!(
            "nobody can ask this run for something: cannot make a socket: {reason}"
        ));
    });
    opened.ok()
}

pub(super) async fn next_request(control: Option<&Control>) -> Request {
    match control {
        Some(control) => control.next().await,
        None => pending().await,
    }
}

pub(super) async fn swept(leftovers: Option<&mut Leftovers>, tree: &Tree) -> bool {
    match leftovers {
        Some(leftovers) => leftovers.swept(tree).await,
        None => pending().await,
    }
}

pub(super) async fn stays_stopped(stopped: Option<&(Signal, Alarm)>) {
    match stopped {
        Some((_, alarm)) => alarm.rings().await,
        None => pending().await,
    }
}
