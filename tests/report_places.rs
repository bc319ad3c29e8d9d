//! Where reports go: files that appear whole, descriptors, fifos, devices, full disks; and folders that hold all of a run.

mod bundles;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::test::{Ran, Test, now, say, steps, wait_until};

/// The formats that are written in one piece.
const WHOLE: [&str; 4] = ["json", "markdown", "html", "junit"];

/// All that a folder holds, by name.
fn listing(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("text");
    let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
    names.sort();
    names
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
}

/// The kinds of the events in a stream of them.
fn kinds(ndjson: &str) -> Vec<String> {
    let kind = |line| {
        let event = json(line);
        event.get("event").and_then(Value::as_str).expect("every event has a kind").to_owned()
    };
    ndjson.lines().map(kind).collect()
}

/// Fails unless the text is the report of a run, whole, in that format.
#[track_caller]
fn check_whole(format: &str, text: &str) {
    match format {
        "json" => {
            assert_eq!(json(text).get("schema"), Some(&"retryrun.history/1".into()), "{text}");
        }
        "markdown" => assert!(text.starts_with("### ") && text.ends_with('\n'), "{text:?}"),
        "html" => assert!(text.trim_end().ends_with("</html>"), "{text:?}"),
        "junit" => assert!(text.trim_end().ends_with("</testsuites>"), "{text:?}"),
        _ => panic!("{format} is not whole"),
    }
}

/// How often something is said.
fn said(ran: &Ran, text: &str) -> usize {
    ran.stderr.matches(text).count()
}

/// Words for a shell that is root no more, or that says so; none where only root can become somebody else.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        say("skipped: only root can become somebody else, and mount");
    }
    is_root
}

/// A fifo that the test can read: it counts as read as long as this is open.
fn fifo(path: &Path) -> BufReader<File> {
    make_fifo(path);
    // Open for writing, too, so that there is no end while we are not writing to it yet.
    let file = OpenOptions::new().read(true).write(true).open(path);
    BufReader::new(file.expect("a fifo opens at once for both"))
}

fn make_fifo(path: &Path) {
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    );
    made.expect("a fifo");
}

#[test]
fn a_file_is_untouched_until_it_is_replaced_as_a_whole() {
    for format in WHOLE {
        let report = format!("{format}:report");
        let test = Test::bash(&["-n1", "-d0", "--report", &report], "cat report; exit 3");
        let test = test.file("report", "of before");
        let (report, hard_link) = (test.path("report"), test.path("link"));
        fs::set_permissions(&report, Permissions::from_mode(0o604)).expect("its mode");
        fs::hard_link(&report, &hard_link).expect("a link");
        let (ran, (text, mode, linked, names)) = test.run_with(|folder| {
            let mode = fs::metadata(&report).expect("it is there").mode() & 0o7777;
            (read(&report), mode, read(&hard_link), listing(folder))
        });
        assert_eq!((ran.code(), ran.stdout.as_str()), (Some(3), "of beforeof before"), "{format}");
        check_whole(format, &text);
        assert_eq!((mode, linked.as_str()), (0o604, "of before"), "{format}");
        assert_eq!(names, ["link", "report"], "{format}");
    }
}

#[test]
fn an_owner_stays_who_he_is() {
    if !is_root() {
        return;
    }
    let test = Test::new(["--report", "r.json", "true"]).file("r.json", "");
    let path = test.path("r.json");
    std::os::unix::fs::chown(&path, Some(64_321), Some(64_322)).expect("root may");
    let (_, owner) = test.run_with(|_| {
        let metadata = fs::metadata(&path).expect("it is there");
        (metadata.uid(), metadata.gid())
    });
    assert_eq!(owner, (64_321, 64_322));
}

#[test]
fn when_we_are_killed_what_was_there_stays_and_nothing_else() {
    let reports = ["--report=a.json", "--report=b.md", "--report=junit:c", "--report=d.html"];
    let test = Test::bash(&reports, "echo up; exec sleep 1000").file("a.json", "of before");
    let folder = test.path(".");
    let mut running = test.start();
    running.stdout_line();
    running.signal(Signal::KILL);
    running.wait();
    assert_eq!(listing(&folder), ["a.json"]);
    assert_eq!(read(folder.join("a.json")), "of before");
}

