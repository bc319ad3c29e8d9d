//! Rules: which endings each of them names, in which order they are asked, and what is no rule.

use retryrun::engine::classify::{Rule, Rules};
use retryrun::engine::event::{EndedBy, Ending, Judgement, SpawnErrorKind, Verdict};
use retryrun::engine::output::{Matches, OutputPattern, Search, Stream};
use retryrun::engine::signal::Signal;

use crate::sim::rule;

fn exit(code: i32) -> Ending {
    Ending {
        ended_by: EndedBy::Exit,
        exit_code: Some(code),
        signal: None,
        core_dumped: false,
        error: None,
        error_kind: None,
    }
}

fn death(signal: Signal) -> Ending {
    Ending { ended_by: EndedBy::Signal, exit_code: None, signal: Some(signal), ..exit(0) }
}

fn not_started(kind: SpawnErrorKind) -> Ending {
    Ending { ended_by: EndedBy::SpawnError, exit_code: None, error_kind: Some(kind), ..exit(0) }
}

/// The same ending, but we caused it.
fn caused(ended_by: EndedBy, ending: Ending) -> Ending {
    Ending { ended_by, ..ending }
}

/// Endings of all kinds, by name. Those that we caused left codes and signals that other rules name.
fn endings() -> Vec<(&'static str, Ending)> {
    vec![
        ("0", exit(0)),
        ("1", exit(1)),
        ("7", exit(7)),
        ("64", exit(64)),
        ("78", exit(78)),
        ("255", exit(255)),
        ("TERM", death(Signal::TERM)),
        ("KILL", death(Signal::KILL)),
        ("SEGV", death(Signal::SEGV)),
        ("ABRT", death(Signal::ABRT)),
        ("BUS", death(Signal::BUS)),
        ("ILL", death(Signal::ILL)),
        ("FPE", death(Signal::FPE)),
        ("TRAP", death(Signal::TRAP)),
        ("SYS", death(Signal::SYS)),
        ("timeout", caused(EndedBy::Timeout, exit(7))),
        ("timeout 0", caused(EndedBy::Timeout, exit(0))),
        ("deadline", caused(EndedBy::Deadline, death(Signal::TERM))),
        ("idle", caused(EndedBy::IdleTimeout, death(Signal::ABRT))),
        ("spawn", not_started(SpawnErrorKind::NotFound)),
    ]
}

/// The names of the endings for which a rule holds.
fn named_by(text: &str) -> String {
    let rule: Rule = text.parse().expect("well formed");
    let mut names: Vec<&str> = Vec::new();
    for (name, ending) in endings() {
        if rule.holds(&ending, &Matches::default()) {
            names.push(name);
        }
    }
    names.join(",")
}

#[test]
fn each_word_names_its_endings() {
    let crashes = "SEGV,ABRT,BUS,ILL,FPE,TRAP,SYS";
    let caused = "timeout,timeout 0,deadline,idle";
    let signals = format!("TERM,KILL,{crashes}");
    let nonzero = "1,7,64,78,255";
    let any = format!("{nonzero},{signals},{caused},spawn");
    for (rule, expected) in [
        ("0", "0"),
        ("7", "7"),
        ("007", "7"),
        ("0-7", "0,1,7"),
        ("64-78", "64,78"),
        ("65-77", ""),
        ("7-7", "7"),
        ("nonzero", nonzero),
        ("any", &any),
        ("TERM", "TERM"),
        ("sigterm", "TERM"),
        ("SigKill", "KILL"),
        ("USR1", ""),
        ("signal", &signals),
        ("crash", crashes),
        ("timeout", "timeout,timeout 0,deadline"),
        ("idle-timeout", "idle"),
        ("spawn", "spawn"),
        ("1,64-78,KILL", "1,64,78,KILL"),
        (" 7 , TERM ", "7,TERM"),
    ] {
        assert_eq!(named_by(rule), expected, "{rule}");
    }
}

#[test]
fn conditions_are_negated_and_joined() {
    for (rule, expected) in [
        ("any & !signal & !timeout,idle-timeout,spawn", "1,7,64,78,255"),
        ("nonzero & !7,64-78", "1,255"),
        ("nonzero&!7,64-78", "1,255"),
        ("signal & !crash", "TERM,KILL"),
        ("7 & 64", ""),
        // What we ended ourselves is found only by its name and by "any".
        ("! nonzero & !signal", "spawn"),
        ("any & ! nonzero & !signal", "timeout,timeout 0,deadline,idle,spawn"),
    ] {
        assert_eq!(named_by(rule), expected, "{rule}");
    }
}

