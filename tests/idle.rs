//! The limit on silence, for which we read what the command writes: what comes out is the same as without us.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use retryrun::engine::event::{EndedBy, Outcome, Trigger};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::session::{Session, kill, state, until};
use crate::test::{Process, RETRYRUN, Ran, Test, path, steps};

/// As long as nobody is silent in a test.
const LONG: &str = "--idle-timeout=100";

/// A script around us, where `$R` is the program under test.
fn script(script: &str) -> Command {
    // What hangs is ended with all that it started.
    let mut command = Command::new("timeout");
    command
        .args(["--signal=KILL", "60", "bash", "-c", script])
        .env_clear()
        .env("PATH", path())
        .env("R", RETRYRUN);
    command.stdin(Stdio::null());
    command
}

fn ran(script_around_us: &str) -> (String, String) {
    let Output { stdout, stderr, .. } = script(script_around_us).output().expect("bash runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(stdout), text(stderr))
}

/// A program that is ended with the test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _already_ended = self.0.kill();
        let _already_reaped = self.0.wait();
    }
}

/// Bytes without a pattern.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn silence_ends_an_attempt() {
    let result = Test::bash(&["-n0", "--idle-timeout=0.5"], "echo up; sleep 1000").run();
    assert_eq!((result.code(), result.stdout.as_str()), (Some(124), "up\n"));
    let attempt = &result.history().attempts[0];
    assert_eq!(attempt.ended_by, Some(EndedBy::IdleTimeout));
    assert_eq!(attempt.reason.as_deref(), Some("idle-timeout"));

    let mut session = Session::start(&[
        RETRYRUN,
        "-n0",
        "--idle-timeout=0.5",
        "--history=never",
        "--",
        "sh",
        "-c",
        "echo up; sleep 1000",
    ]);
    session.read_to_end();
    assert_eq!(session.wait().code(), Some(124));
    assert!(session.screen().starts_with("up\r\n"), "{}", session.screen());
}

#[test]
fn either_stream_breaks_the_silence() {
    for stream in ["1", "2"] {
        let script = format!("for i in {{1..12}}; do sleep 0.5; echo $i >&{stream}; done");
        let result = Test::bash(&["-n0", "--idle-timeout=5"], &script).run();
        assert_eq!(result.code(), Some(0), "{}", result.stderr);
    }
    let (out, _) = ran(
        "$R -n0 --idle-timeout=5 bash -c 'for i in {1..12}; do sleep 0.5; echo $i >&2; done' >&-; echo $?",
    );
    assert_eq!(out, "0\n");
}

#[test]
fn all_bytes_of_both_streams_come_through_pipes() {
    let data = noise(10_000_000);
    let test = Test::bash(&[LONG], "cat out & cat err >&2; wait");
    let (out, err) = data.split_at(6_000_000);
    fs::write(test.path("out"), out).expect("a file");
    fs::write(test.path("err"), err).expect("a file");
    let output =
        script("cd \"$0\"; exec $R --idle-timeout=100 bash -c 'cat out & cat err >&2; wait'")
            .arg(test.path("."))
            .output()
            .expect("bash runs");
    assert!(output.status.success());
    assert!(output.stdout == out, "{} of {} bytes of stdout", output.stdout.len(), out.len());
    assert!(output.stderr == err, "{} of {} bytes of stderr", output.stderr.len(), err.len());
}

#[test]
fn all_bytes_come_through_a_terminal() {
    let mut session = Session::script(
        "head -c 1000000 /dev/urandom >data; stty raw -echo; exec $R --idle-timeout=100 cat data",
    );
    session.read_to_end();
    let data = fs::read(session.path("data")).expect("it was written");
    let bytes = session.read_to_end();
    assert!(bytes == data, "{} of {} bytes", bytes.len(), data.len());
    assert!(session.wait().success());
}

#[test]
fn one_file_for_both_streams_keeps_their_order() {
    let write = "'for i in {1..2000}; do echo $i; echo $i >&2; done'";
    let expected: String = (1..=2000).map(|i| format!("{i}\n{i}\n")).collect();
    let (out, _) = ran(&format!("$R {LONG} bash -c {write} 2>&1"));
    assert!(out == expected, "through a pipe");
    let (out, _) = ran(&format!("cd $(mktemp -d); $R {LONG} bash -c {write} >f 2>&1; cat f; rm f"));
    assert!(out == expected, "into a file");
    let (status, screen) = Session::script(&format!("exec $R {LONG} bash -c {write}")).finish();
    assert!(status.success());
    assert!(screen == expected.replace('\n', "\r\n"), "on a terminal");
}

