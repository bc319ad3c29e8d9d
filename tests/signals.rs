//! Signals to us: in every phase of a run, and how we end.

use retryrun::engine::event::{EndedBy, Outcome, Trigger};
use rustix::process::Signal;

use crate::test::{RETRYRUN, Ran, Test};

const STOPPING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

fn interrupted(ran: &Ran, signal: Signal) {
    assert_eq!((ran.code(), ran.signal()), (None, Some(signal.as_raw())), "{}", ran.stderr);
    assert_eq!(ran.history().outcome, Some(Outcome::Interrupted));
    assert_eq!(ran.history().exit_code, Some(128 + signal.as_raw()));
}

#[test]
fn in_an_attempt_the_command_gets_it_and_we_die_of_it() {
    for signal in STOPPING {
        // Not bash, which ignores SIGQUIT until it has become the sleep.
        let mut running = Test::new(["--", "dash", "-c", "echo up; exec sleep 1000"]).start();
        running.stdout_line();
        running.signal(signal);
        let ran = running.finish();
        interrupted(&ran, signal);
        let attempt = &ran.history().attempts[0];
        assert_eq!(attempt.ended_by, Some(EndedBy::Signal));
        assert_eq!(
            attempt.signal.map(retryrun::engine::signal::Signal::number),
            Some(signal.as_raw())
        );
        assert_eq!(ran.history().attempts.len(), 1);
    }
}

#[test]
fn in_a_wait_the_run_ends_at_once() {
    for signal in STOPPING {
        let mut running = Test::new(["-d", "1000", "false"]).start();
        running.stderr_with("next in 5m");
        running.signal(signal);
        let ran = running.finish();
        interrupted(&ran, signal);
        assert_eq!(ran.history().attempts[0].next_delay.map(|delay| delay.as_secs()), Some(300));
        assert!(ran.history().waited.as_secs() < 300);
    }
}

#[test]
fn a_command_that_exits_by_itself_gives_us_its_exit_code() {
    for (code, exit) in [(3, 3), (0, 0)] {
        let script = format!("trap 'exit {code}' TERM; echo up; while :; do sleep 0.05; done");
        let mut running = Test::bash(&[], &script).start();
        running.stdout_line();
        running.signal(Signal::TERM);
        let ran = running.finish();
        assert_eq!(ran.code(), Some(exit), "{}", ran.stderr);
        let history = ran.history();
        assert_eq!((history.outcome, history.exit_code), (Some(Outcome::Interrupted), Some(exit)));
        assert_eq!(history.attempts.len(), 1);
    }
}

#[test]
fn a_deaf_command_is_killed_with_its_tree_after_the_grace() {
    let script =
        "trap '' TERM; (trap '' TERM; sleep 1000; :) & echo up; while :; do sleep 0.05; done";
    let mut running = Test::bash(&["-k", "0.2"], script).start();
    running.stdout_line();
    running.signal(Signal::TERM);
    let ran = running.finish();
    interrupted(&ran, Signal::TERM);
    assert_eq!(
        ran.history().attempts[0].signal.map(|signal| signal.to_string()),
        Some("SIGKILL".into())
    );
}

#[test]
fn a_third_signal_kills_at_once() {
    let script = "trap 'echo again' TERM; echo up; while :; do sleep 0.05; done";
    let mut running = Test::bash(&["-k", "1h"], script).start();
    running.stdout_line();
    running.signal(Signal::TERM);
    assert_eq!(running.stdout_line(), "again\n");
    running.signal(Signal::TERM);
    assert_eq!(running.stdout_line(), "again\n");
    running.signal(Signal::TERM);
    interrupted(&running.finish(), Signal::TERM);
}

#[test]
fn a_killed_command_is_a_failure_like_any_other() {
    let mut running = Test::bash(&["-n1", "-d0"], "echo $$; exec sleep 1000").start();
    for _ in 0..2 {
        let pid: i32 = running.stdout_line().trim().parse().expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("not zero");
        rustix::process::kill_process(pid, Signal::KILL).expect("it runs");
    }
    let ran = running.finish();
    assert_eq!((ran.code(), ran.signal()), (None, Some(libc::SIGKILL)));
    assert_eq!(ran.history().outcome, Some(Outcome::Exhausted));
    assert_eq!(ran.history().attempts.len(), 2);
}

#[test]
fn if_we_are_killed_so_is_the_command() {
    // The output ends only when the command, which holds it, has ended.
    let mut running = Test::bash(&[], "echo up; exec sleep 1000").start();
    running.stdout_line();
    running.signal(Signal::KILL);
    assert_eq!(running.finish().signal(), Some(libc::SIGKILL));
}

#[test]
fn what_was_ignored_stays_ignored() {
    let script = "trap '' HUP INT; exec \"$0\" -n0 bash -c 'echo up; read; exit 3'";
    let mut running = Test::bash(&[], "")
        .with(|command| {
            let mut bash = std::process::Command::new("bash");
            bash.args(["-c", script, RETRYRUN]).stdin(std::process::Stdio::piped());
            bash.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            *command = bash;
        })
        .start();
    running.stdout_line();
    running.signal(Signal::HUP);
    running.signal(Signal::INT);
    running.close_stdin();
    let ran = running.finish();
    assert_eq!((ran.code(), ran.history().outcome), (Some(3), Some(Outcome::Exhausted)));
}

#[test]
fn other_signals_are_the_commands() {
    let script = "trap 'echo usr1' USR1; trap 'echo usr2; exit 0' USR2; echo up; while :; do sleep 0.05; done";
    let mut running = Test::bash(&[], script).start();
    running.stdout_line();
    running.signal(Signal::USR1);
    assert_eq!(running.stdout_line(), "usr1\n");
    running.signal(Signal::USR2);
    assert_eq!(running.stdout_line(), "usr2\n");
    assert_eq!(running.finish().code(), Some(0));
}

#[test]
fn usr1_ends_a_wait_and_the_attempt_does_not_count() {
    let script = crate::test::steps(&["exit 1", "exit 1", "exit 0"]);
    let mut running = Test::bash(&["-n1", "-d", "200", "--history=always"], &script).start();
    running.stderr_with("attempt 1/2 failed");
    running.signal(Signal::USR1);
    // It does not count against the limit, so that another retry is left.
    running.stderr_with("attempt 2/3 failed");
    running.signal(Signal::USR1);
    let ran = running.finish();
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    let history = ran.history();
    assert_eq!(history.retry_count, 0);
    let triggers: Vec<Trigger> = history.attempts.iter().map(|attempt| attempt.trigger).collect();
    assert_eq!(triggers, [Trigger::First, Trigger::Manual, Trigger::Manual]);
}

#[test]
fn when_nobody_reads_our_output_we_die_silently_of_sigpipe() {
    let script = format!("set -o pipefail; {RETRYRUN} -- yes | head -n 1; echo ${{PIPESTATUS[0]}}");
    let output =
        std::process::Command::new("bash").args(["-c", &script]).output().expect("bash runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("y\n141\n".into(), String::new()));
}

#[test]
fn another_broken_pipe_is_a_failure_like_any_other() {
    let ran = Test::bash(&["-n1", "-d0"], "kill -PIPE $$").run();
    assert_eq!((ran.signal(), ran.history().attempts.len()), (Some(libc::SIGPIPE), 2));
    assert_eq!(ran.history().outcome, Some(Outcome::Exhausted));
}
