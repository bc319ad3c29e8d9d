//! The built-in table: what holds when nothing else speaks, ready before the program runs.

use std::borrow::Cow;

use super::classify::PlacedRule;
use super::event::{SpawnErrorKind, Verdict};
use super::rule::{Condition, Rule, Status, Test};
use super::signal::Signal;

/// Where its rules stand.
const ORIGIN: &str = "built in";

macro_rules! rule {
    ($verdict:ident, $reason:literal, $text:literal, [$($status:expr),+]) => {{
        const STATUSES: &[Status] = &[$($status),+];
        const CONDITIONS: &[Condition] =
            &[Condition { negated: false, test: Test::Statuses(Cow::Borrowed(STATUSES)) }];
        PlacedRule {
            rule: Rule {
                reason: Some(Cow::Borrowed($reason)),
                conditions: Cow::Borrowed(CONDITIONS),
                text: Cow::Borrowed($text),
            },
            verdict: Verdict::$verdict,
            origin: Cow::Borrowed(ORIGIN),
            limit: None,
            delay: None,
            is_built_in: true,
        }
    }};
}

/// The rules in the order in which they are asked. That exit 0 is success stands first.
///
/// 126 and 127: POSIX.1-2024, XCU 2.8.2 "Exit Status for Commands". HUP, INT, QUIT and TERM are how people and systems
/// stop a program; ILL, SYS, TRAP, XCPU and XFSZ come again with the same program and limits. Of commands that cannot be
/// started only a lack of resources passes; users write `spawn`, for all three.
pub(super) static BUILT_IN: [PlacedRule; 14] = [
    rule!(Success, "success", "0", [Status::Codes(0..=0)]),
    rule!(Permanent, "not-executable", "126", [Status::Codes(126..=126)]),
    rule!(Permanent, "not-found", "127", [Status::Codes(127..=127)]),
    rule!(
        Permanent,
        "stopped",
        "HUP,INT,QUIT,TERM",
        [
            Status::Signal(Signal::HUP),
            Status::Signal(Signal::INT),
            Status::Signal(Signal::QUIT),
            Status::Signal(Signal::TERM)
        ]
    ),
    rule!(
        Permanent,
        "crash",
        "ILL,SYS,TRAP",
        [Status::Signal(Signal::ILL), Status::Signal(Signal::SYS), Status::Signal(Signal::TRAP)]
    ),
    rule!(
        Permanent,
        "limit",
        "XCPU,XFSZ",
        [Status::Signal(Signal::XCPU), Status::Signal(Signal::XFSZ)]
    ),
    rule!(Transient, "crash", "crash", [Status::Crash]),
    rule!(Transient, "signal", "signal", [Status::AnySignal]),
    rule!(Transient, "timeout", "timeout", [Status::Timeout]),
    rule!(Transient, "idle-timeout", "idle-timeout", [Status::IdleTimeout]),
    rule!(Transient, "unlisted", "nonzero", [Status::Codes(1..=255)]),
    rule!(
        Transient,
        "resources",
        "spawn",
        [Status::SpawnOf(SpawnErrorKind::Resources), Status::SpawnOf(SpawnErrorKind::Descriptors)]
    ),
    rule!(Permanent, "not-found", "spawn", [Status::SpawnOf(SpawnErrorKind::NotFound)]),
    rule!(Permanent, "not-executable", "spawn", [Status::SpawnOf(SpawnErrorKind::NotExecutable)]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_mean_what_is_shown_of_them() {
        let is_of_kind = |status: &Status| match status {
            Status::SpawnOf(kind) => Some(*kind),
            _ => None,
        };
        for PlacedRule { rule, .. } in &BUILT_IN {
            let reason = rule.reason().expect("each has a reason");
            let written: Rule = format!("{reason}: {}", rule.text()).parse().expect("a rule");
            let [Condition { test: Test::Statuses(statuses), .. }] = &*rule.conditions else {
                panic!("{rule:?}");
            };
            match statuses.iter().find_map(is_of_kind) {
                Some(kind) => assert_eq!((reason, rule.text()), (kind.name(), "spawn")),
                None => assert_eq!(*rule, written),
            }
        }
    }
}
