//! Bundles: a folder with all of a run, in which no secret stands.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::Value;

use super::{check_whole, json, kinds, listing, read, said, with_a_small_disk};
use crate::test::{RETRYRUN, Test, steps, wait_until};

const SECRET: &str = "s3cr3t-t0k3n";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

#[test]
fn it_holds_all_that_is_known_of_a_run() {
    let script = "echo out $RETRYRUN_ATTEMPT; echo err >&2; exit 7";
    let options = ["-n1", "-d0", "--policy=curl", "--report=bundle:sub/b"];
    let test = Test::bash(&options, script).env("LANG", "C.UTF-8").env("OTHER", "not shown");
    let (ran, (names, texts, modes)) = test.run_with(|folder| {
        let folder = folder.join("sub/b");
        let names = listing(&folder);
        let texts: Vec<String> = names.iter().map(|name| read(folder.join(name))).collect();
        (names, texts, (mode(&folder), mode(&folder.join("history.json"))))
    });
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(7), "out 1\nout 2\n"), "{}", ran.stderr);
    assert_eq!(
        names,
        [
            "attempt-1.stderr.log",
            "attempt-1.stdout.log",
            "attempt-2.stderr.log",
            "attempt-2.stdout.log",
            "environment.json",
            "events.ndjson",
            "history.json",
            "policy.json",
            "system.json",
        ]
    );
    assert_eq!(modes, (0o700, 0o644));
    assert_eq!(texts[..4], ["err\n", "out 1\n", "err\n", "out 2\n"]);
    let environment = json(&texts[4]);
    assert_eq!(environment["LANG"], "C.UTF-8");
    assert_eq!(environment["OTHER"], "***");
    assert_eq!(kinds(&texts[5]).len(), 7);
    check_whole("json", &texts[6]);
    assert_eq!(json(&texts[6])["attempts"][1]["stdout_log"], "sub/b/attempt-2.stdout.log");
    let policy = json(&texts[7]);
    let setting = |name: &str| {
        let settings = policy["settings"].as_array().expect("a list");
        settings.iter().find(|setting| setting["name"] == name).expect("it is there").clone()
    };
    assert_eq!((&policy["policy"], &setting("retries")["value"]), (&"curl".into(), &1.into()));
    assert_eq!(setting("retries")["origin"], "flag --retries");
    let system = json(&texts[8]);
    assert_eq!(system["system"], "Linux");
    assert!(
        system["cpus"].as_u64() > Some(0) && system["limits"]["nofile"].is_object(),
        "{system}"
    );
}

#[test]
fn no_secret_stands_in_it() {
    let pem = "-----BEGIN KEY-----\nAAAABBBB\nCCCCDDDD\n-----END KEY-----";
    let script = format!(
        "echo token {SECRET}; echo https://user:hunter2pw@host/ >&2; echo \"$A_KEY\" >&2; echo id 4711; exit 3"
    );
    let options = ["-n0", "--report=bundle:b", "--redact=id [0-9]+"];
    let test = Test::bash(&options, &script).env("MY_TOKEN", SECRET).env("A_KEY", pem);
    let path = format!("/bin:/usr/bin:/{SECRET}");
    let (ran, texts) = test.env("PATH", path).run_with(|folder| {
        let folder = folder.join("b");
        let texts = listing(&folder).into_iter().map(|name| (read(folder.join(&name)), name));
        texts.collect::<Vec<_>>()
    });
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr);
    assert_eq!(ran.stdout, format!("token {SECRET}\nid 4711\n"), "the command's own is untouched");
    for (text, name) in &texts {
        for secret in [SECRET, "hunter2pw", "CCCCDDDD", "4711"] {
            assert!(!text.contains(secret), "{secret} in {name}: {text}");
        }
    }
    let of = |wanted: &str| &texts.iter().find(|(_, name)| name == wanted).expect("it is there").0;
    assert_eq!(of("attempt-1.stdout.log"), "token ***\n***\n");
    assert_eq!(of("attempt-1.stderr.log"), "https://user:***@host/\n***\n");
    assert_eq!(json(of("environment.json"))["PATH"], "/bin:/usr/bin:/***");
}

#[test]
fn bytes_are_untouched_where_nothing_is_masked() {
    let script = "printf 'a\\377\\0b\\n'; printf '\\377 s3cr3t-t0k3n\\n' >&2; exit 3";
    let test = Test::bash(&["-n0", "--report=bundle:b"], script).env("MY_TOKEN", SECRET);
    let (_, logs) = test.run_with(|folder| {
        ["stdout", "stderr"].map(|name| {
            fs::read(folder.join(format!("b/attempt-1.{name}.log"))).expect("it is there")
        })
    });
    assert_eq!(logs[0], b"a\xff\0b\n");
    assert_eq!(logs[1], "\u{fffd} ***\n".as_bytes());
}

