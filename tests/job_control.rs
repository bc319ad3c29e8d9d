//! We as a shell's job, on a real pseudo-terminal: keys, stops, foreground and background, and the end of the terminal.

use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

use crate::preload::{Moment, holding};
use crate::session::{Session, kill, members, stat, state, until};
use crate::test::{RETRYRUN, Test, actor, child_of};

const CTRL_C: &str = "\u{3}";
const CTRL_Z: &str = "\u{1a}";
const CTRL_BACKSLASH: &str = "\u{1c}";

/// A command that says who it is and then reads a line of the terminal.
const READER: &str = "bash -c 'echo \"up[$$]\"; read line; echo \"got $line\"'";

/// A command that says who it is and then waits for a file. It has no children: the kernel stops the processes of a group one after
/// the other, and a shell that sees the first one stopped may continue them all before the last one is.
const WAITER: &str = "python3 -c 'import os, sys, time
print(\"up[%d]\" % os.getpid(), flush=True)
while not os.path.exists(\"go\"): time.sleep(0.02)
print(\"gone\"); sys.exit(7)'";

/// A process's parent, group, session, terminal and its foreground group.
fn relations(pid: i32) -> [i32; 5] {
    let stat = stat(pid).expect("it lives");
    let numbers: Vec<i32> = stat.iter().skip(1).take(5).flat_map(|field| field.parse()).collect();
    numbers.try_into().expect("five numbers")
}

/// The group, and the terminal's foreground group.
fn group(pid: i32) -> (i32, i32) {
    let [_, group, _, _, foreground] = relations(pid);
    (group, foreground)
}

fn parent(pid: i32) -> i32 {
    let [parent, ..] = relations(pid);
    parent
}

#[test]
fn ctrl_z_stops_both_and_fg_resumes_both() {
    let mut shell = Session::shell();
    shell.line(&format!("$R {READER}; echo \"status[$?]\""));
    let command = shell.number_after("up");
    let us = parent(command);
    shell.press(CTRL_Z);
    shell.wait_for("Stopped");
    until("both have stopped", || state(us) == "T" && state(command) == "T");
    shell.line("jobs");
    shell.wait_for("Stopped");
    shell.line("fg");
    until("it goes on", || state(us) != "T" && state(command) != "T");
    shell.line("hello");
    shell.wait_for("got hello");
}

#[test]
fn bg_lets_both_go_on_behind_the_prompt() {
    let mut shell = Session::shell();
    shell.line(&format!("$R -n0 --history=never {WAITER}"));
    let command = shell.number_after("up");
    let us = parent(command);
    shell.press(CTRL_Z);
    shell.wait_for("Stopped");
    until("both have stopped", || state(us) == "T" && state(command) == "T");
    shell.line("bg; touch go; wait %1; echo \"status[$?]\"");
    shell.wait_for("gone");
    assert_eq!(shell.number_after("status"), 7);
}

#[test]
fn a_background_job_that_reads_the_terminal_stops_until_it_is_in_the_foreground() {
    let mut shell = Session::shell();
    shell.line(&format!("$R {READER} &"));
    let command = shell.number_after("up");
    until("both have stopped", || state(command) == "T" && state(parent(command)) == "T");
    shell.line("jobs");
    shell.wait_for("Stopped");
    shell.line("fg");
    until("it goes on", || state(command) != "T");
    shell.line("hello");
    shell.wait_for("got hello");
}

#[test]
fn we_stop_with_a_command_that_stops_itself_and_both_go_on() {
    for signal in ["STOP", "TSTP", "TTIN", "TTOU"] {
        let mut shell = Session::shell();
        shell.line(&format!(
            "$R bash -c 'echo \"up[$$]\"; kill -{signal} $$; read line; echo \"got $line\"'"
        ));
        let command = shell.number_after("up");
        shell.wait_for("Stopped");
        until("both have stopped", || state(command) == "T" && state(parent(command)) == "T");
        shell.line("fg");
        until("it goes on", || state(command) != "T");
        shell.line("hello");
        shell.wait_for("got hello");
    }
}

#[test]
fn where_no_shell_could_continue_us_nothing_stops_us() {
    for signal in ["STOP", "TSTP", "TTIN"] {
        let script = format!("kill -{signal} $$; read line; echo \"got $line\"");
        let mut session = Session::start(&[RETRYRUN, "--", "bash", "-c", &script]);
        session.line("hello");
        session.wait_for("got hello");
        assert!(session.finish().0.success());
    }
    let script = "echo up; read line; echo \"got $line\"";
    let mut session = Session::start(&[RETRYRUN, "--", "bash", "-c", script]);
    session.wait_for("up");
    session.press(CTRL_Z);
    session.line("hello");
    session.wait_for("got hello");
    assert!(session.finish().0.success());
}

#[test]
fn a_stop_from_elsewhere_stops_the_command_with_us() {
    let mut shell = Session::shell();
    shell.line(&format!("$R {WAITER}"));
    let command = shell.number_after("up");
    let us = parent(command);
    kill(us, libc::SIGTSTP);
    shell.wait_for("Stopped");
    until("both have stopped", || state(command) == "T" && state(us) == "T");
    kill(us, libc::SIGCONT);
    until("both go on", || state(command) != "T" && state(us) != "T");
}

#[test]
fn the_clock_of_a_timeout_stands_still_while_ctrl_z_stops_us() {
    let mut shell = Session::shell();
    shell.line(&format!("$R -n0 -t4 {READER}; echo \"status[$?]\""));
    let command = shell.number_after("up");
    shell.press(CTRL_Z);
    shell.wait_for("Stopped");
    sleep(Duration::from_millis(4500));
    shell.line("fg");
    until("it goes on", || state(command) != "T");
    shell.line("hello");
    shell.wait_for("got hello");
}

#[test]
fn the_clock_of_a_timeout_goes_on_while_sigstop_stops_us_and_the_grace_begins_after_it() {
    let script =
        "trap 'sleep 0.3; echo cleaned; exit 5' TERM; echo up; while :; do sleep 0.02; done";
    let mut running = Test::bash(&["-n0", "-t1", "-k1.5"], script).start();
    running.stdout_line();
    running.signal(rustix::process::Signal::STOP);
    // Longer than the limit and its grace.
    sleep(Duration::from_secs(3));
    running.signal(rustix::process::Signal::CONT);
    let ran = running.finish();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(124), "cleaned\n"), "{}", ran.stderr);
    assert_eq!(ran.history().attempts[0].exit_code, Some(5));
}

#[test]
fn a_signal_to_the_whole_job_is_answered_once_by_the_command() {
    let mut shell = Session::shell();
    // A second one would interrupt the answer to the first.
    let script = "import os, signal, time\n\
        def answer(*_): os.write(1, b\"caught\\n\"); time.sleep(0.005); os._exit(7)\n\
        signal.signal(15, answer); os.write(1, b\"up[%d]\\n\" % os.getpid())\n\
        while True: time.sleep(0.02)\n";
    std::fs::write(shell.path("command"), script).expect("a file");
    shell.line("$R -q --history=never /usr/bin/python3 command");
    let command = shell.number_after("up");
    kill(-group(command).0, libc::SIGTERM);
    shell.line("echo \"status[$?]\"");
    assert_eq!(shell.number_after("status"), 7);
    assert_eq!(shell.screen().matches("caught").count(), 1, "{}", shell.screen());
}

#[test]
fn a_signal_to_us_alone_reaches_the_command() {
    let mut shell = Session::shell();
    shell.line("$R -q --history=never bash -c 'trap \"echo caught; exit 7\" TERM; echo \"up[$$]\"; while :; do sleep 0.02; done'");
    let command = shell.number_after("up");
    kill(parent(command), libc::SIGTERM);
    shell.line("echo \"status[$?]\"");
    assert_eq!(shell.number_after("status"), 7);
    assert_eq!(shell.screen().matches("caught").count(), 1, "{}", shell.screen());
}

#[test]
fn a_repl_lives_through_ctrl_c_and_its_status_is_ours_without_a_retry() {
    for (end, status) in [("exit()", 0), ("import sys; sys.exit(3)", 3)] {
        let mut shell = Session::shell();
        // A grace would have killed it before it is told to end.
        shell.line("$R -k0.2 -d0 /usr/bin/python3 -q -i -c 'print(\"up\")'; echo \"status[$?]\"");
        shell.wait_for(">>> ");
        for count in 1..=2 {
            // Python notices one that comes just before it waits for keys only at the next key, and of two at once but one.
            while shell.screen().matches("KeyboardInterrupt").count() < count {
                shell.press(CTRL_C);
                shell.line("");
                shell.wait_for(">>> ");
            }
        }
        sleep(Duration::from_millis(500));
        shell.line("print('still' + ' here')");
        shell.wait_for("still here");
        shell.line(end);
        assert_eq!(shell.number_after("status"), status);
        assert_eq!(shell.screen().matches("up\r\n").count(), 1, "{}", shell.screen());
    }
}

#[test]
fn ctrl_c_twice_ends_a_command_that_goes_on_once() {
    let mut shell = Session::shell();
    let script = "import os, signal, time\n\
        def first(*_): signal.signal(2, signal.SIG_DFL); os.write(1, b\"once\\n\")\n\
        signal.signal(2, first); os.write(1, b\"up\\n\")\n\
        while True: time.sleep(0.02)\n";
    std::fs::write(shell.path("command"), script).expect("a file");
    shell.line("$R /usr/bin/python3 command; echo \"status[$?]\"");
    shell.wait_for("up");
    shell.press(CTRL_C);
    shell.wait_for("once");
    shell.press(CTRL_C);
    // The shell gives the whole line up, as without us.
    shell.line("echo \"later[$?]\"");
    let later = shell.number_after("later");
    assert_eq!(later, 130, "{}", shell.screen());
    assert!(!shell.screen().contains("status["), "{}", shell.screen());
}

#[test]
fn ctrl_backslash_ends_both() {
    let script = "$R dash -c 'ulimit -c 0; echo up; exec sleep 1000'; echo \"status[$?]\"";
    let mut session = Session::script(&format!("trap : QUIT; {script}"));
    session.wait_for("up");
    session.press(CTRL_BACKSLASH);
    assert_eq!(session.number_after("status"), 131);
    assert!(session.finish().1.contains("interrupted by SIGQUIT"));
}

#[test]
fn ctrl_c_in_a_wait_ends_us_and_the_script_around_us() {
    let mut session = Session::script("$R -d1000 false; echo went on");
    session.wait_for("next in");
    session.press(CTRL_C);
    let (status, screen) = session.finish();
    assert_eq!(status.signal(), Some(libc::SIGINT), "{screen}");
    assert!(!screen.contains("went on"), "{screen}");
}

#[test]
fn a_script_around_us_answers_ctrl_c_in_its_own_way() {
    let script =
        "trap 'echo mine; exit 9' INT; $R bash -c 'echo up; exec sleep 1000'; echo went on";
    let mut session = Session::script(script);
    session.wait_for("up");
    session.press(CTRL_C);
    let (status, screen) = session.finish();
    assert_eq!(status.code(), Some(9), "{screen}");
    assert!(screen.contains("mine") && !screen.contains("went on"), "{screen}");
}

#[test]
fn ctrl_z_in_a_wait_stops_us_and_fg_resumes_the_wait() {
    let mut shell = Session::shell();
    shell.line("$R -d1000 bash -c 'echo \"up[$PPID]\"; false'");
    let us = shell.number_after("up");
    shell.wait_for("next in");
    shell.press(CTRL_Z);
    shell.wait_for("Stopped");
    assert_eq!(state(us), "T");
    shell.line("fg");
    until("it goes on", || state(us) != "T");
    shell.press(CTRL_C);
    shell.wait_for("interrupted by SIGINT");
}

#[test]
fn nothing_is_left_when_the_terminal_goes_away() {
    let deaf = "trap '' HUP; sleep 1000 & echo up; while :; do sleep 0.02; done";
    let obedient = "sleep 1000 & echo up; sleep 1000";
    for script in [deaf, obedient] {
        let mut session = Session::start(&[RETRYRUN, "-k0.2", "--", "bash", "-c", script]);
        session.wait_for("up");
        session.hang_up();
        assert_eq!(session.wait().signal(), Some(libc::SIGHUP));
        let session = session.pid();
        until("all has ended", || members(session).is_empty());
    }
}

#[test]
fn nothing_is_left_of_a_shells_job_when_the_terminal_goes_away() {
    let mut shell = Session::shell();
    shell.line("$R -k0.2 bash -c 'trap \"\" HUP; echo up; while :; do sleep 0.02; done'");
    shell.wait_for("up");
    shell.hang_up();
    let session = shell.pid();
    until("all has ended", || members(session).iter().all(|pid| *pid == session));
}

#[test]
fn the_process_group_can_be_chosen() {
    let script = "echo \"up[$$]\"; while [ ! -e go ]; do sleep 0.02; done; : </dev/tty && echo tty";
    for (choice, own_group, own_session) in [
        ("auto", false, false),
        ("inherit", false, false),
        ("new", true, false),
        ("session", true, true),
    ] {
        let mut session = Session::start(&[
            RETRYRUN,
            "-n0",
            "--process-group",
            choice,
            "--",
            "bash",
            "-c",
            script,
        ]);
        let command = session.number_after("up");
        let us = session.pid();
        let (its_group, foreground) = group(command);
        assert_eq!(its_group == command, own_group, "{choice}");
        assert_eq!(members(us).contains(&command), !own_session, "{choice}");
        if !own_session {
            assert_eq!(foreground, us, "{choice}: the terminal is not handed over");
        }
        std::fs::write(session.path("go"), "").expect("a file");
        let (status, screen) = session.finish();
        assert_eq!(status.success(), !own_session, "{choice}: {screen}");
    }
}

#[test]
fn keys_reach_a_command_in_another_group_through_us() {
    for choice in ["new", "session"] {
        let mut shell = Session::shell();
        shell.line(&format!(
            "$R --process-group {choice} bash -c 'trap \"echo caught; exit 7\" INT; echo \"up[$$]\"; \
             while :; do sleep 0.02; done'"
        ));
        let command = shell.number_after("up");
        shell.press(CTRL_Z);
        shell.wait_for("Stopped");
        // Nobody could continue a session of its own, so that the kernel does not stop it.
        let stops = choice == "new";
        until("it has stopped", || !stops || state(command) == "T");
        shell.line("fg");
        until("it goes on", || state(command) != "T" && state(parent(command)) != "T");
        shell.press(CTRL_C);
        shell.wait_for("caught");
        shell.line("echo \"status[$?]\"");
        assert_eq!(shell.number_after("status"), 7, "{choice}");
    }
}

#[test]
fn keys_reach_all_of_another_group() {
    // The leader is deaf before its child listens, and waits for it.
    let script = "fork await=deaf exit-on=INT:0 listen end ignore=INT touch=deaf wait exit=7";
    let actor = actor();
    for choice in ["new", "session"] {
        let options = [RETRYRUN, "-n0", "--process-group", choice, "--", &actor];
        let words: Vec<&str> = options.into_iter().chain(script.split(' ')).collect();
        let mut session = Session::start(&words);
        session.wait_for("listening");
        session.press(CTRL_C);
        session.wait_for("INT\r\n");
        let (status, screen) = session.finish();
        assert_eq!(status.code(), Some(7), "{choice}: {screen}");
    }
}

#[test]
fn a_key_reaches_a_command_in_another_group_before_it_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let preload = format!("LD_PRELOAD={}", holding(folder.path(), Moment::Forked).display());
    for choice in ["new", "session"] {
        let options = ["env", &preload, RETRYRUN, "-n0", "--process-group", choice, "--"];
        let mut session = Session::start(&[&options[..], &[&actor(), "touch=ran"]].concat());
        until("its process is there", || session.path("moments").exists());
        let command = child_of(session.pid()).expect("it is there");
        session.press(CTRL_C);
        until("it has got it", || {
            let status = std::fs::read_to_string(format!("/proc/{command}/status"));
            status.expect("it lives").contains("ShdPnd:\t0000000000000002\n")
        });
        std::fs::write(session.path("go"), "").expect("a file");
        let status = session.wait();
        assert_eq!((status.signal(), session.path("ran").exists()), (Some(libc::SIGINT), false));
    }
}

