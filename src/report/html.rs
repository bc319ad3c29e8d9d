//! The run as one HTML page that stands alone: no script, nothing from elsewhere, light and dark, for a phone and for paper.
//!
//! It shows all that the history knows, and decides nothing: how the parts of the page look is `style.css`'s.

use bytesize::ByteSize;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::headline::{self, Tone};
use super::plain::plain;
use super::policy;
use super::tails::Tail;
use super::text::{command_line, harmless, harmless_lines};
use super::timeline::{Row, Timeline, What, real_ending};
use crate::engine::event::Trigger;
use crate::engine::history::{Attempt, History};
use crate::engine::time::{Timestamp, human};

mod drawing;

const STYLE: &str = include_str!("html/style.css");

/// Nothing is loaded, run or sent, whatever may have slipped into the page.
const SECURITY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// How much of the command stands in the title, in characters.
const TITLE: usize = 80;

/// The report of a run.
#[must_use]
pub fn render(history: &History) -> String {
    let timeline = Timeline::of(history);
    let tails = Tail::all(history);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(history))
            body {
                (opening(history))
                main {
                    @if !timeline.rows.is_empty() {
                        (drawing::section(&timeline))
                        (attempts_section(history, &timeline))
                    }
                    @if !tails.is_empty() { (tails_section(&tails)) }
                    div.pair { (policy_section(history)) (facts_section(history)) }
                }
            }
        }
    };
    page.into_string()
}

fn head(history: &History) -> Markup {
    let command = harmless(&command_line(&history.command));
    let cut: String = command.chars().take(TITLE).collect();
    let more = if cut.len() < command.len() { "…" } else { "" };
    html! {
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(SECURITY);
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="generator" content={ "retryrun " (harmless(&history.version)) };
            title { (headline::outcome(history)) ": " (cut) (more) }
            style { (PreEscaped(STYLE)) }
        }
    }
}

fn opening(history: &History) -> Markup {
    let tone = Tone::of_run(history);
    html! {
        header {
            span.badge.(class(tone)) { (sign(tone)) (headline::outcome(history)) }
            h1 { (harmless(&headline::sentence(history))) }
            pre { (harmless(&command_line(&history.command))) }
            dl.figures {
                (figure("Attempts", &history.last_number().to_string()))
                @if history.outcome.is_some() {
                    (figure("Took", &human(history.elapsed)))
                    (figure("Waited", &human(history.waited)))
                }
                @if let Some(code) = history.exit_code {
                    (figure("Exit status", &code.to_string()))
                }
            }
        }
    }
}

fn figure(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// The class that gives a tone its colour.
fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Doubtful => "doubtful",
        Tone::Bad => "bad",
        Tone::Neutral => "neutral",
        Tone::Running => "running",
    }
}

/// A tone's sign, for the eye: the word beside it says the same to the ear.
fn sign(tone: Tone) -> Markup {
    html! { span aria-hidden="true" { (tone.sign()) " " } }
}

fn attempts_section(history: &History, timeline: &Timeline<'_>) -> Markup {
    let has_logs = history.attempts.iter().any(has_log);
    let columns = [
        "Attempt",
        "Started",
        "Took",
        "Ended",
        "Verdict",
        "Rule and evidence",
        "CPU",
        "Peak memory",
        "Next wait",
    ];
    html! {
        section aria-labelledby="attempts" {
            h2 #attempts { "Attempts" }
            // Who has no mouse must be able to scroll it, where it is too wide after all.
            section.wide aria-label="Table of attempts" tabindex="0" {
                // A phone gets a block for each attempt, and blocks are a table only by their roles.
                table role="table" {
                    caption { (headline::attempts(history.last_number())) ", times in UTC and since the run began" }
                    thead role="rowgroup" {
                        tr role="row" {
                            @for name in columns { (heading(name)) }
                            @if has_logs { (heading("Logs")) }
                        }
                    }
                    tbody role="rowgroup" {
                        @for row in &timeline.rows { (table_row(row, has_logs)) }
                    }
                }
            }
        }
    }
}

fn has_log(attempt: &Attempt) -> bool {
    attempt.stdout_log.is_some() || attempt.stderr_log.is_some()
}

fn heading(name: &str) -> Markup {
    html! { th scope="col" role="columnheader" { (name) } }
}

fn table_row(row: &Row<'_>, has_logs: bool) -> Markup {
    match row.what {
        What::Attempt(attempt) => attempt_row(row, attempt, has_logs),
        What::Omitted { attempts } => {
            let count = 9 + usize::from(has_logs);
            html! { tr role="row" { td role="cell" colspan=(count) { (headline::attempts(attempts)) " left out" } } }
        }
        What::Wait { .. } => html! {},
    }
}

