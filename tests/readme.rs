//! The README's commands and output: everything that is shown there is run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::test::{RETRYRUN, Test, path};

/// A fenced block: its kind, and its lines.
struct Block {
    kind: String,
    lines: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("the README")
}

fn blocks(kind: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for line in readme().lines() {
        match line.strip_prefix("```") {
            Some("") => is_open = false,
            Some(kind) => {
                is_open = true;
                blocks.push(Block { kind: kind.to_owned(), lines: Vec::new() });
            }
            None if is_open => {
                blocks.last_mut().expect("one is open").lines.push(line.to_owned());
            }
            None => {}
        }
    }
    blocks.retain(|block| block.kind == kind);
    assert!(!blocks.is_empty(), "there are blocks of kind {kind}");
    blocks
}

/// Commands of the user's own that the recipes call, as they would be when all goes well.
const STUBS: [(&str, &str); 8] = [
    ("deploy", "exit 0"),
    ("is-up", "exit 0"),
    ("report", "exit 0"),
    ("may-pass", "exit 0"),
    ("serve", "exit 0"),
    ("notify-send", "exit 0"),
    ("sync", "exit 0"),
    ("job-state", "[ $RETRYRUN_ATTEMPT -ge 3 ] && exit 121; exit 0"),
];

/// Runs a block's commands in one shell, and gives what a person would have seen.
fn run(block: &Block) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let bin = tempfile::tempdir().expect("a folder");
    for (name, script) in STUBS {
        let path = bin.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its own file");
    }
    std::os::unix::fs::symlink(RETRYRUN, bin.path().join("retryrun")).expect("a link");
    let mut script = String::from("exec 2>&1\nstatus=0\n");
    for command in block.lines.iter().filter_map(|line| line.strip_prefix("$ ")) {
        let shown = format!("$ {command}").replace('\'', r"'\''");
        // `./deploy` stands in the user's folder; here all of them stand in one.
        let command = command.replace("./", &format!("{}/", bin.path().display()));
        // What is shown must not change the status that a command may ask for.
        script += &format!("printf '%s\\n' '{shown}'\n(exit $status)\n{command}\nstatus=$?\n");
    }
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env_clear()
        .env("HOME", folder.path())
        .env("PATH", format!("{}:{}", bin.path().display(), path()))
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    String::from_utf8(output.stdout).expect("text")
}

/// What differs from run to run, made equal: measured times, and facts of the machine and the run in the history.
fn stable(line: &str) -> String {
    if let Ok(Value::Object(mut history)) = serde_json::from_str(line) {
        mask(&mut history);
        return Value::Object(history).to_string();
    }
    let words = line.split(' ').map(|word| {
        let bare = word.trim_end_matches([':', ',']);
        let is_measured = bare.strip_suffix('s').is_some_and(|number| {
            number.split_once('.').is_some_and(|(_, tenths)| tenths.len() == 1)
        });
        if is_measured && line.starts_with("retryrun: ") {
            word.replace(bare, "_")
        } else {
            word.to_owned()
        }
    });
    let line = words.collect::<Vec<_>>().join(" ");
    // curl's own measure and, from version to version, its words.
    match line.strip_prefix("curl: (7) ") {
        Some(_) => "curl: (7)".to_owned(),
        None => line,
    }
}

fn mask(object: &mut serde_json::Map<String, Value>) {
    const VOLATILE: [&str; 15] = [
        "run_id",
        "cwd",
        "host",
        "pid",
        "version",
        "seed",
        "started_at",
        "ended_at",
        "last_retry_at",
        "elapsed",
        "cpu_user",
        "cpu_system",
        "max_rss",
        "message",
        "stderr_tail",
    ];
    for (name, value) in object {
        if VOLATILE.contains(&name.as_str()) {
            assert!(!value.is_null(), "{name} is known");
            *value = Value::String("_".into());
        }
        if let Value::Object(inner) = value {
            mask(inner);
        }
        for inner in value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            mask(inner);
        }
    }
}

#[test]
fn what_the_readme_shows_is_what_happens() {
    for block in blocks("console") {
        let shown: Vec<String> = block.lines.iter().map(|line| stable(line)).collect();
        let happened: Vec<String> = run(&block).lines().map(stable).collect();
        assert_eq!(happened, shown);
    }
}

#[test]
fn the_two_commands_are_the_ones_that_work() {
    let commands: Vec<String> = blocks("sh").into_iter().flat_map(|block| block.lines).collect();
    let [build, tests] = commands.as_slice() else { panic!("exactly two commands: {commands:?}") };
    // This test is a part of the second.
    assert!(root().join(tests).is_file());
    let output =
        Command::new("bash").args(["-c", build]).current_dir(root()).output().expect("bash runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("retryrun: gave up after 3 attempts"), "{stderr}");
}

#[test]
fn the_configuration_that_the_readme_shows_is_one() {
    for block in blocks("toml") {
        let ran = Test::new(["--config", "shown.toml", "--explain", "curl"])
            .file("shown.toml", &block.lines.join("\n"))
            .run();
        assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
        assert!(ran.stdout.contains("policy fetch"), "{}", ran.stdout);
    }
}

#[test]
fn what_other_tools_users_are_told_to_say_is_understood() {
    let readme = readme();
    let table = readme.split("## Coming from another tool").nth(1).expect("the table");
    let mut checked = 0;
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| there")) {
        let here = row.split(" | ").nth(1).expect("a second column");
        for code in
            here.split('`').skip(1).step_by(2).filter(|code| code.starts_with('-') && *code != "-f")
        {
            let words = code.replace("CMD", "true").replace("'...'", "true");
            let script = format!("exec {RETRYRUN} --explain {words}");
            let output = Command::new("bash").args(["-c", &script]).output().expect("bash runs");
            assert!(output.status.success(), "{code}: {}", String::from_utf8_lossy(&output.stderr));
            checked += 1;
        }
        for setting in here.split('`').skip(1).step_by(2).filter(|code| code.contains(" = ")) {
            let ran = Test::new(["--config", "c", "true"]).file("c", setting).run();
            assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""), "{setting}");
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked} entries");
}
