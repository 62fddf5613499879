//! The Pusher protocol 7, as its readers speak it: a public channel, to which others publish over HTTP.
//!
//! ```text
//! ◄ pusher:connection_established   ► pusher:subscribe   ◄ pusher_internal:subscription_succeeded   ◄ events of the channel
//! ```

use anyhow::bail;
use serde::Deserialize;

use super::dialect::{Dialect, Frames, Incoming, Opening, Reply};
use super::socket_io::shown;

/// A reader of one channel.
#[derive(Debug, Clone)]
pub struct Pusher {
    path: String,
    channel: String,
}

/// The outside of a message; its data is of no interest here.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    event: std::borrow::Cow<'a, str>,
}

impl Pusher {
    /// A reader of this public channel of the application with this key.
    pub fn new(key: &str, channel: &str) -> Self {
        Self { path: format!("/app/{key}?protocol=7&client=load&version=1"), channel: channel.to_owned() }
    }
}

impl Dialect for Pusher {
    fn opening(&self) -> Opening {
        Opening { path: self.path.clone(), ..Opening::default() }
    }

    fn greet(&mut self, _out: &mut Frames) -> Reply {
        Reply::NOTHING
    }

    fn receive(&mut self, message: Incoming<'_>, out: &mut Frames) -> anyhow::Result<Reply> {
        let Incoming::Text(text) = message else {
            bail!("received a binary message, which the protocol does not have");
        };
        let Ok(Message { event }) = serde_json::from_str(text) else {
            bail!("this is not a message of the Pusher protocol: {:?}", shown(text));
        };
        match event.as_ref() {
            "pusher:connection_established" => {
                let subscribe =
                    serde_json::json!({"event": "pusher:subscribe", "data": {"channel": self.channel}});
                out.text(subscribe.to_string().as_bytes());
            }
            "pusher_internal:subscription_succeeded" => return Ok(Reply::READY),
            "pusher:ping" => out.text(b"{\"event\":\"pusher:pong\",\"data\":{}}"),
            "pusher:error" | "pusher:subscription_error" => bail!("the server refused: {}", shown(text)),
            other if other.starts_with("pusher") => {}
            _ => return Ok(Reply::ONE),
        }
        Ok(Reply::NOTHING)
    }

    /// Readers do not send; publishing is an HTTP request.
    fn send(&mut self, _serial: u64, _out: &mut Frames) {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reader_subscribes_and_counts_only_events_of_the_channel() {
        let (mut reader, mut out) = (Pusher::new("key", "room"), Frames::default());
        for (text, reply) in [
            (r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}"#, Reply::NOTHING),
            (
                r#"{"event":"pusher_internal:subscription_succeeded","channel":"room","data":"{}"}"#,
                Reply::READY,
            ),
            (r#"{"event":"load","channel":"room","data":"text"}"#, Reply::ONE),
            (r#"{"event":"pusher:ping","data":{}}"#, Reply::NOTHING),
            (r#"{"event":"pusher:cache_miss","channel":"room"}"#, Reply::NOTHING),
        ] {
            assert_eq!(reader.receive(Incoming::Text(text), &mut out).unwrap(), reply, "{text}");
        }
        assert!(!out.bytes().is_empty());
        let refused = r#"{"event":"pusher:error","data":{"code":4001,"message":"unknown app"}}"#;
        let error = reader.receive(Incoming::Text(refused), &mut out).unwrap_err();
        assert!(error.to_string().contains("unknown app"), "{error}");
        reader.receive(Incoming::Binary(b"1"), &mut out).unwrap_err();
    }

    proptest! {
        #[test]
        fn no_text_of_a_server_panics(text in ".{0,200}") {
            let _ = Pusher::new("key", "room").receive(Incoming::Text(&text), &mut Frames::default());
        }
    }
}
