//! The writer's requests other than appends: removing, trimming, moving, making durable.

use agentbench_event_log::{Health, LogError};
use agentbench_protocol::{Seq, SessionId};
use bytes::Bytes;

use super::Writer;
use crate::appender::WriteError;
use crate::config::{Durability, unavailable};
use crate::inbox::Request;
use crate::index::Indexed;
use crate::moving::{Moving, Needed};
use crate::record::{Draft, LogIdentity};
use crate::table::{LiveLog, Place};
use crate::tombstones::Tombstone;

/// A log that accepts no more appends.
pub(crate) struct ShutLog {
    pub(crate) identity: LogIdentity,
    pub(crate) head: Seq,
    pub(crate) first_seq: Seq,
    pub(crate) summary: Bytes,
    /// Why it accepted none before, if it did not.
    pub(crate) shut: Option<&'static str>,
}

impl Writer {
    /// Handles requests other than appends. Returns `false` to stop.
    pub(super) fn control(&mut self, request: Request) -> bool {
        // The requester may have gone meanwhile.
        match request {
            Request::Append { appends, done } => self.stage_all(appends, done),
            Request::Shut { session, reply } => drop(reply.send(self.shut(session))),
            Request::Reopen { session, number, shut } => {
                if let Some(log) = self.shared.live.write().get_mut(&session)
                    && log.number == number
                {
                    log.shut = shut;
                }
            }
            Request::Remove { session, number, reply } => drop(reply.send(self.remove(session, number))),
            Request::Trim { session, number, first_seq, reply } => {
                drop(reply.send(self.trim(session, number, first_seq)));
            }
            Request::Move { records, reply } => drop(reply.send(self.move_records(&records))),
            Request::Sync { reply } => drop(reply.send(self.make_durable())),
            Request::Forget { logs, reply } => drop(reply.send(self.forget(&logs))),
            Request::Close { reply } => {
                self.closed = true;
                drop(reply.send(self.make_durable()));
            }
            Request::Stop => {
                self.appender.close();
                if let Err(error) = self.make_durable() {
                    tracing::error!(%error, "the log could not be closed properly");
                }
                return false;
            }
        }
        true
    }

    fn shut(&self, session: SessionId) -> Result<ShutLog, LogError> {
        let mut logs = self.shared.live.write();
        let log = logs.get_mut(&session).ok_or(LogError::NotFound(session))?;
        let before = ShutLog {
            identity: log.identity(session),
            head: log.head,
            first_seq: log.first_seq,
            summary: log.summary.clone(),
            shut: log.shut,
        };
        log.shut = Some("the log is being archived");
        Ok(before)
    }

    /// What `look` finds in a live log, if it still has this number.
    fn look_at<T>(
        &self,
        session: SessionId,
        number: u64,
        look: impl FnOnce(&LiveLog) -> T,
    ) -> Result<T, LogError> {
        let logs = self.shared.live.read();
        logs.get(&session).filter(|log| log.number == number).map(look).ok_or(LogError::NotFound(session))
    }

    fn remove(&mut self, session: SessionId, number: u64) -> Result<(), LogError> {
        let (identity, segments) =
            self.look_at(session, number, |log| (log.identity(session), log.segments.clone()))?;
        let record = self.write_change(&[(identity, Draft::Removal)])?.remove(0);
        let removed = self.shared.live.write().remove(&session);
        for (segment, len) in removed.iter().flat_map(LiveLog::records) {
            self.shared.segments.take_live(segment, len);
        }
        self.shared.tombstones.add(Tombstone::new(identity, record.header.segment, segments));
        Ok(())
    }

    /// Removes logs that are not among the live ones: what an earlier process left behind.
    fn forget(&mut self, logs: &[(LogIdentity, Vec<u32>)]) -> Result<(), LogError> {
        let drafts: Vec<_> = logs.iter().map(|(log, _)| (*log, Draft::Removal)).collect();
        let records = self.write_change(&drafts)?;
        for ((log, segments), record) in logs.iter().zip(records) {
            let tombstone = Tombstone::new(*log, record.header.segment, segments.clone());
            self.shared.tombstones.add(tombstone);
        }
        Ok(())
    }

