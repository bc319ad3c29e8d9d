//! Ends: hooks end with the run and with all that they started, signals reach them, and attempts and hooks leave each other alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use retryrun::engine::event::Outcome;
use rustix::process::Signal;

use crate::preload::{Moment, held};
use crate::session::Session;
use crate::test::{Process, RETRYRUN, Running, Test, actor, child_of, now, say, steps, wait_until};

/// A hook that starts processes in all ways in which a process can leave its parent, each noting its pid, and goes on.
fn scattering(then: &str) -> String {
    format!(
        "{} fork session {} end fork fork session {} end end fork group {} end \
         fork ignore=TERM {} end exit=0 & {then}",
        actor(),
        noting("away"),
        noting("daemon"),
        noting("group"),
        noting("deaf"),
    )
}

/// Words of the actor: it writes its pid into a file of that name, and sleeps.
fn noting(name: &str) -> String {
    format!("note={name} close=1 close=2 sleep")
}

const SCATTERED: [&str; 4] = ["away", "daemon", "group", "deaf"];

/// The processes that have noted their pids.
fn noted<const N: usize>(folder: &Path, names: [&str; N]) -> [Process; N] {
    names.map(|name| {
        let mut pid = None;
        wait_until(&format!("{name} runs"), || {
            let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
            pid = text.strip_suffix('\n').and_then(|text| text.parse().ok());
            pid.is_some()
        });
        Process::of(pid.expect("it was waited for"))
    })
}

/// A run, and its folder, which is removed when both are gone.
fn started(test: Test) -> (Running, PathBuf) {
    let folder = test.path(".");
    (test.start(), folder)
}

#[test]
fn a_hook_ends_with_the_run_and_with_all_that_it_started() {
    for (hook, retries) in
        [("--on-retry", "-n1"), ("--before-attempt", "-n1"), ("--on-give-up", "-n0")]
    {
        let command = scattering("sleep 0.3");
        let go =
            "[ -n \"$RETRYRUN_LAST_REASON\" ] && while [ ! -e go ]; do sleep 0.01; done; exit 7";
        let (mut running, folder) =
            started(Test::bash(&[retries, "-d0", "-v", hook, &command], go));
        let processes = match hook {
            "--on-give-up" => {
                // It is over when that is known.
                let processes = noted(&folder, SCATTERED);
                running.wait();
                processes
            }
            _ => {
                let processes = noted(&folder, SCATTERED);
                assert!(processes.iter().all(Process::lives), "{hook}: {processes:?}");
                fs::write(folder.join("go"), "").expect("a file");
                running.wait();
                processes
            }
        };
        let left: Vec<&Process> = processes.iter().filter(|process| process.lives()).collect();
        assert!(left.is_empty(), "{hook}: {left:?}");
        let ran = running.finish();
        assert_eq!(ran.code(), Some(7), "{hook}: {}", ran.stderr);
    }
}

#[test]
fn a_hook_that_takes_its_time_delays_neither_attempts_nor_the_end() {
    let begun = now();
    let ran = Test::bash(&["-n3", "-d0", "--on-retry", "sleep 1000"], "exit 7").run();
    assert_eq!((ran.code(), ran.history().attempts.len()), (Some(7), 4), "{}", ran.stderr);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(!ran.stderr.contains("--on-retry"), "{}", ran.stderr);
}

#[test]
fn what_an_attempt_left_behind_is_not_touched_by_the_end_of_hooks() {
    let actor = actor();
    let leave = format!(
        "{actor} fork session {} end fork fork {} end end exit=0; {actor} await=go; exit 7",
        noting("away"),
        noting("near")
    );
    let options = ["-n0", "--on-give-up", "sleep 0.1 & exit 0"];
    let (mut running, folder) = started(Test::bash(&options, &leave));
    let processes = noted(&folder, ["away", "near"]);
    fs::write(folder.join("go"), "").expect("a file");
    running.wait();
    assert!(processes.iter().all(Process::lives), "{processes:?}");
    running.finish();
}