#[test]
fn a_terminal_stays_one_of_the_same_size() {
    let script = "stty rows 33 cols 77; $R --idle-timeout=100 bash -c '\
        [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo three; stty size <&1; stty size <&2; \
        [ $(readlink /proc/$$/fd/1) != $(readlink /proc/$$/fd/0) ] && echo another'";
    let (status, screen) = Session::script(script).finish();
    assert!(status.success(), "{screen}");
    assert_eq!(screen, "three\r\n33 77\r\n33 77\r\nanother\r\n");
}

#[test]
fn a_resize_reaches_the_command() {
    // In the foreground the kernel tells the command, too, but nobody else tells one in another group.
    for group in ["auto", "new", "session"] {
        // Not bash, which loses a signal that comes while it handles one of its kind.
        let mut session = Session::script(&format!(
            "exec $R {LONG} --process-group {group} /usr/bin/python3 -c '\
             import os, signal, time\n\
             size = lambda *_: os.write(1, b\"%d %d\\n\" % os.get_terminal_size(1)[::-1])\n\
             signal.signal(signal.SIGWINCH, size); os.write(1, b\"up\\n\")\n\
             while not os.path.exists(\"go\"): time.sleep(0.02)'"
        ));
        session.wait_for("up");
        session.resize(44, 111);
        session.wait_for("44 111");
        fs::write(session.path("go"), "").expect("a file");
        assert!(session.finish().0.success());
    }
}

#[test]
fn colours_and_progress_are_as_on_a_terminal() {
    let script = "mkdir folder; $R --idle-timeout=100 ls --color=auto; \
        exec $R --idle-timeout=100 bash -c 'printf \"\\r10%%\"; while [ ! -e go ]; do sleep 0.02; done; \
        printf \"\\r100%%\\n\"'";
    let mut session = Session::script(script);
    session.wait_for("\u{1b}[");
    session.wait_for("folder");
    session.wait_for("\r10%");
    fs::write(session.path("go"), "").expect("a file");
    session.wait_for("\r100%\r\n");
    assert!(session.finish().0.success());
}

#[test]
fn a_slow_reader_loses_nothing_and_its_slowness_is_no_silence() {
    let (out, err) = ran(
        "$R -n0 --idle-timeout=0.5 head -c 1000000 /dev/zero | (sleep 3; wc -c); echo ${PIPESTATUS[0]}",
    );
    assert_eq!((out.as_str(), err.as_str()), ("1000000\n0\n", ""));
    // Also where the rest fits into pipes, so that the command ends long before it is read.
    let (out, err) = ran("$R -n0 --idle-timeout=0.5 head -c 150000 /dev/zero | (sleep 3; wc -c)");
    assert_eq!((out.as_str(), err.as_str()), ("150000\n", ""));
}

#[test]
fn while_one_stream_is_stalled_a_word_on_the_other_starts_no_clock() {
    let (out, err) = ran(
        "$R -n0 --idle-timeout=0.7 bash -c 'head -c 1000000 /dev/zero & sleep 0.3; echo said >&2; wait' \
         | (sleep 3; wc -c); echo ${PIPESTATUS[0]}",
    );
    assert_eq!((out.as_str(), err.as_str()), ("1000000\n0\n", "said\n"));
}

#[test]
fn a_stalled_reader_that_goes_away_leaves_a_clock_that_runs() {
    let (out, _) = ran(
        "$R -n0 --idle-timeout=0.5 bash -c 'trap \"\" PIPE; head -c 1000000 /dev/zero 2>/dev/null; sleep 1000' \
         | sleep 1; echo ${PIPESTATUS[0]}",
    );
    assert_eq!(out, "141\n");
}

