//! Whole trees of processes: where a command stands among them, how all of it is ended, and what may stay.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use retryrun::engine::event::{EndedBy, Outcome};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::init;
use crate::preload::{Moment, held};
use crate::test::{Process, RETRYRUN, Ran, Running, Test, actor, say, wait_until};

/// A signal for a run whose tree has told its pids, and then its end.
fn told(running: &mut Running) {
    running.signal(Signal::TERM);
    running.wait();
}

fn signal_of_the_attempt(ran: &Ran) -> Option<String> {
    ran.first_attempt().signal.map(|signal| signal.to_string())
}

#[test]
fn a_command_stands_where_it_is_asked_to() {
    let script = "echo $(cut -d' ' -f1,5,6 /proc/$$/stat) $(cut -d' ' -f1,5,6 /proc/$PPID/stat)";
    for option in ["auto", "inherit", "new", "session"] {
        let ran = Test::bash(&["--process-group", option], script).run();
        let ids: Vec<i32> =
            ran.stdout.split_whitespace().filter_map(|id| id.parse().ok()).collect();
        let [pid, group, session, _, our_group, our_session] = ids[..] else {
            panic!("{}", ran.stdout)
        };
        // Without a terminal `auto` is a group of its own.
        let expected = match option {
            "inherit" => (our_group, our_session),
            "session" => (pid, pid),
            _ => (pid, our_session),
        };
        assert_eq!((group, session), expected, "{option}");
        assert_ne!(pid, our_group);
    }
}

#[test]
fn a_leader_that_obeys_does_not_save_its_deaf_child() {
    for group in ["new", "inherit", "session"] {
        let script = "fork ignore=TERM pid=deaf sleep end pid=leader sleep";
        let mut running = Test::actor(&["-k0.3", "--process-group", group], script).start();
        let [deaf, leader] = running.pids(["deaf", "leader"]);
        told(&mut running);
        assert!(!deaf.lives() && !leader.lives(), "{group}");
        let ran = running.finish();
        assert_eq!(ran.signal(), Some(libc::SIGTERM));
        assert_eq!(signal_of_the_attempt(&ran).as_deref(), Some("SIGTERM"), "{group}");
    }
}

#[test]
fn what_left_the_group_or_the_session_is_ended_too() {
    let script = "fork session pid=session ignore=TERM sleep end fork fork session ignore=TERM pid=daemon sleep end end \
                  fork group ignore=TERM pid=group sleep end wait pid=leader sleep";
    let script = script.replace("wait ", "");
    let mut running = Test::actor(&["-k0.3"], &script).start();
    let processes = running.pids(["session", "daemon", "group", "leader"]);
    told(&mut running);
    for process in &processes {
        assert!(!process.lives(), "{process:?}");
    }
    assert_eq!(running.finish().signal(), Some(libc::SIGTERM));
}

#[test]
fn all_of_the_tree_can_obey() {
    let deaf_to_nothing = "exit-on=TERM:0 listen";
    let script =
        format!("fork session {deaf_to_nothing} end fork {deaf_to_nothing} end {deaf_to_nothing}");
    let mut running = Test::actor(&["-k", "1h"], &script).start();
    for _ in 0..3 {
        assert_eq!(running.stdout_line(), "listening\n");
    }
    running.signal(Signal::TERM);
    let ran = running.finish();
    assert_eq!(ran.stdout.matches("TERM\n").count(), 3, "{:?} {}", ran.stdout, ran.stderr);
}

#[test]
fn all_of_the_tree_can_obey_before_we_know_that_it_runs() {
    let deaf_to_nothing = "exit-on=TERM:0 listen";
    let script =
        format!("fork {deaf_to_nothing} end fork session {deaf_to_nothing} end {deaf_to_nothing}");
    for group in ["new", "session", "inherit"] {
        let test = Test::actor(&["-k", "1h", "--process-group", group], &script);
        let (test, forked, go) = held(test, Moment::Forked);
        let mut running = test.start();
        wait_until("its process is there", || forked.exists());
        let us = Process::of(running.pid().as_raw_nonzero().get());
        running.signal(Signal::STOP);
        us.wait_for_state("T");
        fs::write(go, "").expect("a file");
        for _ in 0..3 {
            assert_eq!(running.stdout_line(), "listening\n");
        }
        running.signal(Signal::TERM);
        running.signal(Signal::CONT);
        let ran = running.finish();
        assert_eq!(ran.stdout.matches("TERM\n").count(), 3, "{:?} {}", ran.stdout, ran.stderr);
    }
}

