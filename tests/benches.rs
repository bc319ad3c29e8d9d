//! The benchmarks: that they run, and that they show no figure of a program that did not do the work. What they measure is nobody's promise here.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::test::{RETRYRUN, Ran, Test};

/// The benchmarks with small amounts, of a program.
fn measured(program: &str) -> Ran {
    benchmarks(&["--program", program]).run()
}

fn benchmarks(words: &[&str]) -> Test {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/run");
    let script = script.to_str().expect("the path is text");
    // The system's own Python: another one in PATH may need more of the environment than a test has.
    Test::of("/usr/bin/python3", [&[script, "--quick", "--folder", "."], words].concat())
}

#[test]
fn every_section_measures_us_and_those_who_are_there() {
    let ran = measured(RETRYRUN);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    assert!(!ran.stdout.contains("did not do the work"), "{}", ran.stdout);
    let (tables, ratios) = ran.stdout.split_once("### Ratios\n").expect("the last table");
    let titles: Vec<&str> = tables.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(titles.len(), 8, "{titles:?}");
    for title in titles {
        // With what is surely there to be held against: a shell, or a program of ours.
        let rows = ratios.lines().filter(|line| line.starts_with(&format!("| {title}")));
        let compared =
            rows.filter(|row| row.split(" | ").last().is_some_and(|others| others.len() > 2));
        assert!(compared.count() > 0, "{title}: {ratios}");
    }
}

#[test]
fn a_program_that_does_not_do_the_work_has_no_figures() {
    let ran = measured("/bin/true");
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr);
    let (tables, ratios) = ran.stdout.split_once("### Ratios\n").expect("the last table");
    let all = || tables.lines().filter(|line| line.starts_with("| "));
    let rows = |name: &str| all().filter(|row| row.contains(name)).count();
    assert!(rows("retryrun") >= 8, "{tables}");
    assert_eq!(rows("retryrun"), rows("did not do the work"), "{tables}");
    assert_eq!(ratios.lines().filter(|line| line.starts_with("| ")).count(), 1, "{ratios}");
}

#[test]
fn a_program_that_cannot_be_executed_is_named_and_left_out() {
    let test = benchmarks(&["--program", RETRYRUN, "start"]).file("dash", "#!/no/such/python\n");
    fs::set_permissions(test.path("dash"), Permissions::from_mode(0o755)).expect("it is ours");
    let path = format!("{}:/usr/bin:/bin", test.path(".").display());
    let ran = test.env("PATH", path).run();
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    let named = "/dash cannot be executed: No such file or directory\n";
    assert!(ran.stderr.contains(named), "{}", ran.stderr);
}
