//! Every session that the log has, small enough to keep for all of them: what listings show and where the log ends.
//!
//! Shared by all workers. Locked for creations, lookups by name and listings, never for an event: heads are atomics.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use agentbench_event_log::Listed;
use agentbench_protocol::command::GetSessionList;
use agentbench_protocol::{Epoch, Head, Seq, SessionId, SessionInfo, Status};
use agentbench_session::Summary;
use tokio::sync::Notify;

use super::pace::Pace;

/// One session.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: SessionId,
    pub(crate) epoch: Epoch,
    /// Name and epoch as text, which every ack carries.
    pub(crate) name: Box<str>,
    pub(crate) epoch_text: Box<str>,
    /// The last seq that the log has.
    head: AtomicU64,
    /// When somebody used it last, as far as this process knows; ms since 1970.
    pub(crate) last_used: AtomicU64,
    pub(crate) archived: AtomicBool,
    /// Wakes who waits for the head to move without being a follower of a feed.
    pub(crate) moved: Notify,
    pub(crate) pace: Pace,
    summary: RwLock<Arc<Summary>>,
    /// Percent of its newest `progress` event, as the bits of a float; no number if there was none.
    progress: AtomicU64,
}

impl Entry {
    pub(crate) fn new(id: SessionId, head: Head, summary: Summary, now: u64) -> Arc<Self> {
        Arc::new(Self {
            id,
            epoch: head.epoch,
            name: id.to_string().into(),
            epoch_text: head.epoch.to_string().into(),
            head: AtomicU64::new(head.seq),
            last_used: AtomicU64::new(now),
            archived: AtomicBool::new(false),
            moved: Notify::new(),
            progress: AtomicU64::new(summary.progress.unwrap_or(f64::NAN).to_bits()),
            pace: Pace::new(now),
            summary: RwLock::new(Arc::new(summary)),
        })
    }

    pub(crate) fn head(&self) -> Head {
        Head { epoch: self.epoch, seq: self.head.load(Ordering::Acquire) }
    }

    pub(crate) fn set_head(&self, seq: Seq) {
        self.head.store(seq, Ordering::Release);
        self.moved.notify_waiters();
    }

    pub(crate) fn summary(&self) -> Arc<Summary> {
        Arc::clone(&self.summary.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Percent of its newest `progress` event.
    pub(crate) fn progress(&self) -> Option<f64> {
        Some(f64::from_bits(self.progress.load(Ordering::Relaxed))).filter(|percent| !percent.is_nan())
    }

    /// Called by its owner only.
    pub(crate) fn set_progress(&self, percent: Option<f64>) {
        self.progress.store(percent.unwrap_or(f64::NAN).to_bits(), Ordering::Relaxed);
    }

    fn set_summary(&self, summary: Summary) {
        *self.summary.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(summary);
    }
}

#[derive(Debug, Default)]
struct Index {
    by_id: HashMap<SessionId, Arc<Entry>>,
    newest_first: BTreeSet<(Reverse<u64>, SessionId)>,
}

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    index: RwLock<Index>,
    active: AtomicUsize,
    /// How many of them each user has created.
    live_by_user: Mutex<HashMap<String, usize>>,
    /// See [`Pace::is_stalled`], ms.
    stall_after: u64,
}

/// How many sessions there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// In the order of [`Status::ALL`].
    pub(crate) by_state: [u64; Status::ALL.len()],
    pub(crate) stalled: u64,
}

/// A page of sessions.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) sessions: Vec<SessionInfo>,
    pub(crate) next_cursor: Option<String>,
}

impl Catalog {
    pub(crate) fn new(stall_after: u64) -> Self {
        Self { stall_after, ..Self::default() }
    }

    /// A session as clients are told of it, with what is known of its pace.
    pub(crate) fn with_pace(&self, entry: &Entry, mut info: SessionInfo) -> SessionInfo {
        entry.pace.describe(&mut info, crate::now_ms(), self.stall_after);
        info
    }

    /// How many sessions are in each state, and how many running ones have gone silent.
    pub(crate) fn census(&self, now: u64) -> Census {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let mut census = Census::default();
        for entry in index.by_id.values() {
            let status = entry.summary().status;
            let place = Status::ALL.iter().position(|known| *known == status);
            census.by_state[place.unwrap_or(0)] += 1;
            census.stalled += u64::from(entry.pace.is_stalled(status, now, self.stall_after));
        }
        census
    }

