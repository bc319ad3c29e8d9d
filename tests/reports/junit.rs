//! The JUnit report, read back: the schema of Surefire as a CI system would hold it against a report, and what it says of each ending.

use std::collections::BTreeMap;

use proptest::{prop_assert, prop_assert_eq, proptest};
use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use retryrun::engine::event::SpawnErrorKind;
use retryrun::engine::history::History;
use retryrun::engine::signal::Signal;
use retryrun::report::junit::render;
use retryrun::report::plain::plain;

use crate::laws::cases;
use crate::sim::{Command, Script, dies, exits, hangs, secs};

/// An element as a reader gets it.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    children: Vec<Element>,
    text: String,
}

impl Element {
    /// The root of a document that is well formed, and holds no character that XML forbids.
    fn root(xml: &str) -> Element {
        let is_legal = |c: char| matches!(c, '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        assert!(xml.chars().all(is_legal), "{xml:?}");
        let mut reader = Reader::from_str(xml);
        let mut open = vec![Element::default()];
        loop {
            let event = reader.read_event().expect("well formed");
            let top = open.last_mut().expect("the document itself is never closed");
            match event {
                Event::Eof => break,
                Event::Start(start) => open.push(Element::of(&start)),
                Event::Empty(start) => top.children.push(Element::of(&start)),
                Event::Text(text) => top.text += &text.xml10_content(),
                Event::CData(text) => top.text += &text.xml10_content(),
                Event::GeneralRef(reference) => {
                    let character = quick_xml::escape::resolve_predefined_entity(&reference);
                    top.text += character.expect("one of the five that every reader knows");
                }
                Event::End(_) => {
                    let closed = open.pop().expect("it was opened");
                    open.last_mut().expect("its parent").children.push(closed);
                }
                Event::Decl(_) => {}
                other => panic!("{other:?}"),
            }
        }
        let document = open.pop().expect("it is left");
        assert_eq!((open.len(), document.text.trim()), (0, ""), "all are closed");
        let [root] = <[Element; 1]>::try_from(document.children).expect("one root");
        root
    }

    fn of(start: &BytesStart) -> Element {
        let attributes = start.attributes().map(|attribute| {
            let attribute = attribute.expect("well formed");
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).expect("its text");
            (attribute.key.as_ref().to_owned(), value.into_owned())
        });
        let name = start.name().as_ref().to_owned();
        Element { name, attributes: attributes.collect(), ..Element::default() }
    }

    #[track_caller]
    fn child(&self, name: &str) -> &Element {
        let mut named = self.children.iter().filter(|child| child.name == name);
        let found = named.next().unwrap_or_else(|| panic!("no {name} in {self:?}"));
        assert!(named.next().is_none(), "one {name} in {self:?}");
        found
    }

    fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// Fails unless it has these attributes and no other.
    #[track_caller]
    fn has(&self, names: &[&str]) {
        let found: Vec<&str> = self.attributes.keys().map(String::as_str).collect();
        assert_eq!(found, names, "{}", self.name);
    }
}

/// What may stand in a test case, in this order.
const ORDER: [&str; 9] = [
    "failure",
    "rerunFailure",
    "flakyFailure",
    "skipped",
    "error",
    "rerunError",
    "flakyError",
    "system-out",
    "system-err",
];

/// The test case of a report that keeps to the schema.
#[track_caller]
fn case(history: &History) -> Element {
    let mut suites = Element::root(&render(history));
    assert_eq!(suites.name, "testsuites");
    suites.has(&["errors", "failures", "name", "tests", "time"]);
    is_time(suites.attribute("time"));
    let [mut suite] = <[Element; 1]>::try_from(std::mem::take(&mut suites.children)).expect("one");
    assert_eq!(suite.name, "testsuite");
    suite.has(&["errors", "failures", "hostname", "name", "skipped", "tests", "time", "timestamp"]);
    for name in ["errors", "failures", "name", "tests", "time"] {
        assert_eq!(suite.attribute(name), suites.attribute(name));
    }
    let properties = suite.children.remove(0);
    assert_eq!(properties.name, "properties");
    for property in &properties.children {
        assert_eq!((property.name.as_str(), property.children.len()), ("property", 0));
        property.has(&["name", "value"]);
    }
    let [case] = <[Element; 1]>::try_from(suite.children).expect("one test case");
    assert_eq!(case.name, "testcase");
    case.has(&["classname", "name", "time"]);
    is_time(case.attribute("time"));
    let place = |child: &Element| ORDER.iter().position(|name| *name == child.name);
    let places: Vec<_> = case.children.iter().map(|child| place(child).expect("known")).collect();
    assert!(places.is_sorted(), "{places:?}");
    for child in &case.children {
        is_problem(child);
    }
    case
}

