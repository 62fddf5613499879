//! The server is killed with SIGKILL in the middle of a load, again and again: what was acked is there, once,
//! in order, and every follower has it.
//!
//! `AGENTBENCH_TEST_SEED` repeats a run: the moments of the kills, the contents and the schedule come from
//! it. (What the server was doing at such a moment does not.)
//!
//! **What a torn write is here.** A SIGKILL loses no byte that the server has handed to the kernel, so it
//! tears nothing by itself. Power loss does: of a batch that was on its way to the disk and not yet synced,
//! any part may be there. Bytes that were acked with `synced` must survive that, and a test that damages them
//! would ask for the impossible. So only two things are done to the files, both of which a power loss can
//! leave behind:
//! - behind the last whole batch a part of a batch is added that no client ever heard of;
//! - in a *copy* of the folder, the batch of one lone last event is cut. In the world of that copy the
//!   event's ack was never sent; everything before the event was acked, was synced, and must be there.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentbench_auth::Role;
use agentbench_client::{Client, Config, Data, Item, NewSession, Outcome, SessionId, StartAt};
use agentbench_history::{Kind, Verdict, check};
use agentbench_load::arrival::mix;
use agentbench_load::child::{ServerCommand, ServerProcess, token};
use agentbench_report::schema::Category;
use agentbench_scenarios::definition::{Faults, Readers, Scenario};
use agentbench_scenarios::fleet::Fleet;
use agentbench_scenarios::meters::{Counter, Meters};
use agentbench_scenarios::routes::Routes;
use agentbench_scenarios::sdk::Sdk;
use agentbench_scenarios::target::Endpoint;
use tokio::sync::watch;

const CLIENTS: u32 = 20;
const LIMIT: Duration = Duration::from_secs(50);

/// One run: the load, and what happens to the server meanwhile.
struct Crash<'a> {
    seed: u64,
    flags: &'a [&'a str],
    messages: u32,
    /// The events are spread over this time, and so are the kills.
    spread: Duration,
    kills: u32,
    /// What is done to the folder of the dead server.
    damage: &'a (dyn Fn(&Path, &mut Dice) + Sync),
}

fn seed() -> u64 {
    let given = std::env::var("AGENTBENCH_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        mix(now.as_nanos() as u64) >> 32
    });
    println!("AGENTBENCH_TEST_SEED={seed}");
    seed
}

/// Reproducible chance.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % bound.max(1)
    }
}

fn command(data_dir: &Path, port: u16, flags: &[&str]) -> ServerCommand {
    ServerCommand {
        binary: env!("CARGO_BIN_EXE_agentbench").into(),
        data_dir: data_dir.to_owned(),
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        core: None,
        port,
    }
}

const TEN_KILLS: Crash<'_> = Crash {
    seed: 0,
    flags: &[],
    messages: 400,
    spread: Duration::from_secs(12),
    kills: 10,
    damage: &|_, _| {},
};

#[test]
fn what_was_acked_survives_ten_kills() {
    TEN_KILLS.with(seed()).survives();
}

#[test]
fn what_was_acked_as_synced_survives_ten_kills_with_torn_last_writes() {
    let crash = Crash { flags: &["--ack-level", "synced"], damage: &add_torn_write, ..TEN_KILLS };
    crash.with(seed()).survives();
}

/// A proof of the proof: a log that loses what it has acked does not get through.
#[test]
fn a_log_that_loses_acked_events_is_found_out() {
    let spread = Duration::from_secs(3);
    let crash = Crash { messages: 100, spread, kills: 2, damage: &lose_acked_events, ..TEN_KILLS };
    let (verdict, _) = crash.with(seed()).run();
    assert!(verdict.count(Kind::Lost) + verdict.count(Kind::WrongSeq) > 0, "{verdict:#?}");
}

