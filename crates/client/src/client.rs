//! The API: a client, its commands, and its publishers.

use std::sync::Arc;
use std::time::Duration;

use agentbench_protocol::command::{CreateSession, GetSessionList};
use agentbench_protocol::envelope::is_visible;
use agentbench_protocol::limits::{DEFAULT_LIST_PAGE, MAX_HISTORY_PAGE, MAX_PRODUCER_CHARS};
use agentbench_protocol::message::{Joined, Transition};
use agentbench_protocol::session::Outcome as TestOutcome;
use agentbench_protocol::{Command, Epoch, Seq, SessionId, SessionInfo, StartAt, Status, SystemMessage};
use serde_json::value::RawValue;
use tokio::sync::{broadcast, oneshot};

use agentbench_tls::Connector;

use crate::address::Address;
use crate::config::{Config, OutboxPolicy};
use crate::driver;
use crate::event::{Data, Event};
use crate::follow::Follow;
use crate::machine::{ConnectionEvent, Machine, Now, Usage};
use crate::outcome::{Ended, Error, Outcome};
use crate::queue::AtEnd;
use crate::replay::Replay;
use crate::shared::{Reply, Shared, State as SharedState};
use crate::stats::Stats;
use crate::ticket::Ticket;

/// A client of one server, over one connection at a time, which it re-establishes whenever it is lost. Cheap to clone;
/// dropping the last clone closes it.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    handle: Arc<Handle>,
}

/// Closes the client when its last clone is dropped.
struct Handle {
    shared: Arc<Shared>,
    policy: OutboxPolicy,
    close_timeout: Duration,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.request(|state, _| state.machine.close());
    }
}

/// The state of a client.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Connecting or reconnecting.
    Connecting,
    /// Connected.
    Connected,
    /// Closed for good.
    Ended(Ended),
}

/// A session to be created.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Project of the session.
    pub project_id: String,
    /// Test case to run.
    pub test_id: String,
    /// The agent under test.
    pub agent_name: String,
    /// Further data, shown in listings.
    pub metadata: Option<Data>,
}

impl NewSession {
    /// A session without metadata.
    pub fn new(
        project_id: impl Into<String>,
        test_id: impl Into<String>,
        agent_name: impl Into<String>,
    ) -> Self {
        Self {
            project_id: project_id.into(),
            test_id: test_id.into(),
            agent_name: agent_name.into(),
            metadata: None,
        }
    }

    /// Adds metadata.
    #[must_use]
    pub fn metadata(mut self, metadata: Data) -> Self {
        self.metadata = Some(metadata);
        self
    }
}

/// A session that was created.
#[derive(Debug, Clone)]
pub struct Created {
    /// Its id.
    pub session_id: SessionId,
    /// The epoch of its log.
    pub epoch: Epoch,
    /// Its state.
    pub session: SessionInfo,
}

/// A page of sessions.
#[derive(Debug, Clone)]
pub struct SessionPage {
    /// Newest first.
    pub sessions: Vec<SessionInfo>,
    /// Cursor of the next page for [`Client::list`]; `None` on the last one.
    pub next_cursor: Option<String>,
}

/// A page of a log.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// The messages as they were delivered, as JSON.
    pub events: Vec<Box<RawValue>>,
    /// Start of the next page for [`Client::get_history`]; `None` at the end of the log.
    pub next_seq: Option<Seq>,
}

