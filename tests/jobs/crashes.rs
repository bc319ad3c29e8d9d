//! Whatever we die of, whenever: the state can be read, and the next call goes on with the right count.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use retryrun::engine::event::{Outcome, Trigger};
use retryrun::engine::history::History;

use super::{Home, attempts, kill};
use crate::test::{RETRYRUN, Test, path, say, wait_until};
use crate::weather::limited;

/// Kills us at one of the calls that change the state: before it, or where that is a write, after half of it.
const KILLER: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static int is_due(void) {
    static int calls = 0;
    const char *at = getenv("DIE_AT");
    return at && ++calls == atoi(at);
}
static int is_state(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "/retryrun/jobs") != NULL;
}
static void die(void) { syscall(SYS_kill, getpid(), SIGKILL); pause(); }
ssize_t write(int fd, const void *bytes, size_t count) {
    if (is_state(fd) && is_due()) {
        if (getenv("DIE_HALFWAY")) syscall(SYS_write, fd, bytes, count / 2);
        die();
    }
    return syscall(SYS_write, fd, bytes, count);
}
int fsync(int fd) { if (is_state(fd) && is_due()) die(); return syscall(SYS_fsync, fd); }
int fdatasync(int fd) { if (is_state(fd) && is_due()) die(); return syscall(SYS_fdatasync, fd); }
int ftruncate64(int fd, off64_t size) { if (is_state(fd) && is_due()) die(); return syscall(SYS_ftruncate, fd, size); }
int rename(const char *from, const char *to) {
    if (strstr(from, "/retryrun/jobs") && is_due()) die();
    return syscall(SYS_rename, from, to);
}
int unlink(const char *path) {
    if (strstr(path, "/retryrun/jobs") && is_due()) die();
    return syscall(SYS_unlink, path);
}
"#;

/// A run of at most three attempts, each of which is noted in a file and fails.
fn run(home: &Home) -> Test {
    home.run(&["-n2", "-d0", "-q"], "echo >>attempted; exit 3")
}

fn killer(tools: &Home) -> PathBuf {
    let (source, library) = (tools.file("killer.c"), tools.file("killer.so"));
    fs::write(&source, KILLER).expect("a file");
    let compiled = Command::new("gcc")
        .args(["-shared", "-fPIC", "-w", "-o"])
        .args([&library, &source])
        .stdin(Stdio::null())
        .status();
    assert!(compiled.expect("gcc runs").success());
    library
}

#[test]
fn a_death_at_any_write_leaves_a_state_that_is_gone_on_with() {
    let tools = Home::new();
    let library = killer(&tools);
    let mut deaths = Vec::new();
    for halfway in [false, true] {
        for call in 1.. {
            let home = Home::new();
            let test = run(&home).env("LD_PRELOAD", &library).env("DIE_AT", call.to_string());
            let test = if halfway { test.env("DIE_HALFWAY", "1") } else { test };
            let died = test.run();
            if died.signal().is_none() {
                assert_eq!(died.code(), Some(3), "{}", died.stderr);
                deaths.push(call - 1);
                break;
            }
            let before = home.list().pop();
            let is_unended = before.as_ref().is_some_and(|run| run["state"] == "dead");
            assert!(is_unended || before.is_none_or(|run| run["state"] == "ended"));
            let noted = || fs::read(home.file("attempted")).map_or(0, |noted| noted.len());
            let noted_before = noted();
            let ran = run(&home).run();
            assert_eq!(ran.lines(), [""], "nothing is said of it");
            let history = ran.history();
            assert_eq!(history.outcome, Some(Outcome::Exhausted), "{call}: {}", ran.stderr);
            assert_eq!(history.last_number(), 3, "{call}: {}", attempts(&history));
            let lost = history.attempts.iter().filter(|attempt| attempt.ending() == "lost").count();
            let known = if is_unended { noted() } else { noted() - noted_before };
            assert!(lost <= 1 && known + lost >= 3 && known <= 3, "{call}: {}", attempts(&history));
            assert_eq!(home.standing("x"), "ended");
        }
    }
    // The lock's line, the call, the start, three attempts of five lines, the end, and what makes them last.
    assert!(deaths.iter().all(|deaths| *deaths >= 25), "{deaths:?}");
}

