//! The timeline of an HTML report: a line for each attempt and the wait after it, in words and drawn to scale.
//!
//! The drawing is for the eye alone: all that it shows stands in the words beside it.

use maud::{Markup, html};

use super::{class, sign};
use crate::engine::time::human;
use crate::report::headline::{self, Tone};
use crate::report::text::harmless;
use crate::report::timeline::{Row, Timeline, What};

/// The narrowest part of a run that is drawn to scale, in percent: 4 pixels on a phone. What is shorter gets a mark of its own.
const NARROWEST: f64 = 1.2;

/// Moments on the scale of the timeline, besides its beginning: as many as have room on a phone.
const MARKS: u32 = 5;

/// The section of the timeline.
pub(super) fn section(timeline: &Timeline<'_>) -> Markup {
    html! {
        section aria-labelledby="timeline" {
            h2 #timeline { "Timeline" }
            (legend(timeline))
            (axis(timeline))
            ol.timeline {
                @for rows in timeline.lines() { (line(timeline, rows)) }
            }
        }
    }
}

/// What the shapes mean, of those that there are.
fn legend(timeline: &Timeline<'_>) -> Markup {
    let has = |wanted: fn(&What<'_>) -> bool| timeline.rows.iter().any(|row| wanted(&row.what));
    let has_tiny = timeline
        .rows
        .iter()
        .any(|row| matches!(row.what, What::Attempt(_)) && row.is_over && is_tiny(timeline, row));
    html! {
        ul.legend aria-hidden="true" {
            li { svg { rect.attempt x="0" y="2" width="24" height="11" rx="2" {} } "attempt" }
            @if has_tiny {
                li { svg { rect.attempt.tiny x="9" y="2" width="4" height="11" rx="2" {} } "attempt too short to be drawn to scale" }
            }
            @if has(|what| matches!(what, What::Wait { .. })) {
                li { svg { line.wait x1="0" x2="24" y1="8" y2="8" {} } "wait" }
            }
            @if has(|what| matches!(what, What::Omitted { .. })) {
                li { svg { rect.omitted x="1" y="2" width="22" height="11" rx="2" {} } "attempts left out" }
            }
        }
    }
}

fn axis(timeline: &Timeline<'_>) -> Markup {
    let marks = timeline.marks(MARKS);
    html! {
        div.axis aria-hidden="true" {
            svg {
                @for mark in marks {
                    @let place = timeline.place(mark);
                    @let anchor = if mark.is_zero() { "start" } else if place > 0.93 { "end" } else { "middle" };
                    text x=(percent(place)) y="14" text-anchor=(anchor) { (human(mark)) }
                }
            }
        }
    }
}

/// An attempt and the wait after it, or those that were left out.
fn line(timeline: &Timeline<'_>, rows: &[Row<'_>]) -> Markup {
    html! {
        li {
            @for row in rows { (what(row)) }
            svg.bar aria-hidden="true" {
                @for mark in timeline.marks(MARKS) {
                    @let x = percent(timeline.place(mark));
                    line.mark x1=(x) x2=(x) y1="-4" y2="24" {}
                }
                // An attempt is seen, whatever wait begins where it is.
                @for row in rows.iter().rev() { (bar(timeline, row)) }
            }
            span.spent { (spent(timeline, rows)) }
        }
    }
}

fn what(row: &Row<'_>) -> Markup {
    match row.what {
        What::Attempt(attempt) => {
            let tone = Tone::of_attempt(attempt);
            html! {
                span {
                    b { (attempt.attempt) } " "
                    span.(class(tone)) { (sign(tone)) (harmless(&attempt.ending())) }
                    @if let Some(reason) = headline::reason(attempt) { " " small { (harmless(reason)) } }
                }
            }
        }
        What::Omitted { attempts } => {
            html! { span { (headline::attempts(attempts)) " left out" } }
        }
        // Said beside the attempt before it.
        What::Wait { .. } => html! {},
    }
}