#[test]
fn what_is_stopped_is_continued_to_obey() {
    let script = "fork session pid=away stop end fork pid=near stop end pid=leader stop";
    let mut running = Test::actor(&["-k", "1h"], script).start();
    let processes = running.pids(["away", "near", "leader"]);
    processes.iter().for_each(|process| process.wait_for_state("T"));
    told(&mut running);
    assert!(processes.iter().all(|process| !process.lives()));
}

#[test]
fn a_timeout_ends_the_tree_before_the_next_attempt() {
    let script = "fork session ignore=TERM pid=deaf close=1 close=2 sleep end sleep";
    let options = ["-n1", "-d0", "-t2", "-k0.3", "--leftovers=keep"];
    let mut running = Test::actor(&options, script).start();
    let [first] = running.pids(["deaf"]);
    let [second] = running.pids(["deaf"]);
    assert!(!first.lives());
    running.wait();
    assert!(!second.lives());
    let ran = running.finish();
    assert_eq!(ran.code(), Some(124));
    assert!(ran.history().attempts.iter().all(|attempt| attempt.leftovers == 0));
}

#[test]
fn a_daemon_that_forks_for_ever_is_caught() {
    for place in ["", "session", "group"] {
        let script = format!("fork {place} ignore=TERM refork end touch=up sleep");
        let test = Test::actor(&["-k0.2"], &script);
        let up = test.path("up");
        let mut running = test.start();
        wait_until("it forks", || up.exists());
        told(&mut running);
        // Each of them holds the output: it ends only with the last.
        let ran = running.finish();
        assert_eq!(ran.signal(), Some(libc::SIGTERM), "{place} {}", ran.stderr);
        assert!(!ran.stderr.contains("cannot be killed"), "{place} {}", ran.stderr);
        let elapsed = ran.first_attempt().elapsed.expect("it ended");
        // By itself it would end after ten seconds.
        assert!(elapsed.as_secs() < 5, "{place} {elapsed:?}");
    }
}

/// Two attempts that leave a process in their session, and one that left it.
fn leave(options: &[&str]) -> (Ran, [[bool; 2]; 2]) {
    let script = "fork pid=near close=1 close=2 touch=near sleep end \
                  fork session pid=away close=1 close=2 touch=away sleep end await=near await=away exit=1";
    let mut running = Test::actor(&[&["-n1", "-d0"], options].concat(), script).start();
    let attempts = [running.pids(["near", "away"]), running.pids(["near", "away"])];
    running.wait();
    let lives = attempts.each_ref().map(|processes| processes.each_ref().map(Process::lives));
    (running.finish(), lives)
}

#[test]
fn leftovers_end_before_the_next_attempt_and_stay_after_the_last() {
    let (ran, lives) = leave(&[]);
    assert_eq!(lives, [[false, true], [true, true]]);
    assert_eq!(ran.code(), Some(1));
    let counts: Vec<u64> = ran.history().attempts.iter().map(|attempt| attempt.leftovers).collect();
    assert_eq!(counts, [2, 2]);
}

#[test]
fn leftovers_stay_if_they_are_to() {
    let (ran, lives) = leave(&["--leftovers=keep"]);
    assert_eq!(lives, [[true; 2]; 2]);
    assert_eq!(ran.first_attempt().leftovers, 2);
}

#[test]
fn leftovers_can_obey_the_stop_signal() {
    let options = ["-n0", "--leftovers=kill", "--stop-signal=USR1"];
    let script = "fork pid=left exit-on=USR1:0 listen end await=go exit=1";
    // Also one that is stopped.
    for stops in [false, true] {
        let test = Test::actor(&options, script);
        let go = test.path("go");
        let mut running = test.start();
        let [left] = running.pids(["left"]);
        assert_eq!(running.stdout_line(), "listening\n");
        if stops {
            kill_process(Pid::from_raw(left.pid).expect("a pid"), Signal::STOP).expect("it lives");
            left.wait_for_state("T");
        }
        fs::write(go, "").expect("a file");
        let ran = running.finish();
        assert_eq!((ran.code(), ran.stdout.as_str()), (Some(1), "USR1\n"), "{stops}");
    }
}

#[test]
fn what_ends_in_a_wait_is_reaped_in_it() {
    let script = "fork session pid=left close=1 close=2 touch=up await=end end await=up exit=1";
    let test = Test::actor(&["-d", "1000", "--max-delay=1h"], script);
    let end = test.path("end");
    let mut running = test.start();
    let [left] = running.pids(["left"]);
    running.stderr_with("next in");
    assert!(left.lives());
    fs::write(end, "").expect("a file");
    let entry = PathBuf::from(format!("/proc/{}", left.pid));
    wait_until("not even a zombie is left", || !entry.exists());
}

