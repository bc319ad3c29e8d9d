//! The named runs on the whole screen, and the keys that a person presses there, on a real pseudo-terminal.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;

use super::{Home, kill as kill_run};
use crate::session::{Session, kill, state, until};
use crate::test::{RETRYRUN, Test};

/// The end of all that is drawn at a time.
const DRAWN: &str = "\u{1b}[J";

const KEYS: &str = "Enter: history  r: retry now  s: stop  q: quit";

fn watch(home: &Home) -> Session {
    let state = format!("XDG_STATE_HOME={}", home.file(".").display());
    Session::start(&["env", &state, RETRYRUN, "--jobs", "--watch"])
}

/// In a script that says what becomes of it.
fn in_script(home: &Home, shell: &str) -> Session {
    let script = format!(
        "before=$(stty -g); echo above; XDG_STATE_HOME='{}' $R --jobs --watch; \
         echo \"status[$?]\"; [ \"$before\" = \"$(stty -g)\" ] && echo same",
        home.file(".").display()
    );
    Session::start(&[shell, "-c", &format!("trap : INT; {script}")])
}

/// Waits until something is drawn, with all around it.
fn wait_for(session: &mut Session, text: &str) -> Vec<String> {
    session.wait_for(text);
    session.wait_for(DRAWN);
    session.shown(24, 80)
}

/// Some runs: one waits, one has ended.
fn with_runs() -> (Home, crate::test::Running) {
    let home = Home::new();
    home.named("mirror", &["-n1", "-d0"], "exit 7").run();
    let waiting = home.named("nightly", &["-n5", "-d1h", "--max-delay=1h"], "exit 3").start();
    home.wait_for("nightly", "waiting");
    (home, waiting)
}

#[test]
fn the_list_and_a_history_are_shown_and_the_screen_is_given_back() {
    let (home, waiting) = with_runs();
    let mut session = in_script(&home, "bash");
    let shown = wait_for(&mut session, KEYS);
    assert_eq!(session.modes(), (false, false));
    assert_eq!(shown.len(), 24);
    assert_eq!(shown[0], "named runs: 1 waiting, 1 ended");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&shown[1]).starts_with("NAME STATE ATTEMPT RETRIES LAST NEXT "), "{shown:?}");
    assert!(
        shown[2].starts_with("> nightly  waiting    1/6      0        exit 3 (unlisted)  in 59m "),
        "{shown:?}"
    );
    assert!(
        shown[3].starts_with("  mirror   exhausted  2/2      1        exit 7 (unlisted)  - "),
        "{shown:?}"
    );
    assert_eq!((shown[4].as_str(), shown[23].as_str()), ("", KEYS));
    session.press("\u{1b}[B");
    let shown = wait_for(&mut session, "> mirror");
    assert!(shown[2].starts_with("  nightly"), "{shown:?}");
    session.press("\r");
    let shown = wait_for(&mut session, "q: back");
    assert_eq!(shown[0], "the run mirror");
    assert!(shown[1].starts_with("exhausted: gave up after 2 attempts in "), "{shown:?}");
    assert_eq!(shown[2], "bash -c 'exit 7'");
    assert_eq!(shown.iter().filter(|line| line.ends_with("s exit 7")).count(), 2, "{shown:?}");
    session.press("q");
    let shown = wait_for(&mut session, "> mirror");
    assert_eq!(shown[23], KEYS);
    session.press("q");
    assert_eq!(session.number_after("status"), 0);
    session.wait_for("same");
    session.read_to_end();
    // What stood there before stands there again.
    assert_eq!(session.shown(24, 80), ["above", "status[0]", "same"]);
    kill_run(waiting);
}

#[test]
fn keys_ask_for_the_next_attempt_and_for_the_end() {
    let (home, waiting) = with_runs();
    let mut session = watch(&home);
    wait_for(&mut session, KEYS);
    session.press("r");
    wait_for(&mut session, "asked nightly to retry");
    // It is soon seen what came of it.
    wait_for(&mut session, "waiting    2/7");
    session.press("s");
    let shown = wait_for(&mut session, "stop nightly? y: yes");
    assert_eq!(shown[23], "stop nightly? y: yes");
    for no in ["n", "\r", "q", "s"] {
        session.press(no);
        wait_for(&mut session, KEYS);
        assert_eq!(home.standing("nightly"), "waiting");
        session.press("s");
        wait_for(&mut session, "stop nightly?");
    }
    session.press("y");
    wait_for(&mut session, "asked nightly to stop");
    wait_for(&mut session, "stopped");
    assert_eq!(home.standing("nightly"), "ended");
    session.press("kr");
    wait_for(&mut session, "the run mirror does not go on: nobody is there to hear it");
    session.press("q");
    assert_eq!(session.wait().code(), Some(0));
    let ran = waiting.finish();
    assert_eq!(
        (ran.code(), super::attempts(&ran.history()).as_str()),
        (Some(3), "first exit 3, manual exit 3")
    );
}

