//! Evidence over the wire: storage and downloads, interrupted and resumed uploads, and refusals.

use std::io::Write;

use agentbench_auth::{Claims, Role};
use serde_json::json;

use crate::support::http::Ask;
use crate::support::tokens::{claims, claims_for_project, evaluator, mint};
use crate::support::{TestServer, on_one_and_three_workers, wait_until};

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn path(session: &str, hash: &str) -> String {
    format!("/api/v1/evidence/{hash}?sessionId={session}")
}

fn put(server: &TestServer, session: &str, bytes: &[u8]) -> Ask {
    put_as(server, session, &hash(bytes), "image/png").body(bytes)
}

fn put_as(server: &TestServer, session: &str, hash: &str, kind: &str) -> Ask {
    let ask = server.ask("PUT", &path(session, hash)).token(&evaluator("ada"));
    if kind.is_empty() { ask } else { ask.header("Content-Type", kind) }
}

fn get(server: &TestServer, session: &str, bytes: &[u8]) -> Ask {
    server.ask("GET", &path(session, &hash(bytes))).token(&mint(&claims("vera", Role::Viewer)))
}

fn head(server: &TestServer, session: &str, bytes: &[u8]) -> (u16, String) {
    let answer = server.ask("HEAD", &path(session, &hash(bytes))).token(&evaluator("ada")).answer();
    (answer.status, answer.head)
}

/// Text of a size, so that answers can be compared as text.
fn text(size: usize) -> Vec<u8> {
    (0..size).map(|n| b'a' + (n % 23) as u8).collect()
}

/// What of it a session's folder holds on the disk.
fn files(server: &TestServer, session: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(server.folder().join("evidence").join(session)) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    // The inner hashes of large files lie beside them.
    names.filter(|name| !name.ends_with(".tree")).collect()
}

/// Where the one whole file of a session is.
fn stored_file(server: &TestServer, session: &str) -> std::path::PathBuf {
    let names = files(server, session);
    let [name] = &names[..] else { panic!("{names:?}") };
    server.folder().join("evidence").join(session).join(name)
}

fn damaged_evidence_is_never_given_and_a_new_upload_mends_it(workers: usize) {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 5] = [
        ("the first byte flipped", |bytes| bytes[0] ^= 1),
        ("the last byte flipped", |bytes| *bytes.last_mut().expect("a byte") ^= 1),
        ("cut", |bytes| bytes.truncate(bytes.len() / 2)),
        ("emptied", Vec::clear),
        ("grown", |bytes| bytes.push(b'x')),
    ];
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    for (round, (size, (name, damage))) in
        [1_000, 700_000].into_iter().flat_map(|size| damages.map(|damage| (size, damage))).enumerate()
    {
        let (session, bytes) = (client.create(&format!("s{round}")), text(size));
        let case = format!("{size} bytes, {name}");
        assert_eq!(put(&server, &session, &bytes).answer().status, 201, "{case}");
        let file = stored_file(&server, &session);
        let mut changed = bytes.clone();
        damage(&mut changed);
        std::fs::write(&file, &changed).expect("the file can be changed");
        for range in ["", "bytes=-100", "bytes=0-99"] {
            let ask = get(&server, &session, &bytes);
            let ask = if range.is_empty() { ask } else { ask.header("Range", range) };
            let mut opened = ask.open();
            let given = opened.rest();
            let wanted = match range {
                "" => &bytes[..],
                "bytes=-100" => &bytes[size - 100..],
                _ => &bytes[..100],
            };
            if opened.status == 500 {
                assert!(String::from_utf8_lossy(&given).contains("checksum_mismatch"), "{case}, {range}");
            } else {
                // What a part needs may be whole; what is sent is right, and short if the rest is not.
                assert!(wanted.starts_with(&given), "{case}, {range}: wrong bytes were sent");
                assert!(!range.is_empty() || given.len() < size, "{case}: not all of it can be right");
            }
        }
        let before = server.metric("agentbench_evidence_damaged");
        assert!(before >= 1, "{case}");
        assert_eq!(
            put(&server, &session, &bytes).answer().status,
            201,
            "{case}: the right bytes are taken again"
        );
        assert_eq!(server.metric("agentbench_evidence_damaged"), before - 1, "{case}");
        assert_eq!(get(&server, &session, &bytes).answer().body.as_bytes(), bytes, "{case}");
        assert_eq!(files(&server, &session).len(), 1, "{case}");
    }
    assert!(server.metric("agentbench_evidence_damage_total") >= 10);
}