impl Crash<'_> {
    fn with(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Runs it and demands that nothing is missing anywhere.
    fn survives(&self) {
        let (verdict, meters) = self.run();
        let summary = &verdict.summary;
        println!(
            "{} stored ({} as duplicates), {} sent again, {} reconnects, {} resumes, {:.1} s",
            summary.stored,
            summary.duplicates,
            meters.get(Counter::Retried),
            meters.get(Counter::Reconnects),
            summary.resumed,
            meters.now().as_secs_f64()
        );
        assert!(verdict.is_clean(), "{:#?}", verdict.findings);
        let all = u64::from(CLIENTS) * u64::from(self.messages);
        assert_eq!((summary.stored, summary.refused, summary.unknown), (all, 0, 0));
        assert_eq!((summary.events_delivered, summary.unverified), (all, 0));
        assert_eq!(summary.final_reads, u64::from(CLIENTS));
        assert!(summary.gaps.is_empty(), "{:?}", summary.gaps);
        // The kills really hit. Two of them may be too close for everybody to have come back between.
        let hits = u64::from(self.kills * CLIENTS);
        assert!(meters.get(Counter::Reconnects) >= hits, "{}", meters.get(Counter::Reconnects));
    }

    fn run(&self) -> (Verdict, Arc<Meters>) {
        let data = tempfile::tempdir().unwrap();
        let server = ServerProcess::start(&command(data.path(), 0, self.flags)).unwrap();
        let url = format!("ws://{}", server.address());
        let again = command(data.path(), server.address().port(), self.flags);
        let endpoint = Endpoint::new(url, token("crash-test", Role::Evaluator).unwrap());
        let meters = Arc::new(Meters::default());
        let (_never, gone) = watch::channel(false);
        let fleet = Fleet {
            sdk: Sdk::Rust,
            scenario: Arc::new(self.scenario()),
            seed: self.seed,
            routes: Arc::new(Routes::direct(endpoint)),
            meters: Arc::clone(&meters),
            gone,
        };
        let outcome = std::thread::scope(|scope| {
            let meters = &meters;
            let killer = scope.spawn(move || self.kill_again_and_again(server, &again, meters));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let outcome = runtime.block_on(fleet.run(&watch::channel(None).0));
            killer.join().unwrap().stop(Duration::from_secs(20)).unwrap();
            outcome
        });
        assert_eq!(outcome.failures, Vec::<String>::new());
        (check(&outcome.histories), meters)
    }

    fn scenario(&self) -> Scenario {
        Scenario {
            name: "Crash".to_owned(),
            category: Category::Reliability,
            promise: "what was acked survives".to_owned(),
            clients: CLIENTS,
            messages: self.messages,
            payload_bytes: 512,
            payload_steps: Vec::new(),
            spread_ms: Some(self.spread.as_millis() as u64),
            limit_ms: LIMIT.as_millis() as u64,
            keeps_pace: false,
            readers: Readers::default(),
            faults: Faults::default(),
            cuts: None,
            search: None,
            server_flags: Vec::new(),
        }
    }

    /// One kill in each part of the run, anywhere in it.
    fn kill_again_and_again(
        &self,
        mut server: ServerProcess,
        again: &ServerCommand,
        meters: &Meters,
    ) -> ServerProcess {
        let dice = &mut Dice(self.seed);
        while meters.get(Counter::Sent) == 0 {
            assert!(meters.now() < LIMIT, "the load never began");
            std::thread::sleep(Duration::from_millis(5));
        }
        let part = self.spread / self.kills;
        let began = Instant::now();
        for kill in 0..self.kills {
            let moment = part * kill + Duration::from_millis(dice.below(part.as_millis() as u64 * 9 / 10));
            std::thread::sleep(moment.saturating_sub(began.elapsed()));
            server.kill().unwrap();
            (self.damage)(&again.data_dir, dice);
            server = ServerProcess::start(again).unwrap();
        }
        server
    }
}

/// Length of a record's header.
const HEADER: usize = 80;

fn newest_log(data_dir: &Path) -> PathBuf {
    let files = fs::read_dir(data_dir.join("segments")).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|found| found == "seg")).max().unwrap()
}

/// The place behind the last whole record of a file, and that record.
fn last_record(path: &Path) -> (usize, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let (mut at, mut last) = (0, 0..0);
    while let Some(header) = bytes.get(at..at + HEADER) {
        let length_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap()) as usize;
        let length = (HEADER + length_at(8) + length_at(12)).next_multiple_of(8);
        if !header.starts_with(b"AL") || at + length > bytes.len() {
            break;
        }
        last = at..at + length;
        at += length;
    }
    (at, bytes[last].to_vec())
}