#[test]
fn the_umask_holds_for_new_files() {
    for (umask, mode) in [("022", 0o644), ("027", 0o640), ("000", 0o666), ("077", 0o600)] {
        let script = format!("umask {umask}; $R --report r.json --report e.ndjson true");
        let (_, modes) = Test::shell(&script).run_with(|folder| {
            ["r.json", "e.ndjson"]
                .map(|name| fs::metadata(folder.join(name)).expect("it is there").mode() & 0o7777)
        });
        assert_eq!(modes, [mode; 2], "{umask}");
    }
}

#[test]
fn a_link_stays_one_and_what_it_leads_to_is_written() {
    for (format, target) in
        [("json", "there"), ("json", "missing"), ("ndjson", "there"), ("ndjson", "missing")]
    {
        let report = format!("{format}:link");
        let test = Test::new(["--report", &report, "true"]).file("folder/there", "of before");
        symlink("middle", test.path("link")).expect("a link");
        symlink(format!("folder/{target}"), test.path("middle")).expect("a link");
        let (ran, (text, names, inner)) = test.run_with(|folder| {
            assert!(folder.join("link").is_symlink() && folder.join("middle").is_symlink());
            (read(folder.join("link")), listing(folder), listing_in(folder, "folder"))
        });
        assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""), "{format} {target}");
        assert!(text.contains("\"run_id\"") && !text.contains("of before"), "{text}");
        assert_eq!(names, ["folder", "link", "middle"], "{format} {target}");
        assert!(inner.contains(&target.to_owned()), "{inner:?}");
    }
}

fn listing_in(folder: &Path, name: &str) -> Vec<String> {
    listing(&folder.join(name))
}

#[test]
fn links_in_a_ring_are_refused() {
    let test = Test::new(["--report", "json:one", "--", "sh", "-c", "echo ran"]);
    symlink("two", test.path("one")).expect("a link");
    symlink("one", test.path("two")).expect("a link");
    let ran = test.run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(125), ""), "{}", ran.stderr);
}

#[test]
fn paths_are_those_of_our_working_folder() {
    let options = ["--report=sub/r.json", "--report", "./a:b.json", "--report=json:x:y"];
    let test = Test::bash(&options, "cd /; exit 0").file("sub/other", "");
    let (ran, texts) = test.run_with(|folder| {
        assert_eq!(listing(folder), ["a:b.json", "sub", "x:y"]);
        ["sub/r.json", "a:b.json", "x:y"].map(|name| read(folder.join(name)))
    });
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
    texts.iter().for_each(|text| check_whole("json", text));
}

#[test]
fn several_reports_are_written_at_once_also_to_one_place() {
    let options = [
        "-n1",
        "-d0",
        "--report=a.json",
        "--report=json:same",
        "--report=json:same",
        "--report=e.ndjson",
        "--report=e.ndjson",
        "--report=r.md",
        "--report=r.html",
        "--report=r.xml",
        "--report=bundle:b",
        "--report=json:-",
        "--report=ndjson:-",
    ];
    let (ran, files) = Test::bash(&options, "exit 3").run_with(|folder| {
        ["a.json", "same", "e.ndjson", "r.md", "r.html", "r.xml", "b/history.json"]
            .map(|name| read(folder.join(name)))
    });
    assert_eq!((ran.code(), said(&ran, "cannot write")), (Some(3), 0), "{}", ran.stderr);
    let [history, same, events, markdown, html, junit, of_bundle] = files;
    for text in [&history, &same, &of_bundle] {
        check_whole("json", text);
    }
    assert_eq!(history, same);
    assert_eq!(kinds(&events).len(), 7, "{events}");
    check_whole("markdown", &markdown);
    check_whole("html", &html);
    check_whole("junit", &junit);
    let has_all = events.lines().all(|event| ran.stdout.contains(event));
    assert!(has_all && ran.stdout.contains(&history), "{}", ran.stdout);
}

