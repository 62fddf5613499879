//! The few parts of an event's `data` that the server needs: whether it is a reviewer's event, the test's progress, and
//! whether readers will understand the fields that they compute with.
//!
//! Everything else in `data` belongs to publishers and readers. Nearly all events are of no such kind, so their bytes are
//! first searched, in one pass, for the words that each kind must contain; only then the top level is parsed. A word can be
//! hidden from the search by writing its letters as `\u…`, so that is searched for, too.

use std::sync::LazyLock;

use aho_corasick::packed::Searcher;
use memchr::memmem::{self, Finder};

use crate::error::Refusal;
use crate::json::{JsonKind, RawValue, Scanner};
use crate::warning::{Doubtful, Doubts};

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
    /// Fields that readers will not understand, and evidence that has to be there.
    pub doubts: Doubts,
}

/// Every event whose top level is parsed contains one of these: the types whose fields are checked, and the start of a letter
/// that is written as an escape.
const WORDS: [&str; 5] = ["review_", PROGRESS, "score_update", "evidence", "\\u"];
/// Contained in every progress event, unless it is written with escapes.
const PROGRESS: &str = "progress";

/// `None` on a machine without the vector instructions that it needs.
static SEARCHER: LazyLock<Option<Searcher>> = LazyLock::new(|| Searcher::new(WORDS));
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(PROGRESS));

fn holds_a_word(bytes: &[u8]) -> bool {
    match &*SEARCHER {
        Some(searcher) => searcher.find(bytes).is_some(),
        None => WORDS.iter().any(|word| memmem::find(bytes, word.as_bytes()).is_some()),
    }
}

/// Parses the outline of `data`, which is a JSON object.
///
/// # Errors
/// An `eventType` that is given twice, one of them a reviewer's: JSON parsers differ in which of the two they use, so readers
/// would not agree on the author.
pub fn outline(data: &str) -> Result<Outline, Refusal> {
    if holds_a_word(data.as_bytes()) { read(data) } else { Ok(Outline::default()) }
}

/// The percentage of a `progress` event; `body` is the whole message as readers receive it.
pub fn progress_of_event(body: &[u8]) -> Option<f64> {
    // Nearly no event contains the word at all.
    FINDER.find(body)?;
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

/// The types whose fields are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ReviewNote,
    ReviewScore,
    ScoreUpdate,
    Progress,
    Evidence,
}

impl Kind {
    fn of(value: &RawValue<'_>) -> Option<Self> {
        let names = [
            ("review_note", Self::ReviewNote),
            ("review_score", Self::ReviewScore),
            ("score_update", Self::ScoreUpdate),
            (PROGRESS, Self::Progress),
            ("evidence", Self::Evidence),
        ];
        names.into_iter().find(|(name, _)| says(value, name)).map(|(_, kind)| kind)
    }

    fn is_review(self) -> bool {
        matches!(self, Self::ReviewNote | Self::ReviewScore)
    }

    fn is_score(self) -> bool {
        matches!(self, Self::ReviewScore | Self::ScoreUpdate)
    }
}

#[cold]
fn read(data: &str) -> Result<Outline, Refusal> {
    let (mut types, mut reviews, mut kind) = (0, 0, None);
    let [mut percent, mut score, mut max, mut hash] = [None; 4];
    Scanner::new(data).object::<Refusal>(|key, value| {
        if says(&key, "eventType") {
            types += 1;
            kind = Kind::of(&value);
            reviews += i32::from(kind.is_some_and(Kind::is_review));
        } else {
            let fields =
                [("percent", &mut percent), ("score", &mut score), ("max", &mut max), ("hash", &mut hash)];
            if let Some((_, field)) = fields.into_iter().find(|(name, _)| says(&key, name)) {
                *field = Some(value).filter(|value| value.kind != JsonKind::Null);
            }
        }
        Ok(())
    })?;
    if reviews > 0 && types > 1 {
        return Err(Refusal::invalid("data.eventType", "data.eventType is given twice"));
    }
    let mut outline = Outline::default();
    if reviews > 0 {
        outline.author = Authorship::Reviewer;
    }
    let doubts = &mut outline.doubts;
    match kind {
        Some(Kind::Progress) => {
            outline.progress = percent.as_ref().and_then(share);
            doubts.set(Doubtful::Percent, percent.is_some() && outline.progress.is_none());
        }
        Some(kind) if kind.is_score() => {
            doubts.set(Doubtful::Score, score.is_some_and(|score| number(&score).is_none()));
            doubts.set(Doubtful::Max, max.is_some_and(|max| number(&max).is_none_or(|max| max <= 0.0)));
        }
        Some(Kind::Evidence) => {
            doubts.evidence = hash.as_ref().and_then(parse_hash);
            doubts.set(Doubtful::Hash, hash.is_some() && doubts.evidence.is_none());
        }
        _ => {}
    }
    Ok(outline)
}

fn says(value: &RawValue<'_>, word: &str) -> bool {
    value.to_str().is_some_and(|text| text == word)
}

fn number(value: &RawValue<'_>) -> Option<f64> {
    let number = (value.kind == JsonKind::Number).then(|| value.text.parse::<f64>().ok()).flatten();
    number.filter(|number| number.is_finite())
}

/// A share of a hundred; what is none is no progress.
fn share(value: &RawValue<'_>) -> Option<f64> {
    number(value).filter(|percent| (0.0..=100.0).contains(percent))
}

/// The bytes of 64 lowercase hexadecimal digits.
fn parse_hash(value: &RawValue<'_>) -> Option<[u8; 32]> {
    let text = value.to_str()?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVIEWER: Outline = Outline { author: Authorship::Reviewer, progress: None, doubts: Doubts::NONE };

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
    fn fields_that_readers_will_not_understand_are_doubtful() {
        let long = "0".repeat(64);
        let cases = [
            (r#"{"eventType":"score_update","score":"0.9"}"#.to_owned(), vec!["data.score"]),
            (r#"{"eventType":"score_update","score":0.9,"max":0}"#.to_owned(), vec!["data.max"]),
            (
                r#"{"max":"1","score":1e999,"eventType":"review_score"}"#.to_owned(),
                vec!["data.score", "data.max"],
            ),
            (r#"{"eventType":"score_\u0075pdate","score":true}"#.to_owned(), vec!["data.score"]),
            (r#"{"eventType":"progress","percent":"50 %"}"#.to_owned(), vec!["data.percent"]),
            (r#"{"eventType":"progress","percent":100.5}"#.to_owned(), vec!["data.percent"]),
            (r#"{"eventType":"evidence","hash":"AF"}"#.to_owned(), vec!["data.hash"]),
            (r#"{"eventType":"score_update","score":0.5,"max":2,"percent":"x"}"#.to_owned(), vec![]),
            (r#"{"eventType":"score_update","score":null}"#.to_owned(), vec![]),
            (r#"{"eventType":"progress","message":"half"}"#.to_owned(), vec![]),
            (r#"{"eventType":"console_log","score":"0.9 evidence"}"#.to_owned(), vec![]),
            (format!(r#"{{"eventType":"evidence","hash":"{long}"}}"#), vec![]),
        ];
        for (data, fields) in cases {
            let doubts = outline(&data).unwrap().doubts;
            let warned: Vec<_> = doubts.warnings().into_iter().map(|warning| warning.field).collect();
            assert_eq!(warned, fields, "{data}");
            assert_eq!(doubts.evidence.is_some(), data.contains(&long));
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
