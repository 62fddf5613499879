//! What a server reads in a client's text frame: envelopes, commands, the outline of an event's data.

use agentbench_protocol::envelope::read_frame;
use agentbench_protocol::event::{EventBody, write_event};
use agentbench_protocol::json::{Spelling, respell};
use agentbench_protocol::{Command, MessageType, outline};
use bytes::BytesMut;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::Seed;

const SESSION: &str = "00000000-0000-0000-0000-000000000007";

/// Any text as a frame of a client.
///
/// Holds if every envelope that is passed on has an object as `data`, its entry in a log is JSON with the same data, every spelling
/// of that data has the same content, and a command that is read is read again from what a client of ours would send.
pub fn client_frame(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut read = Vec::new();
    let frame = read_frame(text, |envelope| read.push(envelope));
    assert!(frame.is_ok() || read.is_empty(), "a refused frame has an effect");
    for envelope in read.into_iter().flatten() {
        let value = serde_json::from_str::<Value>(envelope.data);
        assert!(value.as_ref().map_or(true, Value::is_object), "data is no object: {}", envelope.data);
        // A lone surrogate or a number beyond floats is stored as it came, and has no value here.
        if let Ok(value) = value {
            check_spellings(envelope.data, &value);
            check_entry(&envelope.id, envelope.timestamp, envelope.data, envelope.metadata.raw, &value);
        }
        match envelope.kind {
            MessageType::ControlCommand => check_command(envelope.data, envelope.session_id.as_deref()),
            _ => drop(outline(envelope.data)),
        }
    }
}

fn check_spellings(data: &str, value: &Value) {
    for spelling in Spelling::USUAL {
        let mut spelled = String::new();
        respell(data, spelling, &mut spelled);
        assert_eq!(&serde_json::from_str::<Value>(&spelled).expect("it is JSON still"), value, "{spelled}");
        let mut twice = String::new();
        respell(&spelled, spelling, &mut twice);
        assert_eq!(twice, spelled, "spelled the same again");
    }
}

fn check_entry(id: &str, timestamp: &str, data: &str, metadata: Option<&str>, value: &Value) {
    let mut entry = BytesMut::new();
    let body = EventBody { id, timestamp, data, metadata, sender: r#"{"userId":"u"}"# };
    write_event(&mut entry, SESSION, 7, 1, &body);
    assert!(serde_json::from_slice::<IgnoredAny>(&entry).is_ok(), "the entry is no JSON");
    if let Ok(read) = serde_json::from_slice::<Value>(&entry) {
        assert_eq!(&read["data"], value, "the entry has other data");
        assert_eq!((read["id"].as_str(), read["seq"].as_u64()), (Some(id), Some(7)));
    }
}

fn check_command(data: &str, session: Option<&str>) {
    let Ok(command) = Command::parse(data, session) else { return };
    // As values: a client of ours sends a key once.
    let sent = command.to_data();
    let again = Command::parse(&sent.to_string(), None).map(|command| command.to_data());
    assert_eq!(again.as_ref(), Ok(&sent), "sent and read again");
}

/// Frames with every command, events with metadata, and an array.
pub(crate) fn seeds() -> Vec<Seed> {
    let message = |kind: &str, data: &str| {
        format!(
            r#"{{"id":"m-1","type":"{kind}","timestamp":1760000000000,"sessionId":"{SESSION}","data":{data}}}"#
        )
    };
    let command = |name: &str, rest: &str| {
        let data = format!(r#"{{"command":"{name}","sessionId":"{SESSION}"{rest}}}"#);
        (name.to_owned(), message("control_command", &data))
    };
    let event = message(
        "test_event",
        r#"{"eventType":"progress","percent":50.5,"text":"\u00e9 \"q\"","list":[1,-2.5e3,null,true]},"metadata":{"priority":"high","requiresAck":true,"retryCount":1,"ttl":5000,"checksum":"crc32c:0000abcd","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#,
    );
    let list = format!("[{event}, {}, 7]", message("heartbeat", "{}"));
    let texts = [
        ("event".to_owned(), event),
        ("array".to_owned(), list),
        command(
            "create_session",
            r#","projectId":"p","testId":"t","agentName":"a","metadata":{"k":[1]},"follow":true"#,
        ),
        command("join_session", r#","follow":true,"from":"start""#),
        command("subscribe_session", r#","from":{"epoch":"0000000000000007","seq":5,"lastId":"e5"}"#),
        command("leave_session", ""),
        command("start_test", ""),
        command("stop_test", r#","outcome":"error","reason":"r""#),
        command("get_session_list", r#","status":"running","limit":5"#),
        command("get_history", r#","fromSeq":1,"limit":10"#),
        command("replay_session", r#","fromSeq":1,"speed":2.5"#),
        command("stop_replay", r#","originalMessageId":"m""#),
        command("refresh_token", r#","token":"t""#),
    ];
    super::named(texts.into_iter().map(|(name, text)| (name, text.into_bytes())))
}
