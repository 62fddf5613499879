//! Many idle followers, all cut off at once, all back at once: each gets what it missed, once and in order.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use agentbench_auth::Role;
use anyhow::{Context, bail, ensure};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{Connection, Inbound};
use crate::child::token;

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    /// Followers.
    pub connections: usize,
    /// Followers of one session.
    pub per_session: usize,
    /// Events of each session while nobody is there.
    pub missed: u64,
    /// Handshakes at the same time when the followers come first. When they come back, all of them.
    pub at_once: usize,
    /// Longest time until all are served.
    pub patience: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct StormResult {
    /// Until all were there first.
    pub first: Duration,
    /// Until all were back and had what they missed.
    pub back: Duration,
    /// Entries of logs delivered to those who came back.
    pub delivered: u64,
    /// Attempts to connect that failed and were made again.
    pub retried: u64,
}

/// When the caller may look at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nobody is there.
    Empty,
    /// All are there and idle.
    Idle,
    /// All are gone.
    Gone,
    /// All are back and served.
    Back,
}

/// Entries that each session has when its followers come first: its creation, and one event.
const BEFORE: u64 = 2;
/// Wait between attempts to connect.
const RETRY: Duration = Duration::from_millis(200);
/// Whoever is served stays for as long, for what may come twice.
const LINGER: Duration = Duration::from_millis(500);

/// A session, and the place that its followers have reached.
struct Session {
    id: String,
    epoch: String,
    seq: u64,
    last_id: String,
}

/// One follower.
struct Follower {
    seen: Rc<RefCell<Vec<u64>>>,
    task: JoinHandle<()>,
}

/// Runs it. `look` is called at each moment.
///
/// # Errors
/// If somebody is not served in time, or gets anything else than what it missed.
pub async fn storm(
    address: SocketAddr,
    plan: Storm,
    mut look: impl FnMut(Moment),
) -> anyhow::Result<StormResult> {
    let mut publisher = Connection::open(address, &token("storm", Role::Evaluator)?).await?;
    let mut sessions = Vec::new();
    for _ in 0..plan.connections.div_ceil(plan.per_session) {
        sessions.push(create(&mut publisher).await?);
    }
    // Who stays would be told of every follower that comes, and nobody would read it.
    drop(publisher);
    look(Moment::Empty);
    let retried = Rc::new(Cell::new(0));
    let (first, followers) =
        follow_all(address, &plan, &sessions, plan.at_once, BEFORE, None, &retried).await?;
    look(Moment::Idle);
    drop(followers);
    tokio::time::sleep(LINGER).await;
    look(Moment::Gone);
    let heads = sessions.iter().map(|session| session.seq).collect::<Vec<_>>();
    let mut publisher = Connection::open(address, &token("storm", Role::Evaluator)?).await?;
    for session in &mut sessions {
        publisher
            .command(&json!({"command": "join_session", "sessionId": session.id, "follow": false}))
            .await?;
        for _ in 0..plan.missed {
            publish(&mut publisher, session).await?;
        }
    }
    drop(publisher);
    let (back, followers) =
        follow_all(address, &plan, &sessions, plan.connections, plan.missed, Some(&heads), &retried).await?;
    look(Moment::Back);
    let delivered = followers.iter().map(|follower| follower.seen.borrow().len() as u64).sum();
    Ok(StormResult { first, back, delivered, retried: retried.get() })
}

async fn create(publisher: &mut Connection) -> anyhow::Result<Session> {
    let create =
        json!({"command": "create_session", "projectId": "load", "testId": "storm", "agentName": "load"});
    let created = publisher.command(&create).await?;
    let text = |name: &str| created[name].as_str().map(str::to_owned).context("the reply lacks a field");
    let (id, epoch) = (text("sessionId")?, text("epoch")?);
    let mut session = Session { id, epoch, seq: 1, last_id: String::new() };
    publish(publisher, &mut session).await?;
    Ok(session)
}

