//! The status line of a run that waits, and the keys that a person presses at it, on a real pseudo-terminal.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use retryrun::engine::event::{Outcome, Trigger};
use retryrun::engine::history::History;

use crate::session::{Session, kill, members, stat, state, until};
use crate::test::{RETRYRUN, Test};

const CTRL_C: &str = "\u{3}";
const CTRL_Z: &str = "\u{1a}";

/// As a terminal is that nobody has changed: lines, and echo.
const COOKED: (bool, bool) = (true, true);

/// As it is while keys are heard.
const HEARD: (bool, bool) = (false, false);

/// What is offered to whoever can press keys.
const KEYS: &str = " - r: now, q: give up";

/// A run in a script that then says `status[N]`, and `same` if the terminal has the modes from before it.
fn script(options: &str, command: &str) -> String {
    format!(
        "before=$(stty -g); $R --history=never --report=json:report {options} {command}; \
         echo \"status[$?]\"; [ \"$before\" = \"$(stty -g)\" ] && echo same"
    )
}

fn report(session: &Session) -> History {
    let report = fs::read(session.path("report")).expect("a report");
    serde_json::from_slice(&report).expect("a history")
}

/// The process that a shell waits for.
fn child_of(session: &Session) -> i32 {
    let shell = session.pid().to_string();
    let is_child = |pid: &i32| stat(*pid).is_some_and(|stat| stat.get(1) == Some(&shell));
    members(session.pid()).into_iter().find(is_child).expect("it runs")
}

fn has_keys(shown: &[String]) -> bool {
    shown.iter().any(|row| row.contains("r: now") || row.contains("[r/q]"))
}

#[test]
fn a_wait_is_counted_down_and_leaves_no_trace() {
    let options = ["-n1", "-d2", "--color=never", "--history=never"];
    let command = ["sh", "-c", "echo out; exit 7"];
    let mut session = Session::start(&[&[RETRYRUN], &options[..], &command[..]].concat());
    session.wait_for(&format!("attempt 2/2 in 2s: exit 7 (unlisted){KEYS}"));
    assert_eq!(session.modes(), HEARD);
    let before = [
        "out",
        "retryrun: attempt 1/2 failed after 0.0s: exit 7 (transient: unlisted); next in 2s",
    ];
    let line = "retryrun: attempt 2/2 in 2s: exit 7 (unlisted) - r: now, q: give up";
    assert_eq!(session.shown(24, 100), [before[0], before[1], line]);
    session.wait_for("in 1s");
    session.read_to_end();
    let after = [
        "out",
        "retryrun: attempt 2/2 failed after 0.0s: exit 7 (transient: unlisted)",
        "retryrun: gave up after 2 attempts in 2.0s: exit 7 each time (unlisted)",
    ];
    assert_eq!(session.shown(24, 100), [&before[..], &after[..]].concat());
    assert_eq!(session.wait().code(), Some(7));
}

#[test]
fn keys_end_the_wait_and_the_run() {
    let mut session = Session::script(&script("-n1 -d300", "sh -c 'exit 7'"));
    for (ended, key) in ["r", "R", "\r", "\n"].into_iter().enumerate() {
        let next = ended + 2;
        session.wait_for(&format!("attempt {next}/{next} in 5m: exit 7 (unlisted){KEYS}"));
        session.press(key);
    }
    session.wait_for(KEYS);
    session.press("q");
    session.wait_for("stopped after 5 attempts");
    assert_eq!(session.number_after("status"), 7);
    session.wait_for("same");
    let history = report(&session);
    assert_eq!((history.outcome, history.retry_count), (Some(Outcome::Stopped), 0));
    let triggers: Vec<Trigger> = history.attempts.iter().map(|attempt| attempt.trigger).collect();
    assert_eq!(triggers, [&[Trigger::First][..], &[Trigger::Manual; 4]].concat());
}

#[test]
fn other_keys_are_dropped_and_not_shown() {
    let mut session = Session::script(&script("-n1 -d300", "sh -c 'exit 7'"));
    session.wait_for(KEYS);
    // Sequences of function keys, in which a key of ours stands.
    session.press("\u{1b}Oq\u{1b}[1;2q\u{1b}r");
    session.wait_for("in 4m 59s");
    session.press("xyz \t\u{4}");
    session.wait_for("in 4m 58s");
    session.press("-Q");
    session.wait_for("stopped after 1 attempt");
    let (status, screen) = session.finish();
    assert!(status.success() && screen.ends_with("same\r\n"), "{screen}");
    assert!(!screen.contains("xyz") && !screen.contains("Oq"), "{screen}");
}

