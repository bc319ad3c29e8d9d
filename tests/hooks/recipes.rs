//! Hooks as people write them: with the programs that they call replaced by ones that note what they are given.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use super::read;
use crate::test::{Ran, Test, path, steps};

const NOTIFY: [&str; 4] = [
    "--on-success",
    r#"notify-send "Done" "$RETRYRUN_MESSAGE""#,
    "--on-give-up",
    r#"notify-send -u critical "Failed" "$RETRYRUN_MESSAGE""#,
];

const CHAT: [&str; 2] = [
    "--on-give-up",
    r#"jq "{text: (.command[0] + \" on \" + .host + \": \" + .message)}" | curl -fsS -H "Content-Type: application/json" -d @- "$SLACK_WEBHOOK""#,
];

/// Runs with programs of these names, each of which notes its words, a line each, and what it reads.
fn with_programs<T>(
    programs: &[&str],
    options: &[&str],
    command: &[&str],
    look: impl FnOnce(&Path) -> T,
) -> (Ran, T) {
    let mut test = Test::new([options, &["--"], command].concat());
    for program in programs {
        let note =
            format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >{program}.words\ncat >{program}.stdin\n");
        test = test.file(&format!("bin/{program}"), &note);
        let file = test.path(&format!("bin/{program}"));
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("its own file");
    }
    let path = format!("{}:{}", test.path("bin").display(), path());
    test.env("PATH", path).env("SLACK_WEBHOOK", "http://127.0.0.1:9/hook").run_with(look)
}

#[test]
fn a_notification_on_the_desktop() {
    let options = [&["-n0"][..], &NOTIFY].concat();
    for (script, begin) in
        [("exit 0", "Done\nsucceeded"), ("exit 7", "-u\ncritical\nFailed\ngave up")]
    {
        let (ran, words) =
            with_programs(&["notify-send"], &options, &["sh", "-c", script], |folder| {
                read(folder.join("notify-send.words"))
            });
        assert!(words.starts_with(begin), "{words} {}", ran.stderr);
        assert!(!ran.stderr.contains("failed: "), "{}", ran.stderr);
    }
}

#[test]
fn a_message_to_a_chat_stays_text_whatever_stands_in_it() {
    let name = "./\"'$(touch made)`touch made`\\\n{}";
    let options = [&["-n0"][..], &CHAT].concat();
    let (ran, (words, body, is_made)) = with_programs(&["curl"], &options, &[name], |folder| {
        let made = folder.join("made").exists();
        (read(folder.join("curl.words")), read(folder.join("curl.stdin")), made)
    });
    assert_eq!((ran.code(), is_made), (Some(127), false), "{}", ran.stderr);
    assert!(words.ends_with("\n-d\n@-\nhttp://127.0.0.1:9/hook\n"), "{words}");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let history = ran.history();
    let message = history.message.expect("it is over");
    assert_eq!(body["text"], format!("{name} on {}: {message}", history.host));
}

#[test]
fn a_clean_start_for_every_attempt() {
    let script = steps(&["mkdir -p build/partial; exit 7", "[ ! -e build/partial ]"]);
    let options = ["-n1", "-d0", "--before-attempt", "rm -rf build/partial"];
    let ran = Test::bash(&options, &script).run();
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
}

#[test]
fn a_folder_for_a_failed_job() {
    let options = ["-n0", "--report=bundle:retryrun", "--report-when=failure"];
    for (script, is_there) in [("exit 0", false), ("exit 7", true)] {
        let (_, exists) = Test::bash(&options, script)
            .run_with(|folder| folder.join("retryrun/history.json").is_file());
        assert_eq!(exists, is_there);
    }
}
