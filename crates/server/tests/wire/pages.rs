//! The dashboard's pages and the export that is one: with a small build of tests, and without any.

use agentbench_auth::Role;
use agentbench_pages::Pages;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::tokens::{claims, claims_for_project, evaluator, mint};
use crate::support::{TestServer, on_one_and_three_workers};

fn with_pages(workers: usize) -> TestServer {
    TestServer::with(workers, |config| config.pages = Pages::fixture())
}

fn pages_come_with_headers_that_bind_them(workers: usize) {
    let server = with_pages(workers);
    let index = server.ask("GET", "/").answer();
    assert!(index.status == 200 && index.body.contains("AgentBench fixture"), "{}", index.body);
    let script = server.ask("GET", "/assets/main-0a1b2c3d.js").answer();
    assert!(script.status == 200 && script.body.contains("line39"), "{}", script.body);
    let icon = server.ask("GET", "/favicon.svg").answer();
    for answer in [&index, &script, &icon] {
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src blob:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-opener-policy: same-origin",
            "etag: \"",
        ] {
            assert!(answer.head.contains(header), "{header}\n{}", answer.head);
        }
        assert!(!answer.head.contains("unsafe"), "{}", answer.head);
        assert_eq!(answer.head.matches("content-type:").count(), 1, "{}", answer.head);
    }
    assert!(index.head.contains("cache-control: no-cache"), "{}", index.head);
    assert!(index.head.contains("content-type: text/html; charset=utf-8"), "{}", index.head);
    assert!(script.head.contains("cache-control: public, max-age=31536000, immutable"), "{}", script.head);
    assert!(script.head.contains("content-type: text/javascript"), "{}", script.head);
    assert!(icon.head.contains("content-type: image/svg+xml"), "{}", icon.head);
    for nothing in ["/assets/other.js", "/assets/", "/assets/..%2findex.html", "/export.html", "/index.html"]
    {
        server.ask("GET", nothing).answer().refused(404, "not_found");
    }
    assert_eq!(server.ask("HEAD", "/").answer().status, 200);
    server.ask("POST", "/").answer().refused(405, "invalid_message");
    // The same address is still where WebSockets connect.
    server.prove_well();
}

fn what_a_browser_has_is_not_sent_again(workers: usize) {
    let server = with_pages(workers);
    let tag = |head: &str| {
        let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag");
        tag.trim().to_owned()
    };
    let path = "/assets/main-0a1b2c3d.js";
    let plain = server.ask("GET", path).answer();
    let small = server.ask("GET", path).header("Accept-Encoding", "br, gzip").answer();
    assert!(
        small.head.contains("content-encoding: gzip") && small.head.contains("vary: accept-encoding"),
        "{}",
        small.head
    );
    assert!(small.body.len() < plain.body.len() / 2);
    assert_ne!(tag(&plain.head), tag(&small.head));
    let again =
        server.ask("GET", path).header("If-None-Match", &format!("\"x\", {}", tag(&plain.head))).answer();
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let other = server.ask("GET", path).header("If-None-Match", &tag(&small.head)).answer();
    assert_eq!(other.status, 200, "the other form has another tag");
}

fn without_a_build_the_server_says_how_to_get_the_pages(workers: usize) {
    let server = TestServer::with(workers, |config| config.pages = Pages::none());
    let root = server.ask("GET", "/").answer();
    assert!(root.status == 200 && root.body.contains("cargo xtask dashboard"), "{}", root.body);
    assert!(root.head.contains("content-type: text/plain"), "{}", root.head);
    server.ask("GET", "/assets/main-0a1b2c3d.js").answer().refused(404, "not_found");
    let session = server.connect("ada").create("s");
    let ask = server.ask("GET", &format!("/api/v1/sessions/{session}/export?format=html"));
    let refused = ask.token(&evaluator("ada")).answer().refused(404, "not_found");
    assert!(
        refused["error"].as_str().is_some_and(|text| text.contains("cargo xtask dashboard")),
        "{refused}"
    );
}

/// The data in an exported page.
fn data_of(page: &str) -> Value {
    let opening = r#"<script type="application/json" id="agentbench-export">"#;
    let (before, rest) = page.split_once(opening).expect("the element");
    let (data, after) = rest.split_once("</script>").expect("its end");
    assert!(before.starts_with("<!doctype html>") && after.trim_end().ends_with("</html>"), "{after}");
    assert!(!data.contains(['<', '>', '&', '\u{2028}']), "{data}");
    serde_json::from_str(data).expect("the data is JSON")
}