impl Client {
    /// Connects. From then on the client reconnects by itself.
    ///
    /// # Errors
    /// [`Error::Invalid`] for invalid settings, [`Error::Ended`] if the server refuses the client for good,
    /// [`Error::Connect`] if there is no connection within [`Config::connect_patience`].
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let patience = config.connect_patience;
        let client = Self::start(config)?;
        let mut events = client.events();
        client.shared.request(|state, now| state.machine.start(now));
        let mut last = "no attempt has finished yet".to_owned();
        let first = first_connection(&mut events, patience.is_zero(), &mut last);
        if patience.is_zero() {
            first.await?;
        } else if let Ok(result) = tokio::time::timeout(patience, first).await {
            result?;
        } else {
            return Err(Error::Connect(last));
        }
        Ok(client)
    }

    fn start(mut config: Config) -> Result<Self, Error> {
        let address = Address::parse(&config.url)?;
        let connector = connector(&config, &address)?;
        let seed: [u8; 32] = rand::random();
        let settings = &mut config.settings;
        settings.host.clone_from(&address.host);
        settings.target.clone_from(&address.target);
        if settings.producer_id.is_empty() {
            settings.producer_id = format!("{:032x}", rand::random::<u128>());
        }
        if !is_visible(&settings.producer_id, MAX_PRODUCER_CHARS) {
            let detail = format!("the producer id must have 1 to {MAX_PRODUCER_CHARS} visible characters");
            return Err(Error::Invalid(detail));
        }
        let machine = Machine::new(settings.clone(), seed);
        let shared = Arc::new(Shared::new(machine, config.follow_buffer));
        let handle = Handle {
            shared: Arc::clone(&shared),
            policy: config.settings.outbox_policy,
            close_timeout: config.close_timeout,
        };
        driver::spawn(Arc::clone(&shared), address, connector, &config);
        Ok(Self { shared, handle: Arc::new(handle) })
    }

    /// Creates a session. The client joins it as a publisher.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Ended`].
    pub async fn create_session(&self, new: NewSession) -> Result<Created, Error> {
        let metadata = match new.metadata {
            None => None,
            Some(data) => {
                let text = String::from_utf8_lossy(data.bytes()).into_owned();
                let raw = RawValue::from_string(text);
                Some(raw.map_err(|error| Error::Invalid(format!("metadata: {error}")))?)
            }
        };
        let command = Command::CreateSession(CreateSession {
            project_id: new.project_id,
            test_id: new.test_id,
            agent_name: new.agent_name,
            metadata,
            follow: false,
        });
        match self.command(&command).await? {
            SystemMessage::SessionCreated { session_id, epoch, session, .. } => {
                Ok(Created { session_id, epoch, session })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Joins a session to publish in it, until the client is closed.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Ended`].
    pub async fn publisher(&self, session: SessionId) -> Result<Publisher, Error> {
        let reply = self.expect(|state, now, key| state.machine.join(now, key, session)).await?;
        let joined = joined(reply)?;
        Ok(Publisher { client: self.clone(), session, joined })
    }

    /// Follows a session from a position in its log to its end: the follow ends once the session has ended and all of it was read.
    /// At most one follow per session at a time on one client.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Ended`], [`Error::AlreadyFollowing`].
    pub async fn follow(&self, session: SessionId, start: StartAt) -> Result<Follow, Error> {
        self.begin_follow(session, start, AtEnd::Finish).await
    }

    /// Like [`Client::follow`], but continues after the session has ended and all of it was read: for presence, or to check for
    /// duplicates. It ends when it is dropped.
    ///
    /// # Errors
    /// As [`Client::follow`].
    pub async fn follow_and_stay(&self, session: SessionId, start: StartAt) -> Result<Follow, Error> {
        self.begin_follow(session, start, AtEnd::Stay).await
    }

    async fn begin_follow(&self, session: SessionId, start: StartAt, at_end: AtEnd) -> Result<Follow, Error> {
        let key = self.shared.lock().add_follow(session, at_end);
        // From here on, dropping this future cleans up.
        let mut follow = Follow::new(Arc::clone(&self.shared), session, key);
        let reply =
            self.expect(|state, now, reply| state.machine.follow(now, reply, key, session, start)).await?;
        follow.set_joined(joined(reply)?);
        Ok(follow)
    }

    /// Replays a session from `from_seq` on (1 for all of it), at `speed` times its own pace (0.25 to 64): entries of the log,
    /// including expired ones, up to the current end of the log. At most one replay per session at a time on one client.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Ended`], [`Error::AlreadyFollowing`].
    pub async fn replay_session(
        &self,
        session: SessionId,
        speed: f64,
        from_seq: Seq,
    ) -> Result<Replay, Error> {
        // The server reports the end of a replay.
        let key = self.shared.lock().add_follow(session, AtEnd::Stay);
        // From here on, dropping this future cleans up.
        let mut replay = Replay::new(Arc::clone(&self.shared), session, key);
        let ask = |state: &mut SharedState, now, reply| {
            state.machine.replay(now, reply, key, session, speed, from_seq)
        };
        match self.expect(ask).await? {
            SystemMessage::ReplayStarted { from_seq, to_seq, .. } => replay.started(from_seq, to_seq),
            other => return Err(Error::UnexpectedReply(format!("{other:?}"))),
        }
        Ok(replay)
    }

    /// Leaves a session: its unsent and unacked events are given up, and its follow ends.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Ended`].
    pub async fn leave(&self, session: SessionId) -> Result<(), Error> {
        self.expect(|state, now, key| state.machine.leave(now, key, session)).await.map(drop)
    }

    /// idle → running.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Ended`].
    pub async fn start_test(&self, session: SessionId) -> Result<Transition, Error> {
        transition(self.command(&Command::StartTest { session_id: session.to_string() }).await?)
    }

    /// running → paused.
    ///
    /// # Errors
    /// As [`Client::start_test`].
    pub async fn pause_test(&self, session: SessionId) -> Result<Transition, Error> {
        transition(self.command(&Command::PauseTest { session_id: session.to_string() }).await?)
    }

    /// paused → running.
    ///
    /// # Errors
    /// As [`Client::start_test`].
    pub async fn resume_test(&self, session: SessionId) -> Result<Transition, Error> {
        transition(self.command(&Command::ResumeTest { session_id: session.to_string() }).await?)
    }

    /// Ends the session.
    ///
    /// # Errors
    /// As [`Client::start_test`].
    pub async fn stop_test(
        &self,
        session: SessionId,
        outcome: TestOutcome,
        reason: Option<String>,
    ) -> Result<Transition, Error> {
        let command = Command::StopTest { session_id: session.to_string(), outcome, reason };
        transition(self.command(&command).await?)
    }

    /// The state of one session.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Ended`].
    pub async fn get_session_info(&self, session: SessionId) -> Result<SessionInfo, Error> {
        match self.command(&Command::GetSessionInfo { session_id: session.to_string() }).await? {
            SystemMessage::SessionInfo { session, .. } => Ok(session),
            other => Err(unexpected(&other)),
        }
    }

    /// A page of the sessions that the user may see, newest first.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Ended`].
    pub async fn list(
        &self,
        status: Option<Status>,
        project_id: Option<String>,
        cursor: Option<String>,
    ) -> Result<SessionPage, Error> {
        let query = GetSessionList { status, project_id, q: None, limit: DEFAULT_LIST_PAGE, cursor };
        match self.command(&Command::GetSessionList(query)).await? {
            SystemMessage::SessionList { sessions, next_cursor, .. } => {
                Ok(SessionPage { sessions, next_cursor })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// A page of a session's log; `limit` is 1 to 1000 events.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Ended`].
    pub async fn get_history(
        &self,
        session: SessionId,
        from_seq: Seq,
        limit: u32,
    ) -> Result<HistoryPage, Error> {
        let limit = limit.clamp(1, MAX_HISTORY_PAGE);
        let command = Command::GetHistory { session_id: session.to_string(), from_seq, limit };
        match self.command(&command).await? {
            SystemMessage::SessionHistory { events, next_seq, .. } => Ok(HistoryPage { events, next_seq }),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends the server a newer token of the same user, which later connections use as well. Returns its expiry, ms since
    /// 1970.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Ended`].
    pub async fn refresh_token(&self, token: impl Into<String>) -> Result<Option<u64>, Error> {
        match self.command(&Command::RefreshToken { token: token.into() }).await? {
            SystemMessage::TokenRefreshed { token_expires_at, .. } => Ok(token_expires_at),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends any command and returns its reply. After a reconnect it is sent again, with the same id.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Ended`].
    pub async fn command(&self, command: &Command) -> Result<SystemMessage, Error> {
        self.expect(|state, now, key| state.machine.command(now, key, command)).await
    }

    /// Adds an event to the outbox; the ticket resolves to its outcome. The client joins the session as a publisher if
    /// necessary.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::OutboxFull`] (not with [`OutboxPolicy::Wait`]), [`Error::Ended`].
    pub async fn publish(&self, session: SessionId, event: impl Into<Event>) -> Result<Ticket, Error> {
        let (sender, receiver) = oneshot::channel();
        self.enqueue(session, event.into(), Some(sender)).await?;
        Ok(Ticket(receiver))
    }

    /// Adds an event to the outbox without requesting an ack: its outcome is not reported.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub async fn publish_unacked(&self, session: SessionId, event: impl Into<Event>) -> Result<(), Error> {
        self.enqueue(session, event.into(), None).await
    }

    async fn enqueue(
        &self,
        session: SessionId,
        event: Event,
        ticket: Option<oneshot::Sender<Outcome>>,
    ) -> Result<(), Error> {
        let mut wanted = Some((event, ticket));
        loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            // Registered before the check, so that no notification is missed.
            room.as_mut().enable();
            let queued = self.shared.with(|state, now| state.enqueue(now, session, &mut wanted));
            if let Some(result) = queued {
                self.shared.wake.notify_one();
                return result;
            }
            if self.handle.policy != OutboxPolicy::Wait {
                return Err(Error::OutboxFull);
            }
            room.await;
        }
    }

    /// Waits until the outbox is empty: every publish has its outcome or, without an ack, was handed to the connection.
    pub async fn flush(&self) {
        loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.outbox().messages == 0 || self.has_ended() {
                return;
            }
            room.await;
        }
    }

    /// Closes the client: waits until the outbox is empty, at most [`Config::close_timeout`], then closes the connection. Events
    /// without an outcome by then are `Unknown`.
    pub async fn close(&self) {
        // The outcomes report a timeout.
        let _ = tokio::time::timeout(self.handle.close_timeout, self.flush()).await;
        self.shared.request(|state, _| state.machine.close());
        // Fails only if the driver has ended, which is the goal.
        let _ = self.shared.done.subscribe().wait_for(|done| *done).await;
    }

    fn has_ended(&self) -> bool {
        self.shared.lock().machine.ended().is_some()
    }

    /// The state of the client.
    pub fn state(&self) -> State {
        let state = self.shared.lock();
        match state.machine.ended() {
            Some(ended) => State::Ended(ended.clone()),
            None if state.machine.is_connected() => State::Connected,
            None => State::Connecting,
        }
    }

    /// Events of the connection from now on. A receiver that is far behind misses the oldest.
    pub fn events(&self) -> broadcast::Receiver<ConnectionEvent> {
        self.shared.lock().events.subscribe()
    }

    /// Round trip of the last heartbeat, if there was one.
    pub fn latency(&self) -> Option<Duration> {
        self.shared.lock().machine.latency()
    }

    /// Counters since the client was made.
    pub fn stats(&self) -> Stats {
        self.shared.lock().machine.stats()
    }

    /// Number and size of the events in the outbox.
    pub fn outbox(&self) -> Usage {
        self.shared.lock().machine.usage()
    }

    /// Sends a request and waits for its answer.
    async fn expect(
        &self,
        ask: impl FnOnce(&mut SharedState, Now, u64) -> Result<(), Error>,
    ) -> Result<SystemMessage, Error> {
        let reply = self.shared.request(|state, now| {
            let (key, reply) = state.expect_reply();
            ask(state, now, key).inspect_err(|_| state.forget_reply(key)).map(|()| reply)
        })?;
        let received: Reply = reply.await.unwrap_or(Err(Error::Ended(Ended::Closed)));
        received.map(|message| *message)
    }
}

impl SharedState {
    /// Adds an event to the outbox if there is room; otherwise leaves it in place.
    fn enqueue(
        &mut self,
        now: Now,
        session: SessionId,
        wanted: &mut Option<(Event, Option<oneshot::Sender<Outcome>>)>,
    ) -> Option<Result<(), Error>> {
        let bytes = wanted.as_ref().map_or(0, |(event, _)| event.data.bytes().len());
        if self.machine.ended().is_none() && !self.machine.make_room(session, bytes) {
            return None;
        }
        let (event, ticket) = wanted.take()?;
        Some(self.machine.publish(now, session, event, ticket))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// Publishes in one joined session.
#[derive(Debug, Clone)]
pub struct Publisher {
    client: Client,
    session: SessionId,
    joined: Joined,
}

impl Publisher {
    /// The session.
    pub fn session_id(&self) -> SessionId {
        self.session
    }

    /// The server's answer to the join.
    pub fn joined(&self) -> &Joined {
        &self.joined
    }

    /// See [`Client::publish`].
    ///
    /// # Errors
    /// See [`Client::publish`].
    pub async fn publish(&self, event: impl Into<Event>) -> Result<Ticket, Error> {
        self.client.publish(self.session, event).await
    }

    /// See [`Client::publish_unacked`].
    ///
    /// # Errors
    /// See [`Client::publish`].
    pub async fn publish_unacked(&self, event: impl Into<Event>) -> Result<(), Error> {
        self.client.publish_unacked(self.session, event).await
    }
}

/// Waits until the client is connected or has ended or, with `once`, its first attempt has failed.
async fn first_connection(
    events: &mut broadcast::Receiver<ConnectionEvent>,
    once: bool,
    last: &mut String,
) -> Result<(), Error> {
    loop {
        match events.recv().await {
            Ok(ConnectionEvent::Connected { .. }) => return Ok(()),
            Ok(ConnectionEvent::Failed(ended)) => return Err(Error::Ended(ended)),
            Ok(ConnectionEvent::Disconnected(why)) => *last = why.detail,
            Ok(ConnectionEvent::Reconnecting { .. }) if once => return Err(Error::Connect(last.clone())),
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return Err(Error::Ended(Ended::Closed)),
        }
    }
}

fn joined(reply: SystemMessage) -> Result<Joined, Error> {
    match reply {
        SystemMessage::SessionJoined(joined) => Ok(joined),
        other => Err(unexpected(&other)),
    }
}

fn transition(reply: SystemMessage) -> Result<Transition, Error> {
    match reply {
        SystemMessage::SessionStarted(step)
        | SystemMessage::SessionPaused(step)
        | SystemMessage::SessionResumed(step)
        | SystemMessage::SessionStopped(step) => Ok(step),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &SystemMessage) -> Error {
    Error::UnexpectedReply(format!("{reply:?}"))
}

/// The trusted CAs of `wss://`; `None` for `ws://`.
fn connector(config: &Config, address: &Address) -> Result<Option<Connector>, Error> {
    if !address.encrypted {
        return Ok(None);
    }
    let connector = match &config.authority {
        Some(pem) => Connector::with_authority(pem),
        None => Connector::native(),
    };
    connector.map(Some).map_err(|error| Error::Invalid(error.to_string()))
}
