//! Bounds that hold, bounds that break, and texts that are none.

use proptest::prelude::*;

use super::*;
use crate::sample::{perfect, sample};

fn breaches(text: &str, report: &Report) -> Vec<Breach> {
    parse(text).unwrap_or_else(|error| panic!("{error}")).evaluate(report)
}

#[test]
fn a_bound_that_holds_says_nothing_and_a_broken_one_names_figure_and_bound() {
    let mut report = perfect();
    assert_eq!(breaches("loss>0, p99_ms > 50", &report), []);
    report.scenarios[0].figures.delivery.corrected.p99 = 61_500;
    let found = breaches("loss>0,p99_ms>50", &report);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].sentence, "Small Load Test: p99_ms is 61.5 ms, which fails at > 50 ms");
    assert_eq!((found[0].value, found[0].bound), (Some(61.5), 50.0));
}

#[test]
fn units_are_turned_into_the_metrics_own() {
    let mut report = perfect();
    report.scenarios.truncate(1);
    report.scenarios[0].figures.delivery.corrected.p99 = 2_000;
    report.scenarios[0].figures.error_rate = 0.02;
    for broken in [
        "p99_ms>1500us",
        "p99_ms>0.0015s",
        "p99_ms>=2ms",
        "error_rate>1%",
        "error_rate>0.01",
        "memory_mb>1KB",
        "p99_ms=2",
    ] {
        assert!(!breaches(broken, &report).is_empty(), "{broken}");
    }
    for held in ["p99_ms>2ms", "error_rate>2%", "memory_mb>1GB", "acked_per_second<1/s", "p99_ms<=1"] {
        assert_eq!(breaches(held, &report), [], "{held}");
    }
}

#[test]
fn scopes_hold_a_bound_to_a_scenario_or_a_category() {
    let mut report = perfect();
    let name = report.scenarios[0].scenario.name.clone();
    report.scenarios[0].counts.retried = 9;
    assert_eq!(breaches(&format!("\"{name}\".retries>5"), &report).len(), 1);
    assert_eq!(breaches("performance.retries>5", &report).len(), 1);
    assert_eq!(breaches("connection.retries>5 , 'Basic Connection Test'.retries>5", &report), []);
}

#[test]
fn a_bound_that_was_not_checked_is_a_breach() {
    let mut report = perfect();
    let found = breaches("\"Other Test\".p99_ms>50", &report);
    assert!(
        found[0].sentence.contains("was not checked: no scenario \"Other Test\""),
        "{}",
        found[0].sentence
    );
    for result in &mut report.scenarios {
        result.invalid = Some("late".to_owned());
    }
    assert!(breaches("p99_ms>50", &report)[0].value.is_none());
    assert_eq!(breaches("loss>0", &report), []);
    assert_eq!(breaches("invalid>0", &report).len(), report.scenarios.len());
}

#[test]
fn the_score_is_of_the_whole_run() {
    assert_eq!(breaches("score<90", &perfect()), []);
    assert_eq!(breaches("score<90", &sample()).len(), 1);
    assert!(parse("performance.score<90").unwrap_err().message.contains("takes no scope"));
}

#[test]
fn errors_show_the_place_and_what_there_is() {
    let error = parse("loss>0,speed>3").unwrap_err();
    assert_eq!(error.position, 7);
    assert!(error.message.contains("there is no metric \"speed\"; known metrics: loss, duplicates"));
    assert!(error.to_string().ends_with("\n  loss>0,speed>3\n         ^"), "{error}");
    for (text, position, part) in [
        ("", 0, "a metric is missing"),
        ("loss>0,", 7, "a metric is missing"),
        ("loss", 4, "expected one of >"),
        ("loss>", 5, "expected a number"),
        ("loss>-+1", 5, "expected a number"),
        ("loss>1ms", 6, "this metric has no unit"),
        ("p99_ms>1 parsec", 9, "known units: us"),
        ("loss>0 loss>0", 6, "is not a unit"),
        ("loss>0 ;", 7, "expected a comma"),
        ("\"Stress Test.loss>0", 0, "never closed"),
        ("\"Stress Test\" loss>0", 14, "expected a dot"),
        ("Stress.loss>0", 0, "in quotes"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.message.contains(part), "{text}: {error}");
        assert!(error.position.abs_diff(position) <= 1, "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        if let Err(error) = parse(&text) {
            prop_assert!(error.position <= text.chars().count());
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn nearly_right_texts_do_not_panic(text in "(\"[a-z ]{0,4}\"?\\.)?(loss|p99_ms|score|x)? ?[<>=!]{0,2} ?[0-9.+-]{0,4}(ms|%|µs)?,?") {
        if let Ok(bounds) = parse(&text) {
            bounds.evaluate(&perfect());
        }
    }
}