/// How long it took, and the wait after it.
fn spent(timeline: &Timeline<'_>, rows: &[Row<'_>]) -> String {
    let parts = rows.iter().filter_map(|row| {
        let length = human(row.length());
        Some(match row.what {
            What::Attempt(_) | What::Omitted { .. } if row.is_over => {
                let share = timeline.share(row) * 100.0;
                if share < 1.0 { length } else { format!("{length} ({share:.0}%)") }
            }
            What::Attempt(_) | What::Omitted { .. } => return None,
            What::Wait { planned, is_cut_short: true } => {
                format!("wait of {} cut at {length}", human(planned))
            }
            What::Wait { .. } if row.is_over => format!("then {length} wait"),
            What::Wait { planned, .. } => format!("waiting {}", human(planned)),
        })
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn percent(place: f64) -> String {
    format!("{:.2}%", place * 100.0)
}

fn is_tiny(timeline: &Timeline<'_>, row: &Row<'_>) -> bool {
    timeline.share(row) * 100.0 < NARROWEST
}

/// A row's shape, to scale: attempts are blocks and waits dashed lines, so that colour is not what tells them apart.
fn bar(timeline: &Timeline<'_>, row: &Row<'_>) -> Markup {
    let (start, end) = (timeline.place(row.start), timeline.place(row.end));
    let (x, width) = (percent(start), percent(end - start));
    let is_tiny = is_tiny(timeline, row);
    // A mark at the very end grows to the left.
    let shift = if is_tiny && end > 0.98 { Some("translate(-4 0)") } else { None };
    match row.what {
        What::Attempt(attempt) => {
            let width = if is_tiny { "4".to_owned() } else { width };
            let tiny = if is_tiny && row.is_over { "tiny" } else { "" };
            html! {
                g.(class(Tone::of_attempt(attempt))) {
                    rect class={ "attempt " (tiny) } x=(x) y="3" width=(width) height="14" rx="2" transform=[shift] {}
                }
            }
        }
        What::Omitted { .. } => {
            html! { rect.omitted x=(x) y="3" width=(width) height="14" rx="2" {} }
        }
        What::Wait { .. } => html! { line.wait x1=(x) x2=(percent(end)) y1="10" y2="10" {} },
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::event::{Outcome, Trigger};
    use crate::report::html::render;
    use crate::report::sample::Sample;

    #[test]
    fn bars_are_drawn_to_scale() {
        let sample = Sample::of(&["a"]).attempt(Trigger::First, 1_000, 7).wait(3_000, 3_000);
        let page = render(&sample.attempt(Trigger::Retry, 4_000, 0).end(Outcome::Succeeded));
        let bars = [
            r#"<g class="doubtful"><rect class="attempt " x="0.00%" y="3" width="12.50%""#,
            r#"<line class="wait" x1="12.50%" x2="50.00%""#,
            r#"<g class="good"><rect class="attempt " x="50.00%" y="3" width="50.00%""#,
        ];
        for bar in bars {
            assert!(page.contains(bar), "{bar}\n{page}");
        }
        assert!(page.contains("1s (12%), then 3s wait"), "{page}");
        assert!(!page.contains("too short"), "{page}");
    }

    #[test]
    fn what_is_too_short_to_be_seen_is_marked() {
        let sample = Sample::of(&["a"]).attempt(Trigger::First, 3, 7).wait(300_000, 300_000);
        let page = render(&sample.attempt(Trigger::Retry, 3, 7).end(Outcome::Exhausted));
        let first = r#"<rect class="attempt tiny" x="0.00%" y="3" width="4" height="14" rx="2">"#;
        let last = r#"width="4" height="14" rx="2" transform="translate(-4 0)">"#;
        assert!(page.contains(first), "{page}");
        assert!(page.contains(last), "{page}");
        assert!(page.contains("attempt too short to be drawn to scale"), "{page}");
    }
}
