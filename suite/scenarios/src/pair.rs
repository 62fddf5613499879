//! One client of a fleet: a publisher's connection, a follower's, their session, and followers that join later.

use std::sync::Arc;
use std::time::Duration;

use agentbench_client::{Client as RustClient, ConnectionEvent, Error, NewSession, SessionId, broadcast};
use agentbench_history::{ClientHistory, Operation, StopReason};
use agentbench_load::arrival::{Arrivals, mix};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::cuts::{CutRecord, Victim};
use crate::definition::Scenario;
use crate::faults::Side;
use crate::final_read;
use crate::fleet::{Fleet, is_gone};
use crate::follower::{Follower, Goal, Silence};
use crate::meters::{Counter, Meters};
use crate::publisher::{Publisher, SentTimes, client_name};
use crate::recorder::Recorder;
use crate::routes::Route;
use crate::sdk::{Client, Follow, Manner};
use crate::target::Endpoint;

/// How long [`Client::close`] waits for outstanding outcomes.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(100);
/// Queue length of a follower that does not read, small so that the socket fills soon.
const SLOW_BUFFER: usize = 8;

/// A connected client with its session.
pub(crate) struct Pair {
    client: Running,
    follow: Follow,
}

/// What the tasks of a client share.
#[derive(Clone)]
struct Running {
    index: u32,
    session: SessionId,
    fleet: Fleet,
    publisher: (Client, Route),
    follower: (Client, Route),
}

/// The times of a client's actions.
#[derive(Clone)]
struct Schedule {
    arrivals: Arrivals,
    sent: Arc<SentTimes>,
    began: Duration,
    end: Instant,
}

/// The record of one client's run.
pub(crate) struct PairOutcome {
    pub(crate) histories: Vec<ClientHistory>,
    pub(crate) cuts: Vec<CutRecord>,
}

impl Pair {
    pub(crate) async fn open(fleet: &Fleet, index: u32) -> Result<Self, Error> {
        let (to_publish, to_follow) =
            (fleet.routes.of(index, Side::Publisher), fleet.routes.of(index, Side::Follower));
        let publisher = connect(&to_publish.endpoint, fleet, false).await?;
        let follower = connect(&to_follow.endpoint, fleet, is_slow(&fleet.scenario, index)).await?;
        let new = NewSession::new("agentbench-suite", format!("client-{index}"), "load");
        let session = publisher.create_session(new).await?;
        let follow = follower.follow(session).await?;
        let (publisher, follower) = ((publisher, to_publish), (follower, to_follow));
        Ok(Self { client: Running { index, session, fleet: fleet.clone(), publisher, follower }, follow })
    }

    pub(crate) fn session(&self) -> SessionId {
        self.client.session
    }

    /// Publishes and follows until everything has arrived or the time is over.
    pub(crate) async fn run(self, began: Duration, end: Instant) -> PairOutcome {
        let (scenario, seed) = (&self.client.fleet.scenario, self.client.fleet.seed);
        let (count, spread) = (scenario.messages, scenario.spread());
        let arrivals = Arrivals::new(count, spread, seed, u64::from(self.client.index)).delayed(began);
        let sent = Arc::new(SentTimes::new(self.client.index, count));
        self.client.run(self.follow, Schedule { arrivals, sent, began, end }).await
    }
}

