//! Dispatch of decoded messages: limits, permissions, and routing to the session's owner.
//!
//! `events` and `commands` handle the two kinds of messages, `costly` the commands that take long, `turns` keeps a
//! producer's order when an event is refused, and `tokens` renews tokens.

mod commands;
mod costly;
mod events;
mod tokens;
mod turns;

use std::rc::Rc;

use agentbench_audit::Record;
use agentbench_protocol::envelope::{MessageType, read_frame};
use agentbench_protocol::event::write_heartbeat;
use agentbench_protocol::msgpack::Flaw;
use agentbench_protocol::{CloseCode, Envelope, ErrorCode, Refusal, msgpack};
use bytes::BytesMut;

use crate::clock::Moment;
use crate::delivery::Delivery;
use crate::worker::Worker;
use crate::worker::connection::{Connection, Payload};
use commands::take_command;
use events::{take_event, take_reader_ack};
use turns::{block_session, check_order};

/// Consecutive messages refused by rate after which a connection is closed.
const RATE_PATIENCE: u32 = 1000;
/// Bytes of a MessagePack message above which it is converted on another thread, so that it does not block the worker.
const CONVERT_ON_THREAD_BYTES: usize = 256 * 1024;
/// Bytes of unsent replies above which they are flushed before more of the same input is processed.
const FLUSH_AT_BYTES: usize = 256 * 1024;

/// Handles a message received on a connection.
pub(crate) fn dispatch(worker: &Rc<Worker>, connection: &Rc<Connection>, payload: Payload<'_>, now: Moment) {
    match payload {
        Payload::Text(text) => take_frame(worker, connection, text, &[], now),
        Payload::Binary(bytes) => take_binary(worker, connection, bytes, now),
    }
}

/// Handles the messages of one frame. `flaws` are parts of the text that could not be converted.
fn take_frame(worker: &Rc<Worker>, connection: &Rc<Connection>, text: &str, flaws: &[Flaw], now: Moment) {
    let read = read_frame(text, |envelope| match envelope {
        Ok(envelope) => match flaw_of(&envelope, text, flaws) {
            None => take_envelope(worker, connection, &envelope, now),
            Some(flaw) => worker.refuse(connection, flaw.refusal.clone().of(&*envelope.id), now.millis),
        },
        Err(refusal) => worker.refuse(connection, refusal, now.millis),
    });
    if let Err(refusal) = read {
        worker.refuse(connection, refusal, now.millis);
    }
}

/// Handles a binary message: MessagePack, or JSON from clients that send text as bytes.
fn take_binary(worker: &Rc<Worker>, connection: &Rc<Connection>, bytes: &[u8], now: Moment) {
    if connection.reader.wire.form.msgpack {
        if bytes.len() > CONVERT_ON_THREAD_BYTES {
            return convert_on_thread(worker, connection, bytes);
        }
        let converted = convert(bytes, worker.shared.config.max_payload);
        return take_converted(worker, connection, converted, now);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => take_frame(worker, connection, text, &[], now),
        Err(_) => {
            let detail = "a binary message on a JSON connection must hold UTF-8 text";
            worker.refuse(connection, Refusal::new(ErrorCode::MalformedJson, detail), now.millis);
        }
    }
}

/// JSON text, and the parts that could not be converted.
type Converted = Result<(BytesMut, Vec<Flaw>), Refusal>;

fn convert(bytes: &[u8], max_payload: usize) -> Converted {
    let mut json = BytesMut::with_capacity(bytes.len() * 2);
    let flaws = msgpack::intake(bytes, &mut json, max_payload)?;
    Ok((json, flaws))
}

fn take_converted(worker: &Rc<Worker>, connection: &Rc<Connection>, converted: Converted, now: Moment) {
    match converted {
        Ok((json, flaws)) => {
            // The converter writes JSON only.
            let text = std::str::from_utf8(&json).expect("JSON text is UTF-8");
            take_frame(worker, connection, text, &flaws, now);
        }
        Err(refusal) => worker.refuse(connection, refusal, now.millis),
    }
}

