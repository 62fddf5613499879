//! Publishers and followers: each client has a session of its own, publishes in it, and is followed from a
//! second connection.

use std::sync::Arc;
use std::time::Duration;

use agentbench_client::{Backoff, Client, Config, Error, Follow, NewSession, SessionId, StartAt};
use agentbench_history::{ClientHistory, Operation, StoppedBecause};
use agentbench_load::arrival::{Arrivals, mix};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::final_read;
use crate::follower::{Follower, Goal};
use crate::meters::{Counter, Meters};
use crate::publisher::{Publisher, SentTimes};
use crate::recorder::Recorder;
use crate::target::Endpoint;

/// What a fleet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Clients, each with a session and a follower.
    pub clients: u32,
    /// Events that each publishes.
    pub messages: u32,
    /// Bytes of an event's `data`.
    pub payload: usize,
    /// Time over which the events are spread.
    pub spread: Duration,
    /// Time after which everything ends.
    pub limit: Duration,
    /// Chooses the contents and each client's first moment.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What each client did and saw.
    pub histories: Vec<ClientHistory>,
    /// Why clients could not begin.
    pub failures: Vec<String>,
    /// When the first event was due, since the run began.
    pub began: Duration,
}

/// Connections that are made at the same time.
const CONNECT_AT_ONCE: usize = 16;
/// From the last connection to the first event: everybody is there.
const START_DELAY: Duration = Duration::from_millis(50);
/// How long [`Client::close`] waits for outcomes that have not come in all the time before.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

impl Plan {
    /// The end of the run is kept free for followers to catch up and for final reads.
    fn reserve(&self) -> Duration {
        (self.limit / 5).min(Duration::from_secs(10))
    }
}

/// Runs a fleet. It ends within the plan's limit, whatever the server does; sooner, if `gone` says that there
/// is no server any more.
pub async fn run(
    endpoint: &Endpoint,
    plan: &Plan,
    meters: &Arc<Meters>,
    gone: &watch::Receiver<bool>,
) -> Outcome {
    let end = Instant::from_std(meters.begin()) + plan.limit;
    let mut outcome = Outcome::default();
    let pairs = connect(endpoint, plan, meters, end, &mut outcome).await;
    outcome.began = meters.now() + START_DELAY;
    let mut runs = JoinSet::new();
    for pair in pairs {
        let (plan, meters, gone) = (*plan, Arc::clone(meters), gone.clone());
        runs.spawn(pair.run(plan, outcome.began, end, meters, gone));
    }
    while let Some(run) = runs.join_next().await {
        match run {
            Ok(histories) => outcome.histories.extend(histories),
            Err(error) => outcome.failures.push(format!("a client of the suite has failed: {error}")),
        }
    }
    outcome.histories.sort_by(|a, b| a.client.cmp(&b.client));
    outcome
}

