//! The catalog: a small entry for every session in the log, with its summary and the end of its log.
//!
//! Shared by all workers. Creations, lookups by name and listings take the lock, events never do: heads are atomics. All work
//! under the lock is bounded: a page of a listing, a slice of a sweep.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use agentbench_event_log::{EventLog, Listed};
use agentbench_protocol::command::GetSessionList;
use agentbench_protocol::{Epoch, Seq, SessionId, SessionInfo, Status};
use agentbench_session::Summary;

use super::entry::Entry;

/// A session's sort key in listings: newest first, then by id.
type ListingKey = (Reverse<u64>, SessionId);
type Order = BTreeMap<ListingKey, Arc<Entry>>;

/// Sessions in listing order: all of them, and those of each status.
#[derive(Debug, Default)]
struct Listing {
    all: Order,
    by_status: [Order; Status::ALL.len()],
}

impl Listing {
    fn insert(&mut self, place: ListingKey, status: Status, entry: &Arc<Entry>) {
        self.all.insert(place, Arc::clone(entry));
        self.by_status[status_index(status)].insert(place, Arc::clone(entry));
    }

    fn remove(&mut self, place: &ListingKey, status: Status) {
        self.all.remove(place);
        self.by_status[status_index(status)].remove(place);
    }

    fn change(&mut self, place: ListingKey, before: Status, after: Status) {
        if let Some(entry) = self.by_status[status_index(before)].remove(&place) {
            self.by_status[status_index(after)].insert(place, entry);
        }
    }
}

fn status_index(status: Status) -> usize {
    Status::ALL.iter().position(|known| *known == status).unwrap_or(0)
}

/// Maximum number of sessions scanned for one page. A search with few matches ends its page there, with a cursor to
/// continue from, so the cost of one request is bounded.
const MAX_SCAN: usize = 4_096;
/// Number of removed lives that are remembered.
const REMEMBERED_REMOVALS: usize = 4_096;
/// Sessions visited while holding the lock once, in an iteration over all of them.
const SLICE: usize = 1_024;

#[derive(Debug, Default)]
struct Index {
    by_id: HashMap<SessionId, Arc<Entry>>,
    everything: Listing,
    by_project: HashMap<Box<str>, Listing>,
}

impl Index {
    /// Returns whether the session is new.
    fn put(&mut self, entry: &Arc<Entry>) -> bool {
        let summary = entry.summary();
        let (place, status) = ((Reverse(summary.created_at), entry.id), summary.status);
        self.everything.insert(place, status, entry);
        self.by_project.entry(summary.project_id.as_str().into()).or_default().insert(place, status, entry);
        self.by_id.insert(entry.id, Arc::clone(entry)).is_none()
    }

    fn remove(&mut self, id: SessionId) -> Option<Arc<Entry>> {
        let entry = self.by_id.remove(&id)?;
        let summary = entry.summary();
        let (place, status) = ((Reverse(summary.created_at), id), summary.status);
        self.everything.remove(&place, status);
        if let Some(listing) = self.by_project.get_mut(summary.project_id.as_str()) {
            listing.remove(&place, status);
            if listing.all.is_empty() {
                self.by_project.remove(summary.project_id.as_str());
            }
        }
        Some(entry)
    }

    fn change(&mut self, place: ListingKey, project: &str, before: Status, after: Status) {
        self.everything.change(place, before, after);
        if let Some(listing) = self.by_project.get_mut(project) {
            listing.change(place, before, after);
        }
    }

    /// The smallest order that contains all sessions of the status and project.
    fn order(&self, status: Option<Status>, project: Option<&str>) -> Option<&Order> {
        let listing = match project {
            None => &self.everything,
            Some(project) => self.by_project.get(project)?,
        };
        Some(status.map_or(&listing.all, |status| &listing.by_status[status_index(status)]))
    }
}

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    index: RwLock<Index>,
    active: AtomicUsize,
    /// Entries of sessions that are being created: the log may show them before it answers.
    unlogged: Mutex<HashMap<SessionId, Arc<Entry>>>,
    /// Lives of sessions that were removed last: what is told of them late does not list them again.
    removed: Mutex<VecDeque<(SessionId, Epoch)>>,
    /// Live sessions by the user who created them.
    live_by_user: Mutex<HashMap<String, usize>>,
    /// See [`Pace::is_stalled`](super::pace::Pace::is_stalled), ms.
    stall_after: u64,
    is_complete: bool,
}

