//! A session as one HTML file that opens without a server: the dashboard's export page with the log and the evidence in it.
//!
//! Log and evidence are read twice in steps: first to know how large the file would be, so that one that is too large is
//! refused before anything of it is sent, then to send it at the client's pace. Neither is ever in memory as a whole.

use std::sync::Arc;

use agentbench_audit::Record;
use agentbench_evidence::{EvidenceError, Hash, Stored};
use agentbench_protocol::{ErrorCode, Refusal, SessionId};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

use super::access::Caller;
use super::answer::Answer;
use super::api::{Api, segment};
use super::evidence::piece;
use super::pipe::{self, Unread, Writer};
use super::range::Range;
use crate::rules::parse_session_id;
use crate::shared::Shared;
use crate::transport::plain::Link;

/// What is about to be written.
struct Export {
    session: SessionId,
    range: Range,
    /// What stands before the first event.
    head: Bytes,
    /// What stands after the data.
    tail: &'static str,
    evidence: Vec<(Hash, Stored)>,
    /// Evidence that is left out, since it is not what was uploaded.
    damaged: Vec<Hash>,
}

/// Why it ends early.
enum Broken {
    /// The client has gone.
    Unread,
    /// A part cannot be had.
    Missing(String),
}

impl From<Unread> for Broken {
    fn from(_: Unread) -> Self {
        Self::Unread
    }
}

/// `GET /api/v1/sessions/{sessionId}/export?format=html`
pub(super) async fn export(api: &Api, parts: &Parts) -> Answer<Response> {
    let caller = Caller::of(api, parts)?;
    api.shared.audit_room().await?;
    let session = parse_session_id(segment(parts, 3))?;
    let entry = caller.may_read(api, session)?;
    let Some((before, tail)) = api.shared.config.pages.export_template() else {
        let detail = "this binary was built without the dashboard's pages: cargo xtask dashboard, then build again; format=jsonl needs none";
        return Err(Refusal::new(ErrorCode::NotFound, detail).into());
    };
    let head = entry.head();
    let mut info = entry.summary().describe(session, head);
    info.progress = entry.progress();
    let mut opening = BytesMut::from(before);
    opening
        .extend_from_slice(format!("{{\"version\":1,\"exportedAt\":{},\"session\":", api.now()).as_bytes());
    // Own types have string keys and no failing parts.
    write_escaped(&mut opening, &serde_json::to_vec(&info).expect("own types serialise"));
    opening.extend_from_slice(b",\"events\":[");
    let store = Arc::clone(&api.shared.storage.evidence);
    let evidence = piece::aside(move || store.list(session)).await;
    let (evidence, damaged) =
        intact(&api.shared, session, evidence.map_err(|error| piece::refused(&error))?).await?;
    let range = Range::whole(session, head.seq);
    let export = Export { session, range, head: opening.freeze(), tail, evidence, damaged };
    api.shared.intake.may_read_more()?;
    export.fits(&api.shared).await?;
    api.shared.audit(|| {
        let record = Record::allowed(api.now(), "export").detail("as one HTML file".to_owned());
        Record { session: session.to_string(), ..caller.record(record) }
    });
    let (writer, body) = pipe::body(&api.shared, &Link::of(parts));
    let writer = writer.while_good(&caller.grant).of_log();
    tokio::spawn(export.write(Arc::clone(&api.shared), writer));
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        // Opened from the server's own address it would be one of its pages.
        (header::CONTENT_SECURITY_POLICY, "sandbox".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{session}.html\"")),
    ];
    Ok((StatusCode::OK, headers, body).into_response())
}

/// Parts what is what was uploaded from what is damaged, before anything is sent.
async fn intact(
    shared: &Arc<Shared>,
    session: SessionId,
    all: Vec<(Hash, Stored)>,
) -> Answer<(Vec<(Hash, Stored)>, Vec<Hash>)> {
    let (mut good, mut damaged) = (Vec::new(), Vec::new());
    for (hash, stored) in all {
        let store = Arc::clone(&shared.storage.evidence);
        match piece::aside(move || store.check(session, hash)).await {
            Ok(()) => good.push((hash, stored)),
            Err(EvidenceError::Damaged { .. }) => damaged.push(hash),
            Err(error) => return Err(piece::refused(&error)),
        }
    }
    Ok((good, damaged))
}

impl Export {
    /// Refuses what would be too large.
    async fn fits(&self, shared: &Arc<Shared>) -> Answer<()> {
        let limit = shared.config.max_export_bytes;
        let of_evidence = |stored: &Stored| stored.size.div_ceil(3) * 4 + 160;
        let mut size = self.evidence.iter().map(|(_, stored)| of_evidence(stored)).sum::<u64>();
        size += (self.head.len() + self.tail.len()) as u64;
        let mut range = self.range;
        while size <= limit {
            match range.step(shared).await {
                Ok(Some(lines)) => size += escaped_size(&lines),
                Ok(None) => return Ok(()),
                Err(error) => {
                    let refusal = Refusal::new(ErrorCode::LogUnavailable, error);
                    return Err(refusal.retry_after(1_000).into());
                }
            }
        }
        let detail = format!(
            "the file would have more than {limit} bytes (MAX_EXPORT_BYTES); format=jsonl has no limit, and the evidence can be had piece by piece"
        );
        Err(Refusal::new(ErrorCode::PayloadTooLarge, detail).into())
    }

