//! Signals to us: in every phase of a run, and how we end.

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Stdio;
use std::ptr;
use std::time::Duration;

use retryrun::engine::event::{EndedBy, Outcome, Trigger};
use retryrun::engine::history::History;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::preload::{Moment, held};
use crate::test::{Process, RETRYRUN, Ran, Running, Test, actor, child_of, wait_until};

const STOPPING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

fn interrupted(ran: &Ran, signal: Signal) {
    assert_eq!((ran.code(), ran.signal()), (None, Some(signal.as_raw())), "{}", ran.stderr);
    assert_eq!(ran.history().outcome, Some(Outcome::Interrupted));
    assert_eq!(ran.history().exit_code, Some(128 + signal.as_raw()));
}

#[test]
fn in_an_attempt_the_command_gets_it_and_we_die_of_it() {
    for signal in STOPPING {
        // Not bash, which ignores SIGQUIT until it has become something else.
        let mut running = Test::actor(&[], "say=up sleep").start();
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
    let mut running = Test::actor(&[], "pid=command sleep").start();
    let [command] = running.pids(["command"]);
    running.signal(Signal::KILL);
    assert_eq!(running.wait().signal(), Some(libc::SIGKILL));
    wait_until("the command is killed", || !command.lives());
}

#[test]
fn if_we_are_killed_before_the_command_runs_it_never_does() {
    let (test, forked, go) = held(Test::actor(&[], "say=ran"), Moment::Forked);
    let mut running = test.start();
    wait_until("its process is there", || forked.exists());
    running.signal(Signal::KILL);
    running.wait();
    fs::write(go, "").expect("a file");
    assert_eq!(running.finish().stdout, "");
}

#[test]
fn a_signal_to_the_command_before_it_runs_is_not_lost() {
    // As one to our whole group, where what we pass on comes later.
    let (test, forked, go) = held(Test::actor(&[], "say=ran"), Moment::Forked);
    let running = test.start();
    wait_until("its process is there", || forked.exists());
    let command = child_of(running.pid().as_raw_nonzero().get()).expect("it is there");
    kill_process(Pid::from_raw(command).expect("a pid"), Signal::TERM).expect("it is held");
    fs::write(go, "").expect("a file");
    let ran = running.finish();
    assert_eq!((ran.signal(), ran.stdout.as_str()), (Some(libc::SIGTERM), ""), "{}", ran.stderr);
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
fn what_was_ignored_is_not_passed_on() {
    // A command that listens nevertheless; the lower number would come first.
    let code = "
import signal, sys
def say(number, frame):
    print(number, flush=True)
    if number == signal.SIGUSR2: sys.exit(0)
for number in signal.SIGUSR1, signal.SIGUSR2: signal.signal(number, say)
print('up', flush=True)
while True: signal.pause()";
    let script = "trap '' USR1; exec \"$0\" -n0 python3 -c \"$1\"";
    let mut running = Test::bash(&[], "")
        .with(|command| {
            let mut bash = std::process::Command::new("bash");
            bash.args(["-c", script, RETRYRUN, code]);
            bash.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            *command = bash;
        })
        .start();
    running.stdout_line();
    running.signal(Signal::USR1);
    running.signal(Signal::USR2);
    let ran = running.finish();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "12\n"), "{}", ran.stderr);
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

/// A command that names every signal, and exits with 5 on SIGUSR2.
fn listener(options: &[&str]) -> Running {
    let mut running = Test::actor(options, "exit-on=USR2:5 listen").start();
    assert_eq!(running.stdout_line(), "listening\n");
    running
}

/// Sends us any signal, also a real-time one.
fn send(running: &Running, number: libc::c_int) {
    // SAFETY: plain numbers.
    assert_eq!(unsafe { libc::kill(running.pid().as_raw_nonzero().get(), number) }, 0);
}

#[test]
fn every_signal_that_would_end_us_is_the_commands() {
    let mut running = listener(&["-n0"]);
    for (number, name) in [
        (libc::SIGILL, "ILL"),
        (libc::SIGTRAP, "TRAP"),
        (libc::SIGABRT, "ABRT"),
        (libc::SIGBUS, "BUS"),
        (libc::SIGFPE, "FPE"),
        (libc::SIGSEGV, "SEGV"),
        (libc::SIGSYS, "SYS"),
        (libc::SIGUSR1, "USR1"),
        (libc::SIGALRM, "ALRM"),
        (libc::SIGVTALRM, "VTALRM"),
        (libc::SIGPROF, "PROF"),
        (libc::SIGIO, "IO"),
        (libc::SIGPWR, "PWR"),
        (libc::SIGXCPU, "XCPU"),
        (libc::SIGSTKFLT, "STKFLT"),
        (libc::SIGWINCH, "WINCH"),
        (libc::SIGCONT, "CONT"),
        (libc::SIGRTMIN(), "34"),
        (libc::SIGRTMIN() + 7, "41"),
        (libc::SIGRTMAX(), "64"),
    ] {
        send(&running, number);
        assert_eq!(running.stdout_line(), format!("{name}\n"));
    }
    running.signal(Signal::USR2);
    let ran = running.finish();
    assert_eq!((ran.stdout.as_str(), ran.history().outcome), ("USR2\n", Some(Outcome::Exhausted)));
}

#[test]
fn two_in_a_row_reach_the_command_and_the_first_is_what_we_die_of() {
    let mut running = listener(&["-k", "1h"]);
    running.signal(Signal::TERM);
    assert_eq!(running.stdout_line(), "TERM\n");
    running.signal(Signal::HUP);
    while running.stdout_line() != "HUP\n" {}
    running.signal(Signal::INT);
    interrupted(&running.finish(), Signal::TERM);
}

#[test]
fn a_signal_in_the_grace_does_not_lengthen_it() {
    let mut running =
        Test::actor(&["-n0", "-t1", "-k5"], "ignore=TERM exit-on=USR2:0 listen").start();
    running.stderr_with("SIGKILL in 5s");
    running.signal(Signal::INT);
    while running.stdout_line() != "INT\n" {}
    let ran = running.finish();
    interrupted(&ran, Signal::INT);
    let attempt = &ran.history().attempts[0];
    assert_eq!(attempt.ended_by, Some(EndedBy::Timeout));
    assert!(attempt.elapsed.expect("it ended").as_secs() < 20, "{attempt:?}");
}

#[test]
fn in_a_wait_two_and_three_in_a_row_end_the_run_by_the_first() {
    for count in 2..=3 {
        let mut running = Test::new(["-d", "1000", "false"]).start();
        running.stderr_with("next in 5m");
        running.signal(Signal::STOP);
        [Signal::TERM, Signal::TERM, Signal::TERM][..count]
            .iter()
            .for_each(|one| running.signal(*one));
        running.signal(Signal::CONT);
        assert_eq!(running.finish().signal(), Some(libc::SIGTERM));
    }
}

#[test]
fn in_a_wait_other_signals_change_nothing() {
    let mut running = Test::new(["-d", "1000", "false"]).start();
    running.stderr_with("next in 5m");
    for number in [libc::SIGUSR2, libc::SIGALRM, libc::SIGWINCH, libc::SIGCONT, libc::SIGRTMIN()] {
        send(&running, number);
    }
    running.signal(Signal::TERM);
    let ran = running.finish();
    interrupted(&ran, Signal::TERM);
    assert_eq!(ran.history().attempts.len(), 1);
}

/// A run whose stderr is full, and who could read it.
fn unread(test: Test) -> (Running, PipeReader) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    fill(&writer);
    let test = test.with(|command| {
        command.stderr(Stdio::from(writer));
    });
    (test.start(), reader)
}

