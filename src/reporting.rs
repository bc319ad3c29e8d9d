//! Makes the reports that the settings ask for: where each goes, and what is written to stderr.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tracing_subscriber::filter::LevelFilter;

use crate::bundle::{self, Bundle, Parts};
use crate::command::StreamPlan;
use crate::config::environment::Environment;
use crate::config::report::{Format, Place, Report, ReportWhen};
use crate::config::value::{CiChoice, Color, HistoryWhen, Live, LogFormat};
use crate::config::verbosity::Verbosity;
use crate::config::{Reporting, Resolved, explain};
use crate::destination;
use crate::error::Error;
use crate::report::ci::{self, Ci, Summary, System};
use crate::report::json::HistoryPrinter;
use crate::report::log::{Log, Options};
use crate::report::stream::EventStream;
use crate::report::whole::WholeReport;
use crate::report::{self, Sinks};
use crate::streams::logs::Logs;
use crate::unix::line::{self, Where};
use crate::unix::lines::Stderr;

/// Opens what reports are written to: before anything of ours is, whose descriptor could be taken for one that we were given.
///
/// # Errors
/// One of them cannot be written, or two go to one file.
pub fn add_reports(
    sinks: &mut Sinks,
    reporting: &Reporting,
    mask: &dyn Fn(&str) -> String,
) -> Result<(), Error> {
    let when_failed = reporting.report_when == ReportWhen::Failure;
    let is_bundle = |report: &&Report| report.format == Format::Bundle;
    let fail = |report: &Report, source| Error::Report { name: mask(&report.to_string()), source };
    for report in &reporting.reports {
        destination::check(report).map_err(|source| fail(report, source))?;
    }
    let mut reports: Vec<(&Report, Option<PathBuf>)> = Vec::new();
    for report in reporting.reports.iter().filter(|report| !is_bundle(report)) {
        let file = destination::file(report).map_err(|source| fail(report, source))?;
        match reports.iter().find(|(_, other)| file.is_some() && *other == file) {
            None => reports.push((report, file)),
            Some((other, _)) if other.format == report.format => {}
            Some(_) => return Err(two_in_one(report)),
        }
    }
    for (report, _) in reports {
        let name = mask(&report.to_string());
        let destination = destination::open(report).map_err(|source| fail(report, source))?;
        let render = match report.format {
            Format::Json => report::json::render,
            Format::Markdown => report::markdown::render,
            Format::Html => report::html::render,
            Format::Junit => report::junit::render,
            Format::Ndjson => {
                sinks.add_report(
                    format!("the report {name}"),
                    Box::new(EventStream { destination, when_failed }),
                );
                continue;
            }
            Format::Bundle => continue,
        };
        sinks.add_report(
            format!("the report {name}"),
            Box::new(WholeReport { render, destination, when_failed }),
        );
    }
    Ok(())
}

fn two_in_one(report: &Report) -> Error {
    let text =
        format!("--report: {} is given in two formats: expected a path for each", report.place);
    Error::Usage(text)
}

/// The folders of bundles.
pub fn bundles(reporting: &Reporting) -> impl Iterator<Item = &PathBuf> {
    reporting.reports.iter().filter_map(|report| match (report.format, &report.place) {
        (Format::Bundle, Place::Path(path)) => Some(path),
        _ => None,
    })
}

/// Takes the folders of bundles, each once, now that it is known where the attempts' logs are.
///
/// # Errors
/// One of them cannot be written.
pub fn add_bundles(
    sinks: &mut Sinks,
    resolved: &Resolved,
    streams: &StreamPlan,
    run_id: &str,
    environment: &Environment,
    mask: &Rc<dyn Fn(&str) -> String>,
) -> Result<(), Error> {
    let Some(logs) = streams.logs.as_ref().map(Logs::folder) else { return Ok(()) };
    let keeps_logs = resolved.streaming.log_dir.is_some();
    // Where the logs were asked to be; a run that lives may have it, and they are in a folder in it.
    let asked = resolved.streaming.log_dir.as_ref().or_else(|| bundles(&resolved.reporting).next());
    let mut folders = Vec::new();
    for path in bundles(&resolved.reporting) {
        let name = mask(&format!("bundle:{}", path.display()));
        let parts = Parts {
            policy: explain::json(resolved),
            environment,
            mask: mask.clone(),
            when_failed: resolved.reporting.report_when == ReportWhen::Failure,
            keeps_logs,
        };
        let fail = |source| Error::Report { name: name.clone(), source };
        let folder = folder_at(path).map_err(fail)?;
        if folders.contains(&folder) {
            continue;
        }
        let has_the_logs = asked.is_some_and(|asked| is_at(asked, &folder));
        folders.push(folder);
        let open = || {
            // What we have locked ourselves is not to be taken again.
            if has_the_logs {
                return Bundle::open(logs.to_owned(), logs.to_owned(), None, parts);
            }
            let taken = Logs::open(path, run_id)?;
            taken.forget_earlier()?;
            Bundle::open(taken.folder().to_owned(), logs.to_owned(), Some(taken), parts)
        };
        let bundle = open().map_err(fail)?;
        sinks.add_report(format!("the report {name}"), Box::new(bundle));
    }
    Ok(())
}

