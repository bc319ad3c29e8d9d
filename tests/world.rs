//! What the command sees: words, environment, descriptors, dispositions; as without us, but for the facts.

use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::Duration;

use crate::preload::with_jumps;
use crate::session::Session;
use crate::test::{RETRYRUN, Test, path, steps};

#[test]
fn the_words_of_the_command_are_untouched() {
    let print = ["printf", "<%s>"];
    let cases: [(&[&str], &[&str]); 6] = [
        (&["--"], &["", "a b", "\n", "--"]),
        (&[], &["--retries", "-n", "3", "--", "-h"]),
        (&["-n", "0", "--"], &["--version"]),
        (&["-qn0"], &["*", "$HOME", "`x`", "\\"]),
        (&["--"], &["--help"]),
        (&["--delay=1", "-t5"], &["é", "\u{1b}[0m"]),
    ];
    for (options, words) in cases {
        let ran = Test::new([options, &print[..], words].concat()).run();
        let expected: String = words.iter().map(|word| format!("<{word}>")).collect();
        assert_eq!((ran.code(), ran.stdout), (Some(0), expected), "{options:?}");
    }
}

#[test]
fn words_need_not_be_text() {
    let raw = std::ffi::OsStr::from_bytes(b"a\xff\xfe");
    let printf = std::ffi::OsStr::new("printf");
    let output =
        Command::new(RETRYRUN).args([printf, "%s".as_ref(), raw]).output().expect("it runs");
    assert_eq!(output.stdout, b"a\xff\xfe");
}

#[test]
fn a_second_double_dash_is_the_commands() {
    let ran = Test::new(["--", "--", "x"]).run();
    assert_eq!((ran.code(), ran.history().command), (Some(127), vec!["--".into(), "x".into()]));
}

#[test]
fn facts_are_in_the_environment() {
    let script =
        "env | grep ^RETRYRUN_ | grep -v RUN_ID | sort; echo; exit $((RETRYRUN_ATTEMPT + 4))";
    let ran = Test::bash(&["-n1", "-d0", "--stop-on", "never: 99"], script).run();
    assert_eq!(
        ran.stdout,
        "RETRYRUN_ATTEMPT=1\nRETRYRUN_MAX_ATTEMPTS=2\n\nRETRYRUN_ATTEMPT=2\nRETRYRUN_LAST_EXIT_CODE=5\n\
         RETRYRUN_LAST_REASON=unlisted\nRETRYRUN_LAST_SIGNAL=\nRETRYRUN_MAX_ATTEMPTS=2\n\n"
    );
    let ran = Test::bash(&["-n1", "-d0"], "echo $RETRYRUN_RUN_ID; exit 1").run();
    let id = ran.history().run_id;
    assert_eq!(ran.stdout, format!("{id}\n{id}\n"));
    let script =
        steps(&["kill -9 $$", "echo $RETRYRUN_LAST_SIGNAL ${RETRYRUN_LAST_EXIT_CODE:-none}"]);
    assert_eq!(Test::bash(&["-d0"], &script).run().stdout, "SIGKILL none\n");
    assert_eq!(Test::bash(&["-ninf"], "echo \"<$RETRYRUN_MAX_ATTEMPTS>\"").run().stdout, "<>\n");
}

#[test]
fn the_deadline_is_a_fact_that_an_inner_run_keeps() {
    let script = "echo $((RETRYRUN_DEADLINE_AT - $(date +%s)))";
    let left: i64 =
        Test::bash(&["--deadline=1000"], script).run().stdout.trim().parse().expect("a number");
    assert!((900..=1001).contains(&left), "{left}");

    let inner = format!("{RETRYRUN} --deadline=1h --explain | grep deadline");
    let shown = Test::bash(&["--deadline=10m"], &inner).run().stdout;
    assert!(shown.contains("outer run") && shown.contains("m "), "{shown}");
    let inner = format!("{RETRYRUN} --deadline=5s --explain | grep deadline");
    let shown = Test::bash(&["--deadline=10m"], &inner).run().stdout;
    assert!(shown.contains("5s") && shown.contains("flag --deadline"), "{shown}");
}

#[test]
fn a_calendar_that_is_set_changes_no_limit_and_no_wait() {
    for direction in ["ahead", "back"] {
        let options =
            ["-n2", "--delays=0.01,0.02", "-t100", "--idle-timeout=100", "--deadline=100"];
        // What then never ends is ended.
        let words = [&["-sKILL", "50", RETRYRUN], &options[..], &["sh", "-c", "exit 3"]].concat();
        let ran = with_jumps(Test::of("timeout", words).file(direction, "")).run();
        assert_eq!(ran.code(), Some(3), "{direction} {}", ran.stderr);
        let history = ran.history();
        let codes: Vec<_> = history.attempts.iter().map(|attempt| attempt.exit_code).collect();
        assert_eq!(codes, [Some(3); 3], "{direction}");
        assert_eq!(history.waited, Duration::from_millis(30), "{direction}");
        let elapsed = history.elapsed.as_secs_f64();
        assert!((0.03..50.0).contains(&elapsed), "{direction} {elapsed}");
    }
}