/// Waits until there is no server any more; for ever, if nobody can tell.
pub(crate) async fn is_gone(gone: &mut watch::Receiver<bool>) {
    if gone.wait_for(|gone| *gone).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn connect(
    endpoint: &Endpoint,
    plan: &Plan,
    meters: &Arc<Meters>,
    end: Instant,
    outcome: &mut Outcome,
) -> Vec<Pair> {
    let at_once = Arc::new(Semaphore::new(CONNECT_AT_ONCE));
    let mut opening = JoinSet::new();
    for index in 0..plan.clients {
        let (endpoint, plan) = (endpoint.clone(), *plan);
        let (meters, at_once) = (Arc::clone(meters), Arc::clone(&at_once));
        opening.spawn(async move {
            let _turn = at_once.acquire_owned().await;
            let opened = Pair::open(&endpoint, &plan, index, &meters);
            let opened = tokio::time::timeout_at(end - plan.limit / 2, opened).await;
            opened.unwrap_or(Err(Error::TimedOut(plan.limit / 2)))
        });
    }
    let mut pairs = Vec::new();
    while let Some(opened) = opening.join_next().await {
        match opened {
            Ok(Ok(pair)) => pairs.push(pair),
            Ok(Err(error)) => outcome.failures.push(error.to_string()),
            Err(error) => outcome.failures.push(format!("a client of the suite has failed: {error}")),
        }
    }
    pairs
}

/// A publisher's and a follower's connection, and their session.
struct Pair {
    index: u32,
    publisher: Client,
    follower: Client,
    session: SessionId,
    follow: Follow,
}

impl Pair {
    async fn open(endpoint: &Endpoint, plan: &Plan, index: u32, meters: &Meters) -> Result<Self, Error> {
        let publisher = connect_one(endpoint, plan, meters).await?;
        let follower = connect_one(endpoint, plan, meters).await?;
        let new = NewSession::new("agentbench-suite", format!("client-{index}"), "load");
        let created = publisher.create_session(new).await?;
        let follow = follower.follow(created.session_id, StartAt::Start).await?;
        Ok(Self { index, publisher, follower, session: created.session_id, follow })
    }

    async fn run(
        self,
        plan: Plan,
        began: Duration,
        end: Instant,
        meters: Arc<Meters>,
        gone: watch::Receiver<bool>,
    ) -> [ClientHistory; 3] {
        let name = |role: &str| format!("{role}-{:05}", self.index);
        let recorder = |role| Recorder::new(name(role), self.session, Arc::clone(&meters));
        let (count, client) = (plan.messages, u64::from(self.index));
        let arrivals = Arrivals::new(count, plan.spread, plan.seed, client).delayed(began);
        let sent = Arc::new(SentTimes::new(&name("publisher"), count));
        let publisher = Publisher {
            client: self.publisher.clone(),
            session: self.session,
            recorder: recorder("publisher"),
            arrivals,
            sent: Arc::clone(&sent),
            payload: plan.payload,
            seed: mix(plan.seed ^ mix(client)),
            meters: Arc::clone(&meters),
            gone: gone.clone(),
        };
        let follower = Follower {
            client: self.follower.clone(),
            follow: self.follow,
            recorder: recorder("follower"),
            arrivals,
            sent,
            meters: Arc::clone(&meters),
        };
        let (set_goal, goal) = watch::channel(Goal::Open);
        let mut reader = recorder("reader");
        let publishing = async {
            let history = publisher.run(end - plan.reserve()).await;
            let read_by = end - plan.reserve() / 2;
            let found = read_finally(&self.follower, self.session, &mut reader, read_by, gone).await;
            set_goal.send_replace(found);
            history
        };
        let (published, followed) = tokio::join!(publishing, follower.run(goal, end - CLOSE_TIMEOUT * 3));
        for client in [&self.publisher, &self.follower] {
            count_stats(client, &meters);
            client.close().await;
        }
        [published, followed, reader.finish()]
    }
}

/// Reads the whole log, and gives how far the follower has to come.
async fn read_finally(
    client: &Client,
    session: SessionId,
    recorder: &mut Recorder,
    deadline: Instant,
    mut gone: watch::Receiver<bool>,
) -> Goal {
    let read = tokio::select! {
        biased;
        () = is_gone(&mut gone) => None,
        read = tokio::time::timeout_at(deadline, final_read::read(client, session, recorder)) => Some(read),
    };
    if let Some(Ok(Ok(head))) = read {
        return Goal::Seq(head);
    }
    // It may have been given up in the middle, and must not pass for a whole one.
    recorder.note(Operation::Stop { why: StoppedBecause::Cut });
    Goal::Lost
}

async fn connect_one(endpoint: &Endpoint, plan: &Plan, meters: &Meters) -> Result<Client, Error> {
    let backoff = Backoff { base: Duration::from_millis(20), max: Duration::from_secs(1), attempts: None };
    let config = Config::new(&endpoint.url)
        .token(&endpoint.token)
        // Everything is sent when it is due: the outbox holds whatever the server does not take.
        .outbox(plan.messages as usize + 1, usize::MAX)
        .ack_timeout(plan.limit)
        .command_timeout(plan.limit)
        .backoff(backoff)
        .close_timeout(CLOSE_TIMEOUT);
    let started = Instant::now();
    let connected = Client::connect(config).await;
    match &connected {
        Ok(_) => {
            meters.add(Counter::Connected, 1);
            meters.histograms().connect.record(started.elapsed());
        }
        Err(_) => meters.add(Counter::ConnectFailed, 1),
    }
    connected
}

fn count_stats(client: &Client, meters: &Meters) {
    let stats = client.stats();
    meters.add(Counter::Reconnects, stats.reconnects);
    meters.add(Counter::Retried, stats.retried);
    meters.add(Counter::BytesIn, stats.bytes_in);
    meters.add(Counter::BytesOut, stats.bytes_out);
}
