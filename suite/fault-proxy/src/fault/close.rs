//! `close`: a WebSocket close frame (RFC 6455 §5.5.1) to both sides, after what is already on its way to them, then FIN.

use agentbench_websocket::encode_close;
use bytes::{Bytes, BytesMut};

use super::Way;

/// The frame for the reader at the end of `way`. A server reads masked frames; the mask need not be unpredictable here,
/// since there is no intermediary to protect.
pub(crate) fn frame(way: Way, code: u16, reason: &str, mask: u64) -> Bytes {
    let mut frame = BytesMut::new();
    let mask = match way {
        Way::Up => Some((mask as u32).to_be_bytes()),
        Way::Down => None,
    };
    encode_close(&mut frame, Some((code, reason)), mask);
    frame.freeze()
}
