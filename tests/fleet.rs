//! The examples for what runs thousands of machines: run where they can be run here, and else checked by what reads them.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::init::{namespaced, outside};
use crate::test::{RETRYRUN, Test, path, say};

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(example(file)).expect("an example")
}

/// A program of this name that is there, or what is skipped without it.
fn lacks(program: &str) -> bool {
    let found = Command::new("which").arg(program).stdin(Stdio::null()).output();
    let is_missing = !found.is_ok_and(|found| found.status.success());
    if is_missing {
        say(&format!("skipped: there is no {program} here"));
    }
    is_missing
}

/// With programs of these names before all others: ours, and stand-ins, which are scripts.
fn with_programs(test: Test, programs: &[(&str, &str)]) -> Test {
    let folder = test.path("bin");
    fs::create_dir(&folder).expect("a folder");
    std::os::unix::fs::symlink(RETRYRUN, folder.join("retryrun")).expect("a link");
    let mut test = test;
    for (name, script) in programs {
        test = test.file(&format!("bin/{name}"), &format!("#!/bin/bash\n{script}\n"));
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(test.path(&format!("bin/{name}")), executable).expect("it is ours");
    }
    let search = format!("{}:{}", folder.display(), path());
    test.env("PATH", search)
}

/// What `--explain` says of the words of a call: whether it is one.
fn explained(words: &[&str]) -> Value {
    let ran = Test::new([&["--explain", "--json"], words].concat()).run();
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("it is JSON")
}

/// A setting of it.
fn setting(explained: &Value, name: &str) -> Value {
    let settings = explained["settings"].as_array().expect("there are settings");
    let found = settings.iter().find(|setting| setting["name"] == name);
    found.map(|setting| setting["value"].clone()).unwrap_or_default()
}

fn yaml(text: &str) -> Value {
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))";
    let mut child = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    child.stdin.take().expect("it is a pipe").write_all(text.as_bytes()).expect("it is read");
    let Output { status, stdout, .. } = child.wait_with_output().expect("it ends");
    assert!(status.success());
    serde_json::from_slice(&stdout).expect("it is JSON")
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|word| word.as_str().expect("text")).collect()
}

/// By the documentation of Kubernetes, "Pod failure policy": what its schema cannot say.
#[test]
fn kubernetes_reads_our_exit_statuses() {
    let job = yaml(&text("kubernetes/job.yaml"));
    let spec = &job["spec"];
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Never", "podFailurePolicy asks for it");
    let container = &pod["containers"][0];
    let mut words = strings(&container["command"]);
    assert_eq!(words.remove(0), "retryrun");
    words.extend(strings(&container["args"]));
    let policy = explained(&words);
    let grace = setting(&policy, "kill_after").as_f64().expect("seconds");
    assert!(pod["terminationGracePeriodSeconds"].as_f64() > Some(grace));
    assert!(spec["activeDeadlineSeconds"].as_f64() > setting(&policy, "deadline").as_f64());
    let rules = spec["podFailurePolicy"]["rules"].as_array().expect("a list");
    let fails = rules.iter().find(|rule| rule["action"] == "FailJob").expect("one fails the job");
    let fails = &fails["onExitCodes"];
    assert_eq!((&fails["containerName"], &fails["operator"]), (&container["name"], &"In".into()));
    let fatal: Vec<i64> =
        fails["values"].as_array().expect("a list").iter().filter_map(Value::as_i64).collect();
    assert!(fatal.is_sorted() && !fatal.contains(&0), "ordered, and never success: {fatal:?}");
    // What our own statuses are, under the options of the example.
    let options = words.iter().take_while(|word| **word != "--").copied();
    let options: Vec<&str> =
        options.chain(["--retries=1", "--delay=0", "--history=never", "-q"]).collect();
    let status = |more: &[&str], command: &[&str]| {
        let ran = Test::new([&options, more, &["--"], command].concat()).run();
        i64::from(ran.code().expect("it exits"))
    };
    for (more, command) in [
        (&["--stop-on=3"][..], &["sh", "-c", "exit 3"][..]),
        (&["--retries=x"], &["true"]),
        (&[], &["/no/such/command"]),
        (&[], &["/"]),
    ] {
        assert!(fatal.contains(&status(more, command)), "{command:?}");
    }
    for (more, command) in [
        (&[][..], &["sh", "-c", "exit 3"][..]),
        (&[], &["sh", "-c", "kill -9 $$"]),
        (&["--timeout=0.1"], &["sleep", "1000"]),
    ] {
        assert!(!fatal.contains(&status(more, command)), "{command:?}");
    }
}