/// A session whose program gets ready to make a process, and is held there.
fn about_to_make(moment: Moment, start: impl FnOnce(&str) -> Session) -> (Session, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let preload = format!("LD_PRELOAD={}", holding(folder.path(), moment).display());
    let session = start(&preload);
    until("it is about to be made", || session.path("moments").exists());
    (session, folder)
}

/// Whether a signal waits until a process lets it through.
fn is_pending(pid: i32, number: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:\t"));
    let pending = u64::from_str_radix(pending.expect("it is told"), 16).expect("a number");
    pending & (1 << (number - 1)) != 0
}

#[test]
fn a_key_that_comes_before_there_is_a_command_reaches_it() {
    for moment in [Moment::Ordered, Moment::Blocked] {
        let (mut session, _preload) = about_to_make(moment, |preload| {
            let words = ["env", preload, RETRYRUN, "-n9", "-d0", "--", &actor(), "sleep"];
            Session::start(&words)
        });
        session.press(CTRL_C);
        until("it has come", || is_pending(session.pid(), libc::SIGINT));
        std::fs::write(session.path("go"), "").expect("a file");
        assert_eq!(session.wait().signal(), Some(libc::SIGINT));
    }
}

#[test]
fn a_stop_that_comes_before_there_is_a_command_stops_it() {
    let (mut shell, _preload) = about_to_make(Moment::Blocked, |preload| {
        let mut shell = Session::shell();
        shell.line(&format!("env {preload} $R -n0 -- {} pid=command sleep", actor()));
        shell
    });
    let us = child_of(shell.pid()).expect("it is there");
    shell.press(CTRL_Z);
    until("it has come", || is_pending(us, libc::SIGTSTP));
    std::fs::write(shell.path("go"), "").expect("a file");
    shell.wait_for("Stopped");
    let command = child_of(us).expect("it is there");
    until("both have stopped", || state(us) == "T" && state(command) == "T");
    shell.line("fg");
    until("both go on", || state(us) != "T" && state(command) != "T");
    shell.press(CTRL_C);
    until("both have ended", || stat(us).is_none() && stat(command).is_none());
}

