//! The JUnit report: a run as one test case, in the form of Maven Surefire, by whose elements for reruns CI systems show a test that
//! passed late.
//!
//! An attempt that failed is a *failure* if the command exited by itself, and an *error* in all other cases: a signal, a limit of ours,
//! a command that could not be started. As Surefire has it, the attempts before a success are `flakyFailure` and `flakyError`; of a
//! run that failed, the first failed attempt is the `failure` or `error`, and each further one a `rerunFailure` or `rerunError`. A run
//! that failed although no attempt did, as one that was interrupted in a wait for a second success, is an `error` by itself.
//!
//! In the test case all failures stand before all errors: that order, and reruns without times, is what Surefire's schema
//! (surefire-test-report.xsd) allows, by which some CI systems check a report. So each message begins with its attempt's number. The
//! suite's `timestamp` and `hostname` are of the schemas of Ant and Jenkins (junit-10.xsd).

use std::io;
use std::time::Duration;

use quick_xml::Writer;
use quick_xml::escape::escape;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::plain::plain;
use super::text::{command_line, harmless};
use crate::engine::event::{EndedBy, Outcome, Verdict};
use crate::engine::history::{Attempt, History};
use crate::engine::time::{human, human_measured};

/// The name of the suite, of which there is one in each report.
const SUITE: &str = "retryrun";

/// The report on a run that has ended.
#[must_use]
pub fn render(history: &History) -> String {
    let mut xml = Vec::new();
    let _infallible = write_report(&mut Writer::new_with_indent(&mut xml, b' ', 2), history);
    xml.push(b'\n');
    String::from_utf8_lossy(&xml).into_owned()
}

/// A writer to memory: it never fails.
type Xml<'a> = Writer<&'a mut Vec<u8>>;

/// The two ways to fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failure,
    Error,
}

impl Kind {
    fn of(attempt: &Attempt) -> Kind {
        match attempt.ended_by {
            Some(EndedBy::Exit) => Kind::Failure,
            Some(
                EndedBy::Signal
                | EndedBy::Timeout
                | EndedBy::IdleTimeout
                | EndedBy::Deadline
                | EndedBy::Stop
                | EndedBy::SpawnError
                | EndedBy::Lost,
            )
            | None => Kind::Error,
        }
    }
}

/// What a failed attempt means for the test case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It makes it fail.
    Main,
    /// It failed, too.
    Rerun,
    /// It came before a success.
    Flaky,
}

/// What went wrong once: an element of the test case.
struct Problem<'a> {
    kind: Kind,
    role: Role,
    type_name: &'a str,
    message: String,
    /// In the place of a stack trace.
    details: String,
    stderr: Option<&'a str>,
}

