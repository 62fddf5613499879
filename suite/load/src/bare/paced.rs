//! Publishers at a fixed rate, each session with a follower: measures the time from sending an event to its delivery.
//!
//! One task sends for all publishers and spins in between, since a timer's tick is as long as the times to measure. It needs a
//! core of its own.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use agentbench_auth::Role;
use hdrhistogram::Histogram;

use super::Connection;
use crate::child::token;

/// The parameters.
#[derive(Debug, Clone, Copy)]
pub struct Paced {
    /// Number of publishers, each with a session and a follower.
    pub publishers: usize,
    /// Events per second, of all publishers together.
    pub rate: u64,
    /// Size of a message in bytes.
    pub size: usize,
    /// Warm-up time.
    pub warm_up: Duration,
    /// Measured time.
    pub duration: Duration,
}

/// The result.
#[derive(Debug)]
pub struct PacedResult {
    /// Deliveries, µs from the scheduled send.
    pub planned: Histogram<u64>,
    /// Deliveries, µs from the actual send.
    pub raw: Histogram<u64>,
    /// Events sent in the measured time.
    pub sent: u64,
}

struct Shared {
    planned: RefCell<Histogram<u64>>,
    raw: RefCell<Histogram<u64>>,
    epoch: Instant,
    measuring: Cell<bool>,
}

/// Runs the load.
///
/// # Errors
/// A connection fails.
pub async fn paced(address: SocketAddr, plan: Paced) -> anyhow::Result<PacedResult> {
    let shared = Rc::new(Shared {
        planned: RefCell::new(Histogram::new(3)?),
        raw: RefCell::new(Histogram::new(3)?),
        epoch: Instant::now(),
        measuring: Cell::new(false),
    });
    let (mut publishers, mut followers) = (Vec::new(), Vec::new());
    for index in 0..plan.publishers {
        let mut publisher =
            Connection::open(address, &token(&format!("paced-{index}"), Role::Evaluator)?).await?;
        let session = publisher.open_session().await?;
        let mut follower =
            Connection::open(address, &token(&format!("reader-{index}"), Role::Viewer)?).await?;
        follower
            .command(&serde_json::json!({"command": "join_session", "sessionId": session, "from": "live"}))
            .await?;
        followers.push(tokio::task::spawn_local(follow(follower, Rc::clone(&shared))));
        publishers.push((publisher, session));
    }
    let sent = send(&mut publishers, plan, &shared).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    followers.iter().for_each(tokio::task::JoinHandle::abort);
    let (planned, raw) = (shared.planned.borrow().clone(), shared.raw.borrow().clone());
    Ok(PacedResult { planned, raw, sent })
}

async fn send(publishers: &mut [(Connection, String)], plan: Paced, shared: &Shared) -> anyhow::Result<u64> {
    let started = Instant::now();
    let text = "x".repeat(plan.size.saturating_sub(220));
    let (mut count, mut measured) = (0_u64, 0);
    while started.elapsed() < plan.warm_up + plan.duration {
        let due = (started.elapsed().as_secs_f64() * plan.rate as f64) as u64;
        shared.measuring.set(started.elapsed() > plan.warm_up);
        while count < due {
            let planned =
                started.duration_since(shared.epoch).as_nanos() as u64 + count * 1_000_000_000 / plan.rate;
            let (connection, session) = &mut publishers[(count % plan.publishers as u64) as usize];
            let now = shared.epoch.elapsed().as_nanos();
            let message = format!(
                "{{\"id\":\"{count}\",\"type\":\"test_event\",\"timestamp\":1,\"sessionId\":\"{session}\",\"data\":{{\"t\":[{planned},{now}],\"text\":\"{text}\"}}}}"
            );
            connection.queue(message.as_bytes());
            connection.write().await?;
            count += 1;
            measured += u64::from(shared.measuring.get());
        }
        tokio::task::yield_now().await;
    }
    Ok(measured)
}

async fn follow(mut connection: Connection, shared: Rc<Shared>) -> anyhow::Result<()> {
    loop {
        connection
            .read(&mut |text| {
                let now = shared.epoch.elapsed().as_nanos() as u64;
                if let Some((planned, sent)) = times(text)
                    && shared.measuring.get()
                {
                    // A run of seconds cannot exceed the histogram's range.
                    let _ = shared.planned.borrow_mut().record(now.saturating_sub(planned) / 1000);
                    let _ = shared.raw.borrow_mut().record(now.saturating_sub(sent) / 1000);
                }
            })
            .await?;
    }
}

/// The scheduled and the actual send time in an event.
fn times(text: &str) -> Option<(u64, u64)> {
    let (_, rest) = text.split_once("{\"t\":[")?;
    let (list, _) = rest.split_once(']')?;
    let (planned, sent) = list.split_once(',')?;
    Some((planned.parse().ok()?, sent.parse().ok()?))
}