    /// Takes over what the log lists. Returns the sessions whose summary cannot be read.
    pub(crate) fn load(&self, listed: Vec<Listed>, now: u64) -> Vec<SessionId> {
        let mut unreadable = Vec::new();
        for session in listed {
            match Summary::from_bytes(&session.summary) {
                Ok(summary) => {
                    let entry = Entry::new(session.session, session.head, summary, now);
                    entry.archived.store(session.archived, Ordering::Relaxed);
                    self.insert(entry);
                }
                Err(_) => unreadable.push(session.session),
            }
        }
        unreadable
    }

    /// Adds a session that the log has.
    pub(crate) fn insert(&self, entry: Arc<Entry>) {
        let summary = entry.summary();
        if self.put(entry) && !summary.status.has_ended() {
            self.active.fetch_add(1, Ordering::Relaxed);
            self.reserve_for(&summary.created_by, 0);
        }
    }

    /// Takes a place under `limit` for a session that the log does not have yet.
    pub(crate) fn reserve(&self, limit: usize) -> bool {
        let take = |count| (count < limit).then_some(count + 1);
        self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Takes a place among a user's live sessions, under a limit of the user's own; 0 is no limit.
    pub(crate) fn reserve_for(&self, user: &str, limit: usize) -> bool {
        let mut live = self.live_by_user.lock().unwrap_or_else(PoisonError::into_inner);
        let count = live.entry(user.to_owned()).or_default();
        let has_room = limit == 0 || *count < limit;
        *count += usize::from(has_room);
        has_room
    }

    /// One of the user's sessions has ended, or did not come about.
    pub(crate) fn give_back_for(&self, user: &str) {
        let mut live = self.live_by_user.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = live.get_mut(user) else { return };
        *count -= 1;
        if *count == 0 {
            live.remove(user);
        }
    }

    /// The log has the session that a place was reserved for.
    pub(crate) fn insert_reserved(&self, entry: Arc<Entry>) {
        self.put(entry);
    }

    /// The log did not take the session that a place was reserved for.
    pub(crate) fn give_back(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// Tells whether it is new here.
    fn put(&self, entry: Arc<Entry>) -> bool {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.newest_first.insert((Reverse(entry.summary().created_at), entry.id));
        index.by_id.insert(entry.id, entry).is_none()
    }

    pub(crate) fn remove(&self, id: SessionId) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = index.by_id.remove(&id) {
            let summary = entry.summary();
            index.newest_first.remove(&(Reverse(summary.created_at), id));
            if !summary.status.has_ended() {
                self.active.fetch_sub(1, Ordering::Relaxed);
                self.give_back_for(&summary.created_by);
            }
        }
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<Entry>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned()
    }

    /// Replaces a session's summary; called by its owner only.
    pub(crate) fn update(&self, entry: &Entry, summary: Summary) {
        let before = entry.summary().status.has_ended();
        if summary.status.has_ended() && !before {
            self.active.fetch_sub(1, Ordering::Relaxed);
            self.give_back_for(&summary.created_by);
        }
        entry.set_summary(summary);
    }

    /// Sessions that have not ended.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// All sessions.
    pub(crate) fn len(&self) -> usize {
        self.index.read().unwrap_or_else(PoisonError::into_inner).by_id.len()
    }

    /// The sessions for which `wanted` holds.
    pub(crate) fn filter(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.by_id.values().filter(|entry| wanted(entry)).cloned().collect()
    }

    /// A page of the sessions that `may_see` lets through, newest first. The cursor is the creation time and name of the
    /// last session of the page before, so a page stays right while sessions come and go.
    pub(crate) fn page(&self, query: &GetSessionList, may_see: impl Fn(&str) -> bool) -> Option<Page> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let start = match &query.cursor {
            None => std::ops::Bound::Unbounded,
            Some(cursor) => std::ops::Bound::Excluded(parse_cursor(cursor)?),
        };
        let mut page = Page { sessions: Vec::new(), next_cursor: None };
        let limit = query.limit as usize;
        for (created_at, id) in index.newest_first.range((start, std::ops::Bound::Unbounded)) {
            let Some(entry) = index.by_id.get(id) else { continue };
            let summary = entry.summary();
            if !matches(query, *id, &summary) || !may_see(&summary.project_id) {
                continue;
            }
            if page.sessions.len() == limit {
                let last =
                    page.sessions.last().map(|last| format!("{}_{}", last.created_at, last.session_id));
                page.next_cursor = last;
                return Some(page);
            }
            debug_assert_eq!(summary.created_at, created_at.0);
            let info = SessionInfo { progress: entry.progress(), ..summary.describe(*id, entry.head()) };
            page.sessions.push(self.with_pace(entry, info));
        }
        Some(page)
    }
}

