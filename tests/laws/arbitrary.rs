//! Arbitrary policies and scripts: mostly everyday values, and a few at the edge of what can be said.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use proptest::sample::select;

use retryrun::engine::ExitStatus;
use retryrun::engine::backoff::{Backoff, Jitter, Shape, Waits};
use retryrun::engine::classify::{PlacedRule, Rules};
use retryrun::engine::event::{SpawnErrorKind, Verdict};
use retryrun::engine::policy::{Leftovers, Policy, Retries};
use retryrun::engine::signal::Signal;
use retryrun::engine::{ExitStatus::Code, Sender, Token};

use crate::sim::{Command, Happening, Reaction, Script, default_policy, ends, rule};

/// A policy and whatever may happen to a run of it.
pub(super) fn script() -> BoxedStrategy<Script> {
    scripted(prop_oneof![
        3 => signal(),
        2 => Just(Happening::RetryNow),
        1 => Just(Happening::Output),
        1 => Just(Happening::OutputStalled),
        1 => duration().prop_map(Happening::Sleep),
    ])
}

/// The same on a machine that never sleeps.
pub(super) fn wakeful_script() -> BoxedStrategy<Script> {
    scripted(prop_oneof![signal(), Just(Happening::RetryNow), Just(Happening::Output)])
}

fn scripted(happening: impl Strategy<Value = Happening> + 'static) -> BoxedStrategy<Script> {
    let moment = (0_u64..60_000).prop_map(Duration::from_millis);
    let happenings = vec((moment, happening), 0..5);
    // So that some runs are longer than what their history keeps.
    let told_at_start = prop_oneof![9 => 1_usize..20, 1 => 100_usize..150];
    let token = prop_oneof![
        4 => Just(Token::Granted),
        1 => Just(Token::Refused),
        1 => Just(Token::Unreachable),
    ];
    let tokens = option::weighted(0.3, vec(token, 1..4));
    (policy(), vec(command(), 1..6), happenings, told_at_start, tokens)
        .prop_map(|(policy, commands, mut happenings, told_at_start, tokens)| {
            happenings.sort_by_key(|(moment, _)| *moment);
            let script = Script::new(commands)
                .policy(|default| *default = policy)
                .told_at_start(told_at_start);
            let script = match tokens {
                Some(tokens) => script.paying(tokens),
                None => script,
            };
            happenings
                .into_iter()
                .fold(script, |script, (moment, happening)| script.at(moment, happening))
        })
        .boxed()
}

/// Any policy.
pub(super) fn policy() -> impl Strategy<Value = Policy> {
    let limits = (
        option::of((1_u64..9_000).prop_map(Duration::from_millis)),
        option::of(duration()),
        duration(),
        select(vec![Signal::TERM, Signal::INT, Signal::KILL]),
        option::weighted(0.2, (1_u64..9_000).prop_map(Duration::from_millis)),
        option::weighted(0.2, (1_u64..9_000).prop_map(Duration::from_millis)),
        prop_oneof![4 => Just(1), 1 => 2_u64..4],
        select(vec![Leftovers::Auto, Leftovers::Keep, Leftovers::Kill]),
    );
    (retries(), backoff(), limits, rules(), exit_codes()).prop_map(
        |(retries, backoff, limits, rules, exit_codes)| {
            let (
                timeout,
                deadline,
                kill_after,
                stop_signal,
                idle_timeout,
                healthy_after,
                consecutive,
                leftovers,
            ) = limits;
            let exit_codes =
                exit_codes.iter().map(|text| text.parse().expect("well formed")).collect();
            Policy {
                retries,
                backoff,
                timeout,
                idle_timeout,
                healthy_after,
                consecutive,
                leftovers,
                deadline,
                kill_after,
                stop_signal,
                rules,
                exit_codes,
                ..default_policy()
            }
        },
    )
}

/// Any way to wait.
pub(super) fn backoff() -> impl Strategy<Value = Backoff> {
    let listed = vec(duration(), 1..4).prop_map(Waits::Listed);
    let shape = select(vec![Shape::Constant, Shape::Linear, Shape::Exponential, Shape::Fibonacci]);
    let multiplier = prop_oneof![
        4 => select(vec![1.0, 1.5, 2.0, 10.0, f64::MAX]),
        1 => 1.0..1e6,
    ];
    let grown = (shape, duration(), multiplier)
        .prop_map(|(shape, delay, multiplier)| Waits::Grown { shape, delay, multiplier });
    let waits = prop_oneof![1 => listed, 4 => grown];
    (waits, duration(), jitter(), any::<u64>())
        .prop_map(|(waits, max_delay, jitter, seed)| Backoff { waits, max_delay, jitter, seed })
}

