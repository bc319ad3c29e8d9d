//! The templates in `ci/`: their scripts are run as the CI systems would run them, and read by shellcheck. `tests/run` compares
//! the files with the systems' schemas.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::test::{RETRYRUN, path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Gives a program text to read, and takes what it writes.
fn filter(program: &str, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().expect("it was made a pipe");
    stdin.write_all(input.as_bytes()).expect("it is read");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// A YAML file of the project.
fn yaml(file: &str) -> Value {
    parsed(&fs::read_to_string(root().join(file)).expect("a file of the project"))
}

fn parsed(text: &str) -> Value {
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))";
    let output = filter("/usr/bin/python3", &["-c", script], text);
    assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What stands at a place of it, by JSON Pointer.
#[track_caller]
fn at<'a>(value: &'a Value, place: &str) -> &'a Value {
    value.pointer(place).unwrap_or_else(|| panic!("{place} in {value}"))
}

#[track_caller]
fn assert_shellcheck_has_nothing_to_say(shell: &str, script: &str) {
    let output = filter("shellcheck", &["--shell", shell, "-"], script);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A step of our action.
struct Step {
    script: String,
    variables: BTreeMap<String, String>,
    folder: Option<String>,
}

fn steps() -> Vec<Step> {
    let action = yaml("ci/github/action.yml");
    let steps = at(&action, "/runs/steps").as_array().expect("steps").iter();
    let step = |step: &Value| {
        assert_eq!(at(step, "/shell"), "bash");
        let variables = at(step, "/env").as_object().expect("variables").iter();
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Step {
            script: text(at(step, "/run")),
            variables: variables.map(|(name, value)| (name.clone(), text(value))).collect(),
            folder: step.get("working-directory").map(text),
        }
    };
    steps.map(step).collect()
}

/// A job that uses our action.
struct Job {
    folder: TempDir,
    inputs: BTreeMap<String, String>,
    variables: BTreeMap<String, String>,
}

impl Job {
    /// With the defaults of the action, and a retryrun that is found in PATH.
    fn new(given: &[(&str, &str)]) -> Job {
        let action = yaml("ci/github/action.yml");
        let mut inputs = BTreeMap::new();
        for (name, input) in at(&action, "/inputs").as_object().expect("inputs") {
            let default = input.get("default").and_then(Value::as_str).unwrap_or_default();
            inputs.insert(name.clone(), default.to_owned());
        }
        for (name, value) in given {
            let before = inputs.insert((*name).to_owned(), (*value).to_owned());
            assert!(before.is_some(), "{name} is an input of the action");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).expect("a folder");
        std::os::unix::fs::symlink(RETRYRUN, bin.join("retryrun")).expect("a link");
        let mut job = Job { folder, inputs, variables: BTreeMap::new() };
        let there = |name: &str| job.path(name).into_os_string().into_string().expect("text");
        let (output, temp, home) = (there("output"), there("temp"), there("."));
        let search = format!("{}:{}", bin.display(), path());
        for (name, value) in [
            ("PATH", search.as_str()),
            ("HOME", &home),
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_OUTPUT", &output),
            ("RUNNER_TEMP", &temp),
        ] {
            job.variables.insert(name.to_owned(), value.to_owned());
        }
        job
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Without a retryrun, and with a `cargo` that says with what it was called and installs ours.
    fn without_retryrun(self) -> Job {
        let link = self.path("bin/retryrun");
        fs::remove_file(&link).expect("it is there");
        let cargo = self.path("bin/cargo");
        let script = "#!/bin/bash\nprintf '%s\\n' \"$@\" >>\"$HOME/cargo-was-called-with\"\n\
                      root=${!#}\nmkdir -p \"$root/bin\" && ln -s \"$OURS\" \"$root/bin/retryrun\"\n";
        fs::write(&cargo, script).expect("a file");
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("its own file");
        let mut variables = self.variables;
        variables.insert("OURS".to_owned(), RETRYRUN.to_owned());
        Job { variables, ..self }
    }

    /// The value of what stands in a file as `${{ NAME }}`.
    fn evaluated(&self, text: &str) -> String {
        let mut rest = text;
        let mut value = String::new();
        while let Some((before, after)) = rest.split_once("${{ ") {
            let (name, behind) = after.split_once(" }}").expect("an expression");
            value += before;
            value += &match name.split_once('.').expect("a context") {
                ("inputs", input) => self.inputs.get(input).expect("an input").clone(),
                ("github", "action_path") => "/the/action".to_owned(),
                ("steps", "find.outputs.binary") => {
                    let output = fs::read_to_string(self.path("output")).expect("an output");
                    output.trim_end().strip_prefix("binary=").expect("our output").to_owned()
                }
                _ => panic!("{name} is not known here"),
            };
            rest = behind;
        }
        value + rest
    }

    /// Runs the steps one after the other, to the first that fails; answers the last one's output.
    fn run(&self) -> Output {
        let mut last = None;
        for step in steps() {
            let script = self.path("step.sh");
            fs::write(&script, &step.script).expect("a file");
            let folder = step.folder.map_or(String::from("."), |folder| self.evaluated(&folder));
            let evaluated =
                step.variables.iter().map(|(name, value)| (name, self.evaluated(value)));
            let output = Command::new("bash")
                .args(["--noprofile", "--norc", "-eo", "pipefail"])
                .arg(&script)
                .env_clear()
                .envs(&self.variables)
                .envs(evaluated)
                .current_dir(self.path(&folder))
                .stdin(Stdio::null())
                .output()
                .expect("bash runs");
            let failed = !output.status.success();
            last = Some(output);
            if failed {
                break;
            }
        }
        last.expect("there are steps")
    }

    /// As [`Job::run`]: the exit code, stdout and stderr.
    fn shown(&self) -> (Option<i32>, String, String) {
        let output = self.run();
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn no_input_of_the_action_stands_in_a_script() {
    for step in steps() {
        assert!(!step.script.contains("${{"), "{}", step.script);
        assert_shellcheck_has_nothing_to_say("bash", &step.script);
    }
}

#[test]
fn the_action_runs_a_command_with_its_options() {
    let job = Job::new(&[
        ("command", "false | cat\necho \"not $RETRYRUN_MAX_ATTEMPTS\""),
        ("retries", "1"),
        ("delay", "0"),
        ("timeout", "10m"),
        ("deadline", "1h"),
        ("policy", "none"),
        ("options", "--retry-on=busy: 1\n\n--history=always\n"),
    ]);
    let (code, stdout, stderr) = job.shown();
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("\n::group::retryrun: attempt 2/2\n"), "{stderr}");
    assert!(stderr.contains("\n::error title=retryrun::bash --noprofile"), "{stderr}");
    let history: Value =
        serde_json::from_str(stderr.lines().last().expect("a line")).expect("the history");
    assert_eq!(at(&history, "/policy/name"), "none");
    assert_eq!(at(&history, "/policy/timeout"), 600.0);
    assert_eq!(at(&history, "/policy/deadline"), 3600.0);
    assert_eq!(at(&history, "/attempts/0/reason"), "busy");
}

#[test]
fn the_action_needs_a_command_and_nothing_else() {
    let (code, stdout, stderr) = Job::new(&[("command", "echo done")]).shown();
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "done\n", ""));
    let (code, stdout, _) = Job::new(&[]).shown();
    assert_eq!(
        (code, stdout.as_str()),
        (Some(125), "::error title=retryrun::no command is given\n")
    );
}

#[test]
fn inputs_of_the_action_are_words_and_no_shell_text() {
    let hostile = "$(touch a); `touch b`; ' \" ${{ x }} ; touch c";
    for input in ["policy", "retries", "delay", "timeout", "deadline", "options", "binary"] {
        let job = Job::new(&[("command", "touch ran"), (input, hostile)]);
        let (code, _, stderr) = job.shown();
        assert_ne!(code, Some(0), "{input}: {stderr}");
        for name in ["a", "b", "c", "ran"] {
            assert!(!job.path(name).exists(), "{input}: {name}, {stderr}");
        }
    }
    // A word that is no option would stand as the command.
    let job = Job::new(&[("command", "touch ran"), ("options", "touch\nran")]);
    assert_eq!(job.run().status.code(), Some(125));
    assert!(!job.path("ran").exists());
    let job = Job::new(&[("command", "echo x"), ("binary", "/x\nother=y")]);
    assert_ne!(job.run().status.code(), Some(0));
    assert!(!job.path("output").exists());
}

#[test]
fn the_command_of_the_action_inherits_the_job_s_variables_alone() {
    let mut job = Job::new(&[("command", "env"), ("retries", "2")]);
    job.variables.insert("RETRIES".to_owned(), "the job's own".to_owned());
    let (_, stdout, _) = job.shown();
    assert!(
        stdout.contains("\nRETRIES=the job's own\n") || stdout.starts_with("RETRIES="),
        "{stdout}"
    );
    assert!(!stdout.contains("INPUT_"), "{stdout}");
}

#[test]
fn the_action_takes_a_binary_that_is_named_or_builds_one_once() {
    let job = Job::new(&[("command", "pwd"), ("binary", "here"), ("working-directory", "below")]);
    let job = job.without_retryrun();
    fs::create_dir(job.path("below")).expect("a folder");
    crate::test::copy_program(RETRYRUN, job.path("here"));
    let (code, stdout, stderr) = job.shown();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.ends_with("/below\n"), "{stdout}");

    let job = Job::new(&[("command", "echo done")]).without_retryrun();
    for _ in 0..2 {
        fs::write(job.path("output"), "").expect("a file");
        assert_eq!(job.shown(), (Some(0), "done\n".to_owned(), String::new()));
    }
    let called = fs::read_to_string(job.path("cargo-was-called-with")).expect("it was");
    let root = job.path("temp/retryrun");
    let expected = format!(
        "install\n--quiet\n--locked\n--path\n/the/action/../..\n--root\n{}\n",
        root.display()
    );
    assert_eq!(called, expected);
}