fn matches(query: &GetSessionList, id: SessionId, summary: &Summary) -> bool {
    let status = |wanted: Status| summary.status == wanted;
    query.status.is_none_or(status)
        && query.project_id.as_ref().is_none_or(|project| *project == summary.project_id)
        && query.q.as_ref().is_none_or(|text| {
            let fields = [&summary.agent_name, &summary.test_id, &summary.project_id];
            fields.iter().any(|field| holds(field, text)) || holds(&id.to_string(), text)
        })
}

/// Whether a text holds another one, whatever the case of their letters.
fn holds(text: &str, part: &str) -> bool {
    if text.is_ascii() && part.is_ascii() {
        // Nearly always, and without a copy: this is done for every session there is.
        let (text, part) = (text.as_bytes(), part.as_bytes());
        return part.is_empty() || text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
    }
    text.to_lowercase().contains(&part.to_lowercase())
}

fn parse_cursor(cursor: &str) -> Option<(Reverse<u64>, SessionId)> {
    let (created_at, id) = cursor.split_once('_')?;
    Some((Reverse(created_at.parse().ok()?), id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(project: &str, created_at: u64, status: Status) -> Summary {
        Summary {
            project_id: project.into(),
            test_id: "t".into(),
            agent_name: "a".into(),
            created_by: "u".into(),
            created_at,
            metadata: None,
            status,
            started_at: None,
            ended_at: None,
            reason: None,
            progress: None,
        }
    }

    fn query(limit: u32, cursor: Option<String>) -> GetSessionList {
        GetSessionList { status: None, project_id: None, q: None, limit, cursor }
    }

    #[test]
    fn pages_cover_every_visible_session_once_newest_first() {
        let catalog = Catalog::default();
        for n in 0..25_u64 {
            let project = if n % 5 == 0 { "hidden" } else { "p" };
            let head = Head { epoch: Epoch::from_u64(1), seq: n };
            // Two sessions each share a creation time.
            let summary = summary(project, n / 2, Status::Idle);
            catalog.insert(Entry::new(SessionId::from_u128(u128::from(n)), head, summary, 0));
        }
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = catalog.page(&query(3, cursor), |project| project == "p").unwrap();
            seen.extend(page.sessions.iter().map(|session| (session.created_at, session.session_id)));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 20);
        assert!(seen.is_sorted_by(|a, b| a.0 > b.0 || (a.0 == b.0 && a.1 < b.1)));
        assert!(catalog.page(&query(3, Some("nonsense".into())), |_| true).is_none());
    }

    #[test]
    fn a_search_looks_at_agent_test_project_and_name_in_any_case() {
        let catalog = Catalog::default();
        let head = Head { epoch: Epoch::from_u64(1), seq: 1 };
        let named = |agent: &str| Summary { agent_name: agent.into(), ..summary("Shop", 1, Status::Idle) };
        catalog.insert(Entry::new(SessionId::from_u128(1), head, named("MGX"), 0));
        catalog.insert(Entry::new(SessionId::from_u128(0xabc), head, named("ÄRGER"), 0));
        let found = |text: &str| {
            let query = GetSessionList { q: Some(text.into()), ..query(9, None) };
            catalog.page(&query, |_| true).unwrap().sessions.len()
        };
        assert_eq!([found(""), found("shop"), found("mgx"), found("Gx")], [2, 2, 1, 1]);
        assert_eq!([found("ärg"), found("0ABC"), found("nothing"), found("idle")], [1, 1, 0, 0]);
    }

    #[test]
    fn the_count_of_active_sessions_follows_ends_and_removals() {
        let catalog = Catalog::default();
        let head = Head { epoch: Epoch::from_u64(1), seq: 1 };
        let ids = [1, 2, 3].map(SessionId::from_u128);
        for id in ids {
            catalog.insert(Entry::new(id, head, summary("p", 1, Status::Idle), 0));
        }
        assert_eq!(catalog.active(), 3);
        let entry = catalog.get(ids[0]).unwrap();
        catalog.update(&entry, summary("p", 1, Status::Completed));
        catalog.update(&entry, summary("p", 1, Status::Completed));
        catalog.remove(ids[0]);
        catalog.remove(ids[1]);
        assert_eq!((catalog.active(), catalog.len()), (1, 1));
        assert!(catalog.reserve(2) && !catalog.reserve(2));
        catalog.insert_reserved(Entry::new(SessionId::from_u128(4), head, summary("p", 1, Status::Idle), 0));
        assert!(catalog.active() == 2 && catalog.reserve(3));
        catalog.give_back();
        assert_eq!((catalog.active(), catalog.len()), (2, 2));
    }
}