/// The script as Slurm would run it, with stand-ins for the program and for scontrol; without its waits.
fn slurm(simulate: &str) -> Test {
    in_slurm(Test::of("bash", ["job"]), simulate)
}

fn in_slurm(test: Test, simulate: &str) -> Test {
    let script = text("slurm/job.sbatch");
    let quick = script.replace("--delay 30s --max-delay 15m", "--delay 0");
    assert_ne!(quick, script);
    let programs = [("scontrol", "echo scontrol \"$@\""), ("simulate", simulate)];
    with_programs(test.file("job", &quick), &programs)
        .env("SLURM_JOB_ID", "4711")
        .env("SIMULATE", "simulate")
}

#[test]
fn slurm_requeues_what_is_used_up_and_goes_on_where_a_node_failed() {
    let used_up = slurm("exit 3").run();
    let requeued = (Some(75), "scontrol requeue 4711\n");
    assert_eq!((used_up.code(), used_up.stdout.as_str()), requeued, "{}", used_up.stderr);
    let often = slurm("exit 3").env("SLURM_RESTART_COUNT", "3").run();
    assert_eq!((often.code(), often.stdout.as_str()), (Some(75), ""));
    let ok = slurm("test $RETRYRUN_ATTEMPT = 3").run();
    assert_eq!((ok.code(), ok.stdout.as_str()), (Some(0), ""), "{}", ok.stderr);
    // Told that the time is up.
    let saves = "trap 'echo saved; exit 0' TERM; echo runs; while :; do sleep 0.01; done";
    let mut running = slurm(saves).start();
    assert_eq!(running.stdout_line(), "runs\n");
    running.signal(Signal::TERM);
    let ran = running.finish();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "saved\n"), "{}", ran.stderr);
    // The node fails, and on the next one Slurm runs the script again.
    let fails = "echo $RETRYRUN_ATTEMPT; [ $RETRYRUN_ATTEMPT = 2 ] && kill -9 $PPID; exit $1";
    let test = Test::of("bash", ["-c", "bash job 3; echo status $?; bash job 0"]);
    let ran = in_slurm(test, fails).run();
    let expected = (Some(0), "1\n2\nstatus 137\n3\n");
    assert_eq!((ran.code(), ran.stdout.as_str()), expected, "{}", ran.stderr);
    assert!(ran.stderr.contains("retryrun: goes on with run "), "{}", ran.stderr);
}

#[test]
fn gnu_parallel_keeps_each_input_apart() {
    if lacks("parallel") {
        return;
    }
    // Every second URL is there at the third try, and one never.
    let fetch = "url=${!#}; name=${url##*/}; echo >>tried-$name
        case $name in
        never) exit 22;;
        *[02468]) [ $(wc -l <tried-$name) = 3 ] || exit 7;;
        esac";
    let script = text("parallel/fetch").replace("--max-delay 1m", "--delay 0 --max-delay 1m");
    let test = Test::of("sh", ["./fetch"]).file("fetch", &script);
    let test = with_programs(test, &[("curl-stand-in", fetch)]).env("FETCH", "curl-stand-in");
    let urls: String = (1..=8).map(|number| format!("http://h/{number}\n")).collect();
    let folder = test.path(".");
    let mut running = test
        .with(|command| {
            command.stdin(Stdio::piped());
        })
        .start();
    running.write_stdin(&format!("{urls}http://h/never\n"));
    running.close_stdin();
    let (ran, (log, tried)) = running.finish_with(|| {
        let log = fs::read_to_string(folder.join("fetch.log")).expect("a log");
        let tried = |name: &str| {
            let tries = fs::read_to_string(folder.join(format!("tried-{name}")));
            tries.expect("it was tried").lines().count()
        };
        (log, ["1", "2", "7", "8", "never"].map(tried))
    });
    assert_eq!(ran.code(), Some(1), "one failed: {}", ran.stderr);
    assert_eq!(tried, [1, 3, 1, 3, 6], "{}", ran.stderr);
    let status = |line: &str| line.split('\t').nth(6).map(str::to_owned);
    let statuses: BTreeSet<Option<String>> = log.lines().skip(1).map(status).collect();
    assert_eq!(statuses, BTreeSet::from([Some("0".into()), Some("22".into())]), "{log}");
}