#[test]
fn leftovers_end_all_and_always_if_they_are_to() {
    let (ran, lives) = leave(&["--leftovers=kill"]);
    assert_eq!(lives, [[false; 2]; 2]);
    assert_eq!(ran.code(), Some(1));
}

#[test]
fn leftovers_of_a_session_of_its_own_are_known_by_it() {
    let (_, lives) = leave(&["--process-group=session"]);
    assert_eq!(lives, [[false, true], [true, true]]);
}

#[test]
fn leftovers_that_are_deaf_are_killed_also_under_a_parent_that_stays() {
    // The dead one is a zombie of its parent, which left the session and does not look after it.
    let script = "fork fork pid=deaf ignore=TERM close=1 close=2 touch=deaf sleep end session pid=parent close=1 close=2 \
                  touch=parent sleep end await=deaf await=parent exit=1";
    let mut running = Test::actor(&["-n1", "-d0"], script).start();
    let [deaf, parent] = running.pids(["deaf", "parent"]);
    let [_second_deaf, _second_parent] = running.pids(["deaf", "parent"]);
    assert!(!deaf.lives() && parent.lives());
    running.wait();
    let ran = running.finish();
    assert_eq!((ran.code(), ran.history().attempts.len()), (Some(1), 2), "{}", ran.stderr);
}

#[test]
fn what_was_our_child_before_is_never_touched() {
    let script = "\"$1\" pid=before close=1 close=2 sleep & shift; exec \"$@\"";
    let attempt = ["pid=leader", "fork", "ignore=TERM", "pid=ours", "sleep", "end", "sleep"];
    let actor = actor();
    let options = ["-n1", "-d0", "-t1", "-k0.1", "--leftovers=kill", "--", &actor];
    let words = ["-c", script, "bash", &actor, RETRYRUN];
    let words = [&words[..], &options, &attempt].concat();
    let mut running = Test::of("bash", words).start();
    let [before, ours, leader] = running.pids(["before", "ours", "leader"]);
    running.wait();
    assert_eq!((before.lives(), ours.lives(), leader.lives()), (true, false, false));
    let ran = running.finish();
    assert_eq!(ran.code(), Some(124), "{}", ran.stderr);
    assert!(ran.history().attempts.iter().all(|attempt| attempt.leftovers == 0));
}

/// A mount of control groups of version 2 that groups can be made in: the system's, or one that is seen only by a process of ours,
/// and reached through it.
struct Cgroups {
    mount: PathBuf,
    _holder: Option<Holder>,
}

/// Ends with its stdin.
struct Holder {
    child: Child,
    _folder: TempDir,
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _already_ended = self.child.kill();
        let _already_reaped = self.child.wait();
    }
}

/// Says so where there are none.
fn cgroups() -> Option<Cgroups> {
    let found = of_the_system().or_else(of_our_own);
    if found.is_none() {
        say("skipped: there is no cgroup2 mount that can be written, and none may be made");
    }
    found
}

fn of_the_system() -> Option<Cgroups> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("it can be read");
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let place = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(place))
    });
    mount.filter(|mount| takes_groups(mount)).map(|mount| Cgroups { mount, _holder: None })
}

fn of_our_own() -> Option<Cgroups> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new("unshare")
        .args(["--mount", "sh", "-c", "mount -t cgroup2 none \"$0\" && echo up && read end"])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare runs");
    let stdout = child.stdout.take().expect("it was made a pipe");
    let inside = folder.path().strip_prefix("/").expect("it is absolute");
    let mount = Path::new("/proc").join(child.id().to_string()).join("root").join(inside);
    let holder = Holder { child, _folder: folder };
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("it can be read");
    let is_usable = line == "up\n" && takes_groups(&mount);
    is_usable.then_some(Cgroups { mount, _holder: Some(holder) })
}

fn takes_groups(mount: &Path) -> bool {
    let probe = mount.join(format!("retryrun-test-{}", std::process::id()));
    fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)).is_ok()
}

