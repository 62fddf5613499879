//! Renders frames of the log to bytes for sockets, once for each form; readers share the bytes.

use std::time::Instant;

use agentbench_event_log::Frame;
use agentbench_protocol::Seq;
use agentbench_protocol::msgpack::Packer;
use agentbench_websocket::{Deflater, Opcode, encode_deflated, encode_frame};
use bytes::{Bytes, BytesMut};

use crate::sabotage::Sabotage;
use crate::session::reading::ReadPermit;

/// The wire form of a reader's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// MessagePack in binary frames instead of JSON in text frames.
    pub(crate) msgpack: bool,
    /// Messages over the threshold are compressed, with the full window. Readers that negotiated a smaller window get
    /// uncompressed messages, which the extension always allows.
    pub(crate) deflate: bool,
}

impl Form {
    /// The number of forms.
    pub(crate) const COUNT: usize = 4;

    /// The form's index, below [`Form::COUNT`].
    pub(crate) fn index(self) -> usize {
        usize::from(self.msgpack) * 2 + usize::from(self.deflate)
    }
}

/// Writes messages in any form. Each thread has its own.
pub(crate) struct Renderer {
    deflater: Deflater,
    threshold: usize,
    scratch: BytesMut,
    packer: Packer,
    sabotage: Sabotage,
}

/// Consecutive events as WebSocket frames. Cloning shares the bytes.
#[derive(Debug, Clone)]
pub(crate) struct Rendered {
    pub(crate) bytes: Bytes,
    first_seq: Seq,
    /// End of each event in `bytes`.
    ends: std::rc::Rc<[u32]>,
    /// When the oldest event was accepted; `None` for events read from the log.
    opened: Option<Instant>,
}

impl Rendered {
    /// Sets when the oldest event was accepted.
    pub(crate) fn opened_at(self, opened: Instant) -> Self {
        Self { opened: Some(opened), ..self }
    }

    /// When the oldest event was accepted, unless it was read from the log.
    pub(crate) fn opened(&self) -> Option<Instant> {
        self.opened
    }

    /// Attaches the memory of the read budget that the bytes count against.
    pub(crate) fn with_permit(self, permit: ReadPermit) -> Self {
        // The bytes are not shared yet, so nothing is copied.
        let bytes = self.bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        Self { bytes: permit.with(bytes), ..self }
    }

    pub(crate) fn last_seq(&self) -> Seq {
        self.first_seq + self.ends.len() as u64 - 1
    }

    /// The offset at which the event begins.
    pub(crate) fn start_of(&self, seq: Seq) -> usize {
        match seq - self.first_seq {
            0 => 0,
            index => self.ends[index as usize - 1] as usize,
        }
    }

    /// The offset at which the event ends.
    pub(crate) fn end_of(&self, seq: Seq) -> usize {
        self.ends[(seq - self.first_seq) as usize] as usize
    }

    /// The event that holds the byte at `offset`, or the last one.
    pub(crate) fn seq_at(&self, offset: usize) -> Seq {
        let index = self.ends.partition_point(|end| *end as usize <= offset);
        self.first_seq + index.min(self.ends.len() - 1) as u64
    }

    pub(crate) fn first_seq(&self) -> Seq {
        self.first_seq
    }
}

impl Renderer {
    pub(crate) fn new(level: u8, threshold: usize, sabotage: Sabotage) -> Self {
        let deflater = Deflater::new(level);
        Self { deflater, threshold, scratch: BytesMut::new(), packer: Packer::default(), sabotage }
    }

    /// Writes every event of consecutive frames.
    pub(crate) fn frames(&mut self, frames: &[Frame], form: Form) -> Rendered {
        let size: usize = frames.iter().map(|frame| frame.bytes().len()).sum();
        let mut dst = BytesMut::with_capacity(size + 64);
        let mut ends = Vec::with_capacity(frames.iter().map(Frame::count).sum());
        for frame in self.sabotage.order(frames).iter() {
            for (_, record) in frame.records() {
                self.message(&mut dst, record.body, form);
                ends.push(u32::try_from(dst.len()).expect("a chunk is far below 4 GiB"));
            }
        }
        Rendered {
            bytes: dst.freeze(),
            first_seq: frames.first().map_or(1, Frame::first_seq),
            ends: ends.into(),
            opened: None,
        }
    }

    /// Appends one message, given as JSON.
    pub(crate) fn message(&mut self, dst: &mut BytesMut, json: &[u8], form: Form) {
        if !form.msgpack {
            return self.frame(dst, Opcode::Text, json, form.deflate);
        }
        let mut packed = std::mem::take(&mut self.scratch);
        packed.clear();
        self.pack(json, &mut packed);
        self.frame(dst, Opcode::Binary, &packed, form.deflate);
        if packed.capacity() <= 64 * 1024 {
            self.scratch = packed;
        }
    }

    /// Intake admits only JSON, so anything else here is damage on disk that no checksum has detected. JSON readers get the
    /// bytes unchanged, MessagePack readers get them as one string; neither is a valid message.
    fn pack(&mut self, json: &[u8], packed: &mut BytesMut) {
        if let Err(error) = self.packer.pack(json, packed) {
            tracing::error!(%error, "a stored message is not JSON");
            let text = serde_json::Value::from(String::from_utf8_lossy(json)).to_string();
            // A JSON string can always be packed.
            let _ = self.packer.pack(text.as_bytes(), packed);
        }
    }

    fn frame(&mut self, dst: &mut BytesMut, opcode: Opcode, payload: &[u8], deflate: bool) {
        if deflate && payload.len() >= self.threshold {
            encode_deflated(dst, opcode, payload, &mut self.deflater, 15, None);
        } else {
            encode_frame(dst, opcode, false, payload, None);
        }
    }
}
