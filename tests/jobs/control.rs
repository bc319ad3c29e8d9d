//! What is asked of a run from outside: its next attempt, its end, and to be run again.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use retryrun::engine::event::{Outcome, Trigger};

use super::{Home, attempts, kill};
use crate::test::{Ran, Running, Test, say, wait_until};

/// Asks for the end of `x`, which is there when the answer comes.
fn stop(home: &Home, running: Running) -> Ran {
    let asked = home.ask("--stop-job", "x");
    assert_eq!((asked.code(), asked.stderr.as_str()), (Some(0), ""));
    assert_eq!(home.standing("x"), "ended", "it was waited for");
    running.finish()
}

#[test]
fn a_wait_is_ended() {
    let home = Home::new();
    let running = home.run(&["-n1", "-d1000", "--max-delay=1000"], "exit 3").start();
    for attempt in 2..4 {
        home.wait_for("x", "waiting");
        assert_eq!(home.ask("--retry-job", "x").code(), Some(0));
        wait_until("the next one has ended", || {
            home.listed("x").get("attempt").is_some_and(|number| number == attempt)
        });
    }
    home.wait_for("x", "waiting");
    assert_eq!(home.listed("x").get("retry_count"), Some(&0.into()));
    assert_eq!(home.listed("x").get("max_attempts"), Some(&4.into()));
    let ran = stop(&home, running);
    let history = ran.history();
    assert_eq!(attempts(&history), "first exit 3, manual exit 3, manual exit 3");
    assert_eq!(history.retry_count, 0, "none counts against the limit");
    assert!(ran.stderr.contains("attempt 3/4 failed"), "{}", ran.stderr);
}

#[test]
fn a_stop_ends_a_wait_with_the_status_of_the_last_attempt() {
    let home = Home::new();
    let running = home.run(&["-d1000"], "exit 3").start();
    home.wait_for("x", "waiting");
    let ran = stop(&home, running);
    assert_eq!((ran.code(), ran.history().outcome), (Some(3), Some(Outcome::Stopped)));
    assert!(ran.stderr.contains("retryrun: stopped after 1 attempt in "), "{}", ran.stderr);
}

#[test]
fn a_stop_ends_an_attempt() {
    let home = Home::new();
    let script = "trap 'echo told; exit 7' TERM; echo runs; while :; do sleep 0.01; done";
    for (script, told) in [("echo runs; exec sleep 1000", ""), (script, "told\n")] {
        let mut running = home.run(&[], script).start();
        assert_eq!(running.stdout_line(), "runs\n");
        let ran = stop(&home, running);
        assert_eq!((ran.code(), ran.stdout.as_str()), (Some(143), told), "{}", ran.stderr);
        assert_eq!(attempts(&ran.history()), "first stopped");
    }
    let deaf = "trap '' TERM; echo runs; while :; do sleep 0.01; done";
    let mut running = home.run(&["-k0.1", "--exit-code=stopped=42"], deaf).start();
    assert_eq!(running.stdout_line(), "runs\n");
    assert_eq!(stop(&home, running).code(), Some(42));
}

#[test]
fn a_stop_ends_what_is_asked_or_done_before_an_attempt() {
    let cases = [
        ("--retry-if=echo runs >&2; exec sleep 1000", "first exit 3"),
        ("--before-attempt=echo runs >&2; exec sleep 1000", "first exit 3"),
        ("--on-retry=echo runs >&2; exec sleep 1000", "first exit 3"),
    ];
    for (hook, expected) in cases {
        let home = Home::new();
        let delay = if hook.starts_with("--on-retry") { "-d1000" } else { "-d0" };
        let mut running = home.run(&[delay, hook], "exit 3").start();
        running.stderr_with("runs");
        let ran = stop(&home, running);
        assert_eq!(
            (ran.code(), ran.history().outcome),
            (Some(3), Some(Outcome::Stopped)),
            "{hook}"
        );
        assert_eq!(attempts(&ran.history()), expected);
    }
}

#[test]
fn a_stop_ends_the_last_hook() {
    let home = Home::new();
    let options = ["-n0", "--on-give-up=echo runs >&2; exec sleep 1000"];
    let mut running = home.run(&options, "exit 3").start();
    running.stderr_with("runs");
    assert_eq!(home.standing("x"), "ended", "it is decided");
    let ran = stop(&home, running);
    assert_eq!((ran.code(), ran.history().outcome), (Some(3), Some(Outcome::Exhausted)));
}

