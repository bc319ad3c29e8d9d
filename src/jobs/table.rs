//! The named runs in rows for people.

use std::time::Duration;

use super::list::{Listed, Standing};
use crate::engine::event::Verdict;
use crate::engine::time::{Timestamp, human};
use crate::report::columns::{cut, width};
use crate::report::text::{command_line, harmless};

/// What stands above each column.
const HEADINGS: [&str; 8] =
    ["NAME", "STATE", "ATTEMPT", "RETRIES", "LAST", "NEXT", "AGE", "COMMAND"];

/// The columns that are left out where there is no room, the first of them first: of the last one a part is shown, while that is worth
/// its place.
const DISPENSABLE: [usize; 6] = [6, 3, 7, 4, 2, 5];

/// The least of a command that is worth its place: as much as its heading takes.
const LEAST_OF_A_COMMAND: usize = 7;

/// The most of a name, of which all can have 100.
const MOST_OF_A_NAME: usize = 24;

/// Between two columns.
const GAP: usize = 2;

/// The headings and the rows, each as wide as it is.
#[must_use]
pub fn whole(listed: &[Listed], now: Timestamp) -> String {
    let rows = rows(listed, now);
    let widths = widths(&rows);
    let all: Vec<(usize, usize)> = widths.into_iter().enumerate().collect();
    rows.iter().map(|row| line(row, &all) + "\n").collect()
}

/// The same, cut to a width.
#[must_use]
pub fn within(columns: usize, listed: &[Listed], now: Timestamp) -> Vec<String> {
    let rows = rows(listed, now);
    let mut widths = widths(&rows);
    let [name, .., command] = &mut widths;
    *name = (*name).min(MOST_OF_A_NAME);
    *command = (*command).min(LEAST_OF_A_COMMAND);
    let mut shown: Vec<(usize, usize)> = widths.into_iter().enumerate().collect();
    for dispensable in DISPENSABLE {
        let needed: usize = shown.iter().map(|(_, width)| width + GAP).sum();
        if needed <= columns + GAP {
            break;
        }
        shown.retain(|(index, _)| *index != dispensable);
    }
    // Of the last column as much as there is room for.
    if let Some((_, width)) = shown.last_mut() {
        *width = columns;
    }
    rows.iter().map(|row| cut(&line(row, &shown), columns)).collect()
}

fn rows(listed: &[Listed], now: Timestamp) -> Vec<[String; HEADINGS.len()]> {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(listed.iter().map(|listed| row(listed, now)));
    rows
}

fn widths(rows: &[[String; HEADINGS.len()]]) -> [usize; HEADINGS.len()] {
    let mut widths = [0; HEADINGS.len()];
    for row in rows {
        for (most, cell) in widths.iter_mut().zip(row) {
            *most = width(cell).max(*most);
        }
    }
    widths
}

/// The columns of a row, by their index and width.
fn line(row: &[String; HEADINGS.len()], columns: &[(usize, usize)]) -> String {
    let mut line = String::new();
    for (index, most) in columns {
        let cell = cut(row.get(*index).map_or("", String::as_str), *most);
        let blanks = (most + GAP).saturating_sub(width(&cell));
        line.push_str(&cell);
        line.extend(std::iter::repeat_n(' ', blanks));
    }
    line.trim_end().to_owned()
}

