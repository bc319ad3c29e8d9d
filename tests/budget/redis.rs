//! Budgets that machines share, in a real Redis: also one that is killed, paused, restarted, or none at all.

#![cfg(feature = "redis")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use retryrun::engine::event::Outcome;
use rustix::process::{Pid, Signal};

use super::{Home, at_once, seen};
use crate::test::{Test, path, wait_until};

/// What no line of ours may show.
const PASSWORD: &str = "s3cret/p@ss";

/// The same in a URL.
const ESCAPED: &str = "s3cret%2Fp@ss";

/// A server of our own.
pub(super) struct Server {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
    options: Vec<String>,
}

impl Server {
    pub(super) fn start() -> Server {
        Server::with(&[])
    }

    /// A server that knows us by a password, or by other options.
    pub(super) fn with(options: &[&str]) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let child = launch(port, folder.path(), &options);
        Server { child, port, folder, options }
    }

    #[cfg(feature = "redis-tls")]
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The same again, with what it had written.
    fn restart(&mut self) {
        let _already_killed = self.child.kill();
        self.child.wait().expect("it is our child");
        self.child = launch(self.port, self.folder.path(), &self.options);
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("it is our child");
    }

    fn socket(&self) -> String {
        self.folder.path().join("socket").display().to_string()
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What the server says to a command, in databases without a password.
    pub(super) fn ask(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let asked = Command::new("redis-cli").args(["-p", &port]).args(words).output();
        let asked = asked.expect("redis-cli comes with the server");
        String::from_utf8(asked.stdout).expect("text").trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_killed = self.child.kill();
        let _already_reaped = self.child.wait();
    }
}

/// A port of the loopback that nobody uses just now.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

fn launch(port: u16, folder: &Path, options: &[String]) -> Child {
    // The server by another name: Debian's package of the one that has it starts a service, too.
    let child = Command::new("redis-check-rdb")
        .arg0("redis-server")
        .env("PATH", path())
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--unixsocket", &folder.join("socket").display().to_string()])
        .args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
        .arg("--dir")
        .arg(folder)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-tools are installed, see tests/run");
    wait_until("the server listens and is ready", || {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        let mut answer = [0; 5];
        stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && (answer == *b"+PONG" || answer == *b"-NOAU")
    });
    child
}

/// A run that shares a budget through a store.
fn through(home: &Home, url: &str, options: &[&str], script: &str) -> Test {
    home.test(&[&["--budget=x=5/1h"], options].concat(), script).env("RETRYRUN_BUDGET_STORE", url)
}

/// How many retries are left there, all of which are made.
fn drain(home: &Home, url: &str) -> u64 {
    let ran = through(home, url, &["-n", "unlimited"], "exit 7").run();
    let history = ran.history();
    assert_eq!(history.outcome, Some(Outcome::Budget), "{}", ran.stderr);
    assert!(!ran.stderr.contains("cannot be reached"), "{}", ran.stderr);
    history.retry_count
}

#[test]
fn machines_share_what_is_there() {
    let server = Server::start();
    // Each machine has a state folder of its own.
    let (one, other) = (Home::new(), Home::new());
    let ran = through(&one, &server.url(), &["-n2"], "exit 7").run();
    assert_eq!(ran.history().outcome, Some(Outcome::Exhausted));
    assert_eq!((drain(&other, &server.url()), drain(&one, &server.url())), (3, 0));
    assert_eq!(one.drain("x=5/1h"), 5, "the file is another budget");
    let by_socket = format!("unix:{}", server.socket());
    assert_eq!(drain(&one, &by_socket), 0);
    assert_eq!(
        drain(&one, &format!("{}/1", server.url())),
        5,
        "another database is another budget"
    );
}

#[test]
fn two_hundred_processes_at_once_never_take_more_than_there_is() {
    let server = Server::start();
    let home = Home::new();
    let url = server.url();
    let (retries, _) =
        at_once(200, || through(&home, &url, &["--budget-strict", "-n3"], "exit 7").start());
    let kept = server.ask(&["HGET", "retryrun:budget:x", "level"]);
    let level: u64 = kept.parse().expect("a number");
    assert!(level < 720_000_000, "the rest of a token: {level}");
    // One whose answer came too late has lost a token to nobody.
    assert!((1..=5).contains(&retries), "{retries}");
}

#[test]
fn the_script_is_sent_once_and_known_by_its_name_then() {
    let server = Server::start();
    assert_eq!(drain(&Home::new(), &server.url()), 5);
    let calls = |command: &str| {
        let stats = server.ask(&["INFO", "commandstats"]);
        let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
        line.and_then(|line| Some(line.split_once("calls=")?.1.split_once(',')?.0.to_owned()))
    };
    assert_eq!((calls("eval").as_deref(), calls("evalsha").as_deref()), (Some("1"), Some("6")));
}