#[test]
fn a_terminal_that_goes_away_tells_the_command_in_place_of_us() {
    let script = "trap 'echo >told; exit 3' HUP; echo up; while :; do sleep 0.02; done";
    let mut session = Session::start(&[RETRYRUN, "-k1h", "--", "bash", "-c", script]);
    session.wait_for("up");
    session.hang_up();
    assert_eq!(session.wait().code(), Some(3));
    assert!(session.path("told").exists());
}

#[test]
fn a_signal_to_our_group_ends_also_what_a_quick_leader_leaves() {
    let deaf = "bash -c 'trap \"\" TERM HUP; echo deaf[$$]; while :; do sleep 0.02; done'";
    let script = format!("{deaf} & wait");
    let mut session = Session::start(&[RETRYRUN, "-k0.3", "--", "bash", "-c", &script]);
    let deaf = session.number_after("deaf");
    kill(-session.pid(), libc::SIGTERM);
    assert_eq!(session.wait().signal(), Some(libc::SIGTERM));
    assert!(stat(deaf).is_none_or(|_| state(deaf) == "Z"));
}

#[test]
fn a_process_that_continues_us_alone_continues_the_command() {
    let mut session =
        Session::start(&[RETRYRUN, "-n0", "--", &actor(), "exit-on=TERM:5", "listen"]);
    session.wait_for("listening");
    kill(session.pid(), libc::SIGCONT);
    session.wait_for("CONT");
    kill(session.pid(), libc::SIGTERM);
    assert_eq!(session.wait().code(), Some(5));
}