/// Runs the lines of GitLab's `before_script` and a script in one shell, as its runner does.
fn gitlab(shell: &[&str], variables: &[(&str, &str)], script: &str) -> Output {
    let template = yaml("ci/gitlab/retryrun.gitlab-ci.yml");
    let lines = at(&template, "/.retryrun/before_script").as_array().expect("lines").iter();
    let before: Vec<&str> = lines.map(|line| line.as_str().expect("text")).collect();
    let defaults = at(&template, "/.retryrun/variables").as_object().expect("variables").iter();
    let (program, arguments) = shell.split_first().expect("a shell");
    Command::new(program)
        .args(arguments)
        .arg(format!("{}\n{script}", before.join("\n")))
        .env_clear()
        .envs(defaults.map(|(name, value)| (name, value.as_str().expect("text"))))
        .env("GITLAB_CI", "true")
        .env("PATH", path())
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("a shell")
}

#[test]
fn gitlab_s_hidden_job_brings_retryrun_along() {
    let folder = tempfile::tempdir().expect("a folder");
    let sum = filter("sha256sum", &[RETRYRUN], "");
    let sum = String::from_utf8(sum.stdout).expect("text");
    let sum = sum.split(' ').next().expect("a sum");
    for shell in [&["bash", "-eo", "pipefail", "-c"] as &[&str], &["dash", "-ec"]] {
        let variables = [
            ("GET_RETRYRUN_FROM", RETRYRUN),
            ("GET_RETRYRUN_SHA256", sum),
            ("TMPDIR", folder.path().to_str().expect("text")),
            ("RETRYRUN_RETRIES", "1"),
        ];
        let output = gitlab(shell, &variables, "retryrun -d 0 -- false");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("retryrun 0."));
        assert!(stderr.contains("\u{1b}[0Kretryrun: attempt 2/2\n"), "{stderr}");
        assert!(!stderr.contains("attempt 3"), "{stderr}");
    }
}

