//! The command line: options in all their forms, modes, and what is refused.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde_json::{Value, json};

use crate::explained::{Explained, explain, refusal};
use crate::test::Test;

/// Settings by key, with a short form (or none), a value as it is written, and as it is shown.
fn settings() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    vec![
        ("retries", "-n", "7", json!(7)),
        ("retries", "-n", "inf", json!("unlimited")),
        ("deadline", "", "2h 15m", json!(8100.0)),
        ("timeout", "-t", "1m30s", json!(90.0)),
        ("timeout", "-t", "0", json!(null)),
        ("kill_after", "-k", "0", json!(0.0)),
        ("stop_signal", "", "usr1", json!("SIGUSR1")),
        ("delay", "-d", "500ms", json!(0.5)),
        ("delay", "-d", ".5", json!(0.5)),
        ("backoff", "", "fibonacci", json!("fibonacci")),
        ("multiplier", "", "1.5", json!(1.5)),
        ("max_delay", "", "30", json!(30.0)),
        ("delays", "", "1,2s,1m", json!([1.0, 2.0, 60.0])),
        ("jitter", "", "10%", json!("10%")),
        ("seed", "", "18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
        ("policy", "", "wget", json!("wget")),
        ("history", "", "always", json!("always")),
        ("redact", "", "a[0-9]", json!(["a[0-9]"])),
        ("log_format", "", "json", json!("json")),
        ("color", "", "never", json!("never")),
        ("ci", "", "gitlab", json!("gitlab")),
        ("exit_code", "", "exhausted=same", json!(["exhausted=same"])),
    ]
}

fn variable(key: &str) -> String {
    format!("RETRYRUN_{}", key.to_uppercase())
}