/// A run that is over while nobody reads its stderr, which is full; at its end it waits there to say so.
fn stalled(words: &[&str]) -> (Running, PipeReader) {
    let (running, reader) = unread(Test::new(words));
    let pid = running.pid().as_raw_nonzero();
    wait_until("it waits for its reader", || {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        let number = call.split(' ').next().and_then(|number| number.parse().ok());
        [Some(libc::SYS_poll), Some(libc::SYS_ppoll)].contains(&number)
    });
    (running, reader)
}

fn fill(writer: &PipeWriter) {
    // SAFETY: the descriptor is open, and the bytes are there. What is set is set back.
    unsafe {
        libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
        while libc::write(writer.as_raw_fd(), [0u8; 4096].as_ptr().cast(), 4096) > 0 {}
        libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, 0);
    }
}

/// The history that a report has.
fn reported(path: &Path) -> History {
    serde_json::from_slice(&fs::read(path).expect("a report")).expect("a history")
}

#[test]
fn a_stderr_that_nobody_reads_changes_nothing_of_a_run() {
    // As long as we wait for a reader at the end, and a little less.
    let options = ["-vv", "-n2", "-d0.01", "--deadline=1.9s", "--report=json:report"];
    let test = Test::new([&options[..], &["sh", "-c", "exit 3"]].concat());
    let path = test.path("report");
    let (mut running, _reader) = unread(test);
    assert_eq!(running.wait().code(), Some(3));
    let history = reported(&path);
    assert_eq!((history.outcome, history.attempts.len()), (Some(Outcome::Exhausted), 3));
}

#[test]
fn a_stderr_that_nobody_reads_delays_no_signal() {
    let test = Test::actor(&["-vv", "--report=json:report"], "say=up sleep");
    let path = test.path("report");
    let (mut running, _reader) = unread(test);
    assert_eq!(running.stdout_line(), "up\n");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().signal(), Some(libc::SIGTERM));
    let history = reported(&path);
    assert_eq!(history.outcome, Some(Outcome::Interrupted));
    // Less than we wait for a reader at the end.
    assert!(history.elapsed.as_secs_f64() < 1.9, "{history:?}");
}

