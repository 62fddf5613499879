//! The open streams of Server-Sent Events. They are listed, closed and explained like other connections.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use agentbench_auth::Grant;
use agentbench_protocol::message::Sender;
use agentbench_protocol::{Seq, SessionId};
use agentbench_session::ConnectionKey;
use tokio::sync::Notify;

use super::stream_room::StreamRoom;
use crate::clock;
use crate::letters::connections::{ConnectionInfo, StreamClose, Transport};
use crate::names;
use crate::ops::farewell::{CloseRecord, Evidence};
use crate::session::entry::Entry;

/// One stream.
pub(crate) struct Stream {
    pub(crate) key: ConnectionKey,
    pub(crate) who: Arc<Sender>,
    pub(crate) grant: Arc<Grant>,
    pub(crate) session: SessionId,
    pub(crate) entry: Arc<Entry>,
    pub(crate) room: Arc<StreamRoom>,
    pub(crate) address: IpAddr,
    pub(crate) connected_at: u64,
    /// The seq that comes next.
    pub(crate) next: AtomicU64,
    /// Since when its socket is blocked, ms since 1970; 0 if it is not.
    pub(crate) blocked_since: AtomicU64,
    /// When bytes were last written to its socket, ms since 1970.
    pub(crate) last_written: AtomicU64,
    ending: Mutex<Option<StreamClose>>,
    pub(crate) wake: Notify,
}

impl Stream {
    pub(crate) fn new(
        key: ConnectionKey,
        who: Arc<Sender>,
        grant: Arc<Grant>,
        entry: Arc<Entry>,
        room: Arc<StreamRoom>,
        address: IpAddr,
        next: Seq,
    ) -> Self {
        let now = clock::now_ms();
        Self {
            key,
            who,
            grant,
            session: entry.id,
            entry,
            room,
            address,
            connected_at: now,
            next: AtomicU64::new(next),
            blocked_since: AtomicU64::new(0),
            last_written: AtomicU64::new(now),
            ending: Mutex::new(None),
            wake: Notify::new(),
        }
    }

    /// Ends the stream; the first reason counts.
    pub(crate) fn end(&self, ending: StreamClose) {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(ending);
        self.wake.notify_one();
    }

    pub(crate) fn ending(&self) -> Option<StreamClose> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn lag(&self) -> u64 {
        (self.entry.head().seq + 1).saturating_sub(self.next.load(Ordering::Relaxed))
    }

    fn blocked_since(&self) -> Option<u64> {
        Some(self.blocked_since.load(Ordering::Relaxed)).filter(|since| *since > 0)
    }

    pub(crate) fn describe(&self) -> ConnectionInfo {
        ConnectionInfo {
            client_id: self.who.client_id.clone(),
            user_id: self.who.user_id.clone(),
            username: self.who.username.clone(),
            role: self.who.role.clone(),
            project_id: self.grant.project.clone(),
            producer_id: None,
            transport: Transport::Sse,
            address: Some(self.address.to_string()),
            worker: names::worker_of(self.key),
            connected_at: self.connected_at,
            last_heard_at: self.last_written.load(Ordering::Relaxed),
            token_expires_at: self.grant.expires_at,
            waiting_bytes: 0,
            blocked_since: self.blocked_since(),
            unanswered_pings: 0,
            pending_commands: 0,
            lag: self.lag(),
            sessions: vec![self.session],
        }
    }

    /// The record of the stream's end.
    pub(crate) fn farewell(&self, ended_at: u64) -> CloseRecord {
        let evidence = Evidence {
            waiting_bytes: 0,
            blocked_since: self.blocked_since(),
            last_heard_at: self.last_written.load(Ordering::Relaxed),
            unanswered_pings: 0,
            pending_commands: 0,
            token_expires_at: self.grant.expires_at,
            lag: self.lag(),
            limit: None,
        };
        CloseRecord::new(&self.who, Transport::Sse, self.connected_at, ended_at, evidence)
    }
}

/// All streams, in the order of their keys.
#[derive(Default)]
pub(crate) struct Streams {
    open: Mutex<BTreeMap<ConnectionKey, Arc<Stream>>>,
    rooms: Mutex<HashMap<SessionId, Weak<StreamRoom>>>,
}

impl Streams {
    /// What the streams of a session share.
    pub(crate) fn room(&self, session: SessionId) -> Arc<StreamRoom> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(&session).and_then(Weak::upgrade) {
            return room;
        }
        rooms.retain(|_, room| room.strong_count() > 0);
        let room = Arc::new(StreamRoom::default());
        rooms.insert(session, Arc::downgrade(&room));
        room
    }

    pub(crate) fn insert(&self, stream: Arc<Stream>) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(stream.key, stream);
    }

    pub(crate) fn remove(&self, key: ConnectionKey) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    pub(crate) fn get(&self, key: ConnectionKey) -> Option<Arc<Stream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    pub(crate) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The streams of one worker.
    pub(crate) fn of_worker(&self, worker: usize) -> Vec<Arc<Stream>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().filter(|stream| names::worker_of(stream.key) == worker).cloned().collect()
    }
}