impl<'a> Problem<'a> {
    fn of(attempt: &'a Attempt, role: Role) -> Problem<'a> {
        let ended_by = attempt.ended_by.map_or("running", EndedBy::name);
        Problem {
            kind: Kind::of(attempt),
            role,
            type_name: attempt.reason.as_deref().or(attempt.rule.as_deref()).unwrap_or(ended_by),
            message: format!("attempt {}: {}", attempt.attempt, attempt.ending()),
            details: details(attempt),
            stderr: attempt.stderr_tail.as_deref(),
        }
    }

    /// That of a run in which no attempt failed.
    fn of_run(history: &'a History) -> Problem<'a> {
        Problem {
            kind: Kind::Error,
            role: Role::Main,
            type_name: history.outcome.map_or("running", Outcome::name),
            message: closing(history).to_owned(),
            details: String::new(),
            stderr: None,
        }
    }

    fn element(&self) -> &'static str {
        match (self.role, self.kind) {
            (Role::Main, Kind::Failure) => "failure",
            (Role::Main, Kind::Error) => "error",
            (Role::Rerun, Kind::Failure) => "rerunFailure",
            (Role::Rerun, Kind::Error) => "rerunError",
            (Role::Flaky, Kind::Failure) => "flakyFailure",
            (Role::Flaky, Kind::Error) => "flakyError",
        }
    }

    fn write(&self, xml: &mut Xml<'_>, history: &History) -> io::Result<()> {
        let element = xml.create_element(self.element()).with_attributes([
            ("message", line(&self.message).as_str()),
            ("type", line(self.type_name).as_str()),
        ]);
        match self.role {
            Role::Main => {
                // How the run ended belongs here, too: GitLab shows nothing of a failure but its text.
                let text = format!("{}\n{}", closing(history), self.details);
                element.write_text_content(content(text.trim_end()))?;
            }
            Role::Rerun | Role::Flaky => {
                element.write_inner_content(|xml| {
                    write_text(xml, "stackTrace", Some(&self.details))?;
                    write_text(xml, "system-err", self.stderr)
                })?;
            }
        }
        Ok(())
    }
}

/// What is known of a failed attempt beside its output.
fn details(attempt: &Attempt) -> String {
    let fact = |name: &str, value: &Option<String>| {
        value.as_ref().map_or(String::new(), |value| format!("\n{name}: {value}"))
    };
    let began = format!("began at {}", attempt.started_at);
    let ended = attempt.elapsed.map_or(String::new(), |elapsed| {
        format!("\nended after {}: {}", human_measured(elapsed), attempt.ending())
    });
    let verdict = attempt.verdict.map(|verdict| verdict.name().to_owned());
    let next = attempt.next_delay.map(human);
    [
        began,
        ended,
        fact("verdict", &verdict),
        fact("reason", &attempt.reason),
        fact("rule", &attempt.rule),
        fact("rule from", &attempt.rule_origin),
        fact("evidence", &attempt.evidence),
        fact("next attempt after", &next),
        fact("stdout log", &attempt.stdout_log),
        fact("stderr log", &attempt.stderr_log),
    ]
    .concat()
}

/// How the run ended.
fn closing(history: &History) -> &str {
    history.message.as_deref().unwrap_or("still running")
}

fn has_failed(attempt: &&Attempt) -> bool {
    attempt.verdict != Some(Verdict::Success)
}

/// The elements of the test case, in the order of the schema.
fn problems(history: &History) -> Vec<Problem<'_>> {
    let has_succeeded = history.outcome == Some(Outcome::Succeeded);
    let role = if has_succeeded { Role::Flaky } else { Role::Rerun };
    let failed = history.attempts.iter().filter(has_failed);
    let mut problems: Vec<_> = failed.map(|attempt| Problem::of(attempt, role)).collect();
    match problems.first_mut() {
        Some(first) if !has_succeeded => first.role = Role::Main,
        None if !has_succeeded => problems.push(Problem::of_run(history)),
        Some(_) | None => {}
    }
    problems.sort_by_key(|problem| problem.kind == Kind::Error);
    problems
}

/// How long the attempt took that the test case stands for: of a run that failed the first that did, else the last.
fn case_time(history: &History) -> Duration {
    let has_succeeded = history.outcome == Some(Outcome::Succeeded);
    let first = history.attempts.iter().find(has_failed).filter(|_| !has_succeeded);
    first.or(history.last_attempt()).and_then(|attempt| attempt.elapsed).unwrap_or_default()
}

fn write_report(xml: &mut Xml<'_>, history: &History) -> io::Result<()> {
    let problems = problems(history);
    let main = problems.iter().find(|problem| problem.role == Role::Main);
    let count = |kind| if main.is_some_and(|main| main.kind == kind) { "1" } else { "0" };
    let time = seconds(history.elapsed);
    let common = [
        ("name", SUITE),
        ("tests", "1"),
        ("failures", count(Kind::Failure)),
        ("errors", count(Kind::Error)),
        ("time", time.as_str()),
    ];
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    xml.create_element("testsuites").with_attributes(common).write_inner_content(|xml| {
        let suite = xml.create_element("testsuite").with_attributes(common).with_attributes([
            ("skipped", "0"),
            ("timestamp", history.started_at.to_string().as_str()),
            ("hostname", line(&history.host).as_str()),
        ]);
        suite.write_inner_content(|xml| {
            write_properties(xml, history)?;
            write_case(xml, history, &problems)
        })?;
        Ok(())
    })?;
    Ok(())
}

