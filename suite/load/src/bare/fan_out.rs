//! One publisher, many followers of its session.
//!
//! [`broadcast`](crate::target::broadcast) does the same for servers of any kind, and records the latency of each delivery. Figures of
//! the two differ by more than their noise, so the budgets keep this one.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use agentbench_auth::Role;
use anyhow::Context;

use super::{Connection, Inbound};
use crate::child::token;
use crate::target::{Template, event};

/// The parameters.
#[derive(Debug, Clone, Copy)]
pub struct FanOut {
    /// Number of followers.
    pub followers: usize,
    /// Number of events sent together; the next ones follow when every follower has received these.
    pub together: usize,
    /// Size of a message in bytes.
    pub size: usize,
    /// Warm-up time.
    pub warm_up: Duration,
    /// Measured time.
    pub duration: Duration,
}

/// The result.
#[derive(Debug, Clone, Copy)]
pub struct FanOutResult {
    /// Deliveries in the measured time.
    pub delivered: u64,
    /// The measured time.
    pub took: Duration,
}

/// Runs the load. `measure` is called at the start and at the end of the measured time.
///
/// # Errors
/// A connection fails, or a follower receives anything but the next seq.
pub async fn fan_out(
    address: SocketAddr,
    plan: FanOut,
    mut measure: impl FnMut(),
) -> anyhow::Result<FanOutResult> {
    let mut publisher = Connection::open(address, &token("publisher", Role::Evaluator)?).await?;
    let session = publisher.open_session().await?;
    let (delivered, done) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(false)));
    let arrived = Rc::new(tokio::sync::Notify::new());
    let expected = Rc::new(Cell::new(u64::MAX));
    let mut tasks = Vec::new();
    for index in 0..plan.followers {
        let mut follower =
            Connection::open(address, &token(&format!("follower-{index}"), Role::Viewer)?).await?;
        follower
            .command(&serde_json::json!({"command": "join_session", "sessionId": session, "from": "live"}))
            .await?;
        let (delivered, done, arrived, expected) =
            (Rc::clone(&delivered), Rc::clone(&done), Rc::clone(&arrived), Rc::clone(&expected));
        tasks.push(tokio::task::spawn_local(follow(follower, delivered, done, arrived, expected)));
    }
    let mut template = Template::new(&event(plan.size, Some(&session), false));
    let mut sent = 0_u64;
    let mut started: Option<(Instant, u64)> = None;
    let begin = Instant::now();
    let result = loop {
        for _ in 0..plan.together {
            sent += 1;
            publisher.queue(template.fill(sent));
        }
        expected.set(sent * plan.followers as u64);
        publisher.write().await?;
        while delivered.get() < expected.get() {
            tokio::time::timeout(Duration::from_secs(20), arrived.notified())
                .await
                .context("deliveries are missing")?;
        }
        match started {
            None if begin.elapsed() > plan.warm_up => {
                measure();
                started = Some((Instant::now(), delivered.get()));
            }
            Some((at, before)) if at.elapsed() > plan.duration => {
                let result = FanOutResult { delivered: delivered.get() - before, took: at.elapsed() };
                measure();
                break result;
            }
            _ => {}
        }
    };
    done.set(true);
    for task in &tasks {
        task.abort();
    }
    Ok(result)
}

async fn follow(
    mut connection: Connection,
    delivered: Rc<Cell<u64>>,
    done: Rc<Cell<bool>>,
    arrived: Rc<tokio::sync::Notify>,
    expected: Rc<Cell<u64>>,
) -> anyhow::Result<()> {
    let mut last = None;
    while !done.get() {
        let (mut count, mut wrong) = (0, false);
        connection
            .read(&mut |text| {
                if let Inbound::Event(seq) = Inbound::of(text) {
                    wrong |= last.is_some_and(|last| seq != last + 1);
                    last = Some(seq);
                    count += 1;
                }
            })
            .await?;
        assert!(!wrong, "a follower received a seq out of order");
        delivered.set(delivered.get() + count);
        if delivered.get() >= expected.get() {
            arrived.notify_one();
        }
    }
    Ok(())
}
