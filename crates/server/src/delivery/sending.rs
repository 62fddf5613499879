//! Queues messages in outboxes. Acks are coalesced for clients of version 1 and sent one by one to others.

use agentbench_protocol::SystemMessage;
use agentbench_protocol::event::{AckHead, AckedEvent, write_ack, write_acks, write_system};
use bytes::BytesMut;

use super::Delivery;
use super::reader::Reader;
use crate::letters::{Acks, SingleAck};
use crate::session::entry::Entry;

impl Delivery {
    /// Queues a system message in a reader's outbox.
    pub(crate) fn send_system(&self, reader: &Reader, message: &SystemMessage) {
        let mut json = BytesMut::new();
        write_system(&mut json, self.numbers.next(), self.now(), None, message);
        self.send_json(reader, &json);
    }

    /// Queues a message, given as JSON, in a reader's outbox.
    pub(crate) fn send_json(&self, reader: &Reader, json: &[u8]) {
        if reader.is_open() {
            let mut outbox = reader.outbox.borrow_mut();
            self.renderer.borrow_mut().message(outbox.control(), json, reader.wire.form);
        }
    }

    /// Queues acks of one session in a reader's outbox.
    pub(crate) fn send_acks(&self, reader: &Reader, entry: &Entry, acks: &Acks) {
        if !reader.is_open() {
            return;
        }
        let (now, form) = (self.now(), reader.wire.form);
        let head = AckHead { session: &entry.name, epoch: &entry.epoch_text, level: self.ack_level };
        let mut outbox = reader.outbox.borrow_mut();
        let mut renderer = self.renderer.borrow_mut();
        let mut json = self.json_buf.borrow_mut();
        match acks {
            Acks::Run(run) if reader.wire.versioned && run.count() > 1 => {
                json.clear();
                let pairs = run.records().map(|(seq, record)| (record.id, seq));
                write_acks(&mut json, self.numbers.next(), now, &head, pairs);
                renderer.message(outbox.control(), &json, form);
            }
            Acks::Run(run) => {
                for (seq, record) in run.records() {
                    json.clear();
                    let event = AckedEvent { id: record.id, seq, duplicate: false, warnings: &[] };
                    write_ack(&mut json, self.numbers.next(), now, &head, &event);
                    renderer.message(outbox.control(), &json, form);
                }
            }
            Acks::Single(SingleAck { id, seq, duplicate, doubts }) => {
                json.clear();
                let warnings = doubts.warnings();
                let event = AckedEvent { id, seq: *seq, duplicate: *duplicate, warnings: &warnings };
                write_ack(&mut json, self.numbers.next(), now, &head, &event);
                renderer.message(outbox.control(), &json, form);
            }
        }
        self.metrics.acks.inc_by(acks.count() as u64);
    }
}
