//! What `--explain` prints: the policy in effect with the origin of every value, its rules, and its waits.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::resolved::{Resolved, Row, TextRules};
use crate::engine::classify::PlacedRule;
use crate::engine::event::Verdict;
use crate::engine::policy::{Policy, Retries};
use crate::engine::time::human;

/// How many waits are shown of a schedule without end.
const SHOWN: usize = 100;

/// A schedule with more waits than this is shown as one without end: nobody lives to see it.
const MOST: u64 = 100_000;

/// How many of them people want to see.
const SHOWN_AS_TEXT: usize = 12;

/// The JSON form; durations are seconds.
#[derive(Serialize)]
struct Explanation<'a> {
    policy: &'a str,
    settings: &'a [Row],
    rules: Vec<ShownRule<'a>>,
    text_rules: TextRules,
    schedule: Vec<f64>,
    total: Option<f64>,
}

#[derive(Serialize)]
struct ShownRule<'a> {
    rule: &'a str,
    verdict: Verdict,
    reason: &'a str,
    origin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<f64>,
}

/// The explanation as one line of JSON.
#[must_use]
pub fn json(resolved: &Resolved) -> String {
    let policy = &resolved.policy;
    let (schedule, total) = schedule(policy);
    let explanation = Explanation {
        policy: &policy.name,
        settings: &resolved.rows,
        rules: policy.rules.iter().map(shown).collect(),
        text_rules: resolved.text_rules,
        schedule: schedule.iter().map(Duration::as_secs_f64).collect(),
        total: total.map(|total| total.as_secs_f64()),
    };
    let mut text = serde_json::to_string(&explanation).expect("strings, finite numbers and lists");
    text.push('\n');
    text
}

/// The explanation for people.
#[must_use]
pub fn text(resolved: &Resolved) -> String {
    let mut text = String::new();
    let rows: Vec<[&str; 3]> = resolved
        .rows
        .iter()
        .map(|row| [row.name, row.text.as_str(), row.origin.as_str()])
        .collect();
    heading(&mut text, "Settings");
    table(&mut text, &rows);
    heading(&mut text, "\nRules, the first that holds decides");
    let rules: Vec<[String; 3]> = resolved
        .policy
        .rules
        .iter()
        .map(|placed| [placed.rule.text().to_owned(), meaning(placed), placed.origin.to_string()])
        .collect();
    let rules: Vec<[&str; 3]> =
        rules.iter().map(|rule| rule.each_ref().map(String::as_str)).collect();
    table(&mut text, &rules);
    if resolved.text_rules == TextRules::NoTerminal {
        let name = &resolved.policy.name;
        let _infallible = writeln!(
            text,
            "  Rules on text are skipped where the command writes to a terminal, since its words chose the policy; \
             --policy {name} asks them there, too."
        );
    }
    heading(&mut text, "\nWaits");
    text.push_str(&waits(&resolved.policy));
    if let Some(docs) = &resolved.docs {
        heading(&mut text, &format!("\nAbout the policy {}", resolved.policy.name));
        for line in docs.trim().lines() {
            let _infallible = writeln!(text, "  {line}");
        }
    }
    text
}

/// What a rule means where it holds, e.g. `transient (throttled), 2 retries at most, after 30s`.
fn meaning(placed: &PlacedRule) -> String {
    let mut text = format!("{} ({})", placed.verdict, placed.reason());
    if let Some(limit) = placed.limit {
        let _infallible = write!(text, ", {limit} retries at most");
    }
    if let Some(delay) = placed.delay {
        let _infallible = write!(text, ", after {}", human(delay));
    }
    text
}

fn shown(placed: &PlacedRule) -> ShownRule<'_> {
    ShownRule {
        rule: placed.rule.text(),
        verdict: placed.verdict,
        reason: placed.reason(),
        origin: &placed.origin,
        limit: placed.limit,
        delay: placed.delay.map(|delay| delay.as_secs_f64()),
    }
}

/// The waits of a run in which everything fails, and their sum where there is an end.
fn schedule(policy: &Policy) -> (Vec<Duration>, Option<Duration>) {
    let waits = policy.backoff.schedule();
    match policy.retries {
        Retries::Limited(limit) if limit <= MOST => {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let shown: Vec<Duration> = waits.take(limit).collect();
            let total = shown.iter().fold(Duration::ZERO, |sum, wait| sum.saturating_add(*wait));
            (shown, Some(total))
        }
        Retries::Limited(_) | Retries::Unlimited => (waits.take(SHOWN).collect(), None),
    }
}

fn waits(policy: &Policy) -> String {
    let (waits, total) = schedule(policy);
    let mut text = String::new();
    let mut sum = Duration::ZERO;
    for (retry, wait) in (1..).zip(waits.iter().take(SHOWN_AS_TEXT)) {
        sum = sum.saturating_add(*wait);
        let attempt = retry + 1;
        let (wait, sum) = (human(*wait), human(sum));
        let _infallible = writeln!(text, "  before attempt {attempt}: {wait:<10} {sum} in all");
    }
    let rest = match (waits.len(), total) {
        (0, _) => "  none: the command runs once\n".to_owned(),
        (length, Some(total)) if length > SHOWN_AS_TEXT => {
            format!("  and {} more, {} in all\n", length - SHOWN_AS_TEXT, human(total))
        }
        (_, Some(_)) => String::new(),
        (_, None) => format!("  and so on, {} retries\n", policy.retries),
    };
    text + &rest
}

fn heading(text: &mut String, heading: &str) {
    let _infallible = writeln!(text, "{heading}:");
}

/// A first cell with more characters than this stands on a line of its own.
const WIDEST: usize = 32;

/// Three columns, the first two as wide as their widest cell.
fn table(text: &mut String, rows: &[[&str; 3]]) {
    let width = |column: usize, most: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).filter(|width| *width <= most).max().unwrap_or(0)
    };
    let (first, second) = (width(0, WIDEST), width(1, usize::MAX));
    for [a, b, c] in rows {
        let a = if a.chars().count() > WIDEST {
            let _infallible = writeln!(text, "  {a}");
            ""
        } else {
            a
        };
        let _infallible = writeln!(text, "  {a:<first$}  {b:<second$}  {c}");
    }
}