#[test]
fn an_outer_deadline_that_has_passed_runs_nothing() {
    let ran = Test::bash(&[], "echo ran").env("RETRYRUN_DEADLINE_AT", "1").run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(124), ""));
    let ran = Test::bash(&[], "echo ran").env("RETRYRUN_DEADLINE_AT", "soon").run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(125), ""));
    assert!(ran.stderr.contains("RETRYRUN_DEADLINE_AT"), "{}", ran.stderr);
}

#[test]
fn facts_of_an_outer_run_are_removed() {
    let ran = Test::bash(
        &[],
        "echo \"<$RETRYRUN_LAST_REASON$RETRYRUN_LAST_SIGNAL$RETRYRUN_DEADLINE_AT>\"",
    )
    .env("RETRYRUN_LAST_REASON", "outer")
    .env("RETRYRUN_LAST_SIGNAL", "SIGHUP")
    .run();
    assert_eq!(ran.stdout, "<>\n");
}

#[test]
fn an_inner_run_reports_by_its_own_options() {
    let inner = format!("{RETRYRUN} -n0 sh -c 'exit 9'; echo inner $?");
    let ran = Test::bash(&[], &inner)
        .env("RETRYRUN_HISTORY", "never")
        .env("RETRYRUN_EXIT_CODE", "exhausted=33")
        .run();
    assert_eq!(ran.stdout, "inner 9\n");
    assert_eq!(ran.history().exit_code, Some(9));
}

#[test]
fn the_environment_is_otherwise_the_same() {
    let ran = Test::new(["env", "-0"]).env("ODD", "a\nb=c ü").run();
    let is_fact = |entry: &&str| entry.starts_with("RETRYRUN_");
    let mut entries: Vec<&str> = ran.stdout.split_terminator('\0').collect();
    entries.retain(|entry| !is_fact(entry));
    entries.sort_unstable();
    let names: Vec<&str> = entries.iter().filter_map(|entry| entry.split('=').next()).collect();
    assert_eq!(names, ["HOME", "ODD", "PATH"]);
    assert_eq!((entries[1], entries[2]), ("ODD=a\nb=c ü", format!("PATH={}", path()).as_str()));
}

/// What /proc shows of a process that a signal or a descriptor could differ in.
const STATE: &str = "grep -E '^(Sig(Blk|Ign)|Umask|NoNewPrivs)' /proc/self/status; ls /proc/self/fd | sort -n | tr '\\n' ' '; \
                     ulimit -a; pwd";

#[test]
fn dispositions_mask_limits_and_descriptors_are_the_same() {
    for prepare in [
        "",
        "trap '' PIPE;",
        "trap '' HUP USR1 CHLD;",
        "umask 027; ulimit -c 0;",
        "exec 7</dev/null;",
    ] {
        let direct = bash(&format!("{prepare} exec sh -c \"$0\""), &[STATE]);
        let through = bash(&format!("{prepare} exec \"$1\" sh -c \"$0\""), &[STATE, RETRYRUN]);
        assert_eq!(through, direct, "{prepare}");
        assert!(direct.contains("SigIgn"), "{direct}");
    }
}

#[test]
fn what_we_open_is_not_the_commands() {
    let screen = |script: &str| Session::script(&format!("echo input | {script}")).finish().1;
    let all = "--idle-timeout=100 --stdin=replay --log-dir=logs --hints";
    // On a terminal and through pipes; and a command of the user's own, whose stdout is our stderr.
    for (command, end, times) in [
        ("ls -1 /proc/self/fd", "", 2),
        ("ls -1 /proc/self/fd", "2>&1 | cat", 2),
        ("--retry-if='exec ls -1 /proc/self/fd' true", "", 1),
    ] {
        let direct = screen("ls -1 /proc/self/fd");
        assert!(direct.contains("0\r\n1\r\n"), "{direct}");
        for options in ["", "--idle-timeout=100", "--stdin=replay", "--stdin=null", all] {
            let run = "$R -q --history=never -n1 -d0 --success-on=9 --retry-on=0";
            let through = screen(&format!("{run} {options} {command} {end}"));
            assert_eq!(through, direct.repeat(times), "{options} {command} {end}");
        }
    }
}

#[test]
fn closed_descriptors_stay_closed() {
    let state =
        "ls -l /proc/self/fd >list; grep -c -- '-> ' list; grep -E ' [012] -> ' list | wc -l";
    for closed in ["<&-", "2>&-", "<&- 2>&-"] {
        let direct = bash(&format!("cd $(mktemp -d); sh -c \"$0\" {closed}"), &[state]);
        let through =
            bash(&format!("cd $(mktemp -d); \"$1\" sh -c \"$0\" {closed}"), &[state, RETRYRUN]);
        assert_eq!(through, direct, "{closed}");
    }
}

fn bash(script: &str, words: &[&str]) -> String {
    let output =
        Command::new("bash").arg("-c").arg(script).args(words).output().expect("bash runs");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_script_sees_the_folder_and_the_input_that_we_were_given() {
    let ran = Test::bash(&[], "pwd; cat").with(|command| {
        command.stdin(std::fs::File::open("/proc/self/comm").expect("a file"));
    });
    let folder = ran.path(".").canonicalize().expect("it exists");
    let ran = ran.run();
    assert!(ran.stdout.starts_with(&format!("{}\n", folder.display())), "{}", ran.stdout);
    assert_eq!(ran.stdout.lines().count(), 2);
}