fn option(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// With a configuration of one line.
fn configured(line: &str) -> Explained {
    Explained::of(explain(&["--config", "c.toml"]).file("c.toml", line))
}

#[test]
fn every_setting_can_be_said_everywhere() {
    for (key, short, value, shown) in settings() {
        let long = option(key);
        let flag = format!("flag {long}");
        let mut said: Vec<(Explained, String)> = vec![
            (Explained::with(&[&long, value]), flag.clone()),
            (Explained::with(&[&format!("{long}={value}")]), flag.clone()),
            (
                Explained::of(explain(&[]).env(&variable(key), value)),
                format!("environment {}", variable(key)),
            ),
        ];
        if !short.is_empty() {
            said.push((Explained::with(&[short, value]), flag.clone()));
            said.push((Explained::with(&[&format!("{short}{value}")]), flag.clone()));
        }
        let is_list = matches!(key, "redact" | "exit_code");
        let is_number = matches!(key, "retries" | "multiplier" | "seed") && value != "inf";
        let written = if is_number { value.to_owned() } else { format!("{value:?}") };
        let line =
            if is_list { format!("{key} = [{written}]") } else { format!("{key} = {written}") };
        said.push((configured(&line), "c.toml:1".to_owned()));
        for (explained, origin) in said {
            assert_eq!(explained.value(key), &shown, "{key} by {origin}");
            let place = explained.origin(key);
            assert_eq!(place.split(", defined").next(), Some(origin.as_str()), "{key}");
        }
    }
}

#[test]
fn every_switch_can_be_said_everywhere() {
    for (key, short) in [("quiet", "-q"), ("verbose", "-v")] {
        let mut said = vec![
            Explained::with(&[&option(key)]),
            Explained::with(&[short]),
            configured(&format!("{key} = true")),
        ];
        for word in ["true", "1", "yes"] {
            said.push(Explained::of(explain(&[]).env(&variable(key), word)));
        }
        assert!(said.iter().all(|explained| explained.value(key) == true), "{key}");
        for word in ["false", "0", "no", ""] {
            let explained = Explained::of(explain(&[]).env(&variable(key), word));
            assert_eq!(explained.value(key), false, "{key} {word}");
        }
    }
}

#[test]
fn attempts_are_retries_counted_with_the_first() {
    for (explained, origin) in [
        (Explained::with(&["--attempts", "4"]), "flag --attempts"),
        (
            Explained::of(explain(&[]).env("RETRYRUN_ATTEMPTS", "4")),
            "environment RETRYRUN_ATTEMPTS",
        ),
        (configured("attempts = 4"), "c.toml:1"),
    ] {
        assert_eq!((explained.value("retries"), explained.origin("retries")), (&json!(3), origin));
    }
}

#[test]
fn every_rule_can_be_said_everywhere() {
    for (key, verdict) in
        [("success_on", "success"), ("stop_on", "permanent"), ("retry_on", "transient")]
    {
        let rule = "odd: 7,9 & !8";
        let first = |explained: &Explained| explained.rules().first().cloned();
        let shown = |origin: &str| Some(format!("7,9 & !8 {verdict} odd {origin}"));
        let flag = Explained::with(&[&option(key), rule]);
        assert_eq!(first(&flag), shown(&format!("flag {}", option(key))));
        let environment = Explained::of(explain(&[]).env(&variable(key), rule));
        assert_eq!(first(&environment), shown(&format!("environment {}", variable(key))));
        let file = configured(&format!("{key} = [\"{rule}\"]"));
        assert_eq!(first(&file), shown("c.toml:1"));
    }
    for (word, verdict) in [("retry", "transient"), ("stop", "permanent")] {
        let shown = |origin: &str| vec![format!("any {verdict} otherwise {origin}")];
        assert_eq!(Explained::with(&["--otherwise", word]).rules(), shown("flag --otherwise"));
        let environment = Explained::of(explain(&[]).env("RETRYRUN_OTHERWISE", word));
        assert_eq!(environment.rules(), shown("environment RETRYRUN_OTHERWISE"));
        assert_eq!(configured(&format!("otherwise = \"{word}\"")).rules(), shown("c.toml:1"));
    }
}

#[test]
fn of_an_option_given_twice_the_last_counts() {
    let explained = Explained::with(&[
        "-n1",
        "--delay=1",
        "-n",
        "2",
        "-d2",
        "--jitter=full",
        "--jitter",
        "none",
        "-q",
        "-q",
        "--explain",
        "--json",
        "--policy=curl",
        "--policy=wget",
    ]);
    let values = ["retries", "delay", "jitter", "quiet", "policy"].map(|key| explained.value(key));
    assert_eq!(values, [&json!(2), &json!(2.0), &json!("none"), &json!(true), &json!("wget")]);
}

#[test]
fn repeatable_options_accumulate() {
    let explained = Explained::with(&[
        "--redact=a[0-9]",
        "--redact=b[0-9]",
        "--exit-code=timeout=3",
        "--exit-code=flaky=4",
        "--stop-on=1",
        "--success-on=2",
        "--stop-on=3,4",
    ]);
    assert_eq!(explained.value("redact"), &json!(["a[0-9]", "b[0-9]"]));
    assert_eq!(explained.value("exit_code"), &json!(["timeout=3", "flaky=4"]));
    assert_eq!(
        explained.rules(),
        [
            "2 success success-on flag --success-on",
            "1 permanent stop-on flag --stop-on",
            "3,4 permanent stop-on flag --stop-on",
        ]
    );
}

#[test]
fn the_first_word_that_is_no_option_begins_the_command() {
    for (words, printed) in [
        (&["echo", "-n5", "--", "-h", "--help"][..], "-n5 -- -h --help\n"),
        (&["--", "echo", "a"], "a\n"),
        (&["-n0", "-q", "--", "echo", "--", "-q"], "-- -q\n"),
        (&["-qn0", "echo", "-n", "x"], "x"),
        (&["-n=5", "echo", "$HOME *"], "$HOME *\n"),
        (&["-n", "0", "--", "printf", "%s|", "", " a  b "], "| a  b |"),
    ] {
        let ran = Test::new(words).run();
        assert_eq!((ran.code(), ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), printed, ""));
    }
    let ran = Test::new(["-q", "-n0", "--history=never", "--", "--", "x"]).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(127), ""));
}

#[test]
fn words_of_the_command_need_not_be_text() {
    let raw = OsStr::from_bytes(b"\xff\x01");
    let ran = Test::new([OsStr::new("printf"), OsStr::new("%s"), raw]).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "\u{fffd}\u{1}"));
}

