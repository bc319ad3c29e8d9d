//! `--classify`: endings judged line by line, and the built-in policies measured by endings of real commands.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::test::{Ran, Test};

/// Endings of real commands, each with the verdict that a person would give.
const ENDINGS: &str = "tests/endings.jsonl";

/// The same, in the words of commands that were not run.
const WRITTEN: &str = "tests/data/endings.jsonl";

/// Those that are judged otherwise, and why: as transient, all of them.
const OTHERWISE: [(&str, &str); 3] = [
    ("aws.v1_accessdenied", "recorded as a call of python3: nothing says that it is aws"),
    ("aws.v1_nocreds", "recorded as a call of python3: nothing says that it is aws"),
    ("s3cmd.403", "s3cmd crashed over an answer that is no XML: what it says is no certain sign"),
];

/// Judges lines under options.
fn classify(options: &[&str], lines: &str) -> Ran {
    let words = ["--no-config", "--classify"].iter().chain(options);
    let test = Test::new(words).file("endings", lines);
    let endings = fs::File::open(test.path("endings")).expect("it was just written");
    let from_file = |command: &mut Command| {
        command.stdin(endings);
    };
    test.with(from_file).run()
}

/// The answers, each as `verdict reason rule origin policy`.
fn answers(options: &[&str], lines: &str) -> Vec<String> {
    let ran = classify(options, lines);
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
    let shown = |line: &str| {
        let answer: Value = serde_json::from_str(line).expect("an answer is JSON");
        let keys = ["verdict", "reason", "rule", "rule_origin", "policy"];
        assert_eq!(answer.as_object().expect("an object").len(), keys.len());
        let word = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
        let values = keys.map(word);
        values.join(" ")
    };
    ran.stdout.lines().map(shown).collect()
}