#[test]
fn a_reader_that_comes_back_in_a_wait_gets_all_lines_in_order() {
    let options = ["-v", "--delays=0.01,1000", "--report=ndjson:events"];
    let test = Test::new([&options[..], &["sh", "-c", "exit 3"]].concat());
    let events = test.path("events");
    let (mut running, reader) = unread(test);
    wait_until("it waits", || {
        let told = fs::read_to_string(&events).unwrap_or_default();
        told.matches("\"retry_planned\"").count() == 2
    });
    let mut lines = BufReader::new(reader).lines().map(|line| line.expect("text"));
    let read: Vec<String> = lines.by_ref().take(5).collect();
    let says = [
        "\0retryrun: run ",
        "retryrun: attempt 1/4 started",
        "retryrun: attempt 1/4 failed",
        "retryrun: attempt 2/4 started",
        "retryrun: attempt 2/4 failed",
    ];
    for (line, says) in read.iter().zip(says) {
        assert!(line.contains(says), "{line}");
    }
    running.signal(Signal::TERM);
    assert_eq!(running.wait().signal(), Some(libc::SIGTERM));
    let last: Vec<String> = lines.collect();
    assert!(last.iter().any(|line| line.contains("interrupted by SIGTERM")), "{last:?}");
}

#[test]
fn a_report_that_nobody_reads_ends_by_itself() {
    let (mut running, _reader) = stalled(&["-n0", "false"]);
    running.signal(Signal::TERM);
    // The first one changes nothing: the run is decided.
    assert_eq!(running.wait().code(), Some(1));
}

#[test]
fn a_second_signal_ends_a_report_that_nobody_reads() {
    for words in [["-n0", "false"], ["--history=always", "true"]] {
        let (mut running, _reader) = stalled(&words);
        running.signal(Signal::INT);
        running.signal(Signal::TERM);
        // Of two that are pending at a time any may come first.
        let signal = running.wait().signal();
        assert!([Some(libc::SIGINT), Some(libc::SIGTERM)].contains(&signal), "{signal:?}");
    }
    let (mut running, mut reader) = stalled(&["-n0", "--log-format=json", "false"]);
    running.signal(Signal::USR1);
    assert_eq!(running.wait().code(), Some(1), "others are swallowed");
    drop(running);
    let mut written = Vec::new();
    reader.read_to_end(&mut written).expect("it can be read");
    assert!(written.iter().all(|byte| *byte == 0), "nothing was cut into");
}

#[test]
fn a_storm_is_weathered() {
    let mut running = listener(&["-k", "1h"]);
    for _ in 0..1000 {
        running.signal(Signal::USR1);
    }
    send(&running, libc::SIGRTMIN());
    // A real-time signal comes after those before it; of many alike one may stand for all.
    assert_eq!(running.stdout_line(), "USR1\n");
    while running.stdout_line() != "34\n" {}
    let us = Process::of(running.pid().as_raw_nonzero().get());
    // Those that come while one is pending are no more than that one.
    while us.lives() {
        running.signal(Signal::TERM);
    }
    let ran = running.finish();
    assert_eq!(ran.signal(), Some(libc::SIGTERM), "{}", ran.stderr);
}

#[test]
fn a_signal_that_comes_as_the_command_ends_finds_a_lawful_end() {
    let mark = format!("say=storm-{}", std::process::id());
    let mut seen = [0; 3];
    for round in 0..120_u32 {
        let words = ["-n1", "-d0", "--history=never", "-q", "--", &actor(), &mark, "exit=3"];
        let mut running = Test::new(words).start();
        // From before it listens until after its end.
        std::thread::sleep(Duration::from_micros(u64::from(round) * 150));
        running.signal(Signal::TERM);
        let status = running.wait();
        match (status.code(), status.signal()) {
            (None, Some(libc::SIGTERM)) => seen[0] += 1,
            (Some(3), None) => seen[1] += 1,
            _ => panic!("{status:?}"),
        }
        seen[2] += i32::from(lives(&mark));
    }
    assert_eq!(seen[2], 0, "orphans");
    assert!(seen[0] > 0, "{seen:?}");
}

/// Whether a process has this as a word of its command line, retryrun's own aside.
fn lives(mark: &str) -> bool {
    let folder = fs::read_dir("/proc").expect("it can be read").flatten();
    folder.map(|entry| fs::read(entry.path().join("cmdline")).unwrap_or_default()).any(|line| {
        let mut words = line.split(|byte| *byte == 0);
        words.next().is_some_and(|name| name.ends_with(b"actor"))
            && words.any(|word| word == mark.as_bytes())
    })
}

