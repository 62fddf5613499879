//! `agentbench sessions` as a user runs it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use agentbench_client::{Client, Config, Data, Error, Event, Outcome, Replay, SessionId};
use agentbench_load::child::{SECRET, ServerCommand, ServerProcess};

const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");

struct Shell {
    server: ServerProcess,
    _data: tempfile::TempDir,
}

impl Shell {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let server = ServerProcess::start(&ServerCommand {
            binary: BINARY.into(),
            data_dir: data.path().to_owned(),
            flags: Vec::new(),
            core: None,
            port: 0,
        });
        Self { server: server.unwrap(), _data: data }
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(BINARY)
            .arg("sessions")
            .args(arguments)
            .args(["--url", &format!("ws://{}", self.server.address())])
            .env("JWT_SECRET", SECRET)
            .env_remove("AGENTBENCH_TOKEN")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        command.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        command.wait_with_output().unwrap()
    }

    /// A token of an evaluator.
    fn token(&self) -> String {
        let mut command = Command::new(BINARY);
        let output = command.args(["token", "mint"]).env("JWT_SECRET", SECRET).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn good(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_published_is_listed_shown_and_exported_as_it_was_written() {
    let shell = Shell::new();
    let session = shell.good(&["create", "--project", "p", "--agent", "a"], "").trim().to_owned();
    let input = "{\"eventType\":\"progress\", \"z\": 1.0, \"a\":2}\n\n{\"eventType\":\"evidence\"}\n";
    let published = lines(&shell.good(&["publish", &session, "--json"], input));
    assert_eq!(
        published[0],
        serde_json::json!({"line": 1, "outcome": "stored", "seq": 2, "duplicate": false})
    );
    assert_eq!(published[1]["seq"], 3);
    let exported = shell.good(&["export", &session], "");
    assert_eq!(
        lines(&exported).iter().map(|entry| entry["seq"].as_u64()).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(3)]
    );
    assert!(exported.contains("\"data\":{\"eventType\":\"progress\", \"z\": 1.0, \"a\":2}"), "{exported}");
    assert_eq!(lines(&shell.good(&["list", "--project", "p", "--json"], ""))[0]["sessionId"], session);
    assert!(shell.good(&["list"], "").contains(&session));
    assert_eq!(lines(&shell.good(&["show", &session, "--json"], ""))[0]["headSeq"], 3);
}

#[test]
fn tail_follows_until_the_session_ends() {
    let shell = Shell::new();
    let session = shell.good(&["create", "--start"], "").trim().to_owned();
    shell.good(&["publish", &session], "{\"n\":1}\n");
    let url = format!("ws://{}", shell.server.address());
    let tail = Command::new(BINARY)
        .args(["sessions", "tail", &session, "--from", "start", "--json", "--url", &url])
        .env("JWT_SECRET", SECRET)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    shell.good(&["publish", &session], "{\"n\":2}\n");
    shell.good(&["stop", &session], "");
    let output = tail.wait_with_output().unwrap();
    assert!(output.status.success());
    let seen = lines(&String::from_utf8(output.stdout).unwrap());
    let what: Vec<String> = seen.iter().map(|entry| entry["data"]["n"].to_string()).collect();
    assert_eq!(what, ["null", "null", "1", "2", "null"], "{seen:?}");
    assert_eq!(seen[4]["data"]["type"], "session_stopped");
    // Of a session that has ended already, all is there at once.
    let again = shell.good(&["tail", &session, "--from", "start", "--json"], "");
    assert_eq!(lines(&again), seen);
    assert_eq!(shell.good(&["tail", &session, "--from", "live"], ""), "");
}

#[test]
fn refusals_and_bad_lines_have_exit_code_1() {
    let shell = Shell::new();
    let nobody = "01234567-89ab-7def-8123-456789abcdef";
    for command in ["show", "tail", "export", "publish"] {
        let output = shell.run(&[command, nobody], "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains("session_not_found"), "{command}: {said}");
    }
    let session = shell.good(&["create"], "").trim().to_owned();
    let output = shell.run(&["publish", &session], "{\"n\":1}\n[1]\n{\"n\":2}\n");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("line 2") && said.contains("2 stored, 1 not"), "{said}");
}

#[test]
fn what_readers_will_not_understand_is_stored_with_a_warning() {
    let shell = Shell::new();
    let session = shell.good(&["create"], "").trim().to_owned();
    let scores =
        [r#"{"eventType":"score_update","score":0.9}"#, r#"{"eventType":"score_update","score":"0.9"}"#]
            .join("\n");
    let output = shell.run(&["publish", &session, "--json"], &scores);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "agentbench: line 2 was stored with a warning: data.score must be a number\n");
    let warning = serde_json::json!({"field": "data.score", "detail": "data.score must be a number"});
    assert_eq!(
        lines(&String::from_utf8(output.stdout).unwrap()),
        [
            serde_json::json!({"line": 1, "outcome": "stored", "seq": 2, "duplicate": false}),
            serde_json::json!({"line": 2, "outcome": "stored", "seq": 3, "duplicate": false, "warnings": [warning]}),
        ]
    );
}

#[test]
fn an_export_goes_into_a_file_whole_or_not_at_all() {
    let shell = Shell::new();
    let session = shell.good(&["create", "--project", "p", "--agent", "a"], "").trim().to_owned();
    shell.good(&["publish", &session], "{\"eventType\":\"progress\",\"percent\":5}\n");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    shell.good(&["export", &session, "-o", &file("log.jsonl")], "");
    assert_eq!(lines(&std::fs::read_to_string(file("log.jsonl")).unwrap()).len(), 2);
    let page = shell.run(&["export", &session, "--format", "html", "-o", &file("page.html")], "");
    if page.status.success() {
        let text = std::fs::read_to_string(file("page.html")).unwrap();
        assert!(text.contains("agentbench-export") && text.contains(&session), "{text}");
    } else {
        // A binary that was built without the dashboard says so.
        let said = String::from_utf8_lossy(&page.stderr);
        assert!(page.status.code() == Some(1) && said.contains("cargo xtask dashboard"), "{said}");
        assert!(!std::path::Path::new(&file("page.html")).exists());
    }
    assert!(
        std::fs::read_dir(folder.path()).unwrap().all(|it| it.unwrap().path().extension().unwrap() != "part")
    );
    let none = "00000000-0000-8000-8000-000000000000";
    let nothing = shell.run(&["export", none, "--format", "html", "-o", &file("none.html")], "");
    assert_eq!(nothing.status.code(), Some(1));
    let nowhere = shell.run(&["export", &session, "-o", "/nowhere/at/all"], "");
    assert_eq!(nowhere.status.code(), Some(2));
}

#[test]
fn a_reviewers_token_names_its_permission() {
    let shell = Shell::new();
    let session = shell.good(&["create", "--project", "p", "--agent", "a"], "").trim().to_owned();
    let mint = |more: &[&str]| {
        let output = Command::new(BINARY)
            .args(["token", "mint", "--role", "viewer", "--secret", SECRET])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let note = "{\"eventType\":\"review_note\",\"text\":\"good\"}\n";
    let reviewer = mint(&["--permission", "session:review"]);
    shell.good(&["publish", &session, "--token", &reviewer], note);
    let refused = shell.run(&["publish", &session, "--token", &mint(&[])], note);
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
}

#[test]
fn a_producer_with_a_name_in_any_script_is_recognised_when_it_comes_back() {
    let shell = Shell::new();
    let session: SessionId = shell.good(&["create"], "").trim().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut duplicates = Vec::new();
        for producer in
            ["M\u{fc}ller-\u{6771}\u{4eac}&a=+%41", "M\u{fc}ller-\u{6771}\u{4eac}&a=+%41", "M\u{fc}ller"]
        {
            let config = Config::new(format!("ws://{}", shell.server.address())).token(shell.token());
            let client = Client::connect(config.producer_id(producer)).await.unwrap();
            let event = Event::new(Data::raw("{\"n\":1}").unwrap()).id("e1");
            match client.publish(session, event).await.unwrap().await {
                Outcome::Stored { duplicate, .. } => duplicates.push(duplicate),
                other => panic!("{producer}: {other:?}"),
            }
            client.close().await;
        }
        assert_eq!(duplicates, [false, true, false]);
    });
}

