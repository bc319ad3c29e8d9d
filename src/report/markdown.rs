//! The run as Markdown, for the job summary of a CI: what happened at a glance, and the rest folded.
//!
//! GitHub's flavour, of which every CI that shows Markdown knows the tables, and nothing else that is not in CommonMark but `<details>`
//! and `<code>`. Text of others stands in code spans and code blocks, where nothing in it is live.

use std::fmt::Write;

use super::headline::{self, Tone};
use super::plain::plain;
use super::policy;
use super::tails::Tail;
use super::text::{command_line, harmless, harmless_lines};
use super::timeline::{Row, Timeline, What, real_ending};
use crate::engine::event::Trigger;
use crate::engine::history::{Attempt, History};
use crate::engine::time::human;

/// How much of what the attempts wrote is shown, in bytes: GitHub shows nothing of a summary of more than 1 MiB.
const TAILS: usize = 320 * 1024;

/// How much of each other text of others is shown, in characters: a table has four of them in a row, and may have 111 rows.
const TEXT: usize = 250;

/// How much of the command and of the run's ending is.
const HEAD: usize = 1_000;

/// Columns of a bar in the timeline.
const BAR: usize = 40;

/// Columns of what is said beside it, so that a line has 80 with the number before the bar.
const BESIDE: usize = 34;

/// The report of a run.
#[must_use]
pub fn render(history: &History) -> String {
    let mut page = String::new();
    head(&mut page, history);
    table(&mut page, history);
    timeline(&mut page, history);
    tails(&mut page, history);
    policy_in_short(&mut page, history);
    page
}

/// Adds to a page; there is nothing in a string that can fail.
macro_rules! say {
    ($page:expr, $($text:tt)*) => { let _infallible = writeln!($page, $($text)*); };
}

fn head(page: &mut String, history: &History) {
    let sign = emoji(Tone::of_run(history));
    let command = code(&command_line(&history.command), HEAD);
    say!(page, "### {sign} {}: {command}\n", headline::outcome(history));
    say!(page, "{}\n", inline(&headline::sentence(history), HEAD));
    let mut facts = vec![headline::attempts(history.last_number())];
    if history.outcome.is_some() {
        facts.push(format!("{} in all", human(history.elapsed)));
        facts.push(format!("waited {}", human(history.waited)));
    }
    facts.extend(history.exit_code.map(|code| format!("exit status {code}")));
    facts.push(format!("host {}", inline(&history.host, TEXT)));
    facts.extend(history.cwd.as_deref().map(|folder| format!("folder {}", inline(folder, TEXT))));
    facts.extend(history.job.as_deref().map(|job| format!("job {}", inline(job, TEXT))));
    facts.push(format!("run {}", inline(&history.run_id, TEXT)));
    say!(page, "{}\n", facts.join(" · "));
}

/// A sign in colour: a summary has no other colours.
fn emoji(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "✅",
        Tone::Doubtful => "⚠️",
        Tone::Bad => "❌",
        Tone::Neutral => "⏹️",
        Tone::Running => "⏳",
    }
}

fn table(page: &mut String, history: &History) {
    if history.attempts.is_empty() {
        return;
    }
    say!(page, "| Attempt | Started | Took | Ended | Verdict | Rule | Next wait |");
    say!(page, "| ---: | ---: | ---: | :--- | :--- | :--- | ---: |");
    for row in Timeline::of(history).rows {
        match row.what {
            What::Attempt(attempt) => table_row(page, attempt, &row),
            What::Omitted { attempts } => {
                let omitted = headline::attempts(attempts);
                say!(page, "| … | {} | | {omitted} left out | | | |", offset(&row));
            }
            What::Wait { .. } => {}
        }
    }
    page.push('\n');
}