#[test]
fn a_stop_in_a_wait_is_forgotten_when_the_command_is_continued_later() {
    let mut shell = Session::shell();
    let listen = format!("exec {} exit-on=TERM:5 listen", actor());
    shell.line(&format!("$R -n1 -d1000 bash -c '[ $RETRYRUN_ATTEMPT = 1 ] && exit 1; {listen}'"));
    shell.wait_for("next in");
    let us = child_of(shell.pid()).expect("it is there");
    shell.press(CTRL_Z);
    shell.wait_for("Stopped");
    shell.line("fg");
    until("it goes on", || state(us) != "T");
    kill(us, libc::SIGUSR1);
    shell.wait_for("listening");
    kill(us, libc::SIGCONT);
    shell.wait_for("CONT");
    kill(us, libc::SIGTERM);
    until("it has ended", || stat(us).is_none());
}

#[test]
fn the_clock_of_a_timeout_stands_still_while_the_terminal_stops_us() {
    let mut shell = Session::shell();
    shell.line(&format!("$R -n0 -t4 {READER} &"));
    let command = shell.number_after("up");
    let us = parent(command);
    until("both have stopped", || state(us) == "T" && state(command) == "T");
    sleep(Duration::from_millis(4500));
    shell.line("fg; echo \"status[$?]\"");
    until("it goes on", || state(command) != "T");
    shell.line("hello");
    assert_eq!(shell.number_after("status"), 0, "{}", shell.screen());
}