fn a_repeated_upload_of_damaged_evidence_replaces_it_unasked(workers: usize) {
    let server = TestServer::with_workers(workers);
    let session = server.connect("ada").create("s");
    let bytes = text(5_000);
    put(&server, &session, &bytes).answer();
    std::fs::write(stored_file(&server, &session), b"other").expect("the file can be changed");
    assert_eq!(put_as(&server, &session, &hash(&bytes), "text/plain").body(&bytes[..]).answer().status, 201);
    assert_eq!(get(&server, &session, &bytes).answer().body.as_bytes(), bytes);
    assert_eq!(files(&server, &session), [format!("{}.txt", hash(&bytes))]);
}

fn damaged_evidence_of_an_ended_session_can_be_mended_and_nothing_else_is_taken(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let bytes = text(5_000);
    put(&server, &session, &bytes).answer();
    for command in ["start_test", "stop_test"] {
        client.command(&json!({"command": command, "sessionId": session}));
    }
    std::fs::write(stored_file(&server, &session), b"other").expect("the file can be changed");
    get(&server, &session, &bytes).answer().refused(500, "checksum_mismatch");
    put(&server, &session, b"late").answer().refused(409, "session_closed");
    assert_eq!(put(&server, &session, &bytes).answer().status, 201);
    put(&server, &session, &bytes).answer().refused(409, "session_closed");
    assert_eq!(get(&server, &session, &bytes).answer().body.as_bytes(), bytes);
}

fn evidence_without_inner_hashes_is_checked_as_a_whole(workers: usize) {
    let server = TestServer::with_workers(workers);
    let session = server.connect("ada").create("s");
    let bytes = text(600_000);
    put(&server, &session, &bytes).answer();
    let tree = stored_file(&server, &session).with_extension("tree");
    std::fs::remove_file(&tree).expect("it is there");
    let last = get(&server, &session, &bytes).header("Range", "bytes=-9").answer();
    assert_eq!((last.status, last.body.as_bytes()), (206, &bytes[599_991..]));
    assert!(tree.exists(), "made again");
    std::fs::write(&tree, b"nonsense").expect("it can be changed");
    assert_eq!(get(&server, &session, &bytes).answer().body.as_bytes(), bytes);
}

fn a_part_is_given_only_of_the_file_that_the_client_has_begun(workers: usize) {
    let server = TestServer::with_workers(workers);
    let session = server.connect("ada").create("s");
    let bytes = text(9_000);
    put(&server, &session, &bytes).answer();
    let given = get(&server, &session, &bytes).answer();
    let tag = format!("\"{}\"", hash(&bytes));
    assert!(given.head.contains(&format!("etag: {tag}\r\n")), "{}", given.head);
    for (condition, status) in [
        (tag.as_str(), 206),
        (&format!("W/{tag}"), 200),
        ("\"another\"", 200),
        ("Mon, 30 Nov 2026 22:00:00 GMT", 200),
        ("", 200),
    ] {
        let ask = get(&server, &session, &bytes).header("Range", "bytes=0-9");
        assert_eq!(ask.header("If-Range", condition).answer().status, status, "{condition}");
    }
}

