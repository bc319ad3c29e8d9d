//! Budgets that runs share, in files: real processes at once, killed ones, clocks that are set, and files that are not what they seem.

mod redis;
#[cfg(feature = "redis-tls")]
mod tls;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use retryrun::engine::event::{Outcome, Trigger};
use retryrun::engine::history::History;
use rustix::process::Signal;

use crate::test::{RETRYRUN, Ran, Running, Test, wait_until};

/// A state folder that several runs share.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The file of the budget that all tests here use.
    fn file(&self) -> PathBuf {
        self.path().join("retryrun/budgets/x")
    }

    fn test(&self, options: &[&str], script: &str) -> Test {
        let quick = ["-d0", "--history=always"];
        Test::bash(&[&quick, options].concat(), script).env("XDG_STATE_HOME", self.path())
    }

    /// A run of a command that fails.
    fn run(&self, options: &[&str]) -> Ran {
        self.test(options, "exit 7").run()
    }

    /// How many retries are left, all of which are made.
    fn drain(&self, budget: &str) -> u64 {
        let ran = self.run(&["--budget", budget, "-n", "unlimited"]);
        let history = ran.history();
        assert_eq!(
            (ran.code(), history.outcome),
            (Some(7), Some(Outcome::Budget)),
            "{}",
            ran.stderr
        );
        history.retry_count
    }
}

/// What has happened, by the last line of stderr, and how many lines contain a text.
fn seen(ran: &Ran, text: &str) -> (History, usize) {
    (ran.history(), ran.lines().iter().filter(|line| line.contains(text)).count())
}

/// Many runs at once, each of which retries as often as it may; how many retries were made, and in how long.
fn at_once(count: usize, start: impl Fn() -> Running) -> (u64, Duration) {
    #[expect(clippy::disallowed_methods, reason = "a test that measures")]
    let began = Instant::now();
    let running: Vec<Running> = (0..count).map(|_| start()).collect();
    let retries = running.into_iter().map(|running| running.finish().history().retry_count).sum();
    (retries, began.elapsed())
}

#[test]
fn an_empty_budget_ends_the_run_with_the_commands_status() {
    let home = Home::new();
    let ran = home.run(&["--budget", "x=2/1h", "-n5"]);
    let history = ran.history();
    assert_eq!((ran.code(), history.outcome), (Some(7), Some(Outcome::Budget)));
    assert_eq!((history.retry_count, history.attempts.len()), (2, 3));
    let last = ran.lines().pop().expect("a last line").to_owned();
    assert!(last.starts_with("retryrun: gave up after 3 attempts in "), "{last}");
    assert!(last.ends_with(": the budget x is used up, exit 7 each time (unlisted)"), "{last}");
    let replaced = home.run(&["--budget", "x=2/1h", "--exit-code", "budget=75"]);
    assert_eq!((replaced.code(), replaced.history().attempts.len()), (Some(75), 1));
}

#[test]
fn names_do_not_share() {
    let home = Home::new();
    assert_eq!((home.drain("x=3/1h"), home.drain("y=2/1h"), home.drain("x=3/1h")), (3, 2, 0));
}

#[test]
fn what_flows_in_is_granted() {
    let home = Home::new();
    assert_eq!(home.drain("x=1000/36600d"), 1000);
    // The last caller's numbers hold from now on.
    assert_eq!(home.drain("x=2/1ms"), 0);
    sleep(Duration::from_millis(2));
    let ran = home.run(&["--budget", "x=2/1ms", "-n1"]);
    assert_eq!((ran.history().retry_count, ran.history().outcome), (1, Some(Outcome::Exhausted)));
}

#[test]
fn a_success_at_the_first_attempt_puts_a_share_back() {
    let home = Home::new();
    assert_eq!(home.drain("x=2/1h+50%"), 2);
    for _ in 0..3 {
        let ran = home.test(&["--budget", "x=2/1h+50%"], "exit 0").run();
        assert_eq!((ran.code(), ran.lines().concat().as_str()), (Some(0), ""), "{}", ran.stderr);
    }
    assert_eq!(home.drain("x=2/1h+50%"), 1);
}

#[test]
fn two_hundred_processes_at_once_never_take_more_than_there_is() {
    let home = Home::new();
    let options = ["--budget", "x=5/1h", "-n3"];
    let (retries, _) = at_once(200, || home.test(&options, "exit 7").start());
    assert_eq!(retries, 5);
}

#[test]
fn two_hundred_processes_at_once_never_take_more_than_flows_in() {
    let home = Home::new();
    let options = ["--budget", "x=5/1s", "-n", "unlimited"];
    let script = "[ -e full ] || sleep 0.05; exit 7";
    let (retries, lasted) = at_once(200, || home.test(&options, script).start());
    let most = 5.0 + lasted.as_secs_f64() * 5.0;
    assert!((5.0..=most).contains(&(retries as f64)), "{retries} in {lasted:?}");
}