/// The folder of a bundle, made if it is not there, by the one name that it has without links.
fn folder_at(path: &Path) -> io::Result<PathBuf> {
    bundle::create_folder(path)?;
    fs::canonicalize(path)
}

fn is_at(path: &Path, folder: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|path| path == folder)
}

/// What is written to stderr.
pub fn add_lines(sinks: &mut Sinks, reporting: &Reporting, environment: &Environment) {
    let filter = match reporting.verbose {
        _ if reporting.quiet => LevelFilter::ERROR,
        Verbosity::USUAL => LevelFilter::INFO,
        Verbosity::MORE => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let log = || {
        let json = reporting.log_format == LogFormat::Json;
        let color = is_coloured(reporting.color, environment);
        Log::new(Stderr, Options { json, color, filter })
    };
    sinks.add(log());
    // Behind our lines, and before the history, which is the last thing on stderr.
    if let Some(system) = ci_system(reporting.ci, environment) {
        let summary = Summary::of(system, |name| environment.get(name));
        let options = ci::Options { system, filter, summary, render: report::markdown::render };
        sinks.add(Ci::new(Stderr, log(), options));
    }
    if reporting.history != HistoryWhen::Never {
        sinks.add(HistoryPrinter {
            writer: Stderr,
            indented: io::stderr().is_terminal(),
            always: reporting.history == HistoryWhen::Always,
            filter,
        });
    }
}

/// Where the status line stands, if there is to be one.
#[must_use]
pub fn place_of_the_status_line(
    reporting: &Reporting,
    environment: &Environment,
) -> Option<line::Place> {
    let is_for_people = || {
        !is_dumb(environment) && !reporting.quiet && ci_system(reporting.ci, environment).is_none()
    };
    let on = |terminal| {
        let is_dumb = is_dumb(environment);
        Some(line::Place { terminal, is_dumb, is_quiet: reporting.quiet })
    };
    match reporting.live {
        Live::Never => None,
        Live::Auto if !io::stderr().is_terminal() || !is_for_people() => None,
        Live::Auto => on(Where::Stderr),
        Live::Always if io::stderr().is_terminal() => on(Where::Stderr),
        Live::Always if io::stdout().is_terminal() => None,
        Live::Always => on(Where::Controlling),
    }
}

fn is_dumb(environment: &Environment) -> bool {
    environment.get("TERM").is_none_or(|terminal| terminal == "dumb")
}

/// The CI system to speak to.
fn ci_system(choice: CiChoice, environment: &Environment) -> Option<System> {
    match choice {
        CiChoice::Auto => System::detect(|name| environment.get(name)),
        CiChoice::GitHub => Some(System::GitHub),
        CiChoice::GitLab => Some(System::GitLab),
        CiChoice::Azure => Some(System::Azure),
        CiChoice::Buildkite => Some(System::Buildkite),
        CiChoice::None => None,
    }
}

fn is_coloured(color: Color, environment: &Environment) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => colour_of(environment).unwrap_or_else(|| io::stderr().is_terminal()),
    }
}

/// What the environment says of colours, by no-color.org and bixense.com/clicolors; none where that is left to stderr.
fn colour_of(environment: &Environment) -> Option<bool> {
    let said = |name| environment.get(name);
    let is_plain = || said("CLICOLOR").is_some_and(|value| value == "0") || is_dumb(environment);
    if said("NO_COLOR").is_some() {
        Some(false)
    } else if said("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        Some(true)
    } else {
        is_plain().then_some(false)
    }
}
