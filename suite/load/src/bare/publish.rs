//! Publishers that keep a number of events in flight, each in its own session.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agentbench_auth::Role;
use anyhow::Context;
use hdrhistogram::Histogram;

use super::{Connection, Inbound};
use crate::child::token;

/// The parameters.
#[derive(Debug, Clone, Copy)]
pub struct Publish {
    /// Number of publishers.
    pub publishers: usize,
    /// Number of unacked events per publisher.
    pub in_flight: usize,
    /// Size of a message in bytes.
    pub size: usize,
    /// Warm-up time.
    pub warm_up: Duration,
    /// Measured time.
    pub duration: Duration,
}

/// The result.
#[derive(Debug, Clone)]
pub struct PublishResult {
    /// Events acked in the measured time.
    pub acked: u64,
    /// Number of error messages.
    pub errors: u64,
    /// The measured time.
    pub took: Duration,
    /// From sending to ack, µs.
    pub latency: Histogram<u64>,
}

/// Runs of this process: each has its own users, since the server remembers a user's ids.
static RUNS: AtomicU64 = AtomicU64::new(0);

/// Counters shared by the publishers of a run.
struct Counts {
    acked: Cell<u64>,
    errors: Cell<u64>,
    done: Cell<bool>,
    latency: RefCell<Histogram<u64>>,
}

/// Runs the load. `measure` is called at the start and at the end of the measured time.
///
/// # Errors
/// A connection fails.
pub async fn publish(
    address: SocketAddr,
    plan: Publish,
    mut measure: impl FnMut(),
) -> anyhow::Result<PublishResult> {
    let counts = Rc::new(Counts {
        acked: Cell::new(0),
        errors: Cell::new(0),
        done: Cell::new(false),
        latency: RefCell::new(Histogram::new(3)?),
    });
    let run_number = RUNS.fetch_add(1, Ordering::Relaxed);
    let mut tasks = Vec::new();
    for index in 0..plan.publishers {
        let token = token(&format!("publisher-{run_number}-{index}"), Role::Evaluator)?;
        let mut connection = Connection::open(address, &token).await?;
        let session = open_session(&mut connection).await?;
        tasks.push(tokio::task::spawn_local(run(connection, session, plan, Rc::clone(&counts))));
    }
    tokio::time::sleep(plan.warm_up).await;
    measure();
    counts.latency.borrow_mut().reset();
    let (before, started) = (counts.acked.get(), Instant::now());
    tokio::time::sleep(plan.duration).await;
    let result = PublishResult {
        acked: counts.acked.get() - before,
        errors: counts.errors.get(),
        took: started.elapsed(),
        latency: counts.latency.borrow().clone(),
    };
    measure();
    counts.done.set(true);
    for task in tasks {
        task.await.context("a publisher panicked")??;
    }
    Ok(result)
}

/// Opens a session and returns its id.
pub(super) async fn open_session(connection: &mut Connection) -> anyhow::Result<String> {
    let data = serde_json::json!({"command": "create_session", "projectId": "load", "testId": "load", "agentName": "load"});
    let created = connection.command(&data).await?;
    Ok(created["sessionId"].as_str().context("no sessionId in the reply")?.to_owned())
}

/// A message of about `size` bytes, as the parts before and after its id.
pub(super) fn message_parts(session: &str, size: usize, ack: bool) -> (String, String) {
    let head = "{\"id\":\"".to_owned();
    let metadata = if ack { ",\"metadata\":{\"requiresAck\":true}" } else { "" };
    let tail = |text: &str| {
        format!(
            "\",\"type\":\"test_event\",\"timestamp\":1760000000000,\"sessionId\":\"{session}\",\"data\":{{\"eventType\":\"console_log\",\"text\":\"{text}\"}}{metadata}}}"
        )
    };
    let bare = head.len() + tail("").len() + 12;
    let text = "All work and no play makes a dull log. ".repeat(size / 39 + 1);
    (head, tail(&text[..size.saturating_sub(bare)]))
}

async fn run(
    mut connection: Connection,
    session: String,
    plan: Publish,
    counts: Rc<Counts>,
) -> anyhow::Result<()> {
    let (head, tail) = message_parts(&session, plan.size, true);
    let (mut sent, mut free) = (0_u64, plan.in_flight);
    let mut message = Vec::new();
    let mut on_their_way: VecDeque<Instant> = VecDeque::new();
    while !counts.done.get() {
        let now = Instant::now();
        on_their_way.extend((0..free).map(|_| now));
        for _ in 0..free {
            sent += 1;
            message.clear();
            message.extend_from_slice(head.as_bytes());
            message.extend_from_slice(format!("{sent:012}").as_bytes());
            message.extend_from_slice(tail.as_bytes());
            connection.queue(&message);
        }
        connection.write().await?;
        free = 0;
        while free == 0 {
            let (mut acks, mut refused) = (0, 0);
            connection
                .read(&mut |text| match Inbound::of(text) {
                    Inbound::Acks(count) => acks += count,
                    Inbound::Error => refused += 1,
                    Inbound::Event(_) | Inbound::Other => {}
                })
                .await?;
            counts.acked.set(counts.acked.get() + acks as u64);
            counts.errors.set(counts.errors.get() + refused as u64);
            free = acks + refused;
            for sent in on_their_way.drain(..free.min(on_their_way.len())) {
                // A run is far shorter than the histogram's range.
                let _ = counts.latency.borrow_mut().record(sent.elapsed().as_micros() as u64);
            }
        }
    }
    Ok(())
}