#[test]
fn a_kill_in_an_attempt_kills_the_command_and_the_attempt_is_lost() {
    let home = Home::new();
    let mut running = home.run(&["-n1", "-d0"], "echo pid $$; exec sleep 1000").start();
    let [command] = running.pids(["pid"]);
    home.wait_for("x", "running");
    kill(running);
    wait_until("the command is dead", || !command.lives());
    assert_eq!(home.standing("x"), "dead");
    let ran = home.run(&[], "exit 4").run();
    assert!(ran.stderr.starts_with("retryrun: goes on with run "), "{}", ran.stderr);
    let history = ran.history();
    assert_eq!(attempts(&history), "first lost, resumed exit 4");
    assert_eq!((ran.code(), history.outcome), (Some(4), Some(Outcome::Exhausted)));
    assert_eq!(history.attempts[0].trigger, Trigger::First);
    assert_eq!(home.show("x").attempts, history.attempts);
}

#[test]
fn the_rest_of_a_wait_is_waited() {
    let home = Home::new();
    let running = home.run(&["-n1", "-d1000", "--max-delay=1000"], "exit 3").start();
    home.wait_for("x", "waiting");
    let due = home.listed("x")["next_attempt_at"].clone();
    kill(running);
    let dead = home.listed("x");
    assert_eq!((dead["state"].as_str(), &dead["next_attempt_at"]), (Some("dead"), &due));
    let running = home.run(&[], "exit 3").start();
    home.wait_for("x", "waiting");
    assert_eq!(home.listed("x")["next_attempt_at"], due);
    assert_eq!(home.listed("x")["pid"], running.pid().as_raw_nonzero().get());
    // Its moment has come while nobody was there.
    kill(running);
    home.comes_due("x");
    let ran = home.run(&[], "exit 4").run();
    assert_eq!(attempts(&ran.history()), "first exit 3, resumed exit 4");
}

#[test]
fn journals_of_version_1_are_gone_on_with() {
    let cases = [
        ("waiting", include_str!("../data/journals/waiting"), "first exit 3, resumed exit 0"),
        ("attempt", include_str!("../data/journals/attempt"), "first lost"),
        ("starting", include_str!("../data/journals/starting"), "first lost"),
        ("resumed", include_str!("../data/journals/resumed"), "first lost, resumed exit 0"),
        (
            "words",
            include_str!("../data/journals/words"),
            "first timed out, retry exit 7, retry exit 7, resumed exit 0",
        ),
        (
            "condensed",
            include_str!("../data/journals/condensed"),
            "first exit 1, retry exit 1, retry lost",
        ),
        ("ended", include_str!("../data/journals/ended"), "first exit 0"),
    ];
    for (name, journal, expected) in cases {
        let home = Home::new();
        home.put(name, journal);
        let state = if name == "ended" { "ended" } else { "dead" };
        assert_eq!(home.standing(name), state);
        let ran = home.named(name, &["--history=always", "-n9"], "exit 0").run();
        assert_eq!(attempts(&ran.history()), expected, "{}", ran.stderr);
        // The deadline of a day was long ago, or there were more retries than are allowed now.
        let status = if expected.ends_with("lost") { 125 } else { 0 };
        assert_eq!(ran.code(), Some(status), "{name}: {}", ran.stderr);
    }
}

#[test]
fn of_a_damaged_journal_what_is_whole_counts() {
    let home = Home::new();
    let journal = include_str!("../data/journals/waiting");
    let damaged: Vec<&str> = journal.lines().collect();
    let (last, before) = damaged.split_last().expect("it has lines");
    // A line that says nothing, and a last one that is not whole.
    home.put("x", &format!("{}\n\0\0\0\0\n{last}\n{{\"v\":1,\"star", before.join("\n")));
    let ran = home.run(&[], "exit 0").run();
    let said = "retryrun: the journal of x is damaged: 1 line of it count for nothing";
    assert_eq!(ran.lines().first(), Some(&said), "{}", ran.stderr);
    assert_eq!(attempts(&home.show("x")), "first exit 3, resumed exit 0");
    let journal = fs::read_to_string(home.state("x", "journal")).expect("it is there");
    assert!(!journal.contains("\"star{") && journal.ends_with("}\n"), "{journal}");
}