#[test]
fn what_changes_is_seen_without_a_key() {
    let home = Home::new();
    let mut session = watch(&home);
    let shown = wait_for(&mut session, KEYS);
    assert_eq!(shown[0], "no named runs");
    session.press("rs\rjkGg\u{1b}[5~\u{1b}[6~");
    let running = home
        .named("born", &["-n1", "-d0"], "until test -e go; do sleep 0.01; done; exit 3")
        .start();
    let shown = wait_for(&mut session, "> born");
    assert_eq!(shown[0], "named runs: 1 running");
    session.press("\r");
    wait_for(&mut session, "still running");
    fs::write(home.file("go"), "").expect("a file");
    wait_for(&mut session, "exhausted: gave up after 2 attempts");
    session.press("\u{1b}");
    let shown = wait_for(&mut session, KEYS);
    assert!(shown[2].starts_with("> born  exhausted"), "{shown:?}");
    session.press("q");
    assert_eq!((session.wait().code(), running.finish().code()), (Some(0), Some(3)));
}

/// Two hundred ended runs.
fn with_many() -> Home {
    let home = Home::new();
    let journal = include_str!("../data/journals/ended");
    for number in 0..200 {
        let name = format!("run-{number:03}");
        let path = home.state(&name, "journal");
        let folder = path.parent().expect("a file in a folder");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).expect("a folder");
        fs::write(path, journal.replace("\"ended\"", &format!("\"{name}\""))).expect("a file");
    }
    home
}

#[test]
fn more_runs_than_rows_are_scrolled() {
    let home = with_many();
    let mut session = watch(&home);
    let selected = |shown: &[String]| -> Vec<String> {
        let rows = shown.iter().filter(|row| row.starts_with("> "));
        rows.map(|row| row.chars().skip(2).take(7).collect()).collect()
    };
    let shown = wait_for(&mut session, KEYS);
    assert_eq!(
        (shown[0].as_str(), selected(&shown)),
        ("named runs: 200 ended", vec!["run-000".to_owned()])
    );
    // 21 rows have room.
    for (keys, place, first) in [
        ("\u{1b}[B", "run-001", "run-000"),
        ("j", "run-002", "run-000"),
        ("\u{1b}[A", "run-001", "run-000"),
        ("\u{1b}OA", "run-000", "run-000"),
        ("k", "run-000", "run-000"),
        ("\u{1b}[6~", "run-021", "run-001"),
        ("\u{1b}[6~", "run-042", "run-022"),
        ("\u{1b}[5~", "run-021", "run-021"),
        ("G", "run-199", "run-179"),
        ("j", "run-199", "run-179"),
        ("\u{1b}[5~", "run-178", "run-178"),
        ("\u{1b}[H", "run-000", "run-000"),
        ("\u{1b}[F", "run-199", "run-179"),
        ("g", "run-000", "run-000"),
    ] {
        session.press(keys);
        // It may have been drawn once more before the key was heard.
        let mut drawn = Vec::new();
        until(&format!("{place} below {first} by {keys:?}"), || {
            session.wait_for(DRAWN);
            drawn = session.shown(24, 80);
            let is_first = drawn[2].get(2..9) == Some(first);
            is_first && selected(&drawn) == [place]
        });
    }
    session.press("q");
    assert_eq!(session.wait().code(), Some(0));
}

#[test]
fn a_small_terminal_shows_what_matters_most() {
    let (home, waiting) = with_runs();
    let mut session = watch(&home);
    wait_for(&mut session, KEYS);
    for (rows, columns) in [(10, 40), (24, 80), (3, 20), (50, 200), (2, 5), (10, 40)] {
        session.resize(rows, columns);
        let mut shown = Vec::new();
        // It may have been drawn once more before the size was known.
        until("it fits", || {
            session.wait_for(DRAWN);
            shown = session.shown(rows, columns);
            let keys = if columns < 48 { "Enter r(etry) s(top) q(uit)" } else { KEYS };
            let most = usize::from(columns).saturating_sub(4).min(17);
            shown.len() == usize::from(rows)
                && shown.last().is_some_and(|last| last.get(..most) == keys.get(..most))
        });
        match (rows, columns) {
            (10, 40) => {
                assert_eq!(shown[1], "  NAME     STATE      NEXT");
                assert!(shown[2].starts_with("> nightly  waiting    in 59m "), "{shown:?}");
                assert_eq!((shown.len(), shown[9].as_str()), (10, "Enter r(etry) s(top) q(uit)"));
            }
            (3, 20) => {
                assert_eq!(
                    shown,
                    ["> nightly  waiting", "  mirror   exhau...", "Enter r(etry) s(..."]
                );
            }
            (50, 200) => {
                assert!(
                    shown[1].contains("RETRIES") && shown[2].ends_with("bash -c 'exit 3'"),
                    "{shown:?}"
                );
            }
            _ => {}
        }
    }
    session.press("q");
    assert_eq!(session.wait().code(), Some(0));
    kill_run(waiting);
}

