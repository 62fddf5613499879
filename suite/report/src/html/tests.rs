//! The page is well-formed, says everything in words, runs nothing, and takes any text for text.

use serde_json::Value;

use super::*;
use crate::baseline::compare;
use crate::sample::{perfect, sample};

const HOSTILE: &str =
    "</title></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u{0}\u{202e}";

/// Every text of a report replaced by a hostile one, where the schema takes any text.
fn hostile() -> Report {
    let mut value = serde_json::to_value(sample()).unwrap();
    let mut paths = Vec::new();
    collect(&value, &mut String::new(), &mut paths);
    let mut replaced = 0;
    for path in paths {
        let before = value.pointer_mut(&path).unwrap().take();
        *value.pointer_mut(&path).unwrap() = Value::from(HOSTILE);
        if serde_json::from_value::<Report>(value.clone()).is_err() {
            *value.pointer_mut(&path).unwrap() = before;
        } else {
            replaced += 1;
        }
    }
    assert!(replaced > 50, "{replaced}");
    serde_json::from_value(value).unwrap()
}

fn collect(value: &Value, path: &mut String, paths: &mut Vec<String>) {
    let mut inside = |key: String, value: &Value, path: &mut String| {
        let length = path.len();
        path.push('/');
        path.push_str(&key);
        collect(value, path, paths);
        path.truncate(length);
    };
    match value {
        // A few of a long list stand for all.
        Value::Array(values) => {
            values.iter().take(8).enumerate().for_each(|(n, value)| inside(n.to_string(), value, path));
        }
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| *key != "samples")
            .for_each(|(key, value)| inside(key.clone(), value, path)),
        Value::String(_) => paths.push(path.clone()),
        _ => {}
    }
}

/// The page as XML: HTML's own void elements are closed first.
fn parsed(page: &str, check: impl FnOnce(&roxmltree::Document<'_>)) {
    let text: String = page
        .lines()
        .filter(|line| !line.starts_with("<!doctype"))
        .map(|line| {
            if line.starts_with("<meta") {
                format!("{}/>", line.trim_end_matches('>'))
            } else {
                line.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join("\n");
    let text = text.replace("<details open>", "<details open=\"\">");
    check(&roxmltree::Document::parse(&text).unwrap());
}

#[test]
fn hostile_texts_stay_texts() {
    let mut report = hostile();
    report.scenarios[4].connection.as_mut().unwrap().cuts.insert(HOSTILE.to_owned(), 1);
    let recovery = report.scenarios[4].figures.connect;
    report.scenarios[4].connection.as_mut().unwrap().recovery.insert(HOSTILE.to_owned(), recovery);
    let comparison = compare(std::slice::from_ref(&report), std::slice::from_ref(&report));
    let page = render(&report, Some(&comparison));
    assert!(
        !page.contains("<script")
            && !page.contains("<img")
            && !page.contains('\u{0}')
            && !page.contains('\u{202e}')
    );
    assert_eq!(page.matches("</style>").count(), 1);
    parsed(&page, |page| {
        let allowed = |name: &str| !["script", "img", "iframe", "object", "link"].contains(&name);
        assert!(
            page.descendants().filter(|node| node.is_element()).all(|node| allowed(node.tag_name().name()))
        );
        let handlers = page
            .descendants()
            .flat_map(|node| node.attributes())
            .filter(|attribute| attribute.name().starts_with("on"));
        assert_eq!(handlers.count(), 0);
    });
}

#[test]
fn nothing_is_fetched_and_no_script_runs() {
    let page = render(&sample(), None);
    for part in ["http://", "https://", "url(", "@import", "<script", "src="] {
        assert!(!page.contains(part), "{part}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn the_page_is_well_formed_and_says_in_words_what_it_draws() {
    parsed(&render(&sample(), None), |page| {
        let all = |name: &'static str| page.descendants().filter(move |node| node.tag_name().name() == name);
        for plot in all("svg").filter(|svg| svg.attribute("role") == Some("img")) {
            let children: Vec<&str> = plot.children().map(|child| child.tag_name().name()).collect();
            assert_eq!(children[..2], ["title", "desc"]);
        }
        assert!(all("figure").count() > 20);
        assert_eq!(all("table").count(), all("caption").count());
        assert_eq!((all("main").count(), all("h1").count(), all("header").count()), (1, 1, 1));
        let ids: Vec<&str> = page.descendants().filter_map(|node| node.attribute("id")).collect();
        let unique: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(unique.len(), ids.len(), "an id is used twice");
        for link in all("a").filter_map(|link| link.attribute("href")) {
            assert!(unique.contains(link.trim_start_matches('#')), "{link} leads nowhere");
        }
        for named in page.descendants().filter_map(|node| node.attribute("aria-labelledby")) {
            assert!(named.split(' ').all(|id| unique.contains(id)), "{named}");
        }
    });
}

#[test]
fn reasons_stand_in_a_row_as_wide_as_the_table() {
    let report = sample();
    parsed(&render(&report, None), |page| {
        let all = |name: &'static str| page.descendants().filter(move |node| node.tag_name().name() == name);
        let table = all("table").find(|table| table.attribute("class") == Some("overview")).unwrap();
        let columns = table.descendants().filter(|node| node.attribute("scope") == Some("col")).count();
        let rows: Vec<_> = all("tr").filter(|row| row.attribute("class") == Some("why")).collect();
        let reasoned = report.scenarios.iter().filter(|one| !one.reasons.is_empty() || one.invalid.is_some());
        assert!(!rows.is_empty());
        assert_eq!(rows.len(), reasoned.count());
        for row in rows {
            let cell = row.first_element_child().unwrap();
            assert_eq!(cell.attribute("colspan"), Some(columns.to_string().as_str()));
        }
    });
}

#[test]
fn the_page_has_every_scenario_the_score_and_the_seed() {
    let report = sample();
    let page = render(&report, None);
    for result in &report.scenarios {
        assert!(page.contains(&markup(&result.scenario.name)) && page.contains(&markup(&result.replay)));
    }
    for part in [
        "3371083403",
        "of 100",
        "Search for the limit",
        "server_killed",
        "acked but lost",
        "Interrupted",
        "✓ passed, △ speed invalid",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn an_empty_report_and_a_scenario_without_any_figure_are_pages_too() {
    let mut report = perfect();
    report.scenarios.truncate(1);
    report.scenarios[0].figures = Default::default();
    report.scenarios[0].samples.clear();
    parsed(&render(&report, None), |_| {});
    report.scenarios.clear();
    parsed(&render(&report, None), |page| {
        assert!(page.descendants().any(|node| node.text().is_some_and(|text| text.contains("no scenario"))));
    });
}
