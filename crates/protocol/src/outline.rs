//! The few parts of an event's `data` that the server needs: whether it is a reviewer's event, and the test's progress.
//!
//! Everything else in `data` belongs to publishers and readers. Nearly all events are neither kind, so their bytes are first
//! searched for the words that each kind must contain; only then the top level is parsed. A word can be hidden from the
//! search by writing its letters as `\u…`, so that is searched for, too.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::error::Refusal;
use crate::json::{JsonKind, RawValue, Scanner};

/// The author of an event, by its `eventType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Authorship {
    /// A publisher: an agent or a judge.
    #[default]
    Publisher,
    /// A reviewer: `review_note` or `review_score`.
    Reviewer,
}

/// The top level of an event's `data`, as far as the server needs it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Outline {
    /// The author of the event.
    pub author: Authorship,
    /// For an event of type `progress`: its `percent`, 0 to 100.
    pub progress: Option<f64>,
}

/// Contained in every reviewer's event, unless it is written with escapes.
const REVIEW: &str = "review_";
/// Contained in every progress event, unless it is written with escapes.
const PROGRESS: &str = "progress";

struct Words {
    review: Finder<'static>,
    progress: Finder<'static>,
    escape: Finder<'static>,
}

static WORDS: LazyLock<Words> = LazyLock::new(|| Words {
    review: Finder::new(REVIEW),
    progress: Finder::new(PROGRESS),
    escape: Finder::new("\\u"),
});

/// Parses the outline of `data`, which is a JSON object.
///
/// # Errors
/// An `eventType` that is given twice, one of them a reviewer's: JSON parsers differ in which of the two they use, so readers
/// would not agree on the author.
pub fn outline(data: &str) -> Result<Outline, Refusal> {
    let bytes = data.as_bytes();
    let suspicious = WORDS.review.find(bytes).is_some()
        || WORDS.progress.find(bytes).is_some()
        || WORDS.escape.find(bytes).is_some();
    if suspicious { read(data) } else { Ok(Outline::default()) }
}

/// The percentage of a `progress` event; `body` is the whole message as readers receive it.
pub fn progress_of_event(body: &[u8]) -> Option<f64> {
    // Nearly no event contains the word at all.
    WORDS.progress.find(body)?;
    let mut data = None;
    let found = Scanner::new(std::str::from_utf8(body).ok()?).object::<Refusal>(|key, value| {
        if key.text == "\"data\"" && value.kind == JsonKind::Object {
            data = Some(value.text);
        }
        Ok(())
    });
    found.ok()?;
    outline(data?).ok()?.progress
}

#[cold]
fn read(data: &str) -> Result<Outline, Refusal> {
    let (mut types, mut reviews) = (0, 0);
    let (mut is_progress, mut percent) = (false, None);
    Scanner::new(data).object::<Refusal>(|key, value| {
        if says(&key, "eventType") {
            types += 1;
            reviews += i32::from(says(&value, "review_note") || says(&value, "review_score"));
            is_progress = says(&value, "progress");
        } else if says(&key, "percent") {
            percent = number(&value);
        }
        Ok(())
    })?;
    if reviews > 0 && types > 1 {
        return Err(Refusal::invalid("data.eventType", "data.eventType is given twice"));
    }
    let author = if reviews > 0 { Authorship::Reviewer } else { Authorship::Publisher };
    Ok(Outline { author, progress: percent.filter(|_| is_progress) })
}

fn says(value: &RawValue<'_>, word: &str) -> bool {
    value.to_str().is_some_and(|text| text == word)
}

/// A percentage; any other value is no progress.
fn number(value: &RawValue<'_>) -> Option<f64> {
    let number = (value.kind == JsonKind::Number).then(|| value.text.parse::<f64>().ok()).flatten();
    number.filter(|percent| (0.0..=100.0).contains(percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVIEWER: Outline = Outline { author: Authorship::Reviewer, progress: None };

    #[test]
    fn reviewers_events_are_known_however_they_are_spelt() {
        for data in [
            r#"{"eventType":"review_note","text":"x"}"#,
            r#"{ "text" : {"eventType":"progress"}, "eventType" : "review_score" }"#,
            r#"{"eventType":"review\u005fnote"}"#,
            r#"{"\u0065ventType":"review_note"}"#,
            r#"{"event\u0054ype":"\u0072\u0065\u0076\u0069\u0065\u0077\u005F\u006e\u006f\u0074\u0065"}"#,
        ] {
            assert_eq!(outline(data), Ok(REVIEWER), "{data}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_a_publishers() {
        for data in [
            "{}",
            r#"{"eventType":"console_log","message":"review_note"}"#,
            r#"{"eventType":"review_notes"}"#,
            r#"{"eventType":["review_note"]}"#,
            r#"{"eventType":{"eventType":"review_note"}}"#,
            r#"{"detail":{"eventType":"review_note"}}"#,
            r#"{"EventType":"review_note"}"#,
            r#"{"event\\u0054ype":"review_note"}"#,
            r#"{"eventType":"review_note\ud800"}"#,
            r#"{"eventType":"console_log","eventType":"error","text":"\u0072eview_"}"#,
        ] {
            assert_eq!(outline(data), Ok(Outline::default()), "{data}");
        }
    }

    #[test]
    fn two_types_of_which_one_is_a_reviewers_are_refused() {
        for data in [
            r#"{"eventType":"review_note","eventType":"console_log"}"#,
            r#"{"eventType":"console_log","eventType":"review_note"}"#,
            r#"{"eventType":"console_log","\u0065ventType":"\u0072eview_note"}"#,
            r#"{"eventType":"review_note","eventType":"review_note"}"#,
            r#"{"eventType":null,"eventType":"review_score"}"#,
        ] {
            assert_eq!(outline(data).unwrap_err().field.as_deref(), Some("data.eventType"), "{data}");
        }
    }

    #[test]
    fn progress_is_found_in_a_whole_message() {
        let event = br#"{"id":"e","type":"test_event","data":{"eventType":"progress","percent":7},"seq":3}"#;
        assert_eq!(progress_of_event(event), Some(7.0));
        assert_eq!(progress_of_event(br#"{"data":{"eventType":"console_log","message":"progress"}}"#), None);
        assert_eq!(progress_of_event(br#"{"data":"progress"}"#), None);
        assert_eq!(progress_of_event(b"progress \xff"), None);
    }

    #[test]
    fn progress_is_a_share_of_a_hundred() {
        for (data, progress) in [
            (r#"{"eventType":"progress","percent":42.5}"#, Some(42.5)),
            (r#"{"percent":0,"eventType":"progress"}"#, Some(0.0)),
            (r#"{"eventType":"progress","percent":1e2}"#, Some(100.0)),
            (r#"{"eventType":"progress","percent":101}"#, None),
            (r#"{"eventType":"progress","percent":-1}"#, None),
            (r#"{"eventType":"progress","percent":1e999}"#, None),
            (r#"{"eventType":"progress","percent":"42"}"#, None),
            (r#"{"eventType":"progress"}"#, None),
            (r#"{"eventType":"console_log","percent":42,"message":"progress"}"#, None),
        ] {
            assert_eq!(outline(data).unwrap().progress, progress, "{data}");
        }
    }
}
