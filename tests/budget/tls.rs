//! Budgets that machines share, through TLS.

use std::fs;
use std::path::Path;
use std::process::Command;

use retryrun::engine::event::Outcome;

use super::redis::Server;
use super::{Home, seen};
use crate::test::path;

/// A certificate of its own for a name, that only who is told so trusts.
fn certificate(folder: &Path) -> (String, String) {
    let [certificate, key] =
        ["cert.pem", "key.pem"].map(|name| folder.join(name).display().to_string());
    let made = Command::new("openssl")
        .env("PATH", path())
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .expect("openssl is installed, see tests/run");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}

#[test]
fn a_server_is_known_by_its_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = certificate(folder.path());
    let port = super::redis::free_port();
    let options = ["--tls-port", &port.to_string(), "--tls-auth-clients", "no"];
    let keys =
        ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--requirepass", "pass-word"];
    let _server = Server::with(&[&options[..], &keys].concat());
    let home = Home::new();
    let run = |host: &str, trusted: &str| {
        let url = format!("rediss://:pass-word@{host}:{port}/1");
        let options = ["--budget=x=2/1h", "--budget-strict", "-n9"];
        let test = home.test(&options, "exit 7").env("RETRYRUN_BUDGET_STORE", url);
        test.env("SSL_CERT_FILE", trusted).run()
    };
    let (history, said) = seen(&run("localhost", &certificate), "cannot be reached");
    assert_eq!((history.retry_count, history.outcome, said), (2, Some(Outcome::Budget), 0));
    let (history, said) = seen(&run("127.0.0.1", &certificate), "the budget x is used up");
    assert_eq!((history.retry_count, said), (0, 1));
    let nobody = folder.path().join("nobody.pem");
    fs::write(&nobody, "").expect("a file");
    let ran = run("localhost", &nobody.display().to_string());
    let (history, said) = seen(&ran, "cannot be reached: invalid peer certificate");
    assert_eq!((history.retry_count, said), (0, 1), "{}", ran.stderr);
}

#[test]
fn a_server_without_tls_is_not_spoken_to_without_it() {
    let server = Server::start();
    let url = format!("rediss://:pass-word@127.0.0.1:{}", server.port());
    let home = Home::new();
    let test = home.test(&["--budget=x=2/1h", "--budget-strict"], "exit 7");
    let ran = test.env("RETRYRUN_BUDGET_STORE", url).run();
    let (history, said) = seen(&ran, "cannot be reached: ");
    assert_eq!((history.retry_count, said), (0, 1), "{}", ran.stderr);
    assert!(!server.ask(&["INFO", "commandstats"]).contains("cmdstat_auth"));
}
