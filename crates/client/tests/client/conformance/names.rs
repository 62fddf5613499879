//! The cases' names. In them a session is `S` and an epoch is `E` or `D`; on this client's wire they have the form that the
//! server gives them. And what the cases leave out of the server's messages, since no client decides by it.

use agentbench_client::{Epoch, SessionId};
use serde_json::{Map, Value, json};

/// Names in the cases, and what they stand for.
fn pairs() -> [(&'static str, String); 3] {
    [
        ("S", SessionId::from_u128(0x5e55_1041).to_string()),
        ("E", Epoch::from_u64(0xe).to_string()),
        ("D", Epoch::from_u64(0xd).to_string()),
    ]
}

/// From the cases to the wire.
pub(super) fn onto_wire(value: &Value) -> Value {
    swap(value, &|text| pairs().into_iter().find(|(name, _)| *name == text).map(|(_, real)| real))
}

/// From the wire to the cases.
pub(super) fn from_wire(value: &Value) -> Value {
    swap(value, &|text| pairs().into_iter().find(|(_, real)| real == text).map(|(name, _)| name.to_owned()))
}

fn swap(value: &Value, other: &impl Fn(&str) -> Option<String>) -> Value {
    match value {
        Value::String(text) => Value::String(other(text).unwrap_or_else(|| text.clone())),
        Value::Array(all) => all.iter().map(|one| swap(one, other)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, one)| (name.clone(), swap(one, other))).collect())
        }
        rest => rest.clone(),
    }
}

/// Adds what the schema wants and the case leaves out. Every message of the server is complete in fact.
pub(super) fn complete(data: &mut Map<String, Value>) {
    let session = json!({"sessionId": "S", "projectId": "p", "testId": "t", "agentName": "a", "status": "idle",
        "epoch": "E", "headSeq": 0, "createdBy": "u", "createdAt": 1});
    let user =
        json!({"clientId": "c9", "userId": "u9", "username": "Zoe", "role": "viewer", "following": true});
    let kind = data.get("type").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "session_created" | "session_joined" | "session_info" => {
            let mut whole = session;
            if let (Some(whole), Some(Value::Object(given))) = (whole.as_object_mut(), data.remove("session"))
            {
                whole.extend(given);
            }
            if kind_is_created(data) {
                data.entry("sessionId").or_insert_with(|| "S".into());
                data.entry("epoch").or_insert_with(|| "E".into());
            }
            data.insert("session".into(), whole);
        }
        "user_joined" | "user_left" => {
            data.entry("user").or_insert(user);
        }
        _ => {}
    }
}

fn kind_is_created(data: &Map<String, Value>) -> bool {
    data.get("type").is_some_and(|kind| kind == "session_created")
}