#[test]
fn processes_that_are_killed_at_any_moment_take_no_more_than_a_token_each() {
    const KILLED: u64 = 60;
    const CAPACITY: u64 = 400;
    let home = Home::new();
    let made = home.path().join("made");
    let script = format!("[ $RETRYRUN_ATTEMPT = 1 ] || echo >>{}; exit 7", made.display());
    let budget = format!("x={CAPACITY}/1h");
    let options = ["--budget", &budget, "-n", "unlimited"];
    for killed in 0..KILLED {
        let mut running = home.test(&options, &script).start();
        sleep(Duration::from_micros(killed * 997 % 20_000));
        running.signal(Signal::KILL);
        running.wait();
    }
    let left = home.drain(&budget);
    let made = fs::read(&made).map_or(0, |made| made.len() as u64);
    assert!(left < CAPACITY, "some retries were made");
    assert!((CAPACITY - KILLED..=CAPACITY).contains(&(made + left)), "{made} made, {left} left");
}

#[test]
fn a_clock_that_is_set_grants_nothing() {
    let home = Home::new();
    let faked = |shift: &str, only_calendar: bool| {
        let words = ["-f", shift, RETRYRUN, "--history=always", "-d0", "-n1", "--budget=x=5/1h"];
        let test = Test::of("faketime", words.into_iter().chain(["--", "bash", "-c", "exit 7"]));
        let kept = if only_calendar { "1" } else { "0" };
        let test = test.env("FAKETIME_DONT_FAKE_MONOTONIC", kept);
        test.env("XDG_STATE_HOME", home.path()).run().history().retry_count
    };
    assert_eq!(home.drain("x=5/1h"), 5);
    assert_eq!((faked("+1000d", true), faked("-1000d", true)), (0, 0));
    assert_eq!(home.drain("x=5/1h"), 0);
    // Had time passed by the machine's own clock as well, there would have been more.
    assert_eq!(faked("+10h", false), 1);
}

#[test]
fn only_its_owner_can_read_it() {
    let home = Home::new();
    fs::create_dir(home.path().join("retryrun")).expect("a folder");
    fs::set_permissions(home.path().join("retryrun"), PermissionsExt::from_mode(0o755))
        .expect("it is ours");
    assert_eq!(home.drain("x=1/1h"), 1);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
    assert_eq!(mode(&home.path().join("retryrun")), 0o700);
    assert_eq!(mode(&home.path().join("retryrun/budgets")), 0o700);
    assert_eq!(mode(&home.file()), 0o600);
}

#[test]
fn it_is_kept_at_home_unless_an_absolute_folder_is_named() {
    for (name, value) in [("XDG_STATE_HOME", ""), ("XDG_STATE_HOME", "relative"), ("LANG", "C")] {
        let test = Test::bash(&["--budget=x=1/1h", "-d0"], "exit 7").env(name, value);
        let file = test.path(".local/state/retryrun/budgets/x");
        let (ran, is_there) = test.start().finish_with(|| file.exists());
        assert_eq!((ran.code(), is_there), (Some(7), true), "{name}={value}: {}", ran.stderr);
    }
    let homeless = Test::new(["--budget=x=1/1h", "touch", "ran"]).env("HOME", "");
    let mark = homeless.path("ran");
    let (ran, has_run) = homeless.start().finish_with(|| mark.exists());
    assert_eq!((ran.code(), has_run), (Some(125), false));
    assert!(ran.stderr.contains("set HOME or XDG_STATE_HOME"), "{}", ran.stderr);
}