#[test]
fn two_formats_in_one_file_are_a_usage_error() {
    for (first, second) in
        [("a.json", "html:a.json"), ("a.json", "html:./a.json"), ("markdown:x", "ndjson:link")]
    {
        let script = format!(
            "ln -s x link; $R --report {first} --report {second} sh -c 'echo never'; status=$?; rm link; (exit $status)"
        );
        let (ran, names) = Test::shell(&script).run_with(listing);
        assert_eq!((ran.code(), ran.stdout.as_str(), names), (Some(125), "", vec![]));
        let path = second.split_once(':').map(|(_, path)| path).expect("a format");
        let message = format!(
            "retryrun: --report: {path} is given in two formats: expected a path for each\n"
        );
        assert_eq!(ran.stderr, message);
    }
    // What takes text of several is no such file. Nobody waits for a reader, so that there is one before.
    let script = "mkfifo f; cat f >read & exec 8>f; \
                  $R -q -n0 --history never --report json:f --report markdown:f --report json:/dev/null \
                  --report html:/dev/null --report json:- --report markdown:- sh -c 'exit 3' 8>&-; \
                  s=$?; exec 8>&-; wait; (exit $s)";
    let (ran, text) = Test::shell(script).run_with(|folder| read(folder.join("read")));
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(3), ""));
    assert!(text.contains("retryrun.history/1") && text.contains("### "), "{text}");
}

#[test]
fn stdout_gets_its_report_behind_the_commands_output() {
    let script = "echo one; [ $RETRYRUN_ATTEMPT = 2 ]";
    let ran = Test::bash(&["-d0", "--report=json:-"], script).run();
    let history = ran.stdout.strip_prefix("one\none\n").expect("the output of both attempts");
    check_whole("json", history);

    let ran = Test::bash(&["-d0", "--report=json:-", "--stdout=final"], script).run();
    check_whole("json", ran.stdout.strip_prefix("one\n").expect("the last attempt's output"));

    let ran = Test::bash(&["-d0", "--report=ndjson:-"], "echo \"{}\"; exit 0").run();
    let events = kinds_of_those_that_are(&ran.stdout);
    assert_eq!(events, ["run_started", "attempt_started", "attempt_ended", "run_stopped"]);
}

fn kinds_of_those_that_are(lines: &str) -> Vec<String> {
    let events = lines.lines().filter(|line| line.contains("\"event\""));
    kinds(&events.map(|line| line.to_owned() + "\n").collect::<String>())
}

#[test]
fn a_descriptor_is_written_where_it_stands_and_stays_the_commands() {
    let script = "exec 5>>file; echo before >&5; $R --report json:fd:5 bash -c 'echo of the command >&5'; \
                  echo behind >&5; exec 5>&-; $R --report json:fd:7 true 7> >(cat >pipe); wait";
    let (ran, (file, pipe)) = Test::shell(script).run_with(|folder| {
        // Bash does not wait for what it has substituted.
        wait_until("the pipe is copied", || read(folder.join("pipe")).ends_with("}\n"));
        (read(folder.join("file")), read(folder.join("pipe")))
    });
    let report = file
        .strip_prefix("before\nof the command\n")
        .and_then(|rest| rest.strip_suffix("behind\n"))
        .unwrap_or_else(|| panic!("{file:?} {}", ran.stderr));
    check_whole("json", report);
    check_whole("json", &pipe);
}

#[test]
fn the_names_of_descriptors_in_the_file_system_are_those_descriptors() {
    for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        let script =
            format!("echo before >file; $R --report json:{name} echo of the command >>file");
        let (ran, file) = Test::shell(&script).run_with(|folder| read(folder.join("file")));
        let report = file.strip_prefix("before\nof the command\n");
        check_whole("json", report.unwrap_or_else(|| panic!("{name} {file:?} {}", ran.stderr)));
    }
    let ran = Test::new(["--report=json:/dev/stderr", "true"]).run();
    check_whole("json", &ran.stderr);
}

#[test]
fn a_descriptor_that_we_were_not_given_is_refused_whatever_we_open_ourselves() {
    // Each of them opens something before, or after.
    let others =
        ["", "--report=e.ndjson", "--report=json:/dev/null", "--report=bundle:b --log-dir l"];
    for others in others {
        for number in [3, 4, 5, 6, 7, 8, 9, 10, 50, 2_000_000_000] {
            for words in [
                format!("{others} --report json:fd:{number}"),
                format!("--report ndjson:fd:{number} {others}"),
            ] {
                let script = format!(
                    "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- 10>&-; $R {words} sh -c 'echo ran'"
                );
                let ran = Test::shell(&script).run();
                let message = format!("fd:{number}: Bad file descriptor\n");
                assert_eq!((ran.code(), ran.stdout.as_str()), (Some(125), ""), "{words}");
                assert!(ran.stderr.ends_with(&message), "{words}: {}", ran.stderr);
            }
        }
    }
}

