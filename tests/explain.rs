//! What `--explain` prints, as text and as JSON; and that a run then does just that.

use serde_json::{Value, json};

use crate::explained::{Explained, explain};
use crate::test::Test;

fn schedule(options: &[&str]) -> (Value, Value) {
    let explained = Explained::with(options);
    (explained.part("schedule").clone(), explained.part("total").clone())
}

#[test]
fn the_json_form_is_one_line_with_everything() {
    let ran = explain(&[
        "--seed=42",
        "-n1",
        "--exit-code=timeout=75",
        "--retry-on",
        "busy: 75 & !timeout",
        "ls",
    ])
    .env("RETRYRUN_DELAY", "0.25")
    .run();
    let expected = r#"{"policy":"none","settings":[
{"name":"policy","value":"none","origin":"built in"},
{"name":"retries","value":1,"origin":"flag --retries"},
{"name":"deadline","value":null,"origin":"built in"},
{"name":"timeout","value":null,"origin":"built in"},
{"name":"idle_timeout","value":null,"origin":"built in"},
{"name":"kill_after","value":5.0,"origin":"built in"},
{"name":"stop_signal","value":"SIGTERM","origin":"built in"},
{"name":"healthy_after","value":null,"origin":"built in"},
{"name":"consecutive","value":1,"origin":"built in"},
{"name":"delay","value":0.25,"origin":"environment RETRYRUN_DELAY"},
{"name":"backoff","value":"exponential","origin":"built in"},
{"name":"multiplier","value":2.0,"origin":"built in"},
{"name":"max_delay","value":300.0,"origin":"built in"},
{"name":"jitter","value":"none","origin":"built in"},
{"name":"seed","value":42,"origin":"flag --seed"},
{"name":"exit_code","value":["timeout=75"],"origin":"flag --exit-code"},
{"name":"leftovers","value":"auto","origin":"built in"},
{"name":"budget","value":null,"origin":"built in"},
{"name":"budget_store","value":null,"origin":"built in"},
{"name":"budget_strict","value":false,"origin":"built in"},
{"name":"retry_if","value":null,"origin":"built in"},
{"name":"on_retry","value":null,"origin":"built in"},
{"name":"before_attempt","value":null,"origin":"built in"},
{"name":"on_success","value":null,"origin":"built in"},
{"name":"on_give_up","value":null,"origin":"built in"},
{"name":"hook_timeout","value":30.0,"origin":"built in"},
{"name":"hints","value":false,"origin":"built in"},
{"name":"c_locale","value":false,"origin":"built in"},
{"name":"process_group","value":"auto","origin":"built in"},
{"name":"cgroup","value":null,"origin":"built in"},
{"name":"stdin","value":"auto","origin":"built in"},
{"name":"stdout","value":"stream","origin":"built in"},
{"name":"log_dir","value":null,"origin":"built in"},
{"name":"delay_from","value":null,"origin":"built in"},
{"name":"tail","value":null,"origin":"built in"},
{"name":"spool_limit","value":null,"origin":"built in"},
{"name":"history","value":"failure","origin":"built in"},
{"name":"report","value":[],"origin":"built in"},
{"name":"report_when","value":"always","origin":"built in"},
{"name":"redact","value":[],"origin":"built in"},
{"name":"quiet","value":false,"origin":"built in"},
{"name":"verbose","value":false,"origin":"built in"},
{"name":"log_format","value":"text","origin":"built in"},
{"name":"color","value":"auto","origin":"built in"},
{"name":"live","value":"auto","origin":"built in"},
{"name":"ci","value":"auto","origin":"built in"},
{"name":"job","value":null,"origin":"built in"},
{"name":"fresh","value":false,"origin":"built in"},
{"name":"keep_runs","value":100,"origin":"built in"},
{"name":"keep_for","value":2592000.0,"origin":"built in"}],
"rules":[
{"rule":"75 & !timeout","verdict":"transient","reason":"busy","origin":"flag --retry-on"},
{"rule":"any","verdict":"permanent","reason":"unlisted","origin":"flag --retry-on"},
{"rule":"0","verdict":"success","reason":"success","origin":"built in"}],
"text_rules":"none",
"schedule":[0.25],"total":0.25}
"#;
    let expected = expected.replace('\n', "") + "\n";
    assert_eq!((ran.code(), ran.stdout, ran.stderr.as_str()), (Some(0), expected, ""));
}