const DURATION: &str = "expected a duration: seconds such as `5` or `0.5`, or units such as `500ms`, `1m30s` or `2h 15m`";
const TOO_LONG: &str = "expected a duration of at most 18446744073709551615 seconds";
const RETRIES: &str = "expected a whole number of retries, 0 or more, or `unlimited`";
const ATTEMPTS: &str = "expected a whole number of attempts, 1 or more, or `unlimited`";
const MULTIPLIER: &str = "expected a number, 1 or more, such as `2` or `1.5`";
const SEED: &str = "expected a whole number from 0 to 18446744073709551615";
const SIGNAL: &str = "expected a signal: a name such as `TERM` or `SIGTERM`, or a number";
const JITTER: &str =
    "expected `none`, `full`, `equal`, `decorrelated` or a percentage from `0%` to `100%`";
const STATUS: &str = "expected an exit code, a range, a signal's name, `nonzero`, `any`, `signal`, `crash`, \
                      `timeout`, `idle-timeout`, `spawn` or a regular expression as `/.../`";
const REGEX: &str = "expected a regular expression that can be searched for: ";
const CODE: &str = "expected an exit code from 0 to 255 or a range of them such as `64-78`";
const WHY: &str = "before the `=`, expected `flaky`, `permanent`, `exhausted`, `deadline`, `budget`, `retry-after`, `stopped`, `interrupted`, \
                   `not-started` or `timeout`";
const EXIT: &str = "expected a status from 0 to 255 or `same` after the `=`";

/// Values of an option, each with what is said of it behind the option and the value.
type Refused = (&'static str, &'static str, &'static [(&'static str, &'static [&'static str])]);

const REFUSED: [Refused; 18] = [
    (
        "--delay",
        "DUR",
        &[
            ("-1", &[DURATION]),
            ("-0.5", &[DURATION]),
            ("nan", &[DURATION]),
            ("inf", &[DURATION]),
            ("1e400", &[DURATION]),
            ("", &[DURATION]),
            ("5x", &[DURATION]),
            ("1,5", &[DURATION]),
            ("18446744073709551616", &[TOO_LONG]),
            ("99999999999999999999s", &[TOO_LONG]),
            ("1y", &[DURATION, "; months and years have no fixed length"]),
        ],
    ),
    ("--timeout", "DUR", &[("-1", &[DURATION])]),
    ("--deadline", "DUR", &[("soon", &[DURATION])]),
    ("--kill-after", "DUR", &[("1..2", &[DURATION])]),
    ("--max-delay", "DUR", &[("unlimited", &[DURATION])]),
    (
        "--delays",
        "D1,D2,...",
        &[
            ("1,,2", &[DURATION, ", with commas between them"]),
            ("", &[DURATION, ", with commas between them"]),
        ],
    ),
    (
        "--retries",
        "N",
        &[
            ("-1", &[RETRIES]),
            ("1.5", &[RETRIES]),
            ("", &[RETRIES]),
            ("+1", &[RETRIES]),
            ("1e3", &[RETRIES]),
            ("18446744073709551616", &[RETRIES]),
            ("infinite", &[RETRIES]),
        ],
    ),
    ("--attempts", "N", &[("0", &[ATTEMPTS]), ("-1", &[ATTEMPTS]), ("1.5", &[ATTEMPTS])]),
    (
        "--multiplier",
        "F",
        &[
            ("0.9", &[MULTIPLIER]),
            ("-2", &[MULTIPLIER]),
            ("nan", &[MULTIPLIER]),
            ("inf", &[MULTIPLIER]),
            ("1e400", &[MULTIPLIER]),
        ],
    ),
    (
        "--jitter",
        "KIND",
        &[
            ("101%", &[JITTER]),
            ("10", &[JITTER]),
            ("-5%", &[JITTER]),
            ("ful", &[JITTER, "; did you mean `full`?"]),
        ],
    ),
    ("--seed", "N", &[("-1", &[SEED]), ("x", &[SEED]), ("18446744073709551616", &[SEED])]),
    (
        "--stop-signal",
        "SIG",
        &[
            ("TREM", &[SIGNAL, "; did you mean `TERM`?"]),
            ("", &[SIGNAL]),
            ("0", &["expected a signal number from 1 to 64"]),
        ],
    ),
    (
        "--stop-on",
        "RULE",
        &[
            ("", &[STATUS, ", not ``"]),
            ("7,", &[STATUS, ", not ``"]),
            ("7 & ", &[STATUS, ", not ``"]),
            ("!", &[STATUS, ", not ``"]),
            ("!!7", &[STATUS, ", not `!7`"]),
            ("256", &[CODE, ", not `256`"]),
            ("9-7", &[CODE, ", not `9-7`"]),
            ("7-", &[CODE, ", not `7-`"]),
            ("7x", &[CODE, ", not `7x`"]),
            ("-1", &[STATUS, ", not `-1`"]),
            ("timout", &[STATUS, ", not `timout`; did you mean `timeout`?"]),
            ("SIGTREM", &[STATUS, ", not `SIGTREM`; did you mean `TERM`?"]),
            ("Bad: 7", &[STATUS, ", not `Bad: 7`"]),
            ("bad:7", &[STATUS, ", not `bad:7`"]),
            ("7 & /a", &["expected a `/` at the end of `/a`"]),
            ("busy: /a(/", &[REGEX, "`a(`: unclosed group"]),
            (
                "!/((a{1,1000}){1,1000}){1,1000}/",
                &[REGEX, "`((a{1,1000}){1,1000}){1,1000}`: it is too large"],
            ),
        ],
    ),
    ("--retry-on", "RULE", &[("7;8", &[CODE, ", not `7;8`"])]),
    ("--success-on", "RULE", &[("zero", &[STATUS, ", not `zero`"])]),
    ("--redact", "REGEX", &[("a(", &["expected a regular expression: unclosed group"])]),
    (
        "--exit-code",
        "WHY=N",
        &[
            ("deadlin=5", &[WHY, "; did you mean `deadline`?"]),
            ("succeeded=1", &[WHY]),
            ("=5", &[WHY]),
            ("timeout=256", &[EXIT]),
            ("timeout=-1", &[EXIT]),
            ("timeout=", &[EXIT]),
            ("timeout", &["expected WHY=N, e.g. `timeout=75`, or WHY=same"]),
        ],
    ),
    ("--exit-code", "WHY=N", &[("exhausted=same ", &[EXIT])]),
];