#[test]
fn two_reports_to_descriptors_do_not_meet() {
    // The copy of 3 would be 4.
    let script = "$R --report json:fd:3 --report json:fd:4 sh -c 'echo ran' 3>three";
    let ran = Test::shell(script).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(125), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("--report: cannot write json:fd:4: "), "{}", ran.stderr);
    let script = "$R --report json:fd:4 --report ndjson:fd:3 sh -c 'echo ran' 3>three 4>four";
    let (ran, texts) = Test::shell(script)
        .run_with(|folder| ["three", "four"].map(|name| read(folder.join(name))));
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(kinds(&texts[0]).len(), 4);
    check_whole("json", &texts[1]);
}

#[test]
fn a_descriptor_that_cannot_be_written_is_refused() {
    for (redirection, report) in [
        ("5<file", "json:fd:5"),
        ("5<.", "ndjson:fd:5"),
        ("<file", "json:fd:0"),
        ("<&-", "json:fd:0"),
        (">&-", "json:-"),
        (">&-", "ndjson:-"),
        (">&-", "json:fd:1"),
    ] {
        let script = format!("$R --report {report} sh -c 'touch ran' {redirection}");
        let test = Test::shell(&script).file("file", "");
        let (ran, has_run) = test.run_with(|folder| folder.join("ran").exists());
        assert_eq!((ran.code(), has_run), (Some(125), false), "{redirection}: {}", ran.stderr);
        let message = format!("retryrun: --report: cannot write {report}: Bad file descriptor\n");
        assert_eq!(ran.stderr, message, "{redirection}");
    }
    let ran = Test::shell("$R --report json:fd:2 sh -c 'echo ran' 2>&-").run();
    assert_eq!((ran.code(), ran.stdout.as_str(), ran.stderr.as_str()), (Some(125), "", ""));
}

#[test]
fn a_place_that_cannot_be_written_is_refused_before_anything_is_run() {
    let of_all = ["json", "ndjson", "markdown", "html", "junit"];
    for format in of_all {
        for (path, reason) in [
            ("missing/file", "No such file or directory"),
            ("folder", "is a directory"),
            ("folder/.", "is a directory"),
            ("file/below", "Not a directory"),
            ("new/", "is a directory"),
        ] {
            let report = format!("--report={format}:{path}");
            let test = Test::new([&report, "sh", "-c", "touch ran"]);
            let test = test.file("folder/inner", "").file("file", "");
            let (ran, names) = test.run_with(listing);
            assert_eq!(ran.code(), Some(125), "{report}: {}", ran.stderr);
            assert_eq!(names, ["file", "folder"], "{report}");
            let start = format!("retryrun: --report: cannot write {format}:{path}: ");
            let told = ran.stderr.to_lowercase();
            assert!(told.starts_with(&start.to_lowercase()), "{report}: {}", ran.stderr);
            assert!(told.contains(&reason.to_lowercase()), "{report}: {}", ran.stderr);
        }
    }
    for path in ["file", "file/below", "/proc/nowhere"] {
        let report = format!("--report=bundle:{path}");
        let test = Test::new([&report, "sh", "-c", "touch ran"]).file("file", "");
        let (ran, names) = test.run_with(listing);
        assert_eq!((ran.code(), names), (Some(125), vec!["file".to_owned()]), "{}", ran.stderr);
        let start = format!("retryrun: --report: cannot write bundle:{path}: ");
        assert!(ran.stderr.starts_with(&start), "{}", ran.stderr);
    }
}

#[test]
fn what_a_user_may_not_write_is_refused_and_what_he_may_is_written() {
    if !is_root() {
        return;
    }
    let run = |report: &str| {
        let script = format!(
            "chmod 711 . && mkdir closed && echo old >closed/own && echo old >closed/other && \
             chown 64321 closed/own && chmod 600 closed/* && cp $R /tmp/retryrun.$$ && \
             setpriv --reuid=64321 --regid=64321 --clear-groups /tmp/retryrun.$$ --report {report} \
             sh -c 'echo ran'; status=$?; rm /tmp/retryrun.$$; exit $status"
        );
        Test::shell(&script)
            .run_with(|folder| (listing_in(folder, "closed"), read(folder.join("closed/own"))))
    };
    for report in
        ["new.json", "closed/new.json", "closed/new.ndjson", "json:closed/other", "bundle:b"]
    {
        let (ran, (names, own)) = run(report);
        assert_eq!((ran.code(), ran.stdout.as_str()), (Some(125), ""), "{report}: {}", ran.stderr);
        assert!(ran.stderr.contains("Permission denied"), "{report}: {}", ran.stderr);
        assert_eq!((names, own.as_str()), (vec!["other".to_owned(), "own".to_owned()], "old\n"));
    }
    // The folder is somebody else's, and the file the user's.
    let (ran, (names, own)) = run("json:closed/own");
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(names.len(), 2);
    check_whole("json", &own);
}