fn table_row(page: &mut String, attempt: &Attempt, row: &Row<'_>) {
    let number = attempt.attempt;
    let trigger = match attempt.trigger {
        Trigger::First | Trigger::Retry => String::new(),
        Trigger::Manual | Trigger::Resumed | Trigger::Consecutive => {
            format!(" ({})", attempt.trigger)
        }
    };
    let took = attempt.elapsed.map_or("…".to_owned(), human);
    let real = real_ending(attempt).map_or(String::new(), |ending| format!(", {ending}"));
    let ended = format!("{}{real}", inline(&attempt.ending(), TEXT));
    let verdict = headline::verdict(attempt).unwrap_or_default();
    let reason = headline::reason(attempt).map(|reason| format!(": {}", inline(reason, TEXT)));
    let reason = reason.unwrap_or_default();
    let sign = Tone::of_attempt(attempt).sign();
    let rule = attempt.rule.as_deref().map(|rule| code(rule, TEXT)).unwrap_or_default();
    let origin = attempt.rule_origin.as_deref().map(|origin| inline(origin, TEXT));
    let origin = origin.map_or(String::new(), |origin| format!(" ({origin})"));
    let next = attempt.next_delay.map(human).unwrap_or_default();
    say!(
        page,
        "| {number}{trigger} | {} | {took} | {ended} | {sign} {verdict}{reason} | {rule}{origin} | {next} |",
        offset(row)
    );
}

/// When a row began, e.g. `+5.2s`.
fn offset(row: &Row<'_>) -> String {
    format!("+{}", human(row.start))
}

/// A run as a drawing for a terminal, with its outcome and its command.
#[must_use]
pub fn on_a_terminal(history: &History) -> String {
    let mut page = String::new();
    say!(page, "{}: {}", headline::outcome(history), harmless(&headline::sentence(history)));
    say!(page, "{}\n", harmless(&command_line(&history.command)));
    let timeline = Timeline::of(history);
    if !timeline.rows.is_empty() {
        draw(&mut page, &timeline, history);
    }
    page
}

fn timeline(page: &mut String, history: &History) {
    let timeline = Timeline::of(history);
    if timeline.rows.is_empty() {
        return;
    }
    say!(page, "```text");
    draw(page, &timeline, history);
    say!(page, "```\n");
    say!(
        page,
        "`#` attempt · `!` attempt too short to be drawn to scale · `.` wait{}\n",
        legend(&timeline)
    );
}

fn draw(page: &mut String, timeline: &Timeline<'_>, history: &History) {
    let width = history.last_number().to_string().len().max(2);
    let end = human(timeline.length);
    say!(page, "{:width$} 0s{end:>rest$}", "", rest = BAR);
    for rows in timeline.lines() {
        let label = match rows.first().map(|row| row.what) {
            Some(What::Attempt(attempt)) => attempt.attempt.to_string(),
            Some(What::Omitted { .. } | What::Wait { .. }) | None => "…".to_owned(),
        };
        let beside = rows.iter().map(beside).collect::<Vec<_>>().join(", ");
        say!(page, "{label:>width$} |{}| {}", bar(timeline, rows), cut(&beside, BESIDE));
    }
}

/// What else is drawn, where it is.
fn legend(timeline: &Timeline<'_>) -> String {
    let has_omitted = timeline.rows.iter().any(|row| matches!(row.what, What::Omitted { .. }));
    let is_running =
        timeline.rows.iter().any(|row| matches!(row.what, What::Attempt(_)) && !row.is_over);
    let omitted = if has_omitted { " · `~` attempts left out" } else { "" };
    let running = if is_running { " · `>` end not known" } else { "" };
    format!("{omitted}{running}")
}

/// What a row was, in a few words.
fn beside(row: &Row<'_>) -> String {
    let length = if row.is_over { human(row.length()) } else { String::new() };
    match row.what {
        What::Attempt(attempt) if row.is_over => {
            format!("{length} {}", harmless(&attempt.ending()))
        }
        What::Attempt(attempt) => harmless(&attempt.ending()),
        What::Omitted { attempts } => format!("{} left out", headline::attempts(attempts)),
        What::Wait { is_cut_short: true, .. } => format!("wait cut at {length}"),
        What::Wait { .. } if row.is_over => format!("wait {length}"),
        What::Wait { planned, .. } => format!("waiting {}", human(planned)),
    }
}

