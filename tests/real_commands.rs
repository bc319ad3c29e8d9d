//! Real commands that fail for real, and what we make of it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use retryrun::engine::event::{Outcome, Verdict};

use crate::test::Test;

/// A loopback port that refuses: it was free a moment ago.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// A server on loopback that gives each of these answers to one connection, and then goes.
fn server(answers: &'static [&'static str]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a connection");
            let request = BufReader::new(stream.try_clone().expect("a second handle"));
            let end = request.lines().find(|line| line.as_ref().map_or(true, String::is_empty));
            assert!(end.is_some(), "a request ends in an empty line");
            let head =
                format!("HTTP/1.1 {answer}\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n");
            stream.write_all(head.as_bytes()).expect("the client reads");
        }
    });
    port
}

#[test]
fn curl_to_a_closed_port_is_transient() {
    let url = format!("http://127.0.0.1:{}/", closed_port());
    let ran = Test::new(["-n1", "-d0", "curl", "-sS", &url]).run();
    let history = ran.history();
    assert_eq!((ran.code(), history.outcome), (Some(7), Some(Outcome::Exhausted)));
    assert_eq!(
        (history.policy.name.as_str(), history.policy.origin.as_str()),
        ("curl", "built in")
    );
    let attempt = &history.attempts[0];
    assert_eq!(
        (attempt.verdict, attempt.reason.as_deref()),
        (Some(Verdict::Transient), Some("connect"))
    );
    assert_eq!(attempt.rule.as_deref(), Some("7"));
    assert_eq!(attempt.rule_origin.as_deref(), Some("policy curl (built in)"));
}

#[test]
fn curl_of_a_malformed_url_is_permanent() {
    let ran = Test::new(["curl", "-sS", "http://[x/"]).run();
    let history = ran.history();
    assert_eq!((ran.code(), history.outcome), (Some(3), Some(Outcome::Permanent)));
    assert_eq!(history.attempts[0].reason.as_deref(), Some("usage"));
}

#[test]
fn a_server_that_recovers_is_waited_for() {
    let port = server(&["503 Service Unavailable", "503 Service Unavailable", "200 OK"]);
    let url = format!("http://127.0.0.1:{port}/");
    let ran = Test::new(["-d0.01", "--history=always", "--", "curl", "-fsS", &url]).run();
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(0), "ok\n"), "{}", ran.stderr);
    let codes: Vec<Option<i32>> =
        ran.history().attempts.iter().map(|attempt| attempt.exit_code).collect();
    assert_eq!(codes, [Some(22), Some(22), Some(0)]);
    assert!(ran.history().flaky);
}

#[test]
fn git_of_a_missing_repository_is_given_up_at_once_with_its_own_status() {
    let ran = Test::new(["-n1", "-d0", "git", "ls-remote", "./nothing"]).run();
    let history = ran.history();
    assert_eq!((ran.code(), history.outcome), (Some(128), Some(Outcome::Permanent)));
    let attempt = &history.attempts[0];
    assert_eq!(attempt.reason.as_deref(), Some("not-found"));
    let evidence = attempt.evidence.as_deref().unwrap_or_default();
    assert!(evidence.contains("does not appear to be a git repository"), "{evidence}");
    assert!(ran.stderr.contains("fatal: "), "what it says is passed on: {}", ran.stderr);
}

#[test]
fn a_missing_page_is_permanent_and_a_busy_server_transient() {
    for (answers, verdict) in [
        (&["404 Not Found"][..], Verdict::Permanent),
        (&["429 Too Many Requests", "429 Too Many Requests"], Verdict::Transient),
    ] {
        let url = format!("http://127.0.0.1:{}/", server(answers));
        let ran = Test::new(["-n1", "-d0", "curl", "-fsS", &url]).run();
        let history = ran.history();
        let attempt = &history.attempts[0];
        assert_eq!((ran.code(), attempt.verdict), (Some(22), Some(verdict)), "{answers:?}");
        assert_eq!(history.attempts.len(), answers.len());
        let status = &answers[0][..3];
        let evidence = attempt.evidence.as_deref().unwrap_or_default();
        assert!(evidence.contains(status), "{evidence}");
    }
}

#[test]
fn a_program_that_crashes_is_retried_and_we_die_of_its_signal() {
    let source = "int main(void) { *(volatile int *)0 = 1; }\n";
    let test = Test::new(["-n1", "-d0", "./crash"]).file("crash.c", source);
    let compiled = Command::new("gcc")
        .args(["-w", "-o"])
        .args([test.path("crash"), test.path("crash.c")])
        .status();
    assert!(compiled.expect("gcc runs").success());
    let ran = test.run();
    assert_eq!((ran.code(), ran.signal()), (None, Some(libc::SIGSEGV)));
    let history = ran.history();
    assert_eq!(history.attempts.len(), 2);
    assert_eq!(history.attempts[0].reason.as_deref(), Some("crash"));
}