#[test]
fn a_stalled_reader_does_not_keep_a_signal_from_its_work() {
    for command in ["exec cat /dev/zero", "cat /dev/zero & wait"] {
        let mut child = Guard(
            script(&format!(
                "exec $R --idle-timeout=100 -k1h bash -c 'echo \"$$\" >&2; {command}'"
            ))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash runs"),
        );
        let mut pid = String::new();
        let mut stderr = std::io::BufReader::new(child.0.stderr.take().expect("it is piped"));
        std::io::BufRead::read_line(&mut stderr, &mut pid).expect("it says who it is");
        let pid: i32 = pid.trim().parse().expect("a pid");
        let us = i32::try_from(child.0.id()).expect("a pid");
        let is_asleep = || state(pid) == "S" && state(us) == "S";
        until("all stand still", || {
            (0..20).all(|_| {
                sleep(Duration::from_millis(5));
                is_asleep()
            })
        });
        kill(us, libc::SIGTERM);
        let mut status = None;
        until("its end", || {
            status = child.0.try_wait().expect("it is our child");
            status.is_some()
        });
        let signal =
            status.and_then(|status| std::os::unix::process::ExitStatusExt::signal(&status));
        assert_eq!(signal, Some(libc::SIGTERM));
    }
}

#[test]
fn a_closed_reader_ends_us_as_it_would_the_command() {
    for command in ["yes", "bash -c \"trap '' PIPE; while echo y 2>/dev/null; do :; done; exit 1\""]
    {
        let (out, err) =
            ran(&format!("$R {LONG} -d0 {command} | head -n 1; echo ${{PIPESTATUS[0]}}"));
        assert_eq!((out.as_str(), err.as_str()), ("y\n141\n", ""), "{command}");
    }
}

#[test]
fn what_holds_the_output_is_listened_to_for_a_while() {
    // Silent; then talking often enough for 200 ms, but for longer than 2 s; then without an end. Whom we waited for would end by
    // itself.
    for (holder, all) in [
        ("exec sleep 20", false),
        ("for i in {1..400}; do echo more; sleep 0.05; done", true),
        ("exec timeout 20 yes more", true),
    ] {
        let script = format!("({holder}) & echo $! >&2; echo done");
        let mut running = Test::bash(&["--history=always", LONG], &script).start();
        let holder_pid: i32 = running.stderr_with("").trim().parse().expect("a pid");
        let result = running.finish();
        // SAFETY: plain numbers. It is nobody's any more.
        let _it_may_have_died_of_sigpipe = unsafe { libc::kill(holder_pid, libc::SIGKILL) };
        assert!(result.stdout.contains("done\n"), "{holder}");
        assert_eq!(result.stdout.contains("more\n"), all, "{holder}");
        let attempt = &result.history().attempts[0];
        assert_eq!((result.code(), attempt.output_held), (Some(0), true), "{holder}");
        let elapsed = result.history().elapsed;
        let (least, most) = if all { (2000, 15_000) } else { (200, 2000) };
        let expected = Duration::from_millis(least)..Duration::from_millis(most);
        assert!(expected.contains(&elapsed), "{holder} {elapsed:?}");
    }
}

#[test]
fn a_last_word_of_the_tree_is_heard_while_it_is_ended() {
    // More than a pipe holds.
    let child =
        "trap \"head -c 300000 /dev/zero; exit\" TERM; echo up >&2; while :; do sleep 0.02; done";
    let script = format!("bash -c '{child}' & sleep 1000");
    let result = Test::bash(&["-n0", "-k20", "-q", "--idle-timeout=1"], &script).run();
    assert_eq!((result.code(), result.stdout.len()), (Some(124), 300_000), "{}", result.stderr);
}

#[test]
fn any_kind_of_output_takes_what_the_command_writes() {
    let (out, _) =
        ran("cd $(mktemp -d); echo before >f; $R --idle-timeout=100 echo new >>f; cat f; rm f");
    assert_eq!(out, "before\nnew\n");
    let (out, err) = ran("$R --idle-timeout=100 echo gone >/dev/null; echo $?");
    assert_eq!((out.as_str(), err.as_str()), ("0\n", ""));
    let (out, err) = ran("$R --idle-timeout=100 sh -c 'echo said >&2' >&-; echo $?");
    assert_eq!((out.as_str(), err.as_str()), ("0\n", "said\n"));

    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let mut command = script("exec $R --idle-timeout=100 head -c 1000000 /dev/zero");
    let mut child =
        Guard(command.stdout(Stdio::from(OwnedFd::from(theirs))).spawn().expect("bash runs"));
    drop(command);
    let mut bytes = Vec::new();
    (&ours).read_to_end(&mut bytes).expect("it can be read");
    assert_eq!(bytes.len(), 1_000_000);
    assert!(child.0.wait().expect("it is our child").success());
}

