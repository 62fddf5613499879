//! The final read of a session's whole log, after everything else: the authority on what it holds.

use agentbench_client::{Client, Error, Seq, SessionId};
use agentbench_history::{Content, Operation, StopReason};
use agentbench_protocol::MessageType;
use agentbench_protocol::message::Delivery;

use crate::recorder::Recorder;

/// Maximum number of entries per page.
const PAGE: u32 = 500;
/// Approximate size of a page in bytes.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// The number of entries of this size per page.
pub(crate) fn page_for(payload: usize) -> u32 {
    u32::try_from(PAGE_BYTES / payload.max(1)).unwrap_or(PAGE).clamp(1, PAGE)
}

/// Reads the log and records it. Returns the last seq.
///
/// # Errors
/// The server or the connection failed; the history then records that the read was cut off.
pub(crate) async fn read(
    client: &Client,
    session: SessionId,
    page: u32,
    recorder: &mut Recorder,
) -> Result<Seq, Error> {
    let epoch = client.get_session_info(session).await?.epoch;
    recorder.note(Operation::FinalRead { epoch });
    let read = pages(client, session, page, recorder).await;
    let why = if read.is_ok() { StopReason::CaughtUp } else { StopReason::Cut };
    recorder.note(Operation::Stop { why });
    read
}

async fn pages(
    client: &Client,
    session: SessionId,
    size: u32,
    recorder: &mut Recorder,
) -> Result<Seq, Error> {
    let (mut last, mut from) = (0, 1);
    loop {
        let page = client.get_history(session, from, size).await?;
        for event in &page.events {
            let entry: Delivery<'_> = serde_json::from_str(event.get())
                .map_err(|error| Error::UnexpectedReply(format!("an event of the history: {error}")))?;
            let seq = entry.seq.unwrap_or(0);
            let content = match entry.kind {
                MessageType::TestEvent => Content::Event(crc32c::crc32c(entry.data.get().as_bytes())),
                _ => Content::Lifecycle,
            };
            recorder.note(Operation::Delivery { seq, message: entry.id.into(), content });
            last = last.max(seq);
        }
        match page.next_seq {
            Some(next) if next > from => from = next,
            Some(next) => {
                let detail = format!("the page after seq {from} starts at {next}");
                return Err(Error::UnexpectedReply(detail));
            }
            None => return Ok(last),
        }
    }
}