fn write_properties(xml: &mut Xml<'_>, history: &History) -> io::Result<()> {
    let properties = [
        ("run_id", Some(history.run_id.clone())),
        ("job", history.job.clone()),
        ("version", Some(history.version.clone())),
        ("policy", Some(history.policy.name.clone())),
        ("outcome", history.outcome.map(|outcome| outcome.to_string())),
        ("flaky", Some(history.flaky.to_string())),
        ("message", history.message.clone()),
        ("exit_code", history.exit_code.map(|code| code.to_string())),
        ("attempts", Some(history.last_number().to_string())),
        ("attempts_omitted", Some(history.attempts_omitted.to_string())),
        ("retry_count", Some(history.retry_count.to_string())),
        ("waited", Some(seconds(history.waited))),
    ];
    xml.create_element("properties").write_inner_content(|xml| {
        for (name, value) in properties {
            let Some(value) = value else { continue };
            let property = xml.create_element("property").with_attribute(("name", name));
            property.with_attribute(("value", line(&value).as_str())).write_empty()?;
        }
        Ok(())
    })?;
    Ok(())
}

fn write_case(xml: &mut Xml<'_>, history: &History, problems: &[Problem<'_>]) -> io::Result<()> {
    let case = xml.create_element("testcase").with_attributes([
        ("name", line(&command_line(&history.command)).as_str()),
        ("classname", line(base_name(&history.command)).as_str()),
        ("time", seconds(case_time(history)).as_str()),
    ]);
    if problems.is_empty() {
        case.write_empty()?;
        return Ok(());
    }
    case.write_inner_content(|xml| {
        problems.iter().try_for_each(|problem| problem.write(xml, history))?;
        let main = problems.iter().find(|problem| problem.role == Role::Main);
        write_text(xml, "system-err", main.and_then(|main| main.stderr))
    })?;
    Ok(())
}

fn write_text(xml: &mut Xml<'_>, element: &str, text: Option<&str>) -> io::Result<()> {
    if let Some(text) = text {
        xml.create_element(element).write_text_content(content(text))?;
    }
    Ok(())
}

/// A command's name without its folder; ours where there is none.
fn base_name(command: &[String]) -> &str {
    let word = command.first().map_or("", String::as_str);
    let name = word.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if name.is_empty() { SUITE } else { name }
}

/// Text in an attribute: on one line.
fn line(text: &str) -> String {
    harmless(&plain(text))
}

/// With milliseconds, as the schema wants it.
fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

/// Beginnings of commands to a CI, as in `text`, each in a form that means the same to a reader of XML. By CDATA, since not every
/// reader knows references to characters by number.
const MARKERS: [(&str, &str); 4] = [
    ("##[", "#<![CDATA[#]]>["),
    ("##vso[", "#<![CDATA[#]]>vso["),
    ("section_start:", "section<![CDATA[_]]>start:"),
    ("section_end:", "section<![CDATA[_]]>end:"),
];

/// Text in an element: in lines, of which none is a command to the CI in whose log the document may be written.
fn content(text: &str) -> BytesText<'static> {
    let escaped = escape(plain(text));
    let mut safe = String::with_capacity(escaped.len());
    for line in escaped.split_inclusive('\n') {
        let rest = line.trim_start();
        // GitHub's counts at a line's beginning.
        match (line.strip_suffix(rest), rest.strip_prefix("::")) {
            (Some(indent), Some(rest)) => safe.extend([indent, "<![CDATA[::]]>", rest]),
            (_, _) => safe.push_str(line),
        }
    }
    for (marker, broken) in MARKERS {
        if safe.contains(marker) {
            safe = safe.replace(marker, broken);
        }
    }
    BytesText::from_escaped(safe)
}
