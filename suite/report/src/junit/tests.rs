//! The file has the shape that Surefire's schema describes, whatever the names are.

use roxmltree::{Document, Node};

use super::*;
use crate::fail_on;
use crate::sample::{perfect, sample};

/// What Surefire and Jenkins ask for: which elements stand in which, which attributes they must have, and counts
/// that are right.
fn check(xml: &str) {
    let document = Document::parse(xml).unwrap();
    let root = document.root_element();
    assert_eq!(root.tag_name().name(), "testsuites");
    for suite in elements(root) {
        assert_eq!(suite.tag_name().name(), "testsuite");
        let cases: Vec<Node<'_, '_>> =
            elements(suite).filter(|node| node.tag_name().name() == "testcase").collect();
        let with = |name: &str| {
            cases.iter().filter(|case| elements(**case).any(|node| node.tag_name().name() == name)).count()
        };
        let count = |name: &str| suite.attribute(name).unwrap().parse::<usize>().unwrap();
        assert_eq!(
            (count("tests"), count("failures"), count("skipped")),
            (cases.len(), with("failure"), with("skipped"))
        );
        assert!(suite.attribute("name").is_some() && suite.attribute("time").unwrap().parse::<f64>().is_ok());
        for case in cases {
            assert!(case.attribute("classname").is_some() && !case.attribute("name").unwrap().is_empty());
            assert!(case.attribute("time").unwrap().parse::<f64>().is_ok());
            for node in elements(case) {
                assert!(["properties", "failure", "skipped", "system-out"].contains(&node.tag_name().name()));
            }
        }
    }
    let sum = |name: &str| {
        elements(root).map(|suite| suite.attribute(name).unwrap().parse::<usize>().unwrap()).sum::<usize>()
    };
    for name in ["tests", "failures", "skipped"] {
        assert_eq!(root.attribute(name).unwrap().parse::<usize>().unwrap(), sum(name), "{name}");
    }
}

fn elements<'a, 'b>(node: Node<'a, 'b>) -> impl Iterator<Item = Node<'a, 'b>> {
    node.children().filter(|child| child.is_element())
}

#[test]
fn a_failed_interrupted_run_has_failures_and_skipped_cases() {
    let planned = [
        (Category::Reliability, "Extreme Conditions Test".to_owned()),
        (Category::Performance, "Stress Test".to_owned()),
    ];
    let breaches = fail_on::parse("p99_ms>1,score<99").unwrap().evaluate(&sample());
    let xml = render(&sample(), &planned, &breaches);
    check(&xml);
    assert!(xml.contains("<skipped message=\"stopped by Ctrl-C"));
    assert!(xml.contains("type=\"promise\" message=\"2 × acked but lost"));
    assert!(xml.contains("client client-07 at 8.731 s"));
    assert!(xml.contains("name=\"replay\" value=\"agentbench suite"));
    assert!(xml.contains("name=\"score\""));
}

#[test]
fn a_good_run_has_no_failure() {
    let xml = render(&perfect(), &[], &[]);
    check(&xml);
    assert!(!xml.contains("<failure") && !xml.contains("<skipped"));
}

#[test]
fn hostile_names_and_control_characters_are_escaped() {
    let mut report = sample();
    for result in &mut report.scenarios {
        result.scenario.name = "a\"/><x y='\u{1b}[31m]]>&\u{ffff}".to_owned();
        result.reasons = vec!["</failure>\u{0}".to_owned()];
        result.status = Status::Failed;
    }
    check(&render(&report, &[(Category::Connection, "<b>".to_owned())], &[]));
}