#[test]
fn a_full_disk_is_said_once() {
    let (out, err) = ran(
        "$R --idle-timeout=100 -n2 -d0 --history=never bash -c 'trap \"\" PIPE; echo x; sleep 0.2; echo y; exit 3' \
         >/dev/full; echo $?",
    );
    assert_eq!(out, "3\n");
    let words = "cannot write to stdout: No space left on device";
    assert_eq!(err.matches(words).count(), 1, "{err}");
}

#[test]
fn what_we_were_given_never_becomes_non_blocking() {
    let (reader, pipe) = std::io::pipe().expect("a pipe");
    let (socket, theirs) = UnixStream::pair().expect("a pair of sockets");
    let mut command = script("exec $R --idle-timeout=100 bash -c 'echo up; echo up >&2; read'");
    command.stdin(Stdio::piped());
    command.stdout(Stdio::from(OwnedFd::from(pipe.try_clone().expect("a second descriptor"))));
    command.stderr(Stdio::from(OwnedFd::from(theirs.try_clone().expect("a second descriptor"))));
    let mut child = Guard(command.spawn().expect("bash runs"));
    let mut word = [0; 3];
    (&reader).read_exact(&mut word).expect("it comes");
    (&socket).read_exact(&mut word).expect("it comes");
    for fd in [pipe.as_raw_fd(), theirs.as_raw_fd()] {
        // SAFETY: it only asks.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0);
    }
    drop(child.0.stdin.take());
    child.0.wait().expect("it is our child");
}

#[test]
fn what_nobody_has_to_read_is_inherited_as_it_is() {
    let links = "readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2 >&3";
    let (out, _) = ran(&format!(
        "for r in \"$R --\" \"$R {LONG}\" ''; do $r bash -c '{links}' 3>&1 >/dev/null 2>/dev/full; done"
    ));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..3], lines[6..]);
    assert_ne!(lines[3..6], lines[6..], "where the limit is on, they are pipes");
}

#[test]
fn an_attempt_that_was_healthy_begins_the_count_anew() {
    let script = steps(&["exit 1", "sleep 1; exit 1", "exit 1"]);
    let result = Test::bash(&["-n1", "-d0", "--healthy-after=0.8"], &script).run();
    let history = result.history();
    assert_eq!((history.outcome, history.attempts.len()), (Some(Outcome::Exhausted), 3));
}

#[test]
fn success_may_need_several_in_a_row() {
    let script = steps(&["exit 0", "exit 1", "exit 0", "exit 0"]);
    let result =
        Test::bash(&["-n1", "-d0.01", "--consecutive=2", "--history=always"], &script).run();
    let history = result.history();
    assert_eq!((result.code(), history.outcome), (Some(0), Some(Outcome::Succeeded)));
    let triggers: Vec<Trigger> = history.attempts.iter().map(|attempt| attempt.trigger).collect();
    assert_eq!(
        triggers,
        [Trigger::First, Trigger::Consecutive, Trigger::Retry, Trigger::Consecutive]
    );
}

#[test]
fn a_pipe_holds_as_much_through_us() {
    // Each word reaches a pipe that nobody reads before the next one is written.
    let words = r#"import array, fcntl, os, termios
left = array.array("i", [0])
for count in range(500):
    os.write(1, b"a word of mine %3d\n" % count)
    while not fcntl.ioctl(1, termios.FIONREAD, left) and left[0]: pass
"#;
    let read_later = r#"cd "$(mktemp -d)"; mkfifo over; { $R -n0 --idle-timeout=100 python3 -c "$WORDS"; echo $? >over; } \
           | { read -r status <over; echo "$status"; wc -l; }; rm over"#;
    let ran = script(read_later).env("WORDS", words).output().expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "0\n500\n");
}

/// What becomes of a run whose stdout is a pipe that is full.
fn nobody_reads(options: &[&str], script: &str) -> Ran {
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    fill(&writer);
    let test = Test::bash(&[options, &["--idle-timeout=100"]].concat(), script);
    let stdout = |command: &mut Command| {
        command.stdout(writer);
    };
    test.with(stdout).run()
}

/// Fills a pipe.
fn fill(writer: &std::io::PipeWriter) {
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let mut filling =
        fs::File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path).expect("a pipe");
    while filling.write(&[b'.'; 4096]).is_ok() {}
}

