//! Scripts of conversations, written by playing them: each answer names what the client has just sent.

use agentbench_client::ErrorData;
use agentbench_protocol::event::{
    AckHead, AckedEvent, EventBody, write_ack, write_error, write_event, write_lifecycle, write_system,
};
use agentbench_protocol::message::{Joined, Transition};
use agentbench_protocol::{
    Epoch, ErrorCode, GapCause, Position, Reconnect, SessionInfo, Status, SystemMessage,
};
use bytes::BytesMut;

use super::{Play, session};
use crate::targets::Seed;

const EPOCH: Epoch = Epoch::from_u64(7);
const NOW: u64 = 1_760_000_000_000;

/// A script that is played while it is written.
struct Writer {
    play: Play,
    script: Vec<u8>,
}

impl Writer {
    fn new(how: u8) -> Self {
        Self { play: Play::new(how, usize::MAX), script: vec![how, 5] }
    }

    fn step(&mut self, step: &[u8]) {
        self.script.extend_from_slice(step);
        let rest = self.play.step(step);
        assert_eq!(rest, Some(&[][..]), "a whole step");
    }

    fn message(&mut self, text: &[u8]) {
        let length = u16::try_from(text.len()).expect("a short message").to_be_bytes();
        self.step(&[&[0, length[0], length[1]], text].concat());
    }

    fn say(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let mut text = BytesMut::new();
        write(&mut text);
        self.message(&text);
    }

    fn tell(&mut self, message: &SystemMessage) {
        self.say(|text| write_system(text, 9, NOW, Some(session()), message));
    }

    /// Id of the client's last message of this type, or with this command.
    fn last(&self, what: &str) -> String {
        let is_it = |(_, kind, data): &&super::peer::Sent| kind.contains(what) || data["command"] == what;
        self.play.peer.sent.iter().rev().find(is_it).map_or_else(|| "none".into(), |(id, ..)| id.clone())
    }

    fn join(&mut self, after: u64) {
        let from = Position { epoch: EPOCH, seq: after, last_id: None };
        let joined = Joined {
            original_message_id: self.last("join_session"),
            session_id: session(),
            epoch: EPOCH,
            head_seq: 5,
            from,
            recovered: true,
            reason: None,
            session: info(),
        };
        self.tell(&SystemMessage::SessionJoined(joined));
    }

    fn event(&mut self, seq: u64) {
        let id = format!("e{seq}");
        let body = EventBody {
            id: &id,
            timestamp: "1760000000000",
            data: r#"{"eventType":"progress","percent":50}"#,
            metadata: None,
            sender: r#"{"userId":"u","producerId":"q"}"#,
        };
        self.say(|text| write_event(text, &session().to_string(), seq, NOW, &body));
    }

    fn ack(&mut self, seq: u64) {
        let id = self.last("test_event");
        let (session, epoch) = (session().to_string(), EPOCH.to_string());
        let head = AckHead { session: &session, epoch: &epoch, level: "logged" };
        self.say(|text| {
            write_ack(text, 9, NOW, &head, &AckedEvent { id: &id, seq, duplicate: false, warnings: &[] });
        });
    }

    fn refuse(&mut self, what: &str, code: ErrorCode, retryable: bool) {
        let error = ErrorData {
            error: "no".into(),
            code,
            original_message_id: (what != "none").then(|| self.last(what)),
            retryable,
            retry_after_ms: retryable.then_some(200),
            field: None,
        };
        self.say(|text| write_error(text, 9, NOW, Some(session()), &error));
    }
}

fn info() -> SessionInfo {
    SessionInfo {
        session_id: session(),
        project_id: "p".into(),
        test_id: "t".into(),
        agent_name: "a".into(),
        status: Status::Running,
        epoch: EPOCH,
        head_seq: 5,
        created_by: "u".into(),
        created_at: NOW,
        started_at: None,
        ended_at: None,
        reason: None,
        progress: None,
        last_event_at: None,
        pace_ms: None,
        stalled: None,
        metadata: None,
        participants: vec![],
    }
}

fn gap(from_seq: u64, to_seq: u64) -> SystemMessage {
    SystemMessage::Gap { session_id: session(), from_seq, to_seq, cause: GapCause::Overflow, history: true }
}