/// A command that must not be run, behind these words.
fn refused(words: &[&str]) -> String {
    refusal(Test::new(words.iter().chain(&["--", "echo", "ran"])))
}

#[test]
fn a_value_that_cannot_be_is_refused_with_its_option_and_what_was_expected() {
    for (option, name, values) in REFUSED {
        for (value, expected) in values {
            let message =
                format!("{option} <{name}>: invalid value `{value}`: {}", expected.concat());
            assert_eq!(refused(&[&format!("{option}={value}")]), message);
        }
    }
}

#[test]
fn a_value_with_a_dash_may_stand_apart() {
    for (option, name, value, expected) in [
        ("-d", "--delay <DUR>", "-1", DURATION),
        ("-d", "--delay <DUR>", "--quiet", DURATION),
        ("--timeout", "--timeout <DUR>", "-0.5s", DURATION),
        ("-n", "--retries <N>", "-1", RETRIES),
        ("-n", "--retries <N>", "--", RETRIES),
        ("--seed", "--seed <N>", "-7", SEED),
    ] {
        let message = format!("{name}: invalid value `{value}`: {expected}");
        assert_eq!(refused(&[option, value]), message);
    }
    assert_eq!(Explained::with(&["--redact", "-p[a-z]+"]).value("redact"), &json!(["-p[a-z]+"]));
    assert_eq!(refused(&["--config", "-q"]), "cannot read -q: No such file or directory");
}

#[test]
fn a_misspelled_word_is_refused_with_the_nearest() {
    for (words, message) in [
        (&["--atempts", "5"][..], "unknown option `--atempts`; did you mean `--attempts`?"),
        (&["--max_delay=5"], "unknown option `--max_delay`; did you mean `--max-delay`?"),
        (&["--xyz"], "unknown option `--xyz`"),
        (&["-qz"], "unknown option `-z`"),
        (&["-5"], "unknown option `-5`"),
        (
            &["--backoff", "expo"],
            "--backoff <SHAPE>: invalid value `expo`: expected one of constant, linear, exponential, \
             fibonacci; did you mean `exponential`?",
        ),
        (
            &["--otherwise", "maybe"],
            "--otherwise <retry|stop>: invalid value `maybe`: expected one of retry, stop",
        ),
        (
            &["--history", "allways"],
            "--history <WHEN>: invalid value `allways`: expected one of failure, always, never; did you \
             mean `always`?",
        ),
        (
            &["--log-format", "jsn"],
            "--log-format <FORMAT>: invalid value `jsn`: expected one of text, json; did you mean `json`?",
        ),
        (
            &["--color", "alwys"],
            "--color <WHEN>: invalid value `alwys`: expected one of auto, always, never; did you mean \
             `always`?",
        ),
        (
            &["--policy", "crl"],
            "flag --policy: there is no policy `crl`: expected `auto`, `none`, or the name of a built-in policy or one of the configuration; did you mean `curl`?",
        ),
        (
            &["--policy", "nonee"],
            "flag --policy: there is no policy `nonee`: expected `auto`, `none`, or the name of a built-in policy or one of the configuration; did you mean `none`?",
        ),
        (
            &["--policy="],
            "flag --policy: there is no policy ``: expected `auto`, `none`, or the name of a built-in policy or one of the configuration",
        ),
    ] {
        assert_eq!(refused(words), message);
    }
}