#[test]
fn a_file_that_is_a_mount_of_its_own_is_written_in_place() {
    if !is_root() {
        return;
    }
    let script = "echo a longer text than usual >inner; touch r.json; mount --bind inner r.json && exec $R --report r.json true";
    let test =
        Test::of("unshare", ["--mount", "bash", "-c", script]).env("R", crate::test::RETRYRUN);
    let (ran, (text, names)) =
        test.run_with(|folder| (read(folder.join("inner")), listing(folder)));
    if ran.stderr.contains("unshare") || ran.stderr.contains("mount:") {
        return say("skipped: mounts are forbidden here");
    }
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
    check_whole("json", &text);
    assert_eq!(names, ["inner", "r.json"]);
}

#[test]
fn devices_are_written_in_place() {
    let options = ["--report=json:/dev/null", "--report=ndjson:/dev/null", "--report=r.json"];
    let (ran, text) = Test::bash(&options, "exit 0").run_with(|folder| read(folder.join("r.json")));
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
    check_whole("json", &text);
    let is_device = fs::metadata("/dev/null").is_ok_and(|metadata| !metadata.is_file());
    assert!(is_device, "/dev/null is what it was");
}

#[test]
fn a_full_device_is_said_once_and_changes_nothing_else() {
    let options = [
        "-n2",
        "-d0",
        "--report=ndjson:/dev/full",
        "--report=json:/dev/full",
        "--report=r.json",
        "--report=e.ndjson",
    ];
    let (ran, texts) = Test::bash(&options, "exit 3")
        .run_with(|folder| ["r.json", "e.ndjson"].map(|name| read(folder.join(name))));
    assert_eq!(ran.code(), Some(3));
    for format in ["ndjson", "json"] {
        let message = format!(
            "retryrun: cannot write the report {format}:/dev/full: No space left on device\n"
        );
        assert_eq!(said(&ran, &message), 1, "{}", ran.stderr);
    }
    assert_eq!(ran.history().attempts.len(), 3);
    check_whole("json", &texts[0]);
    assert_eq!(kinds(&texts[1]).len(), 10);
}

#[test]
fn events_are_read_as_they_happen() {
    let script = steps(&["while [ ! -e go ]; do sleep 0.01; done; exit 3", "exit 0"]);
    let test = Test::bash(&["-d0", "--report=ndjson:events"], &script);
    let (events, go) = (test.path("events"), test.path("go"));
    let mut reader = fifo(&events);
    let running = test.start();
    let mut next = || {
        let mut line = String::new();
        reader.read_line(&mut line).expect("it can be read");
        json(&line)
    };
    assert_eq!(next()["event"], "run_started");
    assert_eq!(next()["event"], "attempt_started");
    fs::write(go, "").expect("a file");
    let rest =
        ["attempt_ended", "retry_planned", "attempt_started", "attempt_ended", "run_stopped"];
    for kind in rest {
        assert_eq!(next()["event"], kind);
    }
    assert_eq!(running.finish().code(), Some(0));
}

#[test]
fn a_fifo_without_a_reader_is_not_waited_for() {
    for report in ["json:fifo", "ndjson:fifo", "junit:fifo"] {
        let test = Test::bash(&["-n1", "-d0", "--report", report], "exit 3");
        make_fifo(&test.path("fifo"));
        let begun = now();
        let ran = test.run();
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let message = format!("retryrun: cannot write the report {report}: nobody reads it\n");
        assert_eq!((ran.code(), said(&ran, &message)), (Some(3), 1), "{}", ran.stderr);
    }
}