/// A follow with a gap, a hole and late entries; acks, refusals, a lost connection, a replay.
pub(crate) fn seeds() -> Vec<Seed> {
    type Scene = (&'static str, fn(&mut Writer));
    let scenes: [Scene; 8] = [
        ("follow", |to| {
            to.join(0);
            (1..=3).for_each(|seq| to.event(seq));
            to.tell(&gap(4, 6));
            to.event(7);
            [10, 8, 9, 8].into_iter().for_each(|seq| to.event(seq));
            let step = Transition {
                original_message_id: None,
                session_id: session(),
                from: Status::Running,
                status: Status::Completed,
                seq: None,
                reason: None,
                duplicate: false,
            };
            to.say(|text| {
                let (session, step) = (session().to_string(), SystemMessage::SessionStopped(step));
                write_lifecycle(text, &session, 11, NOW, "l11", &step, None);
            });
        }),
        ("odd-gap", |to| {
            to.join(4);
            to.tell(&gap(10, 6));
            [7, 7, 5, 8].into_iter().for_each(|seq| to.event(seq));
        }),
        ("largest", |to| {
            to.join(u64::MAX - 2);
            to.event(u64::MAX - 1);
            to.tell(&gap(u64::MAX, u64::MAX));
            to.event(u64::MAX);
            let detail = String::new();
            let reconnect = Reconnect::After;
            let after_ms = Some(u64::MAX);
            to.tell(&SystemMessage::Disconnecting {
                code: 1013,
                cause: "c".into(),
                detail,
                reconnect,
                after_ms,
            });
            to.step(&[10, 0]);
            to.step(&[8, 0]);
            to.step(&[8, 0]);
        }),
        ("publish", |to| {
            to.join(0);
            to.ack(1);
            to.step(&[9, 7, b'{', b'"', b'n', b'"', b':', b'3', b'}']);
            to.refuse("test_event", ErrorCode::RateLimited, true);
            to.step(&[8, 0]);
            to.ack(2);
            to.refuse("none", ErrorCode::MalformedJson, false);
            to.step(&[8, 0]);
            to.join(0);
        }),
        ("reconnect", |to| {
            to.join(0);
            to.event(1);
            to.step(&[10, 0]);
            to.step(&[8, 0]);
            to.join(1);
            to.event(1);
            to.event(2);
            to.step(&[10, 1]);
            (0..3).for_each(|_| to.step(&[8, 0]));
        }),
        ("commands", |to| {
            to.step(&[11, 0]);
            let original_message_id = to.last("get_session_info");
            to.tell(&SystemMessage::SessionInfo { original_message_id, session: info() });
            to.step(&[11, 1]);
            to.refuse("start_test", ErrorCode::Forbidden, false);
            to.step(&[11, 3]);
            let original_message_id = to.last("refresh_token");
            to.tell(&SystemMessage::TokenRefreshed {
                original_message_id,
                token_expires_at: Some(NOW + 60_000),
            });
            to.step(&[14, 1]);
            to.step(&[7, 255]);
            to.step(&[14, 0]);
        }),
        ("replay", |to| {
            to.join(3);
            to.step(&[15, 1]);
            let original_message_id = to.last("replay_session");
            let started = SystemMessage::ReplayStarted {
                original_message_id: original_message_id.clone(),
                session_id: session(),
                from_seq: 1,
                to_seq: 3,
                speed: 0.0,
                longest_pause_ms: 0,
            };
            to.tell(&started);
            to.event(4);
            to.step(&[15, 200]);
            to.tell(&SystemMessage::ReplayFinished { original_message_id, session_id: session(), to_seq: 3 });
        }),
        ("leave", |to| {
            to.join(0);
            to.step(&[13, 0]);
            to.step(&[12, 0]);
            to.join(0);
            to.step(&[13, 2]);
            to.step(&[13, 1]);
            to.step(&[6, 4, 0x89, 2, b'h', b'i']);
            to.step(&[6, 4, 0x88, 2, 0x03, 0xe8]);
        }),
    ];
    let written = scenes.iter().flat_map(|(name, scene)| {
        [0_u8, 1, 6].map(|how| {
            let mut writer = Writer::new(how);
            scene(&mut writer);
            (format!("{name}-{how}"), writer.script)
        })
    });
    crate::targets::named(written)
}
