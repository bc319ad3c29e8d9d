//! As process 1 of a PID namespace, as in a container: we are its init, too.

use std::process::Command;

use retryrun::engine::event::Outcome;
use rustix::process::{Pid, Signal, kill_process};

use crate::test::{RETRYRUN, Running, Test, actor, child_of, say, wait_until};

const UNSHARE: [&str; 4] = ["--pid", "--fork", "--mount-proc", "--kill-child"];

/// Ours as process 1.
fn init(options: &[&str], command: &[&str]) -> Option<Test> {
    namespaced(&[&[RETRYRUN], options, &["--"], command].concat())
}

/// A program as process 1; says so where namespaces are forbidden.
pub fn namespaced(words: &[&str]) -> Option<Test> {
    let works = Command::new("unshare").args(UNSHARE).arg("true").output();
    if !works.is_ok_and(|output| output.status.success()) {
        say("skipped: PID namespaces are forbidden here");
        return None;
    }
    Some(Test::of("unshare", [&UNSHARE[..], words].concat()))
}

/// Our pid outside of the namespace.
pub fn outside(running: &Running) -> Pid {
    let unshare = running.pid().as_raw_nonzero().get();
    let mut child = None;
    wait_until("unshare has forked", || {
        child = child_of(unshare).and_then(Pid::from_raw);
        child.is_some()
    });
    child.expect("it was waited for")
}

#[test]
fn the_status_is_the_commands() {
    for (script, status) in
        [("echo $PPID; exit 0", 0), ("echo $PPID; exit 7", 7), ("echo $PPID; kill -SEGV $$", 139)]
    {
        let Some(test) = init(&["-n1", "-d0"], &["bash", "-c", script]) else { return };
        let ran = test.run();
        assert_eq!((ran.code(), ran.stdout.starts_with("1\n")), (Some(status), true), "{script}");
    }
    let Some(test) = init(&["-n0", "-t0.2"], &["sleep", "1000"]) else { return };
    assert_eq!(test.run().code(), Some(124));
}

#[test]
fn orphans_are_reaped_while_the_command_runs() {
    // A hundred orphans, one after the other; then nobody but us, the shell and its child may be there.
    let script = "for i in $(seq 100); do (true &); done; n=0; \
                  while dead=$(grep -s '^State:.Z' /proc/[0-9]*/status); [ -n \"$dead\" ] && [ $n -lt 2000 ]; \
                  do n=$((n + 1)); sleep 0.01; done; echo \"${dead}done\"";
    let Some(test) = init(&[], &["bash", "-c", script]) else { return };
    let ran = test.run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "done\n"), "{}", ran.stderr);
}

#[test]
fn signals_are_passed_on_and_end_us_as_a_status() {
    let actor = actor();
    let Some(test) = init(&[], &[&actor, "exit-on=TERM:3", "listen"]) else { return };
    let mut running = test.start();
    assert_eq!(running.stdout_line(), "listening\n");
    let us = outside(&running);
    kill_process(us, Signal::USR1).expect("it runs");
    assert_eq!(running.stdout_line(), "USR1\n");
    kill_process(us, Signal::TERM).expect("it runs");
    assert_eq!(running.finish().code(), Some(3));

    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let Some(test) = init(&[], &["bash", "-c", "echo up; exec sleep 1000"]) else { return };
        let mut running = test.start();
        running.stdout_line();
        kill_process(outside(&running), signal).expect("it runs");
        let ran = running.finish();
        assert_eq!(ran.code(), Some(128 + signal.as_raw()), "{}", ran.stderr);
        assert_eq!(ran.history().outcome, Some(Outcome::Interrupted));
    }
}

#[test]
fn in_a_wait_a_signal_ends_us_as_a_status() {
    let Some(test) = init(&["-d", "1000"], &["false"]) else { return };
    let mut running = test.start();
    running.stderr_with("next in 5m");
    kill_process(outside(&running), Signal::TERM).expect("it runs");
    assert_eq!(running.finish().code(), Some(143));
}

#[test]
fn a_daemons_tree_is_ended_also_by_process_1() {
    let actor = actor();
    let script = "fork fork session ignore=TERM touch=up sleep end end await=up sleep";
    let words: Vec<&str> = [&actor[..]].into_iter().chain(script.split(' ')).collect();
    let check = "set -- /proc/[0-9]*; echo $#; exit 1";
    let script = "if [ $RETRYRUN_ATTEMPT = 1 ]; then exec \"$@\"; fi; ".to_owned() + check;
    let command = [&["bash", "-c", &script, "bash"], &words[..]].concat();
    let Some(test) = init(&["-n1", "-d0", "-t1", "-k0.2"], &command) else { return };
    let ran = test.run();
    // Ourselves and bash.
    assert_eq!((ran.code(), ran.stdout.trim()), (Some(1), "2"), "{}", ran.stderr);
}
