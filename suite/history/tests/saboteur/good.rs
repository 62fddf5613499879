//! Histories of a server that keeps its promises, with all that may happen to its clients.

use agentbench_history::{ClientHistory, Content, Operation, Record, StopReason};
use agentbench_protocol::{Epoch, GapCause, SessionId};

/// Reproducible chance (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides.max(1) as u64) as usize
    }
}

/// How much of everything.
pub(crate) struct Shape {
    pub(crate) sessions: usize,
    pub(crate) producers: usize,
    pub(crate) followers: usize,
    pub(crate) messages: usize,
    pub(crate) final_read: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { sessions: 2, producers: 2, followers: 3, messages: 30, final_read: true }
    }
}

struct Session {
    id: SessionId,
    log: Vec<(Box<str>, Content)>,
}

const EPOCH: Epoch = Epoch::from_u64(0xe);

/// A history without fault. The first follower of each session reads everything from the start to the end; in
/// each session at least one publish is refused, and one follower is told of a gap in the middle.
pub(crate) fn good(seed: u64, shape: &Shape) -> Vec<ClientHistory> {
    let dice = &mut Dice::new(seed);
    let mut clients = Vec::new();
    let mut sessions = Vec::new();
    for index in 0..shape.sessions {
        let mut session = Session {
            id: SessionId::from_u128(index as u128 + 1),
            log: vec![(format!("created-{index}").into(), Content::Lifecycle)],
        };
        publish(&mut session, index, shape, dice, &mut clients);
        for follower in 0..shape.followers {
            clients.push(follow(&session, &format!("follower-{index}-{follower}"), follower, dice));
        }
        sessions.push(session);
    }
    if shape.final_read {
        clients.push(read_finally(&sessions));
    }
    clients
}

fn publish(
    session: &mut Session,
    index: usize,
    shape: &Shape,
    dice: &mut Dice,
    clients: &mut Vec<ClientHistory>,
) {
    let mut producers: Vec<ClientHistory> = (0..shape.producers)
        .map(|producer| ClientHistory { client: format!("producer-{index}-{producer}"), records: Vec::new() })
        .collect();
    for turn in 0..shape.producers * shape.messages {
        let producer = &mut producers[turn % shape.producers];
        let number = turn / shape.producers;
        let message: Box<str> = format!("{}-{number}", producer.client).into();
        let digest = dice.roll(1 << 30) as u32;
        let at = producer.records.len() as u64 * 10;
        let mut note =
            |operation| producer.records.push(Record { at: at + 1, session: session.id, operation });
        note(Operation::Invoke { message: message.clone(), digest });
        // The third of each producer is refused, so that every history has one that is.
        let fate = if number == 2 { 8 } else { dice.roll(10) };
        if fate != 8 && fate != 9 {
            session.log.push((message.clone(), Content::Event(digest)));
        }
        let seq = session.log.len() as u64;
        let ok = |duplicate, epoch| Operation::Ok { message: message.clone(), seq, epoch, duplicate };
        match fate {
            0 => {
                note(ok(false, Some(EPOCH)));
                note(Operation::Invoke { message: message.clone(), digest });
                note(ok(true, None));
            }
            6 | 9 => note(Operation::Unknown { message, why: "no ack in time".into() }),
            8 => note(Operation::Fail { message, why: "overloaded".into() }),
            _ => note(ok(false, Some(EPOCH))),
        }
    }
    clients.append(&mut producers);
}

fn follow(session: &Session, client: &str, number: usize, dice: &mut Dice) -> ClientHistory {
    let mut records = Vec::new();
    let mut note = |operation| {
        let at = 1_000_000 + records.len() as u64;
        records.push(Record { at, session: session.id, operation });
    };
    let head = session.log.len() as u64;
    let after = if number == 0 { 0 } else { dice.roll(session.log.len() / 4) as u64 };
    note(Operation::Read { epoch: EPOCH, after });
    let leaves_early = number > 1 && dice.roll(2) == 0;
    let end = if leaves_early { head - dice.roll(session.log.len() / 4) as u64 } else { head };
    // One gap at the second follower, anywhere behind the first third.
    let gap_at = (number == 1).then(|| head / 3 + dice.roll(session.log.len() / 3) as u64 + 1);
    let mut seq = after + 1;
    while seq <= end {
        if gap_at == Some(seq) {
            let to = (seq + dice.roll(3) as u64).min(end - 1).max(seq);
            note(Operation::Gap { from: seq, to, cause: GapCause::Expired });
            seq = to + 1;
            continue;
        }
        let (message, content) = &session.log[seq as usize - 1];
        note(Operation::Delivery { seq, message: message.clone(), content: *content });
        if dice.roll(8) == 0 {
            note(Operation::Read { epoch: EPOCH, after: seq });
        }
        seq += 1;
    }
    let early = [StopReason::Left, StopReason::Cut][dice.roll(2)];
    note(Operation::Stop { why: if leaves_early { early } else { StopReason::CaughtUp } });
    ClientHistory { client: client.to_owned(), records }
}

fn read_finally(sessions: &[Session]) -> ClientHistory {
    let mut records = Vec::new();
    for session in sessions {
        let mut note = |operation| records.push(Record { at: 2_000_000, session: session.id, operation });
        note(Operation::FinalRead { epoch: EPOCH });
        for (index, (message, content)) in session.log.iter().enumerate() {
            let seq = index as u64 + 1;
            note(Operation::Delivery { seq, message: message.clone(), content: *content });
        }
        note(Operation::Stop { why: StopReason::CaughtUp });
    }
    ClientHistory { client: "last".to_owned(), records }
}