    fn trim(&mut self, session: SessionId, number: u64, first_seq: Seq) -> Result<(), LogError> {
        let (identity, head, summary) =
            self.look_at(session, number, |log| (log.identity(session), log.head, log.summary.clone()))?;
        let record =
            self.write_change(&[(identity, Draft::State { first_seq, head, summary: &summary })])?.remove(0);
        if let Some(log) = self.shared.live.write().get_mut(&session) {
            log.first_seq = first_seq;
            let kept = log.places.partition_point(|place| place.first_seq < first_seq);
            for place in log.places.drain(..kept) {
                self.shared.segments.take_live(place.segment, place.len());
            }
            self.set_state(log, &record);
        }
        Ok(())
    }

    fn set_state(&self, log: &mut LiveLog, record: &Indexed) {
        let place = Place::of(&record.header, record.offset);
        self.shared.segments.add_live(place.segment, place.len());
        if let Some((segment, len)) = log.state.replace((place.segment, place.len())) {
            self.shared.segments.take_live(segment, len);
        }
        log.is_in(place.segment);
    }

    /// Writes records of an old segment again, those that are still needed, and moves their places.
    fn move_records(&mut self, records: &[Moving]) -> Result<(), LogError> {
        let needed: Vec<_> = records.iter().filter_map(|moving| moving.now(&self.shared)).collect();
        let drafts: Vec<_> = needed.iter().map(|needed| (needed.log(), needed.draft())).collect();
        let written = self.write_change(&drafts)?;
        for (needed, record) in needed.iter().zip(&written) {
            let to = Place::of(&record.header, record.offset);
            if let Needed::Removal { log } = needed {
                self.shared.tombstones.moved(log.number, to.segment);
                continue;
            }
            let mut logs = self.shared.live.write();
            let Some(log) = logs.get_mut(&needed.log().session) else { continue };
            if let Needed::Frame { at, from, .. } = needed {
                log.places[*at] = to;
                log.is_in(to.segment);
                self.shared.segments.add_live(to.segment, to.len());
                self.shared.segments.take_live(from.segment, from.len());
            } else {
                self.set_state(log, record);
            }
        }
        Ok(())
    }

    /// Writes records other than those of appends, with the same durability.
    fn write_change(&mut self, drafts: &[(LogIdentity, Draft<'_>)]) -> Result<Vec<Indexed>, LogError> {
        if let Health::Failed(reason) = self.shared.health() {
            return Err(unavailable(reason));
        }
        let written = self.write_records(drafts);
        self.commit += 1;
        let records = written.map_err(|error| match error {
            WriteError::Full => unavailable("the disk is full"),
            WriteError::Refused(reason) => unavailable(reason),
            WriteError::Unknown(reason) => {
                self.shared.set_health(Health::Failed(reason.clone()));
                unavailable(reason)
            }
        })?;
        if self.durability == Durability::Synced {
            self.sync()?;
        }
        self.shared.hot.behind.add(&records);
        self.promise();
        Ok(records)
    }

    fn write_records(&mut self, drafts: &[(LogIdentity, Draft<'_>)]) -> Result<Vec<Indexed>, WriteError> {
        let mut records = Vec::with_capacity(drafts.len());
        for (log, draft) in drafts {
            if !self.appender.has_room(draft) {
                self.appender.write()?;
                self.appender.begin_segment(self.commit)?;
            }
            records.push(self.appender.add(draft, *log, self.commit));
        }
        self.appender.write()?;
        Ok(records)
    }

    fn sync(&mut self) -> Result<(), LogError> {
        if let Some(failure) = self.shared.hot.failure() {
            return Err(unavailable(failure));
        }
        self.appender.sync().map_err(|reason| {
            self.shared.set_health(Health::Failed(reason.clone()));
            unavailable(reason)
        })
    }

    fn make_durable(&mut self) -> Result<(), LogError> {
        self.sync()?;
        for segment in self.shared.hot.take_finished() {
            self.shared.hot.sync(&segment).map_err(|reason| {
                self.shared.set_health(Health::Failed(reason.clone()));
                unavailable(reason)
            })?;
        }
        self.shared.segments.sync_names().map_err(unavailable)
    }
}