#[test]
fn hooks_are_touched_neither_by_a_timeout_nor_by_the_end_of_leftovers() {
    // Both attempts are ended with their trees, and what the first left behind before the second.
    let actor = actor();
    let leave = format!(
        "{actor} fork session {} end exit=0; echo up; exec sleep 1000",
        noting("left.$RETRYRUN_ATTEMPT")
    );
    let hook = scattering("sleep 1000");
    let options =
        ["-n2", "-d0", "-t1", "-k0.2", "--leftovers=kill", "--on-retry", &hook, "--hook-timeout=0"];
    let (mut running, folder) = started(Test::bash(&options, &leave));
    running.stdout_line();
    let processes = noted(&folder, SCATTERED);
    running.stdout_line();
    assert!(processes.iter().all(Process::lives), "{processes:?}");
    let [first] = noted(&folder, ["left.1"]);
    assert!(!first.lives());
    running.stdout_line();
    let lives: Vec<bool> = processes.iter().map(Process::lives).collect();
    assert_eq!(lives, [true; 4], "they outlive the second attempt, too");
    running.wait();
    let ran = running.finish();
    assert_eq!(ran.code(), Some(124), "{}", ran.stderr);
    assert!(processes.iter().all(|process| !process.lives()), "{processes:?}");
    let leftovers: Vec<u64> =
        ran.history().attempts.iter().map(|attempt| attempt.leftovers).collect();
    assert_eq!(leftovers, [0; 3], "what hooks started is none of an attempt's");
}

#[test]
fn a_limit_ends_a_hook_with_its_children() {
    let hook = "trap '' TERM; echo $$ >hook; sleep 1000 & echo $! >child; sleep 1000; sleep 1000";
    let options = ["-n1", "-d0", "--hook-timeout=0.2", "--before-attempt", hook];
    let script = "[ $RETRYRUN_ATTEMPT = 1 ] || { echo up; sleep 1000; }; exit 7";
    let (mut running, folder) = started(Test::bash(&options, script));
    let processes = noted(&folder, ["hook", "child"]);
    running.stdout_line();
    // What is killed still takes a moment to die.
    wait_until("they are killed", || processes.iter().all(|process| !process.lives()));
    running.signal(Signal::TERM);
    running.finish();
}

