//! A fleet of publishers and followers on a real server, while something is done to the server. The history of what they saw is
//! judged like that of every scenario.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentbench_auth::Role;
use agentbench_client::{Client, Config};
use agentbench_history::{ClientHistory, Operation, StopReason, check};
use agentbench_load::child::{ServerCommand, ServerProcess, token};
use agentbench_report::schema::Category;
use agentbench_scenarios::definition::{Faults, Readers, Scenario};
use agentbench_scenarios::fleet::Fleet;
use agentbench_scenarios::meters::{Counter, Meters};
use agentbench_scenarios::routes::Routes;
use agentbench_scenarios::sdk::Sdk;
use agentbench_scenarios::target::Endpoint;
use tokio::sync::watch;

/// Whose the sessions are.
pub(crate) const USER: &str = "under-load";
const CLIENTS: u32 = 10;
/// Hang guard; no measure of speed.
const LIMIT: Duration = Duration::from_secs(120);

/// How the server is started and what the fleet does.
pub(crate) struct Load {
    pub(crate) flags: Vec<String>,
    pub(crate) messages: u32,
    pub(crate) payload: usize,
    /// The events of each client are spread over this time.
    pub(crate) spread: Duration,
    /// The authority of the server's certificate: the fleet comes by TLS.
    pub(crate) authority: Option<PathBuf>,
    /// The fleet's token.
    pub(crate) token: String,
    /// The one with which the logs are read in the end.
    pub(crate) reading_token: String,
}

impl Load {
    pub(crate) fn with(flags: &[&str]) -> Self {
        let token = token(USER, Role::Evaluator).unwrap();
        Self {
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            messages: 200,
            payload: 512,
            spread: Duration::from_secs(4),
            authority: None,
            reading_token: token.clone(),
            token,
        }
    }
}

/// What whoever disturbs the server has.
pub(crate) struct Scene<'a> {
    pub(crate) server: ServerProcess,
    pub(crate) command: ServerCommand,
    pub(crate) url: String,
    authority: Option<&'a [u8]>,
    meters: &'a Meters,
    planned: u64,
}

impl Scene<'_> {
    /// Whether events are still being sent.
    pub(crate) fn goes_on(&self) -> bool {
        self.meters.get(Counter::Sent) < self.planned
    }

    pub(crate) fn config(&self, token: &str) -> Config {
        let config = Config::new(&self.url).token(token);
        match self.authority {
            Some(pem) => config.authority(pem),
            None => config,
        }
    }

    /// Connects once with this token.
    pub(crate) fn connect(&self, token: &str) -> Result<(), agentbench_client::Error> {
        let config = self.config(token).connect_patience(Duration::from_secs(20));
        runtime().block_on(async {
            let client = Client::connect(config).await?;
            client.close().await;
            Ok(())
        })
    }

    /// Asks a process for something by a signal.
    pub(crate) fn signal(&self, signal: libc::c_int) {
        agentbench_load::child::signal(self.server.pid(), signal).unwrap();
    }

    /// Waits for something that has to come.
    pub(crate) fn until(&self, what: &str, mut come: impl FnMut() -> bool) {
        let began = std::time::Instant::now();
        while !come() {
            assert!(began.elapsed() < LIMIT / 2, "{what} did not come");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Counts of the fleet.
pub(crate) struct FleetCounts {
    pub(crate) reconnects: u64,
    pub(crate) retried: u64,
}

/// Runs the load and the disturbance beside it; demands that everything was stored once, and seen once and in order.
pub(crate) fn nothing_is_lost(
    load: &Load,
    data: &Path,
    disturb: impl FnOnce(Scene<'_>) -> ServerProcess + Send,
) -> FleetCounts {
    let command = ServerCommand {
        binary: env!("CARGO_BIN_EXE_agentbench").into(),
        data_dir: data.to_owned(),
        flags: load.flags.clone(),
        core: None,
        port: 0,
    };
    let server = ServerProcess::start(&command).unwrap();
    let scheme = if load.authority.is_some() { "wss" } else { "ws" };
    let url = format!("{scheme}://{}", server.address());
    let authority = load.authority.as_ref().map(|path| std::fs::read(path).unwrap());
    let endpoint = Endpoint { authority: authority.clone(), ..Endpoint::new(&url, &load.token) };
    let meters = Arc::new(Meters::default());
    let (_never, gone) = watch::channel(false);
    let fleet = Fleet {
        scenario: Arc::new(scenario(load)),
        seed: 7,
        routes: Arc::new(Routes::direct(endpoint).with_straight_token(load.reading_token.clone())),
        meters: Arc::clone(&meters),
        gone,
        sdk: Sdk::Rust,
    };
    let planned = u64::from(CLIENTS * load.messages);
    let outcome = std::thread::scope(|scope| {
        let meters = &*meters;
        let again = ServerCommand { port: server.address().port(), ..command };
        let authority = authority.as_deref();
        let disturber = scope.spawn(move || {
            while meters.get(Counter::Acked) == 0 {
                assert!(meters.now() < LIMIT, "the load never began");
                std::thread::sleep(Duration::from_millis(5));
            }
            disturb(Scene { server, command: again, url, authority, meters, planned })
        });
        let outcome = runtime().block_on(fleet.run(&watch::channel(None).0));
        disturber.join().unwrap().stop(Duration::from_secs(30)).unwrap();
        outcome
    });
    assert_eq!(outcome.failures, Vec::<String>::new());
    assert_eq!(
        outcome.histories.iter().filter(|history| is_whole_final_read(history)).count(),
        CLIENTS as usize
    );
    let verdict = check(&outcome.histories);
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
    let summary = &verdict.summary;
    assert_eq!((summary.stored, summary.refused, summary.unknown), (planned, 0, 0));
    assert_eq!((summary.events_delivered, summary.unverified), (planned, 0));
    assert!(summary.gaps.is_empty(), "{:?}", summary.gaps);
    FleetCounts { reconnects: meters.get(Counter::Reconnects), retried: meters.get(Counter::Retried) }
}

/// Whether this is the whole log of a session. Without it the verdict says less than the test promises.
fn is_whole_final_read(history: &ClientHistory) -> bool {
    let operations = || history.records.iter().map(|record| &record.operation);
    operations().any(|operation| matches!(operation, Operation::FinalRead { .. }))
        && matches!(operations().next_back(), Some(Operation::Stop { why: StopReason::CaughtUp }))
}

fn scenario(load: &Load) -> Scenario {
    Scenario {
        name: "Under load".to_owned(),
        category: Category::Reliability,
        promise: "what is done to a server costs nobody an event".to_owned(),
        clients: CLIENTS,
        messages: load.messages,
        payload_bytes: load.payload,
        payload_steps: Vec::new(),
        spread_ms: Some(load.spread.as_millis() as u64),
        limit_ms: LIMIT.as_millis() as u64,
        keeps_pace: false,
        readers: Readers::default(),
        faults: Faults::default(),
        cuts: None,
        search: None,
        server_flags: Vec::new(),
    }
}
