//! Names, links, owners and folders that are not as they should be, and secrets.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use super::{Home, attempts, kill};
use crate::test::{RETRYRUN, Ran, Test, say};

/// Nothing was run, and why is said in one line.
fn refused(ran: &Ran) -> &str {
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(125), ""), "{}", ran.stderr);
    let line = ran.stderr.strip_suffix('\n').unwrap_or_default();
    assert!(!line.contains('\n'), "{line}");
    line
}

#[test]
fn a_name_never_leads_out_of_the_state() {
    let long = "x".repeat(101);
    for name in ["../../x", "..", ".", "", ".hidden", "-x", "a/b", "/etc", "a b", "é", "a\n", &long]
    {
        for option in ["--job", "--show-job", "--retry-job", "--stop-job", "--rerun-job"] {
            let home = Home::new();
            let word = format!("{option}={name}");
            let words: &[&str] = if option == "--job" { &[&word, "echo", "ran"] } else { &[&word] };
            let ran = home.call(words).run();
            let line = refused(&ran);
            assert!(line.contains(option) && line.contains("expected a"), "{line}");
            assert!(!home.file("retryrun").exists(), "nothing is made for it");
        }
    }
    let home = Home::new();
    let long = "x".repeat(100);
    for name in ["a", "nightly-backup", "v1.2_x", "a..b", "0", &long] {
        assert_eq!(home.named(name, &[], "exit 0").run().code(), Some(0), "{name}");
    }
    assert_eq!(home.list().len(), 6);
    let ran = home.call(["true"]).env("RETRYRUN_JOB", "a/b").run();
    assert!(refused(&ran).contains("RETRYRUN_JOB"), "{}", ran.stderr);
}

#[test]
fn only_the_owner_can_read_the_state() {
    let home = Home::new();
    let test = home.run(&["-d1000", "--max-delay=1000"], "exit 3");
    let running = test.with(|command| {
        use std::os::unix::process::CommandExt;
        // SAFETY: umask is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                libc::umask(0);
                Ok(())
            });
        }
    });
    let running = running.start();
    home.wait_for("x", "waiting");
    let mode = |path: &Path| fs::symlink_metadata(path).expect("it is there").mode() & 0o777;
    let folder = home.state("x", ".");
    for folder in [home.file("retryrun"), home.file("retryrun/jobs"), folder.clone()] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    let files = fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("one").path());
    let files: Vec<_> = files.collect();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    kill(running);
    // What was open before is closed.
    fs::set_permissions(home.file("retryrun"), Permissions::from_mode(0o777)).expect("it is ours");
    home.named("y", &[], "exit 0").run();
    assert_eq!(mode(&home.file("retryrun")), 0o700);
    for file in ["journal", "lock"] {
        let file = home.state("x", file);
        fs::set_permissions(&file, Permissions::from_mode(0o666)).expect("it is ours");
    }
    home.comes_due("x");
    home.run(&[], "exit 0").run();
    assert_eq!(["journal", "lock"].map(|file| mode(&home.state("x", file))), [0o600; 2]);
}

#[test]
fn nothing_is_opened_through_a_link() {
    let target = tempfile::tempdir().expect("a folder");
    fs::set_permissions(target.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let precious = target.path().join("precious");
    fs::write(&precious, "precious\n").expect("a file");
    for place in ["retryrun", "retryrun/jobs", "retryrun/jobs/x"] {
        let home = Home::new();
        let path = home.file(place);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        symlink(target.path(), &path).expect("a link");
        let ran = home.run(&[], "echo ran").run();
        let said =
            format!("retryrun: cannot keep state in {}: it is a symbolic link", path.display());
        assert_eq!(refused(&ran), said);
        assert_eq!(fs::read_dir(target.path()).expect("it is there").count(), 1);
        assert_eq!(fs::metadata(target.path()).expect("it is there").mode() & 0o777, 0o755);
    }
    for (file, is_refused) in
        [("journal", true), ("lock", true), ("journal.new", false), ("control", false)]
    {
        let home = Home::new();
        home.put("x", "");
        let path = home.state("x", file);
        let _there_was_none = fs::remove_file(&path);
        symlink(&precious, &path).expect("a link");
        let ran = home.run(&[], "echo ran").run();
        if is_refused {
            assert!(refused(&ran).starts_with("retryrun: cannot use the state of the run x: "));
        } else {
            // In its place comes one of ours.
            assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "ran\n"), "{}", ran.stderr);
            assert_eq!(home.ask("--show-job", "x").code(), Some(0));
        }
        assert_eq!(fs::read_to_string(&precious).ok().as_deref(), Some("precious\n"), "{file}");
    }
    // A dangling one makes no file where it points.
    let home = Home::new();
    home.put("x", "");
    fs::remove_file(home.state("x", "journal")).expect("it was put there");
    symlink(target.path().join("new"), home.state("x", "lock")).expect("a link");
    refused(&home.run(&[], "echo ran").run());
    assert!(!target.path().join("new").exists());
}

