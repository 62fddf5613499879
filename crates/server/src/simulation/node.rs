//! A process, and what may happen in it next.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use agentbench_event_log::memory::MemoryLog;
use agentbench_event_log::{Append, Appended, Change, EventLog, Retention};
use agentbench_protocol::{Epoch, Seq, SessionId};
use agentbench_session::{ConnectionKey, Context as SessionContext};

use super::socket::Wire;
use crate::clock::{Clock, Moment};
use crate::config::Config;
use crate::delivery::Delivery;
use crate::delivery::audiences::{Audiences, CatchUp, TailLimits};
use crate::delivery::reader::Reader;
use crate::delivery::render::Renderer;
use crate::figures::meters::AllMeters;
use crate::figures::metrics::Metrics;
use crate::intake::Intake;
use crate::letters::exchange::ExchangeReply;
use crate::letters::{Letter, OwnerLetter};
use crate::names::{self, MessageNumbers, Names};
use crate::owner::loading::{read_on, read_tail};
use crate::owner::{OwnerParts, Owners, Reporting, SessionLimits};
use crate::rules::no_such_session;
use crate::sabotage::Sabotage;
use crate::session::catalog::Catalog;
use crate::session::cursor::{STEP, interpret};
use crate::session::observing::apply_change;
use crate::session::reading::{ReadBudget, Step as Chunk};

/// The time at which everything begins, ms since 1970.
pub const START: u64 = 1_700_000_000_000;

/// Bytes for reads of the log.
const READ_BUDGET: usize = 1 << 24;

/// The clocks of one process, set by hand. Clones are the same clocks.
#[derive(Debug, Clone, Default)]
pub struct Time {
    /// Shared by all processes: µs since the start would be too fine, these are ms.
    pub(crate) steady: Arc<AtomicU64>,
    /// What this process's wall clock is wrong by, ms.
    pub(crate) skew: Arc<AtomicI64>,
}

impl Time {
    /// The clocks of another process: the same steady time, a wall clock of its own.
    #[must_use]
    pub fn of_another(&self) -> Self {
        Self { steady: Arc::clone(&self.steady), skew: Arc::default() }
    }

    /// Lets time pass in all processes.
    pub fn pass(&self, ms: u64) {
        self.steady.fetch_add(ms, Ordering::Relaxed);
    }

    /// Time since the start, ms.
    pub fn elapsed_ms(&self) -> u64 {
        self.steady.load(Ordering::Relaxed)
    }
}

/// The parameters of a process.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Number of its workers.
    pub workers: usize,
    /// Entries that a session remembers.
    pub window: usize,
    /// Idle time after which a session expires, ms.
    pub timeout_ms: u64,
    /// Bytes of newest events kept for the followers of a session, and of all sessions of a worker.
    pub tails: [usize; 2],
    /// Live sessions of one user (0: no limit), and of all.
    pub sessions: [usize; 2],
    /// Distinguishes the process from others: its secrets and epochs are derived from it.
    pub seed: u64,
    /// The name of a planted defect; does nothing without the feature `sabotage`.
    pub sabotage: Option<&'static str>,
}

impl Plan {
    /// A process with as many workers.
    pub fn with_workers(workers: usize) -> Self {
        Self { workers, ..Self::default() }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            workers: 1,
            window: 64,
            timeout_ms: 120_000,
            tails: [1 << 20, 1 << 24],
            sessions: [0, 100],
            seed: 7,
            sabotage: None,
        }
    }
}

/// Something that can happen in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeStep {
    /// A worker reads the next letter of its mailbox.
    Letter(usize),
    /// A worker gathers what its owners have for the log.
    Commit(usize),
    /// The oldest batch goes to the log.
    Submit,
    /// The log's outcomes of the oldest submitted batch arrive.
    Outcome,
    /// The oldest load of a session completes.
    Load,
    /// The oldest read for an owner that is behind completes.
    CatchUp,
    /// The oldest read for a reader that is behind completes.
    Read,
    /// The oldest change that others made in the log is told.
    Change,
}