#[test]
fn a_resize_reaches_the_command_once() {
    const TIMES: u16 = 5;
    let actor = actor();
    for choice in ["auto", "new", "session"] {
        let options = [RETRYRUN, "-n0", "--process-group", choice, "--"];
        let words = [&options[..], &[&actor, "exit-on=USR2:7", "listen"]].concat();
        let mut session = Session::start(&words);
        session.wait_for("listening");
        for size in 1..=TIMES {
            session.resize(20 + size, 90);
            session.wait_for("WINCH\r\n");
            // What the run has heard before it, it has passed on before it.
            kill(session.pid(), libc::SIGRTMIN());
            session.wait_for(&format!("{}\r\n", libc::SIGRTMIN()));
        }
        kill(session.pid(), libc::SIGUSR2);
        let (status, screen) = session.finish();
        assert_eq!(status.code(), Some(7), "{choice}: {screen}");
        assert_eq!(screen.matches("WINCH").count(), usize::from(TIMES), "{choice}: {screen}");
    }
}

#[test]
fn keys_are_not_counted_in_another_group_either() {
    for choice in ["new", "session"] {
        let mut shell = Session::shell();
        // A grace, or three signals of a process, would have killed it.
        let script = "import os, signal, time\n\
            signal.signal(2, lambda *_: os.write(1, b\"caught\\n\")); os.write(1, b\"up\\n\")\n\
            while not os.path.exists(\"go\"): time.sleep(0.02)\n\
            os.remove(\"go\"); os._exit(7)\n";
        std::fs::write(shell.path("command"), script).expect("a file");
        shell.line(&format!("$R -k0.2 --process-group {choice} /usr/bin/python3 command"));
        shell.wait_for("up");
        for _ in 0..4 {
            shell.press(CTRL_C);
            shell.wait_for("caught");
        }
        sleep(Duration::from_millis(500));
        std::fs::write(shell.path("go"), "").expect("a file");
        until("it has ended by itself", || !shell.path("go").exists());
        shell.line("echo \"status[$?]\"");
        assert_eq!(shell.number_after("status"), 7, "{choice}");
    }
}

#[test]
fn a_shell_as_the_command_has_jobs_of_its_own() {
    let mut shell = Session::shell();
    shell.line("$R -n0 bash --norc --noprofile --noediting -i; echo \"status[$?]\"");
    shell.line(READER);
    shell.number_after("up");
    shell.press(CTRL_Z);
    shell.wait_for("Stopped");
    shell.line("fg");
    shell.line("hello");
    shell.wait_for("got hello");
    shell.line("exit 5");
    assert_eq!(shell.number_after("status"), 5);
}
