//! A scenario run: a fleet, its faults, and the observations, passed to the judge.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentbench_history::{ClientHistory, check};
use agentbench_load::connect::{Steps, connect};
use agentbench_report::schema::ScenarioResult;
use anyhow::Context;
use tokio::sync::{Mutex, watch};

use crate::definition::Scenario;
use crate::disturb::{DisturbanceRecord, disturb};
use crate::faults::{Disturbance, PlannedFault, disturbances, planned};
use crate::fleet::{Fleet, Outcome};
use crate::judge::{self, RunData};
use crate::measure::Observer;
use crate::meters::Meters;
use crate::routes::{Routes, address_of};
use crate::sdk::Sdk;
use crate::search;
use crate::supervisor::Supervised;
use crate::target::{CannotRun, Endpoint, PreparedTarget, Target};

/// Time between two observations of the run.
const SAMPLE_PERIOD: Duration = Duration::from_millis(250);
/// Time limit of each connection opened one by one.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// The result of a run, and the histories behind it.
#[derive(Debug)]
pub struct Run {
    /// The result.
    pub result: ScenarioResult,
    /// Each client's history.
    pub histories: Vec<ClientHistory>,
    /// The planned faults.
    pub planned: Vec<PlannedFault>,
}

/// The input of a run.
#[derive(Debug)]
pub struct Order<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The server under test.
    pub target: &'a Target,
    /// The SDK of the clients.
    pub sdk: &'a Sdk,
    /// Seed of everything random.
    pub seed: u64,
    /// The command that repeats the run.
    pub replay: String,
    /// Set when the user interrupts the run: it is then judged as far as it got.
    pub stop: watch::Receiver<bool>,
}

/// Runs a scenario. `progress` is called several times a second.
///
/// # Errors
/// [`CannotRun`] if there is no server to test.
pub async fn run(order: &Order<'_>, mut progress: impl FnMut(&Meters)) -> Result<Run, CannotRun> {
    let prepared = order.target.prepare(order.scenario).await?;
    if order.scenario.search.is_some() {
        return search::run(order, prepared, progress).await;
    }
    let connecting = one_by_one(order.scenario, &prepared.endpoint).await?;
    let mut running = Running::new(order, prepared, None).await?;
    running.connecting = connecting;
    let ended = running.fleet(&mut progress).await;
    Ok(running.finish(ended).await)
}

/// Connects one by one and times each step, where the scenario is about connecting.
async fn one_by_one(scenario: &Scenario, endpoint: &Endpoint) -> anyhow::Result<Vec<Option<Steps>>> {
    let mut connecting = Vec::new();
    if scenario.cuts.is_some() {
        let address = address_of(&endpoint.url).await?;
        for _ in 0..scenario.clients {
            connecting.push(connect(address, &endpoint.token, CONNECT_PATIENCE).await.ok());
        }
    }
    Ok(connecting)
}

/// A run in progress.
pub(crate) struct Running<'a> {
    pub(crate) order: &'a Order<'a>,
    pub(crate) meters: Arc<Meters>,
    routes: Arc<Routes>,
    supervised: Option<Supervised>,
    /// A server on this machine that the suite did not start.
    watched: Option<u32>,
    planned: Vec<PlannedFault>,
    disturbances: Vec<(Duration, Disturbance)>,
    observer: Observer,
    connecting: Vec<Option<Steps>>,
    set_gone: watch::Sender<bool>,
}

/// How a run ended.
pub(crate) struct RunEnd {
    outcome: Outcome,
    disturbed: Vec<DisturbanceRecord>,
    began: Duration,
    reasons: Vec<String>,
    is_interrupted: bool,
}

impl<'a> Running<'a> {
    /// `watched` is the server's process and its data folder, if they are on this machine and not supervised.
    pub(crate) async fn new(
        order: &'a Order<'a>,
        prepared: PreparedTarget,
        watched: Option<(u32, PathBuf)>,
    ) -> Result<Self, CannotRun> {
        let PreparedTarget { endpoint, supervisor } = prepared;
        let own = supervisor.as_ref().and_then(|it| Some((it.pid()?, it.data_dir().to_owned())));
        let (scenario, seed) = (order.scenario, order.seed);
        let planned = planned(scenario, seed);
        // Only a server of ours may be killed.
        let disturbances = match &supervisor {
            Some(_) => disturbances(&scenario.faults, scenario.spread(), seed),
            None => Vec::new(),
        };
        let routes = if scenario.needs_proxies() {
            Routes::through_proxies(endpoint, scenario.clients, seed).await?
        } else {
            Routes::direct(endpoint)
        };
        routes.plan(&planned)?;
        Ok(Self {
            order,
            meters: Arc::new(Meters::default()),
            routes: Arc::new(routes),
            supervised: supervisor.map(|supervisor| Arc::new(Mutex::new(supervisor))),
            watched: watched.as_ref().map(|(pid, _)| *pid),
            planned,
            disturbances,
            observer: Observer::new(own.or(watched)),
            connecting: Vec::new(),
            set_gone: watch::channel(false).0,
        })
    }