#[test]
fn the_text_form_shows_the_same_for_people() {
    let content = "\
[policy.fetch]
commands = [\"fetch\"]
docs = \"For fetch.\"
delays = [1, \"1m30s\"]
rules = [ { stop_on = \"gone: 22\" }, { success_on = \"24\" } ]
otherwise = \"retry\"
";
    let test =
        Test::new(["--explain", "--config=c.toml", "--seed=1", "-t0.5", "-n2", "fetch", "x"]);
    let ran = test.file("c.toml", content).env("RETRYRUN_REDACT", "a[0-9]\nb[0-9]").run();
    let expected = "\
Settings:
  policy          fetch          built in, defined c.toml:1
  retries         2              flag --retries
  deadline        none           built in
  timeout         0.5s           flag --timeout
  idle_timeout    none           built in
  kill_after      5s             built in
  stop_signal     SIGTERM        built in
  healthy_after   none           built in
  consecutive     1              built in
  delays          1s,1m 30s      policy fetch (c.toml:1)
  max_delay       5m             built in
  jitter          none           built in
  seed            1              flag --seed
  exit_code       none           built in
  leftovers       auto           built in
  budget          none           built in
  budget_store    none           built in
  budget_strict   false          built in
  retry_if        none           built in
  on_retry        none           built in
  before_attempt  none           built in
  on_success      none           built in
  on_give_up      none           built in
  hook_timeout    30s            built in
  hints           false          built in
  c_locale        false          built in
  process_group   auto           built in
  cgroup          none           built in
  stdin           auto           built in
  stdout          stream         built in
  log_dir         none           built in
  delay_from      none           built in
  tail            none           built in
  spool_limit     none           built in
  history         failure        built in
  report          none           built in
  report_when     always         built in
  redact          a[0-9] b[0-9]  environment RETRYRUN_REDACT
  quiet           false          built in
  verbose         false          built in
  log_format      text           built in
  color           auto           built in
  live            auto           built in
  ci              auto           built in
  job             none           built in
  fresh           false          built in
  keep_runs       100            built in
  keep_for        30d            built in

Rules, the first that holds decides:
  22   permanent (gone)       policy fetch (c.toml:1)
  24   success (success-on)   policy fetch (c.toml:1)
  any  transient (otherwise)  policy fetch (c.toml:1)
  0    success (success)      built in

Waits:
  before attempt 2: 1s         1s in all
  before attempt 3: 1m 30s     1m 31s in all

About the policy fetch:
  For fetch.
";
    assert_eq!((ran.code(), ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), expected, ""));
}

/// The last part of the text form.
fn waits(options: &[&str]) -> String {
    let ran = Test::new(["--explain"].iter().chain(options)).run();
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
    ran.stdout.split_once("\nWaits:\n").expect("it shows the waits").1.to_owned()
}

#[test]
fn long_schedules_are_cut_for_people() {
    assert_eq!(waits(&["-n0"]), "  none: the command runs once\n");
    let long = waits(&["-n", "14", "-d1", "--backoff=constant"]);
    assert_eq!(long.lines().count(), 13);
    assert_eq!(long.lines().last(), Some("  and 2 more, 14s in all"));
    let endless = waits(&["-n", "inf"]);
    assert_eq!(endless.lines().count(), 13);
    assert_eq!(endless.lines().last(), Some("  and so on, unlimited retries"));
    let twelve = waits(&["-n12"]);
    assert_eq!(twelve.lines().last(), Some("  before attempt 13: 5m         35m 15s in all"));
}

#[test]
fn the_schedule_and_its_sum() {
    let constant = |n: usize| vec![json!(5.0); n];
    for (options, waits, total) in [
        (&[][..], json!([5.0, 10.0, 20.0]), json!(35.0)),
        (&["-n3", "-d5s", "--multiplier=2.0"], json!([5.0, 10.0, 20.0]), json!(35.0)),
        (
            &["-n5", "-d3s", "--multiplier=1.5"],
            json!([3.0, 4.5, 6.75, 10.125, 15.1875]),
            json!(39.5625),
        ),
        (
            &["-n3", "-d15s", "--multiplier=2.0", "--max-delay=120s"],
            json!([15.0, 30.0, 60.0]),
            json!(105.0),
        ),
        (
            &["-n5", "-d15s", "--multiplier=2.0", "--max-delay=120s"],
            json!([15.0, 30.0, 60.0, 120.0, 120.0]),
            json!(345.0),
        ),
        (&["-n0"], json!([]), json!(0.0)),
        (&["--attempts=1"], json!([]), json!(0.0)),
        (&["-n4", "--backoff=linear"], json!([5.0, 10.0, 15.0, 20.0]), json!(50.0)),
        (&["-n5", "--backoff=fibonacci"], json!([5.0, 5.0, 10.0, 15.0, 25.0]), json!(60.0)),
        (&["-n4", "--delays=1,0,0.5"], json!([1.0, 0.0, 0.5, 0.5]), json!(2.0)),
        (&["-n2", "--delays=10m"], json!([300.0, 300.0]), json!(600.0)),
        (&["-n2", "-d0"], json!([0.0, 0.0]), json!(0.0)),
        (&["-n150", "--backoff=constant"], json!(constant(150)), json!(750.0)),
        (&["-n", "unlimited", "--backoff=constant"], json!(constant(100)), json!(null)),
        (&["-n", "18446744073709551615", "--backoff=constant"], json!(constant(100)), json!(null)),
    ] {
        assert_eq!(schedule(options), (waits, total), "{options:?}");
    }
}

#[test]
fn the_schedule_saturates() {
    let longest = "18446744073709551615";
    let (waits, total) = schedule(&["-n1100", "-d1", "--multiplier=1e300", "--max-delay", longest]);
    let waits = waits.as_array().expect("a list");
    assert_eq!(waits.len(), 1100);
    assert!(waits.iter().chain([&total]).all(|wait| wait.as_f64().is_some_and(f64::is_finite)));
}

#[test]
fn a_run_waits_as_explained() {
    for jitter in ["none", "full", "equal", "decorrelated", "33.3%"] {
        let options = ["-n8", "-d0.003", "--max-delay=0.02", "--seed=7", "--jitter", jitter];
        let (shown, _) = schedule(&options);
        let ran = Test::new(options.iter().chain(&["-q", "--", "false"])).run();
        let history: Value = serde_json::from_str(&ran.stderr).expect("the history alone");
        let attempts = history["attempts"].as_array().expect("a list");
        let waited: Vec<Value> =
            attempts.iter().take(8).map(|attempt| attempt["next_delay"].clone()).collect();
        assert_eq!(Value::Array(waited), shown, "{jitter}");
        assert_eq!(history["policy"]["seed"], 7);
    }
}

#[test]
fn a_seed_that_was_drawn_can_be_given_back() {
    let drawn = Explained::with(&["--jitter=full"]);
    assert_eq!(drawn.origin("seed"), "random");
    let seed = drawn.value("seed").to_string();
    let again = Explained::with(&["--jitter=full", "--seed", &seed]);
    assert_eq!(again.part("schedule"), drawn.part("schedule"));
}

#[test]
fn the_built_in_table_ends_the_rules() {
    let explained = Explained::with(&["curl"]);
    let rules = explained.part("rules").as_array().expect("a list");
    let last: Vec<String> = rules
        .iter()
        .filter(|rule| rule["origin"] == "built in")
        .map(|rule| {
            let words =
                ["rule", "verdict", "reason"].map(|key| rule[key].as_str().expect("a text"));
            words.join(" ")
        })
        .collect();
    assert_eq!(
        last,
        [
            "0 success success",
            "126 permanent not-executable",
            "127 permanent not-found",
            "HUP,INT,QUIT,TERM permanent stopped",
            "ILL,SYS,TRAP permanent crash",
            "XCPU,XFSZ permanent limit",
            "crash transient crash",
            "signal transient signal",
            "timeout transient timeout",
            "idle-timeout transient idle-timeout",
            "nonzero transient unlisted",
            "spawn transient resources",
            "spawn permanent not-found",
            "spawn permanent not-executable",
        ]
    );
    assert_eq!(explained.rules()[0], "1-4 permanent usage policy curl (built in)");
    let first = rules.len() - last.len();
    assert!(rules[first..].iter().all(|rule| rule["origin"] == "built in"));
}

#[test]
fn an_explanation_holds_no_secret() {
    let ran = explain(&["--redact", "pass[a-z]+", "--redact=tok-1234", "ls"])
        .env("MY_TOKEN", "tok-1234")
        .run();
    assert!(!ran.stdout.contains("tok-1234"), "{}", ran.stdout);
}

/// A configuration in a folder and with a policy whose names are masked: all that is the user's own, and no word of ours.
#[test]
fn paths_and_names_of_policies_are_masked() {
    let content = "retries = 0\n[policy.acme]\ndocs = 'for acme'\ninherit = 'curl'\nrules = [{ stop_on = '1' }]\n";
    let options =
        ["--config=acme/3.toml", "--redact=acme|built|policy|curl|[0-9]", "--policy=acme"];
    let test = |more: &[&str]| Test::new(options.iter().chain(more)).file("acme/3.toml", content);
    let explained = test(&["--explain", "ls"]).run();
    let text = explained.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for shown in [
        "policy *** flag --policy, defined ***/***.toml:2 retries 0 ***/***.toml:1 deadline",
        "1 permanent (stop-on) policy *** (***/***.toml:2)",
        "1-4 permanent (usage) policy curl (built in)",
        "About the policy ***: for ***",
    ] {
        assert!(text.contains(shown), "{shown} in {text}");
    }
    assert!(!text.contains("acme"), "{text}");
    let ran = test(&["-v", "false"]).run();
    assert!(!ran.stderr.contains("acme"), "{}", ran.stderr);
    let history = ran.history();
    assert_eq!((&*history.policy.name, &*history.policy.origin), ("***", "***/***.toml:2"));
}

#[test]
fn an_explanation_cannot_command_a_terminal_or_a_ci() {
    let content = r###"redact = ["\u001b[0-9]", "\u009b[0-9]", "##[0-9]"]
[policy.p]
docs = "\u001b[31m"
"###;
    let options = ["--config=c.toml", "--policy=p", "--explain"];
    for form in [&[][..], &["--json"]] {
        let ran = Test::new(options.iter().chain(form)).file("c.toml", content).run();
        assert_eq!((ran.code(), ran.stderr.as_str()), (Some(0), ""));
        assert!(!ran.stdout.chars().any(|c| c.is_control() && c != '\n'), "{:?}", ran.stdout);
        assert!(!ran.stdout.contains("##["), "{:?}", ran.stdout);
    }
}

#[test]
fn nothing_is_run() {
    let ran = explain(&["--", "echo", "ran"]).run();
    assert!(!ran.stdout.contains("ran\n"), "{}", ran.stdout);
    assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (1, ""));
}

#[test]
fn the_limit_and_the_delay_of_a_rule_are_shown() {
    let content = "\
[policy.p]
rules = [ { retry_on = \"throttled: 22 & /429/\", limit = 2, delay = \"30s\" }, { retry_on = \"7\", limit = \"inf\" } ]
";
    let test = |form: &[&str]| {
        let words = ["--config=c.toml", "--policy=p", "--explain"];
        Test::new(words.iter().chain(form)).file("c.toml", content).run()
    };
    let text = test(&[]).stdout;
    let rules = text.split("Rules, the first that holds decides:\n").nth(1).expect("the rules");
    let shown: Vec<&str> = rules.lines().take(2).collect();
    assert_eq!(
        shown,
        [
            "  22 & /429/         transient (throttled), 2 retries at most, after 30s  policy p (c.toml:1)",
            "  7                  transient (retry-on)                                 policy p (c.toml:1)",
        ]
    );
    let explained: Value = serde_json::from_str(&test(&["--json"]).stdout).expect("JSON");
    let rules = &explained["rules"];
    assert_eq!((&rules[0]["limit"], &rules[0]["delay"]), (&json!(2), &json!(30.0)));
    assert_eq!((rules[1].get("limit"), rules[1].get("delay")), (None, None));
}

#[test]
fn what_a_policy_that_was_chosen_by_the_command_does_not_read_is_said() {
    let skipped = |options: &[&str]| {
        let text = Test::new(["--explain"].iter().chain(options)).run().stdout;
        let json = Explained::with(options);
        let said = json.part("text_rules").as_str().expect("a word").to_owned();
        assert_eq!(text.contains("--policy curl asks them there, too"), said == "no-terminal");
        said
    };
    assert_eq!(skipped(&["curl"]), "no-terminal");
    assert_eq!(skipped(&["--policy=auto", "curl"]), "no-terminal");
    assert_eq!(skipped(&["--policy=curl", "curl"]), "all");
    assert_eq!(skipped(&["--stop-on=/gone/", "curl"]), "all");
    assert_eq!(skipped(&["--otherwise=retry", "curl"]), "none");
    assert_eq!(skipped(&["pg_isready"]), "none");
    assert_eq!(skipped(&["ls"]), "none");
}

#[test]
fn a_long_rule_stands_on_a_line_of_its_own() {
    let text = Test::new(["--explain", "curl"]).run().stdout;
    let lines: Vec<&str> = text.lines().collect();
    let rule = "  22 & err/returned error: 429\\b/";
    let short = lines.iter().find(|line| line.starts_with(rule)).expect("it is short");
    assert!(short.ends_with("policy curl (built in)"), "{short}");
    let rule = r"  22 & err/returned error: (408|425|5\d\d)\b/";
    let place = lines.iter().position(|line| *line == rule).expect("it stands alone");
    assert!(lines[place + 1].trim().starts_with("transient (http-unavailable)"));
}