/// The process that a shell waits for.
fn child_of(session: &Session) -> i32 {
    crate::test::child_of(session.pid()).expect("it runs")
}

#[test]
fn whatever_ends_it_gives_the_screen_back() {
    let home = Home::new();
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        let mut session = in_script(&home, "dash");
        wait_for(&mut session, KEYS);
        assert_eq!(session.modes(), (false, false));
        match signal {
            libc::SIGINT => session.press("\u{3}"),
            _ => kill(child_of(&session), signal),
        }
        assert_eq!(session.number_after("status"), 128 + signal);
        session.wait_for("same");
        let (_, screen) = session.finish();
        assert!(screen.contains("\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l"), "{screen}");
    }
}

#[test]
fn a_terminal_that_is_stopped_holds_nothing_up() {
    let home = Home::new();
    let mut session = watch(&home);
    wait_for(&mut session, KEYS);
    session.press("\u{13}j");
    // It draws, and nobody takes it.
    until("it waits for the terminal", || state(session.pid()) == "S");
    kill(session.pid(), libc::SIGTERM);
    assert_eq!(session.wait().signal(), Some(libc::SIGTERM));
}

#[test]
fn a_terminal_that_is_gone_ends_it() {
    let home = Home::new();
    let mut session = watch(&home);
    wait_for(&mut session, KEYS);
    session.hang_up();
    assert_eq!(session.wait().signal(), Some(libc::SIGHUP));
}

#[test]
fn a_stop_gives_the_screen_back_for_a_while() {
    let home = Home::new();
    let mut shell = Session::shell();
    shell.line(&format!("export XDG_STATE_HOME='{}'", home.file(".").display()));
    for _ in 0..2 {
        shell.line("$R --jobs --watch");
        wait_for(&mut shell, KEYS);
        shell.press("\u{1a}");
        shell.wait_for("\u{1b}[?1049l");
        shell.wait_for("Stopped");
        shell.line("stty -a | grep -o ' icanon'");
        shell.wait_for(" icanon");
        shell.line("fg");
        shell.wait_for("\u{1b}[?1049h");
        wait_for(&mut shell, KEYS);
        assert_eq!(shell.modes(), (false, false));
        shell.press("q");
        shell.wait_for("\u{1b}[?1049l");
        shell.line("echo status[$?]");
        assert_eq!(shell.number_after("status"), 0);
    }
}

#[test]
fn it_takes_a_terminal() {
    let home = Home::new();
    let said = "retryrun: --watch needs a terminal that can be drawn on, as stdin and stdout\n";
    let ran = home.call(["--jobs", "--watch"]).env("TERM", "xterm").run();
    assert_eq!((ran.code(), ran.stdout.as_str(), ran.stderr.as_str()), (Some(125), "", said));
    for call in [
        "TERM=dumb $R --jobs --watch",
        "TERM= $R --jobs --watch",
        "$R --jobs --watch | cat",
        "$R --jobs --watch </dev/null",
    ] {
        let (_, screen) = Session::script(&format!("{call}; echo ${{PIPESTATUS[0]}}")).finish();
        assert_eq!(screen, said.replace('\n', "\r\n") + "125\r\n", "{call}");
    }
    let ran = Test::new(["--watch", "true"]).run();
    let said = "retryrun: --watch keeps on the screen what --jobs prints: give that, too\n";
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(125), said));
    let ran = Test::new(["--jobs", "--watch", "--json"]).run();
    assert_eq!(ran.code(), Some(125));
    assert!(ran.stderr.contains("conflicts with"), "{}", ran.stderr);
}

#[test]
fn what_is_shown_commands_no_terminal() {
    let home = Home::new();
    let script = "exit 3 # \u{1b}[31m\u{202e}\n\u{9b}2J長い👩\u{200d}💻\u{7}";
    home.run(&["-n0"], script).run();
    let mut session = watch(&home);
    wait_for(&mut session, KEYS);
    session.press("\r");
    wait_for(&mut session, "q: back");
    session.press("qq");
    assert_eq!(session.wait().code(), Some(0));
    let screen = session.screen();
    assert!(
        !screen.contains("\u{1b}[31m") && !screen.contains(['\u{202e}', '\u{9b}', '\u{7}']),
        "{screen}"
    );
}
