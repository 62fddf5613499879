//! Metrics: they match what happened, in each form of `/metrics` and in the administrators' JSON.

use std::collections::BTreeSet;

use agentbench_auth::Role;
use serde_json::{Value, json};

use crate::support::http::Ask;
use crate::support::tokens::{claims, evaluator, mint};
use crate::support::{TestServer, expect_code, expect_kind, numbered, on_one_and_three_workers, wait_until};

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,text/plain;q=0.5";

fn admin() -> String {
    mint(&claims("root", Role::Admin))
}

fn stats(server: &TestServer) -> Value {
    server.ask("GET", "/api/v1/stats").token(&admin()).answer().value()
}

fn ask_metrics(server: &TestServer, accept: &str) -> Ask {
    server.ask("GET", "/metrics").header("Accept", accept)
}

fn what_happened_is_measured(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut publisher = server.connect("ada");
    let session = publisher.create("s");
    let mut readers: Vec<_> = (0..3).map(|_| server.connect("bob")).collect();
    for reader in &mut readers {
        reader.join(&session, &json!("live"));
    }
    publisher.publish_numbers(&session, 1..=20);
    for reader in &mut readers {
        reader.events_to(21);
    }
    // The creation and twenty events are logged; the events are delivered three times over.
    server.wait_for_metric("agentbench_publish_seconds_count", 21);
    server.wait_for_metric("agentbench_delivery_seconds_count", 60);
    server.wait_for_metric("agentbench_connect_seconds_count", 4);
    assert_eq!(server.metric("agentbench_delivery_seconds_bucket{le=\"+Inf\"}"), 60);
    assert_eq!(server.metric("agentbench_log_commit_events_sum"), 21);
    let commits = server.metric("agentbench_log_commit_seconds_count");
    assert!(commits > 0 && server.metric("agentbench_log_commit_size_bytes_count") == commits);
    // Each worker tells how many followers of its own a frame has: all workers together have three.
    let frames = server.metric("agentbench_log_commit_seconds_count") - 1;
    assert_eq!(server.metric("agentbench_fan_out_width_sum"), 3 * frames);
    // Whoever reads what is past is not late.
    let mut late = server.connect("cyd");
    late.join(&session, &json!("start"));
    late.events_to(21);
    assert_eq!(server.metric("agentbench_delivery_seconds_count"), 60);
    assert_eq!(server.metric("agentbench_connections_by_kind{kind=\"websocket\"}"), 5);
    wait_until("the sessions are counted", || server.metric("agentbench_sessions{state=\"idle\"}") == 1);
}

on_one_and_three_workers!(what_happened_is_measured, the_object_holds_what_it_promises);

#[test]
fn every_form_of_metrics_is_served() {
    let server = TestServer::with_workers(1);
    server.prove_well();
    let text = server.get("/metrics");
    assert!(text.head.contains("text/plain; version=0.0.4"), "{}", text.head);
    assert!(text.body.contains("# TYPE agentbench_events_received_total counter"));
    let open = ask_metrics(&server, OPEN_METRICS).answer();
    assert!(open.head.contains("application/openmetrics-text; version=1.0.0"), "{}", open.head);
    assert!(
        open.body.contains("# TYPE agentbench_events_received counter") && open.body.ends_with("# EOF\n")
    );
    let binary = ask_metrics(&server, PROTOBUF).answer();
    assert!(binary.head.contains("application/vnd.google.protobuf; proto="), "{}", binary.head);
    assert!(binary.body.contains("agentbench_publish_seconds") && !binary.body.contains("# TYPE"));
    for answer in [&text, &open] {
        for line in answer.body.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) =
                line.split_once(" # ").unwrap_or((line, "")).0.rsplit_once(' ').expect("name and value");
            assert!(name.starts_with("agentbench_") && value.parse::<f64>().is_ok(), "{line}");
        }
    }
}

#[test]
fn exemplars_are_kept_if_asked_for() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for kept in [false, true] {
        let server = TestServer::with(1, move |config| config.watch.exemplars = kept);
        let mut client = server.connect("ada");
        let session = client.create("s");
        let mut traced = numbered(&session, 1);
        traced["metadata"]["traceparent"] = json!(format!("00-{trace}-00f067aa0ba902b7-01"));
        client.send(&traced);
        client.reply_to("e1");
        let open = ask_metrics(&server, OPEN_METRICS).answer().body;
        assert_eq!(open.contains(&format!("# {{trace_id=\"{trace}\"}}")), kept, "{open}");
        assert!(!server.get("/metrics").body.contains(trace));
    }
}