#[test]
fn a_stop_does_not_wait_for_a_reader() {
    let home = Home::new();
    let script = "head -c 1000000 /dev/zero; echo written >&2";
    let mut running = home.run(&["--stdout=final"], script).start();
    running.stderr_with("written");
    wait_until("it is decided", || {
        let attempt = home.show("x").attempts.pop();
        attempt.is_some_and(|attempt| attempt.exit_code == Some(0))
    });
    let asked = home.ask("--stop-job", "x");
    assert_eq!(asked.code(), Some(0));
    assert_eq!(running.wait().code(), None, "nobody has read it");
}

#[test]
fn a_retry_in_an_attempt_changes_nothing() {
    let home = Home::new();
    let script = "echo runs; until test -e go; do sleep 0.01; done; rm go; exit 3";
    let mut running = home.run(&["-n1", "-d1000"], script).start();
    assert_eq!(running.stdout_line(), "runs\n");
    let ran = home.ask("--retry-job", "x");
    let said = "retryrun: the run x has no wait to end: its attempt goes on\n";
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), said));
    fs::write(home.file("go"), "").expect("a file");
    home.wait_for("x", "waiting");
    assert_eq!(home.listed("x").get("attempt"), Some(&1.into()), "a wait of later is not ended");
    stop(&home, running);
}

#[test]
fn one_that_cannot_be_reached_is_said() {
    let home = Home::new();
    home.put("x", "");
    fs::remove_file(home.state("x", "journal")).expect("it was put there");
    fs::create_dir(home.state("x", "control")).expect("a folder in the place of the socket");
    let mut running = home.run(&["-d1000"], "exit 3").start();
    running.stderr_with("nobody can ask this run for something: cannot make a socket: ");
    home.wait_for("x", "waiting");
    let pid = running.pid().as_raw_nonzero();
    for mode in ["--stop-job", "--retry-job"] {
        let ran = home.ask(mode, "x");
        let said = format!(
            "retryrun: the run x goes on as process {pid}, but cannot be reached: it has no socket\n"
        );
        assert_eq!((ran.code(), ran.stderr), (Some(1), said), "{mode}");
    }
    kill(running);
}

#[test]
fn one_that_is_stopped_itself_is_stopped_when_it_is_continued() {
    let home = Home::new();
    let running = home.run(&["-d1000"], "exit 3").start();
    home.wait_for("x", "waiting");
    running.signal(rustix::process::Signal::STOP);
    let asking = home.call(["--stop-job", "x"]).start();
    // It has been asked: its request is in the socket's queue, and nothing else can be seen of it.
    let asked = crate::test::Process::of(asking.pid().as_raw_nonzero().get());
    wait_until("it waits for the end", || asked.state().as_deref() == Some("S"));
    running.signal(rustix::process::Signal::CONT);
    assert_eq!(asking.finish().code(), Some(0));
    assert_eq!(running.finish().code(), Some(3));
}

#[test]
fn a_run_that_does_not_go_on_hears_nothing() {
    let home = Home::new();
    home.named("nightly", &["-n0"], "exit 3").run();
    let running = home.named("dead", &["-d1000"], "exit 3").start();
    home.wait_for("dead", "waiting");
    kill(running);
    for name in ["nightly", "dead"] {
        for mode in ["--stop-job", "--retry-job"] {
            let ran = home.ask(mode, name);
            let said =
                format!("retryrun: the run {name} does not go on: nobody is there to hear it\n");
            assert_eq!(
                (ran.code(), ran.stdout.as_str(), ran.stderr),
                (Some(1), "", said),
                "{mode}"
            );
        }
    }
    for mode in ["--stop-job", "--retry-job", "--show-job", "--rerun-job"] {
        let ran = home.ask(mode, "nihgtly");
        let said = "retryrun: there is no named run `nihgtly`; did you mean `nightly`?\n";
        assert_eq!((ran.code(), ran.stdout.as_str(), ran.stderr.as_str()), (Some(125), "", said));
    }
    let ran = home.ask("--rerun-job", "dead");
    let said = "retryrun: --rerun-job: the run dead has not ended: go on with --job dead, or forget it with --fresh\n";
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(125), said));
}

