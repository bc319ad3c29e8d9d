//! On a terminal: a real pseudo-terminal, and what a person at it sees and presses.

use std::os::unix::process::ExitStatusExt;

use crate::session::{Session, kill, until};
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

#[test]
fn a_password_is_asked_at_the_terminal_wherever_the_input_comes_from() {
    let script = "echo data >file; $R bash -c 'read -rsp \"secret: \" secret </dev/tty; echo; read -r data; \
                  echo \"$secret and $data\"' <file";
    let mut session = Session::script(script);
    session.wait_for("secret: ");
    session.line("hush");
    let (status, screen) = session.finish();
    assert!(status.success(), "{screen}");
    assert!(screen.ends_with("hush and data\r\n"), "{screen}");
    assert_eq!(screen.matches("hush").count(), 1, "it is not shown as it is typed: {screen}");

    let script = "$R /usr/bin/python3 -c 'import getpass; print(len(getpass.getpass(\"secret: \")))' </dev/null";
    let mut session = Session::script(script);
    session.wait_for("secret: ");
    session.line("hush");
    session.wait_for("4\r\n");
    assert!(session.finish().0.success());
}

#[test]
fn sudo_works() {
    let works = std::process::Command::new("sudo").args(["-n", "true"]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        return;
    }
    let mut session = Session::script(
        "$R sudo -S bash -c 'read -rp \"name? \" name </dev/tty; echo \"hello $name\"'",
    );
    session.wait_for("name? ");
    session.line("you");
    session.wait_for("hello you");
    assert!(session.finish().0.success());
    let mut session =
        Session::start(&[RETRYRUN, "-k20", "sudo", "bash", "-c", "echo up; exec sleep 1000"]);
    session.wait_for("up");
    session.press("\u{3}");
    assert_eq!(session.finish().0.signal(), Some(libc::SIGINT));
}

#[test]
fn full_screen_programs_work_and_leave_the_terminal_in_order() {
    let script = "seq 1000 >file; before=$(stty -g); $R less file; echo \"less[$?]\"; \
                  $R vim -u NONE -N file; echo \"vim[$?]\"; [ $before = $(stty -g) ] && echo same; \
                  $R vim -es -u NONE -c '%s/7/seven/g' -c wq file; echo \"ex[$?]\"; echo \"lines[$(grep -c seven file)]\"";
    let mut session = Session::script(script);
    session.wait_for("\n23");
    session.press("G");
    session.wait_for("1000");
    session.press("q");
    assert_eq!(session.number_after("less"), 0);
    session.wait_for("3893B");
    session.press(":1d\r:wq\r");
    assert_eq!(session.number_after("vim"), 0);
    session.wait_for("same");
    assert_eq!(session.number_after("ex"), 0);
    assert_eq!(session.number_after("lines"), 271);
    session.finish();
}

#[test]
fn a_full_screen_program_stops_with_us_and_comes_back() {
    let mut shell = Session::shell();
    shell.line("seq 1000 >file; $R vim -u NONE -N file; echo \"vim[$?]\"");
    shell.wait_for("3893B");
    shell.press("\u{1a}");
    shell.wait_for("Stopped");
    shell.line("fg; echo \"vim[$?]\"");
    shell.wait_for("23");
    shell.press(":q!\r");
    assert_eq!(shell.number_after("vim"), 0);
}

/// Shows the terminal's modes as we were given it and as we left it; nobody in between repairs them.
fn modes_around(options: &str, command: &str) -> (String, String) {
    let script = format!(
        "echo \"[$(stty -g)]\"; $R -q --history=never {options} {command} >/dev/null; echo \"[$(stty -g)]\""
    );
    let mut session = Session::start(&["dash", "-c", &script]);
    session.read_to_end();
    let screen = session.screen();
    let modes: Vec<&str> =
        screen.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']')).collect();
    let [before, after] = modes[..] else { panic!("{screen}") };
    (before.to_owned(), after.to_owned())
}

#[test]
fn modes_are_put_back_after_what_did_not_end_by_itself() {
    for (options, command) in [
        ("-n0 -t0.3", "dash -c 'stty raw -echo; sleep 1000'"),
        ("-n0 -t0.3 -k0", "dash -c 'stty raw -echo; sleep 1000'"),
        ("-n0", "dash -c 'stty raw -echo; kill -KILL $$'"),
        ("-n0", "dash -c 'stty raw -echo; kill -SEGV $$'"),
        ("-n0", "dash -c 'stty raw -echo; kill -TERM $PPID; sleep 1000'"),
    ] {
        let (before, after) = modes_around(options, command);
        assert_eq!(after, before, "{options} {command}");
    }
}

#[test]
fn modes_that_a_command_leaves_on_purpose_stay() {
    for (options, command) in [("", "stty -echo"), ("-n0", "dash -c 'stty -echo; exit 3'")] {
        let (before, after) = modes_around(options, command);
        assert_ne!(after, before, "{options} {command}");
    }
}

#[test]
fn modes_that_a_command_leaves_after_a_key_that_it_lived_through_stay() {
    let command = "bash -c 'trap : INT; echo up; until [ -e go ]; do sleep 0.02; done; stty -echo'";
    let script =
        format!("$R -n0 --history=never {command}; stty -a | grep -o -e -echo$; echo over");
    let mut session = Session::start(&["bash", "-c", &format!("trap : INT; {script}")]);
    session.wait_for("up");
    session.press("\u{3}");
    session.wait_for("^C");
    std::fs::write(session.path("go"), "").expect("a file");
    session.wait_for("over");
    assert_eq!(session.modes(), (true, false), "{}", session.screen());
}