#[test]
fn what_is_missing_is_named() {
    for (words, message) in [
        (&["--retries"][..], "--retries <N>: expected a value"),
        (&["-n"], "--retries <N>: expected a value"),
        (&["--stop-on"], "--stop-on <RULE>: expected a value"),
        (&["--config="], "--config <FILE>: expected a value"),
        (
            &["--backoff"],
            "--backoff <SHAPE>: expected one of constant, linear, exponential, fibonacci",
        ),
        (&["--quiet=false"], "--quiet: unexpected value `false`: the option takes none"),
        (&["-q=true", "ls"], "unexpected `=`: the option before it takes no value"),
        (&[], "expected a command to run, e.g. `retryrun -- make test`; see retryrun -h"),
        (&["--"], "expected a command to run, e.g. `retryrun -- make test`; see retryrun -h"),
        (&["-n", "3"], "expected a command to run, e.g. `retryrun -- make test`; see retryrun -h"),
    ] {
        assert_eq!(refusal(Test::new(words)), message);
    }
}

#[test]
fn a_value_that_is_not_text_is_refused() {
    let raw = |text: &str| -> OsString {
        OsStr::from_bytes(&[text.as_bytes(), b"a\xff"].concat()).to_owned()
    };
    for (words, message) in [
        (vec![raw("--policy=")], "--policy: invalid value `a\u{fffd}`: expected UTF-8 text"),
        (vec!["-n".into(), raw("")], "-n: invalid value `a\u{fffd}`: expected UTF-8 text"),
        (vec![raw("-n")], "-n: invalid value `a\u{fffd}`: expected UTF-8 text"),
        (
            vec!["-n".into(), OsString::from_vec(b"-\xff".to_vec())],
            "-n: invalid value `-\u{fffd}`: expected UTF-8 text",
        ),
        (
            vec!["--config".into(), raw("/"), "--delay".into(), raw("5")],
            "--delay: invalid value `5a\u{fffd}`: expected UTF-8 text",
        ),
        (vec![raw("--x")], "unknown option `--xa\u{fffd}`"),
        (
            vec!["--config".into(), raw("/no/")],
            "cannot read /no/a\u{fffd}: No such file or directory",
        ),
    ] {
        let words = words.into_iter().chain(["echo".into(), "ran".into()]);
        assert_eq!(refusal(Test::new(words)), message);
    }
}

#[test]
fn alternatives_exclude_each_other_within_the_flags() {
    for (words, message) in [
        (&["-n1", "--attempts=2"][..], "--attempts conflicts with --retries"),
        (&["--delays=1", "-d1"], "--delay conflicts with --delays"),
        (&["--backoff=linear", "--delays=1"], "--backoff conflicts with --delays"),
        (&["--delays=1", "--multiplier=2"], "--multiplier conflicts with --delays"),
        (&["-qv"], "--verbose conflicts with --quiet"),
        (&["--no-config", "--config=x"], "--no-config conflicts with --config"),
    ] {
        assert_eq!(refused(words), format!("{message}: give only one of them"));
    }
}