#[test]
fn a_signal_before_an_attempt_ends_the_hook_and_the_run() {
    for (signal, number) in
        [(Signal::TERM, libc::SIGTERM), (Signal::INT, libc::SIGINT), (Signal::HUP, libc::SIGHUP)]
    {
        // A shell can lose an INT that comes as it starts its child: then there is a short grace.
        let before = ["-k1", "--before-attempt", "echo up; sleep 1000"];
        let options = [&["-d0", "--on-give-up", "echo given up"][..], &before].concat();
        let mut running = Test::bash(&options, "exit 7").start();
        running.stderr_with("up\n");
        let begun = now();
        running.signal(signal);
        let ran = running.finish();
        assert_eq!(ran.signal(), Some(number), "{}", ran.stderr);
        let history = ran.history();
        assert_eq!((history.outcome, history.attempts.len()), (Some(Outcome::Interrupted), 1));
        assert!(ran.stderr.contains("given up\n"), "it was one signal: {}", ran.stderr);
        assert!(!ran.stderr.contains("--before-attempt failed"), "{}", ran.stderr);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_second_signal_skips_the_hooks_that_are_left() {
    let deaf = "trap '' TERM; echo up; while :; do sleep 0.01; done";
    let options = ["-d0", "--before-attempt", deaf, "--on-give-up", "echo given up"];
    let mut running = Test::bash(&options, "exit 7").start();
    running.stderr_with("up\n");
    let begun = now();
    running.signal(Signal::TERM);
    running.signal(Signal::TERM);
    let ran = running.finish();
    assert_eq!(ran.signal(), Some(libc::SIGTERM), "{}", ran.stderr);
    // Two of one kind that nobody has taken yet are one.
    let is_one = ran.stderr.contains("given up\n");
    assert!(!is_one || begun.elapsed() > Duration::from_millis(900), "{}", ran.stderr);
    assert_eq!(ran.history().outcome, Some(Outcome::Interrupted));
}

#[test]
fn two_signals_that_come_one_after_the_other_are_two() {
    let deaf = "trap 'echo heard' TERM; echo up; while :; do sleep 0.01; done";
    let options = ["-d0", "--before-attempt", deaf, "--on-give-up", "echo given up"];
    let mut running = Test::bash(&options, "exit 7").start();
    running.stderr_with("up\n");
    running.signal(Signal::TERM);
    running.stderr_with("heard\n");
    running.signal(Signal::TERM);
    let ran = running.finish();
    assert_eq!(ran.signal(), Some(libc::SIGTERM));
    assert!(!ran.stderr.contains("given up"), "{}", ran.stderr);
    assert_eq!(ran.history().outcome, Some(Outcome::Interrupted));
}

#[test]
fn a_signal_ends_the_last_hook_and_a_second_one_at_once() {
    for second in [false, true] {
        let hook = "trap 'echo heard' TERM; echo up; while :; do sleep 0.01; done";
        let options = ["-n0", "-k1", "--on-give-up", hook, "--hook-timeout=0"];
        let mut running = Test::bash(&options, "exit 7").start();
        running.stderr_with("up\n");
        let begun = now();
        running.signal(Signal::TERM);
        running.stderr_with("heard\n");
        if second {
            running.signal(Signal::TERM);
        }
        let ran = running.finish();
        let elapsed = begun.elapsed();
        // The run was over, and its end is what it was.
        assert_eq!(ran.code(), Some(7), "{}", ran.stderr);
        assert_eq!(ran.history().outcome, Some(Outcome::Exhausted));
        assert!(!ran.stderr.contains("--on-give-up failed"), "{}", ran.stderr);
        let grace = Duration::from_secs(1);
        assert!(
            if second { elapsed < grace } else { elapsed >= grace && elapsed < 4 * grace },
            "{second} {elapsed:?}"
        );
    }
}

#[test]
fn a_signal_in_a_wait_still_has_its_hook() {
    let options =
        ["-d1000", "--on-give-up", "echo given up: $RETRYRUN_OUTCOME", "--on-retry", "sleep 1000"];
    let mut running = Test::bash(&options, "exit 7").start();
    running.stderr_with("next in 5m");
    running.signal(Signal::TERM);
    let ran = running.finish();
    assert_eq!(ran.signal(), Some(libc::SIGTERM));
    assert!(ran.stderr.contains("given up: interrupted\n"), "{}", ran.stderr);
}

#[test]
fn nobody_is_told_that_we_gave_up_because_nobody_reads_on() {
    let script = "$R --on-give-up 'echo given up' yes | head -n1; echo ${PIPESTATUS[0]}";
    let ran = Test::shell(script).run();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("y\n141\n", ""));
}

#[test]
fn a_hook_is_killed_with_us() {
    for (options, hook) in [
        (&["-d0"][..], "--before-attempt"),
        (&["-d1000"], "--on-retry"),
        (&["-n0"], "--on-give-up"),
        (&["-n1"], "--retry-if"),
    ] {
        let options = [options, &[hook, "echo $$ >hook; exec sleep 1000"]].concat();
        let (mut running, folder) = started(Test::bash(&options, "exit 7"));
        let [process] = noted(&folder, ["hook"]);
        running.signal(Signal::KILL);
        running.wait();
        wait_until("it is killed", || !process.lives());
    }
}

#[test]
fn other_signals_reach_the_hook_that_is_waited_for_and_no_other() {
    let listen =
        "trap 'echo heard; exit 0' USR1; trap '' USR2; echo up; while :; do sleep 0.01; done";
    for hook in ["--before-attempt", "--on-give-up"] {
        let options = ["-n1", "-d0", hook, listen];
        let mut running = Test::bash(&options, "exit 7").start();
        running.stderr_with("up\n");
        running.signal(Signal::USR2);
        running.signal(Signal::USR1);
        running.stderr_with("heard\n");
        let ran = running.finish();
        assert_eq!(ran.code(), Some(7), "{hook}: {}", ran.stderr);
        assert!(!ran.stderr.contains("failed: "), "{}", ran.stderr);
    }
    // In a wait it is our own, whatever runs beside.
    let options = ["-n1", "-d1000", "--on-retry", "trap 'echo heard' USR1; sleep 1000"];
    let mut running = Test::bash(&options, &steps(&["exit 7", "exit 0"])).start();
    running.stderr_with("next in 5m");
    running.signal(Signal::USR1);
    let ran = running.finish();
    assert_eq!(ran.code(), Some(0));
    assert!(!ran.stderr.contains("heard"), "{}", ran.stderr);
}

#[test]
fn orphans_of_hooks_and_of_attempts_are_reaped_meanwhile() {
    let zombies = "n=0; while grep -qs \"^PPid:.$PPID$\" $(grep -ls '^State:.Z' /proc/[0-9]*/status) /dev/null && [ $n -lt 500 ]; \
                   do n=$((n + 1)); sleep 0.01; done; echo $n";
    let hook = "for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.01 &); done; exec sleep 1000";
    let options = [
        "-n2",
        "-d0.1",
        "--on-retry",
        hook,
        "--before-attempt",
        "for i in 1 2 3; do (true &); done",
    ];
    let ran = Test::bash(&options, &format!("(true &); sleep 0.2; {zombies}; exit 7")).run();
    assert_eq!(ran.code(), Some(7));
    let counts: Vec<u32> = ran.stdout.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(
        counts.len() == 3 && counts.iter().all(|count| *count < 500),
        "{counts:?} {}",
        ran.stderr
    );
    let leftovers: Vec<u64> =
        ran.history().attempts.iter().map(|attempt| attempt.leftovers).collect();
    assert_eq!(leftovers, [0; 3]);
}

#[test]
fn as_process_1_hooks_end_with_the_run_too() {
    let unshare = ["--pid", "--fork", "--mount-proc", "--kill-child", RETRYRUN];
    let works = std::process::Command::new("unshare").args(&unshare[..4]).arg("true").output();
    if !works.is_ok_and(|output| output.status.success()) {
        return say("skipped: PID namespaces are forbidden here");
    }
    let options = [
        "-n1",
        "-d0",
        "--on-retry",
        "(setsid sleep 1000 &); sleep 1000",
        "--on-give-up",
        "echo given up; setsid sleep 1000 & exit 3",
    ];
    let words = [&unshare[..], &options, &["bash", "-c", "exit 7"]].concat();
    let begun = now();
    let ran = Test::of("unshare", words).run();
    assert_eq!(ran.code(), Some(7), "{}", ran.stderr);
    assert!(ran.stderr.contains("given up\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--on-give-up failed: exit 3\n"), "{}", ran.stderr);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_hook_that_cannot_be_started_is_a_warning() {
    if !rustix::process::geteuid().is_root() {
        return say("skipped: only root can become a user without processes");
    }
    // A user that nobody else is, nor another run of this test: the limit counts all processes of the user, and a sleeping attempt is one
    // of two.
    let script = "cp $R copy; chmod 755 . copy; \
                  exec setpriv --reuid=$((100000 + $$)) --clear-groups prlimit --nproc=2 \
                  ./copy -n1 -d0 --policy none --hook-timeout 5 --on-give-up 'exit 0' --on-retry 'sleep 1000' \
                  --before-attempt 'exit 0' --retry-if 'exit 0' sh -c 'exit 7'";
    let ran = Test::shell(script).run();
    // While the one beside sleeps, there is no room for another process.
    assert!(
        ran.stderr.contains("--before-attempt failed: Resource temporarily unavailable\n"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("--on-give-up failed: Resource temporarily unavailable\n"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.history().outcome, Some(Outcome::Exhausted), "{}", ran.stderr);
    let first = ran.first_attempt();
    assert_eq!((first.exit_code, first.reason.as_deref()), (Some(7), Some("unlisted")));
}

#[test]
fn a_hook_that_has_not_become_its_program_is_ended_with_the_run() {
    // The attempt begins at once, the hook never does.
    let options = ["-d1000", "--on-retry", "echo told"];
    let (test, moments, go) = held(Test::bash(&options, "rm go; exit 7"), Moment::Forked);
    fs::write(go, "").expect("a file");
    let mut running = test.start();
    wait_until("the hook is there", || fs::read(&moments).is_ok_and(|dots| dots.len() == 2));
    let us = running.pid().as_raw_nonzero().get();
    let hook = Process::of(child_of(us).expect("it is there"));
    running.signal(Signal::TERM);
    running.wait();
    assert!(!hook.lives());
}

#[test]
fn ctrl_c_before_an_attempt_ends_the_hook_and_the_run() {
    let options = "-d0 --before-attempt 'echo up; sleep 1000' --on-give-up 'echo given\" \"up'";
    let mut session = Session::start(&[
        "bash",
        "--norc",
        "--noprofile",
        "-c",
        &format!("{RETRYRUN} {options} false; echo behind"),
    ]);
    session.wait_for("up\r\n");
    session.press("\u{3}");
    session.wait_for("given up");
    session.wait_for("\"interrupted\"");
    let shown = session.finish();
    // A script around us ends, as by any program that dies of the key.
    assert!(!format!("{shown:?}").contains("behind"), "{shown:?}");
}

#[test]
fn ctrl_z_stops_the_hook_that_is_waited_for_with_us() {
    let mut shell = Session::shell();
    // Not in a loop of sleeps: a stop between vfork and exec leaves a shell in an uninterruptible wait.
    let hook = "echo \"up[$$]\"; read line <fifo";
    shell.line("mkfifo fifo");
    shell.line(&format!("$R -n1 -d0 --history never --before-attempt '{hook}' false"));
    let hook = Process::of(shell.number_after("up"));
    shell.press("\u{1a}");
    shell.wait_for("Stopped");
    hook.wait_for_state("T");
    shell.line("(echo >fifo &); fg");
    shell.wait_for("gave up after 2 attempts");
    shell.line("exit");
    let (_, screen) = shell.finish();
    assert!(!screen.contains("--before-attempt failed"), "{screen}");
}

#[test]
fn a_hook_that_has_ended_is_not_stopped_in_the_place_of_the_command() {
    // The hook of the wait is gone when the key is pressed, and the command there.
    let mut shell = Session::shell();
    let script = "[ $RETRYRUN_ATTEMPT = 1 ] && exit 7; echo \"up[$$]\"; sleep 1000; exit 8";
    shell.line(&format!(
        "$R -n1 -d0.2 --process-group new --history never --on-retry true bash -c '{script}'"
    ));
    let command = Process::of(shell.number_after("up"));
    shell.press("\u{1a}");
    shell.wait_for("Stopped");
    command.wait_for_state("T");
    shell.line("fg");
    command.wait_for_state("S");
    shell.press("\u{3}");
    shell.line("exit");
    shell.finish();
}

#[test]
fn a_hook_that_wants_the_terminal_is_ended_at_once() {
    let words = [RETRYRUN, "-n1", "-d0", "--hook-timeout=1000", "--history=never"];
    let hook = ["--retry-if", "read line </dev/tty; echo \"<$line>\"", "false"];
    let (status, screen) = Session::start(&[&words[..], &hook].concat()).finish();
    assert_eq!(status.code(), Some(1), "{screen}");
    let said =
        "--retry-if failed, and it is retried: it was stopped, since the terminal is not a hook's";
    assert!(screen.contains(said) && screen.contains("attempt 2/2 failed"), "{screen}");
}

#[test]
fn what_a_hook_starts_is_none_of_an_attempts_whatever_its_environment() {
    let hook = "--on-retry=until [ -e runs ]; do sleep 0.01; done; (env -i /bin/sleep 30 & echo $! >left); touch done";
    let script = "[ $RETRYRUN_ATTEMPT = 1 ] && exit 1; touch runs; until [ -e done ]; do sleep 0.01; done; exit 1";
    let (ran, left) = Test::bash(&["-n1", "-d0", hook], script)
        .run_with(|folder| std::fs::read_to_string(folder.join("left")).expect("it was started"));
    assert_eq!(ran.history().attempts[1].leftovers, 0, "{}", ran.stderr);
    assert!(!Process::of(left.trim().parse().expect("a pid")).lives(), "it ends with the run");
}