impl Running {
    async fn run(self, follow: Follow, schedule: Schedule) -> PairOutcome {
        let (set_goal, goal) = watch::channel(Goal::Open);
        let last_moment = schedule.end - CLOSE_TIMEOUT * 3;
        let mut reader = self.recorder("reader");
        let mut late = JoinSet::new();
        for number in 0..self.fleet.scenario.readers.late {
            let (client, schedule, goal) = (self.clone(), schedule.clone(), goal.clone());
            late.spawn(async move { client.join_late(number, &schedule, goal, last_moment).await });
        }
        let publishing = async {
            let publish_by = schedule.end - self.fleet.reserve();
            let publishing = self.publisher(&schedule).run(publish_by);
            let (history, cuts) = tokio::join!(publishing, self.cut_again_and_again(publish_by));
            // The publisher's connection is done; the follower's faults wait for events on their way.
            if let Some(proxy) = &self.publisher.1.proxy {
                proxy.heal();
            }
            let read_by = schedule.end - self.fleet.reserve() / 2;
            set_goal.send_replace(self.read_finally(&mut reader, read_by).await);
            (history, cuts)
        };
        let following = self.follower(follow, &schedule).run(goal, last_moment);
        let ((published, cuts), followed) = tokio::join!(publishing, following);
        let mut histories = vec![published, followed, reader.finish()];
        // If a task failed, the counts show the missing reader.
        while let Some(joined) = late.join_next().await {
            histories.extend(joined.ok().flatten());
        }
        for client in [&self.publisher.0, &self.follower.0] {
            count_stats(client, &self.fleet.meters).await;
            client.close().await;
        }
        PairOutcome { histories, cuts }
    }

    fn recorder(&self, role: &str) -> Recorder {
        Recorder::new(client_name(role, self.index), self.session, Arc::clone(&self.fleet.meters))
    }

    fn publisher(&self, schedule: &Schedule) -> Publisher {
        Publisher {
            client: self.publisher.0.clone(),
            session: self.session,
            recorder: self.recorder("publisher"),
            arrivals: schedule.arrivals,
            sent: Arc::clone(&schedule.sent),
            scenario: Arc::clone(&self.fleet.scenario),
            seed: mix(self.fleet.seed ^ mix(u64::from(self.index))),
            meters: Arc::clone(&self.fleet.meters),
            gone: self.fleet.gone.clone(),
        }
    }

    fn follower(&self, follow: Follow, schedule: &Schedule) -> Follower {
        let scenario = &self.fleet.scenario;
        let is_slow = is_slow(scenario, self.index);
        let silence = is_slow.then(|| {
            let time = Duration::from_millis(scenario.readers.slow_ms);
            Silence { from: schedule.began + scenario.spread().saturating_sub(time) / 2, time }
        });
        Follower {
            client: self.follower.0.clone(),
            follow,
            recorder: self.recorder("follower"),
            arrivals: schedule.arrivals,
            sent: Arc::clone(&schedule.sent),
            meters: Arc::clone(&self.fleet.meters),
            silence,
            is_timed: !is_slow,
        }
    }

    /// A further follower, which joins during the run and reads from the session's start.
    async fn join_late(
        &self,
        number: u32,
        schedule: &Schedule,
        goal: watch::Receiver<Goal>,
        deadline: Instant,
    ) -> Option<ClientHistory> {
        let meters = &self.fleet.meters;
        let share = f64::from(number + 1) / f64::from(self.fleet.scenario.readers.late + 1);
        let moment = schedule.began + self.fleet.scenario.spread().mul_f64(share);
        sleep_until(Instant::from_std(meters.begin()) + moment).await;
        let joining = async {
            let client = connect(&self.fleet.routes.straight(), &self.fleet, false).await?;
            let follow = client.follow(self.session).await?;
            Ok::<_, Error>((client, follow))
        };
        let (client, follow) = timeout_at(deadline, joining).await.ok()?.ok()?;
        let name = format!("late-{number}-{:05}", self.index);
        let follower = Follower {
            client: client.clone(),
            follow,
            recorder: Recorder::new(name, self.session, Arc::clone(meters)),
            arrivals: schedule.arrivals,
            sent: Arc::clone(&schedule.sent),
            meters: Arc::clone(meters),
            silence: None,
            is_timed: false,
        };
        let history = follower.run(goal, deadline).await;
        count_stats(&client, meters).await;
        client.close().await;
        Some(history)
    }