/// Numbers of sessions.
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

/// A reservation among the live sessions, for a session that is not in the log yet; released when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    /// The catalog and the user; `None` once the session is in the catalog.
    reserved: Option<(Arc<Catalog>, String)>,
    session: SessionId,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some((catalog, user)) = self.reserved.take() {
            catalog.unlogged().remove(&self.session);
            catalog.active.fetch_sub(1, Ordering::Relaxed);
            catalog.uncount_for_user(&user);
        }
    }
}

/// Why a session could not be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionLimitReached {
    /// The user has reached the limit on live sessions of one user.
    User,
    /// The server has reached its limit on live sessions.
    Server,
}

impl Catalog {
    /// `is_complete` if no other process creates sessions; otherwise the log may have some that are not known here yet.
    pub(crate) fn new(stall_after: u64, is_complete: bool) -> Self {
        Self { stall_after, is_complete, ..Self::default() }
    }

    /// Whether a session that is not listed here does not exist.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Adds the session's pace to its description for clients.
    pub(crate) fn with_pace(&self, entry: &Entry, mut info: SessionInfo, now: u64) -> SessionInfo {
        entry.pace.describe(&mut info, now, self.stall_after);
        info
    }

    /// Counts sessions by status, and running ones that have stalled.
    pub(crate) fn census(&self, now: u64) -> Census {
        let mut census = Census::default();
        for (count, order) in census.by_state.iter_mut().zip(&self.read().everything.by_status) {
            *count = order.len() as u64;
        }
        self.each(Status::Running, |entry| {
            census.stalled += u64::from(entry.pace.is_stalled(Status::Running, now, self.stall_after));
        });
        census
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `visit` with every session of a status, a slice at a time, without holding the lock.
    pub(crate) fn each(&self, status: Status, mut visit: impl FnMut(&Arc<Entry>)) {
        let mut cursor = None;
        loop {
            let slice = self.slice(status, cursor, SLICE);
            slice.iter().for_each(|(_, entry)| visit(entry));
            match slice.last() {
                Some((place, _)) if slice.len() == SLICE => cursor = Some(*place),
                _ => return,
            }
        }
    }

    /// Calls `visit` with every session that has not ended.
    pub(crate) fn each_live(&self, mut visit: impl FnMut(&Arc<Entry>)) {
        for status in Status::ALL.into_iter().filter(|status| !status.has_ended()) {
            self.each(status, &mut visit);
        }
    }

    /// The next `count` sessions of a status after a key, in listing order.
    pub(crate) fn slice(
        &self,
        status: Status,
        after: Option<ListingKey>,
        count: usize,
    ) -> Vec<(ListingKey, Arc<Entry>)> {
        let index = self.read();
        let order = &index.everything.by_status[status_index(status)];
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = order.range((start, Bound::Unbounded)).take(count);
        found.map(|(place, entry)| (*place, Arc::clone(entry))).collect()
    }

    /// Loads the sessions listed by the log. Returns those whose summary cannot be read.
    pub(crate) fn load(&self, listed: Vec<Listed>, now: u64) -> Vec<SessionId> {
        let mut unreadable = Vec::new();
        for session in listed {
            unreadable.extend(self.insert_listed(&session, now).is_none().then_some(session.session));
        }
        unreadable
    }

    /// Adds a session as the log lists it; `None` if its summary cannot be read. One that is known stays.
    pub(crate) fn insert_listed(&self, listed: &Listed, now: u64) -> Option<Arc<Entry>> {
        if let Some(known) = self.get(listed.session).filter(|known| known.epoch == listed.head.epoch) {
            known.move_head(listed.head.seq);
            return Some(known);
        }
        let removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        if removed.contains(&(listed.session, listed.head.epoch)) {
            return None;
        }
        drop(removed);
        let summary = Summary::from_bytes(&listed.summary).ok()?;
        let own = self.unlogged().get(&listed.session).filter(|own| own.epoch == listed.head.epoch).cloned();
        let entry = own.unwrap_or_else(|| Entry::new(listed.session, listed.head, summary, now));
        entry.move_head(listed.head.seq);
        entry.archived.store(listed.archived, Ordering::Relaxed);
        self.remove(listed.session);
        self.insert(&entry);
        Some(entry)
    }

    /// Adds a session that is in the log.
    pub(crate) fn insert(&self, entry: &Arc<Entry>) {
        let summary = entry.summary();
        if self.put(entry) && !summary.status.has_ended() {
            self.active.fetch_add(1, Ordering::Relaxed);
            self.count_for_user(&summary.created_by, 0);
        }
    }

    /// Reserves a place for a live session that is not in the log yet, under the user's limit and the server's. 0 is no limit
    /// for the user. Its entry follows by [`Catalog::expect`].
    ///
    /// # Errors
    /// The limit that was reached.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        session: SessionId,
        user: &str,
        of_user: usize,
        of_all: usize,
    ) -> Result<Reservation, SessionLimitReached> {
        if !self.count_for_user(user, of_user) {
            return Err(SessionLimitReached::User);
        }
        let take = |count| (count < of_all).then_some(count + 1);
        if self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            self.uncount_for_user(user);
            return Err(SessionLimitReached::Server);
        }
        Ok(Reservation { reserved: Some((Arc::clone(self), user.to_owned())), session })
    }

    /// Announces the entry of a session that has a reservation.
    pub(crate) fn expect(&self, entry: &Arc<Entry>) {
        self.unlogged().insert(entry.id, Arc::clone(entry));
    }

    /// Counts a live session of the user, if the limit allows it.
    fn count_for_user(&self, user: &str, limit: usize) -> bool {
        let mut live = self.live_by_user.lock().unwrap_or_else(PoisonError::into_inner);
        let count = live.entry(user.to_owned()).or_default();
        let has_room = limit == 0 || *count < limit;
        *count += usize::from(has_room);
        has_room
    }

    /// Uncounts a live session of the user that has ended or was not created.
    fn uncount_for_user(&self, user: &str) {
        let mut live = self.live_by_user.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = live.get_mut(user) else { return };
        *count -= 1;
        if *count == 0 {
            live.remove(user);
        }
    }

    /// Adds a session that is in the log now, using its reservation. If it was seen in the log before, the reservation is
    /// released.
    pub(crate) fn insert_reserved(&self, entry: &Arc<Entry>, mut reservation: Reservation) {
        self.unlogged().remove(&entry.id);
        // What is told late may have listed an earlier life of it.
        if self.get(entry.id).is_some_and(|listed| listed.epoch != entry.epoch) {
            self.remove(entry.id);
        }
        if self.put(entry) {
            reservation.reserved = None;
        }
    }

    fn unlogged(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Entry>>> {
        self.unlogged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the session is new.
    fn put(&self, entry: &Arc<Entry>) -> bool {
        self.index.write().unwrap_or_else(PoisonError::into_inner).put(entry)
    }

    pub(crate) fn remove(&self, id: SessionId) {
        let removed = self.index.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        let Some(summary) = removed.map(|entry| entry.summary()) else { return };
        if !summary.status.has_ended() {
            self.active.fetch_sub(1, Ordering::Relaxed);
            self.uncount_for_user(&summary.created_by);
        }
    }

    /// Removes a life of a session for good.
    pub(crate) fn remove_life(&self, id: SessionId, epoch: Epoch) {
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        if removed.len() == REMEMBERED_REMOVALS {
            removed.pop_front();
        }
        removed.push_back((id, epoch));
        drop(removed);
        if self.get(id).is_some_and(|entry| entry.epoch == epoch) {
            self.remove(id);
        }
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<Entry>> {
        self.read().by_id.get(&id).cloned()
    }

    /// Replaces a session's summary by that of `seq`, unless a later one is known.
    pub(crate) fn update(&self, entry: &Entry, seq: Seq, summary: Summary) {
        let (status, user) = (summary.status, summary.created_by.clone());
        // Under the lock, so that an entry is always indexed under its own status.
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let created_at = summary.created_at;
        let project = summary.project_id.clone();
        let Some(before) = entry.set_summary(seq, summary).filter(|before| *before != status) else { return };
        if !index.by_id.get(&entry.id).is_some_and(|listed| std::ptr::eq(&**listed, entry)) {
            // It was removed meanwhile, and is counted no more.
            return;
        }
        index.change((Reverse(created_at), entry.id), &project, before, status);
        drop(index);
        if status.has_ended() && !before.has_ended() {
            self.active.fetch_sub(1, Ordering::Relaxed);
            self.uncount_for_user(&user);
        }
    }

    /// Sessions that have not ended.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// All sessions.
    pub(crate) fn len(&self) -> usize {
        self.read().by_id.len()
    }

    /// A page of the sessions of the project `scope`, or of all sessions, newest first. The cursor is the creation time and id
    /// of the last scanned session, so pages stay consistent while sessions are created and removed. `None` if the query's
    /// cursor is invalid.
    pub(crate) fn page(&self, query: &GetSessionList, scope: Option<&str>, now: u64) -> Option<Page> {
        let start = match &query.cursor {
            None => Bound::Unbounded,
            Some(cursor) => Bound::Excluded(parse_cursor(cursor)?),
        };
        let mut page = Page { sessions: Vec::new(), next_cursor: None };
        let asked = query.project_id.as_deref();
        if scope.is_some_and(|scope| asked.is_some_and(|asked| asked != scope)) {
            return Some(page);
        }
        let index = self.read();
        let Some(order) = index.order(query.status, asked.or(scope)) else { return Some(page) };
        let search = query.q.as_deref().map(Search::new);
        let mut last = None;
        for (seen, (place, entry)) in order.range((start, Bound::Unbounded)).enumerate() {
            if page.sessions.len() == query.limit as usize || seen == MAX_SCAN {
                page.next_cursor =
                    last.map(|(Reverse(created_at), id): ListingKey| format!("{created_at}_{id}"));
                break;
            }
            last = Some(*place);
            let summary = entry.summary();
            if search.as_ref().is_none_or(|search| search.finds(entry, &summary)) {
                let info = summary.describe(entry.id, entry.head());
                let info = SessionInfo { progress: entry.progress(), ..info };
                page.sessions.push(self.with_pace(entry, info, now));
            }
        }
        Some(page)
    }
}

/// A case-insensitive search for a text in a session's agent, test, project or id.
struct Search<'a> {
    text: &'a str,
    lowercase: String,
}

impl<'a> Search<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, lowercase: text.to_lowercase() }
    }

    fn finds(&self, entry: &Entry, summary: &Summary) -> bool {
        [&*summary.agent_name, &*summary.test_id, &*summary.project_id, &*entry.name]
            .into_iter()
            .any(|field| self.is_in(field))
    }

    fn is_in(&self, field: &str) -> bool {
        if field.is_ascii() && self.text.is_ascii() {
            // The common case needs no copy: a search checks thousands of sessions.
            let (field, part) = (field.as_bytes(), self.text.as_bytes());
            return part.is_empty()
                || field.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
        }
        field.to_lowercase().contains(&self.lowercase)
    }
}