/// The pattern of the schema, without separators of thousands.
#[track_caller]
fn is_time(text: &str) {
    let (seconds, rest) = text.split_once('.').expect("a point");
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    assert!(is_number(seconds) && is_number(rest) && rest.len() == 3, "{text}");
}

#[track_caller]
fn is_problem(element: &Element) {
    let inner: Vec<&str> = element.children.iter().map(|child| child.name.as_str()).collect();
    match element.name.as_str() {
        "failure" | "error" => {
            element.has(&["message", "type"]);
            assert_eq!(inner, [""; 0]);
        }
        "system-err" => element.has(&[]),
        _ => {
            element.has(&["message", "type"]);
            assert!(inner == ["stackTrace"] || inner == ["stackTrace", "system-err"], "{inner:?}");
            assert_eq!(element.text.trim(), "", "only elements");
        }
    }
}

/// The elements of a test case: name, type and message.
fn shown(case: &Element) -> String {
    let line = |child: &Element| {
        format!("{} [{}] {}\n", child.name, child.attribute("type"), child.attribute("message"))
    };
    case.children.iter().map(line).collect()
}

#[track_caller]
fn shows(script: Script, expected: &str) {
    let played = script.play();
    let case = case(played.history());
    let expected: String = expected.lines().map(|line| format!("{}\n", line.trim())).collect();
    assert_eq!(shown(&case), expected, "{}", played.transcript);
}

#[test]
fn a_flaky_run_is_a_passed_test_with_its_failures() {
    let script = Script::new([exits(7), exits(7).writing("/refused/", "refused"), exits(0)]);
    let mut history = script.play().history().clone();
    history.attempts[1].stderr_tail = Some("\u{1b}[31mcurl: <refused>\u{1b}[m\r\n".to_owned());
    let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="retryrun" tests="1" failures="0" errors="0" time="15.300">
  <testsuite name="retryrun" tests="1" failures="0" errors="0" time="15.300" skipped="0" timestamp="2026-11-21T20:15:30.123Z" hostname="ci-7">
    <properties>
      <property name="run_id" value="01jd7"/>
      <property name="version" value="0.1.0"/>
      <property name="policy" value="none"/>
      <property name="outcome" value="succeeded"/>
      <property name="flaky" value="true"/>
      <property name="message" value="succeeded after 3 attempts in 15.3s"/>
      <property name="exit_code" value="0"/>
      <property name="attempts" value="3"/>
      <property name="attempts_omitted" value="0"/>
      <property name="retry_count" value="2"/>
      <property name="waited" value="15.000"/>
    </properties>
    <testcase name="curl -fsS" classname="curl" time="0.100">
      <flakyFailure message="attempt 1: exit 7" type="unlisted">
        <stackTrace>began at 2026-11-21T20:15:30.123Z
ended after 0.1s: exit 7
verdict: transient
reason: unlisted
rule: nonzero
rule from: built in
next attempt after: 5s</stackTrace>
      </flakyFailure>
      <flakyFailure message="attempt 2: exit 7" type="unlisted">
        <stackTrace>began at 2026-11-21T20:15:35.223Z
ended after 0.1s: exit 7
verdict: transient
reason: unlisted
rule: nonzero
rule from: built in
next attempt after: 10s</stackTrace>
        <system-err>curl: &lt;refused&gt;
</system-err>
      </flakyFailure>
    </testcase>
  </testsuite>
</testsuites>
"#;
    assert_eq!(render(&history), expected);
    case(&history);
}

#[test]
fn a_run_that_succeeds_at_once_is_a_passed_test() {
    shows(Script::new([exits(0)]), "");
}

#[test]
fn of_a_run_that_failed_the_first_failure_counts() {
    shows(
        Script::new([exits(7), dies(Signal::SEGV), exits(8)]).retries(2),
        "failure [unlisted] attempt 1: exit 7
         rerunFailure [unlisted] attempt 3: exit 8
         rerunError [crash] attempt 2: SIGSEGV",
    );
    shows(
        Script::new([dies(Signal::SEGV), exits(7)]).retries(2),
        "rerunFailure [unlisted] attempt 2: exit 7
         rerunFailure [unlisted] attempt 3: exit 7
         error [crash] attempt 1: SIGSEGV",
    );
}

#[test]
fn what_the_command_did_not_choose_is_an_error() {
    shows(
        Script::new([hangs()]).timeout(secs(1.0)).retries(0),
        "error [timeout] attempt 1: timed out",
    );
    shows(
        Script::new([hangs()]).deadline(secs(1.0)),
        "error [timeout] attempt 1: ended at the deadline",
    );
    shows(
        Script::new([Command::CannotStart(SpawnErrorKind::NotFound)]),
        "error [not-found] attempt 1: not found",
    );
    shows(
        Script::new([hangs()]).timeout(secs(1.0)).policy(|policy| policy.consecutive = 2),
        "error [timeout] attempt 1: timed out
         rerunError [timeout] attempt 2: timed out
         rerunError [timeout] attempt 3: timed out
         rerunError [timeout] attempt 4: timed out",
    );
}