#[test]
fn what_ends_us_in_a_wait_puts_the_modes_back() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        let run = script("-n1 -d300", "sh -c 'exit 7'");
        let mut session = Session::start(&["dash", "-c", &format!("trap : INT; {run}")]);
        session.wait_for(KEYS);
        assert_eq!(session.modes(), HEARD);
        match signal {
            libc::SIGINT => session.press(CTRL_C),
            _ => kill(child_of(&session), signal),
        }
        assert_eq!(session.number_after("status"), 128 + signal);
        session.wait_for("same");
        let (_, screen) = session.finish();
        assert!(screen.contains("interrupted by SIG") && !screen.contains("^C"), "{screen}");
    }
}

#[test]
fn a_stop_in_a_wait_gives_the_terminal_back_until_fg() {
    // Dash does not repair the modes of a terminal whose job has stopped.
    for words in [&["dash", "-i"][..], &["bash", "--norc", "--noprofile", "--noediting", "-i"]] {
        let mut shell = Session::start(words);
        shell.line("before=$(stty -g); $R -n1 -d300 --history=never sh -c 'exit 7'");
        for by_key in [true, false] {
            shell.wait_for(KEYS);
            assert_eq!(shell.modes(), HEARD);
            let us = child_of(&shell);
            match by_key {
                true => shell.press(CTRL_Z),
                false => kill(us, libc::SIGTSTP),
            }
            until("it has stopped", || state(us) == "T");
            shell.wait_for("Stopped");
            assert_eq!(shell.modes(), COOKED);
            assert!(!has_keys(&shell.shown(60, 200)), "{:?}", shell.shown(60, 200));
            shell.line("[ $before = $(stty -g) ] && echo sa''me");
            shell.wait_for("same\r\n");
            shell.line("fg");
        }
        shell.wait_for(KEYS);
        shell.press("q");
        shell.wait_for("stopped after 1 attempt");
        until("the modes are back", || shell.modes() == COOKED);
    }
}

#[test]
fn after_a_stop_that_nobody_can_prevent_the_keys_are_heard_again() {
    let mut shell = Session::start(&["dash", "-i"]);
    shell.line("before=$(stty -g); $R -n1 -d300 --history=never sh -c 'exit 7'");
    shell.wait_for(KEYS);
    let us = child_of(&shell);
    kill(us, libc::SIGSTOP);
    shell.wait_for("Stopped");
    // What somebody else does to the terminal meanwhile is not undone.
    shell.line("stty $before -echoctl; before=$(stty -g); fg");
    shell.wait_for(KEYS);
    until("keys are heard again", || shell.modes() == HEARD);
    shell.press("q");
    shell.wait_for("stopped after 1 attempt");
    shell.line("[ $before = $(stty -g) ] && echo sa''me");
    shell.wait_for("same\r\n");
}

#[test]
fn where_nobody_could_continue_us_a_stop_takes_no_keys_away() {
    let mut session = Session::start(&[RETRYRUN, "-d300", "--history=never", "false"]);
    session.wait_for(KEYS);
    session.press(CTRL_Z);
    session.wait_for(KEYS);
    until("keys are heard again", || session.modes() == HEARD);
    session.press("q");
    assert_eq!(session.finish().0.code(), Some(1));
}

#[test]
fn what_was_typed_before_is_left_to_the_command() {
    let steps = "echo \"up[$RETRYRUN_ATTEMPT]\"; \
         if [ $RETRYRUN_ATTEMPT = 1 ]; then until [ -e go ]; do sleep 0.02; done; exit 7; fi; \
         read line; echo \"got $line\"";
    // A line, and the beginning of one.
    for (typed, rest) in [("hello\n", ""), ("hel", "lo\n")] {
        let mut session = Session::script(&script("-n1 -d1", &format!("bash -c '{steps}'")));
        session.wait_for("up[1]");
        session.press(typed);
        // It is there as soon as it is shown.
        session.wait_for(typed.trim_end());
        fs::write(session.path("go"), "").expect("a file");
        session.wait_for("attempt 2/2 in 1s: exit 7 (unlisted)");
        session.wait_for("up[2]");
        session.press(rest);
        session.wait_for("got hello\r\n");
        let (status, screen) = session.finish();
        assert!(status.success() && screen.ends_with("same\r\n"), "{screen}");
        assert!(!screen.contains(KEYS), "{screen}");
    }
}