fn what_is_stored_is_given_with_safe_headers(workers: usize) {
    let server = TestServer::with_workers(workers);
    let session = server.connect("ada").create("s");
    let picture = text(300_000);
    assert_eq!(head(&server, &session, &picture).0, 404);
    let stored = put(&server, &session, &picture).answer();
    assert_eq!(stored.status, 201, "{}", stored.body);
    let told = json!({"hash": hash(&picture), "size": 300_000, "contentType": "image/png"});
    assert_eq!(stored.value(), told);
    let again = put(&server, &session, &picture).answer();
    assert_eq!((again.status, again.value()), (200, told));
    let (status, found) = head(&server, &session, &picture);
    assert!(status == 200 && found.contains("content-length: 300000"), "{found}");
    let given = get(&server, &session, &picture).answer();
    assert_eq!((given.status, given.body.as_bytes() == picture), (200, true));
    for header in [
        "content-type: image/png\r\n",
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none'; sandbox",
        "cache-control: private, max-age=31536000, immutable",
        "content-length: 300000",
    ] {
        assert!(given.head.contains(header), "{header}\n{}", given.head);
    }
    assert!(!given.head.contains("content-disposition"), "{}", given.head);
    let page = b"<script>alert(1)</script>";
    assert_eq!(put_as(&server, &session, &hash(page), "text/plain").body(page).answer().status, 201);
    let given = get(&server, &session, page).answer();
    assert!(given.head.contains("content-disposition: attachment"), "{}", given.head);
    assert!(given.head.contains("content-type: text/plain; charset=utf-8"), "{}", given.head);
    assert_eq!(server.metric("agentbench_evidence_uploads_total{outcome=\"stored\"}"), 2);
    assert_eq!(server.metric("agentbench_evidence_received_bytes_total"), 300_000 + page.len() as i64);
}

fn ranges_are_served(workers: usize) {
    let server = TestServer::with_workers(workers);
    let session = server.connect("ada").create("s");
    let film = text(200_000);
    put(&server, &session, &film).answer();
    let range = |range: &str| get(&server, &session, &film).header("Range", range).answer();
    let middle = range("bytes=1000-150999");
    assert_eq!((middle.status, middle.body.as_bytes()), (206, &film[1000..151_000]));
    assert!(middle.head.contains("content-range: bytes 1000-150999/200000"), "{}", middle.head);
    assert_eq!(range("bytes=-5").body.as_bytes(), &film[199_995..]);
    let outside = range("bytes=200000-");
    assert!(outside.head.contains("content-range: bytes */200000"), "{}", outside.head);
    outside.refused(416, "invalid_message");
    assert_eq!(range("bytes=0-1,5-6").status, 200);
}

fn an_upload_that_was_cut_goes_on_where_it_ended(workers: usize) {
    let mut server = TestServer::with_workers(workers);
    let session = server.connect("ada").create("s");
    let bytes = text(400_000);
    let mut socket = server.socket();
    write!(
        socket,
        "PUT {} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\nContent-Type: image/png\r\nContent-Length: 400000\r\n\r\n",
        path(&session, &hash(&bytes)),
        evaluator("ada")
    )
    .expect("it listens");
    socket.write_all(&bytes[..250_000]).expect("it reads");
    wait_until("most of it is on the disk", || {
        let part = server.folder().join(format!("evidence/{session}/{}.part", hash(&bytes)));
        std::fs::metadata(part).is_ok_and(|part| part.len() >= 190_000)
    });
    drop(socket);
    server.restart();
    let (status, found) = head(&server, &session, &bytes);
    assert_eq!(status, 204, "{found}");
    let offset = found.lines().find_map(|line| line.strip_prefix("upload-offset: ")).expect("an offset");
    let offset: usize = offset.trim().parse().expect("a number");
    assert!((190_000..=250_000).contains(&offset), "{offset}");
    get(&server, &session, &bytes).answer().refused(404, "not_found");
    let part = |from: usize, to: usize| {
        let range = format!("bytes {from}-{}/400000", to - 1);
        let ask = put_as(&server, &session, &hash(&bytes), "image/png").header("Content-Range", &range);
        ask.body(&bytes[from..to]).answer()
    };
    let misplaced = part(0, 1000);
    assert_eq!((misplaced.status, &misplaced.value()["received"]), (409, &json!(offset)));
    assert_eq!(misplaced.value()["data"]["code"], "invalid_position");
    let more = part(offset, 300_000);
    assert_eq!((more.status, more.value()), (202, json!({"received": 300_000})));
    assert_eq!(part(300_000, 400_000).status, 201);
    assert_eq!(get(&server, &session, &bytes).answer().body.as_bytes(), bytes);
    assert_eq!(files(&server, &session), [format!("{}.png", hash(&bytes))]);
}