    async fn write(mut self, shared: Arc<Shared>, writer: Writer) {
        match self.try_write(&shared, &writer).await {
            Ok(()) => {
                let _: Result<(), Unread> = writer.finish(Bytes::from_static(self.tail.as_bytes())).await;
            }
            Err(Broken::Unread) => {}
            Err(Broken::Missing(what)) => {
                tracing::warn!(session = %self.session, what, "an export could not be written to its end");
                writer.fail().await;
            }
        }
    }

    async fn try_write(&mut self, shared: &Arc<Shared>, writer: &Writer) -> Result<(), Broken> {
        writer.write(self.head.clone()).await?;
        let mut separator: &[u8] = b"";
        let missing = Broken::Missing;
        while let Some(lines) = self.range.step(shared).await.map_err(missing)? {
            let mut piece = BytesMut::with_capacity(lines.len() + lines.len() / 8);
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                piece.extend_from_slice(separator);
                separator = b",";
                write_escaped(&mut piece, line);
            }
            writer.write(piece.freeze()).await?;
        }
        writer.write(Bytes::from_static(b"],\"evidence\":{")).await?;
        for (index, (hash, stored)) in std::mem::take(&mut self.evidence).into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let kind = stored.media_type.as_str();
            let opening = format!("{comma}\"{hash}\":{{\"contentType\":\"{kind}\",\"base64\":\"");
            writer.write(opening.into()).await?;
            self.write_evidence(shared, writer, hash).await?;
            writer.write(Bytes::from_static(b"\"}")).await?;
        }
        let damaged: Vec<_> = self.damaged.iter().map(ToString::to_string).collect();
        // Names of hexadecimal digits need no escape.
        let closing = format!("}},\"damaged\":{}}}", serde_json::json!(damaged));
        writer.write(closing.into()).await?;
        Ok(())
    }

    async fn write_evidence(&self, shared: &Arc<Shared>, writer: &Writer, hash: Hash) -> Result<(), Broken> {
        let (store, session) = (Arc::clone(&shared.storage.evidence), self.session);
        let missing = |what: String| Broken::Missing(format!("evidence {hash}: {what}"));
        let opened = piece::aside(move || store.read(session, hash)).await;
        let opened = opened.map_err(|error| missing(error.to_string()))?;
        let Some(mut reader) = opened else { return Err(missing("it is gone".to_owned())) };
        let size = reader.stored().size;
        let (mut at, mut carried) = (0, Vec::new());
        while at < size {
            let read = piece::aside(move || {
                let step = reader.read(at, u64::MAX)?;
                Ok((reader, step))
            });
            let (same, step) = read.await.map_err(|error| missing(error.to_string()))?;
            reader = same;
            at += step.len() as u64;
            carried.extend(step);
            // Base64 goes on without padding after a multiple of three.
            let whole = if at < size { carried.len() / 3 * 3 } else { carried.len() };
            let rest = carried.split_off(whole);
            writer.write(BASE64_STANDARD.encode(&carried).into()).await?;
            carried = rest;
        }
        Ok(())
    }
}

/// Appends JSON so that nothing in it can end the script element that it stands in, or begin another one.
fn write_escaped(dst: &mut BytesMut, json: &[u8]) {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'<' | b'>' | b'&' | 0xe2)) {
        dst.extend_from_slice(&rest[..at]);
        let (text, length) = match &rest[at..] {
            [b'<', ..] => ("\\u003c", 1),
            [b'>', ..] => ("\\u003e", 1),
            [b'&', ..] => ("\\u0026", 1),
            // U+2028 and U+2029 end a line of JavaScript.
            [0xe2, 0x80, 0xa8, ..] => ("\\u2028", 3),
            [0xe2, 0x80, 0xa9, ..] => ("\\u2029", 3),
            _ => ("", 1),
        };
        if text.is_empty() {
            dst.put_u8(rest[at]);
        }
        dst.extend_from_slice(text.as_bytes());
        rest = &rest[at + length..];
    }
    dst.extend_from_slice(rest);
}

/// Bytes that [`write_escaped`] makes of these at most.
fn escaped_size(json: &[u8]) -> u64 {
    let grown = json.iter().filter(|byte| matches!(byte, b'<' | b'>' | b'&' | 0xe2)).count();
    (json.len() + 5 * grown) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_leave_the_script_element() {
        let json = "{\"a\":\"</script><!-- <script>&amp; \u{2028}\u{2029} \u{2027} â 文\"}";
        let mut escaped = BytesMut::new();
        write_escaped(&mut escaped, json.as_bytes());
        let text = std::str::from_utf8(&escaped).unwrap();
        assert!(!text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "{text}");
        assert!(text.contains('\u{2027}') && text.contains("â 文"), "{text}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(text), value(json));
        assert!(escaped_size(json.as_bytes()) >= escaped.len() as u64);
    }
}
