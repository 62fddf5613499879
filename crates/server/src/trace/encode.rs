//! Encodes spans as OTLP/HTTP with JSON (opentelemetry-proto, `ExportTraceServiceRequest`; ids in hexadecimal, 64-bit numbers
//! as strings).

use serde_json::{Value, json};

use super::{Span, Stage};

/// `SpanKind` of the protocol: internal, producer, consumer.
const INTERNAL: u8 = 1;
const PRODUCER: u8 = 4;
const CONSUMER: u8 = 5;

/// The body of one request.
pub(crate) fn batch(node: &str, spans: &[Span]) -> Vec<u8> {
    let resource = [
        text("service.name", "agentbench"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", node),
    ];
    let body = json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{
            "scope": {"name": "agentbench-server", "version": env!("CARGO_PKG_VERSION")},
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }]});
    body.to_string().into_bytes()
}

fn span(span: &Span) -> Value {
    let (name, kind) = match span.stage {
        Stage::Publish => ("agentbench.publish", CONSUMER),
        Stage::Log => ("agentbench.log", INTERNAL),
        Stage::Delivery => ("agentbench.delivery", PRODUCER),
    };
    let mut attributes = vec![
        text("agentbench.session.id", &span.session.to_string()),
        number("agentbench.seq", span.seq),
        text("agentbench.event.id", &span.event),
    ];
    if let Some((worker, readers)) = span.delivery {
        attributes.push(number("agentbench.worker", worker as u64));
        attributes.push(number("agentbench.readers", readers as u64));
    }
    json!({
        "traceId": hex(&span.trace),
        "spanId": hex(&span.id),
        "parentSpanId": hex(&span.parent),
        "name": name,
        "kind": kind,
        "startTimeUnixNano": span.began.to_string(),
        "endTimeUnixNano": span.ended.max(span.began).to_string(),
        "attributes": attributes,
        // The caller's flags, passed on: sampled.
        "flags": 1,
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
