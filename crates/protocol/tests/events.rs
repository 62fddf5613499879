//! The examples of `docs/events.md` are what the types say.

use std::collections::BTreeSet;

use agentbench_protocol::events::EventData;
use agentbench_protocol::outline;

const PAGE: &str = include_str!("../../../docs/events.md");

#[test]
fn the_examples_are_read_and_written_the_same() {
    let mut kinds = BTreeSet::new();
    for example in PAGE.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let value: serde_json::Value = serde_json::from_str(example).expect("an example is JSON");
        let data: EventData = serde_json::from_value(value.clone()).expect("an example is an event");
        assert!(!matches!(data, EventData::Other), "{example}");
        let written = serde_json::to_value(&data).expect("own types serialise");
        let names = |value: &serde_json::Value| {
            value.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>()
        };
        assert_eq!(names(&written), names(&value), "every field of the example is known");
        let progress = outline(example.trim()).expect("it is whole").progress;
        assert_eq!(progress.is_some(), value["eventType"] == "progress");
        kinds.insert(value["eventType"].to_string());
    }
    assert_eq!(kinds.len(), 9, "{kinds:?}");
}

#[test]
fn old_and_unknown_events_are_read() {
    for data in [
        r#"{"eventType":"automation_step","step":"open"}"#,
        r#"{"eventType":"evidence","image":"data:image/png;base64,AA==","more":[1]}"#,
        r#"{"eventType":"console_log"}"#,
    ] {
        let data: EventData = serde_json::from_str(data).expect("it is an event");
        assert!(!matches!(data, EventData::Other));
    }
    let unknown = r#"{"eventType":"dance","steps":3}"#;
    assert_eq!(serde_json::from_str::<EventData>(unknown).expect("it is an event"), EventData::Other);
}