/// Reads a replay to its end, and gives the seqs.
async fn played(replay: &mut Replay) -> Vec<u64> {
    let mut seqs = Vec::new();
    while let Some(item) = replay.next().await {
        seqs.extend(item.seq());
    }
    assert_eq!(replay.ended(), None);
    seqs
}

#[test]
fn a_replay_by_the_sdk_gives_the_whole_log_again_and_ends() {
    let shell = Shell::new();
    let session = shell.good(&["create", "--project", "p", "--agent", "a"], "").trim().to_owned();
    let events: String = (0..200).map(|number| format!("{{\"number\":{number}}}\n")).collect();
    shell.good(&["publish", &session], &events);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let token = shell.token();
        let config = Config::new(format!("ws://{}", shell.server.address())).token(token).follow_buffer(8);
        let client = Client::connect(config).await.unwrap();
        let id: SessionId = session.parse().unwrap();
        let mut replay = client.replay_session(id, 64.0, 1).await.unwrap();
        assert_eq!(replay.range(), (1, 201));
        assert!(matches!(client.replay_session(id, 1.0, 1).await, Err(Error::AlreadyFollowing)));
        assert_eq!(played(&mut replay).await, (1..=201).collect::<Vec<u64>>());
        drop(replay);
        let mut tail = client.replay_session(id, 64.0, 200).await.unwrap();
        assert_eq!(played(&mut tail).await, [200, 201]);
        let too_fast = client.replay_session(id, 1000.0, 1).await;
        assert!(matches!(&too_fast, Err(Error::Refused(refusal)) if refusal.field.is_some()), "{too_fast:?}");
        client.close().await;
    });
}

/// A connection may have four replays, and each of these would wait for twelve seconds: only what has really ended on the
/// server makes room for the next ones before their commands time out.
#[test]
fn replays_that_are_given_up_end_on_the_server() {
    let shell = Shell::new();
    let session = shell.good(&["create", "--project", "p", "--agent", "a"], "").trim().to_owned();
    shell.good(&["publish", &session], "{\"number\":1}\n");
    std::thread::sleep(Duration::from_secs(3));
    shell.good(&["publish", &session], "{\"number\":2}\n");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = Config::new(format!("ws://{}", shell.server.address())).token(shell.token());
        let client = Client::connect(config.command_timeout(Duration::from_secs(5))).await.unwrap();
        let id: SessionId = session.parse().unwrap();
        for round in 0..12 {
            let mut replay = client.replay_session(id, 0.25, 1).await.unwrap();
            assert_eq!(replay.next().await.and_then(|item| item.seq()), Some(1));
            match round % 2 {
                0 => drop(replay),
                _ => replay.stop().await.unwrap(),
            }
        }
        let mut whole = client.replay_session(id, 64.0, 1).await.unwrap();
        assert_eq!(played(&mut whole).await, [1, 2, 3]);
        whole.stop().await.unwrap();
        client.close().await;
    });
}