#[test]
fn a_run_that_was_interrupted_is_no_passed_test() {
    shows(
        Script::new([exits(7)]).signal(secs(3.0), Signal::TERM),
        "failure [unlisted] attempt 1: exit 7",
    );
    shows(
        Script::new([hangs()]).signal(secs(3.0), Signal::TERM),
        "error [stopped] attempt 1: SIGTERM",
    );
    let between = Script::new([exits(0)]).policy(|policy| policy.consecutive = 2);
    shows(
        between.signal(secs(3.0), Signal::TERM),
        "error [interrupted] interrupted by SIGTERM after 1 attempt in 3.0s: exit 0 (success)",
    );
}

#[test]
fn a_failure_says_how_the_run_ended_and_ends_with_its_output() {
    let mut history = Script::new([exits(7)]).retries(1).play().history().clone();
    history.attempts[0].stderr_tail = Some("first".to_owned());
    history.attempts[1].stderr_tail = Some("second".to_owned());
    history.attempts[0].evidence = Some("connection\u{7} lost".to_owned());
    let case = case(&history);
    let failure = case.child("failure");
    assert_eq!(
        failure.text,
        "gave up after 2 attempts in 5.2s: exit 7 each time (unlisted)\n\
         began at 2026-11-21T20:15:30.123Z\nended after 0.1s: exit 7\nverdict: transient\nreason: unlisted\n\
         rule: nonzero\nrule from: built in\nevidence: connection\u{fffd} lost\nnext attempt after: 5s"
    );
    assert_eq!(case.child("system-err").text, "first");
    assert_eq!(case.child("rerunFailure").child("system-err").text, "second");
    assert_eq!(case.attribute("time"), "0.100");
}

#[test]
fn a_test_is_named_by_its_command() {
    let named = |words: &[&str]| {
        let mut history = Script::new([exits(0)]).play().history().clone();
        history.command = words.iter().map(|word| (*word).to_owned()).collect();
        let case = case(&history);
        (case.attribute("classname").to_owned(), case.attribute("name").to_owned())
    };
    let of = |class: &str, name: &str| (class.to_owned(), name.to_owned());
    assert_eq!(named(&["/usr/bin/make", "a b"]), of("make", "/usr/bin/make 'a b'"));
    assert_eq!(
        named(&["bash", "-c", "a &&\n\tb <\"c\""]),
        of("bash", r#"bash -c 'a &&\n\tb <"c"'"#)
    );
    assert_eq!(named(&["/"]), of("retryrun", "/"));
}

#[test]
fn an_unended_run_can_be_shown() {
    let played = Script::new([exits(7)]).play();
    let history = History::of(&played.records[..2]).expect("it began");
    assert_eq!((history.outcome, history.attempts.len()), (None, 1));
    let expected = "error [running] attempt 1: still running\n";
    assert_eq!(shown(&case(&history)), expected);
    let history = History::of(&played.records[..1]).expect("it began");
    assert_eq!(shown(&case(&history)), "error [running] still running\n");
}

#[test]
fn the_document_commands_no_ci() {
    let tail =
        "::error::a\n  ::warning::b\n##[error]c\n###vso[d]]>\nsection_start:1:e section_end:";
    let mut history = Script::new([exits(7)]).retries(0).play().history().clone();
    history.attempts[0].stderr_tail = Some(tail.to_owned());
    history.attempts[0].reason = Some(tail.to_owned());
    history.command = vec!["##[error]".to_owned(), "## 1".to_owned()];
    let xml = render(&history);
    assert!(!xml.lines().any(|line| line.trim_start().starts_with("::")), "{xml}");
    for marker in ["##[", "##vso[", "section_start:", "section_end:"] {
        assert!(!xml.contains(marker), "{marker} in {xml}");
    }
    assert_eq!(case(&history).child("system-err").text, tail, "and means the same");
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn any_text_makes_a_report(text: String, word: String) {
        let mut history = Script::new([exits(7)]).retries(1).play().history().clone();
        history.command = vec![word.clone(), text.clone()];
        for attempt in &mut history.attempts {
            attempt.stderr_tail = Some(text.clone());
            attempt.evidence = Some(word.clone());
            attempt.reason = Some(text.clone());
        }
        history.message = Some(text.clone());
        let case = case(&history);
        prop_assert_eq!(&case.child("system-err").text, &plain(&text));
        prop_assert!(!case.attribute("name").chars().any(char::is_control));
    }
}
