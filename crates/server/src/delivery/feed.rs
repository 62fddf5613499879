//! Feeds: the newest part of a session's log on one worker.
//!
//! Every worker with a follower of a session has a feed; the owner sends each committed frame to all of them. Followers are
//! cursors ([`Follow`](super::outbox::Follow)) owned by their readers; a reader behind the tail reads the log.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use agentbench_event_log::Frame;
use agentbench_protocol::{Priority, Seq};

use super::render::{Form, Rendered, Renderer};
use crate::session::entry::Entry;

/// A committed frame and its rendered forms.
struct TailFrame {
    frame: Frame,
    priority: Priority,
    /// When its oldest event was accepted.
    opened: Instant,
    /// At least one of its events has a time to live.
    mortal: bool,
    rendered: [Option<Rendered>; Form::COUNT],
}

impl TailFrame {
    fn rendered_bytes(&self) -> usize {
        self.rendered.iter().flatten().map(|rendered| rendered.bytes.len()).sum()
    }
}

/// One session on one worker.
pub(crate) struct Feed {
    pub(crate) entry: Arc<Entry>,
    /// The last committed seq, as known to this worker.
    pub(crate) head: Seq,
    tail: VecDeque<TailFrame>,
    tail_bytes: usize,
    /// Bytes of the rendered forms of the tail's frames.
    rendered_bytes: usize,
    /// Chunks that were read for readers behind the tail, shared with others at the same position.
    history: VecDeque<(Form, History)>,
}

/// A chunk that was read from the log.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) rendered: Rendered,
    /// The frames, if at least one of their events has a time to live.
    pub(crate) mortal: Option<Rc<[Frame]>>,
}

/// What the feed has at a reader's position.
pub(crate) enum FeedItem {
    /// Nothing: the reader is at the head.
    UpToDate,
    /// Rendered events, and their frames if one of them may have expired.
    Chunk(Rendered, Option<Rc<[Frame]>>, Priority),
    /// The reader is behind the tail: the log has to be read.
    Behind,
}

const MAX_HISTORY: usize = 4;

impl Feed {
    pub(crate) fn new(entry: Arc<Entry>, head: Seq) -> Self {
        Self {
            entry,
            head,
            tail: VecDeque::new(),
            tail_bytes: 0,
            rendered_bytes: 0,
            history: VecDeque::new(),
        }
    }

    /// Appends a committed frame; evicts the oldest ones when the tail exceeds `limit` bytes.
    pub(crate) fn push(&mut self, frame: Frame, priority: Priority, opened: Instant, limit: usize) {
        debug_assert_eq!(frame.first_seq(), self.head + 1, "frames come in order");
        self.head = frame.last_seq();
        let mortal = frame.records().any(|(_, record)| record.ttl_ms > 0);
        self.tail_bytes += frame.bytes().len();
        self.tail.push_back(TailFrame { frame, priority, opened, mortal, rendered: Default::default() });
        while self.tail_bytes > limit && self.tail.len() > 1 {
            if let Some(oldest) = self.tail.pop_front() {
                self.tail_bytes -= oldest.frame.bytes().len();
                self.rendered_bytes -= oldest.rendered_bytes();
            }
        }
    }

    /// Bytes of the tail, in all forms.
    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail_bytes + self.rendered_bytes
    }

    /// Clears the tail after missed commits: all readers have to read the log up to `head`.
    pub(crate) fn resync(&mut self, head: Seq) {
        self.tail.clear();
        (self.tail_bytes, self.rendered_bytes) = (0, 0);
        self.head = self.head.max(head);
    }

    /// The events at `next`.
    pub(crate) fn find(&mut self, next: Seq, form: Form, renderer: &mut Renderer) -> FeedItem {
        if next > self.head {
            return FeedItem::UpToDate;
        }
        let first = self.tail.front().map_or(self.head + 1, |recent| recent.frame.first_seq());
        if next < first {
            let known = self.history.iter().find(|(known, history)| {
                *known == form && (history.rendered.first_seq()..=history.rendered.last_seq()).contains(&next)
            });
            return known.map_or(FeedItem::Behind, |(_, history)| {
                FeedItem::Chunk(history.rendered.clone(), history.mortal.clone(), Priority::Normal)
            });
        }
        let after = self.tail.partition_point(|recent| recent.frame.first_seq() <= next);
        let recent = &mut self.tail[after - 1];
        let rendered = recent.rendered[form.index()].get_or_insert_with(|| {
            let frame = std::slice::from_ref(&recent.frame);
            let rendered = renderer.frames(frame, form).opened_at(recent.opened);
            self.rendered_bytes += rendered.bytes.len();
            rendered
        });
        let rendered = rendered.clone();
        let mortal = recent.mortal.then(|| Rc::from([recent.frame.clone()]));
        FeedItem::Chunk(rendered, mortal, recent.priority)
    }

    /// The id of the event at `seq`, if it is in the tail.
    pub(crate) fn id_at(&self, seq: Seq) -> Option<String> {
        let after = self.tail.partition_point(|recent| recent.frame.first_seq() <= seq);
        let recent = self.tail.get(after.checked_sub(1)?)?;
        recent.frame.records().find(|(at, _)| *at == seq).map(|(_, record)| record.id.to_owned())
    }

    /// Caches a chunk for other readers that reach the same position.
    pub(crate) fn cache_history(&mut self, form: Form, history: History) {
        if self.history.len() == MAX_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((form, history));
    }

    /// Drops the cached chunks.
    pub(crate) fn drop_history(&mut self) {
        self.history.clear();
    }
}