/// One worker.
pub(super) struct WorkerParts {
    pub(super) owners: RefCell<Owners>,
    pub(super) audiences: Audiences,
    pub(super) delivery: Delivery,
    serial: RefCell<u64>,
}

type Outcomes = Arc<Mutex<Vec<Appended>>>;

/// See the module.
pub struct Node {
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) intake: Intake,
    pub(crate) metrics: Arc<Metrics>,
    /// Acks of events that the log did not have: the session, their seq, the log's head.
    pub early_acks: Vec<(SessionId, Seq, Seq)>,
    /// Answers to exchanges.
    pub(crate) answers: Vec<(ConnectionKey, ExchangeReply)>,
    pub(super) clock: Arc<Clock>,
    pub(super) names: Names,
    pub(super) workers: Vec<Rc<WorkerParts>>,
    pub(super) peers: Peers,
    pub(super) work: Work,
    plan: Plan,
    time: Time,
}

/// Connections.
#[derive(Default)]
pub(super) struct Peers {
    pub(super) readers: BTreeMap<ConnectionKey, Rc<Reader>>,
    pub(super) wires: BTreeMap<ConnectionKey, Wire>,
    /// Those that the server wants to close.
    pub(super) closing: Vec<ConnectionKey>,
}

/// What is under way.
pub(super) struct Work {
    pub(super) letters: Vec<VecDeque<Letter>>,
    pub(super) loads: VecDeque<(usize, SessionId, bool)>,
    pub(super) missing: VecDeque<(usize, SessionId, Seq)>,
    pub(super) reads: Rc<RefCell<VecDeque<(usize, CatchUp)>>>,
    submissions: VecDeque<(usize, Vec<Append>)>,
    outcomes: VecDeque<(usize, OwnerLetter)>,
    changes: Arc<Mutex<VecDeque<Change>>>,
    budget: ReadBudget,
}

impl Work {
    fn new(workers: usize, changes: Arc<Mutex<VecDeque<Change>>>) -> Self {
        Self {
            letters: (0..workers).map(|_| VecDeque::new()).collect(),
            loads: VecDeque::new(),
            missing: VecDeque::new(),
            reads: Rc::default(),
            submissions: VecDeque::new(),
            outcomes: VecDeque::new(),
            changes,
            budget: ReadBudget::new(READ_BUDGET),
        }
    }

    fn changes(&self) -> MutexGuard<'_, VecDeque<Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The steps that are possible beside letters and commits.
    fn possible_steps(&self) -> impl Iterator<Item = NodeStep> + use<> {
        let steps = [
            (!self.submissions.is_empty(), NodeStep::Submit),
            (!self.outcomes.is_empty(), NodeStep::Outcome),
            (!self.loads.is_empty(), NodeStep::Load),
            (!self.missing.is_empty(), NodeStep::CatchUp),
            (!self.reads.borrow().is_empty(), NodeStep::Read),
            (!self.changes().is_empty(), NodeStep::Change),
        ];
        steps.into_iter().filter_map(|(is_possible, step)| is_possible.then_some(step))
    }
}

impl Node {
    /// Starts a process on what the log has. `log` is its own handle.
    pub fn start(log: MemoryLog, plan: Plan, time: Time) -> Self {
        let metrics = Arc::new(Metrics::new());
        let config = Config::embedded("unused", "a secret");
        let clock = Arc::new(Clock::by_hand(START, Arc::clone(&time.steady), Arc::clone(&time.skew)));
        let (log, changes) = (Arc::new(log), Arc::<Mutex<VecDeque<Change>>>::default());
        let sink = Arc::clone(&changes);
        log.observe(Box::new(move |change| {
            sink.lock().unwrap_or_else(PoisonError::into_inner).push_back(change.clone());
        }));
        let mut node = Self {
            catalog: Arc::new(Catalog::new(1_000, !log.is_shared())),
            log,
            intake: Intake::new(&config, Arc::clone(&metrics)),
            metrics,
            early_acks: Vec::new(),
            answers: Vec::new(),
            clock,
            names: Names::new(1, plan.workers),
            workers: Vec::new(),
            peers: Peers::default(),
            work: Work::new(plan.workers, changes),
            plan,
            time,
        };
        let listed = node.log.list().expect("a log in memory lists");
        let unreadable = node.catalog.load(listed, node.now());
        assert!(unreadable.is_empty(), "summaries are the server's own");
        let meters = Arc::new(AllMeters::new(plan.workers));
        node.workers = (0..plan.workers).map(|index| Rc::new(node.worker(index, &meters))).collect();
        node
    }

