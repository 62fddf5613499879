//! What a machine tells, as the cases write it.

use agentbench_client::machine::Output;
use agentbench_client::{
    ConnectionEvent, Delivered, Disconnected, Ended, Error, GaveUp, Item, Outcome, Position,
};
use serde_json::{Value, json};

pub(super) fn told(told: Output<u64>) -> Value {
    match told {
        Output::Published { ticket, outcome } => with("published", json!(ticket), outcome_of(&outcome)),
        Output::Reply { key, reply: Ok(reply) } => json!({"reply": key, "data": *reply}),
        Output::Reply { key, reply: Err(error) } => {
            json!({"failed": key, "kind": kind(&error), "refusal": refusal(&error)})
        }
        Output::Item { follow, item } => with("follow", json!(follow.0), item_of(&item)),
        Output::FollowEnded { follow, why } => json!({"followEnded": follow.0, "kind": kind(&why)}),
        Output::ReplayFinished { replay } => json!({"replayFinished": replay.0}),
        Output::Connection(event) => connection(&event),
    }
}

fn with(name: &str, value: Value, mut rest: Value) -> Value {
    if let Some(fields) = rest.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
    rest
}

fn connection(event: &ConnectionEvent) -> Value {
    match event {
        ConnectionEvent::Connected { client_id, node, attempt } => {
            json!({"connection": "connected", "clientId": client_id, "node": node, "attempt": attempt})
        }
        ConnectionEvent::Disconnected(about) => with("connection", json!("disconnected"), ending(about)),
        ConnectionEvent::Reconnecting { after } => {
            json!({"connection": "reconnecting", "after": after.as_millis()})
        }
        ConnectionEvent::ServerError(refusal) => json!({"connection": "serverError", "refusal": refusal}),
        ConnectionEvent::Failed(ended) => json!({"connection": "ended", "ended": ended_of(ended)}),
        other => panic!("the runner does not know {other:?}"),
    }
}

fn ending(about: &Disconnected) -> Value {
    json!({"code": about.code, "detail": about.detail})
}

fn outcome_of(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Stored { seq, epoch, level, duplicate, warnings } => {
            let warnings = (!warnings.is_empty()).then_some(warnings);
            json!({
                "status": "stored", "seq": seq, "epoch": epoch, "level": level, "duplicate": duplicate,
                "warnings": warnings,
            })
        }
        Outcome::Refused(refusal) => json!({"status": "refused", "refusal": refusal}),
        Outcome::Unknown { why, sent } => json!({"status": "unknown", "why": gave_up(why), "sent": sent}),
    }
}

fn gave_up(why: &GaveUp) -> Value {
    match why {
        GaveUp::AckTimeout => json!({"kind": "ackTimeout"}),
        GaveUp::Retries(refusal) => json!({"kind": "retries", "refusal": refusal}),
        GaveUp::RefusedAgain(refusal) => json!({"kind": "refusedAgain", "refusal": refusal}),
        GaveUp::Breaks { detail } => json!({"kind": "breaks", "detail": detail}),
        GaveUp::Dropped => json!({"kind": "dropped"}),
        GaveUp::Left => json!({"kind": "left"}),
        GaveUp::Ended(ended) => json!({"kind": "ended", "ended": ended_of(ended)}),
    }
}

fn ended_of(ended: &Ended) -> Value {
    match ended {
        Ended::Closed => json!({"kind": "closed"}),
        Ended::Dismissed { code, detail } => json!({"kind": "dismissed", "code": code, "detail": detail}),
        Ended::Http { status, detail } => json!({"kind": "http", "status": status, "detail": detail}),
        Ended::Attempts { attempts, last } => json!({"kind": "attempts", "attempts": attempts, "last": last}),
        Ended::Token(detail) => json!({"kind": "token", "detail": detail}),
    }
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Refused(_) => "refused",
        Error::TimedOut(_) => "timedOut",
        Error::Ended(_) => "ended",
        Error::Connect(_) => "connect",
        Error::OutboxFull => "outboxFull",
        Error::AlreadyFollowing => "alreadyFollowing",
        Error::Invalid(_) => "invalid",
        Error::UnexpectedReply(_) => "unexpectedReply",
    }
}

fn refusal(error: &Error) -> Value {
    match error {
        Error::Refused(refusal) => json!(refusal),
        _ => Value::Null,
    }
}

fn entry(item: &str, entry: &Delivered) -> Value {
    let data: Value = entry.parse().unwrap();
    json!({"item": item, "sessionId": entry.session_id, "seq": entry.seq, "id": entry.id(), "data": data})
}

fn item_of(item: &Item) -> Value {
    match item {
        Item::Event(event) => entry("event", event),
        Item::Lifecycle(lifecycle) => {
            with("change", json!(lifecycle.message), entry("lifecycle", &lifecycle.entry))
        }
        Item::Late(late) => entry("late", late),
        Item::Gap(gap) => {
            json!({"item": "gap", "from": gap.from, "to": gap.to, "cause": gap.cause, "history": gap.history})
        }
        Item::Presence { joined, presence } => {
            json!({"item": "presence", "joined": joined, "presence": **presence})
        }
        Item::Disconnected(about) => with("item", json!("disconnected"), ending(about)),
        Item::Resumed(resumed) => {
            json!({"item": "resumed", "from": position(&resumed.from), "headSeq": resumed.head_seq})
        }
        Item::NotRecovered { reason, was, from } => {
            json!({"item": "notRecovered", "reason": reason, "was": position(was), "from": position(from)})
        }
        Item::Violation(violation) => {
            json!({"item": "violation", "expected": violation.expected, "got": violation.got})
        }
    }
}

fn position(position: &Position) -> Value {
    json!(position)
}
