//! Whole transcripts: our lines, the markers for each CI system and the history as they stand on stderr, on a simulated clock.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use retryrun::engine::event::{Event, Verdict};
use retryrun::engine::history::History;
use retryrun::engine::signal::Signal;
use retryrun::report::ci::{Ci, Options, Summary, System};
use retryrun::report::json::HistoryPrinter;
use retryrun::report::log::{self, Log};
use retryrun::report::{Sinks, Starting};
use tempfile::TempDir;
use tracing_subscriber::filter::LevelFilter;

use crate::sim::{Command, Script, dies, exits, hangs, secs};

/// What stderr would take.
#[derive(Clone, Default)]
struct Stderr(Arc<Mutex<Vec<u8>>>);

impl Stderr {
    fn text(&self) -> String {
        let bytes = self.0.lock().expect("nobody panicked with it").clone();
        String::from_utf8(bytes).expect("what we write is text")
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A run that is reported to a CI system.
struct Reported {
    script: Script,
    system: System,
    filter: LevelFilter,
    /// The command's words, in the place of the script's.
    words: Vec<String>,
    summary: Option<Summary>,
}

/// What came of it.
struct Shown {
    stderr: String,
}

fn reported(system: System, script: Script) -> Reported {
    let words = ["curl", "-fsS"].map(str::to_owned).into();
    Reported { script, system, filter: LevelFilter::INFO, words, summary: None }
}

impl Reported {
    fn quiet(mut self) -> Reported {
        self.filter = LevelFilter::ERROR;
        self
    }

    fn of<const N: usize>(mut self, words: [&str; N]) -> Reported {
        self.words = words.map(str::to_owned).into();
        self
    }

    fn with_summary(mut self, summary: Summary) -> Reported {
        self.summary = Some(summary);
        self
    }

    /// Tells the reports of the run as the driver does. Each attempt writes its number and, at last, half a line.
    fn play(self) -> Shown {
        let Reported { script, system, filter, words, summary } = self;
        let stderr = Stderr::default();
        let log = || {
            let options = log::Options { json: false, color: false, filter };
            Log::new(stderr.clone(), options)
        };
        let render = |history: &History| format!("{} attempts\n", history.attempts.len());
        let mut sinks = Sinks::default();
        sinks.add(log());
        sinks.add(Ci::new(stderr.clone(), log(), Options { system, filter, summary, render }));
        sinks.add(HistoryPrinter {
            writer: stderr.clone(),
            indented: false,
            always: false,
            filter,
        });
        let mut records = script.play().records;
        if let Some(Event::RunStarted(run)) = records.first_mut().map(|record| &mut record.event) {
            run.command = words;
        }
        let mut history = History::of(&records).expect("they begin with the run");
        for (told, record) in records.iter().enumerate() {
            if let Event::AttemptStarted(event) = &record.event {
                let (attempt, trigger) = (event.attempt, event.trigger);
                sinks.starting(
                    &Starting { attempt, trigger, at: record.at, follows_a_hook: false },
                    &history,
                );
                write!(stderr.clone(), "<{attempt}>\n...").expect("memory takes it");
            }
            history = History::of(records.iter().take(told + 1)).expect("they begin with the run");
            sinks.tell(record, &history);
        }
        Shown { stderr: stderr.text() }
    }
}

impl Shown {
    /// Fails unless that is what stood on stderr: indentation aside, with escapes spelled out and of the history only its beginning.
    #[track_caller]
    fn shows(&self, expected: &str) {
        let shown = self.stderr.replace('\u{1b}', "<ESC>").replace('\r', "<CR>");
        let shown: String = shown
            .lines()
            .map(|line| match line.starts_with(r#"{"schema":"retryrun.history/1","#) {
                true => "{history}\n".to_owned(),
                false => format!("{line}\n"),
            })
            .collect();
        let expected: String =
            expected.trim().lines().map(|line| format!("{}\n", line.trim())).collect();
        assert!(shown == expected, "expected\n{expected}\nbut it was\n{shown}");
    }
}

fn fails_twice() -> Script {
    Script::new([exits(7), dies(Signal::KILL), exits(0)])
}

fn gives_up() -> Script {
    Script::new([exits(7)]).retries(1)
}

#[test]
fn github_success_after_retries() {
    reported(System::GitHub, fails_twice()).play().shows(
        "<1>
         ...retryrun: attempt 1/4 failed after 0.1s: exit 7 (transient: unlisted); next in 5s
         ::group::retryrun: attempt 2/4
         <2>
         ...
         ::endgroup::
         retryrun: attempt 2/4 failed after 0.1s: SIGKILL (transient: signal); next in 10s
         ::group::retryrun: attempt 3/4
         <3>
         ...
         ::endgroup::
         retryrun: succeeded after 3 attempts in 15.3s
         ::warning title=retryrun::curl -fsS: succeeded after 3 attempts in 15.3s; before that exit 7 (unlisted), SIGKILL (signal)",
    );
}

#[test]
fn github_failure() {
    reported(System::GitHub, gives_up()).play().shows(
        "<1>
         ...retryrun: attempt 1/2 failed after 0.1s: exit 7 (transient: unlisted); next in 5s
         ::group::retryrun: attempt 2/2
         <2>
         ...
         ::endgroup::
         retryrun: attempt 2/2 failed after 0.1s: exit 7 (transient: unlisted)
         retryrun: gave up after 2 attempts in 5.2s: exit 7 each time (unlisted)
         ::error title=retryrun::curl -fsS: gave up after 2 attempts in 5.2s: exit 7 each time (unlisted)
         {history}",
    );
}

#[test]
fn gitlab_success_after_retries() {
    reported(System::GitLab, fails_twice()).play().shows(
        "<1>
         ...retryrun: attempt 1/4 failed after 0.1s: exit 7 (transient: unlisted); next in 5s
         <ESC>[0Ksection_start:1795292135:retryrun_01jd7_2<CR><ESC>[0Kretryrun: attempt 2/4
         <2>
         ...<ESC>[0Ksection_end:1795292135:retryrun_01jd7_2<CR><ESC>[0K
         retryrun: attempt 2/4 failed after 0.1s: SIGKILL (transient: signal); next in 10s
         <ESC>[0Ksection_start:1795292145:retryrun_01jd7_3<CR><ESC>[0Kretryrun: attempt 3/4
         <3>
         ...<ESC>[0Ksection_end:1795292145:retryrun_01jd7_3<CR><ESC>[0K
         retryrun: succeeded after 3 attempts in 15.3s",
    );
}

#[test]
fn gitlab_failure() {
    reported(System::GitLab, gives_up()).play().shows(
        "<1>
         ...retryrun: attempt 1/2 failed after 0.1s: exit 7 (transient: unlisted); next in 5s
         <ESC>[0Ksection_start:1795292135:retryrun_01jd7_2<CR><ESC>[0Kretryrun: attempt 2/2
         <2>
         ...<ESC>[0Ksection_end:1795292135:retryrun_01jd7_2<CR><ESC>[0K
         retryrun: attempt 2/2 failed after 0.1s: exit 7 (transient: unlisted)
         retryrun: gave up after 2 attempts in 5.2s: exit 7 each time (unlisted)
         {history}",
    );
}

#[test]
fn azure_success_after_retries() {
    reported(System::Azure, fails_twice()).play().shows(
        "<1>
         ...retryrun: attempt 1/4 failed after 0.1s: exit 7 (transient: unlisted); next in 5s
         ##[group]retryrun: attempt 2/4
         <2>
         ...
         ##[endgroup]
         retryrun: attempt 2/4 failed after 0.1s: SIGKILL (transient: signal); next in 10s
         ##[group]retryrun: attempt 3/4
         <3>
         ...
         ##[endgroup]
         retryrun: succeeded after 3 attempts in 15.3s
         ##vso[task.logissue type=warning]retryrun: curl -fsS: succeeded after 3 attempts in 15.3s; before that exit 7 (unlisted), SIGKILL (signal)",
    );
}

#[test]
fn azure_failure() {
    reported(System::Azure, gives_up()).play().shows(
        "<1>
         ...retryrun: attempt 1/2 failed after 0.1s: exit 7 (transient: unlisted); next in 5s
         ##[group]retryrun: attempt 2/2
         <2>
         ...
         ##[endgroup]
         retryrun: attempt 2/2 failed after 0.1s: exit 7 (transient: unlisted)
         retryrun: gave up after 2 attempts in 5.2s: exit 7 each time (unlisted)
         ##vso[task.logissue type=error]retryrun: curl -fsS: gave up after 2 attempts in 5.2s: exit 7 each time (unlisted)
         {history}",
    );
}

#[test]
fn buildkite_success_after_retries() {
    reported(System::Buildkite, fails_twice()).play().shows(
        "<1>
         ...retryrun: attempt 1/4 failed after 0.1s: exit 7 (transient: unlisted); next in 5s
         --- retryrun: attempt 2/4
         <2>
         ...
         retryrun: attempt 2/4 failed after 0.1s: SIGKILL (transient: signal); next in 10s
         --- retryrun: attempt 3/4
         <3>
         ...
         retryrun: succeeded after 3 attempts in 15.3s
         --- retryrun: curl -fsS: succeeded after 3 attempts in 15.3s; before that exit 7 (unlisted), SIGKILL (signal)",
    );
}

#[test]
fn buildkite_failure() {
    reported(System::Buildkite, gives_up()).play().shows(
        "<1>
         ...retryrun: attempt 1/2 failed after 0.1s: exit 7 (transient: unlisted); next in 5s
         --- retryrun: attempt 2/2
         <2>
         ...
         retryrun: attempt 2/2 failed after 0.1s: exit 7 (transient: unlisted)
         retryrun: gave up after 2 attempts in 5.2s: exit 7 each time (unlisted)
         ^^^ +++
         +++ retryrun: curl -fsS: gave up after 2 attempts in 5.2s: exit 7 each time (unlisted)
         {history}",
    );
}

const SYSTEMS: [System; 4] = [System::GitHub, System::GitLab, System::Azure, System::Buildkite];

#[test]
fn what_succeeds_at_once_says_nothing() {
    for system in SYSTEMS {
        reported(system, Script::new([exits(0)])).play().shows("<1>\n...");
        let steady = Script::new([exits(0)]).policy(|policy| policy.consecutive = 2);
        reported(system, steady).play().shows("<1>\n...<2>\n...");
    }
}

#[test]
fn when_quiet_only_an_error_is_left() {
    for system in SYSTEMS {
        reported(system, fails_twice()).quiet().play().shows("<1>\n...<2>\n...<3>\n...");
    }
    reported(System::GitLab, gives_up()).quiet().play().shows("<1>\n...<2>\n...\n{history}");
    reported(System::GitHub, gives_up()).quiet().play().shows(
        "<1>
         ...<2>
         ...
         ::error title=retryrun::curl -fsS: gave up after 2 attempts in 5.2s: exit 7 each time (unlisted)

         {history}",
    );
}

#[test]
fn a_group_ends_with_an_attempt_that_a_signal_or_a_limit_ended() {
    let script = Script::new([exits(7), hangs()]).signal(secs(6.0), Signal::TERM);
    reported(System::GitHub, script).play().shows(
        "<1>
         ...retryrun: attempt 1/4 failed after 0.1s: exit 7 (transient: unlisted); next in 5s
         ::group::retryrun: attempt 2/4
         <2>
         ...
         ::endgroup::
         retryrun: attempt 2/4 failed after 0.9s: SIGTERM (permanent: stopped)
         retryrun: interrupted by SIGTERM after 2 attempts in 6.0s: SIGTERM (stopped)
         ::warning title=retryrun::curl -fsS: interrupted by SIGTERM after 2 attempts in 6.0s: SIGTERM (stopped)
         {history}",
    );
    let script = Script::new([exits(7), hangs()]).timeout(secs(1.0)).retries(1);
    reported(System::Azure, script).play().shows(
        "<1>
         ...retryrun: attempt 1/2 failed after 0.1s: exit 7 (transient: unlisted); next in 5s
         ##[group]retryrun: attempt 2/2
         <2>
         ...retryrun: attempt 2/2 reached its timeout after 1.0s: sending SIGTERM, SIGKILL in 5s

         ##[endgroup]
         retryrun: attempt 2/2 failed after 1.0s: timed out (transient: timeout)
         retryrun: gave up after 2 attempts in 6.1s: timed out (timeout)
         ##vso[task.logissue type=error]retryrun: curl -fsS: gave up after 2 attempts in 6.1s: timed out (timeout)
         {history}",
    );
}

#[test]
fn a_run_that_is_told_to_stop_in_a_wait_leaves_no_group_open() {
    let script = Script::new([exits(7)]).signal(secs(2.0), Signal::INT);
    reported(System::GitHub, script).play().shows(
        "<1>
         ...retryrun: attempt 1/4 failed after 0.1s: exit 7 (transient: unlisted); next in 5s
         retryrun: interrupted by SIGINT after 1 attempt in 2.0s: exit 7 (unlisted)
         ::warning title=retryrun::curl -fsS: interrupted by SIGINT after 1 attempt in 2.0s: exit 7 (unlisted)
         {history}",
    );
}

#[test]
fn a_group_ends_where_its_attempt_cannot_be_started() {
    use retryrun::engine::event::SpawnErrorKind;
    let script = Script::new([exits(7), Command::CannotStart(SpawnErrorKind::NotFound)]);
    let shown = reported(System::GitHub, script).play().stderr;
    let (_, group) = shown.split_once("::group::retryrun: attempt 2/4\n").expect("a group");
    assert!(group.starts_with("<2>\n...\n::endgroup::\nretryrun: attempt 2/4 failed"), "{shown}");
    assert_eq!(group.matches("::endgroup::").count(), 1, "{shown}");
    assert!(
        group.contains("\n::error title=retryrun::curl -fsS: gave up after 2 attempts"),
        "{shown}"
    );
}

#[test]
fn a_status_that_the_user_replaced_by_0_is_no_error() {
    let script = gives_up().exit_codes(["exhausted=0"]);
    let shown = reported(System::GitHub, script).play().stderr;
    assert!(shown.contains("\n::warning title=retryrun::curl -fsS: gave up"), "{shown}");
    assert!(!shown.contains("::error"), "{shown}");
}

#[test]
fn a_hundred_failures_are_one_annotation() {
    let script = Script::new([exits(7)]).retries(99);
    let shown = reported(System::GitHub, script).play().stderr;
    assert_eq!(shown.matches("::error ").count(), 1, "{shown}");
    assert_eq!(shown.matches("::warning ").count(), 0, "{shown}");
    assert_eq!(shown.matches("::group::").count(), 99, "{shown}");
    assert_eq!(shown.matches("\n::endgroup::\n").count(), 99, "{shown}");
}

#[test]
fn many_kinds_of_failure_and_a_long_command_are_cut_short() {
    let script =
        Script::new([exits(1), exits(2), exits(1), exits(3), exits(4), exits(0)]).retries(9);
    let shown = reported(System::GitHub, script).of(["echo", &"é".repeat(200)]).play().stderr;
    let last = shown.lines().last().expect("an annotation");
    let command = format!("echo {}...", "é".repeat(115));
    assert_eq!(
        last,
        format!(
            "::warning title=retryrun::{command}: succeeded after 6 attempts in 2m 35s; before that exit 1 (unlisted), exit 2 (unlisted), exit 3 (unlisted), ..."
        )
    );
}

/// Words that are commands of one system or another, and the escape that begins those of a terminal.
const HOSTILE: [&str; 9] = [
    "::error::x",
    "\n::set-output name=a::b",
    "\r\n::stop-commands::x",
    "##[error]x",
    "##vso[task.complete result=Failed]",
    "section_end:1:retryrun_01jd7_2\r\u{1b}[0K",
    "\n--- x",
    "\u{1b}]0;x\u{7}",
    "%0A::error::x",
];

#[test]
fn no_word_of_the_command_stands_as_a_system_s_command() {
    for system in SYSTEMS {
        for word in HOSTILE {
            let script = Script::new([exits(1), exits(7)]).rules([(Verdict::Permanent, "7")]);
            let shown = reported(system, script).of(["echo", word]).play().stderr;
            assert_only_our_commands(&shown, &format!("{system:?}, {word:?}"));
        }
    }
}

/// Fails if there is a command of any system but those that we write, which are taken away one by one.
fn assert_only_our_commands(shown: &str, what: &str) {
    let ours = [
        "::group::retryrun: ",
        "::endgroup::\n",
        "::error title=retryrun::echo ",
        "##[group]retryrun: ",
        "##[endgroup]\n",
        "##vso[task.logissue type=error]retryrun: ",
        "\u{1b}[0Ksection_start:1795292135:retryrun_01jd7_2\r\u{1b}[0K",
        "\u{1b}[0Ksection_end:1795292135:retryrun_01jd7_2\r\u{1b}[0K",
        "--- retryrun: ",
        "^^^ +++\n",
        "+++ retryrun: ",
    ];
    let rest = ours.iter().fold(shown.to_owned(), |rest, ours| rest.replacen(ours, "(ours)", 1));
    for line in rest.split(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}']) {
        // GitHub's runner takes space away before it looks.
        assert!(!line.trim_start().starts_with("::"), "{what}: {line:?}");
        let is_header = ["--- ", "+++ ", "~~~ ", "^^^ "].iter().any(|mark| line.starts_with(mark));
        assert!(!is_header, "{what}: {line:?}");
    }
    for marker in ["##[", "##vso[", "section_start:", "section_end:"] {
        assert!(!rest.contains(marker), "{what}: {rest:?}");
    }
    assert!(!rest.chars().any(|c| c.is_control() && c != '\n'), "{what}: {rest:?}");
}

/// A run with an empty summary file in its folder.
fn with_summary(script: Script) -> (Shown, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let summary = Summary::AtTheEndOf(folder.path().join("summary"));
    (reported(System::GitHub, script).with_summary(summary).play(), folder)
}

fn summary_in(folder: &TempDir) -> Option<String> {
    std::fs::read_to_string(folder.path().join("summary")).ok()
}

#[test]
fn a_run_that_failed_anywhere_has_a_summary() {
    let (_, folder) = with_summary(fails_twice());
    assert_eq!(summary_in(&folder).as_deref(), Some("3 attempts\n"));
    let (_, folder) = with_summary(gives_up());
    assert_eq!(summary_in(&folder).as_deref(), Some("2 attempts\n"));
    let (_, folder) = with_summary(Script::new([exits(0)]));
    assert_eq!(summary_in(&folder), None);
}

#[test]
fn azure_is_told_where_the_summary_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let summary = Summary::In(folder.path().to_owned());
    let run = reported(System::Azure, gives_up()).with_summary(summary).quiet();
    run.play().shows(&format!(
        "<1>
         ...<2>
         ...
         ##vso[task.logissue type=error]retryrun: curl -fsS: gave up after 2 attempts in 5.2s: exit 7 each time (unlisted)
         ##vso[task.uploadsummary]{}/retryrun-01jd7.md

         {{history}}",
        folder.path().display()
    ));
}

#[test]
fn a_summary_that_cannot_be_written_is_said_once() {
    let summary = Summary::AtTheEndOf("/no/such/folder/summary".into());
    let shown = reported(System::GitHub, gives_up()).with_summary(summary).play().stderr;
    let said = "retryrun: cannot write the job summary of GITHUB_STEP_SUMMARY: No such file or directory\n";
    assert_eq!(shown.matches(said).count(), 1, "{shown}");
    assert!(shown.lines().last().is_some_and(|line| line.starts_with('{')), "{shown}");
}