#[test]
fn what_is_asked_for_takes_the_place_of_a_command() {
    for mode in ["--stop-job", "--retry-job", "--show-job", "--rerun-job"] {
        let ran = Test::new([mode, "x", "true"]).run();
        assert_eq!(
            (ran.code(), ran.stderr),
            (Some(125), format!("retryrun: {mode} <NAME> takes the place of a command\n"))
        );
        let ran = Test::new([mode, "x", "--jobs"]).run();
        assert!(ran.code() == Some(125) && ran.stderr.contains("conflicts with"), "{}", ran.stderr);
        assert_eq!(Test::new([mode]).run().code(), Some(125));
    }
}

#[test]
fn a_run_is_run_again_as_it_was_called() {
    let home = Home::new();
    fs::create_dir(home.file("folder")).expect("a folder");
    let odd = OsString::from_vec(b"a\xff b\n'".to_vec());
    let script = "pwd; printf %s \"$1\" | od -An -tx1; echo $RETRYRUN_MAX_ATTEMPTS; test -z \"$RETRYRUN_DELAY\" || echo $RETRYRUN_DELAY; exit 3";
    let words = ["--job", "x", "-n1", "--history=always", "--", "bash", "-c", script, "sh"];
    let words = words.map(OsString::from).into_iter().chain([odd]);
    let test = home.call(words).env("RETRYRUN_DELAY", "0.01").with(|command| {
        command.current_dir(home.file("folder"));
    });
    let first = test.run();
    assert_eq!(first.code(), Some(3));
    for _ in 0..2 {
        let again = home.ask("--rerun-job", "x");
        assert_eq!(again.code(), Some(3), "{}", again.stderr);
        // The variable itself was the environment's of then.
        assert_eq!(again.stdout, first.stdout.replace("0.01\n", ""));
        let history = again.history();
        assert_eq!(attempts(&history), "manual exit 3, retry exit 3");
        assert_ne!(history.run_id, first.history().run_id);
        assert_eq!(
            (history.policy.retries, history.policy.delay),
            (Some(1), first.history().policy.delay)
        );
        assert_eq!((history.command, history.cwd), (first.history().command, first.history().cwd));
    }
    // One that was gone on with, with all that was said.
    let running = home.named("y", &["-n4", "-d1000"], "exit 3").start();
    home.wait_for("y", "waiting");
    kill(running);
    home.comes_due("y");
    let ran = home.named("y", &["--delays=0"], "exit 4").run();
    assert_eq!((ran.code(), ran.history().last_number()), (Some(4), 5));
    let again = home.ask("--rerun-job", "y");
    assert_eq!((again.code(), again.history().last_number()), (Some(4), 5));
}

#[test]
fn what_was_said_now_wins_over_what_was_said_then() {
    let home = Home::new();
    let test = home.run(&[], "exit 3").env("RETRYRUN_DELAY", "0.02").env("RETRYRUN_RETRIES", "1");
    assert_eq!(test.run().code(), Some(3));
    let again = home.call(["--rerun-job", "x"]).env("RETRYRUN_RETRIES", "0").run();
    assert_eq!(again.history().policy.retries, Some(0));
    assert_eq!(again.history().policy.delay.map(|delay| delay.as_millis()), Some(20));
}

