//! What the command reads: the same in every attempt, and no more of it than the command took.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use retryrun::engine::event::Outcome;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use crate::session::Session;
use crate::test::{RETRYRUN, Test, path, wait_until};

/// What bash prints for a script in which `retryrun` is the program under test.
fn bash(script: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(RETRYRUN, folder.path().join("retryrun")).expect("a link");
    let output = Command::new("bash")
        .args(["-c", script])
        .env_clear()
        .env("PATH", format!("{}:{}", folder.path().display(), path()))
        .env("RETRYRUN_HISTORY", "never")
        .env("RETRYRUN_QUIET", "1")
        .env("RETRYRUN_DELAY", "0")
        .current_dir(folder.path())
        .output()
        .expect("bash runs");
    String::from_utf8(output.stdout).expect("text")
}

/// Two megabytes in which no two lines are the same: more than is kept in memory.
const LINES: &str = "seq 100000000 100200000";

#[test]
fn every_attempt_reads_the_same_from_a_pipe() {
    let script = format!(
        "{LINES} | cksum; {LINES} | retryrun -n2 bash -c 'cksum; exit $((3 - RETRYRUN_ATTEMPT))'"
    );
    let printed = bash(&script);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| *line == lines[0]), "{printed}");
}

#[test]
fn an_attempt_that_read_a_part_does_not_shorten_the_next() {
    let script = "(echo a; echo b; echo c) | retryrun -n1 bash -c \
                  'if [ $RETRYRUN_ATTEMPT = 1 ]; then read x; echo one $x; exit 1; fi; cat'";
    assert_eq!(bash(script), "one a\na\nb\nc\n");
}

#[test]
fn a_loop_around_us_keeps_its_lines() {
    let script = "seq 1 6 | while read line; do \
                  retryrun -n1 bash -c 'read x; echo $0:$x; [ $RETRYRUN_ATTEMPT = 2 ]' $line; done";
    assert_eq!(bash(script), "1:2\n1:2\n3:4\n3:4\n5:6\n5:6\n");
    let script = "seq 1 3 | while read line; do retryrun true; echo $line; done";
    assert_eq!(bash(script), "1\n2\n3\n");
    // Also much of it, of which the command reads a part by pages.
    let script = format!(
        "{LINES} | {{ retryrun -n1 bash -c 'head -c 500000 >/dev/null; [ $RETRYRUN_ATTEMPT = 2 ]'; wc -c; }}; \
         {LINES} | {{ head -c 500000 >/dev/null; wc -c; }}"
    );
    let printed = bash(&script);
    let [ours, plain] = printed.lines().collect::<Vec<_>>()[..] else { panic!("{printed}") };
    assert_eq!(ours, plain);
}

#[test]
fn a_producer_may_still_write_while_the_input_is_replayed() {
    let script = "mkfifo go; (echo a; cat go; echo c) | retryrun -n1 bash -c \
                  'if [ $RETRYRUN_ATTEMPT = 1 ]; then read x; exit 1; fi; read x; echo $x; echo b >go; cat'";
    assert_eq!(bash(script), "a\nb\nc\n");
}

#[test]
fn an_endless_or_silent_input_never_delays_the_end() {
    let script = "yes | retryrun -n1 bash -c 'head -n1; exit 1'";
    assert_eq!(bash(script), "y\ny\n");
    // The other end stays open for as long as we hold it.
    let mut running = Test::bash(&["-n1", "-d0"], "exit 1")
        .with(|command| {
            command.stdin(Stdio::piped());
        })
        .start();
    running.stderr_with("gave up after 2 attempts");
    assert_eq!(running.finish().code(), Some(1));
}

#[test]
fn a_file_is_set_back_to_where_it_stood() {
    let script = "printf 'abcdefgh' >f; { head -c 2 >/dev/null; \
                  retryrun -n1 bash -c 'head -c 3; [ $RETRYRUN_ATTEMPT = 2 ]'; echo; cat; } <f";
    // head(1) sets a file back to what it printed.
    assert_eq!(bash(script), "cdecde\nfgh");
    let script = "printf 'abc' >f; retryrun -n1 --stdin inherit bash -c 'cat; echo .; exit 1' <f";
    assert_eq!(bash(script), "abc.\n.\n");
}