/// Adds a part of a record behind the last whole one: the beginning of a real one, or noise.
fn add_torn_write(data_dir: &Path, dice: &mut Dice) {
    let path = newest_log(data_dir);
    let (end, record) = last_record(&path);
    let mut torn = record;
    let length = 1 + dice.below(torn.len().max(64) as u64 - 1) as usize;
    if torn.is_empty() || dice.below(3) == 0 {
        torn = (0..length).map(|_| dice.below(256) as u8).collect();
    }
    torn.truncate(length);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(end as u64).unwrap();
    file.write_all_at(&torn, end as u64).unwrap();
}

/// What no server may do, and no power loss does to what was synced: the last quarter of the newest file goes
/// away.
fn lose_acked_events(data_dir: &Path, _: &mut Dice) {
    let path = newest_log(data_dir);
    let (end, _) = last_record(&path);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(end as u64 * 3 / 4).unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

async fn connect(server: &ServerProcess) -> Client {
    let token = token("crash-test", Role::Evaluator).unwrap();
    Client::connect(Config::new(format!("ws://{}", server.address())).token(token)).await.unwrap()
}

async fn publish(client: &Client, session: SessionId, id: &str) -> u64 {
    let event = agentbench_client::Event::new(Data::raw("{\"eventType\":\"progress\"}").unwrap()).id(id);
    match client.publish(session, event).await.unwrap().await {
        Outcome::Stored { seq, .. } => seq,
        other => panic!("{id}: {other:?}"),
    }
}

async fn ids(client: &Client, session: SessionId) -> Vec<String> {
    let page = client.get_history(session, 1, 1000).await.unwrap();
    assert_eq!(page.next_seq, None);
    let entries =
        page.events.iter().map(|event| serde_json::from_str::<serde_json::Value>(event.get()).unwrap());
    let events = entries.filter(|entry| entry["type"] == "test_event");
    events.map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_cut_last_write_costs_nothing_that_was_acked_before_it_and_readers_who_saw_it_are_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(cut_last_write(seed()));
}

async fn cut_last_write(seed: u64) {
    const EVENTS: u64 = 50;
    let flags = ["--ack-level", "synced"];
    let data = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(&command(data.path(), 0, &flags)).unwrap();
    let client = connect(&server).await;
    let session = client.create_session(NewSession::new("p", "t", "a")).await.unwrap().session_id;
    for n in 0..EVENTS {
        publish(&client, session, &format!("before-{n}")).await;
    }
    let path = newest_log(data.path());
    let (quiet, _) = last_record(&path);
    let lone = publish(&client, session, "lone").await;
    let follower = connect(&server).await;
    let mut follow = follower.follow(session, StartAt::Start).await.unwrap();
    let epoch = follow.joined().unwrap().epoch;
    while follow.next().await.unwrap().seq() != Some(lone) {}
    server.kill().unwrap();
    let (end, _) = last_record(&path);
    assert!(end > quiet, "the lone event is in the newest file");
    let dice = &mut Dice(seed);
    // A byte of it is missing, a byte of it is there, and anything between.
    // Its last seven may be no part of it.
    let cuts = [end - 8, quiet + 1, quiet + 1 + dice.below((end - quiet - 9) as u64) as usize];
    for cut in cuts {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(data.path(), copy.path());
        let newest = newest_log(copy.path());
        OpenOptions::new().write(true).open(&newest).unwrap().set_len(cut as u64).unwrap();
        // The index is written behind; a write that was cut short is not in it yet.
        drop(fs::remove_file(newest.with_extension("idx")));
        let server = ServerProcess::start(&command(copy.path(), 0, &flags)).unwrap();
        let client = connect(&server).await;
        let mut expected: Vec<String> = (0..EVENTS).map(|n| format!("before-{n}")).collect();
        assert_eq!(ids(&client, session).await, expected, "cut at {cut} of {quiet} to {end}");
        // The place is used again; who read the old event there must not go on as if nothing had happened.
        let seq = publish(&client, session, "after").await;
        assert_eq!(seq, lone);
        expected.push("after".into());
        assert_eq!(ids(&client, session).await, expected);
        let position = agentbench_client::Position { epoch, seq: lone, last_id: Some("lone".into()) };
        let mut follow = client.follow(session, StartAt::After(position)).await.unwrap();
        let first = follow.next().await.unwrap();
        assert!(matches!(first, Item::NotRecovered { .. }), "{first:?}");
        server.kill().unwrap();
    }
}