/// What is said where a budget cannot be kept; nothing is run then.
fn refused(home: &Path) -> String {
    let test = Test::bash(&["--budget=x=1/1h"], "touch ran").env("XDG_STATE_HOME", home);
    let mark = test.path("ran");
    let (ran, has_run) = test.start().finish_with(|| mark.exists());
    assert_eq!((ran.code(), ran.lines().len(), has_run), (Some(125), 1, false), "{}", ran.stderr);
    ran.stderr
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_before_anything_is_run() {
    let home = Home::new();
    let file = home.path().join("file");
    fs::write(&file, "").expect("a file");
    let said = refused(&file);
    let expected = format!("cannot keep a budget in {}/retryrun: File exists", file.display());
    assert!(said.contains(&expected), "{said}");
    let said = refused(Path::new("/proc/none"));
    assert!(said.contains("cannot keep a budget in /proc/none/retryrun: No such file"), "{said}");
}

#[test]
fn a_link_is_not_followed_and_a_fifo_not_waited_for() {
    let home = Home::new();
    let victim = home.path().join("victim");
    fs::create_dir_all(home.path().join("retryrun/budgets")).expect("folders");
    symlink(&victim, home.file()).expect("a link");
    assert!(refused(home.path()).contains("it is a symbolic link"));
    assert!(!victim.exists());
    fs::write(&victim, "precious").expect("a file");
    assert!(refused(home.path()).contains("it is a symbolic link"));
    assert_eq!(fs::read_to_string(&victim).expect("it is there"), "precious");

    fs::remove_file(home.file()).expect("it is there");
    rustix::fs::mkfifoat(rustix::fs::CWD, home.file(), rustix::fs::Mode::RWXU).expect("a fifo");
    assert!(refused(home.path()).contains("it is no regular file"));
    fs::remove_file(home.file()).expect("it is there");
    fs::create_dir(home.file()).expect("a folder");
    assert!(refused(home.path()).contains("it is no regular file"));

    let other = Home::new();
    symlink(home.path(), other.path().join("retryrun")).expect("a link");
    assert!(refused(other.path()).contains("it is a symbolic link"));
    assert!(!home.path().join("budgets").exists());
}

#[test]
fn a_folder_of_somebody_elses_is_not_used() {
    if !rustix::process::geteuid().is_root() {
        return crate::test::say("skipped: only root can make a folder of somebody else's");
    }
    let home = Home::new();
    let folder = home.path().join("retryrun");
    fs::create_dir(&folder).expect("a folder");
    std::os::unix::fs::chown(&folder, Some(64_321), None).expect("we are root");
    assert!(refused(home.path()).contains("it belongs to another user"));
}

#[test]
fn a_damaged_file_is_said_once_and_begins_anew() {
    let home = Home::new();
    home.drain("x=3/1h");
    let nonsense = format!("printf '%01500d' 0 >{}; exit 7", home.file().display());
    let script = format!("[ $RETRYRUN_ATTEMPT = 1 ] || exit 7; {nonsense}");
    let ran = home.test(&["--budget=x=3/1h", "-n9"], &script).run();
    let (history, said) = seen(&ran, "it was damaged");
    assert_eq!((history.retry_count, history.outcome, said), (3, Some(Outcome::Budget), 1));
    assert_eq!(home.drain("x=3/1h"), 0);
}

#[test]
fn a_file_that_cannot_be_written_any_more_is_said_once_and_the_run_goes_on() {
    let home = Home::new();
    home.drain("x=3/1h");
    let broken = format!("rm {0} && mkdir {0}; exit 7", home.file().display());
    let script = format!("[ $RETRYRUN_ATTEMPT = 1 ] || exit 7; {broken}");
    let ran = home.test(&["--budget=x=3/1h", "-n9"], &script).run();
    let (history, said) = seen(&ran, "this run goes on with one of its own");
    assert_eq!((history.retry_count, history.outcome, said), (3, Some(Outcome::Budget), 1));

    let strict = Home::new();
    let broken = format!("rm {0} && mkdir {0}; exit 7", strict.file().display());
    let ran = strict.test(&["--budget=x=3/1h", "--budget-strict", "-n9"], &broken).run();
    let (history, said) = seen(&ran, "cannot be used: it is no regular file");
    assert_eq!((history.retry_count, history.outcome, said), (0, Some(Outcome::Budget), 1));
}

#[test]
fn a_full_disk_changes_nothing() {
    let home = Home::new();
    assert_eq!(home.run(&["--budget=x=3/1h", "-n1"]).history().retry_count, 1);
    // As if there were no room for a byte: what is there already can still be changed.
    let full = home.test(&["--budget=x=3/1h", "-n9"], "exit 7").with(|command| {
        let limit = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
        // SAFETY: setrlimit is async-signal-safe.
        unsafe {
            std::os::unix::process::CommandExt::pre_exec(command, move || {
                match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
    });
    let history = full.run().history();
    assert_eq!((history.retry_count, history.outcome), (2, Some(Outcome::Budget)));
    assert_eq!(home.drain("x=3/1h"), 0);
}

/// A run that waits for the budget, which somebody else holds.
fn waiting(home: &Home, options: &[&str]) -> (Running, File) {
    assert_eq!(home.run(&["--budget=x=9/1h", "-n1"]).history().retry_count, 1);
    let file = File::options().read(true).write(true).open(home.file()).expect("it is there");
    file.lock().expect("it is free");
    let options = [&["--budget=x=9/1h", "-n1"], options].concat();
    let running = home.test(&options, "exit 7").start();
    let threads = format!("/proc/{}/task", running.pid().as_raw_nonzero());
    wait_until("the budget is asked", || {
        fs::read_dir(&threads).is_ok_and(|threads| threads.count() == 2)
    });
    (running, file)
}

#[test]
fn a_signal_is_answered_while_somebody_else_holds_the_file() {
    let home = Home::new();
    let (running, _file) = waiting(&home, &[]);
    running.signal(Signal::TERM);
    let ran = running.finish();
    assert_eq!(
        (ran.signal(), ran.history().outcome),
        (Some(libc::SIGTERM), Some(Outcome::Interrupted))
    );
}

#[test]
fn the_deadline_comes_while_somebody_else_holds_the_file() {
    let home = Home::new();
    let (running, _file) = waiting(&home, &["--deadline=1s"]);
    let history = running.finish().history();
    assert_eq!((history.outcome, history.retry_count), (Some(Outcome::Deadline), 0));
}

#[test]
fn a_file_that_somebody_else_held_is_waited_for() {
    let home = Home::new();
    let (running, file) = waiting(&home, &[]);
    drop(file);
    let history = running.finish().history();
    assert_eq!((history.outcome, history.retry_count), (Some(Outcome::Exhausted), 1));
}

#[test]
fn an_attempt_by_hand_costs_nothing() {
    let home = Home::new();
    let options = ["--budget=x=1/1h", "-d1000", "--report=events.ndjson"];
    let mut running = home.test(&options, "echo attempt; exit 7").start();
    for _ in 0..3 {
        running.stdout_line();
        running.stderr_with("next in");
        running.signal(Signal::USR1);
    }
    running.stdout_line();
    running.stderr_with("next in");
    running.signal(Signal::TERM);
    let history = running.finish().history();
    let triggers: Vec<Trigger> = history.attempts.iter().map(|attempt| attempt.trigger).collect();
    assert_eq!(triggers, [Trigger::First, Trigger::Manual, Trigger::Manual, Trigger::Manual]);
    assert_eq!(home.drain("x=1/1h"), 0, "the wait that was broken off has cost one");
}

#[test]
fn a_budget_that_cannot_be_is_refused_by_name() {
    for (budget, said) in [
        ("../x=1/1h", "expected a name"),
        ("a/b=1/1h", "expected a name"),
        (".x=1/1h", "expected a name"),
        ("-x=1/1h", "expected a name"),
        ("x\n=1/1h", "expected a name"),
        ("x=0/1h", "expected a whole number of retries"),
        ("x=1/0", "expected a duration above 0"),
        ("x=1/1h+200%", "expected a whole percentage"),
    ] {
        let test = Test::new(["--budget", budget, "touch", "ran"]);
        let mark = test.path("ran");
        let (ran, has_run) = test.start().finish_with(|| mark.exists());
        assert_eq!((ran.code(), has_run), (Some(125), false), "{budget}");
        assert!(ran.stderr.contains("--budget") && ran.stderr.contains(said), "{}", ran.stderr);
    }
    let ran = Test::new(["true"]).env("RETRYRUN_BUDGET", "x").run();
    assert_eq!(ran.code(), Some(125));
    assert!(ran.stderr.contains("RETRYRUN_BUDGET: invalid value `x`"), "{}", ran.stderr);
}

#[test]
fn a_masked_name_is_masked_and_still_a_name() {
    let home = Home::new();
    let ran = home.run(&["--budget=secret-x=1/1h", "--redact=secret", "-n5"]);
    assert!(ran.stderr.contains("the budget ***-x is used up"), "{}", ran.stderr);
    assert!(
        !ran.stderr.contains("secret") && home.path().join("retryrun/budgets/secret-x").exists()
    );
}

#[cfg(not(feature = "redis-tls"))]
#[test]
fn a_missing_feature_is_named() {
    let password = "s3cret";
    let stores = [
        (format!("rediss://:{password}@127.0.0.1"), "rediss://:***@127.0.0.1:6379/0", "redis-tls"),
        (format!("redis://:{password}@127.0.0.1"), "redis://:***@127.0.0.1:6379/0", "redis"),
        (format!("unix:/r?pass={password}"), "unix:/r?db=0", "redis"),
    ];
    let missing = if cfg!(feature = "redis") { 1 } else { 3 };
    for (url, shown, feature) in stores.iter().take(missing) {
        let ran = Test::new(["--budget=x=1/1h", "--budget-store", url, "echo", "ran"]).run();
        let said = format!(
            "retryrun: budget_store (flag --budget-store): {shown}: \
             this program was built without the cargo feature `{feature}`\n"
        );
        assert_eq!((ran.code(), ran.stdout, ran.stderr), (Some(125), String::new(), said));
        // Where there is no budget, nobody needs it.
        assert_eq!(Test::new(["--budget-store", url, "true"]).run().code(), Some(0));
    }
}