#[test]
fn a_reader_that_comes_later_gets_all_of_it() {
    let script = "echo up; while [ ! -e go ]; do sleep 0.01; done; exit 0";
    for (report, lines) in [("ndjson:fifo", 4), ("json:fifo", usize::MAX)] {
        let test = Test::bash(&["--report", report], script);
        let (path, go) = (test.path("fifo"), test.path("go"));
        make_fifo(&path);
        let mut running = test.start();
        running.stdout_line();
        let mut reader = OpenOptions::new().read(true).write(true).open(&path).map(BufReader::new);
        let reader = reader.as_mut().expect("a fifo");
        fs::write(go, "").expect("a file");
        let (ran, text) = running.finish_with(|| {
            let mut text = String::new();
            while text.lines().count() != lines && !text.ends_with("\n}\n") {
                reader.read_line(&mut text).expect("it can be read");
            }
            text
        });
        assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""), "{report}");
        assert!(text.contains("run_id") || text.contains("\"run\""), "{text}");
    }
}

#[test]
fn a_reader_that_goes_away_is_said_once() {
    let script = "echo up; while [ ! -e go ]; do sleep 0.01; done; rm go; exit 3";
    let test = Test::bash(&["-n1", "-d0", "--report=ndjson:fifo"], script);
    let (path, go) = (test.path("fifo"), test.path("go"));
    let reader = fifo(&path);
    let mut running = test.start();
    running.stdout_line();
    drop(reader);
    fs::write(&go, "").expect("a file");
    running.stdout_line();
    fs::write(&go, "").expect("a file");
    let ran = running.finish();
    let message = "retryrun: cannot write the report ndjson:fifo: Broken pipe\n";
    assert_eq!((ran.code(), said(&ran, message)), (Some(3), 1), "{}", ran.stderr);
}

#[test]
fn a_reader_that_does_not_read_is_waited_for_but_not_for_long() {
    // Many attempts make a report that no pipe holds.
    let options = ["-n400", "-d0", "--policy=none", "--history=never"];
    let reports =
        ["--report=json:one", "--report=json:two", "--report=ndjson:three", "--report=r.json"];
    let test = Test::new([&options[..], &reports, &["sh", "-c", "exit 3"]].concat());
    let paths = ["one", "two", "three"].map(|name| test.path(name));
    let _readers = paths.each_ref().map(|path| fifo(path));
    let begun = now();
    let (ran, text) = test.run_with(|folder| read(folder.join("r.json")));
    let history: Value = json(&text);
    let elapsed = begun.elapsed().as_secs_f64() - history["elapsed"].as_f64().expect("a number");
    assert!(elapsed < 3.0, "{elapsed}");
    assert_eq!((ran.code(), &history["attempts_omitted"]), (Some(3), &291.into()));
    for report in ["json:one", "json:two", "ndjson:three"] {
        let message = format!("retryrun: cannot write the report {report}: nobody reads it\n");
        assert_eq!(said(&ran, &message), 1, "{}", ran.stderr);
    }
}

#[test]
fn readers_that_do_not_read_leave_time_for_those_that_do() {
    // Where a pipe is full at once, its reader needs a moment.
    let script = "mkfifo one two; exec 3<>one; \
                  (while ! [ -e go ]; do sleep 0.01; done; sleep 0.3; cat) <two >two.json & \
                  $R -n300 -d0 --policy none --report json:one --report json:two sh -c 'touch go; exit 3' \
                  2> >(sleep 0.2; cat >history); status=$?; wait; exit $status";
    let (ran, texts) = Test::shell(script).run_with(|folder| {
        wait_until("it is copied", || read(folder.join("history")).ends_with("}\n"));
        ["two.json", "history"].map(|name| read(folder.join(name)))
    });
    assert_eq!(ran.code(), Some(3));
    check_whole("json", &texts[0]);
    check_whole("json", texts[1].lines().last().expect("the history"));
    let said = texts[1].matches("cannot write the report json:one: nobody reads it\n").count();
    assert_eq!((said, texts[1].matches("cannot write").count()), (1, 1));
}

#[test]
fn a_stdout_that_nobody_reads_any_more_costs_the_report_alone() {
    let ran = Test::shell("$R --report json:- sleep 0.2 | true; exit ${PIPESTATUS[0]}").run();
    let message = "retryrun: cannot write the report json:-: Broken pipe\n";
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), message));
}

#[test]
fn a_report_to_a_stdout_that_nobody_reads_is_not_waited_for_long() {
    let script = "exec 3> >(sleep 30); $R -n200 -d0 --history never --policy none --report json:- sh -c 'exit 3' >&3; \
                  status=$?; kill $!; exit $status";
    let begun = now();
    let ran = Test::shell(script).run();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr);
    assert_eq!(said(&ran, "cannot write the report json:-: nobody reads it"), 1, "{}", ran.stderr);
}