#[test]
fn without_the_record_of_its_start_a_run_goes_on() {
    let home = Home::new();
    let running = home.run(&["-n3", "-d1000"], "exit 3").start();
    home.wait_for("x", "waiting");
    let whole = home.show("x");
    kill(running);
    let journal = fs::read_to_string(home.state("x", "journal")).expect("it is there");
    let lines: Vec<&str> = journal.lines().collect();
    assert!(lines[1].contains("run_started"), "{journal}");
    home.put("x", &format!("{}\n\0\0\0\n{}\n", lines[0], lines[2..].join("\n")));
    let shown = home.show("x");
    assert_eq!(
        (shown.run_id, shown.job, shown.attempts),
        (whole.run_id, whole.job, whole.attempts)
    );
    assert!(shown.command.is_empty(), "it is not known");
    let listed = home.call(["--jobs"]).run();
    assert!(listed.stdout.contains("dead") && listed.stderr.is_empty(), "{}", listed.stdout);
    home.comes_due("x");
    let ran = home.run(&["--delays=0"], "exit 3").run();
    assert_eq!(
        attempts(&ran.history()),
        "first exit 3, resumed exit 3, retry exit 3, retry exit 3"
    );
    let said = "retryrun: the journal of x is damaged: 1 line of it count for nothing";
    assert_eq!(ran.lines().first(), Some(&said), "{}", ran.stderr);
    assert!(!ran.stderr.contains("changed"), "{}", ran.stderr);
    assert_eq!(ran.history().command, ["bash", "-c", "exit 3"]);
    // And so it can be shown, and run again.
    assert_eq!(attempts(&home.show("x")), attempts(&ran.history()));
    assert_eq!(home.ask("--rerun-job", "x").code(), Some(3));
}

#[test]
fn what_earlier_calls_said_counts_for_nothing_where_it_cannot_be_read() {
    let home = Home::new();
    let running = home.run(&["-n3", "-d1000", "--backoff=constant"], "exit 3").start();
    home.wait_for("x", "waiting");
    kill(running);
    let journal = fs::read_to_string(home.state("x", "journal")).expect("it is there");
    home.put("x", &journal.replacen("--backoff=constant", "--backoff=conspant", 1));
    home.comes_due("x");
    let ran = home.run(&["-n1", "-d0"], "exit 3").run();
    let said = "retryrun: what earlier calls of this run said counts for nothing: --backoff <SHAPE>: invalid value `conspant`";
    assert!(ran.lines()[0].starts_with(said), "{}", ran.stderr);
    assert_eq!(attempts(&ran.history()), "first exit 3, resumed exit 3");
    let ran = home.ask("--rerun-job", "x");
    let said = "retryrun: --rerun-job: the journal of x does not say what was called: --backoff";
    assert!(ran.code() == Some(125) && ran.stderr.starts_with(said), "{}", ran.stderr);
}

#[test]
fn the_state_of_many_attempts_stays_small_and_says_all_counts() {
    let home = Home::new();
    let script = "printf '%4000s' x >&2; [ $RETRYRUN_ATTEMPT = 330 ] && kill -9 $PPID; exit 3";
    let options = ["-n400", "-d0", "-q", "--tail=4K"];
    let ran = home.run(&options, script).run();
    assert_eq!(ran.signal(), Some(libc::SIGKILL), "{}", ran.stderr);
    let state = fs::read_to_string(home.state("x", "journal")).expect("it is there");
    assert!(state.contains("\"condensed\"") && state.len() < 330 * 4000, "{} bytes", state.len());
    assert_eq!(home.listed("x")["retry_count"], 329);
    let ran = home.run(&["--history=always"], "exit 0").run();
    let history = ran.history();
    assert_eq!((history.last_number(), history.retry_count), (331, 330), "{}", ran.stderr);
    assert_eq!((history.attempts.len(), history.attempts_omitted), (110, 221));
    assert_eq!(home.show("x"), history);
}

#[test]
fn a_journal_that_says_nothing_is_set_aside_and_named() {
    let home = Home::new();
    for count in 1..=2 {
        home.put("x", "no journal");
        let listed = home.call(["--jobs"]).run();
        assert_eq!(listed.stderr, "retryrun: the journal of x says nothing\n");
        assert_eq!(home.ask("--show-job", "x").code(), Some(125));
        let ran = home.run(&[], "exit 0").run();
        let aside = home.state("x", &format!("journal.damaged-{count}"));
        let said =
            format!("retryrun: the journal of x says nothing: it is now {}\n", aside.display());
        assert_eq!((ran.code(), ran.stderr), (Some(0), said));
        assert_eq!(fs::read_to_string(aside).ok().as_deref(), Some("no journal"));
        assert_eq!(attempts(&home.show("x")), "first exit 0");
    }
}