async fn publish(publisher: &mut Connection, session: &mut Session) -> anyhow::Result<()> {
    session.seq += 1;
    session.last_id = format!("{}-{}", session.id, session.seq);
    let message = json!({
        "id": session.last_id, "type": "test_event", "timestamp": 1, "sessionId": session.id,
        "data": {"eventType": "progress", "percent": 1}, "metadata": {"requiresAck": true},
    });
    publisher.put(message.to_string().as_bytes());
    publisher.write().await?;
    let mut answer = Inbound::Other;
    while answer == Inbound::Other {
        publisher
            .read(&mut |text| match Inbound::of(text) {
                Inbound::Event(_) | Inbound::Other => {}
                found => answer = found,
            })
            .await?;
    }
    ensure!(answer == Inbound::Acks(1), "the publish was answered with {answer:?}");
    Ok(())
}

/// Everybody connects, joins, and gets `expected` entries. `behind` is the place that each session's
/// followers have.
async fn follow_all(
    address: SocketAddr,
    plan: &Storm,
    sessions: &[Session],
    at_once: usize,
    expected: u64,
    behind: Option<&[u64]>,
    retried: &Rc<Cell<u64>>,
) -> anyhow::Result<(Duration, Vec<Follower>)> {
    let token: Rc<str> = token("storm", Role::Evaluator)?.into();
    let turns = Rc::new(Semaphore::new(at_once));
    let served = Rc::new(Cell::new(0));
    let started = Instant::now();
    let mut followers = Vec::with_capacity(plan.connections);
    for index in 0..plan.connections {
        let number = index / plan.per_session;
        let session = &sessions[number];
        let from = match behind {
            None => json!("start"),
            Some(heads) => {
                let seq = heads[number];
                json!({"epoch": session.epoch, "seq": seq, "lastId": format!("{}-{seq}", session.id)})
            }
        };
        let join = json!({"id": "join", "type": "control_command", "timestamp": 1,
            "data": {"command": "join_session", "sessionId": session.id, "from": from}});
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (turns, served, retried) = (Rc::clone(&turns), Rc::clone(&served), Rc::clone(retried));
        let (token, theirs) = (Rc::clone(&token), Rc::clone(&seen));
        let task = tokio::task::spawn_local(async move {
            let turn = turns.acquire().await;
            let mut connection = insist(address, &token, &retried).await;
            drop(turn);
            connection.put(join.to_string().as_bytes());
            // Whoever fails from here on is missing at the end.
            let _ = connection.write().await;
            sit(connection, &theirs, expected, &served).await;
        });
        followers.push(Follower { seen, task });
    }
    while served.get() < plan.connections {
        if started.elapsed() > plan.patience {
            bail!("{} of {} are served after {:?}", served.get(), plan.connections, plan.patience);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = started.elapsed();
    tokio::time::sleep(LINGER).await;
    for (index, follower) in followers.iter().enumerate() {
        let first = behind.map_or(0, |heads| heads[index / plan.per_session]) + 1;
        let wanted: Vec<u64> = (first..first + expected).collect();
        let seen = follower.seen.borrow();
        ensure!(*seen == wanted, "follower {index} got {seen:?} instead of {wanted:?}");
    }
    Ok((took, followers))
}

/// Connects, however often that fails.
async fn insist(address: SocketAddr, token: &str, retried: &Cell<u64>) -> Connection {
    loop {
        match Connection::open(address, token).await {
            Ok(connection) => return connection,
            Err(_) => retried.set(retried.get() + 1),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Reads what comes. Between two messages it holds no buffer.
async fn sit(mut connection: Connection, seen: &RefCell<Vec<u64>>, expected: u64, served: &Cell<usize>) {
    loop {
        connection.rest();
        if connection.readable().await.is_err() {
            return;
        }
        let before = seen.borrow().len() as u64;
        let read = connection.read(&mut |text| seen.borrow_mut().extend(seqs(text))).await;
        if before < expected && seen.borrow().len() as u64 >= expected {
            served.set(served.get() + 1);
        }
        if read.is_err() {
            return;
        }
    }
}

/// The seqs of the log's entries in a message: one, or an array of them.
fn seqs(text: &str) -> Vec<u64> {
    let entries = match serde_json::from_str(text) {
        Ok(serde_json::Value::Array(entries)) => entries,
        Ok(entry) => vec![entry],
        Err(_) => Vec::new(),
    };
    entries
        .iter()
        .filter(|entry| entry["receivedAt"].is_u64())
        .filter_map(|entry| entry["seq"].as_u64())
        .collect()
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}