/// A control group for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(parent: &Path, name: &str) -> Folder {
        let folder = parent.join(format!("retryrun-test-{}-{name}", std::process::id()));
        fs::create_dir(&folder).expect("a group");
        Folder(folder)
    }

    fn text(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }

    fn groups(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for (file, text) in
            [("cgroup.freeze", "0"), ("freezer.state", "THAWED"), ("cgroup.kill", "1")]
        {
            let path = self.0.join(file);
            if path.exists() {
                let _nobody_is_in_it = fs::write(path, text);
            }
        }
        for _ in 0..400 {
            self.groups().iter().for_each(|group| drop(fs::remove_dir(group)));
            if fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

#[test]
fn a_cgroup_holds_the_command_alone_and_is_removed() {
    let Some(cgroups) = cgroups() else { return };
    let folder = Folder::new(&cgroups.mount, "alone");
    let script = "cat /proc/self/cgroup /proc/$PPID/cgroup; exit 1";
    let ran = Test::bash(&["-n1", "-d0", "--cgroup", folder.text()], script).run();
    let name = |attempt| format!("/retryrun-{}-{attempt}\n", ran.history().run_id);
    for attempt in 1..=2 {
        assert_eq!(ran.stdout.matches(&name(attempt)).count(), 1, "{}", ran.stdout);
    }
    assert_eq!(folder.groups(), Vec::<PathBuf>::new());
}

#[test]
fn a_cgroup_that_was_not_empty_is_removed_later() {
    let Some(cgroups) = cgroups() else { return };
    // Before the last attempt, and after it.
    for last in [2, 3] {
        let folder = Folder::new(&cgroups.mount, "later");
        // It has left the session, so that it lives on.
        let daemon = "setsid bash -c 'echo $$ >left; until [ -e go ]; do sleep 0.01; done' &";
        let script = format!(
            "case $RETRYRUN_ATTEMPT in 1) {daemon} until [ -s left ]; do sleep 0.01; done;; \
             {last}) ls -d \"$0\"/*-1; touch go; while kill -0 $(cat left); do sleep 0.01; done;; \
             3) ls -d \"$0\"/*-1;; esac; exit 1"
        );
        let options = ["-n2", "-d0", "--cgroup", folder.text(), "--", "bash", "-c", &script];
        let ran = Test::new(options.into_iter().chain([folder.text()])).run();
        assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
        assert_eq!(folder.groups(), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_cgroup_is_killed_as_a_whole() {
    let Some(cgroups) = cgroups() else { return };
    let folder = Folder::new(&cgroups.mount, "whole");
    let script = "fork session ignore=TERM pid=deaf sleep end fork refork end pid=leader sleep";
    let mut running = Test::actor(&["-k0.2", "--cgroup", folder.text()], script).start();
    let [deaf, leader] = running.pids(["deaf", "leader"]);
    told(&mut running);
    assert!(!deaf.lives() && !leader.lives());
    assert_eq!(running.finish().signal(), Some(libc::SIGTERM));
    assert_eq!(folder.groups(), Vec::<PathBuf>::new());
}

#[test]
fn a_cgroup_is_killed_with_what_we_cannot_see() {
    let Some(cgroups) = cgroups() else { return };
    let folder = Folder::new(&cgroups.mount, "unseen");
    // Ours is process 1 of a namespace, and somebody puts a process of another one into the group.
    let inside = tempfile::tempdir().expect("a folder");
    let place = |name: &OsStr| {
        inside.path().join(name).into_os_string().into_string().expect("the path is text")
    };
    let name = folder.0.file_name().expect("it has a name");
    let (group, mount) = (place(name), place(OsStr::new("")));
    let script = "mount -t cgroup2 none \"$0\" && exec \"$@\"";
    let options = [RETRYRUN, "-k0", "--cgroup", &group, "--", &actor(), "say=up", "sleep"];
    let Some(test) = init::namespaced(&[&["sh", "-c", script, &mount], &options[..]].concat())
    else {
        return;
    };
    let mut running = test.start();
    assert_eq!(running.stdout_line(), "up\n");
    let mut stranger = Command::new(actor()).arg("sleep").spawn().expect("it runs");
    let guard = Process::of(i32::try_from(stranger.id()).expect("a pid"));
    let [group] = &folder.groups()[..] else { panic!("there is one attempt") };
    fs::write(group.join("cgroup.procs"), stranger.id().to_string()).expect("it enters");
    kill_process(init::outside(&running), Signal::TERM).expect("it runs");
    wait_until("the stranger is killed", || !guard.lives());
    stranger.wait().expect("it is our child");
    assert_eq!(running.finish().code(), Some(143));
}

#[test]
fn a_command_that_is_frozen_before_it_runs_is_ended_in_time() {
    let Some(cgroups) = cgroups() else { return };
    let folder = Folder::new(&cgroups.mount, "frozen");
    fs::write(folder.0.join("cgroup.freeze"), "1").expect("it freezes");
    let ran = Test::actor(&["-n0", "-t0.3", "-k0.2", "--cgroup", folder.text()], "say=never").run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(124), ""), "{}", ran.stderr);
    assert_eq!(folder.groups(), Vec::<PathBuf>::new());
}

#[test]
fn a_folder_that_takes_no_cgroups_is_an_error_before_anything_is_run() {
    for (folder, reason) in [
        ("/no/such", "No such file or directory"),
        ("/tmp", "it is no cgroup of version 2"),
        ("/dev/null", "Not a directory"),
    ] {
        let ran = Test::new(["--cgroup", folder, "echo", "ran"]).run();
        let message = format!("retryrun: --cgroup: cannot make cgroups in {folder}: {reason}\n");
        assert_eq!((ran.code(), ran.stdout, ran.stderr), (Some(125), String::new(), message));
    }
}

#[test]
fn a_cgroup_folder_that_vanished_is_named() {
    let Some(cgroups) = cgroups() else { return };
    let folder = Folder::new(&cgroups.mount, "vanished");
    // The first attempt leaves its own group and removes the folder.
    let (mount, folder_text) = (cgroups.mount.display(), folder.text());
    let script = format!(
        "echo $$ >{mount}/cgroup.procs; rmdir {folder_text}/*-1; rmdir {folder_text}; exit 1"
    );
    let ran = Test::bash(&["-n1", "-d0", "--cgroup", folder.text()], &script).run();
    assert_eq!(ran.code(), Some(126), "{}", ran.stderr);
    let error = ran.history().attempts[1].error.clone().unwrap_or_default();
    assert_eq!(error, "cannot run `bash`: cannot make its cgroup: No such file or directory");
}

/// That a run which could not kill something says so, and does not go on.
fn survived(ran: &Ran) {
    assert_eq!(ran.code(), Some(125), "{}", ran.stderr);
    let history = ran.history();
    assert_eq!((history.attempts.len(), history.exit_code), (1, Some(125)));
    assert_eq!(ran.first_attempt().leftovers, 1);
    assert!(history.message.unwrap_or_default().contains("cannot be killed"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_killed_is_recorded_and_ends_the_run() {
    let mount = Path::new("/sys/fs/cgroup/freezer");
    if !mount.join("cgroup.procs").exists() || fs::create_dir(mount.join("probe")).is_err() {
        return say("skipped: there is no freezer of version 1 to write");
    }
    fs::remove_dir(mount.join("probe")).expect("it is empty");
    let folder = Folder::new(mount, "freezer");
    let options = ["-n3", "-d0", "-t1", "-k0.1"];
    let mut running =
        Test::actor(&options, "fork session pid=frozen close=1 close=2 sleep end sleep").start();
    let [frozen] = running.pids(["frozen"]);
    fs::write(folder.0.join("cgroup.procs"), frozen.pid.to_string()).expect("it enters");
    fs::write(folder.0.join("freezer.state"), "FROZEN").expect("it freezes");
    running.wait();
    assert!(frozen.lives());
    let ran = running.finish();
    survived(&ran);
    assert_eq!(ran.first_attempt().ended_by, Some(EndedBy::Timeout));
    assert_eq!(ran.history().outcome, Some(Outcome::Permanent));
}

#[test]
fn what_belongs_to_somebody_else_is_recorded_and_ends_the_run() {
    if !rustix::process::geteuid().is_root() {
        return say("skipped: only root can start processes of others");
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("it is ours");
    let place = |name: &str| folder.path().join(name);
    crate::test::copy_program(RETRYRUN, place("retryrun"));
    crate::test::copy_program(actor(), place("actor"));
    fs::set_permissions(place("actor"), PermissionsExt::from_mode(0o4755)).expect("it is ours");
    let text = |name: &str| place(name).into_os_string().into_string().expect("text");
    let (retryrun, actor) = (text("retryrun"), text("actor"));
    let words =
        ["--reuid=65534", "--clear-groups", &retryrun, "-n3", "-d0", "-t1", "-k0.1", &actor];
    let script = ["fork", "root", "pid=root", "close=1", "close=2", "sleep", "end", "sleep"];
    let words = [&words[..], &script].concat();
    let mut running = Test::of("setpriv", words)
        .with(|command| {
            command.current_dir("/");
        })
        .start();
    let [root] = running.pids(["root"]);
    let status = fs::read_to_string(format!("/proc/{}/status", root.pid)).expect("it lives");
    assert!(status.contains("Uid:\t0\t0\t0\t0\n"), "{status}");
    running.wait();
    assert!(root.lives());
    let ran = running.finish();
    survived(&ran);
    assert!(ran.stderr.contains("cannot send SIGTERM to all processes"), "{}", ran.stderr);
}