#[test]
fn without_a_second_attempt_nothing_stands_between() {
    let ours = "readlink /proc/self/fd/0; true";
    let pipe = bash(&format!("echo x | retryrun -n0 sh -c '{ours}'; echo x | sh -c '{ours}'"));
    assert_eq!(pipe.matches("pipe:[").count(), 2, "{pipe}");
    let same = "r=$(readlink /proc/self/fd/0); test \"$r\" = \"$(retryrun -n0 readlink /proc/self/fd/0)\" && echo same";
    assert_eq!(bash(&format!("echo x | bash -c '{same}'")), "same\n");
    let other = same.replace("-n0", "-n1").replace("echo same", "echo same || echo other");
    assert_eq!(bash(&format!("echo x | bash -c '{other}'")), "other\n");
}

#[test]
fn no_input_at_all() {
    assert_eq!(
        bash("echo x | retryrun --stdin null cat; retryrun --stdin null readlink /proc/self/fd/0"),
        "/dev/null\n"
    );
    assert_eq!(bash("retryrun -n1 bash -c 'read x || echo none; exit 1' <&-"), "none\nnone\n");
}

#[test]
fn a_socket_is_replayed() {
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    ours.write_all(b"hello\nworld\n").expect("there is room");
    ours.shutdown(std::net::Shutdown::Write).expect("ours");
    let ran = Test::bash(&["-n1", "-d0"], "cat; exit 1").with(|command| {
        command.stdin(std::os::fd::OwnedFd::from(theirs));
    });
    assert_eq!(ran.run().stdout, "hello\nworld\nhello\nworld\n");
}

#[test]
fn what_is_typed_at_a_terminal_is_replayed_on_demand() {
    let script = "read x; echo \"got $x\"; [ $RETRYRUN_ATTEMPT = 2 ]";
    let mut session =
        Session::start(&[RETRYRUN, "-q", "-n1", "-d0", "--stdin", "replay", "bash", "-c", script]);
    session.press("you\n");
    let (status, screen) = session.finish();
    assert!(status.success(), "{screen}");
    assert_eq!(screen.matches("got you\r\n").count(), 2, "{screen}");
}

#[test]
fn an_input_that_cannot_be_kept_is_read_by_the_last_attempt() {
    let script = format!("{LINES} | cksum");
    let expected = bash(&script);
    let mut producer =
        Command::new("bash").args(["-c", LINES]).stdout(Stdio::piped()).spawn().expect("bash runs");
    let input = producer.stdout.take().expect("it is piped");
    let ran = Test::bash(&["-d0", "--spool-limit", "10KiB"], "cksum; exit 3")
        .with(|command| {
            command.stdin(input);
        })
        .run();
    producer.wait().expect("it is our child");
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(3), expected.as_str()));
    let history = ran.history();
    assert_eq!((history.outcome, history.attempts.len()), (Some(Outcome::Permanent), 1));
    let attempt = &history.attempts[0];
    assert_eq!(attempt.reason.as_deref(), Some("input-lost"));
    assert_eq!((&attempt.rule, attempt.rule_origin.as_deref()), (&None, Some("input")));
    assert!(ran.stderr.contains("larger than --spool-limit"), "{}", ran.stderr);
}

#[test]
fn bytes_are_exact_however_they_come() {
    let bytes: Vec<u8> =
        (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("input"), folder.path().join("output"));
    std::fs::write(&input, &bytes).expect("a file");
    // By odd pieces, through a pipe.
    let script = format!(
        "dd if={} bs=777 status=none | {RETRYRUN} -q -n1 -d0 -- bash -c 'cat >{}; [ $RETRYRUN_ATTEMPT = 2 ]'",
        input.display(),
        output.display()
    );
    let status = Command::new("bash").args(["-c", &script]).status().expect("bash runs");
    assert!(status.success());
    let mut read = Vec::new();
    File::open(&output).and_then(|mut file| file.read_to_end(&mut read)).expect("it is there");
    assert!(read == bytes, "{} of {} bytes", read.len(), bytes.len());
}

#[test]
fn what_is_left_is_exact_however_much_is_read_at_once() {
    // Readers that take all that is there, a page, less, more, a byte, and first much and then little.
    for (reader, taken) in [
        ("head -c 1300001", 1_300_001),
        ("dd bs=4096 count=300 status=none", 1_228_800),
        ("dd bs=3000 count=400 iflag=fullblock status=none", 1_200_000),
        ("dd bs=100000 count=12 iflag=fullblock status=none", 1_200_000),
        ("dd bs=1 count=9001 status=none", 9_001),
        (
            "bash -c 'head -c 200000; dd bs=7 count=3000 iflag=fullblock status=none; head -c 1000000'",
            1_221_000,
        ),
    ] {
        let script = format!(
            "{LINES} >in; cat in | {{ retryrun -n2 -- bash -c '{} | cksum; exit $((3 - RETRYRUN_ATTEMPT))'; cksum; }}; \
             head -c {taken} in | cksum; tail -c +{} in | cksum",
            reader.replace('\'', "'\\''"),
            taken + 1,
        );
        let printed = bash(&script);
        let lines: Vec<&str> = printed.lines().collect();
        let [one, two, three, rest, all, behind] = lines[..] else { panic!("{reader}: {printed}") };
        assert_eq!([one, two, three], [all; 3], "{reader}");
        assert_eq!(rest, behind, "{reader}");
    }
}