#[test]
fn each_ending_is_judged_under_the_policy_of_its_command() {
    let lines = [
        json!({"command": ["sudo", "curl", "-f", "x"], "exit_code": 7, "signal": null, "ended_by": "exit",
               "stdout": "", "stderr": "", "id": "more is left alone"}),
        json!({"command": ["curl"], "exit_code": 22, "stderr": "curl: (22) The requested URL returned error: 404"}),
        json!({"command": ["ls"], "exit_code": 0}),
        json!({"exit_code": 126}),
        json!({"signal": "SIGKILL"}),
        json!({"signal": 15, "exit_code": null}),
        json!({"ended_by": "timeout", "exit_code": 22, "command": ["curl"]}),
        json!({"ended_by": "spawn-error"}),
        json!({"ended_by": "stop", "exit_code": 1}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n\n")).collect();
    assert_eq!(
        answers(&[], &lines),
        [
            "transient connect 7 policy curl (built in) curl",
            r"permanent http-client-error 22 & err/returned error: 4(0[0-7]|1[0-8]|2[268]|31|51)\b/ policy curl (built in) curl",
            "success success 0 built in none",
            "permanent not-executable 126 built in none",
            "transient signal signal built in none",
            "permanent stopped HUP,INT,QUIT,TERM built in none",
            "transient timeout timeout built in curl",
            "permanent not-found spawn built in none",
            "- - - - none",
        ]
    );
}

#[test]
fn the_other_options_hold() {
    let line = |stdout: Value, stderr: Value| {
        json!({"command": ["x"], "exit_code": 22, "stdout": stdout, "stderr": stderr}).to_string()
    };
    let stop =
        ["--stop-on", "22 & /gone/", "--stop-on", "absent: 22 & !err/busy/", "--policy=curl"];
    for (stdout, stderr, expected) in [
        (json!(""), json!("it is gone"), "permanent stop-on 22 & /gone/ flag --stop-on curl"),
        (json!("gone\n"), Value::Null, "permanent stop-on 22 & /gone/ flag --stop-on curl"),
        (Value::Null, json!("x"), "permanent absent 22 & !err/busy/ flag --stop-on curl"),
        (json!("x"), json!("busy"), "transient unlisted nonzero built in curl"),
        // Of what was not read nothing is known.
        (json!("x"), Value::Null, "transient unlisted nonzero built in curl"),
        (Value::Null, Value::Null, "transient unlisted nonzero built in curl"),
    ] {
        assert_eq!(answers(&stop, &line(stdout, stderr)), [expected]);
    }
}

#[test]
fn a_line_that_is_no_ending_is_named_after_the_answers_to_those_before_it() {
    for (line, message) in [
        ("x", "expected value, at column 1"),
        ("7", "invalid type: integer `7`, expected an object such as"),
        ("{}", "expected an `exit_code`, a `signal` or `ended_by`"),
        (r#"{"exit_code":"7"}"#, r#"invalid type: string "7", expected a number from 0 to 255"#),
        (r#"{"exit_code":256}"#, "invalid value: integer `256`, expected a number from 0 to 255"),
        (r#"{"command":"ls"}"#, r#"invalid type: string "ls", expected a list of strings"#),
        (r#"{"command":{}}"#, "invalid type: object, expected a list of strings"),
        (r#"{"stderr":[]}"#, "invalid type: list, expected a string"),
        (r#"{"signal":"NOSUCH"}"#, "invalid value `NOSUCH`"),
        (r#"{"ended_by":"exit"}"#, "expected an `exit_code` where it ended by `exit`"),
        (
            r#"{"ended_by":"signal","exit_code":1}"#,
            "expected a `signal` where it ended by `signal`",
        ),
        (r#"{"ended_by":"tmeout"}"#, "did you mean `timeout`?"),
        ("{\"exit_code\":1", "EOF while parsing an object"),
        (r#"{"exit_code":1} {}"#, "trailing characters"),
    ] {
        let ran = classify(&[], &format!("{{\"exit_code\":0}}\n\n{line}\n{{\"exit_code\":0}}\n"));
        assert_eq!(ran.code(), Some(125), "{line}");
        assert_eq!(ran.stdout.lines().count(), 1, "{line}");
        let expected = "retryrun: --classify: line 3 of stdin: ";
        assert!(ran.stderr.starts_with(expected), "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains(message), "{line}: {}", ran.stderr);
    }
    assert_eq!(answers(&[], ""), [""; 0]);
}

#[test]
fn an_answer_comes_before_the_next_ending() {
    let mut running = Test::new(["--no-config", "--classify"])
        .with(|command| {
            command.stdin(Stdio::piped());
        })
        .start();
    for code in [7, 0] {
        running.write_stdin(&format!("{{\"exit_code\":{code}}}\n"));
        let line = running.stdout_line();
        assert!(line.contains("verdict"), "{line}");
    }
}

#[test]
fn endings_of_real_commands_are_judged_as_a_person_would() {
    let endings = [ENDINGS, WRITTEN].map(|name| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        fs::read_to_string(path).expect("endings, one in a line")
    });
    let lines = endings.concat();
    let ran = classify(&[], &lines);
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(ran.stdout.lines().count(), lines.lines().count());
    let mut otherwise = Vec::new();
    for (line, answer) in lines.lines().zip(ran.stdout.lines()) {
        let [line, answer]: [Value; 2] =
            [line, answer].map(|text| serde_json::from_str(text).expect("JSON"));
        if line["verdict"] != answer["verdict"] {
            assert_eq!(answer["verdict"], "transient", "{line} {answer}");
            otherwise.push(line["id"].as_str().expect("a name").to_owned());
        }
    }
    assert_eq!(otherwise, OTHERWISE.map(|(id, _)| id));
}

/// What a tool says of an HTTP status, `NUMBER` and `Words`: its command, its exit code, and its line.
const HTTP: [(&str, u8, &str); 14] = [
    ("curl", 22, "curl: (22) The requested URL returned error: NUMBER"),
    ("wget", 8, "2026-11-22 00:26:21 ERROR NUMBER: Words."),
    ("git", 128, "fatal: unable to access 'http://h/': The requested URL returned error: NUMBER"),
    ("svn", 1, "svn: E175002: Unexpected HTTP status NUMBER 'Words' on '/r'"),
    ("hg", 255, "abort: HTTP Error NUMBER: Words"),
    ("apt-get", 100, "E: Failed to fetch http://h/x  NUMBER  Words [IP: 127.0.0.1 80]"),
    ("dnf", 1, "Errors: Status code: NUMBER for http://h/repodata/repomd.xml (IP: 127.0.0.1)"),
    ("npm", 1, "npm error code ENUMBER"),
    ("pip", 1, "ERROR: HTTP error NUMBER while getting http://h/x.tar.gz"),
    (
        "gem",
        2,
        "Unable to download data from http://h/ - bad response Words NUMBER (http://h/specs)",
    ),
    (
        "cargo",
        101,
        "failed to get successful HTTP response from `http://h/config.json`, got NUMBER",
    ),
    ("go", 1, "go: m@v1: reading http://h/m/@v/v1.info: NUMBER Words"),
    (
        "podman",
        125,
        "pinging container registry h: invalid status code from registry NUMBER (Words)",
    ),
    ("helm", 1, "Error: failed to fetch http://h/index.yaml : NUMBER Words"),
];

#[test]
fn a_status_of_http_means_the_same_to_every_tool() {
    let statuses = [400, 401, 403, 404, 405, 410, 413, 422, 451]
        .map(|status| (status, "permanent"))
        .into_iter()
        .chain(
            [408, 409, 423, 425, 429, 500, 502, 503, 504, 520].map(|status| (status, "transient")),
        );
    for (status, verdict) in statuses {
        for (command, code, said) in HTTP {
            let said = said.replace("NUMBER", &status.to_string());
            let line = json!({"command": [command], "exit_code": code, "stderr": said});
            let answer = answers(&[], &line.to_string()).concat();
            assert!(answer.starts_with(verdict), "{line}: {answer}");
        }
    }
}
