//! A follower: reads one session to its end and records every delivery.

use std::sync::Arc;
use std::time::Duration;

use agentbench_client::Seq;
use agentbench_history::{ClientHistory, Operation, StopReason};
use agentbench_load::arrival::Arrivals;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::meters::{Counter, Meters};
use crate::publisher::SentTimes;
use crate::recorder::Recorder;
use crate::sdk::{Client, Follow, Step};

/// How long a follower that has everything waits for duplicates.
const LINGER: Duration = Duration::from_millis(50);

/// A connected follower that is owed events and receives nothing for this long stops waiting.
const SILENT_FOR: Duration = Duration::from_secs(10);

/// How far a follower must read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Not known yet.
    Open,
    /// Up to this seq.
    Seq(Seq),
    /// Cannot be known any more.
    Lost,
}

/// A follower of one session.
pub(crate) struct Follower {
    pub(crate) client: Client,
    pub(crate) follow: Follow,
    pub(crate) recorder: Recorder,
    pub(crate) arrivals: Arrivals,
    pub(crate) sent: Arc<SentTimes>,
    pub(crate) meters: Arc<Meters>,
    /// The time in which it does not read.
    pub(crate) silence: Option<Silence>,
    /// Whether its latencies count: those of a follower that joined late or paused say nothing about the server.
    pub(crate) is_timed: bool,
}

/// A time in which a follower does not read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Silence {
    /// Since the start of the run.
    pub(crate) from: Duration,
    pub(crate) time: Duration,
}

impl Follower {
    /// Reads until the goal is reached, or until the deadline.
    pub(crate) async fn run(mut self, mut goal: watch::Receiver<Goal>, deadline: Instant) -> ClientHistory {
        if let Some(began) = self.follow.began() {
            self.recorder.note(Operation::Read { epoch: began.epoch, after: began.seq });
        }
        let why = self.read(&mut goal, deadline).await;
        let dropped = self.client.counts().await.repeats;
        if dropped > 0 {
            self.recorder.note(Operation::Dropped { count: dropped });
        }
        self.recorder.note(Operation::Stop { why });
        self.recorder.finish()
    }

    async fn read(&mut self, goal: &mut watch::Receiver<Goal>, deadline: Instant) -> StopReason {
        let mut cursor = 0;
        let mut quiet_since = Instant::now();
        loop {
            if let Some(silence) = self.silence.take_if(|silence| self.meters.now() >= silence.from) {
                tokio::time::sleep(silence.time).await;
            }
            let now = *goal.borrow_and_update();
            match now {
                Goal::Seq(seq) if cursor >= seq => {
                    while let Ok(Some(item)) = timeout(LINGER, self.follow.next()).await {
                        cursor = self.take(item, cursor);
                    }
                    return StopReason::CaughtUp;
                }
                Goal::Lost => return StopReason::Cut,
                Goal::Seq(_) | Goal::Open => {}
            }
            let patience = if matches!(now, Goal::Seq(_)) { quiet_since + SILENT_FOR } else { deadline };
            tokio::select! {
                changed = goal.changed(), if now == Goal::Open => match changed {
                    Ok(()) => quiet_since = Instant::now(),
                    // The sender has been dropped.
                    Err(_) => return StopReason::Cut,
                },
                item = self.follow.next() => match item {
                    Some(item) => {
                        cursor = self.take(item, cursor);
                        quiet_since = Instant::now();
                    }
                    None => return StopReason::Cut,
                },
                () = tokio::time::sleep_until(deadline.min(patience)) => {
                    let why = self.late(now);
                    if why == StopReason::CaughtUp || Instant::now() >= deadline {
                        return why;
                    }
                    // Not connected: it may reconnect.
                    quiet_since = Instant::now();
                }
            }
        }
    }

    /// The deadline has passed: with a server and a goal, missing events were owed.
    fn late(&self, goal: Goal) -> StopReason {
        if self.client.is_connected() && matches!(goal, Goal::Seq(_)) {
            StopReason::CaughtUp
        } else {
            StopReason::Cut
        }
    }

    fn take(&mut self, step: Step, cursor: Seq) -> Seq {
        if let Step::Event { id, .. } = &step {
            match self.sent.of(id) {
                Some((index, sent)) if self.is_timed => self.meters.delivered(self.arrivals.due(index), sent),
                _ => self.meters.add(Counter::Delivered, 1),
            }
        }
        let reached = step.moves(cursor);
        self.recorder.step(step);
        reached
    }
}
