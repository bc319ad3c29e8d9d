//! Secrets: whatever way one gets into what we say, it is masked wherever we say it; the command's own bytes stay as they are.

use std::fs;
use std::path::{Path, PathBuf};

use crate::test::{RETRYRUN, Ran, Test};

const SECRET: &str = "hunter2-s3cret";

/// How we learn what is secret: its option for us, or its variable.
const WAYS: [(&str, &str); 4] = [
    ("the name of a variable", "export MY_TOKEN=hunter2-s3cret"),
    ("the flag", "FLAGS='--redact hunter[0-9]-s[0-9]cret'"),
    ("the environment", "export RETRYRUN_REDACT='hunter[0-9]-s[0-9]cret'"),
    ("a file", "FILE='redact = [\"hunter[0-9]-s[0-9]cret\"]'"),
];

/// A configuration that holds the secret in all its words, in a file and a folder of that name.
const CONFIG: &str = r#"
report = ["r-hunter2-s3cret.json", "e-hunter2-s3cret.ndjson", "m.md", "h.html", "j.xml", "bundle:b-hunter2-s3cret", "json:-"]
log_dir = "l-hunter2-s3cret"
on_give_up = "cat >hook.stdin; env | grep ^RETRYRUN_ | grep -v '^RETRYRUN_REDACT=' >hook.facts; : hunter2-s3cret"
tail = "4KiB"

[policy.p-hunter2-s3cret]
docs = "of hunter2-s3cret"
commands = ["c-hunter2-s3cret"]
rules = [ { retry_on = "denied: 7 & /denied [^ ]*hunter2-s3cret/" }, { stop_on = "77 & /hunter2-s3cret/" } ]
"#;