/// The rows of one line, drawn to scale in [`BAR`] columns.
fn bar(timeline: &Timeline<'_>, rows: &[Row<'_>]) -> String {
    let mut columns = [' '; BAR];
    // An attempt is seen, whatever waits began in the same column.
    for row in rows.iter().rev() {
        let (first, count) = span(timeline, row);
        let mark = match row.what {
            What::Attempt(_) if !row.is_over => '>',
            What::Attempt(_) if count == 0 => '!',
            What::Attempt(_) => '#',
            What::Wait { .. } => '.',
            What::Omitted { .. } => '~',
        };
        let seen = if matches!(row.what, What::Wait { .. }) { count } else { count.max(1) };
        columns.iter_mut().skip(first).take(seen).for_each(|column| *column = mark);
    }
    columns.iter().collect()
}

/// The first column of a row, and how many it fills; none where it is shorter than half a column.
fn span(timeline: &Timeline<'_>, row: &Row<'_>) -> (usize, usize) {
    // At most BAR, since a place is at most 1.
    let column = |moment| (timeline.place(moment) * BAR as f64).round() as usize;
    let (first, end) = (column(row.start), column(row.end));
    (first.min(BAR - 1), end.saturating_sub(first))
}

fn tails(page: &mut String, history: &History) {
    let mut left = TAILS;
    let mut folded = Vec::new();
    let mut unshown = 0;
    // Where not all can be shown, the last ones tell most.
    for tail in Tail::all(history).iter().rev().filter(|tail| tail.is_of_failure()) {
        let text = harmless_lines(&plain(tail.text));
        left = left.saturating_sub(text.len());
        if left > 0 {
            folded.push(fold(tail, &text));
        } else {
            unshown += 1;
        }
    }
    if unshown > 0 {
        say!(page, "{unshown} earlier pieces of stderr are left out, for their size.\n");
    }
    folded.iter().rev().for_each(|tail| page.push_str(tail));
}

fn fold(tail: &Tail<'_>, text: &str) -> String {
    let ending = entities(&cut(&harmless(&tail.last.ending()), TEXT));
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    format!(
        "<details><summary>stderr of {}: {ending}</summary>\n\n{fence}text\n{text}\n{fence}\n\n</details>\n\n",
        tail.writers()
    )
}

fn policy_in_short(page: &mut String, history: &History) {
    let lines = policy::in_words(&history.policy);
    let lines = lines.iter().map(|(name, value)| format!("{name} {}", inline(value, TEXT)));
    say!(page, "{}", lines.collect::<Vec<_>>().join(" · "));
}

/// Text of others within a line: as it is where nothing in it could be taken for Markdown or become a link, a mention or
/// an emoji, else as code; at most so many characters of it.
fn inline(text: &str, most: usize) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || " .:".contains(c) || MEANINGLESS.contains(c);
    // A colon within a word begins a link or an emoji.
    let is_live = text.contains("www.")
        || text.split(':').skip(1).any(|after| !after.is_empty() && !after.starts_with(' '));
    let is_plain = text.chars().all(is_plain) && !is_live && text.len() <= most;
    if is_plain { text.to_owned() } else { code(text, most) }
}