    fn worker(&self, index: usize, meters: &Arc<AllMeters>) -> WorkerParts {
        let Plan { workers, window, timeout_ms, tails, sessions, seed, sabotage } = self.plan;
        let numbers = Rc::new(MessageNumbers::new(index, workers));
        let (clock, metrics) = (Arc::clone(&self.clock), Arc::clone(&self.metrics));
        let sabotage = Sabotage::named(sabotage.unwrap_or_default());
        let renderer = Renderer::new(0, usize::MAX, sabotage);
        let level = "logged";
        let delivery =
            Delivery::new(index, clock, metrics, Arc::clone(meters), Rc::clone(&numbers), renderer, level);
        // Distinct in all processes and all their lives, as random ones are.
        let mut epochs =
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (self.time.elapsed_ms() << 8) ^ index as u64;
        let parts = OwnerParts {
            worker: index,
            catalog: Arc::clone(&self.catalog),
            metrics: Arc::clone(&self.metrics),
            meters: Arc::clone(meters),
            numbers,
            sessions: SessionContext { seed, window },
            limits: SessionLimits { of_user: sessions[0], of_all: sessions[1], timeout_ms, bytes: None },
            permit: self.intake.no_permit(),
            reporting: Reporting::default(),
            no_such_session: no_such_session(),
            random: Box::new(move || {
                epochs += 1 << 4;
                epochs
            }),
            sabotage,
        };
        WorkerParts {
            owners: RefCell::new(Owners::new(parts)),
            audiences: Audiences::new(TailLimits { session: tails[0], all: tails[1] }),
            delivery,
            serial: RefCell::new(0),
        }
    }

    /// The process's wall clock, ms since 1970.
    pub fn now(&self) -> u64 {
        self.clock.wall_ms()
    }

    pub(super) fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// Sets the process's wall clock, which it notices.
    pub fn set_clock(&mut self, by_ms: i64) {
        self.time.skew.fetch_add(by_ms, Ordering::Relaxed);
        let now = self.now();
        for worker in &self.workers {
            worker.owners.borrow_mut().clock_was_set(by_ms, now);
        }
        self.catalog.each_live(|entry| entry.clock_was_set(by_ms, now));
    }

    /// The worker that owns a session.
    pub fn owner_of(&self, session: SessionId) -> usize {
        self.names.owner_of(session)
    }

    #[cfg(test)]
    pub(crate) fn is_loaded(&self, session: SessionId) -> bool {
        self.workers[self.owner_of(session)].owners.borrow().has(session)
    }

    /// The key of a new connection of a worker.
    pub(crate) fn new_key(&self, worker: usize) -> ConnectionKey {
        let mut serial = self.workers[worker].serial.borrow_mut();
        *serial += 1;
        names::connection_key(worker, *serial as usize, *serial)
    }

    /// What can happen next, in a fixed order.
    pub fn possible_steps(&self) -> Vec<NodeStep> {
        let mut steps = Vec::new();
        for (index, worker) in self.workers.iter().enumerate() {
            steps.extend((!self.work.letters[index].is_empty()).then_some(NodeStep::Letter(index)));
            steps.extend(worker.owners.borrow().has_dirty().then_some(NodeStep::Commit(index)));
        }
        steps.extend(self.work.possible_steps());
        steps
    }

    /// Does a step. Tells whether there was something to do.
    pub fn step(&mut self, step: NodeStep) -> bool {
        match step {
            NodeStep::Letter(worker) => self.read_letter(worker),
            NodeStep::Commit(worker) => self.commit(worker),
            NodeStep::Submit => self.submit(),
            NodeStep::Outcome => self.outcome(),
            NodeStep::Load => self.load(),
            NodeStep::CatchUp => self.catch_up(),
            NodeStep::Read => self.read(),
            NodeStep::Change => self.take_change(),
        }
    }