/// Bytes of which no two pages are the same.
fn many_bytes(count: u32) -> Vec<u8> {
    (0..count / 4).flat_map(u32::to_be_bytes).collect()
}

/// Copies all of its stdin to a file for each attempt, the first of which fails.
const COPY: [&str; 5] =
    ["-n1", "-d0", "sh", "-c", "cat >got.$RETRYRUN_ATTEMPT; [ $RETRYRUN_ATTEMPT = 2 ]"];

/// What both attempts have copied of what is written to the other end of their stdin.
fn copied(stdin: impl Into<Stdio>, write: impl FnOnce() + Send + 'static) -> [Vec<u8>; 2] {
    let test = Test::new(COPY).with(|command| {
        command.stdin(stdin);
    });
    let writer = std::thread::spawn(write);
    let (ran, copies) = test.run_with(|folder| {
        ["got.1", "got.2"].map(|name| std::fs::read(folder.join(name)).expect("a copy"))
    });
    writer.join().expect("all was written");
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    copies
}

#[test]
fn of_much_that_a_socket_gives_nothing_is_lost() {
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    let bytes = many_bytes(20_000_000);
    let sent = bytes.clone();
    let copies = copied(OwnedFd::from(theirs), move || {
        ours.write_all(&sent).expect("it is read");
    });
    assert!(copies.iter().all(|copy| *copy == bytes), "{:?}", copies.map(|copy| copy.len()));
}

#[test]
fn packets_of_a_pipe_come_in_order() {
    let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT).expect("a pipe");
    let bytes = many_bytes(20_000_000);
    let sent = bytes.clone();
    let copies = copied(theirs, move || {
        for packet in sent.chunks(4096) {
            assert_eq!(rustix::io::write(&ours, packet), Ok(packet.len()));
        }
    });
    assert!(copies.iter().all(|copy| *copy == bytes), "{:?}", copies.map(|copy| copy.len()));
}

#[test]
fn what_somebody_else_has_read_meanwhile_is_not_waited_for() {
    let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let other = theirs.try_clone().expect("a descriptor");
    let text = b"what two want to read\n";
    assert_eq!(rustix::io::write(&ours, text), Ok(text.len()));
    // It is shown to the command before.
    let wait =
        "until read -t 0; do sleep 0.01; done; touch up; until [ -e go ]; do sleep 0.01; done";
    let test = Test::bash(&["-n1"], &format!("{wait}; cat")).with(|command| {
        command.stdin(theirs);
    });
    let (up, go) = (test.path("up"), test.path("go"));
    let mut running = test.start();
    wait_until("it is shown", || up.exists());
    let mut taken = [0; 64];
    assert_eq!(rustix::io::read(&other, &mut taken), Ok(text.len()));
    std::fs::write(go, "").expect("a file");
    assert_eq!(running.stdout_line().as_bytes(), text);
    running.signal(Signal::TERM);
    let ran = running.finish();
    assert_eq!(ran.signal(), Some(libc::SIGTERM), "{}", ran.stderr);
    drop(ours);
}

#[test]
fn what_an_attempt_leaves_behind_does_not_read_what_is_left_for_the_next() {
    let script = "printf 'a\nb\n' | { retryrun -n1 --leftovers keep bash -c \
                  '{ until [ -e go ]; do sleep 0.01; done; cat >left; touch done; } <&0 & until read -t 0; do sleep 0.01; done'; \
                  cat; touch go; until [ -e done ]; do sleep 0.01; done; wc -c <left; }";
    assert_eq!(bash(script), "a\nb\n0\n");
}

#[test]
fn a_stdin_that_is_only_written_to_is_the_commands() {
    let script = "cat <&0; echo $?";
    let (_reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let ran = Test::bash(&["-n1"], script)
        .with(|command| {
            command.stdin(writer);
        })
        .run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "1\n"), "{}", ran.stderr);
}