fn wrong_bytes_sizes_and_types_are_refused(workers: usize) {
    let server = TestServer::with(workers, |config| {
        config.max_evidence_bytes = 10_000;
        config.max_session_evidence_bytes = 20_000;
    });
    let session = server.connect("ada").create("s");
    let good = hash(b"good");
    let wrong = put_as(&server, &session, &good, "image/png").body(*b"evil").answer();
    wrong.refused(422, "checksum_mismatch");
    assert!(files(&server, &session).is_empty());
    let of = |kind: &str| put_as(&server, &session, &good, kind).body(*b"good").answer();
    for kind in ["", "text/html", "image/svg+xml", "text/javascript"] {
        assert_eq!(of(kind).refused(415, "invalid_message")["field"], "Content-Type", "{kind}");
    }
    put(&server, &session, &text(10_001)).answer().refused(413, "payload_too_large");
    for (range, body) in
        [("bytes 0-3/", "good"), ("0-3/4", "good"), ("bytes 0-9/10", "good"), ("bytes 3-0/4", "good")]
    {
        let ask = put_as(&server, &session, &good, "image/png").header("Content-Range", range);
        let data = ask.body(body).answer().refused(400, "invalid_message");
        assert_eq!(data["field"], "Content-Range", "{range}");
    }
    let too_large = put_as(&server, &session, &good, "image/png").header("Content-Range", "bytes 0-3/10001");
    too_large.body("good").answer().refused(413, "payload_too_large");
    for fill in [9_000, 9_001] {
        assert_eq!(put(&server, &session, &text(fill)).answer().status, 201);
    }
    let full = put(&server, &session, &text(9_002)).answer().refused(413, "payload_too_large");
    assert!(full["error"].as_str().is_some_and(|detail| detail.contains("20000")), "{full}");
    let other = server.connect("ada").create("other");
    assert_eq!(put(&server, &other, &text(9_002)).answer().status, 201);
}

fn names_that_are_no_hash_are_refused(workers: usize) {
    let server = TestServer::with_workers(workers);
    let session = server.connect("ada").create("s");
    let upper = hash(b"x").to_uppercase();
    let tricks =
        ["..", "..%2f..%2fsecret", "%2e%2e%2fx", "x", upper.as_str(), "af1349b9%00", "C%3A%5Cx", "%ff"];
    for trick in tricks {
        for method in ["PUT", "GET"] {
            let ask = server.ask(method, &path(&session, trick)).token(&evaluator("ada"));
            let answer = ask.header("Content-Type", "image/png").body("x").answer();
            assert_eq!(answer.refused(400, "invalid_message")["field"], "hash", "{method} {trick}");
        }
    }
    let slash = server.ask("GET", "/api/v1/evidence/../../secret").token(&evaluator("ada")).answer();
    slash.refused(404, "not_found");
    let nameless = format!("/api/v1/evidence/{}", hash(b"x"));
    let answer = server.ask("GET", &nameless).token(&evaluator("ada")).answer();
    assert_eq!(answer.refused(400, "invalid_message")["field"], "sessionId");
    for session in ["..", "%2e%2e", "00000000-0000-8000-8000-000000000000"] {
        let ask = server.ask("GET", &path(session, &hash(b"x"))).token(&evaluator("ada"));
        ask.answer().refused(404, "session_not_found");
    }
    let entries = std::fs::read_dir(server.folder()).expect("the folder");
    assert!(entries.filter_map(Result::ok).all(|entry| entry.file_name() != "secret"));
}