#[test]
fn a_journal_of_a_later_version_is_left_alone() {
    let home = Home::new();
    let journal = include_str!("../data/journals/waiting").replace("{\"v\":1,", "{\"v\":2,");
    home.put("x", &journal);
    for ran in [home.run(&[], "echo ran").run(), home.ask("--show-job", "x")] {
        let said = "retryrun: cannot use the state of the run x: it was written by a later version of retryrun\n";
        assert_eq!((ran.code(), ran.stdout.as_str(), ran.stderr.as_str()), (Some(125), "", said));
    }
    assert_eq!(fs::read_to_string(home.state("x", "journal")).ok(), Some(journal));
    let fresh = home.run(&["--fresh"], "echo ran").run();
    assert_eq!((fresh.code(), fresh.stdout.as_str()), (Some(0), "ran\n"));
}

#[test]
fn a_disk_that_is_full_is_said_once_and_the_run_goes_on() {
    let home = Home::new();
    // Room for the start, and not for the attempts.
    let ran = limited(home.run(&["-n2", "-d0"], "exit 3"), libc::RLIMIT_FSIZE, 1100).run();
    let said = "retryrun: cannot write the state of the run: File too large";
    assert_eq!(ran.lines().iter().filter(|line| **line == said).count(), 1, "{}", ran.stderr);
    assert_eq!((ran.code(), ran.history().last_number()), (Some(3), 3));
    // It has ended, and is not gone on with.
    assert_eq!(home.listed("x")["outcome"], "exhausted");
    let ran = home.run(&["-n0"], "exit 4").run();
    assert_eq!(attempts(&ran.history()), "first exit 4");
    // Without room for the start nothing is run.
    let ran = limited(home.named("y", &[], "echo ran"), libc::RLIMIT_FSIZE, 20).run();
    let said = "retryrun: cannot use the state of the run y: File too large\n";
    assert_eq!((ran.code(), ran.stdout.as_str(), ran.stderr.as_str()), (Some(125), "", said));
    assert_eq!(home.standing("y"), "");
}

#[test]
fn a_disk_that_has_room_again_learns_all() {
    if !rustix::process::geteuid().is_root() {
        return say("skipped: only root can mount a file system");
    }
    let home = Home::new();
    // A file system of its own, which the run fills and frees.
    let script = format!(
        "mount -t tmpfs -o size=64k,mode=700 none . && cd $PWD && export XDG_STATE_HOME=$PWD &&
         '{RETRYRUN}' --job x -n3 -d0 --tail=4KiB --history=never -- bash -c '
             case $RETRYRUN_ATTEMPT in
             1) head -c 1000000 /dev/zero >filler;;
             3) rm filler;;
             esac 2>/dev/null
             printf %03000d 0 >&2
             exit 3'
         '{RETRYRUN}' --show-job x"
    );
    let ran = Test::of("unshare", ["-m", "bash", "-c", &script])
        .env("PATH", path())
        .with(|command| {
            command.current_dir(home.file("."));
        })
        .run();
    if ran.stderr.contains("unshare: ") || ran.stderr.contains("mount: ") {
        return say("skipped: no file system can be mounted here");
    }
    let said = "retryrun: cannot write the state of the run: No space left on device";
    assert_eq!(ran.stderr.matches(said).count(), 1, "{}", ran.stderr);
    let history: History =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!(attempts(&history), "first exit 3, retry exit 3, retry exit 3, retry exit 3");
    assert_eq!(history.outcome, Some(Outcome::Exhausted));
}

#[test]
fn the_journal_of_a_run_that_writes_at_once_is_whole_lines() {
    let home = Home::new();
    let mut running = home.run(&["-n50", "-d0", "-q"], "exit 3").start();
    running.wait();
    let journal = fs::read_to_string(home.state("x", "journal")).expect("it is there");
    assert!(journal.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    // What somebody adds who should not is passed over.
    let mut file =
        File::options().append(true).open(home.state("x", "journal")).expect("it is ours");
    file.write_all(b"more\n").expect("it is written");
    assert_eq!(home.show("x").last_number(), 51);
}