#[test]
fn logs_elsewhere_stay_as_they_are() {
    let script = format!("echo {SECRET}; exit 3");
    let options = ["-n0", "--log-dir=logs", "--report=bundle:b"];
    let test = Test::bash(&options, &script).env("MY_TOKEN", SECRET);
    let (_, (raw, masked)) = test.run_with(|folder| {
        let log = "attempt-1.stdout.log";
        (read(folder.join("logs").join(log)), read(folder.join("b").join(log)))
    });
    assert_eq!((raw, masked.as_str()), (format!("{SECRET}\n"), "***\n"));
}

#[test]
fn two_bundles_are_alike() {
    let script = format!("echo {SECRET}; exit 3");
    let test = Test::bash(&["-n0", "--report=bundle:a", "--report=bundle:b"], &script);
    let (ran, (names, texts)) = test.env("MY_TOKEN", SECRET).run_with(|folder| {
        let names = ["a", "b"].map(|name| listing(&folder.join(name)));
        let read = |name: &str| {
            ["attempt-1.stdout.log", "events.ndjson", "history.json"]
                .map(|file| read(folder.join(name).join(file)))
        };
        (names, ["a", "b"].map(read))
    });
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr);
    assert_eq!((names[0].len(), &names[0]), (7, &names[1]));
    assert_eq!((texts[0][0].as_str(), &texts[0]), ("***\n", &texts[1]));
}

#[test]
fn a_second_run_at_the_same_time_has_a_folder_in_it() {
    let script = "$R -n0 --report bundle:b sh -c 'echo inner; exit 3'; echo outer; exit 4";
    let test = Test::bash(&["-n0", "--report=bundle:b"], script).env("R", RETRYRUN);
    let (ran, (names, inner)) = test.run_with(|folder| {
        let folder = folder.join("b");
        let names = listing(&folder);
        let inner = names.iter().find(|name| folder.join(name).is_dir()).map(|name| {
            let path = folder.join(name);
            (listing(&path).len(), read(path.join("attempt-1.stdout.log")))
        });
        (names, inner)
    });
    assert_eq!(ran.code(), Some(4), "{}", ran.stderr);
    assert_eq!(names.len(), 8, "{names:?}");
    assert_eq!(inner, Some((7, "inner\n".to_owned())));
}

#[test]
fn a_later_run_into_the_same_folder_leaves_nothing_of_the_earlier_but_what_is_not_ours() {
    let run = "$R -d0 --report bundle:b";
    let script = format!("{run} -n3 false; echo mine >b/notes; {run} -n0 sh -c 'ls b; exit 3'");
    let (ran, names) = Test::shell(&script).run_with(|folder| listing(&folder.join("b")));
    assert_eq!(ran.stdout, "attempt-1.stderr.log\nattempt-1.stdout.log\nevents.ndjson\nnotes\n");
    let attempts = names.iter().filter(|name| name.starts_with("attempt-")).count();
    assert_eq!((attempts, names.contains(&"notes".to_owned())), (2, true));
}

#[test]
fn an_unwanted_one_leaves_what_is_not_ours() {
    let script = "mkdir b; echo mine >b/notes; $R --report bundle:b --report-when failure true";
    let (ran, names) = Test::shell(script).run_with(|folder| listing(&folder.join("b")));
    assert_eq!((ran.code(), ran.stderr.as_str(), names), (Some(0), "", vec!["notes".to_owned()]));
    // What the command has removed itself is gone as well.
    let script = "$R --report bundle:b --report-when failure rm -r b";
    let (ran, names) = Test::shell(script).run_with(listing);
    assert_eq!((ran.code(), ran.stderr.as_str(), names), (Some(0), "", vec![]));
    // With its logs elsewhere those stay.
    let script = "$R --report bundle:b --log-dir l --report-when failure echo x";
    let (_, names) = Test::shell(script).run_with(listing);
    assert_eq!(names, ["l"]);
}

#[test]
fn of_a_long_log_the_end_is_kept_from_the_beginning_of_a_line() {
    let script = "seq 1 2800000; exit 3";
    let options = ["-n0", "--report=bundle:b", "--stdout=final"];
    let test = Test::bash(&options, script).with(|command| {
        command.stdout(std::process::Stdio::null());
    });
    let (ran, log) = test.run_with(|folder| read(folder.join("b/attempt-1.stdout.log")));
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr);
    let (note, rest) = log.split_once('\n').expect("a first line");
    let size: usize = (1..=2_800_000_usize).map(|number| number.to_string().len() + 1).sum();
    assert_eq!(note, format!("[{} bytes before this are left out]", size - rest.len()));
    assert!(rest.len() <= 16 << 20 && rest.len() > (16 << 20) - 10, "{}", rest.len());
    let first: usize = rest.lines().next().and_then(|line| line.parse().ok()).expect("a number");
    assert_eq!(rest.lines().count(), 2_800_000 - first + 1);
}

