//! Publishers at a fixed rate, each session with a follower: how long an event takes from its sending to its delivery.
//!
//! One task sends for all publishers and spins between, since a timer's tick is as long as what is measured. It needs a core of its own.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use agentbench_auth::Role;
use hdrhistogram::Histogram;

use super::Connection;
use crate::child::token;

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Paced {
    /// Publishers, each with a session and a follower.
    pub publishers: usize,
    /// Events a second, of all publishers together.
    pub rate: u64,
    /// Bytes of one message.
    pub size: usize,
    /// Time before the measurement.
    pub warm_up: Duration,
    /// Time of the measurement.
    pub duration: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct PacedResult {
    /// Deliveries, µs from the planned moment of sending.
    pub planned: Histogram<u64>,
    /// Deliveries, µs from the real moment of sending.
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

/// Runs it.
///
/// # Errors
/// If a connection fails.
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
            connection.put(message.as_bytes());
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
                    // Values beyond the histogram's range cannot come from a run of seconds.
                    let _ = shared.planned.borrow_mut().record(now.saturating_sub(planned) / 1000);
                    let _ = shared.raw.borrow_mut().record(now.saturating_sub(sent) / 1000);
                }
            })
            .await?;
    }
}

/// The two moments that an event carries.
fn times(text: &str) -> Option<(u64, u64)> {
    let (_, rest) = text.split_once("{\"t\":[")?;
    let (list, _) = rest.split_once(']')?;
    let (planned, sent) = list.split_once(',')?;
    Some((planned.parse().ok()?, sent.parse().ok()?))
}
