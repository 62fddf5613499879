//! Many idle followers, all disconnected at once, all reconnecting at once: each receives what it missed, once and in order.

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

/// The parameters.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    /// Number of followers.
    pub connections: usize,
    /// Number of followers per session.
    pub per_session: usize,
    /// Number of events in each session while no follower is connected.
    pub missed: u64,
    /// Concurrent handshakes at the start. On reconnect, all are concurrent.
    pub at_once: usize,
    /// Time limit until all have received everything.
    pub patience: Duration,
}

/// The result.
#[derive(Debug, Clone, Copy)]
pub struct StormResult {
    /// Time until all were connected at the start.
    pub first: Duration,
    /// Time until all were back and had received what they missed.
    pub back: Duration,
    /// Entries of logs delivered after the reconnect.
    pub delivered: u64,
    /// Failed attempts to connect, which were repeated.
    pub retried: u64,
}

/// Moments at which the caller can inspect the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// No follower is connected.
    Empty,
    /// All are connected and idle.
    Idle,
    /// All have disconnected.
    Gone,
    /// All are back and have received everything.
    Back,
}

/// Entries of each session when its followers first connect: its creation, and one event.
const BEFORE: u64 = 2;
/// Delay between attempts to connect.
const RETRY: Duration = Duration::from_millis(200);
/// How long a follower waits for duplicates after it has received everything.
const LINGER: Duration = Duration::from_millis(500);

/// A session, and the position that its followers have reached.
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

/// Runs the load. `look` is called at each moment.
///
/// # Errors
/// A follower does not receive everything in time, or receives anything but what it missed.
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
    // Participants are notified of every follower that joins, and nothing would read that.
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
    publisher.queue(message.to_string().as_bytes());
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

/// Connects and joins all followers, and waits until each has `expected` entries. `behind` is the position of each
/// session's followers.
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
            let mut connection = connect_with_retries(address, &token, &retried).await;
            drop(turn);
            connection.queue(join.to_string().as_bytes());
            // A follower that fails from here on is missing at the end.
            let _ = connection.write().await;
            stay_idle(connection, &theirs, expected, &served).await;
        });
        followers.push(Follower { seen, task });
    }
    while served.get() < plan.connections {
        if started.elapsed() > plan.patience {
            bail!("{} of {} followers are served after {:?}", served.get(), plan.connections, plan.patience);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = started.elapsed();
    tokio::time::sleep(LINGER).await;
    for (index, follower) in followers.iter().enumerate() {
        let first = behind.map_or(0, |heads| heads[index / plan.per_session]) + 1;
        let wanted: Vec<u64> = (first..first + expected).collect();
        let seen = follower.seen.borrow();
        ensure!(*seen == wanted, "follower {index} received {seen:?} instead of {wanted:?}");
    }
    Ok((took, followers))
}

/// Connects, with retries until it succeeds.
async fn connect_with_retries(address: SocketAddr, token: &str, retried: &Cell<u64>) -> Connection {
    loop {
        match Connection::open(address, token).await {
            Ok(connection) => return connection,
            Err(_) => retried.set(retried.get() + 1),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Reads what arrives. Between two messages it holds no buffer.
async fn stay_idle(
    mut connection: Connection,
    seen: &RefCell<Vec<u64>>,
    expected: u64,
    served: &Cell<usize>,
) {
    loop {
        connection.shrink();
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

/// The seqs of the log entries in a message: one, or an array of them.
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
