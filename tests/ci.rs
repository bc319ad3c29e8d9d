//! CI systems: what they are shown of a run, by the reports alone and by the real program, and the templates for them.

mod templates;
mod transcripts;

use std::fs;

use crate::test::{Ran, Test, steps};

/// Variables of a job of each system.
const JOBS: [(&str, &str); 4] = [
    ("GITHUB_ACTIONS", "true"),
    ("GITLAB_CI", "true"),
    ("TF_BUILD", "True"),
    ("BUILDKITE", "true"),
];

/// Options for two attempts at once, and no history to look at.
const TWO: [&str; 5] = ["-n1", "-d0", "--history", "never", "--policy=none"];

/// A command that fails once; each time it leaves half a line.
fn flaky() -> String {
    steps(&["printf one >&2; exit 7", "printf two >&2; exit 0"])
}

/// Stderr with measured times, the Unix time and the run's id made equal.
fn stable(ran: &Ran) -> String {
    let mut stable = String::new();
    for line in ran.stderr.split_inclusive('\n') {
        let words: Vec<String> = line.split(' ').map(stable_word).collect();
        stable += &words.join(" ");
    }
    stable
}

fn stable_word(word: &str) -> String {
    let bare = word.trim_end_matches(['\n', ':', ';', ',']);
    let tenths = bare.strip_suffix('s').and_then(|number| number.split_once('.'));
    if tenths.is_some_and(|(whole, part)| whole.parse::<u32>().is_ok() && part.len() == 1) {
        return word.replace(bare, "_s");
    }
    for marker in ["section_start:", "section_end:"] {
        let Some((before, after)) = word.split_once(marker) else { continue };
        let (time, name) = after.split_once(':').expect("a time and a name");
        assert!(time.parse::<u64>().is_ok_and(|time| time > 1_700_000_000), "{word:?}");
        let (name, rest) = name.split_once('\r').expect("the end of the marker");
        let [ours, id, attempt] = name.split('_').collect::<Vec<_>>()[..] else {
            panic!("{name:?} has three parts")
        };
        assert!(ours == "retryrun" && id.len() == 16, "{name:?}");
        return format!("{before}{marker}T:{attempt}\r{rest}");
    }
    word.to_owned()
}

fn in_job(variable: (&str, &str), options: &[&str], script: &str) -> Test {
    Test::bash(&[&TWO, options].concat(), script).env(variable.0, variable.1)
}

#[test]
fn what_succeeds_at_once_says_nothing_anywhere() {
    for job in JOBS {
        let test = in_job(job, &[], "exit 0").file("summary", "before\n");
        let path = test.path("summary");
        let running = test.env("GITHUB_STEP_SUMMARY", &path).start();
        let (ran, summary) = running.finish_with(|| fs::read_to_string(&path).expect("it stays"));
        assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""), "{job:?}");
        assert_eq!(summary, "before\n");
    }
}

#[test]
fn github_sees_groups_an_annotation_and_a_summary() {
    let test = in_job(JOBS[0], &[], &flaky()).file("summary", "# From before");
    let path = test.path("summary");
    let running = test.env("GITHUB_STEP_SUMMARY", "summary").start();
    let (ran, summary) = running.finish_with(|| fs::read_to_string(&path).expect("it stays"));
    let stderr = stable(&ran);
    let (shown, annotation) = stderr.rsplit_once("::warning title=retryrun::bash -c ").expect("it");
    assert_eq!(
        shown,
        "oneretryrun: attempt 1/2 failed after _s: exit 7 (transient: unlisted); next in 0s\n\
         ::group::retryrun: attempt 2/2\n\
         two\n\
         ::endgroup::\n\
         retryrun: succeeded after 2 attempts in _s\n"
    );
    let ending = ": succeeded after 2 attempts in _s; before that exit 7 (unlisted)\n";
    assert!(annotation.ends_with(ending), "{annotation}");
    let ours = summary.strip_prefix("# From before\n\n").expect("what stood there before stays");
    assert!(ours.contains("succeeded after 2 attempts in "), "{summary}");
}

#[test]
fn gitlab_sees_sections() {
    let ran = in_job(JOBS[1], &[], &flaky()).run();
    assert_eq!(
        stable(&ran),
        "oneretryrun: attempt 1/2 failed after _s: exit 7 (transient: unlisted); next in 0s\n\
         \u{1b}[0Ksection_start:T:2\r\u{1b}[0Kretryrun: attempt 2/2\n\
         two\u{1b}[0Ksection_end:T:2\r\u{1b}[0K\n\
         retryrun: succeeded after 2 attempts in _s\n"
    );
}

#[test]
fn azure_sees_groups_an_issue_and_a_summary() {
    let test = in_job(JOBS[2], &[], "exit 3").file("agent/there", "");
    let folder = test.path("agent");
    let running = test.env("AGENT_TEMPDIRECTORY", &folder).start();
    let (ran, files) = running.finish_with(|| {
        let entries = fs::read_dir(&folder).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let texts = paths.map(|path| (fs::read_to_string(&path).expect("text"), path));
        texts.filter(|(text, _)| !text.is_empty()).collect::<Vec<_>>()
    });
    let [(summary, path)] = files.as_slice() else { panic!("one summary: {files:?}") };
    assert!(summary.contains("gave up after 2 attempts in "), "{summary}");
    assert_eq!(
        stable(&ran),
        format!(
            "retryrun: attempt 1/2 failed after _s: exit 3 (transient: unlisted); next in 0s\n\
             ##[group]retryrun: attempt 2/2\n\
             \n\
             ##[endgroup]\n\
             retryrun: attempt 2/2 failed after _s: exit 3 (transient: unlisted)\n\
             retryrun: gave up after 2 attempts in _s: exit 3 each time (unlisted)\n\
             ##vso[task.logissue type=error]retryrun: bash -c 'exit 3': gave up after 2 attempts in _s: exit 3 each time (unlisted)\n\
             ##vso[task.uploadsummary]{}\n",
            path.display()
        )
    );
}