#[test]
fn modes_exclude_each_other() {
    for (words, message) in [
        (
            &["--json", "ls"][..],
            "--json says how to print what --explain or --jobs prints: give one of them, too",
        ),
        (&["--generate", "man", "ls"], "--generate <KIND> takes the place of a command"),
        (&["--classify", "ls"], "--classify takes the place of a command"),
        (
            &["--classify", "--explain"],
            "--classify conflicts with --explain: give only one of them",
        ),
        (
            &["--explain", "--generate", "man"],
            "--explain conflicts with --generate <KIND>: give only one of them",
        ),
        (
            &["--generate", "mann"],
            "--generate <KIND>: invalid value `mann`: expected one of man, complete-bash, complete-zsh, \
             complete-fish, complete-elvish, complete-powershell, schema, schema-events, config; did you mean `man`?",
        ),
    ] {
        assert_eq!(refusal(Test::new(words)), message);
    }
}

#[test]
fn a_refusal_holds_no_secret_and_no_escape() {
    let message =
        refusal(Test::new(["--policy", "tok-123456", "ls"]).env("MY_TOKEN", "tok-123456"));
    assert_eq!(
        message,
        "flag --policy: there is no policy `***`: expected `auto`, `none`, or the name of a built-in policy or one of the configuration"
    );
    let message = refusal(Test::new(["--policy", "http://me:pw@host/", "ls"]));
    assert_eq!(
        message,
        "flag --policy: there is no policy `http://me:***@host/`: expected `auto`, `none`, or the name of a built-in policy or one of the configuration"
    );
    let message = refused(&["--policy=\u{1b}[31m\u{9b}2J\n::error::##[x]"]);
    assert_eq!(
        message,
        "flag --policy: there is no policy `\\u{1b}[31m\\u{9b}2J\\n::error::#\\#[x]`: expected `auto`, `none`, or the name of a built-in policy or one of the configuration"
    );
    let test = Test::new(["--config", "c.toml", "ls"]).env("MY_TOKEN", "tok-123456");
    let message = refusal(test.file("c.toml", "retries = \"tok-123456\"\n"));
    assert!(!message.contains("tok-123456"), "{message}");
}

#[test]
fn a_refusal_is_masked_as_flags_and_environment_ask() {
    let test = Test::new(["--redact=acme", "--policy=acme-1", "ls"]);
    assert_eq!(
        refusal(test),
        "flag --policy: there is no policy `***-1`: expected `auto`, `none`, or the name of a built-in policy or one of the configuration"
    );
    let test = Test::new(["--policy=acme-1", "ls"]).env("RETRYRUN_REDACT", "acme");
    assert_eq!(
        refusal(test),
        "flag --policy: there is no policy `***-1`: expected `auto`, `none`, or the name of a built-in policy or one of the configuration"
    );
    let test = Test::new(["--redact=acme", "--config=c.toml", "ls"]).file("c.toml", "acme = 1\n");
    let message = refusal(test);
    assert!(message.starts_with("c.toml:1:1: unknown key `***`\n"), "{message}");
    assert!(!message.contains("acme"), "{message}");
}

/// What a mode prints on stdout.
fn printed(words: &[&str]) -> String {
    let ran = Test::new(words).run();
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
    ran.stdout
}

#[test]
fn short_help_is_one_screen_and_long_help_has_headings() {
    let short = printed(&["-h"]);
    assert!(short.lines().count() <= 24, "{short}");
    assert!(short.lines().all(|line| line.chars().count() <= 80), "{short}");
    assert_eq!(printed(&["-h", "echo", "-q"]), short);
    let long = printed(&["--help"]);
    let headings: Vec<&str> = long
        .lines()
        .filter(|line| line.ends_with(':') && line.starts_with(char::is_uppercase))
        .collect();
    assert_eq!(
        headings,
        [
            "Limits:",
            "Backoff:",
            "Classification:",
            "Streams:",
            "Reports:",
            "Budget:",
            "Hooks:",
            "Named runs:",
            "Supervision:",
            "Exit status:",
            "Configuration:",
            "Modes:"
        ]
    );
    for (key, ..) in settings() {
        assert!(long.contains(&format!("{} <", option(key))), "{key}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let version = format!("retryrun {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(printed(&["--version"]), version);
    assert_eq!(printed(&["-V"]), version);
}

#[test]
fn modes_ask_neither_files_nor_the_environment() {
    for words in [&["-h"][..], &["--help"], &["--version"], &["--generate", "config"]] {
        let ran = Test::new(words)
            .env("RETRYRUN_RETRIES", "nonsense")
            .file(".config/retryrun/config.toml", "nonsense")
            .run();
        assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
    }
}