#[test]
fn where_keys_are_not_for_us_the_terminal_is_not_touched() {
    for (options, redirection, is_shown) in [
        ("", "</dev/null", true),
        ("--stdin=replay", "", true),
        // Whoever reads what we write may read keys, too, and write to the terminal.
        ("", "| cat", false),
        ("", "2>err", false),
        ("--quiet", "", false),
        ("--live=never", "", false),
        ("--ci=github", "", false),
    ] {
        let run = format!("$R -n1 -d300 --history=never {options} sh -c 'touch up; exit 7'");
        let mut session = Session::script(&format!("trap : INT; {run} {redirection}"));
        until("it runs", || session.path("up").exists());
        if is_shown {
            session.wait_for("attempt 2/2 in 5m: exit 7 (unlisted)");
        }
        session.press("q");
        // The terminal itself shows it.
        session.wait_for("q");
        assert_eq!(session.modes(), COOKED, "{options} {redirection}");
        session.press(CTRL_C);
        let (_, screen) = session.finish();
        assert!(!screen.contains(KEYS), "{options} {redirection}: {screen}");
        assert_eq!(screen.contains("in 5m:"), is_shown, "{options} {redirection}: {screen}");
    }
}

#[test]
fn a_command_substitution_does_not_take_the_keys_away() {
    let run = "$R -d300 --history=never sh -c 'echo out; exit 7'";
    let mut session = Session::script(&format!("out=$({run}); echo \"[$out]\""));
    session.wait_for(KEYS);
    session.press("q");
    session.wait_for("[out]");
}

#[test]
fn a_log_has_nothing_of_it() {
    for redirection in ["2>log", ">log 2>&1", "2>&1 | cat >log"] {
        let run = format!("$R --history=never -n1 -d1 sh -c 'exit 7' {redirection}");
        let mut session = Session::script(&run);
        session.read_to_end();
        assert_eq!(session.screen(), "", "{redirection}");
        let log = fs::read_to_string(session.path("log")).expect("a log");
        assert!(log.contains("attempt 2/2 failed"), "{log}");
        assert!(!log.contains(['\r', '\u{1b}']) && !log.contains("in 1s:"), "{log:?}");
    }
}

#[test]
fn in_the_background_there_is_no_line_and_nothing_stops_us() {
    let mut shell = Session::shell();
    shell.line(
        "stty echo; $R --history=never -n1 -d1 sh -c 'exit 7' & wait $!; echo \"status[$?]\"",
    );
    assert_eq!(shell.number_after("status"), 7);
    assert!(!shell.screen().contains("attempt 2/2 in"), "{}", shell.screen());

    // Sent there in a wait.
    shell.line("$R --history=never -n1 -d300 sh -c 'exit 7'");
    shell.wait_for(KEYS);
    let us = child_of(&shell);
    shell.press(CTRL_Z);
    shell.wait_for("Stopped");
    shell.line("stty tostop; bg");
    until("it goes on", || state(us) == "S");
    shell.line("echo mar''k");
    shell.wait_for("mark\r\n");
    assert_eq!((state(us).as_str(), shell.modes()), ("S", COOKED));
    shell.line("kill -USR1 $!");
    until("it is stopped by its own lines", || state(us) == "T");
    shell.line("fg");
    shell.wait_for(KEYS);
    shell.press("q");
    shell.wait_for("stopped after");
}

#[test]
fn a_terminal_that_a_command_left_in_disorder_has_keys() {
    let command = "dash -c 'stty raw -echo; kill -KILL $$'";
    let mut session = Session::script(&script("-n1 -d300", command));
    session.wait_for(KEYS);
    session.press("q");
    assert_eq!(session.number_after("status"), 137);
    session.wait_for("same");
}

#[test]
fn what_a_hook_prints_is_not_written_over() {
    let hook = "until [ -e go ]; do sleep 0.02; done; printf 'one\\ntwo\\n'; exit 3";
    let options = ["-d300", "--color=never", "--history=never", "--on-retry", hook];
    let mut session = Session::start(&[&[RETRYRUN], &options[..], &["false"]].concat());
    session.wait_for("next in 5m");
    fs::write(session.path("go"), "").expect("a file");
    session.wait_for(KEYS);
    let shown = session.shown(24, 100);
    assert_eq!(shown[1..4], ["one", "two", "retryrun: --on-retry failed: exit 3"], "{shown:?}");
    assert!(shown[4].ends_with(KEYS) && shown.len() == 5, "{shown:?}");
    session.press("q");
    session.read_to_end();
    let shown = session.shown(24, 100);
    assert!(shown[4].contains("stopped after") && shown.len() == 5, "{shown:?}");
}