#[test]
fn a_blocked_signal_is_unblocked_for_us_and_blocked_for_the_command() {
    let script = "grep SigBlk /proc/self/status; exec sleep 1000";
    let mut running = Test::bash(&["-k0.3"], script)
        .with(|command| {
            // SAFETY: the calls are async-signal-safe, and the set is initialised.
            unsafe {
                command.pre_exec(|| {
                    let mut set = MaybeUninit::uninit();
                    libc::sigemptyset(set.as_mut_ptr());
                    libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
                    libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
                    Ok(())
                });
            }
        })
        .start();
    assert_eq!(running.stdout_line(), "SigBlk:\t0000000000004000\n");
    running.signal(Signal::TERM);
    let ran = running.finish();
    interrupted(&ran, Signal::TERM);
    assert_eq!(
        ran.history().attempts[0].signal.map(|signal| signal.to_string()),
        Some("SIGKILL".into())
    );
}

/// Ours as a job, in a group of its own whose leader's parent lives, since the kernel stops nobody whom nobody could continue; and
/// our process. Not bash's: its `wait -f` at times loses a job that was stopped and continued, and never ends.
fn job(words: &[&str]) -> (Running, Process) {
    let script = "import os, subprocess, sys\n\
        job = subprocess.Popen(sys.argv[1:], preexec_fn=os.setpgrp)\n\
        print('us', job.pid, flush=True)\n\
        status = job.wait()\n\
        sys.exit(status if status >= 0 else 128 - status)\n";
    let words = [&["-c", script, RETRYRUN], words].concat();
    let mut running = Test::of("/usr/bin/python3", words).start();
    let [us] = running.pids(["us"]);
    (running, us)
}

fn tell(process: &Process, signal: Signal) {
    kill_process(Pid::from_raw(process.pid).expect("a pid"), signal).expect("it runs");
}

#[test]
fn a_stop_stops_both_and_both_go_on() {
    let actor = actor();
    let script = ["fork", "pid=child", "sleep", "end", "pid=leader", "sleep"];
    let (mut running, us) = job(&[&["-k0.3", "--", &actor], &script[..]].concat());
    let processes = running.pids(["child", "leader"]);
    for _ in 0..2 {
        tell(&us, Signal::TSTP);
        us.wait_for_state("T");
        processes.iter().for_each(|process| process.wait_for_state("T"));
        tell(&us, Signal::CONT);
        us.wait_for_state("S");
        processes.iter().for_each(|process| process.wait_for_state("S"));
    }
    tell(&us, Signal::TERM);
    assert_eq!(running.finish().code(), Some(143));
}

#[test]
fn the_time_in_which_we_are_stopped_is_not_the_attempts() {
    let actor = actor();
    let (mut running, us) = job(&["-n0", "-t8", "--", &actor, "pid=leader", "sleep"]);
    let [leader] = running.pids(["leader"]);
    tell(&us, Signal::TSTP);
    us.wait_for_state("T");
    std::thread::sleep(Duration::from_secs(8));
    tell(&us, Signal::CONT);
    leader.wait_for_state("S");
    running.stderr_with("reached its timeout after");
    running.wait();
}

#[test]
fn in_a_wait_a_stop_stops_us_alone() {
    let (mut running, us) = job(&["-d", "1000", "false"]);
    running.stderr_with("next in 5m");
    tell(&us, Signal::TSTP);
    us.wait_for_state("T");
    tell(&us, Signal::CONT);
    us.wait_for_state("S");
    tell(&us, Signal::TERM);
    assert_eq!(running.finish().code(), Some(143));
}

#[test]
fn we_die_without_a_core_of_ours() {
    let mut running = Test::actor(&["-n0"], "die=SEGV")
        .with(|command| {
            let limit =
                libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
            // SAFETY: setrlimit is async-signal-safe.
            unsafe {
                command.pre_exec(move || {
                    libc::setrlimit(libc::RLIMIT_CORE, &limit);
                    Ok(())
                });
            }
        })
        .start();
    let status = running.wait();
    assert_eq!((status.signal(), status.core_dumped()), (Some(libc::SIGSEGV), false));
    let ran = running.finish();
    // The command's limit is as it was; whether it could dump one is the machine's.
    assert_eq!(
        ran.history().attempts[0].signal.map(|signal| signal.to_string()),
        Some("SIGSEGV".into())
    );
}

#[test]
fn a_signal_to_our_group_reaches_the_command_once() {
    let mut running = listener(&["-k", "1h"]);
    kill_process_group(running.pid(), Signal::TERM).expect("it leads its group");
    assert_eq!(running.stdout_line(), "TERM\n");
    running.signal(Signal::USR2);
    let ran = running.finish();
    assert_eq!((ran.code(), ran.stdout.matches("TERM").count()), (Some(5), 0), "{}", ran.stdout);
}