#[test]
fn a_key_lives_until_its_bucket_is_full_again() {
    let server = Server::start();
    let home = Home::new();
    assert_eq!(drain(&home, &server.url()), 5);
    let lives: u64 = server.ask(&["PTTL", "retryrun:budget:x"]).parse().expect("a number");
    assert!((3_500_000..=3_601_001).contains(&lives), "{lives}");
    let ran = home.test(&["--budget=brief=1/10ms", "-n1"], "exit 7");
    let ran = ran.env("RETRYRUN_BUDGET_STORE", server.url()).run();
    assert_eq!(ran.history().retry_count, 1);
    wait_until("the key is gone", || server.ask(&["EXISTS", "retryrun:budget:brief"]) == "0");
}

#[test]
fn the_last_callers_numbers_hold() {
    let server = Server::start();
    let home = Home::new();
    let take = |budget: &str, retries: &str| {
        let ran = home.test(&["--budget", budget, "-n", retries], "exit 7");
        ran.env("RETRYRUN_BUDGET_STORE", server.url()).run().history().retry_count
    };
    assert_eq!(take("x=5/1h", "2"), 2);
    assert_eq!(take("x=1000/36600d", "9"), 3, "tokens stay tokens");
    assert_eq!(take("x=4294967295/1h", "1"), 0);
    assert_eq!(take("y=4294967295/36600d", "2"), 2);
    assert_eq!(take("y=1/36600d", "2"), 1);
    assert_eq!(take("y=1/36600d", "2"), 0);
}

#[test]
fn a_success_at_the_first_attempt_puts_a_share_back() {
    let server = Server::start();
    let home = Home::new();
    assert_eq!(drain(&home, &server.url()), 5);
    for _ in 0..2 {
        let options = ["--budget=x=5/1h+50%"];
        let ran = through(&home, &server.url(), &options, "exit 0").run();
        assert_eq!((ran.code(), ran.lines().concat().as_str()), (Some(0), ""), "{}", ran.stderr);
    }
    assert_eq!(drain(&home, &server.url()), 1);
}

#[test]
fn a_server_that_is_killed_and_comes_back_is_replaced_and_found_again() {
    let mut server = Server::start();
    let home = Home::new();
    // Each attempt tells that it runs, and ends when it is told to.
    let script = "echo up; until [ -e go$RETRYRUN_ATTEMPT ]; do sleep 0.01; done; exit 7";
    let test = through(&home, &server.url(), &["-n3"], script);
    let go: Vec<_> = (1..=4).map(|attempt| test.path(&format!("go{attempt}"))).collect();
    let go = |attempt: usize| fs::write(&go[attempt - 1], "").expect("a file");
    let mut running = test.start();
    running.stdout_line();
    go(1);
    running.stdout_line();
    server.signal(Signal::KILL);
    server.child.wait().expect("it is our child");
    go(2);
    running.stdout_line();
    server.restart();
    go(3);
    running.stdout_line();
    go(4);
    let ran = running.finish();
    let (history, said) = seen(&ran, "cannot be reached");
    assert_eq!((history.retry_count, history.outcome, said), (3, Some(Outcome::Exhausted), 1));
    assert!(
        ran.stderr.contains(
            "/0 cannot be reached: Connection refused; this machine's budget serves in its place"
        ),
        "{}",
        ran.stderr
    );
    assert_eq!((drain(&home, &server.url()), home.drain("x=5/1h")), (3, 4));
}

#[test]
fn a_server_that_is_paused_is_not_waited_for() {
    let server = Server::start();
    let home = Home::new();
    server.signal(Signal::STOP);
    let ran = through(&home, &server.url(), &["-n9"], "exit 7").run();
    let (history, said) = seen(&ran, "cannot be reached: it does not answer in time");
    assert_eq!((history.retry_count, history.outcome, said), (5, Some(Outcome::Budget), 1));
    let ran = through(&home, &server.url(), &["--budget-strict"], "exit 7").run();
    let (history, said) = seen(&ran, "cannot be reached: it does not answer in time");
    assert_eq!((history.retry_count, history.outcome, said), (0, Some(Outcome::Budget), 1));
    assert!(history.elapsed.as_millis() >= 500, "{:?}", history.elapsed);
    assert!(
        ran.stderr.contains("the store of the budget x cannot be reached, exit 7"),
        "{}",
        ran.stderr
    );
    // The end of a run that succeeds is not held up either, and has nothing to say.
    let ran = through(&home, &server.url(), &["--budget=x=5/1h+50%"], "exit 0").run();
    assert_eq!((ran.code(), ran.lines().concat().as_str()), (Some(0), ""), "{}", ran.stderr);
    server.signal(Signal::CONT);
}