/// The words of a line, as it stands there: the examples quote nothing.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn systemd_has_nothing_to_say_of_its_units() {
    let units = ["backup.service", "backup.timer", "server.service"];
    let folder = tempfile::tempdir().expect("a folder");
    for unit in units {
        let text = text(&format!("systemd/{unit}")).replace("--job %p", "--job backup");
        for line in text.lines().filter_map(|line| line.split_once("=/usr/bin/retryrun ")) {
            explained(&words(line.1));
        }
        // The programs have to be there.
        let text = text.replace("=/usr/bin/retryrun", &format!("={RETRYRUN}"));
        let text = text.replace("=/usr/bin/server", "=/bin/true");
        fs::write(folder.path().join(unit), text).expect("a file");
    }
    let grace = explained(&["--kill-after", "60s", "true"]);
    assert_eq!(setting(&grace, "kill_after"), 60.0);
    let service = text("systemd/backup.service");
    assert!(service.contains(" --kill-after 60s ") && service.contains("TimeoutStopSec=90s\n"));
    if lacks("systemd-analyze") {
        return;
    }
    let paths = units.map(|unit| folder.path().join(unit));
    let output = Command::new("systemd-analyze").arg("verify").args(paths).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
}

#[test]
fn cron_mails_what_failed_and_nothing_else() {
    let text = text("cron/crontab");
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let (settings, entries): (Vec<&str>, Vec<&str>) = lines
        .iter()
        .partition(|line| line.split_once('=').is_some_and(|(name, _)| !name.contains(' ')));
    assert_eq!((settings.len(), entries.len()), (2, 2), "{text}");
    for entry in entries {
        // Five fields of time; a `%` would be a newline.
        let command: Vec<&str> = entry.split_whitespace().skip(5).collect();
        let command = command.join(" ");
        assert!(!command.contains('%'), "{command}");
        for (succeeds, status) in [(true, Some(0)), (false, Some(3))] {
            let script = if succeeds { "echo >>ran" } else { "echo >>ran; exit 3" };
            let test = Test::of(
                "sh",
                [
                    "-c",
                    &command.replace("--delay 10s", "").replace("--retries", "--delay 0 --retries"),
                ],
            );
            let test = with_programs(test, &[("backup", script), ("probe", script)]);
            let ran = test.env("SHELL", "/bin/sh").env("LOGNAME", "root").run();
            assert_eq!(ran.code(), status, "{}", ran.stderr);
            let mail = ran.stdout + &ran.stderr;
            let is_mailed = !succeeds && command.contains("backup");
            assert_eq!(!mail.trim().is_empty(), is_mailed, "{mail}");
        }
    }
}

#[test]
fn docker_starts_us_without_a_shell_and_stops_us_in_time() {
    let text = text("docker/Dockerfile");
    let list = |name: &str| -> Vec<String> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        serde_json::from_str(line.expect("it is there")).expect("a list of words")
    };
    let entrypoint = list("ENTRYPOINT ");
    let (program, options) = entrypoint.split_first().expect("a program");
    assert_eq!(program, "retryrun");
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let default = list("CMD ");
    let all: Vec<&str> =
        options.iter().copied().chain(default.iter().map(String::as_str)).collect();
    assert!(setting(&explained(&all), "kill_after").as_f64() < Some(10.0), "what docker gives");
    // As process 1, as docker runs it: with a command that has children, and is deaf.
    let quick = ["--kill-after=0.2", "--history=never"];
    let ours = options.into_iter().filter(|word| *word != "--").chain(quick);
    let ours: Vec<&str> = [RETRYRUN].into_iter().chain(ours).collect();
    let run = |options: &[&str], script: &str| {
        namespaced(&[&ours, options, &["--", "bash", "-c", script]].concat())
    };
    let Some(permanent) = run(&["--stop-on=3"], "exit 3") else { return };
    assert_eq!(permanent.run().code(), Some(42));
    let deaf = "sleep 1000 & trap '' TERM; echo runs; while :; do sleep 0.01; done";
    let Some(test) = run(&[], deaf) else { return };
    let mut running = test.start();
    assert_eq!(running.stdout_line(), "runs\n");
    kill_process(outside(&running), Signal::TERM).expect("it runs");
    let ran = running.finish();
    assert_eq!(ran.code(), Some(143), "{}", ran.stderr);
}

#[test]
fn each_example_is_named_with_where_its_retries_belong() {
    let readme = text("README.md");
    let folders = fs::read_dir(example(".")).expect("it is there");
    let names =
        folders.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    for name in names.filter(|name| example(name).is_dir()) {
        assert!(readme.contains(&format!("({name}")), "{name}");
    }
}