/// Converts a large message on another thread. The connection's input is suspended until that is done, to keep the order.
fn convert_on_thread(worker: &Rc<Worker>, connection: &Rc<Connection>, bytes: &[u8]) {
    let (bytes, max_payload) = (bytes.to_vec(), worker.shared.config.max_payload);
    let mut share = worker.shared.intake.receive_share();
    share.set(bytes.len());
    connection.input.suspend();
    let (worker, connection) = (Rc::clone(worker), Rc::clone(connection));
    tokio::task::spawn_local(async move {
        let converted = tokio::task::spawn_blocking(move || convert(&bytes, max_payload)).await;
        let lost = |_| Refusal::new(ErrorCode::Internal, "the message could not be converted");
        if connection.is_open() {
            let now = worker.delivery.moment();
            take_converted(&worker, &connection, converted.map_err(lost).flatten(), now);
        }
        drop(share);
        connection.input.resume();
        worker.flush(&connection.reader);
        connection.reader.wake();
    });
}

fn take_envelope(worker: &Rc<Worker>, connection: &Rc<Connection>, envelope: &Envelope<'_>, now: Moment) {
    if connection.reader.outbox.borrow().waiting() > FLUSH_AT_BYTES {
        // Small requests can have large replies: flushes those of the same input before the next one is produced.
        worker.flush(&connection.reader);
    }
    if !connection.is_open() {
        return;
    }
    let millis = now.millis;
    let in_turn = check_order(connection, envelope, || worker.steady())
        .and_then(|()| check_rates(worker, connection, millis));
    if let Err(refusal) = in_turn {
        block_session(connection, envelope, &refusal, worker.steady());
        return worker.refuse(connection, refusal.of(&*envelope.id), millis);
    }
    let taken = match envelope.kind {
        MessageType::TestEvent => take_event(worker, connection, envelope, now),
        MessageType::ControlCommand => take_command(worker, connection, envelope, millis),
        MessageType::SystemMessage => take_reader_ack(worker, connection, envelope),
        MessageType::Heartbeat | MessageType::Error => {
            answer_heartbeat(&worker.delivery, connection, envelope, millis);
            Ok(())
        }
    };
    match taken {
        Ok(()) => {
            connection.count_malformed(false);
        }
        Err(refusal) => {
            if !refusal.code.is_malformed_input() {
                connection.count_malformed(false);
            }
            if envelope.kind == MessageType::ControlCommand && refusal.code == ErrorCode::Forbidden {
                let detail = refusal.detail.clone();
                let refused = || Record::refused(millis, "command", refusal.code.as_str()).detail(detail);
                worker.shared.audit(|| connection.record(refused()));
            }
            block_session(connection, envelope, &refusal, worker.steady());
            worker.refuse(connection, refusal.of(&*envelope.id), millis);
        }
    }
}

fn check_rates(worker: &Rc<Worker>, connection: &Rc<Connection>, now: u64) -> Result<(), Refusal> {
    let config = &worker.shared.config;
    let taken = connection
        .rate
        .take(config.connection_rate, 1, now)
        .and_then(|()| worker.shared.gate.users.take_rate(&connection.user, 1, now))
        .and_then(|()| worker.shared.gate.addresses.take_message(connection.address, now));
    let Err(retry_after) = taken else { return Ok(()) };
    if connection.rate.refused_in_row() > RATE_PATIENCE {
        worker.shared.audit(|| connection.record(Record::refused(now, "send", "rate_limited")));
        worker.close(
            connection,
            CloseCode::RateLimited,
            "sent far beyond the rate limit",
            Some(retry_after.max(1_000)),
        );
    }
    let detail = "sent faster than the limit allows";
    Err(Refusal::new(ErrorCode::RateLimited, detail).retry_after(retry_after))
}

fn answer_heartbeat(delivery: &Delivery, connection: &Connection, envelope: &Envelope<'_>, now: u64) {
    let mut json = BytesMut::new();
    write_heartbeat(&mut json, delivery.numbers.next(), now, &envelope.id, envelope.data);
    delivery.send_json(&connection.reader, &json);
}

/// The first flaw in a message's data or metadata. Elsewhere the fields' own checks apply.
fn flaw_of<'a>(envelope: &Envelope<'_>, text: &str, flaws: &'a [Flaw]) -> Option<&'a Flaw> {
    let holds = |part: &str, at: usize| {
        let start = part.as_ptr() as usize - text.as_ptr() as usize;
        (start..=start + part.len()).contains(&at)
    };
    flaws.iter().find(|flaw| {
        holds(envelope.data, flaw.at) || envelope.metadata.raw.is_some_and(|raw| holds(raw, flaw.at))
    })
}