#[test]
fn a_signal_is_answered_while_the_server_is_asked() {
    let server = Server::start();
    let home = Home::new();
    server.signal(Signal::STOP);
    let ends = |_| {
        let running = through(&home, &server.url(), &["--budget-strict"], "exit 7").start();
        let threads = format!("/proc/{}/task", running.pid().as_raw_nonzero());
        wait_until("the server is asked, or the run is over", || {
            fs::read_dir(&threads).map_or(true, |threads| threads.count() != 1)
        });
        running.signal(Signal::TERM);
        running.finish().history().outcome
    };
    // On a slow machine half a second may be over before the signal comes.
    assert!((0..20).map(ends).any(|outcome| outcome == Some(Outcome::Interrupted)));
}

/// All that is in the files of a folder.
fn files(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        all += &match path.is_dir() {
            true => files(&path),
            false => String::from_utf8_lossy(&fs::read(path).expect("a file")).into_owned(),
        };
    }
    all
}

#[test]
fn what_a_server_thinks_of_us_is_said_without_the_password() {
    let server = Server::with(&["--requirepass", PASSWORD]);
    let port = server.port;
    let refused = "it refuses the password (WRONGPASS)";
    for (url, said) in [
        (format!("redis://:{ESCAPED}@127.0.0.1:{port}/2"), None),
        (format!("redis://default:{ESCAPED}@127.0.0.1:{port}"), None),
        (format!("unix:{}?db=2&pass={ESCAPED}", server.socket()), None),
        (format!("redis://:{ESCAPED}-not@127.0.0.1:{port}/2"), Some(refused)),
        (format!("redis://nobody:{ESCAPED}@127.0.0.1:{port}/2"), Some(refused)),
        (format!("redis://127.0.0.1:{port}"), Some("NOAUTH Authentication required.")),
    ] {
        let ran = through(&Home::new(), &url, &["-v", "-n1"], "exit 7").run();
        let (history, lines) = seen(&ran, said.unwrap_or("cannot be reached"));
        assert_eq!(
            (history.retry_count, lines),
            (1, usize::from(said.is_some())),
            "{}",
            ran.stderr
        );
        assert!(!ran.stderr.contains("s3cret"), "{}", ran.stderr);
    }
}

#[test]
fn the_password_is_shown_nowhere() {
    let urls = [
        format!("redis://u:{ESCAPED}@127.0.0.1"),
        format!("unix:/run/redis?pass={ESCAPED}"),
        format!("redis:{PASSWORD}"),
        format!("http://u:{PASSWORD}@h"),
        format!("redis://u:{PASSWORD}@h"),
    ];
    for url in &urls {
        for options in [&["--explain"][..], &["--explain", "--json"], &["--budget=x=1/1h", "-n0"]] {
            let by_flag = [options, &["--budget-store", url]].concat();
            let by_file = [options, &["--config=c.toml"]].concat();
            for test in [
                Test::bash(&by_flag, "exit 7"),
                Test::bash(options, "exit 7").env("RETRYRUN_BUDGET_STORE", url),
                Test::bash(&by_file, "exit 7")
                    .file("c.toml", &format!("budget_store = \"{url}\"\n")),
            ] {
                let ran = test.run();
                let all = ran.stdout + &ran.stderr;
                assert!(!all.is_empty() && !all.contains("s3cret"), "{all}");
            }
        }
    }
}

#[test]
fn no_report_holds_the_password_though_the_command_shows_it() {
    let server = Server::with(&["--requirepass", PASSWORD]);
    let options = [
        "-vv",
        "-n1",
        "--tail=4KiB",
        "--report=bundle:bundle",
        "--report=events.ndjson",
        "--report=history.json",
        "--report=junit:out.xml",
        "--on-give-up=cat >given-up.json",
    ];
    for (url, suffix) in [
        (format!("redis://:{ESCAPED}@127.0.0.1:{}/2", server.port), ""),
        (format!("redis://:{ESCAPED}-not@127.0.0.1:{}/2", server.port), "-not"),
        (format!("unix:{}?pass={ESCAPED}", server.socket()), ""),
    ] {
        let script = format!("echo $RETRYRUN_BUDGET_STORE {PASSWORD}{suffix} >&2; exit 7");
        let test = through(&Home::new(), &url, &options, &script);
        let folder = test.path(".");
        let (ran, files) = test.start().finish_with(|| files(&folder));
        assert!(files.contains("run_stopped") && !files.contains("s3cret"), "{files}");
        // What the command itself writes to our stderr is its own.
        let shown = |line: &&str| line.contains("s3cret");
        let (its, ours): (Vec<&str>, Vec<&str>) =
            ran.stderr.lines().partition(|line| line.ends_with(&format!("{PASSWORD}{suffix}")));
        assert_eq!((its.len(), ours.iter().filter(|line| shown(line)).count()), (2, 0), "{ours:?}");
    }
}