/// Runs a script where `small` is a file system of 64 KiB; none where mounts are forbidden.
fn with_a_small_disk(script: &str) -> Option<(Ran, Vec<String>)> {
    if !is_root() {
        return None;
    }
    let script = format!(
        "mkdir small && mount -t tmpfs -o size=64k none small || exit 77; {script}; \
         status=$?; ls -A small; ls -A small/b 2>/dev/null; exit $status"
    );
    let ran = Test::of("unshare", ["--mount", "bash", "-c", &script])
        .env("R", crate::test::RETRYRUN)
        .run();
    if ran.code() == Some(77) || ran.stderr.starts_with("unshare") {
        say("skipped: mounts are forbidden here");
        return None;
    }
    let left = ran.stdout.lines().map(str::to_owned).collect();
    Some((ran, left))
}

#[test]
fn a_full_disk_is_said_once_and_changes_nothing_else() {
    let options = "-n20 -d0 --policy none --history never";
    let fill = "dd if=/dev/zero of=small/fill bs=4k count=100 2>/dev/null";
    for report in ["json:small/r", "junit:small/r", "ndjson:small/r"] {
        let script = format!("$R {options} --report {report} sh -c '{fill}; exit 3'");
        let Some((ran, left)) = with_a_small_disk(&script) else { return };
        let message = format!("cannot write the report {report}: No space left on device\n");
        assert_eq!((ran.code(), said(&ran, &message)), (Some(3), 1), "{}", ran.stderr);
        let has_begun = report.starts_with("ndjson");
        let expected: &[&str] = if has_begun { &["fill", "r"] } else { &["fill"] };
        assert_eq!(left, expected, "{report}");
    }
    // A disk that is full at the start.
    let script = format!(
        "echo old >small/r; {fill}; $R {options} --report json:small/r sh -c 'exit 3'; cat small/r >&2"
    );
    let Some((ran, _)) = with_a_small_disk(&script) else { return };
    assert!(ran.stderr.ends_with("old\n"), "{}", ran.stderr);
}

#[test]
fn a_limit_on_the_size_of_files_is_said_once_and_changes_nothing_else() {
    let options = "-n30 -d0 --history never --policy none";
    let reports = "--report r.json --report e.ndjson --report bundle:b";
    let script = format!("ulimit -f 4; $R {options} {reports} sh -c 'exit 3'");
    let (ran, names) = Test::shell(&script).run_with(listing);
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr);
    for report in ["json:r.json", "ndjson:e.ndjson", "bundle:b"] {
        let message = format!("retryrun: cannot write the report {report}: File too large\n");
        assert_eq!(said(&ran, &message), 1, "{}", ran.stderr);
    }
    assert_eq!(names, ["b", "e.ndjson"], "what is not whole does not appear");
}

#[test]
fn reports_of_failures_alone_leave_no_trace_of_a_success() {
    let options = [
        "-d0",
        "--report-when=failure",
        "--report=r.json",
        "--report=r.md",
        "--report=r.html",
        "--report=r.xml",
        "--report=e.ndjson",
        "--report=bundle:b",
        "--report=json:-",
    ];
    for script in ["exit 0".to_owned(), steps(&["exit 3", "exit 0"])] {
        let test = Test::bash(&options, &script).file("r.json", "of before");
        let (ran, (names, before)) =
            test.run_with(|folder| (listing(folder), read(folder.join("r.json"))));
        assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), ""), "{}", ran.stderr);
        assert_eq!(said(&ran, "cannot"), 0, "{}", ran.stderr);
        let left: Vec<String> = names.into_iter().filter(|name| name != "n").collect();
        assert_eq!((left, before.as_str()), (vec!["r.json".to_owned()], "of before"));
    }
    let (ran, names) = Test::bash(&[&options[..], &["-n0"]].concat(), "exit 3").run_with(listing);
    assert_eq!(names, ["b", "e.ndjson", "r.html", "r.json", "r.md", "r.xml"]);
    check_whole("json", &ran.stdout);
}