#[test]
fn a_secret_is_masked_also_where_a_log_of_one_line_is_cut() {
    // The last 16 MiB begin in the middle of it.
    let script = "head -c 100000 /dev/zero | tr '\\0' x; printf 'correct horse battery staple'; \
                  head -c $(((16 << 20) - 12)) /dev/zero | tr '\\0' x; exit 3";
    let test = Test::bash(&["-n0", "--report=bundle:b"], script)
        .env("MY_PASSWORD", "correct horse battery staple")
        .with(|command| {
            command.stdout(std::process::Stdio::null());
        });
    let (ran, log) = test.run_with(|folder| read(folder.join("b/attempt-1.stdout.log")));
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr);
    let (note, rest) = log.split_once('\n').expect("a first line");
    assert_eq!(note, "[100016 bytes before this are left out]");
    assert!(rest.starts_with("***xxx"), "{:?}", rest.get(..40));
    assert_eq!(rest.len(), (16 << 20) - 12 + "***".len());
}

/// What a run with these options leaves in the folder `b`, once it has failed, and its first log there.
fn left_in_b(options: &[&str]) -> (Vec<String>, String) {
    let script = format!("echo {SECRET}; exit 3");
    let test = Test::bash(options, &script).env("MY_TOKEN", SECRET);
    fs::create_dir(test.path("b")).expect("a folder");
    std::os::unix::fs::symlink("b", test.path("link")).expect("a link");
    let (ran, left) = test.run_with(|folder| {
        let folder = folder.join("b");
        (listing(&folder), read(folder.join("attempt-1.stdout.log")))
    });
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr);
    left
}

#[test]
fn one_folder_under_two_names_is_one_bundle() {
    for options in [
        ["--report=bundle:b", "--report=bundle:b"],
        ["--report=bundle:b", "--report=bundle:./link/"],
        ["--log-dir=b", "--report=bundle:b"],
        ["--log-dir=link", "--report=bundle:b/../b"],
    ] {
        let (names, log) = left_in_b(&[&["-n0"], &options[..]].concat());
        assert_eq!((names.len(), log.as_str()), (7, "***\n"), "{options:?}: {names:?}");
    }
}

#[test]
fn logs_that_were_asked_for_stay_where_their_bundle_is_not_wanted() {
    let script = "$R --log-dir b --report bundle:b --report-when failure echo x";
    let (ran, names) = Test::shell(script).run_with(|folder| listing(&folder.join("b")));
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    assert_eq!(names, ["attempt-1.stderr.log", "attempt-1.stdout.log"]);
}

#[test]
fn what_cannot_be_masked_is_not_kept() {
    let fill = "dd if=/dev/zero of=small/fill bs=4k count=100 2>/dev/null";
    let script = format!(
        "export MY_TOKEN={SECRET}; $R -n0 --history never --report bundle:small/b \
         sh -c 'echo $MY_TOKEN; until grep -q . small/b/*.stdout.log; do :; done; {fill}; exit 3'; status=$?; grep -r $MY_TOKEN small/b && echo found; (exit $status)"
    );
    let Some((ran, left)) = with_a_small_disk(&script) else { return };
    let message = "cannot write the report bundle:small/b: No space left on device\n";
    assert_eq!((ran.code(), said(&ran, message)), (Some(3), 1), "{}", ran.stderr);
    assert!(!ran.stdout.contains("found"), "{left:?}");
}

#[test]
fn a_flaky_success_keeps_its_bundle_unless_failures_alone_are_wanted() {
    let script = steps(&["exit 3", "exit 0"]);
    let (_, history) = Test::bash(&["-d0", "--report=bundle:b"], &script)
        .run_with(|folder| read(folder.join("b/history.json")));
    assert_eq!(json(&history)["flaky"], Value::Bool(true));
}

#[test]
fn a_folder_that_others_can_read_holds_no_open_secrets_meanwhile() {
    let script = format!("echo {SECRET}; while [ ! -e go ]; do sleep 0.01; done; exit 3");
    let test = Test::bash(&["-n0", "--report=bundle:b"], &script).env("MY_TOKEN", SECRET);
    let (folder, go) = (test.path("b"), test.path("go"));
    fs::create_dir(&folder).expect("a folder");
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("its mode");
    let mut running = test.start();
    running.stdout_line();
    let log = folder.join("attempt-1.stdout.log");
    wait_until("it is logged", || fs::read_to_string(&log).is_ok_and(|text| !text.is_empty()));
    assert_eq!(mode(&log) & 0o077, 0, "{:o}", mode(&log));
    fs::write(go, "").expect("a file");
    let (_, (text, mode)) = running.finish_with(|| (read(&log), mode(&log)));
    assert_eq!((text.as_str(), mode), ("***\n", 0o644));
}