fn attempt_row(row: &Row<'_>, attempt: &Attempt, has_logs: bool) -> Markup {
    html! {
        tr role="row" {
            th scope="row" role="rowheader" { (number(attempt)) }
            td.number role="cell" data-name="Started" {
                span { "+" (human(row.start)) small { (time(attempt.started_at)) } }
            }
            td.number role="cell" data-name="Took" { @if let Some(took) = attempt.elapsed { (human(took)) } }
            td.text role="cell" data-name="Ended" { (ending(attempt)) }
            td.text role="cell" data-name="Verdict" { (verdict(attempt)) }
            td.long role="cell" data-name="Rule" { (rule(attempt)) }
            td.number role="cell" data-name="CPU" { (cpu(attempt)) }
            td.number role="cell" data-name="Peak memory" {
                @if let Some(bytes) = attempt.max_rss { (ByteSize::b(bytes).display().iec()) }
            }
            td.number role="cell" data-name="Next wait" { @if let Some(delay) = attempt.next_delay { (human(delay)) } }
            @if has_logs { td.text role="cell" data-name="Logs" { (logs(attempt)) } }
        }
    }
}

/// An attempt's number, and why it began where that is not as ever.
fn number(attempt: &Attempt) -> Markup {
    html! {
        (attempt.attempt)
        @match attempt.trigger {
            Trigger::First | Trigger::Retry => {}
            Trigger::Manual | Trigger::Resumed | Trigger::Consecutive => small { (attempt.trigger.name()) }
        }
    }
}

fn time(stamp: Timestamp) -> Markup {
    let text = stamp.to_string();
    html! { time datetime=(text) { (text) } }
}

/// How an attempt ended, and what is to be known of it besides.
fn ending(attempt: &Attempt) -> Markup {
    html! {
        span {
            (harmless(&attempt.ending()))
            @if let Some(real) = real_ending(attempt) { small { (real) } }
            @if attempt.leftovers > 0 { small { "left " (attempt.leftovers) " running" } }
            @if attempt.output_held { small { "its output was still held" } }
        }
    }
}

fn verdict(attempt: &Attempt) -> Markup {
    let tone = Tone::of_attempt(attempt);
    html! {
        @if let Some(verdict) = headline::verdict(attempt) {
            span {
                span.verdict.(class(tone)) { (sign(tone)) (verdict) }
                @if let Some(reason) = headline::reason(attempt) { small { (harmless(reason)) } }
            }
        }
    }
}

/// The rule that decided, where it stands, and what it saw.
fn rule(attempt: &Attempt) -> Markup {
    html! {
        @if let Some(rule) = &attempt.rule {
            span {
                code { (harmless(rule)) }
                @if let Some(origin) = &attempt.rule_origin { small { (harmless(origin)) } }
                @if let Some(evidence) = &attempt.evidence {
                    small { "evidence" } code.evidence { (harmless(evidence)) }
                }
            }
        }
    }
}

fn cpu(attempt: &Attempt) -> Markup {
    html! {
        @if let (Some(user), Some(system)) = (attempt.cpu_user, attempt.cpu_system) {
            span { (human(user)) " user" small { (human(system)) " system" } }
        }
    }
}

