//! The README's tour, as a newcomer copies it.

use std::path::Path;

use serde_json::json;

use crate::conversation::{self, Socket};
use crate::page::{blocks, read, section};
use crate::scratch::Server;
use crate::shell;

/// The server of the README's first command: `serve` with the defaults of development, in the newcomer's folder.
fn server(folder: &Path, port: &str) -> Server {
    Server::start(folder, &["--port", port], &[])
}

/// Runs a block against the server; `then` is appended to see what its variables hold.
fn run(folder: &Path, server: &Server, block: &str, then: &str) -> String {
    let url = format!("ws://{}", server.address);
    // The address of the first command's server is the commands' default.
    shell::run(folder, &[("AGENTBENCH_URL", &url)], &format!("{block}\n{then}"))
}

#[test]
fn the_tour_runs_as_printed() {
    let page = read("README.md");
    let tour = section(&page, "## A tour in two minutes");
    let [commands, suite] = &blocks(tour, "sh")[..] else { panic!("the tour has other blocks") };
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), "0");
    let printed = run(folder.path(), &server, commands, "echo; echo \"$SESSION $TOKEN\"");
    let last = printed.lines().last().unwrap();
    let (session, token) = last.split_once(' ').unwrap();
    let listed = printed.lines().filter(|line| line.starts_with(session) && line.contains("running")).count();
    assert_eq!(listed, 1, "the session is listed: {printed}");
    assert!(printed.contains("automation_step"), "tail shows the event: {printed}");
    let exported = std::fs::read_to_string(folder.path().join("session.jsonl")).unwrap();
    let entries: Vec<serde_json::Value> =
        exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 4, "created, started, the event, stopped: {exported}");
    assert_eq!(entries[2]["data"]["eventType"], "automation_step");

    // All of its twelve scenarios take a minute: one of them stands for the command.
    let narrowed = suite.trim_end().split('#').next().unwrap().trim_end();
    assert!(narrowed.ends_with("suite all --quick"), "{narrowed}");
    run(folder.path(), &server, &format!("{narrowed} --only small --output reports"), "");
    let run = std::fs::read_dir(folder.path().join("reports")).unwrap().next().unwrap().unwrap();
    assert!(run.path().join("report.html").is_file());

    converse_and_come_back(tour, folder.path(), server, token);
}

#[test]
fn the_shell_of_the_first_guide_runs_as_printed() {
    let page = read("docs/getting-started.md");
    let blocks = blocks(section(&page, "## Looking from the shell"), "sh");
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), "0");
    let printed = run(folder.path(), &server, &blocks[0], "");
    assert!(printed.contains("console_log") && printed.contains("completed"), "{printed}");
    let exported = std::fs::read_to_string(folder.path().join("session.jsonl")).unwrap();
    assert_eq!(exported.lines().count(), 3, "created, started, the event: {exported}");
    // A page needs the dashboard's build, which a build for tests does not have; the command is taken, whatever becomes of it.
    let page = blocks[1].split('#').next().unwrap().trim_end();
    let page = page.replace("\"$SESSION\"", "\"$(agentbench sessions create)\"");
    let said = run(folder.path(), &server, "", &format!("{page} 2>&1 || test $? = 1"));
    assert!(folder.path().join("session.html").exists() || said.contains("dashboard's pages"), "{said}");
    server.stop();
}

/// The WebSocket conversation, the server's death, and the way back that the tour names.
fn converse_and_come_back(tour: &str, folder: &Path, server: Server, token: &str) {
    let [block] = &blocks(tour, "text")[..] else { panic!("the tour has another conversation") };
    let target = tour.split_once("websocat \"ws://127.0.0.1:3001").expect("the address").1;
    let target = target.split_once('"').unwrap().0.replace("$TOKEN", token);
    let mut socket = Socket::open(server.address, &target);
    let names = conversation::play(&mut socket, block);
    let session = &names["c2fd…"];
    let event = |id: &str| json!({"id": id, "type": "test_event", "timestamp": 0, "sessionId": session, "data": {"eventType": "x"}, "metadata": {"requiresAck": true}});
    socket.send(&event("missed"));
    conversation::expect(&mut socket, &json!({"data": {"type": "ack", "seq": 4}}), &mut names.clone());

    let port = server.address.port().to_string();
    server.kill();
    let server = self::server(folder, &port);
    let mut socket = Socket::open(server.address, &target);
    let place =
        tour.split_once("`\"from\":").expect("the place to come back to").1.split_once('`').unwrap().0;
    let place = conversation::filled(&conversation::shown(place), &names);
    let join = json!({"command": "join_session", "from": place});
    socket.send(
        &json!({"id": "j", "type": "control_command", "timestamp": 0, "sessionId": session, "data": join}),
    );
    let joined = json!({"data": {"type": "session_joined", "recovered": true}});
    conversation::expect(&mut socket, &joined, &mut names.clone());
    socket.send(&event("new"));
    let mut came = Vec::new();
    while came.last().is_none_or(|(id, _)| id != "new") {
        let message = socket.next();
        if let Some(seq) = message["seq"].as_u64().filter(|_| message["type"] == "test_event") {
            came.push((message["id"].as_str().unwrap().to_owned(), seq));
        }
    }
    assert_eq!(came, [("missed".to_owned(), 4), ("new".to_owned(), 5)], "what was missed, and nothing twice");
    server.stop();
}