#[test]
fn a_rule_holds_for_exit_0_only_if_it_names_0() {
    for rule in ["!7", "!nonzero", "!signal & !1", "any", "!any", "!0", "0 & !0"] {
        assert!(!named_by(rule).split(',').any(|name| name == "0"), "{rule}");
    }
    for rule in ["0,24", "!7 & 0", "0 & !signal", "0-255"] {
        assert!(named_by(rule).split(',').any(|name| name == "0"), "{rule}");
    }
}

/// A regular expression as a rule has it.
fn pattern(stream: Option<Stream>, regex: &str, ignore_case: bool) -> OutputPattern {
    OutputPattern { stream, regex: regex.to_owned(), ignore_case }
}

#[test]
fn a_regular_expression_ends_at_its_second_slash() {
    let (out, err) = (Some(Stream::Stdout), Some(Stream::Stderr));
    for (text, expected) in [
        ("/a/", vec![pattern(None, "a", false)]),
        ("22 & out/a, b & c/ ", vec![pattern(out, "a, b & c", false)]),
        (r"!err/a\/b\\/i&7", vec![pattern(err, r"a/b\\", true)]),
        (r"busy: /\d: x/ & ! /i/i", vec![pattern(None, r"\d: x", false), pattern(None, "i", true)]),
        ("//", vec![pattern(None, "", false)]),
    ] {
        let rule: Rule = text.parse().expect(text);
        assert!(rule.patterns().eq(&expected), "{text}: {rule:?}");
    }
    let rule: Rule = "busy: 7 & err/a: b/i".parse().expect("well formed");
    assert_eq!((rule.reason(), rule.text()), (Some("busy"), "7 & err/a: b/i"));
}

#[test]
fn a_bad_regular_expression_is_refused_by_what_is_wrong() {
    for (rule, expected) in [
        ("/a", "expected a `/` at the end of `/a`"),
        (r"22 & err/a\/", r"expected a `/` at the end of `err/a\/`"),
        (
            "/a/x",
            r"expected `i`, `&` or nothing behind the regular expression `/a/`, not `x`; a slash in it is written `\/`",
        ),
        (
            "/a/ 22",
            r"expected `i`, `&` or nothing behind the regular expression `/a/`, not `22`; a slash in it is written `\/`",
        ),
        (
            "stderr/a/ & 7",
            "expected a regular expression as `/.../`, `out/.../` or `err/.../`, not `stderr/a/ & 7`",
        ),
    ] {
        assert_eq!(rule.parse::<Rule>().expect_err(rule), expected, "{rule}");
    }
}

#[test]
fn what_was_written_and_how_it_ended_hold_together() {
    let found = Search::Found("a line".to_owned());
    let holds = |rule: &str, ending: &Ending, search: &Search| {
        let rule: Rule = rule.parse().expect("well formed");
        let searches = rule.patterns().map(|pattern| (pattern.clone(), search.clone()));
        let matches: Matches = searches.collect();
        rule.holds(ending, &matches)
    };
    for (rule, ending, of_found, of_absent) in [
        ("/a/", exit(22), true, false),
        ("!/a/", exit(22), false, true),
        ("22 & /a/", exit(22), true, false),
        ("22 & /a/", exit(7), false, false),
        ("22 & !/a/", exit(22), false, true),
        // What was written alone never makes a success a failure, nor a failure of what we ended.
        ("/a/", exit(0), false, false),
        ("!/a/", exit(0), false, false),
        ("0 & /a/", exit(0), true, false),
        ("!7 & /a/", exit(0), false, false),
        ("/a/", death(Signal::SEGV), true, false),
        ("/a/", caused(EndedBy::Timeout, exit(22)), false, false),
        ("22 & /a/", caused(EndedBy::Timeout, exit(22)), false, false),
        ("timeout & /a/", caused(EndedBy::Timeout, exit(22)), true, false),
        ("any & !/a/", caused(EndedBy::IdleTimeout, exit(22)), false, true),
    ] {
        assert_eq!(holds(rule, &ending, &found), of_found, "{rule} {ending:?}, found");
        assert_eq!(holds(rule, &ending, &Search::Absent), of_absent, "{rule} {ending:?}, absent");
        assert!(!holds(rule, &ending, &Search::Unknown), "{rule} {ending:?}, not read");
    }
}