fn only_who_may_publish_uploads_and_only_who_may_read_sees(workers: usize) {
    let server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let session = client.create("s");
    let bytes = b"picture";
    let upload = |token: &str| {
        let ask = server.ask("PUT", &path(&session, &hash(bytes))).token(token);
        ask.header("Content-Type", "image/png").body(*bytes).answer()
    };
    let foreign = mint(&claims_for_project("pia", Role::Evaluator, "p2"));
    upload(&foreign).refused(404, "session_not_found");
    upload(&mint(&claims("vera", Role::Viewer))).refused(403, "forbidden");
    upload("nonsense").refused(401, "not_authenticated");
    assert!(files(&server, &session).is_empty());
    let own = mint(&claims_for_project("abe", Role::Evaluator, "p1"));
    assert_eq!(upload(&own).status, 201);
    for method in ["GET", "HEAD"] {
        let ask = server.ask(method, &path(&session, &hash(bytes))).token(&foreign);
        assert_eq!(ask.answer().status, 404, "{method}");
        assert_eq!(server.ask(method, &path(&session, &hash(bytes))).answer().status, 401, "{method}");
    }
    // The hash alone opens nothing: it is another session's.
    let other = client.create("other");
    get(&server, &other, bytes).answer().refused(404, "not_found");
    let reviewer = Claims { permissions: vec!["session:review".into()], ..claims("rita", Role::Viewer) };
    upload(&mint(&reviewer)).refused(403, "forbidden");
    client.command(&json!({"command": "start_test", "sessionId": session}));
    client.command(&json!({"command": "stop_test", "sessionId": session}));
    put(&server, &session, b"late").answer().refused(409, "session_closed");
    assert_eq!(get(&server, &session, bytes).answer().body, "picture");
}

#[cfg(target_os = "linux")]
fn a_full_disk_is_said_and_nothing_stays(workers: usize) {
    let server = TestServer::with_workers(workers);
    let session = server.connect("ada").create("s");
    let folder = server.folder().join("evidence").join(&session);
    std::fs::create_dir_all(&folder).expect("a folder");
    let part = folder.join(format!("{}.part", hash(b"no room")));
    // Every write to this device fails as on a full disk.
    std::os::unix::fs::symlink("/dev/full", part).expect("a link");
    let full = put(&server, &session, b"no room").answer();
    assert!(full.head.contains("retry-after: 10"), "{}", full.head);
    full.refused(507, "log_unavailable");
    assert!(files(&server, &session).is_empty());
    assert_eq!(put(&server, &session, b"no room").answer().status, 201);
    server.prove_well();
}

fn evidence_goes_with_its_session(workers: usize) {
    let mut server = TestServer::with(workers, |config| {
        config.retention_age = Some(std::time::Duration::from_millis(1));
    });
    let mut client = server.connect("ada");
    let (session, live) = (client.create("s"), client.create("live"));
    for name in [&session, &live] {
        assert_eq!(put(&server, name, b"picture").answer().status, 201);
    }
    client.command(&json!({"command": "start_test", "sessionId": session}));
    client.command(&json!({"command": "stop_test", "sessionId": session}));
    drop(client);
    server.restart();
    wait_until("the session is gone", || get(&server, &session, b"picture").answer().status == 404);
    wait_until("its evidence is gone", || !server.folder().join("evidence").join(&session).exists());
    assert_eq!(get(&server, &live, b"picture").answer().body, "picture");
}

on_one_and_three_workers! {
    what_is_stored_is_given_with_safe_headers,
    ranges_are_served,
    an_upload_that_was_cut_goes_on_where_it_ended,
    wrong_bytes_sizes_and_types_are_refused,
    names_that_are_no_hash_are_refused,
    only_who_may_publish_uploads_and_only_who_may_read_sees,
    a_full_disk_is_said_and_nothing_stays,
    evidence_goes_with_its_session,
    damaged_evidence_is_never_given_and_a_new_upload_mends_it,
    a_repeated_upload_of_damaged_evidence_replaces_it_unasked,
    damaged_evidence_of_an_ended_session_can_be_mended_and_nothing_else_is_taken,
    evidence_without_inner_hashes_is_checked_as_a_whole,
    a_part_is_given_only_of_the_file_that_the_client_has_begun,
}
