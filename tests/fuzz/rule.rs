//! Rules: what was read of one says the same again, and what it holds for its contrary does not.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use retryrun::engine::ExitStatus;
use retryrun::engine::classify::Rule;
use retryrun::engine::event::{EndedBy, Ending, SpawnErrorKind};
use retryrun::engine::output::{Matches, Search};
use retryrun::engine::signal::Signal;

#[derive(Arbitrary, Debug)]
struct Asked<'a> {
    text: &'a str,
    ending: How,
    found: [What; 3],
}

#[derive(Arbitrary, Debug)]
enum How {
    Exited(u8),
    Died(u8),
    TimedOut,
    Silent,
    NotStarted,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum What {
    Found,
    Absent,
    Unknown,
}

fuzz_target!(|asked: Asked<'_>| {
    let rule: Rule = match asked.text.parse() {
        Ok(rule) => rule,
        Err(message) => return assert!(message.contains("expected"), "{message}"),
    };
    let again = match rule.reason() {
        Some(reason) => format!("{reason}: {}", rule.text()),
        None => rule.text().to_owned(),
    };
    assert_eq!(again.parse().as_ref(), Ok(&rule));
    assert_eq!(rule.clone().masked(&str::to_owned), rule);

    let ending = ending(&asked.ending);
    let kinds = asked.found.iter().cycle();
    let matches: Matches = rule.patterns().cloned().zip(kinds.map(|kind| search(*kind))).collect();
    let holds = rule.holds(&ending, &matches);
    let is_single = !rule.text().contains('&') && !rule.text().starts_with('!');
    if let (true, Ok(contrary)) = (is_single, format!("!{}", rule.text()).parse::<Rule>()) {
        let is_known = rule.patterns().all(|pattern| *matches.of(pattern) != Search::Unknown);
        let is_plain = ending.exit_code != Some(0) && !ending.ended_by.is_ours();
        assert!(!(holds && contrary.holds(&ending, &matches)));
        assert!(!(is_known && is_plain) || holds != contrary.holds(&ending, &matches));
    }
    let is_shown = rule.evidence(&matches).is_some();
    assert!(
        !is_shown || rule.patterns().any(|pattern| *matches.of(pattern) == search(What::Found))
    );
});

fn ending(how: &How) -> Ending {
    match how {
        How::Exited(code) => Ending::of(ExitStatus::Code(i32::from(*code)), None),
        How::Died(number) => {
            let signal = format!("{}", number % 31 + 1).parse::<Signal>().expect("a number of one");
            Ending::of(ExitStatus::Signal { signal, core_dumped: false }, None)
        }
        How::TimedOut => Ending::of(ExitStatus::Code(0), Some(EndedBy::Timeout)),
        How::Silent => Ending::of(ExitStatus::Code(1), Some(EndedBy::IdleTimeout)),
        How::NotStarted => {
            let kind = SpawnErrorKind::NotFound;
            Ending::failed(EndedBy::SpawnError, "it is not there".to_owned(), Some(kind))
        }
    }
}

fn search(what: What) -> Search {
    match what {
        What::Found => Search::Found("a line".to_owned()),
        What::Absent => Search::Absent,
        What::Unknown => Search::Unknown,
    }
}