    /// Does everything that can be done, until nothing moves.
    pub fn settle(&mut self) {
        loop {
            let mut went_on = false;
            for worker in 0..self.workers.len() {
                while self.read_letter(worker) {
                    went_on = true;
                }
                went_on |= self.commit(worker);
            }
            for step in [
                NodeStep::Submit,
                NodeStep::Outcome,
                NodeStep::Load,
                NodeStep::CatchUp,
                NodeStep::Read,
                NodeStep::Change,
            ] {
                went_on |= self.step(step);
            }
            if !went_on {
                return;
            }
        }
    }

    fn take_change(&mut self) -> bool {
        let change = self.work.changes().pop_front();
        let Some(change) = change else { return false };
        let sabotage = Sabotage::named(self.plan.sabotage.unwrap_or_default());
        if let Some(session) = apply_change(&self.catalog, &change, self.now(), sabotage) {
            let owner = self.owner_of(session);
            self.work.letters[owner].push_back(OwnerLetter::Observed { session, change }.into());
        }
        true
    }

    /// Makes a batch of a worker's queued entries.
    pub(crate) fn commit(&mut self, worker: usize) -> bool {
        let appends = self.workers[worker].owners.borrow_mut().take_batches(self.moment());
        let has_some = !appends.is_empty();
        if has_some {
            self.work.submissions.push_back((worker, appends));
        }
        has_some
    }

    /// Submits the oldest batch to the log.
    pub(crate) fn submit(&mut self) -> bool {
        let Some((worker, appends)) = self.work.submissions.pop_front() else { return false };
        let sessions: Vec<_> = appends.iter().map(|append| append.session).collect();
        let told = Outcomes::default();
        let sink = Arc::clone(&told);
        self.log.submit(
            appends,
            Box::new(move |outcomes| *sink.lock().unwrap_or_else(PoisonError::into_inner) = outcomes),
        );
        let outcomes = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
        assert_eq!(outcomes.len(), sessions.len(), "a log in memory answers at once");
        let (outcomes, submitted) = (sessions.into_iter().zip(outcomes).collect(), self.clock.instant());
        self.work.outcomes.push_back((worker, OwnerLetter::Outcomes { outcomes, submitted }));
        true
    }

    pub(crate) fn outcome(&mut self) -> bool {
        let Some((worker, letter)) = self.work.outcomes.pop_front() else { return false };
        self.work.letters[worker].push_back(letter.into());
        true
    }

    /// Number of batches whose outcomes have not arrived.
    pub fn unanswered(&self) -> usize {
        self.work.outcomes.len() + self.work.submissions.len()
    }

    /// Completes the oldest load of a session.
    pub(crate) fn load(&mut self) -> bool {
        let Some((worker, session, finds)) = self.work.loads.pop_front() else { return false };
        let tail = read_tail(&*self.log, self.plan.window, session, finds);
        self.work.letters[worker].push_back(OwnerLetter::Loaded { session, tail }.into());
        true
    }

    fn catch_up(&mut self) -> bool {
        let Some((worker, session, from)) = self.work.missing.pop_front() else { return false };
        let read = read_on(&*self.log, session, from);
        self.work.letters[worker].push_back(OwnerLetter::CaughtUp { session, read }.into());
        true
    }

    /// Completes the oldest read for a reader that is behind.
    pub(crate) fn read(&mut self) -> bool {
        let read = self.work.reads.borrow_mut().pop_front();
        let Some((worker, catch_up)) = read else { return false };
        let Poll::Ready(permit) =
            pin!(self.work.budget.acquire(STEP.bytes)).poll(&mut Context::from_waker(Waker::noop()))
        else {
            // The readers that hold memory have to be read first.
            self.work.reads.borrow_mut().push_back((worker, catch_up));
            return false;
        };
        let read = self.log.read(catch_up.session, catch_up.from, STEP);
        let chunk = read.map(|it| Chunk { frames: it.frames, head: it.head.seq, permit });
        let found = interpret(catch_up.session, catch_up.from, chunk);
        let parts = Rc::clone(&self.workers[worker]);
        catch_up.finish(&parts.delivery, found, |reader| parts.flush(worker, reader, &self.work.reads));
        true
    }