#[test]
fn what_is_no_file_is_refused() {
    for file in ["journal", "lock"] {
        let home = Home::new();
        home.put("x", "");
        let path = home.state("x", file);
        let _there_was_none = fs::remove_file(&path);
        fs::create_dir(&path).expect("a folder");
        refused(&home.run(&[], "echo ran").run());
        fs::remove_dir(&path).expect("it is empty");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600))
            .expect("a fifo");
        refused(&home.run(&[], "echo ran").run());
    }
    let home = Home::new();
    fs::write(home.file("retryrun"), "").expect("a file");
    refused(&home.run(&[], "echo ran").run());
}

/// The program as nobody runs it, with the state in a folder.
fn as_nobody(home: &Home, state: &Path, words: &[&str]) -> Test {
    let copy = home.file("program");
    if !copy.exists() {
        crate::test::copy_program(RETRYRUN, &copy);
    }
    fs::set_permissions(home.file("."), Permissions::from_mode(0o755)).expect("it is ours");
    let copy = copy.into_os_string().into_string().expect("text");
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups", "--", &copy];
    Test::of("setpriv", user.into_iter().chain(words.iter().copied()))
        .env("XDG_STATE_HOME", state)
        .with(|command| {
            command.current_dir("/");
        })
}

#[test]
fn the_state_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return say("skipped: only root can become another user");
    }
    let home = Home::new();
    fs::create_dir(home.file("retryrun")).expect("a folder");
    chown(home.file("retryrun"), Some(65_534), None).expect("we are root");
    let ran = home.run(&[], "echo ran").run();
    let said = format!(
        "retryrun: cannot keep state in {}: it belongs to another user",
        home.file("retryrun").display()
    );
    assert_eq!(refused(&ran), said);

    let home = Home::new();
    let state = home.file("theirs");
    fs::create_dir(&state).expect("a folder");
    chown(&state, Some(65_534), None).expect("we are root");
    let words = ["--job", "x", "-d1000", "--max-delay=1000", "false"];
    let running = as_nobody(&home, &state, &words).start();
    let as_root = |words: &[&str]| Test::new(words).env("XDG_STATE_HOME", &state).run();
    crate::test::wait_until("it waits", || {
        let ran = as_nobody(&home, &state, &["--jobs", "--json"]).run();
        ran.stdout.contains("\"waiting\"")
    });
    // Even root reaches only runs of its own.
    assert_eq!(as_root(&["--jobs", "--json"]).stdout, "[]\n");
    for mode in ["--stop-job", "--retry-job", "--show-job", "--rerun-job"] {
        assert_eq!(refused(&as_root(&[mode, "x"])), "retryrun: there is no named run `x`");
    }
    kill(running);
}

#[test]
fn a_state_that_cannot_be_written_is_an_error_before_anything_is_run() {
    if !rustix::process::geteuid().is_root() {
        return say("skipped: only root can become another user");
    }
    let home = Home::new();
    let state = home.file("readonly");
    fs::create_dir(&state).expect("a folder");
    let ran = as_nobody(&home, &state, &["--job", "x", "echo", "ran"]).run();
    let said =
        format!("retryrun: cannot keep state in {}/retryrun: Permission denied", state.display());
    assert_eq!(refused(&ran), said);
    // Also where there are runs.
    chown(&state, Some(65_534), None).expect("we are root");
    assert_eq!(as_nobody(&home, &state, &["--job", "x", "true"]).run().code(), Some(0));
    for folder in ["retryrun/jobs/x", "retryrun/jobs"] {
        // Its owner could write it, but a file system that is read only could not be.
        chown(state.join(folder), Some(0), None).expect("we are root");
        let name = if folder.ends_with('x') { "x" } else { "y" };
        refused(&as_nobody(&home, &state, &["--job", name, "echo", "ran"]).run());
        chown(state.join(folder), Some(65_534), None).expect("we are root");
    }
    let looked = as_nobody(&home, &state, &["--jobs", "--json"]).run();
    assert!(looked.stdout.contains("\"job\":\"x\""), "{looked:?}");
}