fn jitter() -> impl Strategy<Value = Jitter> {
    prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        Just(Jitter::Decorrelated),
        (0.0..=100.0).prop_map(Jitter::Percent),
        select(vec![0.0, 99.999_999_999_999_99, 100.0]).prop_map(Jitter::Percent),
    ]
}

/// Mostly some seconds; now and then none, hours, an odd number of nanoseconds, or the longest there is.
pub(super) fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        12 => (0_u64..30_000).prop_map(Duration::from_millis),
        1 => Just(Duration::ZERO),
        1 => (0_u64..1_000_000).prop_map(Duration::from_secs),
        1 => any::<u32>().prop_map(|nanos| Duration::from_nanos(nanos.into())),
        1 => any::<u64>().prop_map(Duration::from_nanos),
        1 => any::<u64>().prop_map(Duration::from_secs),
        1 => Just(Duration::MAX),
    ]
}

fn retries() -> impl Strategy<Value = Retries> {
    prop_oneof![
        4 => (0_u64..6).prop_map(Retries::Limited),
        1 => Just(Retries::Limited(u64::MAX)),
        1 => Just(Retries::Unlimited),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let text = select(vec![
        "0",
        "7",
        "any",
        "timeout",
        "signal",
        "spawn",
        "!7",
        "0-255",
        "/busy/",
        "7 & !/busy/",
    ]);
    let verdict = select(vec![Verdict::Success, Verdict::Transient, Verdict::Permanent]);
    let limit = option::weighted(0.2, 0_u64..3);
    let delay = option::weighted(0.2, duration());
    let placed = (verdict, text, limit, delay).prop_map(|(verdict, text, limit, delay)| {
        PlacedRule { limit, delay, ..rule(verdict, text) }
    });
    prop_oneof![Just(Vec::new()), vec(placed, 1..3)].prop_map(Rules::new)
}

fn exit_codes() -> impl Strategy<Value = Vec<&'static str>> {
    let code = select(vec!["flaky=3", "timeout=0", "exhausted=same", "interrupted=same"]);
    prop_oneof![2 => Just(Vec::new()), 1 => vec(code, 1..4)]
}

/// A command; it ends at some time, since a run without limits would otherwise never do.
fn command() -> impl Strategy<Value = Command> {
    let kind = select(vec![
        SpawnErrorKind::NotFound,
        SpawnErrorKind::NotExecutable,
        SpawnErrorKind::Resources,
        SpawnErrorKind::Descriptors,
    ]);
    let runs = (
        status(),
        duration(),
        reaction(),
        prop_oneof![3 => Just(0), 1 => Just(2)],
        prop_oneof![3 => Just(false), 1 => Just(true)],
    );
    prop_oneof![
        8 => runs.prop_map(|(status, lasts, reaction, leftovers, is_busy)| {
            let command = ends(status).after(lasts).on_signal(reaction).leaving(leftovers);
            if is_busy { command.writing("/busy/", "busy") } else { command }
        }),
        1 => kind.prop_map(Command::CannotStart),
    ]
}

fn status() -> impl Strategy<Value = ExitStatus> {
    prop_oneof![
        2 => Just(Code(0)),
        6 => Just(Code(7)),
        1 => (0..=255).prop_map(Code),
        1 => (1..=64, any::<bool>()).prop_map(|(number, core_dumped)| ExitStatus::Signal {
            signal: Signal::new(number).expect("Linux has 64"),
            core_dumped,
        }),
    ]
}

fn reaction() -> impl Strategy<Value = Reaction> {
    prop_oneof![
        Just(Reaction::Deaf),
        Just(Reaction::Immortal),
        duration().prop_map(Reaction::Dies),
        (duration(), 0..=255).prop_map(|(after, code)| Reaction::Exits(after, code)),
    ]
}

fn signal() -> impl Strategy<Value = Happening> {
    let signal = select(vec![Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT]);
    let sender = select(vec![Sender::Terminal, Sender::Process, Sender::ProcessToGroup]);
    (signal, sender).prop_map(|(signal, sender)| Happening::Signal(signal, sender))
}