#[test]
fn a_flag_is_the_only_place_where_other_users_could_read_it() {
    let server = Server::with(&["--requirepass", PASSWORD]);
    let home = Home::new();
    let url = format!("redis://:{ESCAPED}@127.0.0.1:{}", server.port);
    let script = "cat /proc/$PPID/cmdline; echo; exit 7";
    let mut running = through(&home, &url, &["-n0"], script).start();
    let words = running.stdout_line();
    assert!(words.contains("--budget=x=5/1h") && !words.contains("s3cret"), "{words}");
    drop(running);
}

/// A server that says the same to everybody; none hangs up.
fn says(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut question = [0; 512];
            let _gone = stream.read(&mut question);
            let _gone = stream.write_all(answer);
            kept.push(stream);
        }
    });
    format!("redis://u:{ESCAPED}@{address}/7")
}

#[test]
fn whatever_answers_the_run_goes_on() {
    let endless: &'static [u8] = vec![b'+'; 1024 * 1024].leak();
    for (answer, said) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "it does not speak as Redis does"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "it does not speak as Redis does"),
        (endless, "it does not speak as Redis does"),
        (b"", "it does not answer in time"),
        (b"+OK", "it does not answer in time"),
        (
            b"-LOADING Redis is loading the dataset in memory\r\n",
            "it refuses the password (LOADING)",
        ),
        // Proxies and old servers quote what they do not know.
        (
            b"-ERR unknown command 'AUTH', with args beginning with: 's3cret/p@ss'\r\n",
            "it refuses the password (ERR)",
        ),
        (b"-s3cret/p@ss\r\n", "it refuses the password (ERR)"),
        (b"+OK\r\n-ERR DB index is out of range\r\n", "ERR DB index is out of range"),
        (b"+OK\r\n+OK\r\n+OK\r\n", "it does not speak as Redis does"),
        (b"+OK\r\n+OK\r\n-READONLY You can't write\r\n", "READONLY You can't write"),
    ] {
        let ran = through(&Home::new(), &says(answer), &["-n1"], "exit 7").run();
        let (history, count) = seen(&ran, said);
        assert_eq!((history.retry_count, count), (1, 1), "{said}: {}", ran.stderr);
        assert!(!ran.stderr.contains("s3cret"), "{}", ran.stderr);
    }
}

#[test]
fn a_connection_that_does_not_come_about_is_not_waited_for() {
    // Nobody accepts, and there is no room for another connection.
    let listener = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .expect("a socket");
    let any = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);
    rustix::net::bind(&listener, &any).expect("a port is free");
    rustix::net::listen(&listener, 0).expect("it is bound");
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().expect("it is bound");
    let brief = std::time::Duration::from_millis(200);
    let mut kept = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, brief) {
        kept.push(stream);
    }
    let url = format!("redis://{address}");
    let ran = through(&Home::new(), &url, &["--budget-strict"], "exit 7").run();
    let (history, said) = seen(&ran, "it does not answer in time");
    assert_eq!((history.outcome, said), (Some(Outcome::Budget), 1), "{}", ran.stderr);
    assert!(history.elapsed.as_millis() >= 250, "{:?}", history.elapsed);
}

#[test]
fn a_name_that_nobody_knows_and_a_socket_that_is_not_there_are_said() {
    for (url, said) in [
        ("redis://no-such-host.invalid", "failed to lookup address information"),
        ("unix:/no/such/socket", "No such file or directory"),
    ] {
        let ran = through(&Home::new(), url, &["-n1"], "exit 7").run();
        let (history, count) = seen(&ran, said);
        assert_eq!((history.retry_count, count), (1, 1), "{}", ran.stderr);
    }
}

#[test]
fn a_store_of_an_unknown_kind_is_refused_before_anything_is_run() {
    for (url, shown) in [
        ("http://h", "http://h"),
        ("redis:h", "redis:***"),
        ("redis://", "redis://"),
        ("unix:relative", "unix:relative"),
    ] {
        let test = Test::new(["--budget-store", url, "touch", "ran"]);
        let mark = test.path("ran");
        let (ran, has_run) = test.start().finish_with(|| mark.exists());
        assert_eq!((ran.code(), has_run), (Some(125), false), "{url}");
        let said = format!(
            "budget_store (flag --budget-store): invalid value `{shown}`: expected redis://HOST"
        );
        assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    }
}