#[test]
fn flags_beside_rerun_job_win_and_are_kept() {
    let home = Home::new();
    assert_eq!(home.run(&["-n2", "-d0", "--retry-on=3"], "exit 3").run().code(), Some(3));
    let options = |ran: &Ran| (ran.history().policy.retries, ran.history().attempts.len());
    // The variable was not there when it was called: a flag of then is stronger.
    let again = home.call(["--rerun-job", "x"]).env("RETRYRUN_RETRIES", "7").run();
    assert_eq!(options(&again), (Some(2), 3));
    let words =
        ["-n1", "--rerun-job=x", "--stop-on=9", "--report=said.json", "--exit-code=exhausted=70"];
    let again = home.call(words).run();
    assert_eq!((again.code(), options(&again)), (Some(70), (Some(1), 2)));
    let reasons = again.history().attempts.into_iter().map(|attempt| attempt.rule);
    assert_eq!(reasons.collect::<Vec<_>>(), [Some("3".to_owned()), Some("3".to_owned())]);
    assert!(home.file("said.json").exists(), "paths are seen from the folder of the run");
    // They are the run's from then on, be it run again or gone on with.
    let again = home.ask("--rerun-job", "x");
    assert_eq!((again.code(), options(&again)), (Some(70), (Some(1), 2)));
    let words = ["--rerun-job", "x", "-d1000"];
    let running = home.call(words).start();
    home.wait_for("x", "waiting");
    kill(running);
    home.comes_due("x");
    let ran = home.run(&[], "exit 3").run();
    assert_eq!((ran.code(), options(&ran)), (Some(70), (Some(1), 2)), "{}", ran.stderr);
    assert!(!ran.stderr.contains("changed"), "{}", ran.stderr);
    // Not another name: that run may stand anywhere.
    for option in ["--job=y", "--fresh"] {
        let ran = home.call(["--rerun-job", "x", option]).run();
        assert!(ran.code() == Some(125) && ran.stderr.contains("conflicts with"), "{}", ran.stderr);
    }
}

#[test]
fn a_folder_that_is_gone_is_said() {
    let home = Home::new();
    fs::create_dir(home.file("gone")).expect("a folder");
    let test = home.run(&[], "exit 0").with(|command| {
        command.current_dir(home.file("gone"));
    });
    assert_eq!(test.run().code(), Some(0));
    fs::remove_dir(home.file("gone")).expect("it is empty");
    let ran = home.ask("--rerun-job", "x");
    let said = format!(
        "retryrun: cannot go to {}: No such file or directory\n",
        home.file("gone").display()
    );
    assert_eq!((ran.code(), ran.stderr), (Some(125), said));
    assert_eq!(home.standing("x"), "ended", "it is still there");
}

#[test]
fn attempts_by_hand_are_told_apart_however_they_were_asked_for() {
    let home = Home::new();
    let running = home.run(&["-n1", "-d1000", "--max-delay=1000"], "exit 3").start();
    home.wait_for("x", "waiting");
    running.signal(rustix::process::Signal::USR1);
    wait_until("it has begun", || home.listed("x").get("attempt") == Some(&2.into()));
    home.wait_for("x", "waiting");
    home.ask("--retry-job", "x");
    wait_until("it has begun", || home.listed("x").get("attempt") == Some(&3.into()));
    home.wait_for("x", "waiting");
    // What is kept of it says so, too.
    kill(running);
    home.comes_due("x");
    let ran = home.run(&[], "exit 4").run();
    let triggers: Vec<_> = ran.history().attempts.iter().map(|attempt| attempt.trigger).collect();
    assert_eq!(triggers, [Trigger::First, Trigger::Manual, Trigger::Manual, Trigger::Resumed]);
    assert_eq!((ran.history().retry_count, ran.history().outcome), (1, Some(Outcome::Exhausted)));
}

#[test]
fn a_state_with_a_long_path_hears_too() {
    let home = Home::new();
    let deep = home.file(&"deep-folder/".repeat(20));
    fs::create_dir_all(&deep).expect("folders");
    let call = |words: &[&str]| Test::new(words).env("XDG_STATE_HOME", &deep);
    let running = call(&["--job", "x", "-d1000", "--", "bash", "-c", "exit 3"]).start();
    wait_until("it waits", || call(&["--jobs"]).run().stdout.contains("waiting"));
    assert_eq!(call(&["--stop-job", "x"]).run().code(), Some(0));
    assert_eq!(running.finish().code(), Some(3));
}

#[test]
fn requests_that_are_none_do_no_harm() {
    use std::os::unix::net::UnixDatagram;
    let home = Home::new();
    let running = home.run(&["-d1000"], "exit 3").start();
    home.wait_for("x", "waiting");
    let socket = UnixDatagram::unbound().expect("a socket");
    for request in [&b""[..], b"stop now", b"\xff", &[b'x'; 1000], b"RETRY"] {
        if let Err(error) = socket.send_to(request, home.state("x", "control")) {
            return say(&format!("skipped: {error}"));
        }
    }
    assert_eq!(home.standing("x"), "waiting");
    stop(&home, running);
}