#[test]
fn gitlab_s_hidden_job_refuses_what_it_does_not_expect() {
    let sum = "0".repeat(64);
    for variables in [
        [("GET_RETRYRUN_FROM", RETRYRUN), ("GET_RETRYRUN_SHA256", sum.as_str())],
        [("GET_RETRYRUN_FROM", "/no/such/file"), ("GET_RETRYRUN_SHA256", "")],
        [("GET_RETRYRUN_FROM", "http://127.0.0.1:9/retryrun"), ("GET_RETRYRUN_SHA256", "")],
    ] {
        let output = gitlab(&["dash", "-ec"], &variables, "echo ran");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!((output.status.code(), stdout.as_ref()), (Some(125), ""), "{variables:?}");
    }
}

#[test]
fn gitlab_s_scripts_are_plain_shell() {
    let template = yaml("ci/gitlab/retryrun.gitlab-ci.yml");
    for line in at(&template, "/.retryrun/before_script").as_array().expect("lines") {
        assert_shellcheck_has_nothing_to_say("sh", line.as_str().expect("text"));
    }
}

/// The pipelines that the README shows, by the name in the first line of each.
fn shown_pipelines() -> BTreeMap<String, Value> {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let blocks = readme.split("```yaml\n").skip(1);
    let named = blocks.map(|block| {
        let text = block.split("```").next().unwrap_or_default();
        let name = text.lines().next().and_then(|line| line.strip_prefix("# ")).expect("a name");
        (name.to_owned(), parsed(text))
    });
    named.collect()
}

