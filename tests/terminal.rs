//! On a terminal: a real pseudo-terminal, and what a person at it sees and presses.

use std::os::unix::process::ExitStatusExt;

use crate::session::Session;
use crate::test::RETRYRUN;

#[test]
fn the_command_has_the_terminal() {
    let script = "read -p 'name? ' name </dev/tty; echo \"hello $name\"; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo tty";
    let mut session = Session::start(&[RETRYRUN, "--", "bash", "-c", script]);
    session.wait_for("name? ");
    session.press("you\n");
    let (status, screen) = session.finish();
    assert!(status.success(), "{screen}");
    assert!(screen.ends_with("hello you\r\ntty\r\n"), "{screen:?}");
}

#[test]
fn ctrl_c_reaches_the_command_once_and_ends_the_run() {
    let script = "trap 'echo caught; exit 7' INT; echo up; while :; do sleep 0.05; done";
    let mut session = Session::start(&[RETRYRUN, "--", "bash", "-c", script]);
    session.wait_for("up");
    session.press("\u{3}");
    let (status, screen) = session.finish();
    assert_eq!(status.code(), Some(7), "{screen}");
    assert_eq!(screen.matches("caught\r\n").count(), 1, "{screen}");
    assert!(screen.contains("interrupted by SIGINT"), "{screen}");
}

#[test]
fn ctrl_c_of_a_command_that_does_not_handle_it_kills_both() {
    let mut session = Session::start(&[RETRYRUN, "--", "bash", "-c", "echo up; exec sleep 1000"]);
    session.wait_for("up");
    session.press("\u{3}");
    let (status, screen) = session.finish();
    assert_eq!(status.signal(), Some(libc::SIGINT), "{screen}");
}

#[test]
fn ctrl_c_ends_a_script_around_us() {
    let script = format!("{RETRYRUN} -- bash -c 'echo up; exec sleep 1000'; echo went on");
    let mut session = Session::start(&["bash", "-c", &script]);
    session.wait_for("up");
    session.press("\u{3}");
    let (_, screen) = session.finish();
    assert!(!screen.contains("went on"), "{screen}");
}

#[test]
fn a_timeout_ends_the_tree_and_spares_the_script_around_us() {
    let script = format!(
        "{RETRYRUN} -n0 -t0.3 -k0.2 --history=never -- bash -c 'sleep 1000 & sleep 1000'; echo status $?"
    );
    let (status, screen) = Session::start(&["bash", "-c", &script]).finish();
    assert!(status.success(), "{screen}");
    assert!(screen.ends_with("status 124\r\n"), "{screen:?}");
}

#[test]
fn on_a_terminal_the_history_is_indented_and_our_lines_are_coloured() {
    let (_, screen) = Session::start(&[RETRYRUN, "-n0", "false"]).finish();
    assert!(screen.contains("\r\n{\r\n  \"schema\": \"retryrun.history/1\",\r\n"), "{screen}");
    assert!(screen.ends_with("\r\n}\r\n"), "{screen}");
    assert!(screen.starts_with("\u{1b}["), "{screen:?}");
}

#[test]
fn the_environment_may_say_that_a_terminal_has_no_colours() {
    for variable in ["TERM=dumb", "TERM=", "NO_COLOR=1", "CLICOLOR=0"] {
        let words = ["env", variable, RETRYRUN, "-n0", "--history=never", "false"];
        let (_, screen) = Session::start(&words).finish();
        assert!(screen.starts_with("retryrun: attempt 1/1 failed"), "{variable}: {screen:?}");
    }
}