#[test]
fn a_stream_that_is_not_wanted_is_removed_where_it_is() {
    let test = Test::bash(&["--report-when=failure", "--report=ndjson:link"], "exit 0");
    symlink("target", test.path("link")).expect("a link");
    let (ran, names) = test.run_with(listing);
    assert_eq!((ran.code(), ran.stderr.as_str(), names), (Some(0), "", vec!["link".to_owned()]));
    // What somebody else has removed is gone as well.
    let options = ["--report-when=failure", "--report=e.ndjson"];
    let ran = Test::bash(&options, "rm e.ndjson").run();
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn what_names_no_report_is_a_usage_error() {
    for report in [
        "jsn:a",
        "a.txt",
        "a",
        "",
        "json:",
        "fd:3",
        "json:fd:",
        "json:fd:x",
        "json:fd:-1",
        "json:fd:3.0",
        "json:fd:99999999999",
        "bundle:-",
        "bundle:fd:1",
        "-",
        "ndjson",
    ] {
        let ran = Test::new(["--report", report, "sh", "-c", "touch ran"]).run();
        assert_eq!((ran.code(), ran.stdout.as_str()), (Some(125), ""), "{report}");
        assert!(ran.stderr.contains("--report"), "{report}: {}", ran.stderr);
        assert!(report.is_empty() || ran.stderr.contains(report), "{report}: {}", ran.stderr);
    }
    let ran = Test::new(["--report", "jsn:a", "true"]).run();
    assert!(ran.stderr.contains("did you mean `json`?"), "{}", ran.stderr);
}

#[test]
fn told_to_stop_we_still_write_reports_at_once() {
    let reports = ["--report=r.json", "--report=e.ndjson", "--report=bundle:b", "--report=r.xml"];
    let wait = Test::bash(&[&["-d1000"], &reports[..]].concat(), "echo up; exit 3");
    let attempt = Test::bash(&reports, "echo up; exec sleep 1000");
    for (test, line) in [(wait, "next in 5m"), (attempt, "")] {
        let folder = test.path(".");
        let mut running = test.start();
        running.stdout_line();
        if !line.is_empty() {
            running.stderr_with(line);
        }
        let begun = now();
        running.signal(Signal::TERM);
        let (ran, texts) = running.finish_with(|| {
            ["r.json", "e.ndjson", "b/history.json", "r.xml"].map(|name| read(folder.join(name)))
        });
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(ran.signal(), Some(libc::SIGTERM));
        assert_eq!(json(&texts[0])["outcome"], "interrupted");
        assert_eq!(texts[0], texts[2]);
        assert_eq!(kinds(&texts[1]).last().map(String::as_str), Some("run_stopped"));
        check_whole("junit", &texts[3]);
    }
}

#[test]
fn reports_are_set_in_the_environment_and_in_files() {
    let test = Test::new(["true"]).env("RETRYRUN_REPORT", "a.json\njson:b c\n");
    let (ran, names) = test.run_with(listing);
    assert_eq!((ran.code(), names), (Some(0), vec!["a.json".to_owned(), "b c".to_owned()]));

    let config = "report = [\"a.json\", \"bundle:b\"]\nreport_when = \"failure\"\n";
    let run = |script: &str| {
        Test::bash(&["-n0", "--config=c"], script).file("c", config).run_with(listing)
    };
    assert_eq!(run("exit 0").1, ["c"]);
    assert_eq!(run("exit 3").1, ["a.json", "b", "c"]);

    // What is said closest to the call wins, as a whole.
    let test = Test::new(["--config=c", "--report=d.json", "true"]).file("c", config);
    let (_, names) = test
        .env("RETRYRUN_REPORT", "e.json")
        .env("RETRYRUN_REPORT_WHEN", "always")
        .run_with(listing);
    assert_eq!(names, ["c", "d.json"]);

    let ran = Test::new(["true"]).env("RETRYRUN_REPORT", "a.txt").run();
    assert!(ran.code() == Some(125) && ran.stderr.contains("RETRYRUN_REPORT"), "{}", ran.stderr);
    let test = Test::new(["--config=c", "true"]).file("c", "retries = 1\nreport = [\"a.txt\"]\n");
    let ran = test.run();
    assert!(ran.code() == Some(125) && ran.stderr.contains("c:2:1"), "{}", ran.stderr);
}

#[test]
fn a_run_inside_another_one_does_not_inherit_its_reports() {
    let script =
        "rm -f a.json; $R true; [ -e a.json ] && echo written; $R --report=inner.json true";
    let test = Test::bash(&[], script).env("R", crate::test::RETRYRUN);
    let (ran, names) = test.env("RETRYRUN_REPORT", "a.json").run_with(listing);
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), ""));
    assert_eq!(names, ["a.json", "inner.json"], "the outer run's is written when that is over");
}