/// Puts a `deploy` that fails once into a job's folder.
fn deploy(folder: &Path) {
    let script = "#!/bin/sh\n[ -e failed ] || { touch failed; exit 75; }\necho deployed\n";
    fs::write(folder.join("deploy"), script).expect("a file");
    let may_run = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.join("deploy"), may_run).expect("its own file");
}

/// Runs a line of a pipeline as a job of a system does.
fn line_in_job(line: &str, variable: (&str, &str)) -> Output {
    let job = Job::new(&[]);
    deploy(job.folder.path());
    Command::new("bash")
        .args(["-c", line])
        .env_clear()
        .env("PATH", job.variables.get("PATH").expect("one"))
        .env("RETRYRUN_DELAY", "0")
        .env(variable.0, variable.1)
        .current_dir(job.folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs")
}

/// The stderr of a job whose command failed once.
#[track_caller]
fn deployed_late(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "deployed\n");
    assert!(stderr.contains("retryrun: attempt 1/6 failed"), "{stderr}");
    stderr
}

#[test]
fn the_pipelines_that_the_readme_shows_retry() {
    let pipelines = shown_pipelines();
    let pipeline = |name: &str| pipelines.get(name).unwrap_or_else(|| panic!("{name} is shown"));
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);

    let github = pipeline(".github/workflows/deploy.yml");
    let with = at(github, "/jobs/deploy/steps/1/with").as_object().expect("inputs");
    let inputs: Vec<(&str, String)> =
        with.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    let inputs: Vec<(&str, &str)> =
        inputs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut job = Job::new(&inputs);
    job.variables.insert("RETRYRUN_DELAY".to_owned(), "0".to_owned());
    deploy(job.folder.path());
    let stderr = deployed_late(&job.run());
    assert!(stderr.contains("\n::group::retryrun: attempt 2/6\n"), "{stderr}");

    let gitlab = pipeline(".gitlab-ci.yml");
    assert_eq!(at(gitlab, "/include/0/file"), "ci/gitlab/retryrun.gitlab-ci.yml");
    assert_eq!(at(gitlab, "/deploy/extends"), ".retryrun");
    let retries = text(at(gitlab, "/deploy/variables/RETRYRUN_RETRIES"));
    let line = format!("RETRYRUN_RETRIES={retries} {}", text(at(gitlab, "/deploy/script/0")));
    let stderr = deployed_late(&line_in_job(&line, ("GITLAB_CI", "true")));
    assert!(stderr.contains("\r\u{1b}[0Kretryrun: attempt 2/6\n"), "{stderr}");

    let line = text(at(pipeline("azure-pipelines.yml"), "/steps/0/bash"));
    let stderr = deployed_late(&line_in_job(&line, ("TF_BUILD", "True")));
    assert!(stderr.contains("\n##[group]retryrun: attempt 2/6\n"), "{stderr}");

    // The agent makes one of two dollars.
    let line = text(at(pipeline(".buildkite/pipeline.yml"), "/steps/0/command")).replace("$$", "$");
    let stderr = deployed_late(&line_in_job(&line, ("BUILDKITE", "true")));
    assert!(stderr.contains("\n--- retryrun: attempt 2/6\n"), "{stderr}");
    assert_eq!(pipelines.len(), 4);
}
