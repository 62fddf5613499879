//! The servers, their log, the clients, and what a step does to them.

use std::collections::{BTreeSet, VecDeque};

use agentbench_event_log::memory::MemoryLog;
use agentbench_event_log::{Appended, EventLog, Retention};
use agentbench_protocol::{Epoch, SessionId};
use agentbench_server::simulation::{Node, Peer, Plan, Time};
use agentbench_session::ConnectionKey;
use bytes::BytesMut;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::client::Client;
use crate::run::Setup;
use crate::step::{Fault, Step};

/// Connections that only send events again; older ones are closed.
const REPEATERS: usize = 4;
/// Longest time that anything is on its way, ms.
const LONGEST_WAY_MS: u64 = 600;
/// The time between ticks when everything is brought to an end, ms, and the number of them.
const LAST_TICK_MS: u64 = 500;
const LAST_TICKS: usize = 120;

/// See the module.
pub(crate) struct World {
    setup: Setup,
    /// A handle that no server has.
    pub(crate) log: MemoryLog,
    /// The handle of each server.
    handles: Vec<MemoryLog>,
    times: Vec<Time>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    /// The connection of each client, as the servers know it.
    attached: Vec<Option<(usize, ConnectionKey)>>,
    repeaters: VecDeque<(usize, ConnectionKey)>,
    pub(crate) sessions: Vec<SessionId>,
    /// Lives of sessions that were removed.
    pub(crate) removed: BTreeSet<(SessionId, Epoch)>,
    /// Sentences about acks of what was not in the log.
    pub(crate) early_acks: Vec<String>,
    repeats: usize,
    crashes: u64,
    /// Time that has passed since everything on its way had arrived, ms.
    under_way_ms: u64,
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut rng = StdRng::seed_from_u64(setup.seed);
        let log = MemoryLog::new();
        let handles: Vec<_> = (0..setup.nodes).map(|_| log.another_writer()).collect();
        let time = Time::default();
        let times: Vec<_> = (0..setup.nodes).map(|_| time.of_another()).collect();
        let clients: Vec<_> =
            (0..setup.clients).map(|index| Client::new(index, index % setup.nodes, rng.random())).collect();
        let mut world = Self {
            log,
            handles,
            times,
            nodes: Vec::new(),
            attached: vec![None; clients.len()],
            clients,
            repeaters: VecDeque::new(),
            sessions: Vec::new(),
            removed: BTreeSet::new(),
            early_acks: Vec::new(),
            repeats: 0,
            crashes: 0,
            under_way_ms: 0,
            setup,
        };
        world.nodes = (0..setup.nodes).map(|node| world.start(node)).collect();
        for client in &mut world.clients {
            client.start(0);
        }
        world
    }

    fn start(&self, node: usize) -> Node {
        // Of every life of every server another one.
        let seed = (self.setup.seed << 32) + (self.crashes << 4) + node as u64 + 1;
        let plan = Plan {
            tails: [self.setup.tail, 1 << 24],
            window: self.setup.window,
            seed,
            sabotage: self.setup.sabotage,
            ..Plan::with_workers(self.setup.workers)
        };
        Node::start(self.handles[node].same_writer(), plan, self.times[node].clone())
    }

    /// ms since the start.
    pub(crate) fn at(&self) -> u64 {
        self.times[0].elapsed_ms()
    }

    /// Does a step. Tells whether there was anything to do.
    pub(crate) fn apply(&mut self, step: Step) -> bool {
        let at = self.at();
        match step {
            Step::Node(node, step) => {
                node < self.nodes.len() && self.workers_of(step) && self.nodes[node].step(step)
            }
            Step::Up(client, bytes) => self.has(client) && self.carry_up(client, bytes),
            Step::Down(client, bytes) => self.has(client) && self.carry_down(client, bytes),
            Step::Create(client) => self.on_client(client, |client| client.create(at)),
            Step::Publish(client, session) => {
                self.on_session(client, session, |client, session| client.publish(at, session))
            }
            Step::Repeat(client, node, form) => {
                self.has(client) && node < self.nodes.len() && self.repeat(client, node, form)
            }
            Step::Follow(client, session) => {
                self.on_session(client, session, |client, session| client.follow(at, session))
            }
            Step::Unfollow(client, session) => {
                self.on_session(client, session, |client, session| client.unfollow(at, session))
            }
            Step::Control(client, session, kind) => {
                self.on_session(client, session, |client, session| client.control(at, session, kind))
            }
            Step::Cut(client) => self.has(client) && self.cut(client),
            Step::Move(client, node) => {
                let is_there = self.has(client) && node < self.nodes.len();
                if is_there {
                    self.clients[client].node = node;
                }
                is_there
            }
            Step::Revoke(client) => {
                self.on_client(client, |client| client.is_revoked = true) && self.cut(client)
            }
            Step::Permit(client) => self.on_client(client, |client| client.is_revoked = false),
            Step::Slow(client, bytes) => match self.attached.get(client) {
                Some(Some((node, key))) => {
                    self.nodes[*node].make_room(*key, bytes);
                    true
                }
                _ => false,
            },
            Step::Fault(fault) => {
                let unknown = || Appended::Unknown("the answer was lost".to_owned());
                match fault {
                    Fault::Full => self.log.fail_next(Appended::Full),
                    Fault::Unavailable => self.log.fail_next(Appended::Unavailable("busy".to_owned())),
                    Fault::Unknown => self.log.fail_next(unknown()),
                    Fault::Lost => self.log.write_but_answer(unknown()),
                }
                true
            }
            Step::Crash(node) => node < self.nodes.len() && self.crash(node),
            Step::Tick(node, sweeps) => self.on_node(node, |node| node.tick(sweeps == 1)),
            Step::Miss(node, worker) => {
                worker < self.setup.workers && self.on_node(node, |node| node.miss_commits(worker))
            }
            Step::Pass(ms) => {
                self.pass(ms);
                true
            }
            Step::Clock(node, by) => self.on_node(node, |node| node.set_clock(by)),
            Step::Retain(node) => node < self.nodes.len() && self.retain(node),
            Step::Delete(session) => self.delete(session),
        };
        self.tidy_up();
        true
    }

    fn workers_of(&self, step: agentbench_server::simulation::NodeStep) -> bool {
        use agentbench_server::simulation::NodeStep;
        match step {
            NodeStep::Letter(worker) | NodeStep::Commit(worker) => worker < self.setup.workers,
            _ => true,
        }
    }

    fn has(&self, client: usize) -> bool {
        client < self.clients.len()
    }

    fn on_client(&mut self, client: usize, act: impl FnOnce(&mut Client)) -> bool {
        self.clients.get_mut(client).map(act).is_some()
    }

    fn on_session(
        &mut self,
        client: usize,
        session: usize,
        act: impl FnOnce(&mut Client, SessionId),
    ) -> bool {
        let session = self.sessions.get(session).copied();
        session.zip(self.clients.get_mut(client)).map(|(session, client)| act(client, session)).is_some()
    }

    fn on_node(&mut self, node: usize, act: impl FnOnce(&mut Node)) -> bool {
        self.nodes.get_mut(node).map(act).is_some()
    }

    /// After a step: connections that either side has ended are ended for both, and sessions that were created are known.
    fn tidy_up(&mut self) {
        for client in 0..self.clients.len() {
            self.sessions.extend(self.clients[client].created.pop_front());
            if self.attached[client] != self.clients[client].connection {
                self.detach(client);
            }
        }
        for node in 0..self.nodes.len() {
            for key in self.nodes[node].take_closing() {
                let client = self.attached.iter().position(|attached| *attached == Some((node, key)));
                match client {
                    Some(client) => drop(self.cut(client)),
                    None => self.nodes[node].disconnect(key),
                }
            }
            for (session, seq, head) in std::mem::take(&mut self.nodes[node].early_acks) {
                let sentence = format!(
                    "server {node} acked seq {seq} of session {session} when its log ended at {head}"
                );
                self.early_acks.push(sentence);
            }
        }
    }

    fn detach(&mut self, client: usize) {
        if let Some((node, key)) = self.attached[client].take() {
            self.nodes[node].disconnect(key);
        }
    }

    fn cut(&mut self, client: usize) -> bool {
        let at = self.at();
        self.detach(client);
        self.clients[client].disconnected(at);
        true
    }

    fn connect(&mut self, client: usize) {
        let at = self.at();
        if self.clients[client].is_revoked {
            return self.clients[client].unreachable(at);
        }
        let node = self.clients[client].node;
        let user = format!("u{client}");
        let peer = Peer { user: &user, producer: "p", versioned: true };
        let key = self.nodes[node].connect(client % self.setup.workers, peer);
        self.attached[client] = Some((node, key));
        self.clients[client].connected(at, (node, key));
    }

    fn carry_up(&mut self, client: usize, bytes: usize) -> bool {
        if self.clients[client].wants_connection {
            self.connect(client);
        }
        let Some((node, key)) = self.attached[client] else { return false };
        let waiting = &mut self.clients[client].up;
        let part = waiting.split_to(bytes.min(waiting.len()));
        if part.is_empty() {
            return false;
        }
        self.nodes[node].receive(key, &part);
        true
    }

    fn carry_down(&mut self, client: usize, bytes: usize) -> bool {
        let Some((node, key)) = self.attached[client] else { return false };
        let (at, output) = (self.at(), self.nodes[node].take_output(key));
        let client = &mut self.clients[client];
        client.down.extend_from_slice(&output);
        let mut part: BytesMut = client.down.split_to(bytes.min(client.down.len()));
        if part.is_empty() {
            return false;
        }
        client.receive(at, &mut part);
        true
    }

    /// The user's other connection sends an event of the client again.
    fn repeat(&mut self, client: usize, node: usize, form: usize) -> bool {
        let Some(event) = self.clients[client].repeatable(form).cloned() else { return false };
        let user = format!("u{client}");
        let peer = Peer { user: &user, producer: "p", versioned: false };
        let key = self.nodes[node].connect(form % self.setup.workers, peer);
        self.repeats += 1;
        let session = event.session.to_string();
        let join = json!({
            "id": format!("again-{}", self.repeats), "type": "control_command", "timestamp": 1,
            "data": {"command": "join_session", "sessionId": session, "follow": false},
        });
        self.nodes[node].take_message(key, &join.to_string());
        let data = if form == 1 { event.data.replace(':', ": ").replace(",\"", ", \"") } else { event.data };
        let text = format!(
            "{{\"id\":\"{}\",\"type\":\"test_event\",\"timestamp\":2,\"sessionId\":\"{session}\",\"data\":{data},\
             \"metadata\":{{\"requiresAck\":true}}}}",
            event.id
        );
        self.nodes[node].take_message(key, &text);
        self.repeaters.push_back((node, key));
        if self.repeaters.len() > REPEATERS
            && let Some((node, key)) = self.repeaters.pop_front()
        {
            self.nodes[node].disconnect(key);
        }
        true
    }

    /// The process dies: nothing is left of it but the log.
    fn crash(&mut self, node: usize) -> bool {
        self.crashes += 1;
        self.repeaters.retain(|(of, _)| *of != node);
        let at = self.at();
        for client in 0..self.clients.len() {
            if self.attached[client].is_some_and(|(of, _)| of == node) {
                self.attached[client] = None;
                self.clients[client].disconnected(at);
            }
        }
        self.nodes[node] = self.start(node);
        true
    }

    /// A publisher's later events wait for one that was refused, but only for as long as it was told to wait; so a refusal must
    /// not be longer under way than that.
    fn pass(&mut self, ms: u64) {
        self.under_way_ms += ms;
        if self.under_way_ms > LONGEST_WAY_MS {
            self.under_way_ms = 0;
            self.settle();
        }
        self.times[0].pass(ms);
        let at = self.at();
        self.clients.iter_mut().for_each(|client| client.wake(at));
    }

    fn retain(&mut self, node: usize) -> bool {
        let all = Retention { max_bytes: Some(0), ..Retention::default() };
        self.removed.extend(self.nodes[node].retain(all));
        true
    }

    fn delete(&mut self, session: usize) -> bool {
        let Some(session) = self.sessions.get(session).copied() else { return false };
        let Some(head) = self.log.head(session) else { return false };
        self.removed.insert((session, head.epoch));
        self.log.delete(session).is_ok()
    }

    /// Heals everything, and lets it go on until nothing moves and every client has its answers.
    pub(crate) fn finish(&mut self) -> bool {
        self.log.clear_faults();
        for client in 0..self.clients.len() {
            self.clients[client].is_revoked = false;
        }
        for _ in 0..LAST_TICKS {
            self.settle();
            if self.clients.iter().all(Client::is_idle) && self.nodes.iter().all(|node| node.is_quiet()) {
                break;
            }
            self.pass(LAST_TICK_MS);
            self.nodes.iter_mut().for_each(|node| node.tick(false));
        }
        while let Some((node, key)) = self.repeaters.pop_front() {
            self.nodes[node].disconnect(key);
        }
        self.settle();
        let is_idle = self.clients.iter().all(Client::is_idle);
        let at = self.at();
        self.clients.iter_mut().for_each(|client| client.finish(at));
        is_idle
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut went_on = false;
            for client in 0..self.clients.len() {
                if let Some((node, key)) = self.attached[client] {
                    self.nodes[node].make_room(key, usize::MAX);
                }
                went_on |= self.carry_up(client, usize::MAX) | self.carry_down(client, usize::MAX);
                self.tidy_up();
            }
            for node in 0..self.nodes.len() {
                went_on |= !self.nodes[node].possible_steps().is_empty();
                self.nodes[node].settle();
            }
            self.tidy_up();
            if !went_on {
                return;
            }
        }
    }
}