    /// Runs the fleet, carries out the planned faults and disturbances, and observes all of it.
    pub(crate) async fn fleet(&mut self, progress: &mut impl FnMut(&Meters)) -> RunEnd {
        let fleet = Fleet {
            scenario: Arc::new(self.order.scenario.clone()),
            sdk: self.order.sdk.clone(),
            seed: self.order.seed,
            routes: Arc::clone(&self.routes),
            meters: Arc::clone(&self.meters),
            gone: self.set_gone.subscribe(),
        };
        let (set_began, began) = watch::channel(None);
        let disturbing = disturbing(
            self.disturbances.clone(),
            self.supervised.clone(),
            Arc::clone(&self.routes),
            Arc::clone(&self.meters),
            began.clone(),
        );
        let everything = async { tokio::join!(fleet.run(&set_began), disturbing) };
        tokio::pin!(everything);
        let mut period = tokio::time::interval(SAMPLE_PERIOD);
        let mut stop = self.order.stop.clone();
        let (mut reasons, mut is_interrupted) = (Vec::new(), false);
        let (outcome, (disturbed, end)) = loop {
            tokio::select! {
                done = &mut everything => break done,
                () = is_stopped(&mut stop) => {
                    let after = self.meters.now().as_secs_f64();
                    reasons.push(format!("interrupted after {after:.1} s: unfinished events are not judged"));
                    is_interrupted = true;
                    break (Outcome::default(), (Vec::new(), Ok(())));
                }
                _ = period.tick() => {
                    self.observe();
                    progress(&self.meters);
                }
            }
        };
        self.observe();
        progress(&self.meters);
        if let Err(error) = end {
            reasons.push(format!("the server did not restart: {error:#}"));
        }
        let began = began.borrow().unwrap_or_default();
        RunEnd { outcome, disturbed, began, reasons, is_interrupted }
    }

    /// Takes a measurement; the fleet is notified if the server is down for good.
    fn observe(&mut self) {
        // While the lock is held, the server is being stopped or started: it is down on purpose.
        let supervisor = self.supervised.as_ref().map(|supervised| supervised.try_lock());
        let pid = match supervisor {
            Some(Ok(mut supervisor)) => {
                if supervisor.has_ended() {
                    self.set_gone.send_replace(true);
                }
                supervisor.pid()
            }
            Some(Err(_)) => None,
            None => self.watched,
        };
        self.observer.observe(&self.meters, pid);
    }

    /// Stops the server and judges the run.
    pub(crate) async fn finish(self, ended: RunEnd) -> Run {
        let RunEnd { outcome, disturbed, began, mut reasons, is_interrupted } = ended;
        let took = self.meters.now();
        let server = self.observer.server(took);
        let gone = *self.set_gone.borrow();
        reasons.extend(outcome.failures.iter().cloned());
        if let Err(reason) = stop(self.supervised, gone).await {
            reasons.push(reason);
        }
        let data = RunData {
            scenario: self.order.scenario,
            replay: self.order.replay.clone(),
            meters: &self.meters,
            took,
            began,
            outcome: &outcome,
            verdict: check(&outcome.histories),
            planned: &self.planned,
            disturbances: &self.disturbances,
            disturbed: &disturbed,
            strikes: &self.routes.strikes(),
            connecting: &self.connecting,
            server,
            generator: self.observer.generator(took),
            queues: self.observer.queues(),
            samples: self.observer.into_samples(),
            reasons,
            is_interrupted,
        };
        Run { result: judge::judge(data), histories: outcome.histories, planned: self.planned }
    }
}

/// Like [`disturb`], but does nothing if the server is not ours.
async fn disturbing(
    planned: Vec<(Duration, Disturbance)>,
    supervised: Option<Supervised>,
    routes: Arc<Routes>,
    meters: Arc<Meters>,
    began: watch::Receiver<Option<Duration>>,
) -> (Vec<DisturbanceRecord>, anyhow::Result<()>) {
    match supervised {
        Some(supervised) if !planned.is_empty() => {
            disturb(&planned, &supervised, &routes, &meters, began).await
        }
        _ => (Vec::new(), Ok(())),
    }
}

async fn stop(supervised: Option<Supervised>, gone: bool) -> Result<(), String> {
    if gone {
        return Err("the server exited during the run".to_owned());
    }
    let Some(supervised) = supervised else { return Ok(()) };
    // After an interrupt, a task may still be restarting the server; the server then ends with the lock's owner.
    let Ok(supervisor) = Arc::try_unwrap(supervised) else { return Ok(()) };
    let stopped = supervisor.into_inner().stop().await.context("the server did not stop as it should");
    stopped.map_err(|error| format!("{error:#}"))
}

async fn is_stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