/// A command in a folder, called by and with the secret, that says it everywhere.
const COMMAND: &str = "#!/bin/bash
[ -z \"$RETRYRUN_HINT_FILE\" ] || printf 'verdict=transient\\nreason=%s-reason\\n' $1 >$RETRYRUN_HINT_FILE
echo out $1; [ \"$RETRYRUN_ATTEMPT\" = 2 ] || echo denied $1 >&2; exit 7
";

/// Runs a script in a folder of the secret's name, with that configuration and command. Where it runs our program as `run`, options may
/// follow; `$FLAGS` and the line for the file are those of the way.
fn in_its_folder(way: &str, script: &str) -> Test {
    let script = format!(
        "{way}; cd d-{SECRET}; {{ printf '%s\\n' \"$FILE\"; cat c.toml; }} >c-{SECRET}.toml; \
         chmod +x c-{SECRET}; run() {{ $R $FLAGS --config c-{SECRET}.toml \"$@\"; }}; {script}"
    );
    Test::shell(&script)
        .file(&format!("d-{SECRET}/c.toml"), CONFIG)
        .file(&format!("d-{SECRET}/c-{SECRET}"), COMMAND)
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files
}

#[track_caller]
fn check(what: &str, text: &str) {
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(SECRET)).collect();
    assert!(lines.is_empty(), "{what}: {lines:?}");
}

#[test]
fn in_no_line_and_in_no_report() {
    for (way, setup) in WAYS {
        for options in ["-vv", "-v --log-format json", "-vv --ci github", "-q --ci azure"] {
            let run =
                format!("run -n1 -d0 --hints --history always {options} ./c-{SECRET} {SECRET}");
            let script = format!(
                "export GITHUB_STEP_SUMMARY=summary AGENT_TEMPDIRECTORY=$(dirname $PWD); {run} 2>stderr"
            );
            let test = in_its_folder(setup, &script);
            let (ran, texts) = test.run_with(|folder| {
                let read = |path: PathBuf| {
                    let text =
                        String::from_utf8_lossy(&fs::read(&path).expect("a file")).into_owned();
                    (path.strip_prefix(folder).expect("in it").display().to_string(), text)
                };
                files(folder).into_iter().map(read).collect::<Vec<_>>()
            });
            assert_eq!(ran.code(), Some(7), "{way} {options}: {} {texts:?}", ran.stderr);
            let report = ran.stdout.strip_prefix(&format!("out {SECRET}\nout {SECRET}\n"));
            check("json on stdout", report.expect("the command's own bytes"));
            let mut seen = Vec::new();
            for (path, text) in &texts {
                let name = path.rsplit('/').next().unwrap_or_default();
                if path.contains(&format!("/l-{SECRET}/")) && name.ends_with(".stdout.log") {
                    assert!(text.contains(SECRET), "the command's own bytes in {path}: {text}");
                } else if name == "stderr" {
                    // What the command wrote is its own.
                    let ours: String = text
                        .lines()
                        .filter(|line| !line.starts_with("denied "))
                        .map(|line| format!("{line}\n"))
                        .collect();
                    check(&format!("{way} {options} {path}"), &ours);
                    assert!(ours.contains("***"), "{ours}");
                } else if !path.contains(&format!("/l-{SECRET}/"))
                    && !name.starts_with("c-")
                    && name != "c.toml"
                {
                    check(&format!("{way} {options} {path}"), text);
                }
                seen.push(name);
            }
            for name in [
                "hook.stdin",
                "hook.facts",
                "history.json",
                "environment.json",
                "attempt-2.stderr.log",
                "m.md",
                "h.html",
                "j.xml",
            ] {
                assert!(seen.contains(&name), "{name} in {seen:?}");
            }
            let text = |name: &str| {
                texts.iter().find(|(path, _)| path.ends_with(name)).map(|(_, text)| text.as_str())
            };
            assert!(
                text("hook.facts").is_some_and(|facts| facts.contains("LAST_REASON=***-reason"))
            );
            assert!(
                text("history.json").is_some_and(|json| json.contains("denied ***")),
                "evidence"
            );
            assert_eq!(text("summary").is_some(), options.contains("github"));
        }
    }
}

/// What a script prints on either stream.
fn said(setup: &str, script: &str) -> (Ran, String) {
    let ran = in_its_folder(setup, script).run();
    let text = format!("{}{}", ran.stdout, ran.stderr);
    (ran, text)
}

#[test]
fn not_in_what_is_explained() {
    for (way, setup) in WAYS {
        for options in ["--explain", "--explain --json"] {
            let (ran, text) = said(setup, &format!("run {options} ./c-{SECRET} {SECRET}"));
            assert_eq!(ran.code(), Some(0), "{way}: {text}");
            check(&format!("{way} {options}"), &text);
            assert!(text.contains("***"), "{text}");
        }
    }
}

#[test]
fn not_where_a_command_cannot_be_started() {
    for (way, setup) in WAYS {
        let interpreter =
            format!("printf '#!/{SECRET}/sh\\n' >script; chmod +x script; run -n0 ./script");
        for script in [
            format!("run -n0 ./missing-{SECRET}"),
            format!("run -n0 {SECRET}"),
            interpreter,
            "cd ..; mkdir e; cd e; echo >x; $R $FLAGS -n0 ./x".into(),
        ] {
            let (_, text) = said(setup, &script);
            check(&format!("{way}: {script}"), &text);
        }
    }
}

#[test]
fn not_in_what_is_said_of_our_own_failures() {
    for (way, setup) in WAYS {
        for script in [
            format!("run --report /missing-{SECRET}/r.json true"),
            format!("run --report bundle:c.toml/{SECRET} true"),
            format!("run --log-dir c.toml/{SECRET} true"),
            format!("run --cgroup /missing-{SECRET} true"),
            format!("run --policy {SECRET} true"),
        ] {
            let (ran, text) = said(setup, &script);
            assert_eq!(ran.code(), Some(125), "{way}: {script}: {text}");
            // A policy that is not there is looked for before it is known what a file says.
            if way != "a file" || !script.contains("--policy") {
                check(&format!("{way}: {script}"), &text);
            }
        }
        for script in [
            format!(
                "mkdir {SECRET}; run -n0 --ci none --report json:{SECRET}/full ./c-{SECRET} x; rm -r {SECRET}"
            ),
            format!("GITHUB_STEP_SUMMARY=/missing-{SECRET}/s run -n0 --ci github false"),
            format!("run --on-give-up 'exit 3' -n0 -q ./c-{SECRET} x"),
            format!("ln -s /dev/full f-{SECRET}; run -n0 --report json:f-{SECRET} false"),
        ] {
            let (_, text) = said(setup, &format!("{{ {script}; }} 2>&1 | grep -v ^denied"));
            check(&format!("{way}: {script}"), &text);
        }
    }
}

#[test]
fn not_where_a_text_is_cut() {
    // The cut goes through the secret, wherever that stands.
    for before in 0..20 {
        let filler = "x".repeat(before);
        let script = format!("printf '%s' 'denied {SECRET} {filler}' >&2; exit 3");
        let test = Test::bash(&["-n0", "--tail=20"], &script).env("MY_TOKEN", SECRET);
        let tail = test.run().first_attempt().stderr_tail.expect("it was kept");
        for length in 4..=SECRET.len() {
            let end = &SECRET[SECRET.len() - length..];
            assert!(!tail.contains(end), "{before}: {tail:?}");
        }
        assert!(tail.ends_with(&filler), "{tail:?}");
    }
    for (before, behind) in [(600, 20), (500, 20), (0, 1010), (0, 1000)] {
        // A long word of chance, and a match behind it.
        let secret: String = (0..700).map(|n| char::from(b'a' + (n * n % 26) as u8)).collect();
        let script = format!(
            "printf '%s %s%s denied %s%s\\n' {x} \"$MY_TOKEN\" '' {y} \"$MY_TOKEN\" >&2; exit 7",
            x = "x".repeat(before + 1),
            y = "y".repeat(behind),
        );
        let options = ["-n0", "--stop-on=denied: 7 & err/denied/"];
        let ran = Test::bash(&options, &script).env("MY_TOKEN", &secret).run();
        let evidence = ran.first_attempt().evidence.unwrap_or_else(|| panic!("{}", ran.stderr));
        let has_part = secret
            .as_bytes()
            .windows(12)
            .any(|part| evidence.contains(std::str::from_utf8(part).expect("text")));
        assert!(!has_part && evidence.contains("denied"), "{before} {behind}: {evidence}");
    }
}

#[test]
fn not_where_a_secret_with_blanks_is_cut() {
    const WORDS: [&str; 4] = ["correct", "horse", "battery", "staple"];
    const PASSWORD: &str = "correct horse battery staple";
    let check = |what: &str, text: &str| {
        let seen = WORDS.into_iter().chain(["4711"]).find(|word| text.contains(word));
        assert!(seen.is_none(), "{what}: {seen:?} in {text:?}");
    };
    let run = |options: &[&str], script: &str| {
        let options = [&["-n0", "--redact=pin: [0-9]+"], options].concat();
        Test::bash(&options, script).env("MY_PASSWORD", PASSWORD).run().first_attempt()
    };
    for secret in [PASSWORD, "pin: 4711"] {
        for size in (7..42).step_by(5) {
            let script = format!("seq 1 9999; printf '%s' 'x {secret} is denied' >&2; exit 7");
            let tail = run(&[&format!("--tail={size}")], &script).stderr_tail.expect("it was kept");
            check("the tail", &tail);
            assert!(tail.len() <= size && tail.ends_with("denied"), "{size}: {tail:?}");
        }
        for behind in [485, 492, 497] {
            // The first cut goes through the one, 512 bytes before the end of the match, and the second, 1024 bytes behind that one, through the other.
            let before = behind - " denied".len();
            let script = format!(
                "printf '%s %s %s denied %s %s\\n' {x} '{secret}' {x} {x} '{secret}' >&2; exit 7",
                x = "x".repeat(before)
            );
            let evidence = run(&["--stop-on=7 & err/denied/"], &script).evidence.expect("a match");
            check("the evidence", &evidence);
            assert!(evidence.contains("x denied x"), "{evidence}");
        }
        for before in (175..198).step_by(4) {
            let script = format!(
                "echo reason={} '{secret}' >$RETRYRUN_HINT_FILE; exit 7",
                "x".repeat(before)
            );
            let reason = run(&["--hints"], &script).reason.expect("it was given");
            check("the reason", &reason);
            assert!(reason.starts_with(&"x".repeat(before)) && reason.contains('*'), "{reason}");
        }
    }
}

#[test]
fn a_secret_of_many_lines_is_masked_too() {
    let key = "-----BEGIN KEY-----\nAAAABBBBCCCC\nDDDDEEEE\n-----END KEY-----";
    let script = "echo \"$A_KEY\" >&2; exit 3";
    let ran = Test::bash(&["-n0", "--tail=4KiB"], script).env("A_KEY", key).run();
    assert_eq!(ran.first_attempt().stderr_tail.as_deref(), Some("***\n"));
    assert!(ran.stderr.starts_with(key), "the command's own bytes");
}

#[test]
fn numbers_and_our_own_words_are_never_masked() {
    let options = ["-n1", "-d0", "--redact=[a-z0-9]+", "-v", "--report=json:-"];
    let ran = Test::bash(&options, "exit 7").env("R", RETRYRUN).run();
    let history = ran.history();
    assert_eq!((history.attempts.len(), history.exit_code), (2, Some(7)));
    assert!(ran.stderr.contains("retryrun: gave up after 2 attempts in "), "{}", ran.stderr);
    assert_eq!(history.attempts[0].reason.as_deref(), Some("unlisted"));
}
