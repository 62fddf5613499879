//! A process without a runtime and its clients. What a server does by itself is triggered by the test.

use std::ops::{Deref, DerefMut};

use agentbench_event_log::memory::MemoryLog;
use agentbench_protocol::command::CreateSession;
use agentbench_protocol::{Head, SessionId, StartAt};
use agentbench_session::Step;
use serde_json::{Value, json};

use super::client::Client;
use crate::letters::{Join, Request};
use crate::rules::derive_session_id;
use crate::simulation::{Node, NodeStep, Peer, START, Time};
use agentbench_event_log::EventLog;

pub(crate) use crate::simulation::Plan;

/// Idle time after which a session expires, ms.
pub(crate) const TIMEOUT: u64 = 120_000;

/// See the module.
pub(crate) struct World {
    node: Node,
    pub(crate) clients: Vec<Client>,
    plan: Plan,
    time: Time,
    /// A handle to the log that no process has.
    handle: MemoryLog,
}

impl Deref for World {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Node {
        &mut self.node
    }
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        Self::on(MemoryLog::new(), plan, Time::default())
    }

    /// A process on a log that others may write to.
    pub(crate) fn on(log: MemoryLog, plan: Plan, time: Time) -> Self {
        let node = Node::start(log.same_writer(), plan, time.clone());
        Self { node, clients: Vec::new(), plan, time, handle: log }
    }

    /// Restarts the process on the same log: connections, sessions in memory and requests in progress are lost.
    pub(crate) fn restart(&mut self) {
        for client in &mut self.clients {
            client.is_connected = false;
        }
        self.node = Node::start(self.handle.same_writer(), self.plan, self.time.clone());
    }

    /// Advances both clocks.
    pub(crate) fn pass(&self, ms: u64) {
        self.time.pass(ms);
    }

    pub(crate) fn head(&self, session: SessionId) -> Head {
        self.node.log.head(session).expect("the log has the session")
    }

    /// Opens a connection on a worker. Returns its index among the clients.
    pub(crate) fn connect(&mut self, worker: usize, user: &str, versioned: bool) -> usize {
        let key = self.node.connect(worker, Peer { user, producer: "producer", versioned });
        self.clients.push(Client::new(&self.node, key));
        self.clients.len() - 1
    }

    /// Ends the connection.
    pub(crate) fn disconnect(&mut self, client: usize) {
        self.clients[client].is_connected = false;
        self.node.disconnect(self.clients[client].key());
    }

    /// Closes what the server wants to be closed.
    pub(crate) fn close(&mut self) -> usize {
        let closing = self.node.take_closing();
        for client in 0..self.clients.len() {
            if closing.contains(&self.clients[client].key()) {
                self.disconnect(client);
            }
        }
        closing.len()
    }

    fn ask(&mut self, client: usize, session: SessionId, request: Request) {
        let requester = self.clients[client].requester.clone();
        self.node.ask(&requester, session, request);
    }

    pub(crate) fn create(&mut self, client: usize, command: &str, follow: bool) -> SessionId {
        let session = derive_session_id(&self.clients[client].reader.who.user_id, command);
        let (project_id, test_id, agent_name) = ("p".to_owned(), "t".to_owned(), "a".to_owned());
        let fields = CreateSession { project_id, test_id, agent_name, metadata: None, follow };
        self.ask(client, session, Request::Create { command: command.to_owned(), fields });
        session
    }

    pub(crate) fn join(&mut self, client: usize, session: SessionId, from: StartAt) {
        let command = format!("join-{}", self.clients[client].received.len());
        let (follow, subscribe, log_was_read) = (true, false, false);
        let join = Join { command, follow, from, id_at_position: None, subscribe, log_was_read };
        self.ask(client, session, Request::Join(join));
    }

    pub(crate) fn leave(&mut self, client: usize, session: SessionId) {
        let request = Request::Leave { command: "leave".to_owned(), unsubscribe: false };
        self.ask(client, session, request);
    }

    pub(crate) fn step_session(&mut self, client: usize, session: SessionId, command: &str, step: Step) {
        self.ask(client, session, Request::Control { command: command.to_owned(), step });
    }

    /// Publishes an event as a socket would. `ttl` in ms, 0 for none.
    pub(crate) fn publish(&mut self, client: usize, session: SessionId, id: &str, data: &Value, ttl: u64) {
        let text = json!({
            "id": id,
            "type": "test_event",
            "timestamp": START,
            "sessionId": session.to_string(),
            "data": data,
            "metadata": {"requiresAck": true, "ttl": if ttl == 0 { Value::Null } else { json!(ttl) }},
        });
        self.node.take_message(self.clients[client].key(), &text.to_string());
    }

    /// Lets the client's socket accept `bytes` more, and flushes it.
    pub(crate) fn make_room(&mut self, client: usize, bytes: usize) {
        self.node.make_room(self.clients[client].key(), bytes);
    }

    /// Submits the oldest batch to the log, and delivers its outcome.
    pub(crate) fn log_answers(&mut self) -> bool {
        self.node.step(NodeStep::Submit) && self.node.step(NodeStep::Outcome)
    }

    /// Completes everything in progress; clients read all messages.
    pub(crate) fn settle(&mut self) {
        self.node.settle();
        assert_eq!(self.node.early_acks, [], "an ack never lies");
        self.clients.iter_mut().for_each(Client::receive);
    }

    /// Checks that all resources were released.
    pub(crate) fn assert_nothing_is_held(&self) {
        assert_eq!(self.node.check_nothing_is_held(), Ok(()));
    }
}