#[test]
fn the_evidence_is_the_line_of_the_first_pattern_of_the_rule_that_decides() {
    let rules = Rules::new(vec![
        rule(Verdict::Permanent, "22 & /gone/"),
        rule(Verdict::Transient, "22 & !/gone/ & err/busy/ & /later/i"),
    ]);
    let patterns = rules.patterns();
    let regexes: Vec<&str> = patterns.iter().map(|pattern| pattern.regex.as_str()).collect();
    assert_eq!(regexes, ["gone", "busy", "later"], "each once, in the order in which it is asked");
    let searches = [Search::Absent, Search::Found("so busy".into()), Search::Found("later".into())];
    let matches: Matches = patterns.into_iter().zip(searches).collect();
    let judge = |code| rules.judge(&exit(code), &matches).judgement;
    assert_eq!(judge(22).evidence.as_deref(), Some("so busy"));
    assert_eq!(judge(7).evidence, None);
}

#[test]
fn a_rule_may_have_a_reason() {
    for (text, reason, conditions) in [
        ("7", None, "7"),
        ("throttled: 22 & !7", Some("throttled"), "22 & !7"),
        ("http-429:   22", Some("http-429"), "22"),
    ] {
        let rule: Rule = text.parse().expect("well formed");
        assert_eq!((rule.reason(), rule.text()), (reason, conditions));
    }
}

#[test]
fn a_bad_rule_is_refused_by_the_word_that_is_wrong() {
    for (rule, word) in [
        ("", ""),
        ("7,", ""),
        ("7 & ", ""),
        ("!", ""),
        ("!!7", "!7"),
        ("7,256", "256"),
        ("1-256", "1-256"),
        ("9-7", "9-7"),
        ("7-", "7-"),
        ("1-2-3", "1-2-3"),
        ("7x", "7x"),
        ("-1", "-1"),
        ("+5", "+5"),
        ("65-+70", "65-+70"),
        ("any,TREM", "TREM"),
        ("Timeout", "Timeout"),
        ("throttled:22", "throttled:22"),
        ("Throttled: 22", "Throttled: 22"),
        (": 22", ": 22"),
        ("7 & signal crash", "signal crash"),
    ] {
        let error = rule.parse::<Rule>().expect_err(rule);
        assert!(error.contains(&format!("not `{word}`")), "{rule}: {error}");
    }
    let error = |text: &str| text.parse::<Rule>().expect_err(text);
    assert_eq!(
        error("300"),
        "expected an exit code from 0 to 255 or a range of them such as `64-78`, not `300`"
    );
    assert_eq!(
        error("timout"),
        "expected an exit code, a range, a signal's name, `nonzero`, `any`, `signal`, `crash`, \
         `timeout`, `idle-timeout`, `spawn` or a regular expression as `/.../`, not `timout`; did you mean `timeout`?"
    );
}

#[test]
fn the_first_rule_that_holds_decides_and_is_named() {
    let rules = Rules::new(vec![
        rule(Verdict::Success, "24"),
        rule(Verdict::Permanent, "usage: 2,64-78"),
        rule(Verdict::Transient, "70,127"),
        rule(Verdict::Permanent, "7"),
    ]);
    let judge = |code| {
        let Judgement { verdict, reason, rule, rule_origin, evidence } =
            rules.judge(&exit(code), &Matches::default()).judgement;
        assert_eq!(evidence, None);
        let verdict = verdict.expect("every ending is judged").name();
        [
            verdict.to_owned(),
            reason.expect("a reason"),
            rule.expect("a rule"),
            rule_origin.expect("its origin"),
        ]
    };
    assert_eq!(judge(24), ["success", "success-on", "24", "flag"]);
    assert_eq!(judge(70), ["permanent", "usage", "2,64-78", "flag"]);
    assert_eq!(judge(127), ["transient", "retry-on", "70,127", "flag"]);
    assert_eq!(judge(7), ["permanent", "stop-on", "7", "flag"]);
    assert_eq!(judge(1), ["transient", "unlisted", "nonzero", "built in"]);
    assert_eq!(judge(0), ["success", "success", "0", "built in"]);
}