    /// Runs a tick's work on sessions. `sweeps` if sessions that are not in memory are checked, too.
    pub fn tick(&mut self, sweeps: bool) {
        let (now, moment) = (self.now(), self.moment());
        for worker in 0..self.workers.len() {
            let parts = Rc::clone(&self.workers[worker]);
            self.with_owners(worker, |owners| {
                owners.announce_changes(now);
                owners.retry_unsettled(moment);
                owners.check_sessions(now);
            });
            for session in parts.audiences.retain(|session| parts.owners.borrow().has(session)) {
                let owner = self.owner_of(session);
                self.work.letters[owner].push_back(OwnerLetter::FeedEnded { session, worker }.into());
            }
            let mut unused = Vec::new();
            self.catalog.each_live(|entry| {
                let idle = now.saturating_sub(entry.last_used.load(Ordering::Relaxed));
                if sweeps && idle > self.plan.timeout_ms && self.owner_of(entry.id) == worker {
                    unused.push(entry.id);
                }
            });
            self.with_owners(worker, |owners| owners.expire_all(unused, now));
        }
    }

    /// Removes archived sessions beyond the limits, as retention does.
    pub fn retain(&mut self, retention: Retention) -> Vec<(SessionId, Epoch)> {
        let removed = self.log.retain(self.now(), retention).expect("a log in memory removes");
        removed.iter().for_each(|(session, epoch)| self.catalog.remove_life(*session, *epoch));
        removed
    }

    /// Whether nothing is under way.
    pub fn is_quiet(&self) -> bool {
        self.possible_steps().is_empty()
            && self.workers.iter().all(|worker| !worker.owners.borrow().has_uncommitted())
    }

    /// Whether every participant of a session is connected.
    ///
    /// # Errors
    /// A sentence for the first that is not.
    pub fn check_participants(&self) -> Result<(), String> {
        for worker in &self.workers {
            for (session, connection) in worker.owners.borrow().participants() {
                let is_there = |reader: &Rc<Reader>| reader.sessions.borrow().contains(&session);
                if !self.peers.readers.get(&connection).is_some_and(is_there) {
                    let text = format!("connection {:x} takes part in session {session}", connection.0);
                    return Err(format!("{text} and has gone"));
                }
            }
        }
        Ok(())
    }

    /// Whether the catalog lists the sessions that the log has, and none else, with their heads.
    ///
    /// # Errors
    /// A sentence for the first difference.
    pub fn check_catalog(&self) -> Result<(), String> {
        let listed = self.log.list().expect("a log in memory lists");
        for log in &listed {
            let entry = self.catalog.get(log.session);
            let head = entry.map(|entry| entry.head());
            if head != Some(log.head) {
                return Err(format!(
                    "session {} ends at {:?} and is listed with {head:?}",
                    log.session, log.head
                ));
            }
        }
        if self.catalog.len() != listed.len() {
            return Err(format!("{} sessions are listed, the log has {}", self.catalog.len(), listed.len()));
        }
        Ok(())
    }

    /// What is held although nothing is under way: bytes of the commit backlog, entries of owners that wait for the log, and the
    /// places of sessions that are counted and not listed.
    ///
    /// # Errors
    /// A sentence for the first of them.
    pub fn check_nothing_is_held(&self) -> Result<(), String> {
        if self.intake.backlog() != 0 {
            return Err(format!(
                "{} bytes of the commit backlog are held for nothing",
                self.intake.backlog()
            ));
        }
        if self.workers.iter().any(|worker| worker.owners.borrow().has_uncommitted()) {
            return Err("an owner waits for a log that has answered everything".to_owned());
        }
        let mut live = 0;
        self.catalog.each_live(|_| live += 1);
        if self.catalog.active() != live {
            return Err(format!("{} places of sessions are taken by {live} sessions", self.catalog.active()));
        }
        Ok(())
    }
}
