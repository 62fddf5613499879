//! The other end of the machine's wire: answers the upgrade, writes the server's frames and reads the client's.

use agentbench_protocol::SUBPROTOCOL_JSON;
use agentbench_websocket::handshake::{Request, write_101, write_response};
use agentbench_websocket::{Decoder, Inflater, Input, Limits, Message, Role, encode_close, encode_message};
use bytes::BytesMut;
use serde_json::Value;

/// See the module.
#[derive(Default)]
pub(super) struct Socket {
    /// There is one only behind the upgrade.
    decoder: Option<Decoder>,
    inflater: Inflater,
}

impl Socket {
    pub(super) fn is_open(&self) -> bool {
        self.decoder.is_some()
    }

    /// The answer to the upgrade in `request`.
    pub(super) fn upgrade(&mut self, request: &[u8], protocol: Option<&str>) -> BytesMut {
        let parsed = Request::parse(request).unwrap().expect("the request is whole");
        let upgrade = parsed.upgrade().unwrap();
        assert_eq!(upgrade.protocols().next(), Some(SUBPROTOCOL_JSON));
        let mut answer = BytesMut::new();
        write_101(&mut answer, &upgrade.accept, protocol.filter(|name| !name.is_empty()), None, &[]);
        self.decoder = Some(Decoder::new(Role::Server, Limits::default(), None));
        answer
    }

    /// Any other answer.
    pub(super) fn refuse(status: u16, retry_after_ms: Option<u64>) -> BytesMut {
        let seconds = retry_after_ms.map(|ms| (ms / 1000).to_string());
        let headers: Vec<_> = seconds.iter().map(|seconds| ("Retry-After", &**seconds)).collect();
        let mut answer = BytesMut::new();
        write_response(&mut answer, status, "No", &headers, "no");
        answer
    }

    pub(super) fn text(text: &str) -> BytesMut {
        let mut frame = BytesMut::new();
        encode_message(&mut frame, &Message::Text(text), None);
        frame
    }

    pub(super) fn close(code: u16, reason: &str) -> BytesMut {
        let mut frame = BytesMut::new();
        encode_close(&mut frame, Some((code, reason)), None);
        frame
    }

    /// The machine has let go of it.
    pub(super) fn gone(&mut self) {
        self.decoder = None;
    }

    /// The envelopes in what the client has sent.
    pub(super) fn read(&mut self, mut bytes: BytesMut) -> Result<Vec<Value>, String> {
        let mut sent = Vec::new();
        let Some(decoder) = &mut self.decoder else { return Ok(sent) };
        let mut input = Input::new(&mut bytes);
        while let Some(message) =
            decoder.next(&mut input, &mut self.inflater).map_err(|error| error.to_string())?
        {
            let Message::Text(text) = message else { continue };
            match serde_json::from_str(text).map_err(|error| format!("{text}: {error}"))? {
                Value::Array(several) => sent.extend(several),
                one => sent.push(one),
            }
        }
        Ok(sent)
    }
}