#[test]
fn the_state_is_where_the_base_directories_say() {
    let test = |words: &[&str]| Test::new(words);
    let script = "find . -name journal | sort";
    let run = |name: &str, value: &str| {
        let test = test(&["--job", "x", "--", "sh", "-c", script]).env(name, value);
        let ran = test.run();
        (ran.code(), ran.stdout, ran.stderr)
    };
    let home = (Some(0), "./.local/state/retryrun/jobs/x/journal\n".to_owned(), String::new());
    assert_eq!(run("A", ""), home);
    // A relative one is ignored, and an empty one is unset.
    assert_eq!(run("XDG_STATE_HOME", "state"), home);
    assert_eq!(run("XDG_STATE_HOME", ""), home);
    let (code, stdout, stderr) = run("HOME", "");
    assert_eq!((code, stdout.as_str()), (Some(125), ""));
    assert_eq!(
        stderr,
        "retryrun: state of runs has no place: neither XDG_STATE_HOME nor HOME names a folder\n"
    );
    assert_eq!(test(&["--jobs"]).env("HOME", "relative").run().code(), Some(125));
    // Without a name no state is needed.
    assert_eq!(test(&["true"]).env("HOME", "").run().code(), Some(0));
    // Looking makes nothing.
    let home = Home::new();
    assert_eq!(home.list().len(), 0);
    assert!(!home.file("retryrun").exists());
}

#[test]
fn secrets_are_masked_but_in_what_was_called() {
    let home = Home::new();
    let script = "echo token s3cr3t-t0ken and swordfish >&2; exit 3 # s3cr3t-t0ken swordfish";
    let options = ["--redact=sword[a-z]+", "--tail=1KiB", "-n0"];
    let ran = home.run(&options, script).env("API_TOKEN", "s3cr3t-t0ken").run();
    assert_eq!(ran.code(), Some(3));
    let journal = fs::read_to_string(home.state("x", "journal")).expect("it is there");
    let (call, records) = journal.split_once('\n').expect("it has lines");
    assert!(call.contains("s3cr3t-t0ken swordfish"), "{call}");
    assert!(!call.contains("API_TOKEN"), "secrets of the environment come from there again");
    let history = serde_json::to_string(&home.show("x")).expect("plain data");
    let shown =
        [records, &history, &home.call(["--jobs"]).run().stdout, &format!("{:?}", home.list())];
    for text in shown {
        assert!(!text.contains("s3cr3t") && !text.contains("swordfish"), "{text}");
        assert!(text.contains("exit 3 # *** ***"), "{text}");
    }
    // Whoever looks may want more to be masked, but never our words or numbers.
    let show = |words: &[&str]| home.call(words).run().stdout;
    let shown = show(&["--redact=ex.t|exhausted|token|3", "--show-job", "x"]);
    assert!(shown.contains("\"exhausted\"") && shown.contains("\"exit_code\": 3"), "{shown}");
    assert!(shown.contains("*** *** # *** ***") && !shown.contains("token"), "{shown}");
    let listed = show(&["--redact=bash", "--jobs"]);
    assert!(!listed.contains("bash") && listed.contains("'echo token "), "{listed}");
    // What is run again is what was called.
    let ran = home.ask("--rerun-job", "x");
    assert!(ran.stderr.contains("token s3cr3t-t0ken and swordfish"), "{}", ran.stderr);
    assert!(!ran.history().command.concat().contains("swordfish"), "{}", ran.stderr);
    assert_eq!(attempts(&home.show("x")), "manual exit 3");
}

#[test]
fn what_is_shown_commands_no_terminal() {
    let home = Home::new();
    home.run(&["-n0"], "exit 3 # \u{1b}[31m\u{202e}\n::error::x\n##[group]y").run();
    for words in [&["--jobs"][..], &["--jobs", "--json"], &["--show-job", "x"]] {
        let shown = home.call(words).run().stdout;
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown:?}");
        assert!(!shown.contains("\n::error") && !shown.contains("##["), "{shown:?}");
        assert!(words.len() != 1 || shown.lines().count() == 2, "a row each: {shown:?}");
    }
}
