//! A run: by a seed, which chooses the steps, or by a list of steps.

use std::fmt;

use agentbench_event_log::EventLog;
use agentbench_server::simulation::NodeStep;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use xxhash_rust::xxh3::xxh3_64;

use crate::judge::{Finding, judge};
use crate::step::{Fault, Step};
use crate::world::World;

/// What is simulated; derived from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// The seed of everything.
    pub seed: u64,
    /// Servers.
    pub nodes: usize,
    /// Workers of each.
    pub workers: usize,
    /// Clients.
    pub clients: usize,
    /// Entries that a session remembers.
    pub window: usize,
    /// Bytes of newest events that are kept for followers: few, so that they often read the log.
    pub tail: usize,
    /// The name of a planted defect; only with the feature `sabotage`.
    pub sabotage: Option<&'static str>,
}

impl Setup {
    /// The setup of a seed.
    pub fn of(seed: u64) -> Self {
        // Of its own, so that the choice of steps does not depend on it.
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5e70);
        Self {
            seed,
            nodes: if rng.random_ratio(1, 8) { 1 } else { rng.random_range(2..=3) },
            workers: rng.random_range(1..=3),
            clients: rng.random_range(2..=5),
            // Larger than what is ever under way, as a server's is.
            window: 4_096,
            tail: [1, 600, 1 << 20][rng.random_range(0..3)],
            sabotage: None,
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, nodes, workers, clients, tail, .. } = self;
        write!(
            f,
            "seed {seed}: {nodes} servers of {workers} workers, {clients} clients, tails of {tail} bytes"
        )
    }
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The steps that were taken.
    pub steps: Vec<Step>,
    /// What was broken; nothing, if all is well.
    pub findings: Vec<Finding>,
    /// A hash of everything that was done, told and stored.
    pub digest: u64,
    /// Entries in all logs at the end.
    pub entries: u64,
}

/// A run.
pub struct Run {
    world: World,
    rng: StdRng,
    steps: Vec<Step>,
    setup: Setup,
}

impl Run {
    /// Runs so many steps as the seed chooses them.
    pub fn by_seed(setup: Setup, steps: usize) -> Outcome {
        let mut run = Self::new(setup);
        for _ in 0..steps {
            let step = run.choose();
            run.take(step);
        }
        run.end()
    }

    /// Runs these steps. What cannot happen is left out.
    pub fn by_steps(setup: Setup, steps: &[Step]) -> Outcome {
        let mut run = Self::new(setup);
        steps.iter().for_each(|step| run.take(*step));
        run.end()
    }

    fn new(setup: Setup) -> Self {
        Self { world: World::new(setup), rng: StdRng::seed_from_u64(setup.seed), steps: Vec::new(), setup }
    }

    fn take(&mut self, step: Step) {
        self.world.apply(step);
        self.steps.push(step);
    }

    fn end(mut self) -> Outcome {
        let is_idle = self.world.finish();
        let findings = judge(&self.world, is_idle);
        let entries = self.world.log.list().expect("it lists").iter().map(|log| log.head.seq).sum();
        Outcome { digest: self.digest(), steps: self.steps, findings, entries }
    }

    fn digest(&self) -> u64 {
        let mut text = format!("{:?} {:?}", self.setup, self.steps);
        for client in &self.world.clients {
            text.push_str(&format!("{:?}", client.history));
        }
        for listed in self.world.log.list().expect("it lists") {
            text.push_str(&format!("{listed:?}"));
        }
        xxh3_64(text.as_bytes())
    }

    fn below(&mut self, end: usize) -> usize {
        (self.rng.next_u32() as usize) % end.max(1)
    }

    fn client(&mut self) -> usize {
        self.below(self.setup.clients)
    }

    fn node(&mut self) -> usize {
        self.below(self.setup.nodes)
    }

    /// One of the newest sessions.
    fn session(&mut self) -> usize {
        let count = self.world.sessions.len();
        count.saturating_sub(1 + self.below(3.min(count)))
    }

    fn choose(&mut self) -> Step {
        match self.below(1_000) {
            0..600 => self.choose_node_step(),
            600..880 => self.choose_wire(),
            880..970 => self.choose_action(),
            _ => self.choose_trouble(),
        }
    }

    fn choose_node_step(&mut self) -> Step {
        let node = self.node();
        let possible = self.world.nodes[node].possible_steps();
        if possible.is_empty() {
            return self.choose_wire();
        }
        let step: NodeStep = possible[self.below(possible.len())];
        Step::Node(node, step)
    }

    fn choose_wire(&mut self) -> Step {
        let client = self.client();
        let bytes = if self.below(8) == 0 { 1 + self.below(200) } else { usize::MAX >> 1 };
        if self.below(2) == 0 { Step::Up(client, bytes) } else { Step::Down(client, bytes) }
    }

    fn choose_action(&mut self) -> Step {
        let client = self.client();
        if self.world.sessions.is_empty() {
            return Step::Create(client);
        }
        let session = self.session();
        match self.below(100) {
            0..68 => Step::Publish(client, session),
            68..78 => Step::Follow(client, session),
            78..88 => Step::Repeat(client, self.node(), self.below(3)),
            88..91 => Step::Unfollow(client, session),
            91..97 => Step::Control(client, session, [0, 0, 1, 2, 2, 3][self.below(6)]),
            _ => Step::Create(client),
        }
    }

    fn choose_trouble(&mut self) -> Step {
        let (client, node) = (self.client(), self.node());
        match self.below(100) {
            0..36 => Step::Pass(1 + self.below(120) as u64),
            36..58 => Step::Tick(node, usize::from(self.below(4) == 0)),
            58..62 => Step::Fault(Fault::Full),
            62..65 => Step::Fault(Fault::Unavailable),
            65..70 => Step::Fault(Fault::Lost),
            70..74 => Step::Fault(Fault::Unknown),
            74..80 => Step::Cut(client),
            80..85 => Step::Move(client, node),
            85..89 => Step::Slow(client, self.below(2_000)),
            89..92 => Step::Crash(node),
            92..94 => Step::Miss(node, self.below(self.setup.workers)),
            94 => Step::Clock(node, self.below(200_000) as i64 - 100_000),
            95 => Step::Pass(60_000 + self.below(90_000) as u64),
            96 => Step::Revoke(client),
            97 => Step::Permit(client),
            98 => Step::Retain(node),
            _ if self.below(4) == 0 => Step::Delete(self.session()),
            _ => Step::Permit(client),
        }
    }
}
