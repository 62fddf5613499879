//! What to send next, by urgency: the handshake and pongs, heartbeats, commands, joins, events.

use agentbench_protocol::message::ErrorData;
use agentbench_protocol::{Command, ErrorCode, Refusal, SessionId};
use agentbench_websocket::{Opcode, encode_frame};
use bytes::BytesMut;
use rand::Rng;

use super::commands::Purpose;
use super::link::{Connection, Link};
use super::outbound::{write_envelope, write_event};
use super::participation::Join;
use super::{Codec, Machine, Now};
use crate::outcome::Error;

/// Maximum number of events of one session before those of another.
const TURN: usize = 64;

impl<T> Machine<T> {
    /// Appends what is to be sent now, until `dst` has about `most` bytes. It must be written, in order, to the
    /// open connection; the rest is given up with the connection.
    pub fn transmit(&mut self, now: Now, codec: &mut Codec, dst: &mut BytesMut, most: usize) {
        let before = dst.len();
        self.fill(now, codec, dst, most);
        self.stats.bytes_out += (dst.len() - before) as u64;
    }

    fn fill(&mut self, now: Now, codec: &mut Codec, dst: &mut BytesMut, most: usize) {
        if !self.close_frame.is_empty() {
            dst.extend_from_slice(&std::mem::take(&mut self.close_frame));
        }
        let mask = self.rng.next_u32().to_ne_bytes();
        let Some(connection) = self.connection() else { return };
        urgent(connection, dst, mask);
        if !connection.is_live() {
            return;
        }
        self.send_heartbeat(now, codec, dst);
        while dst.len() < most && self.commands.has_unsent() {
            self.send_next_command(now, codec, dst);
        }
        while dst.len() < most
            && let Some(session) = self.joins.pop_front()
        {
            self.send_join(now, session);
            self.send_next_command(now, codec, dst);
        }
        while dst.len() < most
            && !self.has_to_wait()
            && let Some(session) = self.ready.pop_front()
        {
            self.send_events(session, codec, dst, most);
        }
    }

    fn send_heartbeat(&mut self, now: Now, codec: &mut Codec, dst: &mut BytesMut) {
        let Some(connection) = self.connection() else { return };
        if !std::mem::take(&mut connection.heartbeat_due) {
            return;
        }
        let id = self.new_id('h');
        let number = self.last_number;
        let mask = self.rng.next_u32().to_ne_bytes();
        let Some(connection) = self.connection() else { return };
        connection.heartbeat = Some((number, now.since_start));
        codec.envelope.clear();
        write_envelope(&mut codec.envelope, &id, "heartbeat", now.unix_ms, "{}");
        // A heartbeat is smaller than any limit.
        let _ = connection.framing.write(dst, codec, mask, u64::MAX);
    }

    fn send_join(&mut self, now: Now, session: SessionId) {
        let Some(participation) = self.sessions.get_mut(&session) else { return };
        let (follow, from) = participation.wanted();
        participation.join = Join::Asked { follow: participation.follow_key(), number: self.last_number + 1 };
        let session_id = participation.name.clone();
        let command = Command::JoinSession { session_id, follow, from, subscribe: false };
        // Fails only on a client that has ended, which has no connection.
        let _ = self.send_command(now, Purpose::Join(session), &command);
    }

    fn send_next_command(&mut self, now: Now, codec: &mut Codec, dst: &mut BytesMut) {
        let Self { commands, rng, run, link, stats, .. } = self;
        let Link::Open(connection) = link else { return };
        let Some((number, pending)) = commands.next() else { return };
        let mask = rng.next_u32().to_ne_bytes();
        let id = format!("{run}c{number}");
        codec.envelope.clear();
        write_envelope(&mut codec.envelope, &id, "control_command", now.unix_ms, &pending.data);
        stats.commands += 1;
        let Err(size) = connection.framing.write(dst, codec, mask, connection.max_payload) else { return };
        let refusal = too_large(size, connection.max_payload);
        if let Some(pending) = self.commands.take(number) {
            self.answer(&pending.purpose, Err(Error::Refused(refusal)));
        }
    }

    /// Whether no event may be sent until the pending answers arrive.
    fn has_to_wait(&self) -> bool {
        self.holdings.suspects > 0 && self.unanswered() > 0
    }

    /// Sends one session's events. The session is listed again if it has more.
    fn send_events(&mut self, session: SessionId, codec: &mut Codec, dst: &mut BytesMut, most: usize) {
        let window = self.settings.in_flight;
        for _ in 0..TURN {
            let has_to_wait = self.has_to_wait();
            let Self { sessions, rng, link, stats, holdings, .. } = self;
            let (Link::Open(connection), Some(participation)) = (link, sessions.get_mut(&session)) else {
                return;
            };
            participation.is_listed = false;
            if dst.len() >= most || has_to_wait || !participation.can_publish(window) {
                break;
            }
            let Some(entry) = participation.outbox.next() else { break };
            codec.envelope.clear();
            write_event(&mut codec.envelope, &participation.name, entry, holdings.suspects > 0);
            let again = entry.sends > 0;
            let mask = rng.next_u32().to_ne_bytes();
            match connection.framing.write(dst, codec, mask, connection.max_payload) {
                Ok(()) => {
                    stats.sent += 1;
                    stats.retried += u64::from(again);
                    participation.outbox.sent();
                    self.release_unacked(session);
                }
                Err(size) => {
                    let refusal = too_large(size, connection.max_payload);
                    if let Some(left) = participation.outbox.refuse_next(refusal) {
                        self.settle(left);
                    }
                }
            }
        }
        self.update_session(session);
    }
}

/// The handshake, and the answer to the last ping.
fn urgent(connection: &mut Connection, dst: &mut BytesMut, mask: [u8; 4]) {
    if !connection.control.is_empty() {
        dst.extend_from_slice(&std::mem::take(&mut connection.control));
    }
    if let Some((payload, size)) = connection.ping.take() {
        encode_frame(dst, Opcode::Pong, false, &payload[..size], Some(mask));
    }
}

/// The refusal that the server would send.
fn too_large(size: u64, most: u64) -> ErrorData {
    let detail = format!("the message has {size} bytes, but the server accepts at most {most}");
    Refusal::new(ErrorCode::PayloadTooLarge, detail).into()
}