#[test]
fn what_others_go_on_writing_is_not_waited_for_where_nobody_reads() {
    let ran = nobody_reads(
        &["-n0"],
        // We have heard of the end when we have set two alarms more: what is written before that may be the command's.
        "{ until [ $(ls -l /proc/$PPID/fd | grep -c timerfd) = 3 ]; do :; done; \
           while echo y; do sleep 0.05; done; } & exit 3",
    );
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr);
    assert!(ran.history().attempts[0].output_held);
}

#[test]
fn the_deadline_ends_the_wait_for_who_does_not_read_what_the_command_wrote() {
    let ran = nobody_reads(&["-n0", "--timeout=0.5", "--deadline=1"], "echo said");
    assert!(ran.stderr.contains("cannot write to stdout: nobody reads it\n"), "{}", ran.stderr);
    assert_eq!(ran.code(), Some(125), "{}", ran.stderr);
}

#[test]
fn a_terminal_that_cannot_be_opened_again_keeps_nobody_waiting() {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let terminal = openpt(flags).expect("a terminal");
    grantpt(&terminal).expect("it is ours");
    unlockpt(&terminal).expect("it is ours");
    let ours = ioctl_tiocgptpeer(&terminal, flags).expect("it is unlocked");
    rustix::fs::fchmod(&ours, rustix::fs::Mode::empty()).expect("it is ours");
    let mut test = Test::bash(&["-n0", "-k0.1", "--idle-timeout=100"], "echo $$ >&2; exec yes");
    // SAFETY: plain numbers, and it is async-signal-safe. Who may open all, as root, may do so no more; nobody else can do this.
    test = test.with(|command| unsafe {
        let no_more_than_others = || {
            libc::prctl(libc::PR_CAPBSET_DROP, 1);
            Ok(())
        };
        command.stdout(ours).pre_exec(no_more_than_others);
    });
    let mut running = test.start();
    let pid: i32 = running.stderr_with("").trim().parse().expect("a pid");
    let command = Process::of(pid);
    command.wait_for_state("S");
    running.signal(rustix::process::Signal::TERM);
    let ran = running.finish();
    assert_eq!(ran.signal(), Some(libc::SIGTERM), "{}", ran.stderr);
    drop(terminal);
}

#[test]
fn what_cannot_be_written_is_no_success() {
    let (out, err) = ran("$R -n2 -d0 --idle-timeout=100 echo said >/dev/full; echo $? >&2");
    let (said, status) = err.trim().rsplit_once('\n').expect("lines");
    assert_eq!((out.as_str(), status), ("", "125"));
    let lost = "cannot write to stdout: No space left on device";
    assert!(said.starts_with(&format!("retryrun: {lost}\n")), "{said}");
    assert!(
        said.contains("gave up after 1 attempt") && said.contains(&format!("; {lost}")),
        "{said}"
    );
    let (_, err) =
        ran("$R -n1 -d0 -q --idle-timeout=100 sh -c 'echo said; exit 3' >/dev/full; echo $? >&2");
    assert!(err.ends_with("\n3\n") && err.contains("\"retry_count\":1"), "{err}");
    let (_, err) = ran("$R -n1 -q --idle-timeout=100 sh -c 'echo said >&2' 2>/dev/full; echo $?");
    assert_eq!(err, "");
}

#[test]
fn our_lines_begin_where_a_line_does() {
    let run = |options: &[&str], script: &str| {
        Test::bash(&[&["-n0", LONG], options].concat(), script).run()
    };
    let ran = run(&["--history=never"], "printf half >&2; exit 1");
    assert!(ran.stderr.starts_with("half\nretryrun: attempt 1/1 failed"), "{}", ran.stderr);
    for (word, expected) in [("half", "half\n{"), ("half\\n", "half\n{"), ("", "\n{")] {
        let script = format!("printf '{word}' >&2; exit 1");
        let ran = run(&["-q"], &script);
        assert!(ran.stderr.starts_with(expected), "{}", ran.stderr);
    }
    // What a hook has written we have not seen.
    let ran = run(&["-q", "--on-give-up=printf more"], "echo half >&2; exit 1");
    assert!(ran.stderr.starts_with("half\nmore\n{"), "{}", ran.stderr);
}