fn the_object_holds_what_it_promises(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create_following("s");
    client.command(&json!({"command": "start_test", "sessionId": session}));
    client.publish_numbers(&session, 1..=10);
    client.events_to(12);
    // The first events may come to a new follower as catching up, which is no delivery.
    let mut next = 11;
    wait_until("a delivery is counted", || {
        client.publish_numbers(&session, next..=next);
        next += 1;
        stats(&server)["delivered"]["count"].as_u64() > Some(0)
    });
    wait_until("the sessions are counted, and nobody is behind", || {
        let stats = stats(&server);
        stats["sessionsByState"]["running"] == 1 && stats["slowestReaders"] == json!([])
    });
    let stats = stats(&server);
    for field in ["p50Ms", "p99Ms"] {
        assert!(stats["published"][field].as_f64() > Some(0.0), "{stats}");
        assert!(stats["delivered"][field].as_f64() > Some(0.0), "{stats}");
    }
    assert!(stats["averageLatency"].as_f64() > Some(0.0) && stats["commitLatency"].as_f64() > Some(0.0));
    assert_eq!(stats["connectionsByKind"], json!({"websocket": 1, "stream": 0}));
    assert!(stats["fileDescriptors"]["limit"].as_u64() >= stats["fileDescriptors"]["used"].as_u64());
    assert!(stats["disk"]["freeBytes"].as_u64() > Some(0) && stats["disk"]["usedBytes"].is_u64(), "{stats}");
    let backlog = json!({"name": "commit_backlog", "depth": 0, "bound": 64 << 20});
    assert!(stats["queues"].as_array().expect("queues").contains(&backlog), "{stats}");
    assert_eq!((&stats["slowestReaders"], &stats["alerts"]), (&json!([]), &json!([])));
    assert!(stats["cpu"].is_number() && stats["uptimeMs"].is_u64() && stats["version"].is_string());
    assert_eq!((&stats["stalledSessions"], &stats["node"]), (&json!(0), &json!("embedded")));

    // The same over the socket, for the same permission.
    let mut root = server.opening(&admin()).connect();
    let told = root.command(&json!({"command": "get_stats"}));
    expect_kind(&told, "stats");
    let names = |object: &Value| -> BTreeSet<String> {
        object.as_object().expect("an object").keys().cloned().collect()
    };
    assert_eq!(names(&told["data"]["stats"]), names(&stats));
    expect_code(&client.command(&json!({"command": "get_stats"})), "forbidden");
}

#[test]
fn a_silent_session_is_said_to_be_stalled() {
    let server =
        TestServer::with(1, |config| config.watch.stall_after = std::time::Duration::from_millis(200));
    let mut client = server.connect("ada");
    let session = client.create("s");
    let fresh = client.info(&session);
    assert!(fresh.get("lastEventAt").is_none() && fresh.get("stalled").is_none(), "{fresh}");
    client.command(&json!({"command": "start_test", "sessionId": session}));
    let sent = client.publish(&session, "e1", &json!({"eventType": "progress"}));
    client.publish(&session, "e2", &json!({"eventType": "progress"}));
    let told = client.info(&session);
    assert!(told["lastEventAt"].as_u64() >= sent["timestamp"].as_u64().map(|at| at - 1_000), "{told}");
    assert!(told["paceMs"].is_u64(), "{told}");
    wait_until("it is stalled", || {
        let page = server.ask("GET", "/api/v1/sessions").token(&evaluator("ada")).answer().value();
        page["sessions"][0]["stalled"] == true
    });
    wait_until("it is counted", || server.metric("agentbench_sessions_stalled") == 1);
    client.command(&json!({"command": "pause_test", "sessionId": session}));
    wait_until("it is held, not stalled", || server.metric("agentbench_sessions_stalled") == 0);
    assert!(client.info(&session).get("stalled").is_none());
}

#[test]
fn the_slowest_readers_are_named() {
    let server = TestServer::with(1, |config| config.send_buffer = 16 * 1024);
    let mut publisher = server.connect("ada");
    let session = publisher.create("s");
    let mut reader = server.opening(&evaluator("sloth")).receive_buffer(8 * 1024).connect();
    reader.join(&session, &json!("live"));
    let text = "x".repeat(20_000);
    for n in 0..100 {
        publisher.publish(&session, &format!("e{n}"), &json!({"text": text}));
    }
    let name = reader.client_id().to_owned();
    let line = format!("agentbench_slow_reader_behind{{client=\"{name}\",session=\"{session}\"}}");
    wait_until("it is named", || server.metric(&line) > 0);
    let slowest = &stats(&server)["slowestReaders"][0];
    assert_eq!((&slowest["clientId"], &slowest["userId"]), (&json!(name), &json!("sloth")));
    assert!(slowest["behind"].as_u64() > Some(0), "{slowest}");
    reader.events_to(101);
    wait_until("it has caught up", || !server.get("/metrics").body.contains(&name));
}

/// Names of figures in a text: words that begin like ours, without what histograms and counters add.
fn names_in(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let plain = |name: &str| {
        let name =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        name.to_owned()
    };
    // A crate's name in an example of LOG_LEVEL is no figure's.
    let is_figure = |word: &&str| word.starts_with("agentbench_") && *word != "agentbench_server";
    text.split(word).filter(is_figure).map(plain).collect()
}

/// What `/metrics` has, and what it has only with TLS and an issuer.
fn existing() -> BTreeSet<String> {
    let server = TestServer::with_workers(1);
    server.bare_opening().open().map_or_else(drop, drop);
    let page = server.get("/metrics").body;
    let declared = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let mut names: BTreeSet<String> = declared.map(str::to_owned).collect();
    names.extend(
        ["certificate_expiry_timestamp_seconds", "issuer_keys_age_seconds"]
            .map(|it| format!("agentbench_{it}")),
    );
    names
}

fn document(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn documents_name_figures_that_exist_and_the_guide_names_all() {
    let existing = existing();
    for path in ["deploy/grafana.json", "deploy/prometheus-rules.yml", "operating.md", "troubleshooting.md"] {
        let unknown: Vec<_> =
            names_in(&document(path)).into_iter().filter(|name| !existing.contains(name)).collect();
        assert_eq!(unknown, Vec::<String>::new(), "{path}");
    }
    let guide = names_in(&document("operating.md"));
    let untold: Vec<_> = existing.iter().filter(|name| !guide.contains(*name)).collect();
    assert!(untold.is_empty(), "docs/operating.md does not name {untold:?}");
    let dashboard: Value = serde_json::from_str(&document("deploy/grafana.json")).expect("JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 10));
}