    /// Cuts both connections, each on its own schedule.
    async fn cut_again_and_again(&self, deadline: Instant) -> Vec<CutRecord> {
        let Some(cuts) = &self.fleet.scenario.cuts else { return Vec::new() };
        let cut = async |side: Side, (client, route): &(Client, Route)| {
            let Some(proxy) = route.proxy.clone() else { return Vec::new() };
            let victim = Victim { index: self.index, side, client, proxy };
            victim.cut_again_and_again(cuts, &self.fleet.meters, deadline).await
        };
        let (mut records, others) =
            tokio::join!(cut(Side::Publisher, &self.publisher), cut(Side::Follower, &self.follower));
        records.extend(others);
        records
    }

    /// Reads the whole log over a connection without faults, always with the Rust SDK, and returns how far the followers must read.
    async fn read_finally(&self, recorder: &mut Recorder, deadline: Instant) -> Goal {
        let mut gone = self.fleet.gone.clone();
        let page = final_read::page_for(self.fleet.scenario.largest_payload());
        let reading = async {
            let client =
                RustClient::connect(manner(&self.fleet).config(&self.fleet.routes.straight())).await?;
            let read = final_read::read(&client, self.session, page, recorder).await;
            client.close().await;
            read
        };
        let read = tokio::select! {
            biased;
            () = is_gone(&mut gone) => None,
            read = timeout_at(deadline, reading) => Some(read),
        };
        if let Some(Ok(Ok(head))) = read {
            return Goal::Seq(head);
        }
        // The read may have been aborted, and must not count as complete.
        recorder.note(Operation::Stop { why: StopReason::Cut });
        Goal::Lost
    }
}

/// Whether this client's follower is one of those that pause; they are spread over the clients.
fn is_slow(scenario: &Scenario, index: u32) -> bool {
    let before = |count: u32| (f64::from(count) * scenario.readers.slow_share).floor();
    before(index + 1) > before(index)
}

fn manner(fleet: &Fleet) -> Manner {
    let scenario = &fleet.scenario;
    Manner {
        // Events are sent when due: the outbox holds all that the server does not accept.
        outbox: scenario.messages as usize + 1,
        limit: scenario.limit(),
        close_timeout: CLOSE_TIMEOUT,
        is_disturbed: scenario.needs_proxies(),
        follow_buffer: None,
    }
}

async fn connect(endpoint: &Endpoint, fleet: &Fleet, is_slow: bool) -> Result<Client, Error> {
    let meters = &fleet.meters;
    let manner = Manner { follow_buffer: is_slow.then_some(SLOW_BUFFER), ..manner(fleet) };
    let started = Instant::now();
    let connected = fleet.sdk.connect(endpoint, &manner).await;
    match &connected {
        Ok(client) => {
            meters.add(Counter::Connected, 1);
            meters.histograms().connect.record(started.elapsed());
            tokio::spawn(note_returns(client.events(), Arc::clone(meters)));
        }
        Err(_) => meters.add(Counter::ConnectFailed, 1),
    }
    connected
}

/// Records reconnects until the client has ended.
async fn note_returns(mut events: broadcast::Receiver<ConnectionEvent>, meters: Arc<Meters>) {
    loop {
        match events.recv().await {
            Ok(ConnectionEvent::Connected { .. }) => meters.came_back(),
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

async fn count_stats(client: &Client, meters: &Meters) {
    let counts = client.counts().await;
    meters.add(Counter::Reconnects, counts.reconnects);
    meters.add(Counter::Retried, counts.retried);
    meters.add(Counter::BytesIn, counts.bytes_in);
    meters.add(Counter::BytesOut, counts.bytes_out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::built_in;

    #[test]
    fn the_slow_ones_are_as_many_as_the_share_says() {
        let slow = |share: f64, clients: u32| {
            let mut scenario = built_in::named("Slow Readers").unwrap();
            scenario.readers.slow_share = share;
            (0..clients).filter(|index| is_slow(&scenario, *index)).count()
        };
        assert_eq!((slow(0.1, 20), slow(0.0, 20), slow(1.0, 20), slow(0.5, 7)), (2, 0, 20, 3));
    }
}