/// Text of others as code; at most so many characters of it.
fn code(text: &str, most: usize) -> String {
    let text = cut(&harmless(text), most);
    if text.is_empty() {
        return text;
    }
    // In a table a bar would end the cell, also in a code span, and not everywhere does a backslash before it help.
    if text.contains('|') {
        return format!("<code>{}</code>", entities(&text));
    }
    let fence = "`".repeat(longest_run(&text) + 1);
    let touches = |c| text.starts_with(c) || text.ends_with(c);
    let space = if touches('`') || touches(' ') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// The length of the longest row of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

/// Signs that mean nothing to Markdown and to HTML within a line.
const MEANINGLESS: &str = ",;()'/-%+=";

/// The text with every other sign in it as a number.
fn entities(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() && !MEANINGLESS.contains(c) {
            let _infallible = write!(shown, "&#{};", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The text, or its beginning if it has more than so many characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{HOSTILE, Sample, hostile};
    use super::*;
    use crate::engine::event::Outcome;

    /// What a reader of Markdown sees outside of code blocks and of `<code>`.
    fn outside_code_blocks(page: &str) -> String {
        let mut fence: Option<String> = None;
        let mut outside = String::new();
        for line in page.lines() {
            let run = line.chars().take_while(|c| *c == '`').count();
            match &fence {
                // A closing fence is at least as long, and nothing follows.
                Some(open) if run >= open.len() && line.len() == run => fence = None,
                Some(_) => {}
                None if run >= 3 => fence = Some("`".repeat(run)),
                None => {
                    outside.push_str(line);
                    outside.push('\n');
                }
            }
        }
        assert_eq!(fence, None, "every fence is closed:\n{page}");
        outside
    }

    #[test]
    fn a_report_reads_as_text() {
        let sample = Sample::of(&["curl", "-fsS"]).attempt(Trigger::First, 2_000, 7);
        let sample = sample.wait(5_000, 5_000).attempt(Trigger::Retry, 3_000, 0);
        let mut history = sample.end(Outcome::Succeeded);
        if let Some(first) = history.attempts.first_mut() {
            first.reason = Some("connect".into());
            first.rule = Some("7".into());
            first.rule_origin = Some("policy curl (built in)".into());
            first.stderr_tail = Some("curl: (7) refused\n".into());
        }
        assert_eq!(
            render(&history),
            "\
### ⚠️ succeeded, flaky: `curl -fsS`

succeeded after 2 attempts in 10.0s

2 attempts · 10s in all · waited 5s · exit status 7 · host ci-7 · folder /srv · run 01jd7

| Attempt | Started | Took | Ended | Verdict | Rule | Next wait |
| ---: | ---: | ---: | :--- | :--- | :--- | ---: |
| 1 | +0s | 2s | exit 7 | ↻ transient: connect | `7` (policy curl (built in)) | 5s |
| 2 | +7s | 3s | exit 0 | ✓ success |  |  |

```text
   0s                                     10s
 1 |########....................            | 2s exit 7, wait 5s
 2 |                            ############| 3s exit 0
```

`#` attempt · `!` attempt too short to be drawn to scale · `.` wait

<details><summary>stderr of attempt 1: exit 7</summary>

```text
curl: (7) refused
```

</details>

policy curl, built in · retries 3 · backoff exponential, 5s times 2, at most 5m · jitter none
"
        );
    }

    #[test]
    fn hostile_text_stays_text() {
        let page = render(&hostile());
        let outside = outside_code_blocks(&page);
        assert!(!outside.contains("<script"), "{outside}");
        assert!(!outside.contains("</pre>"), "{outside}");
        // The one that each tail is folded with.
        assert_eq!(outside.matches("</details>").count(), 1, "{outside}");
        assert!(!outside.contains("@admin"), "{outside}");
        assert!(!outside.contains("https://"), "{outside}");
        assert!(!page.chars().any(|c| c.is_control() && c != '\n'), "{page}");
        for line in page.lines() {
            assert!(!line.trim_start().starts_with("::"), "{line}");
            assert!(!line.starts_with("# ") || !outside.contains(line), "{line}");
        }
        assert!(!page.contains("##[error]"), "{page}");
        // The bars of the table, and no others.
        let rows: Vec<&str> = outside.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(rows.len(), 4, "{outside}");
        assert!(rows.iter().all(|row| row.matches('|').count() == 8), "{outside}");
    }

    #[test]
    fn text_is_plain_where_it_means_nothing_and_code_elsewhere() {
        for text in ["connect", "exit 7, core dumped", "gave up: out of time (see --max-delay)"] {
            assert_eq!(inline(text, TEXT), text);
        }
        for (text, shown) in [
            ("@admin", "`@admin`"),
            ("a_b*c", "`a_b*c`"),
            (":tada:", "`:tada:`"),
            ("http://a/", "`http://a/`"),
            ("www.a.b", "`www.a.b`"),
            ("#12", "`#12`"),
            ("a`b", "``a`b``"),
            ("`", "`` ` ``"),
            ("a|`b", "<code>a&#124;&#96;b</code>"),
            ("<b>", "`<b>`"),
        ] {
            assert_eq!(inline(text, TEXT), shown);
        }
        assert_eq!(inline("", TEXT), "");
        assert_eq!(inline("abcdef", 4), "`abc…`");
    }

    #[test]
    fn a_fence_is_longer_than_any_in_its_text() {
        let mut history = Sample::of(&["a"]).attempts(1).end(Outcome::Exhausted);
        if let Some(attempt) = history.attempts.first_mut() {
            attempt.stderr_tail = Some("```\n</details>\n`````\n# x".into());
        }
        let page = render(&history);
        assert!(page.contains("\n``````text\n```\n</details>\n`````\n# x\n``````\n"), "{page}");
    }

    #[test]
    fn the_largest_report_is_one_that_github_takes() {
        let mut history = Sample::of(&[&"|".repeat(100_000)]).attempts(400).end(Outcome::Exhausted);
        for attempt in &mut history.attempts {
            let text = || Some("|`&".repeat(10_000));
            attempt.reason = text();
            attempt.rule = text();
            attempt.rule_origin = text();
            attempt.ended_by = Some(crate::engine::event::EndedBy::SpawnError);
            attempt.error = text();
            attempt.stderr_tail = Some(format!("{}{}", HOSTILE.repeat(200), attempt.attempt));
        }
        let page = render(&history);
        assert!(page.len() < 1024 * 1024, "{} bytes", page.len());
        assert!(page.contains("stderr of attempt 400"), "the last one is shown");
        assert!(page.contains(" earlier pieces of stderr are left out"));
    }

    #[test]
    fn no_attempt_is_lost() {
        let page = render(&Sample::of(&["a"]).attempts(500).end(Outcome::Exhausted));
        for number in (1..=10).chain(401..=500) {
            assert!(page.contains(&format!("\n| {number} | ")), "{number} is in the table");
            assert!(page.contains(&format!("\n{number:>3} |")), "{number} is in the timeline");
        }
        assert!(page.contains("390 attempts left out | | | |"), "{page}");
    }

    #[test]
    fn runs_that_go_on_or_never_began_have_a_report() {
        let running = Sample::of(&["a"]).attempts(1).wait(1_000, 1_000).start(Trigger::Retry);
        let page = render(&running.history);
        assert!(page.starts_with("### ⏳ running: `a`\n\nattempt 2 is running\n"), "{page}");
        assert!(page.contains("| 2 | +1.01s | … | still running | …  |  |  |"), "{page}");
        assert!(
            page.contains(" 2 |                                       >| still running"),
            "{page}"
        );

        let page = render(&Sample::of(&["a"]).attempts(1).wait(1_000, 0).history);
        assert!(page.starts_with("### ⏳ waiting: `a`\n\nwaiting 1s for attempt 2\n"), "{page}");
        assert!(page.contains("| 0.01s exit 7, waiting 1s\n"), "{page}");

        let page = render(&Sample::of(&["a"]).end(Outcome::Deadline));
        assert!(page.contains("0 attempts · 0s in all"), "{page}");
        assert!(!page.contains('|'), "{page}");
        assert!(render(&Sample::of(&["a"]).history).contains("no attempt has begun"));
    }
}