fn parse_cursor(cursor: &str) -> Option<ListingKey> {
    let (created_at, id) = cursor.split_once('_')?;
    Some((Reverse(created_at.parse().ok()?), id.parse().ok()?))
}

/// Moves an ended session to the archive, at `now`.
pub(crate) fn archive_now(log: &dyn EventLog, catalog: &Catalog, id: SessionId, now: u64) {
    match log.archive(id, now) {
        Ok(()) => {
            if let Some(entry) = catalog.get(id) {
                entry.archived.store(true, Ordering::Relaxed);
            }
        }
        Err(error) => {
            tracing::warn!(session = %id, %error, "cannot archive an ended session; retrying at the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use agentbench_protocol::Head;

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
            catalog.insert(&Entry::new(SessionId::from_u128(u128::from(n)), head, summary, 0));
        }
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = catalog.page(&query(3, cursor), Some("p"), 0).unwrap();
            seen.extend(page.sessions.iter().map(|session| (session.created_at, session.session_id)));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 20);
        assert!(seen.is_sorted_by(|a, b| a.0 > b.0 || (a.0 == b.0 && a.1 < b.1)));
        assert!(catalog.page(&query(3, Some("nonsense".into())), None, 0).is_none());
    }

    #[test]
    fn a_search_looks_at_agent_test_project_and_name_in_any_case() {
        let catalog = Catalog::default();
        let head = Head { epoch: Epoch::from_u64(1), seq: 1 };
        let named = |agent: &str| Summary { agent_name: agent.into(), ..summary("Shop", 1, Status::Idle) };
        catalog.insert(&Entry::new(SessionId::from_u128(1), head, named("MGX"), 0));
        catalog.insert(&Entry::new(SessionId::from_u128(0xabc), head, named("ÄRGER"), 0));
        let found = |text: &str| {
            let query = GetSessionList { q: Some(text.into()), ..query(9, None) };
            catalog.page(&query, None, 0).unwrap().sessions.len()
        };
        assert_eq!([found(""), found("shop"), found("mgx"), found("Gx")], [2, 2, 1, 1]);
        assert_eq!([found("ärg"), found("0ABC"), found("nothing"), found("idle")], [1, 1, 0, 0]);
    }

    /// Every query over every history of sessions finds what a plain look at all of them finds.
    #[test]
    fn indexes_agree_with_a_look_at_everything() {
        use proptest::prelude::*;
        let change = prop_oneof![
            3 => (0..40_u128, 0..3_usize, 0..6_u64).prop_map(|(id, project, at)| (id, Some((project, at)), None)),
            3 => (0..40_u128, 0..Status::ALL.len()).prop_map(|(id, status)| (id, None, Some(status))),
            1 => (0..40_u128).prop_map(|id| (id, None, None)),
        ];
        proptest!(|(changes in proptest::collection::vec(change, 0..120))| {
            let projects = ["a", "b", "c"];
            let catalog = Catalog::default();
            for (id, created, status) in changes {
                let id = SessionId::from_u128(id);
                match (created, status, catalog.get(id)) {
                    (Some((project, at)), _, None) => {
                        let head = Head { epoch: Epoch::from_u64(1), seq: 1 };
                        catalog.insert(&Entry::new(id, head, summary(projects[project], at, Status::Idle), 0));
                    }
                    (_, Some(status), Some(entry)) => {
                        let summary = Summary { status: Status::ALL[status], ..(*entry.summary()).clone() };
                        catalog.update(&entry, 1, summary);
                    }
                    (None, None, _) => catalog.remove(id),
                    _ => {}
                }
            }
            let mut all: Vec<_> = catalog.read().by_id.values().cloned().collect();
            all.sort_by_key(|entry| (Reverse(entry.summary().created_at), entry.id));
            for project in [None, Some("a"), Some("c"), Some("nobody's")] {
                for status in [None].into_iter().chain(Status::ALL.map(Some)) {
                    let wanted = |entry: &&Arc<Entry>| {
                        let summary = entry.summary();
                        project.is_none_or(|project| project == summary.project_id)
                            && status.is_none_or(|status| status == summary.status)
                    };
                    let expected: Vec<_> = all.iter().filter(wanted).map(|entry| entry.id).collect();
                    let ids = |query: &GetSessionList, scope| {
                        let page = catalog.page(query, scope, 0).unwrap();
                        page.sessions.iter().map(|session| session.session_id).collect::<Vec<_>>()
                    };
                    let asked = GetSessionList { status, ..query(500, None) };
                    prop_assert_eq!(&ids(&asked, project), &expected);
                    let named = GetSessionList { project_id: project.map(Into::into), ..asked };
                    prop_assert_eq!(&ids(&named, None), &expected);
                    if project.is_some() {
                        prop_assert_eq!(&ids(&named, Some("b")), &Vec::new(), "another project's");
                    }
                }
            }
            let census = catalog.census(0);
            prop_assert_eq!(census.by_state.iter().sum::<u64>(), all.len() as u64);
        });
    }

    /// However many sessions there are, a page looks at a bounded number of them, and the cursor goes on from there.
    #[test]
    fn a_search_goes_through_many_sessions_page_by_page() {
        let catalog = Catalog::default();
        let head = Head { epoch: Epoch::from_u64(1), seq: 1 };
        let count = 2 * MAX_SCAN as u64 + 10;
        for n in 0..count {
            let agent = if n == 0 { "needle" } else { "hay" };
            let summary = Summary { agent_name: agent.into(), ..summary("p", n, Status::Idle) };
            catalog.insert(&Entry::new(SessionId::from_u128(u128::from(n)), head, summary, 0));
        }
        let mut sizes = Vec::new();
        let mut cursor = None;
        loop {
            let query = GetSessionList { q: Some("NEEDLE".into()), ..query(50, cursor) };
            let page = catalog.page(&query, None, 0).unwrap();
            sizes.push(page.sessions.len());
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(sizes, [0, 0, 1]);
        let mut visited = 0;
        catalog.each(Status::Idle, |_| visited += 1);
        assert_eq!(visited, count);
    }

    /// Other processes are heard of late: nothing that was removed is listed again, and nobody is counted twice.
    #[test]
    fn a_removed_life_stays_removed_and_uncounted() {
        let catalog = Arc::new(Catalog::default());
        let id = SessionId::from_u128(1);
        let life = |epoch| Head { epoch: Epoch::from_u64(epoch), seq: 1 };
        let listed = |head| Listed {
            session: id,
            head,
            summary: summary("p", 1, Status::Idle).to_bytes(),
            archived: false,
        };
        let first = catalog.insert_listed(&listed(life(1)), 0).unwrap();
        catalog.remove_life(id, first.epoch);
        assert!(catalog.insert_listed(&listed(life(1)), 0).is_none(), "told late");
        // The owner had it in memory, and its last step was committed before the removal.
        catalog.update(&first, 2, summary("p", 1, Status::Completed));
        assert_eq!((catalog.active(), catalog.len()), (0, 0));
        catalog.remove_life(id, Epoch::from_u64(2));
        assert!(catalog.insert_listed(&listed(life(2)), 0).is_none(), "removed before it was known");

        // A new life is created here while an earlier one is told late.
        let place = catalog.reserve(id, "u", 0, 9).unwrap();
        let entry = Entry::new(id, Head { seq: 0, ..life(4) }, summary("p", 1, Status::Idle), 0);
        catalog.expect(&entry);
        catalog.insert_listed(&listed(life(3)), 0).unwrap();
        catalog.insert_reserved(&entry, place);
        assert!(Arc::ptr_eq(&catalog.get(id).unwrap(), &entry));
        assert_eq!((catalog.active(), catalog.len()), (1, 1));

        // The log shows it before it answers: the entry is the creator's.
        catalog.remove_life(id, entry.epoch);
        let place = catalog.reserve(id, "u", 0, 9).unwrap();
        let entry = Entry::new(id, Head { seq: 0, ..life(5) }, summary("p", 1, Status::Idle), 0);
        catalog.expect(&entry);
        let seen = catalog.insert_listed(&listed(life(5)), 0).unwrap();
        assert!(Arc::ptr_eq(&seen, &entry));
        catalog.insert_reserved(&entry, place);
        assert_eq!((catalog.active(), catalog.len(), entry.head().seq), (1, 1, 1));
    }

    #[test]
    fn the_count_of_active_sessions_follows_ends_and_removals() {
        let catalog = Arc::new(Catalog::default());
        let head = Head { epoch: Epoch::from_u64(1), seq: 1 };
        let ids = [1, 2, 3].map(SessionId::from_u128);
        for id in ids {
            catalog.insert(&Entry::new(id, head, summary("p", 1, Status::Idle), 0));
        }
        assert_eq!(catalog.active(), 3);
        let entry = catalog.get(ids[0]).unwrap();
        catalog.update(&entry, 1, summary("p", 1, Status::Completed));
        catalog.update(&entry, 1, summary("p", 1, Status::Completed));
        catalog.remove(ids[0]);
        catalog.remove(ids[1]);
        assert_eq!((catalog.active(), catalog.len()), (1, 1));
        let place = catalog.reserve(ids[2], "u", 0, 2).unwrap();
        assert_eq!(catalog.reserve(ids[2], "u", 0, 2).unwrap_err(), SessionLimitReached::Server);
        let entry = Entry::new(SessionId::from_u128(4), head, summary("p", 1, Status::Idle), 0);
        catalog.insert_reserved(&entry, place);
        assert_eq!(catalog.active(), 2);
        let place = catalog.reserve(ids[2], "u", 3, 9).unwrap();
        assert_eq!(catalog.reserve(ids[2], "u", 3, 9).unwrap_err(), SessionLimitReached::User);
        drop(place);
        assert!(catalog.reserve(ids[2], "u", 3, 9).is_ok(), "a place that is not used comes back");
        assert_eq!((catalog.active(), catalog.len()), (2, 2));
    }
}