#[test]
fn a_closed_list_asks_the_built_in_table_for_exit_0_only() {
    let rules = Rules::new(vec![rule(Verdict::Transient, "22"), rule(Verdict::Permanent, "any")]);
    let verdict = |ending: &Ending| rules.judge(ending, &Matches::default()).judgement.verdict;
    assert_eq!(verdict(&exit(0)), Some(Verdict::Success));
    assert_eq!(verdict(&exit(22)), Some(Verdict::Transient));
    for (name, ending) in endings().iter().skip(1) {
        assert_eq!(verdict(ending), Some(Verdict::Permanent), "{name}");
    }
}

#[test]
fn the_built_in_table() {
    let rules = Rules::new(Vec::new());
    let mut table = vec![
        (exit(0), "success success"),
        (exit(1), "transient unlisted"),
        (exit(125), "transient unlisted"),
        (exit(126), "permanent not-executable"),
        (exit(127), "permanent not-found"),
        (exit(128), "transient unlisted"),
        (exit(255), "transient unlisted"),
        (caused(EndedBy::Timeout, exit(127)), "transient timeout"),
        (caused(EndedBy::Deadline, exit(0)), "transient timeout"),
        (caused(EndedBy::IdleTimeout, exit(0)), "transient idle-timeout"),
        (not_started(SpawnErrorKind::NotFound), "permanent not-found"),
        (not_started(SpawnErrorKind::NotExecutable), "permanent not-executable"),
        (not_started(SpawnErrorKind::Resources), "transient resources"),
        (not_started(SpawnErrorKind::Descriptors), "transient resources"),
    ];
    for (names, verdict) in [
        ("HUP INT QUIT TERM", "permanent stopped"),
        ("ILL SYS TRAP", "permanent crash"),
        ("XCPU XFSZ", "permanent limit"),
        ("SEGV ABRT BUS FPE", "transient crash"),
        ("KILL PIPE USR1 ALRM", "transient signal"),
    ] {
        for name in names.split(' ') {
            let signal = name.parse().expect("every system has it");
            table.push((death(signal), verdict));
        }
    }
    for (ending, expected) in table {
        let judgement = rules.judge(&ending, &Matches::default()).judgement;
        let verdict = judgement.verdict.expect("every ending is judged");
        let reason = judgement.reason.expect("with a reason");
        assert_eq!(format!("{verdict} {reason}"), expected, "{ending:?}");
        assert_eq!(judgement.rule_origin.as_deref(), Some("built in"));
    }
}

#[test]
fn a_rule_beats_the_built_in_answer_for_a_command_that_cannot_be_started() {
    let ending = not_started(SpawnErrorKind::NotFound);
    for text in ["spawn", "any"] {
        let rules = Rules::new(vec![rule(Verdict::Transient, text)]);
        assert_eq!(
            rules.judge(&ending, &Matches::default()).judgement.verdict,
            Some(Verdict::Transient)
        );
    }
    // The codes 126 and 127 are a shell's; a command that never began left none.
    let rules = Rules::new(vec![rule(Verdict::Transient, "126,127")]);
    assert_eq!(
        rules.judge(&ending, &Matches::default()).judgement.verdict,
        Some(Verdict::Permanent)
    );
}

#[test]
fn what_is_masked_of_a_rule_are_its_regular_expressions() {
    for (text, masked) in [
        ("7 & err/my key/i & !3", "7 & err/my ***/i & !3"),
        ("/key/ & 7 & out/a key/", "/***/ & 7 & out/a ***/"),
        ("7,9", "7,9"),
    ] {
        let rule: Rule = format!("key: {text}").parse().expect("it is a rule");
        let rule = rule.masked(&|own| own.replace("key", "***"));
        assert_eq!((rule.reason(), rule.text()), (Some("key"), masked));
    }
}

#[test]
fn a_pattern_is_for_its_stream_or_for_both() {
    let is_for = |text: &str| {
        let rule: Rule = text.parse().expect("it is a rule");
        let pattern = rule.patterns().next().expect("there is one");
        [Stream::Stdout, Stream::Stderr].map(|stream| pattern.is_for(stream))
    };
    assert_eq!(is_for("out/a/"), [true, false]);
    assert_eq!(is_for("err/a/"), [false, true]);
    assert_eq!(is_for("/a/"), [true, true]);
}
