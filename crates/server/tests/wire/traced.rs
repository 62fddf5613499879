//! Traces: a test collector receives the spans of events that carry a `traceparent`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::support::{TestServer, on_one_and_three_workers, wait_until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Takes whatever is posted, and keeps it. The first answers may be refusals.
struct Collector {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Collector {
    fn start(refusals: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for (number, socket) in listener.incoming().enumerate() {
                let Ok(mut socket) = socket else { return };
                let mut reader = BufReader::new(socket.try_clone().expect("a socket"));
                let (mut first, mut length) = (String::new(), 0);
                reader.read_line(&mut first).expect("a request");
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).expect("a header");
                    let line = line.trim().to_ascii_lowercase();
                    if let Some(value) = line.strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a length");
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("a body");
                let status = if number < refusals { "503 Later" } else { "200 OK" };
                if number >= refusals {
                    let body = serde_json::from_slice(&body).expect("JSON");
                    kept.lock().expect("nobody panicked").push((first.trim().to_owned(), body));
                }
                write!(socket, "HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}")
                    .expect("it reads");
            }
        });
        Self { address, requests }
    }

    fn spans(&self) -> Vec<Value> {
        let requests = self.requests.lock().expect("nobody panicked");
        let scopes = requests.iter().flat_map(|(_, body)| body["resourceSpans"].as_array().expect("a list"));
        let spans = scopes.flat_map(|resource| resource["scopeSpans"][0]["spans"].as_array().expect("spans"));
        spans.cloned().collect()
    }
}

fn named<'a>(spans: &'a [Value], name: &str) -> Vec<&'a Value> {
    spans.iter().filter(|span| span["name"] == name).collect()
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().expect("attributes");
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    &found.unwrap_or_else(|| panic!("no {key} in {span}"))["value"]
}

fn event(session: &str, id: &str, flags: &str) -> Value {
    json!({"id": id, "type": "test_event", "timestamp": 1, "sessionId": session, "data": {"hush": "a-payload"},
        "metadata": {"requiresAck": true, "traceparent": format!("00-{TRACE}-{CALLER}-{flags}")}})
}

fn an_event_is_traced_from_publish_to_delivery(workers: usize) {
    // The collector is not ready at once.
    let collector = Collector::start(1);
    let endpoint = format!("http://{}", collector.address);
    let server =
        TestServer::with(workers, move |config| config.operations.otlp_endpoint = Some(endpoint.clone()));
    let mut ada = server.connect("ada");
    let session = ada.create_following("s");
    let mut bob = server.connect("bob");
    bob.join(&session, &json!("live"));
    ada.publish(&session, "untraced", &json!({"n": 1}));
    ada.send(&event(&session, "unsampled", "00"));
    ada.send(&event(&session, "traced", "01"));
    ada.events_to(4);
    bob.events_to(4);
    wait_until("the spans arrive", || {
        let spans = collector.spans();
        let readers =
            |span: &&Value| attribute(span, "agentbench.readers")["intValue"].as_str().map(str::to_owned);
        let deliveries = named(&spans, "agentbench.delivery");
        let readers = deliveries.iter().filter_map(readers).filter_map(|count| count.parse::<u64>().ok());
        readers.sum::<u64>() >= 2 && !named(&spans, "agentbench.log").is_empty()
    });
    let spans = collector.spans();
    let publish = named(&spans, "agentbench.publish");
    assert_eq!(publish.len(), 1, "{spans:?}");
    assert_eq!((&publish[0]["parentSpanId"], &publish[0]["kind"]), (&json!(CALLER), &json!(5)));
    let below = [named(&spans, "agentbench.log"), named(&spans, "agentbench.delivery")].concat();
    assert!(below.iter().all(|span| span["parentSpanId"] == publish[0]["spanId"]), "{spans:?}");
    let mut names = std::collections::BTreeSet::new();
    for span in &spans {
        assert_eq!(span["traceId"], TRACE);
        assert!(names.insert(span["spanId"].as_str().expect("a name").to_owned()), "a name is used twice");
        assert_eq!(attribute(span, "agentbench.session.id")["stringValue"], session.as_str());
        assert_eq!(attribute(span, "agentbench.seq")["intValue"], "4");
        assert_eq!(attribute(span, "agentbench.event.id")["stringValue"], "traced");
        let time = |key: &str| span[key].as_str().expect("a text").parse::<u64>().expect("ns");
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano") && time("startTimeUnixNano") > 0);
    }
    let requests = collector.requests.lock().expect("nobody panicked");
    for (first, body) in &*requests {
        assert_eq!(first, "POST /v1/traces HTTP/1.1");
        assert!(!body.to_string().contains("a-payload"), "{body}");
        let resource = body["resourceSpans"][0]["resource"]["attributes"].to_string();
        assert!(resource.contains("service.name") && resource.contains("agentbench"), "{resource}");
    }
}

on_one_and_three_workers!(an_event_is_traced_from_publish_to_delivery);

#[test]
fn a_stop_sends_what_is_left_and_a_collector_that_is_down_costs_nothing_else() {
    let collector = Collector::start(0);
    let endpoint = format!("http://{}", collector.address);
    let mut server =
        TestServer::with(1, move |config| config.operations.otlp_endpoint = Some(endpoint.clone()));
    let mut client = server.connect("ada");
    let session = client.create_following("s");
    client.send(&event(&session, "last", "01"));
    client.events_to(2);
    server.stop();
    assert_eq!(named(&collector.spans(), "agentbench.publish").len(), 1);

    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it is bound");
    let endpoint = format!("http://{free}");
    let server = TestServer::with(1, move |config| config.operations.otlp_endpoint = Some(endpoint.clone()));
    let mut client = server.connect("ada");
    let session = client.create_following("s");
    for n in 0..50 {
        client.send(&event(&session, &format!("e{n}"), "01"));
    }
    client.events_to(51);
    server.prove_well();
}

#[test]
fn a_collector_that_never_answers_does_not_hold_up_the_end() {
    // Connections are accepted by the kernel, and nobody reads them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("it is bound"));
    let mut server =
        TestServer::with(1, move |config| config.operations.otlp_endpoint = Some(endpoint.clone()));
    let mut client = server.connect("ada");
    let session = client.create_following("s");
    for n in 0..6_000 {
        client.send(&event(&session, &format!("e{n}"), "01"));
        if n % 500 == 0 {
            client.settle(&session);
        }
    }
    client.events_to(6_001);
    let began = std::time::Instant::now();
    server.stop();
    assert!(began.elapsed() < std::time::Duration::from_secs(60), "the end waited for the collector");
}