fn an_export_is_one_page_with_everything_in_it(workers: usize) {
    let server = with_pages(workers);
    let mut ada = server.connect("ada");
    let session = ada.create("s");
    let hostile =
        json!({"eventType": "console_log", "message": "</script><script>alert(1)</script><!-- & \u{2028}"});
    ada.publish(&session, "hostile", &hostile);
    // Enough for several steps of the log and of the evidence.
    let long = "long & ".repeat(2_000);
    for n in 0..40 {
        ada.publish(&session, &format!("e{n}"), &json!({"eventType": "console_log", "message": long}));
    }
    let pictures = [vec![b'p'; 250_000], vec![b'q'; 1], Vec::new()];
    for bytes in &pictures {
        let hash = blake3::hash(bytes).to_hex().to_string();
        let path = format!("/api/v1/evidence/{hash}?sessionId={session}");
        let ask = server.ask("PUT", &path).token(&evaluator("ada")).header("Content-Type", "image/png");
        assert_eq!(ask.body(bytes.clone()).answer().status, 201);
    }
    let export = |token: &str, query: &str| {
        server.ask("GET", &format!("/api/v1/sessions/{session}/export{query}")).token(token).answer()
    };
    let page = export(&mint(&claims("vera", Role::Viewer)), "?format=html");
    assert_eq!(page.status, 200, "{}", page.body);
    let disposition = format!("content-disposition: attachment; filename=\"{session}.html\"");
    for header in [disposition.as_str(), "content-type: text/html", "content-security-policy: sandbox"] {
        assert!(page.head.contains(header), "{}", page.head);
    }
    let data = data_of(&page.body);
    assert_eq!((&data["version"], &data["session"]["sessionId"]), (&json!(1), &json!(session)));
    assert!(data["exportedAt"].as_u64().is_some_and(|at| at > 1_600_000_000_000));
    let events = data["events"].as_array().expect("events");
    let lines = export(&evaluator("ada"), "").lines();
    assert_eq!(*events, lines, "the same events as line by line");
    assert_eq!(export(&evaluator("ada"), "?format=jsonl").lines().len(), 42);
    assert_eq!(events[1]["data"], hostile);
    let evidence = data["evidence"].as_object().expect("evidence");
    assert_eq!(evidence.len(), 3);
    for bytes in &pictures {
        let piece = &evidence[blake3::hash(bytes).to_hex().as_str()];
        assert_eq!(piece["contentType"], "image/png");
        let text = piece["base64"].as_str().expect("text");
        assert_eq!(BASE64_STANDARD.decode(text).expect("Base64"), *bytes);
    }
    let foreign = mint(&claims_for_project("pia", Role::Evaluator, "p2"));
    export(&foreign, "?format=html").refused(404, "session_not_found");
    assert_eq!(export(&evaluator("ada"), "?format=pdf").refused(400, "invalid_message")["field"], "format");
}

fn an_export_says_which_evidence_is_damaged_and_has_the_rest(workers: usize) {
    let server = with_pages(workers);
    let session = server.connect("ada").create("s");
    let (good, bad) = (vec![b'g'; 600_001], vec![b'b'; 600_000]);
    for bytes in [&good, &bad] {
        let path = format!("/api/v1/evidence/{}?sessionId={session}", blake3::hash(bytes).to_hex());
        let ask = server.ask("PUT", &path).token(&evaluator("ada")).header("Content-Type", "image/png");
        assert_eq!(ask.body(bytes.clone()).answer().status, 201);
    }
    let bad_hash = blake3::hash(&bad).to_hex();
    let file = server.folder().join("evidence").join(&session).join(format!("{bad_hash}.png"));
    let mut changed = bad;
    changed[599_999] ^= 1;
    std::fs::write(file, changed).expect("it can be changed");
    let path = format!("/api/v1/sessions/{session}/export?format=html");
    let data = data_of(&server.ask("GET", &path).token(&evaluator("ada")).answer().body);
    assert_eq!(data["damaged"], json!([bad_hash.as_str()]));
    let evidence = data["evidence"].as_object().expect("evidence");
    assert_eq!(evidence.len(), 1);
    let text = evidence[blake3::hash(&good).to_hex().as_str()]["base64"].as_str().expect("text");
    assert_eq!(BASE64_STANDARD.decode(text).expect("base64"), good);
}

fn an_export_that_would_be_too_large_is_refused_at_once(workers: usize) {
    let server = TestServer::with(workers, |config| {
        config.pages = Pages::fixture();
        config.max_export_bytes = 65_536;
    });
    let mut ada = server.connect("ada");
    let (wordy, shown) = (ada.create("wordy"), ada.create("shown"));
    // Escaped it is six times as long.
    ada.publish(&wordy, "e", &json!({"eventType": "console_log", "message": "<".repeat(12_000)}));
    let picture = vec![b'p'; 60_000];
    let path = format!("/api/v1/evidence/{}?sessionId={shown}", blake3::hash(&picture).to_hex());
    let ask = server.ask("PUT", &path).token(&evaluator("ada")).header("Content-Type", "image/png");
    assert_eq!(ask.body(picture).answer().status, 201);
    for session in [&wordy, &shown] {
        let ask = server.ask("GET", &format!("/api/v1/sessions/{session}/export?format=html"));
        let refused = ask.token(&evaluator("ada")).answer().refused(413, "payload_too_large");
        assert!(refused["error"].as_str().is_some_and(|text| text.contains("MAX_EXPORT_BYTES")), "{refused}");
        let lines = server.ask("GET", &format!("/api/v1/sessions/{session}/export"));
        assert_eq!(lines.token(&evaluator("ada")).answer().status, 200);
    }
}

on_one_and_three_workers! {
    pages_come_with_headers_that_bind_them,
    what_a_browser_has_is_not_sent_again,
    without_a_build_the_server_says_how_to_get_the_pages,
    an_export_is_one_page_with_everything_in_it,
    an_export_says_which_evidence_is_damaged_and_has_the_rest,
    an_export_that_would_be_too_large_is_refused_at_once,
}