#[test]
fn the_line_follows_the_size_of_the_terminal() {
    let options = ["-d50", "--color=never", "--history=never", "false"];
    let mut session = Session::start(&[&[RETRYRUN], &options[..]].concat());
    session.wait_for(KEYS);
    // What a narrower terminal may have put on several rows is erased on all of them.
    session.resize(10, 40);
    session.wait_for("\r\u{1b}[Jretryrun: attempt 2/4 in ");
    session.wait_for("s [r/q]");
    session.resize(10, 20);
    session.wait_for("\r\u{1b}[Jattempt 2/4 in ");
    session.resize(24, 100);
    session.wait_for(KEYS);
    let shown = session.shown(24, 100);
    assert!(shown[1].ends_with(KEYS) && shown.len() == 2, "{shown:?}");
    session.press("q");
    session.read_to_end();
    let shown = session.shown(24, 100);
    assert!(shown[1].contains("stopped after") && shown.len() == 2, "{shown:?}");
}

#[test]
fn on_a_narrow_screen_the_line_stays_in_its_row() {
    let run = "$R -n1 -d300 --color=never --history=never sh -c 'exit 7'";
    let mut session = Session::script(&format!("stty cols 40 rows 10; {run}"));
    session.wait_for("[r/q]");
    let shown = session.shown(10, 40);
    assert_eq!(shown.last().map(String::as_str), Some("retryrun: attempt 2/2 in 5m [r/q]"));
    session.press("q");
    session.read_to_end();
    assert!(!has_keys(&session.shown(10, 40)), "{:?}", session.shown(10, 40));
}

#[test]
fn always_is_also_for_quiet_runs_for_ci_and_for_dumb_terminals() {
    for environment in ["TERM=xterm", "TERM=dumb", "GITHUB_ACTIONS=true"] {
        let options = ["--live=always", "-q", "-d2", "-n1", "--history=never", "false"];
        let words = [&["env", environment, RETRYRUN], &options[..]].concat();
        let mut session = Session::start(&words);
        session.wait_for(&format!("attempt 2/2 in 2s: exit 1 (unlisted){KEYS}"));
        session.wait_for("in 1s");
        session.read_to_end();
        let knows_escapes = environment != "TERM=dumb";
        assert_eq!(session.screen().contains('\u{1b}'), knows_escapes, "{}", session.screen());
        let shown = session.shown(24, 80);
        assert!(!shown.iter().any(|row| row.contains("attempt 2/2")), "{environment}: {shown:?}");
    }
}

#[test]
fn always_finds_the_terminal_that_controls_us() {
    let command = "bash -c 'until [ -e go ]; do sleep 0.02; done; exit 7'";
    let run = format!("$R --live=always --history=never -n1 -d300 {command} >log 2>&1");
    let mut session = Session::script(&format!("trap : INT; {run}"));
    for turn in ['|', '/', '-', '\\'] {
        session.wait_for(&format!("retryrun: attempt 1/2 running for 1s {turn}"));
    }
    fs::write(session.path("go"), "").expect("a file");
    session.wait_for("attempt 2/2 in 5m: exit 7 (unlisted)");
    session.wait_for("in 4m 59s");
    assert_eq!(session.modes(), COOKED);
    session.press(CTRL_C);
    session.read_to_end();
    assert_eq!(session.shown(24, 80), [""; 0], "{:?}", session.screen());
    let log = fs::read_to_string(session.path("log")).expect("a log");
    assert!(log.contains("interrupted") && !log.contains(['\r', '\u{1b}']), "{log:?}");
}

#[test]
fn a_password_prompt_is_not_written_over() {
    let prompt = "import getpass, time; time.sleep(0.6); print(len(getpass.getpass(\"secret: \")))";
    let run = "$R --live=always -n0 --history=never /usr/bin/python3 -c";
    let mut session = Session::script(&format!("{run} '{prompt}' >log 2>&1 </dev/null"));
    session.wait_for("running for");
    session.wait_for("secret: ");
    // What the prompt has left of the line goes away.
    session.wait_for("\u{1b}[K");
    assert_eq!(session.shown(24, 80), ["secret:"], "{:?}", session.screen());
    session.line("hush");
    session.read_to_end();
    assert_eq!(session.shown(24, 80), ["secret:"], "{:?}", session.screen());
}

#[test]
fn without_a_terminal_there_is_no_line() {
    let words = ["--live=always", "-n1", "-d1", "--history=never", "false"];
    let ran = Test::new(words).env("TERM", "xterm").run();
    assert_eq!(ran.lines().len(), 3, "{}", ran.stderr);
    assert!(!ran.stderr.contains('\r'), "{}", ran.stderr);
}