#[test]
fn buildkite_sees_groups() {
    let ran = in_job(JOBS[3], &[], "exit 3").run();
    assert_eq!(
        stable(&ran),
        "retryrun: attempt 1/2 failed after _s: exit 3 (transient: unlisted); next in 0s\n\
         --- retryrun: attempt 2/2\n\
         \n\
         retryrun: attempt 2/2 failed after _s: exit 3 (transient: unlisted)\n\
         retryrun: gave up after 2 attempts in _s: exit 3 each time (unlisted)\n\
         ^^^ +++\n\
         +++ retryrun: bash -c 'exit 3': gave up after 2 attempts in _s: exit 3 each time (unlisted)\n"
    );
}

#[test]
fn a_group_begins_before_the_command_can_write() {
    // An attempt whose first words came before its group would show them first, at least once in so many.
    let options = ["-n30", "-d0", "--history=never", "--policy=none", "--ci=github"];
    let ran = Test::bash(&options, "echo words >&2; exit 1").run();
    let lines = ran.lines();
    let groups = lines.iter().enumerate().filter(|(_, line)| line.starts_with("::group::"));
    let mut count = 0;
    for (index, _) in groups {
        assert_eq!(lines[index + 1..][..3], ["words", "", "::endgroup::"], "{}", ran.stderr);
        count += 1;
    }
    assert_eq!(count, 30);
}

#[test]
fn the_history_stays_last_and_whole() {
    let ran = Test::bash(&["-n1", "-d0", "-q", "--ci=github"], "printf half >&2; exit 1").run();
    assert_eq!(ran.history().attempts.len(), 2);
    assert_eq!(
        stable(&ran).split_once('{').map(|(before, _)| before),
        Some(
            "halfhalf\n\
             ::error title=retryrun::bash -c 'printf half >&2; exit 1': gave up after 2 attempts in _s: exit 1 each time (unlisted)\n\n"
        )
    );
}

#[test]
fn a_summary_that_cannot_be_written_changes_nothing_else() {
    let run = |summary: &str| {
        let test = in_job(JOBS[0], &["-q", "--history=failure"], "echo out; exit 7");
        test.env("GITHUB_STEP_SUMMARY", summary).run()
    };
    let (without, with) = (run(""), run("/no/such/folder/summary"));
    assert_eq!((with.code(), with.stdout.as_str()), (Some(7), "out\nout\n"));
    let said = "retryrun: cannot write the job summary of GITHUB_STEP_SUMMARY: No such file or directory\n";
    assert_eq!(with.stderr.matches(said).count(), 1, "{}", with.stderr);
    assert_eq!(with.history().attempts.len(), 2);
    let rest = |ran: &Ran| -> Vec<String> {
        let lines = stable(ran).replace(said, "");
        lines.lines().filter(|line| !line.starts_with('{')).map(str::to_owned).collect()
    };
    assert_eq!(rest(&with), rest(&without));
}

#[test]
fn where_stderr_takes_nothing_there_is_still_a_summary() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let test = in_job(JOBS[0], &[], "exit 7").file("summary", "");
    let path = test.path("summary");
    let test = test.env("GITHUB_STEP_SUMMARY", &path).with(|command| {
        command.stderr(full);
    });
    let (ran, summary) = test.start().finish_with(|| fs::read_to_string(&path).expect("text"));
    assert_eq!(ran.code(), Some(7));
    assert!(summary.contains("gave up after 2 attempts in "), "{summary}");
}

#[test]
fn the_system_can_be_said_and_unsaid() {
    let groups = |options: &[&str]| {
        let ran = in_job(JOBS[0], options, "exit 1").run();
        let begins = |mark: &str| ran.stderr.lines().any(|line| line.starts_with(mark));
        (begins("::group::"), begins("##[group]"))
    };
    assert_eq!(groups(&[]), (true, false));
    assert_eq!(groups(&["--ci=azure"]), (false, true));
    assert_eq!(groups(&["--ci=none"]), (false, false));
}

#[test]
fn a_group_is_ended_when_the_run_is_stopped_by_a_signal() {
    let script = steps(&["exit 1", "echo ready; sleep 60"]);
    let mut running = in_job(JOBS[0], &[], &script).start();
    assert_eq!(running.stdout_line(), "ready\n");
    running.signal(rustix::process::Signal::TERM);
    let ran = running.finish();
    assert_eq!(ran.signal(), Some(15));
    let shown = stable(&ran);
    let (_, group) = shown.split_once("::group::retryrun: attempt 2/2\n").expect("a group");
    assert!(
        group.starts_with(
            "\n::endgroup::\nretryrun: attempt 2/2 failed after _s: SIGTERM (permanent: stopped)\n"
        ),
        "{shown}"
    );
}

#[test]
fn a_group_begins_on_a_line_of_its_own_behind_a_hook() {
    let options =
        ["-n1", "-d0", "--ci=github", "--history=never", "--before-attempt", "printf half"];
    let ran = Test::bash(&options, "exit 3").run();
    assert!(ran.stderr.contains("half\n::group::retryrun: attempt 2/2\n"), "{}", ran.stderr);
}