/// The names of an attempt's files; one file may hold both streams.
fn logs(attempt: &Attempt) -> Markup {
    let stdout = attempt.stdout_log.as_deref();
    let stderr = attempt.stderr_log.as_deref().filter(|name| Some(*name) != stdout);
    html! {
        @if stdout.is_some() || stderr.is_some() {
            span {
                @for name in [stdout, stderr].into_iter().flatten() { code.file { (harmless(file_name(name))) } }
            }
        }
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Where the attempts' files are.
fn log_folder(history: &History) -> Option<String> {
    let mut paths = history
        .attempts
        .iter()
        .filter_map(|each| each.stdout_log.as_deref().or(each.stderr_log.as_deref()));
    paths.next()?.rsplit_once('/').map(|(folder, _)| folder.to_owned())
}

fn tails_section(tails: &[Tail<'_>]) -> Markup {
    html! {
        section aria-labelledby="stderr" {
            h2 #stderr { "End of stderr" }
            @for (index, tail) in tails.iter().enumerate() {
                // What was written last tells most.
                details open[index + 1 == tails.len()] {
                    summary { (tail.writers()) ": " (harmless(&tail.last.ending())) }
                    // The first newline after the tag is none of the text.
                    pre { "\n" (harmless_lines(&plain(tail.text))) }
                }
            }
        }
    }
}

fn policy_section(history: &History) -> Markup {
    html! {
        section aria-labelledby="policy" {
            h2 #policy { "Policy" }
            dl.facts {
                @for (name, value) in policy::in_words(&history.policy) { dt { (name) } dd { (harmless(&value)) } }
            }
        }
    }
}

fn facts_section(history: &History) -> Markup {
    let texts = [
        ("folder", history.cwd.clone()),
        ("logs", log_folder(history)),
        ("host", Some(history.host.clone())),
        ("job", history.job.clone()),
        ("run", Some(history.run_id.clone())),
        ("process", Some(history.pid.to_string())),
        ("version", Some(format!("retryrun {}", history.version))),
        ("retries", Some(history.retry_count.to_string())),
    ];
    let times = [
        ("began", Some(history.started_at)),
        ("last retry", history.last_retry_at),
        ("ended", history.ended_at),
    ];
    html! {
        section aria-labelledby="run" {
            h2 #run { "Run" }
            dl.facts {
                @for (name, text) in texts {
                    @if let Some(text) = text { dt { (name) } dd { (harmless(&text)) } }
                }
                @for (name, stamp) in times {
                    @if let Some(stamp) = stamp { dt { (name) } dd { (time(stamp)) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Sample, hostile};
    use super::*;
    use crate::engine::event::Outcome;

    /// The tags of a page, without their brackets. All else in it is text.
    fn tags(page: &str) -> Vec<&str> {
        let (head, rest) = page.split_once("<style>").expect("a style");
        let (_, body) = rest.split_once("</style>").expect("its end");
        let parts = head.split('<').skip(1).chain(body.split('<').skip(1));
        parts.map(|part| part.split_once('>').expect("every tag is closed").0).collect()
    }

    #[test]
    fn hostile_text_stays_text() {
        let page = render(&hostile());
        let allowed = [
            "!DOCTYPE", "b", "body", "caption", "code", "dd", "details", "div", "dl", "dt", "g",
            "h1", "h2", "head", "header", "html", "li", "line", "main", "meta", "ol", "pre",
            "rect", "section", "small", "span", "summary", "svg", "table", "tbody", "td", "text",
            "th", "thead", "time", "title", "tr", "ul",
        ];
        for tag in tags(&page) {
            let name = tag.trim_start_matches('/').split(' ').next().unwrap_or_default();
            assert!(allowed.contains(&name), "{tag}");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        }
        // Two attempts whose tails are alike.
        assert_eq!(page.matches("</details>").count(), 1);
        assert_eq!(page.matches("</pre>").count(), 2);
        assert!(page.contains("&lt;/pre&gt;&lt;/details&gt;&lt;script&gt;"));
        assert!(page.contains("content=\"retryrun &lt;/pre&gt;"), "also in attributes");
        assert!(!page.chars().any(|c| c.is_control() && c != '\n'));
        assert!(page.contains("\\u{1b}[31m"), "control characters are shown");
        assert!(!page.contains('\u{202e}'), "so is what turns text around");
        assert!(page.contains("\n````\n# head\n:\\:error::x\n"), "a tail keeps its lines");
    }

    #[test]
    fn nothing_is_loaded_and_nothing_is_run() {
        let page = render(&hostile());
        assert!(
            page.contains("http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';")
        );
        for tag in tags(&page) {
            for word in [" src=", " href=", " style=", " on", "refresh"] {
                assert!(!tag.contains(word), "{tag}");
            }
        }
        for word in ["url(", "@import", "http", "</", "expression"] {
            assert!(!STYLE.contains(word), "{word}");
        }
    }

    #[test]
    fn the_title_says_how_and_what() {
        let title = |command: &[&str], outcome| {
            let page = render(&Sample::of(command).attempts(1).end(outcome));
            let (_, rest) = page.split_once("<title>").expect("a title");
            rest.split_once("</title>").expect("its end").0.to_owned()
        };
        assert_eq!(title(&["curl", "a b"], Outcome::Exhausted), "exhausted: curl 'a b'");
        let long = title(&["a".repeat(500).as_str()], Outcome::Deadline);
        assert_eq!(long, format!("deadline: {}…", "a".repeat(TITLE)));
    }

    #[test]
    fn no_attempt_is_lost() {
        let page = render(&Sample::of(&["a"]).attempts(500).end(Outcome::Exhausted));
        for number in (1..=10).chain(401..=500) {
            let (bar, row) = (format!("<b>{number}</b>"), format!("rowheader\">{number}</th>"));
            assert!(page.contains(&bar), "{number} is in the timeline");
            assert!(page.contains(&row), "{number} is in the table");
        }
        assert_eq!(page.matches("390 attempts left out").count(), 2);
    }

    #[test]
    fn runs_that_go_on_or_never_began_have_a_report() {
        let running = Sample::of(&["a"]).attempts(1).wait(1_000, 1_000).start(Trigger::Retry);
        let page = render(&running.history);
        assert!(page.contains("<h1>attempt 2 is running</h1>"), "{page}");
        assert!(page.contains("still running"), "{page}");
        assert!(!page.contains("Exit status"), "{page}");

        let page = render(&Sample::of(&["a"]).attempts(1).wait(1_000, 0).history);
        assert!(page.contains("<h1>waiting 1s for attempt 2</h1>"), "{page}");

        let page = render(&Sample::of(&["a"]).end(Outcome::Deadline));
        assert!(page.contains("out of time, nothing was run</h1>"), "{page}");
        assert!(!page.contains("<table") && !page.contains("<svg"), "{page}");
    }

    #[test]
    fn files_are_named_and_their_folder_once() {
        let mut history = Sample::of(&["a"]).attempts(2).end(Outcome::Exhausted);
        for attempt in &mut history.attempts {
            let name = format!("/var/logs/attempt-{}.output.log", attempt.attempt);
            attempt.stdout_log = Some(name.clone());
            attempt.stderr_log = Some(name);
        }
        let page = render(&history);
        assert_eq!(page.matches("attempt-2.output.log").count(), 1, "{page}");
        assert_eq!(page.matches("/var/logs").count(), 1, "{page}");
    }
}