#[test]
fn a_short_wait_goes_by_in_silence() {
    let words = [RETRYRUN, "-n2", "-d0.1", "--history=never", "false"];
    let (_, screen) = Session::start(&words).finish();
    assert!(screen.contains("attempt 3/3 failed"), "{screen}");
    assert!(!screen.replace("\r\n", "\n").contains('\r'), "{screen:?}");
}

#[test]
fn a_signal_that_starts_the_next_attempt_finds_the_modes_of_the_first() {
    let command = "dash -c 'echo \"modes[$(stty -g | tr -cd 0-9 | cut -c1-9)]\"; exit 7'";
    let mut session = Session::script(&script("-n1 -d300", command));
    let first = session.number_after("modes");
    session.wait_for(KEYS);
    kill(child_of(&session), libc::SIGUSR1);
    assert_eq!(session.number_after("modes"), first);
    session.wait_for(KEYS);
    session.press(CTRL_C);
    assert_eq!(session.finish().0.signal(), Some(libc::SIGINT));
}

#[test]
fn a_terminal_that_goes_away_in_a_wait_costs_nothing() {
    let command = "sh -c 'touch up$RETRYRUN_ATTEMPT; [ $RETRYRUN_ATTEMPT = 1 ] || until [ -e go ]; do sleep 0.02; done; exit 7'";
    let run = format!("trap '' HUP; $R -n1 -d3 --history=never {command}; touch over");
    let mut session = Session::script(&run);
    session.wait_for(KEYS);
    let us = child_of(&session);
    session.hang_up();
    until("the second attempt runs", || session.path("up2").exists());
    let ticks: Vec<u64> =
        stat(us).expect("it runs")[11..13].iter().flat_map(|field| field.parse()).collect();
    assert!(ticks.iter().sum::<u64>() < 100, "it waits in its sleep: {ticks:?}");
    fs::write(session.path("go"), "").expect("a file");
    until("it has ended", || session.path("over").exists());
}

#[test]
fn lines_of_ours_take_the_place_of_the_status_line_and_it_comes_again_below() {
    let options = ["-vv", "-d300", "--color=never", "--history=never", "false"];
    let mut session = Session::start(&[&[RETRYRUN], &options[..]].concat());
    session.wait_for(KEYS);
    kill(session.pid(), libc::SIGUSR2);
    session.wait_for("SIGUSR2");
    session.wait_for(KEYS);
    let shown = session.shown(40, 200);
    let (last, before) = shown.split_last().expect("something is shown");
    assert!(last.ends_with(KEYS) && !has_keys(before), "{shown:?}");
    assert!(before.iter().all(|row| row.starts_with("retryrun: ")), "{shown:?}");
    assert!(before.last().is_some_and(|row| row.contains("SIGUSR2")), "{shown:?}");
    session.press("q");
    session.finish();
}

#[test]
fn keys_are_heard_while_a_hook_runs_and_what_it_writes_is_left() {
    let hook = "printf told; exec >&- 2>&-; sleep 1000";
    let words = ["-d300", "--history=never", "--on-retry", hook, "false"];
    let mut session = Session::start(&[&[RETRYRUN], &words[..]].concat());
    session.wait_for("told");
    until("keys are heard", || session.modes() == (false, false));
    session.press("q");
    let (status, screen) = session.finish();
    assert_eq!(status.code(), Some(1), "{screen}");
    assert!(screen.contains("told") && screen.contains("stopped after 1 attempt"), "{screen}");
    // One that has ended may have left its row unfinished.
    let words = ["-d300", "--history=never", "--on-retry", "printf told", "false"];
    let mut session = Session::start(&[&[RETRYRUN], &words[..]].concat());
    session.wait_for(KEYS);
    let shown = session.shown(24, 80);
    assert!(shown.iter().any(|row| row == "told"), "{shown:?}");
    session.press("q");
    session.finish();
}

#[test]
fn there_is_no_line_beside_a_pipeline_that_writes_to_the_terminal() {
    let command = "sh -c 'echo $PPID >pid; echo out; exit 7'";
    let run = format!("$R -d300 --history=never {command} | {{ read line; touch read; cat; }}");
    let mut session = Session::script(&format!("{run}; true"));
    session.wait_for("next in 5m");
    until("the first line is read", || session.path("read").exists());
    let us = fs::read_to_string(session.path("pid")).expect("a file");
    kill(us.trim().parse().expect("a pid"), libc::SIGTERM);
    let (_, screen) = session.finish();
    assert!(screen.contains("interrupted by SIGTERM"), "{screen}");
    assert!(!screen.contains("attempt 2/4 in"), "{screen}");
}