#[test]
fn every_attempt_finds_the_modes_of_the_first() {
    let script = "$R -q --history=never -n1 -d0.01 dash -c 'echo \"[$(stty -g)]\"; stty -echo -icanon; exit 3'; \
                  echo \"[$(stty -g)]\"";
    let (_, screen) = Session::start(&["dash", "-c", script]).finish();
    let modes: Vec<&str> = screen.lines().collect();
    assert_eq!(modes.len(), 3, "{screen}");
    assert_eq!(modes[0], modes[1]);
    assert_ne!(modes[1], modes[2], "the last attempt ended by itself");
}

#[test]
fn a_foreground_that_the_command_took_is_taken_back() {
    let take = "import os, signal, subprocess, sys\n\
        tty = os.open('/dev/tty', os.O_RDWR)\n\
        print('attempt[%d]' % (os.tcgetpgrp(tty) == os.getpgrp()), flush=True)\n\
        os.setpgid(0, 0)\n\
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)\n\
        os.tcsetpgrp(tty, os.getpgrp())\n\
        left = int(sys.argv[2]) and subprocess.Popen(['sleep', '20']).pid\n\
        print('left[%d]' % left, flush=True)\n\
        sys.exit(int(sys.argv[1]))\n";
    // Also where something of its group is left.
    for (options, status, leaves) in
        [("-n1 -d0.01", 3, 0), ("", 0, 0), ("-n1 -d0.01", 3, 1), ("--leftovers=keep", 0, 1)]
    {
        let script = format!(
            "$R -q --history=never {options} /usr/bin/python3 -c \"$0\" {status} {leaves}; \
             echo \"status[$?]\"; read line; echo \"got $line\""
        );
        let mut session = Session::start(&["dash", "-c", &script, take]);
        let mut left = 0;
        for _ in 0..=i32::from(status > 0) {
            assert_eq!(session.number_after("attempt"), 1, "it begins in the foreground");
            left = session.number_after("left");
        }
        assert_eq!(session.number_after("status"), status);
        session.line("hello");
        session.wait_for("got hello");
        if left != 0 {
            kill(left, libc::SIGKILL);
        }
        session.finish();
    }
}

#[test]
fn in_the_background_the_terminal_is_not_ours_to_change() {
    // Without children of its own, which a bash that is stopped can lose.
    let attempt = "bash -c 'echo up; read line <fifo$RETRYRUN_ATTEMPT; kill -KILL $$'";
    let show = "echo \"[$(stty -g)]\"";
    // Started there; and sent there.
    for started_in_the_foreground in [false, true] {
        let mut shell = Session::shell();
        shell.line("mkfifo fifo1 fifo2");
        // A job that dies of a signal has bash itself put modes back.
        let run = format!("$R -q --history=never --exit-code=exhausted=9 -n1 -d0.01 {attempt}");
        if started_in_the_foreground {
            shell.line(&run);
            shell.wait_for("up");
            shell.press("\u{1a}");
            shell.wait_for("Stopped");
            shell.line("bg");
        } else {
            shell.line(&format!("{run} &"));
            shell.wait_for("up");
        }
        shell.line(&format!("stty -echoctl -ixon; {show}; echo >fifo1"));
        shell.wait_for("[");
        shell.wait_for("up");
        shell.line(&format!("echo >fifo2; wait %1; {show}; echo en''d"));
        shell.wait_for("end");
        let screen = shell.screen();
        let modes: Vec<&str> = screen
            .lines()
            .filter_map(|line| line.trim_start_matches("$ ").strip_prefix('['))
            .filter(|modes| modes.contains(':'))
            .collect();
        let [before, after] = modes[..] else { panic!("{screen}") };
        assert_eq!(after, before, "{screen}");
    }
}

#[test]
fn a_terminal_that_went_away_is_an_error_of_the_command_alone() {
    // Who ignores the hang-up lives on, and what is written there fails (EIO). Where we read, we notice it at the first write.
    for options in ["", "--idle-timeout=1h", "--log-dir=logs"] {
        let command = "touch up; until [ -e gone ]; do sleep 0.02; done; \
            until ! echo more; do sleep 0.02; done; touch failed; exit 0";
        let script = format!("trap '' HUP; $R -n0 {options} bash -c '{command}'; echo $? >status");
        let mut session = Session::script(&script);
        until("it runs", || session.path("up").exists());
        session.hang_up();
        std::fs::write(session.path("gone"), "").expect("a file");
        session.wait();
        let status = std::fs::read_to_string(session.path("status"));
        assert_eq!(status.expect("the script goes on"), "0\n", "{options}");
        assert!(session.path("failed").exists(), "{options}");
    }
}

#[test]
fn what_died_in_raw_mode_does_not_keep_ctrl_c_from_ending_the_wait() {
    for options in ["--live=never", ""] {
        let command = "sh -c 'stty raw -echo; kill -9 $$'";
        let mut session =
            Session::script(&format!("exec $R {options} -n1 -d300 --history=never {command}"));
        session.wait_for("next in 5m");
        session.press("\u{3}");
        let (status, screen) = session.finish();
        assert_eq!(status.signal(), Some(libc::SIGINT), "{screen}");
    }
}