fn row(listed: &Listed, now: Timestamp) -> [String; HEADINGS.len()] {
    let since = |moment: Timestamp| now.as_duration().saturating_sub(moment.as_duration());
    let until = |moment: Timestamp| moment.as_duration().saturating_sub(now.as_duration());
    let whole = |duration: Duration| human(Duration::from_secs(duration.as_secs()));
    let state = match (listed.state, listed.outcome) {
        (Standing::Ended, Some(outcome)) => outcome.name().to_owned(),
        (state, _) => state.name().to_owned(),
    };
    let attempt = match listed.max_attempts {
        Some(max) => format!("{}/{max}", listed.attempt),
        None => listed.attempt.to_string(),
    };
    let last = match (&listed.last, &listed.last_reason) {
        (Some(last), Some(reason)) if last.verdict != Some(Verdict::Success) => {
            format!("{} ({reason})", last.ending())
        }
        (Some(last), _) => last.ending(),
        (None, _) => "-".to_owned(),
    };
    let next =
        listed.next_attempt_at.map_or("-".to_owned(), |at| format!("in {}", whole(until(at))));
    [
        listed.job.to_string(),
        state,
        attempt,
        listed.retry_count.to_string(),
        harmless(&last),
        next,
        whole(since(listed.started_at)),
        harmless(&command_line(&listed.command)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::name::Name;

    fn listed(name: &str, command: &[&str]) -> Listed {
        let name: Name = name.parse().expect("a name");
        Listed {
            job: name,
            run_id: "01jd7".into(),
            state: Standing::Waiting,
            outcome: None,
            attempt: 1,
            max_attempts: Some(4),
            retry_count: 0,
            last_exit_code: Some(7),
            last_signal: None,
            last_reason: Some("connect".into()),
            last: None,
            last_retry_at: None,
            next_attempt_at: Some(Timestamp::since_epoch(Duration::from_millis(90_900))),
            started_at: Timestamp::since_epoch(Duration::from_secs(10)),
            pid: 4711,
            command: command.iter().map(|&word| word.into()).collect(),
            cwd: None,
        }
    }

    const NOW: Duration = Duration::from_secs(30);

    #[test]
    fn all_is_shown_where_there_is_room() {
        let runs = [listed("a", &["curl", "-f"]), listed("nightly", &["sh", "-c", "a\nb"])];
        let now = Timestamp::since_epoch(NOW);
        let expected = "\
NAME     STATE    ATTEMPT  RETRIES  LAST  NEXT   AGE  COMMAND
a        waiting  1/4      0        -     in 1m  20s  curl -f
nightly  waiting  1/4      0        -     in 1m  20s  sh -c 'a\\nb'
";
        assert_eq!(whole(&runs, now), expected);
        let [_, row, _] = &within(200, &runs, now)[..] else { panic!("a row each") };
        assert!(row.ends_with("20s  curl -f"), "{row}");
    }

    #[test]
    fn what_matters_less_gives_way() {
        let runs = [listed("nightly", &["sh", "-c", "a long command that nobody reads"])];
        let now = Timestamp::since_epoch(NOW);
        let at = |columns| within(columns, &runs, now).pop().unwrap_or_default();
        let [name, attempt, rest] = ["nightly  waiting", "  1/4    ", "  -     in 1m"];
        let counted = format!("{name}{attempt}  0      {rest}");
        assert_eq!(at(66), format!("{counted}  20s  sh -c 'a ..."));
        assert_eq!(at(61), format!("{counted}  20s  sh -..."));
        assert_eq!(at(60), format!("{counted}  sh -c 'a..."));
        assert_eq!(at(56), format!("{counted}  sh -..."));
        assert_eq!(at(55), format!("{name}{attempt}{rest}  sh -c 'a lon..."));
        assert_eq!(at(47), format!("{name}{attempt}{rest}  sh -..."));
        assert_eq!(at(40), format!("{name}{attempt}{rest}"));
        assert_eq!(at(30), format!("{name}  in 1m"));
        assert_eq!(at(18), "nightly  waiting");
        assert_eq!(at(5), "ni...");
    }

    #[test]
    fn no_row_is_wider_than_its_room() {
        let long = "x".repeat(100);
        let runs = [listed(&long, &["長い\u{1b}[31m👩\u{200d}💻"]), listed("a", &[&long])];
        for columns in 0..200 {
            let now = Timestamp::since_epoch(NOW);
            for row in within(columns, &runs, now) {
                assert!(width(&row) <= columns && !row.contains('\u{1b}'), "{columns}: {row}");
            }
        }
    }
}
