//! The ways to damage a good history.

use agentbench_history::{ClientHistory, Content, Kind, Operation, Record};
use agentbench_protocol::{Seq, SessionId};

use super::good::Dice;

/// One way, and the name that it must be found by.
pub(crate) struct Damage {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether the history that it damages ends with a final read.
    pub(crate) final_read: bool,
    pub(crate) apply: fn(&mut Vec<ClientHistory>, &mut Dice) -> bool,
}

const fn damage(
    name: &'static str,
    kind: Kind,
    final_read: bool,
    apply: fn(&mut Vec<ClientHistory>, &mut Dice) -> bool,
) -> Damage {
    Damage { name, kind, final_read, apply }
}

pub(crate) const DAMAGES: &[Damage] = &[
    damage("drop a delivery in the middle", Kind::Hole, true, drop_delivery),
    damage("drop a delivery in the middle, no final read", Kind::Hole, false, drop_delivery),
    damage("drop a delivery that the final read has", Kind::Unseen, true, drop_delivery),
    damage("drop the last delivery", Kind::Unseen, true, drop_last_delivery),
    damage("drop an entry of the lifecycle", Kind::Hole, true, drop_lifecycle),
    damage("repeat a delivery", Kind::DeliveredTwice, true, repeat_delivery),
    damage("repeat a delivery after a reconnect", Kind::DeliveredTwice, false, repeat_after_reconnect),
    damage("repeat what the client drops", Kind::DeliveredTwice, true, drop_repeats),
    damage("go on too late after a reconnect", Kind::Hole, true, skip_after_reconnect),
    damage("swap two deliveries", Kind::OutOfOrder, true, swap_deliveries),
    damage("deliver what a gap had announced as missing", Kind::OutOfOrder, true, deliver_in_gap),
    damage("swap two messages at one reader", Kind::OrdersDiffer, true, swap_messages),
    damage("shift one reader's seqs", Kind::OrdersDiffer, true, shift_seqs),
    damage("invent a delivery", Kind::Invented, true, invent_at_end),
    damage("put an invented message in another's place", Kind::Invented, false, invent_in_place),
    damage("deliver in another session", Kind::Invented, true, stray),
    damage("lose an acked event", Kind::Lost, true, lose_acked),
    damage("lose an acked event, no final read", Kind::Lost, false, lose_acked),
    damage("lose an acked event that was delivered", Kind::Lost, true, lose_from_final_read),
    damage("hide a gap", Kind::Hole, false, hide_gap),
    damage("ack with a wrong seq", Kind::WrongSeq, true, shift_ack),
    damage("ack with a wrong seq, no final read", Kind::WrongSeq, false, shift_ack),
    damage("store a message twice", Kind::StoredTwice, true, store_twice),
    damage("store a message twice, no final read", Kind::StoredTwice, false, store_twice),
    damage("swap two messages of a producer in the log", Kind::ProducerOrder, true, swap_everywhere),
    damage("alter a content", Kind::Altered, true, alter),
    damage("store what was refused", Kind::RefusedButStored, true, store_refused),
    damage("forget an outcome", Kind::Unaccounted, true, forget_outcome),
    damage("answer what was not asked", Kind::Unusable, true, answer_twice),
    damage("deliver without reading", Kind::Unusable, false, forget_reading),
    damage("give one id to two clients", Kind::Unusable, true, share_id),
];

type Clients = Vec<ClientHistory>;

/// The follower who reads everything, of any session.
fn follower<'a>(clients: &'a mut Clients, dice: &mut Dice) -> &'a mut ClientHistory {
    let session = dice.roll(2);
    named(clients, &format!("follower-{session}-0"))
}

fn named<'a>(clients: &'a mut Clients, name: &str) -> &'a mut ClientHistory {
    clients.iter_mut().find(|client| client.client == name).expect("a good history has it")
}

fn places(client: &ClientHistory, fits: impl Fn(&Operation) -> bool) -> Vec<usize> {
    let fitting = client.records.iter().enumerate().filter(|(_, record)| fits(&record.operation));
    fitting.map(|(index, _)| index).collect()
}

fn is_event(operation: &Operation) -> bool {
    matches!(operation, Operation::Delivery { content: Content::Event(_), .. })
}

/// One of them that is neither the first nor the last.
fn inner(places: &[usize], dice: &mut Dice) -> usize {
    places[1 + dice.roll(places.len() - 2)]
}

fn drop_delivery(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    let at = inner(&places(client, is_event), dice);
    // Without a reconnect in between: a `Read` behind the dropped one would be another damage.
    client.records.remove(at);
    true
}

fn drop_last_delivery(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    let last = *places(client, is_event).last().expect("there are events");
    client.records.truncate(last);
    true
}

fn drop_lifecycle(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    let lifecycle =
        |operation: &Operation| matches!(operation, Operation::Delivery { content: Content::Lifecycle, .. });
    let at = places(client, lifecycle)[0];
    client.records.remove(at);
    true
}

fn repeat_delivery(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    let at = inner(&places(client, is_event), dice);
    let again = client.records[at].clone();
    let to = at + 1 + dice.roll(client.records.len() - at - 1);
    client.records.insert(to, again);
    true
}

fn repeat_after_reconnect(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    let at = inner(&places(client, is_event), dice);
    let (delivery, read) = (client.records[at].clone(), client.records[0].operation.clone());
    let (Operation::Delivery { seq, .. }, Operation::Read { epoch, .. }) = (&delivery.operation, read) else {
        return false;
    };
    let back = Record { operation: Operation::Read { epoch, after: seq - 1 }, ..delivery.clone() };
    client.records.splice(at + 1..at + 1, [back, delivery]);
    true
}

fn drop_repeats(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    let last = client.records[client.records.len() - 1].clone();
    client.records.push(Record { operation: Operation::Dropped { count: 1 }, ..last });
    true
}

fn skip_after_reconnect(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    let at = inner(&places(client, is_event), dice);
    let Operation::Delivery { seq, .. } = client.records[at].operation else { return false };
    let Operation::Read { epoch, .. } = client.records[0].operation else { return false };
    client.records[at].operation = Operation::Read { epoch, after: seq };
    true
}

fn swap_deliveries(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    let events = places(client, is_event);
    let first = dice.roll(events.len() - 1);
    client.records.swap(events[first], events[first + 1]);
    true
}

fn deliver_in_gap(clients: &mut Clients, dice: &mut Dice) -> bool {
    let session = dice.roll(2);
    let client = named(clients, &format!("follower-{session}-1"));
    let gap = places(client, |operation| matches!(operation, Operation::Gap { .. }))[0];
    let Operation::Gap { from, .. } = client.records[gap].operation else { return false };
    let whole = named(clients, &format!("follower-{session}-0"));
    let at =
        places(whole, |operation| matches!(operation, Operation::Delivery { seq, .. } if *seq == from))[0];
    let late = whole.records[at].clone();
    named(clients, &format!("follower-{session}-1")).records.insert(gap + 1, late);
    true
}

fn swap_messages(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    let events = places(client, is_event);
    let first = dice.roll(events.len() - 1);
    let (left, right) = client.records.split_at_mut(events[first + 1]);
    let (left, right) = (&mut left[events[first]].operation, &mut right[0].operation);
    std::mem::swap(left, right);
    if let (Operation::Delivery { seq: one, .. }, Operation::Delivery { seq: other, .. }) = (left, right) {
        std::mem::swap(one, other);
    }
    true
}

fn shift_seqs(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    let start = inner(&places(client, is_event), dice);
    for record in &mut client.records[start..] {
        match &mut record.operation {
            Operation::Delivery { seq, .. } => *seq += 1,
            Operation::Read { after, .. } => *after += 1,
            _ => {}
        }
    }
    true
}

fn invent_at_end(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    let last = *places(client, is_event).last().expect("there are events");
    let mut invented = client.records[last].clone();
    if let Operation::Delivery { seq, message, .. } = &mut invented.operation {
        *seq += 1;
        *message = "nobody-sent-this".into();
    }
    client.records.insert(last + 1, invented);
    true
}

fn invent_in_place(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    let at = inner(&places(client, is_event), dice);
    if let Operation::Delivery { message, .. } = &mut client.records[at].operation {
        *message = "nobody-sent-this".into();
    }
    true
}

fn stray(clients: &mut Clients, dice: &mut Dice) -> bool {
    let donor = named(clients, "follower-1-0");
    let at = inner(&places(donor, is_event), dice);
    let Operation::Delivery { message: theirs, .. } = donor.records[at].operation.clone() else {
        return false;
    };
    let client = named(clients, "follower-0-0");
    let at = inner(&places(client, is_event), dice);
    if let Operation::Delivery { message, .. } = &mut client.records[at].operation {
        *message = theirs;
    }
    true
}

/// An acked message of a session, the last one in its log.
fn last_acked(clients: &Clients, session: SessionId) -> Option<(Box<str>, Seq)> {
    let of_session = clients.iter().flat_map(|client| &client.records).filter(|r| r.session == session);
    let acked = of_session.filter_map(|record| match &record.operation {
        Operation::Ok { message, seq, .. } => Some((message.clone(), *seq)),
        _ => None,
    });
    acked.max_by_key(|(_, seq)| *seq)
}

fn a_session(dice: &mut Dice) -> SessionId {
    SessionId::from_u128(1 + dice.roll(2) as u128)
}

/// The log ends before the last acked message, for everybody.
fn lose_acked(clients: &mut Clients, dice: &mut Dice) -> bool {
    let session = a_session(dice);
    let Some((_, lost)) = last_acked(clients, session) else { return false };
    for client in clients.iter_mut() {
        client.records.retain(|record| match &record.operation {
            Operation::Delivery { seq, .. } => record.session != session || *seq < lost,
            Operation::Read { after, .. } => record.session != session || *after < lost,
            Operation::Gap { .. } => record.session != session,
            _ => true,
        });
    }
    true
}

/// Followers had it; the log does not any more.
fn lose_from_final_read(clients: &mut Clients, dice: &mut Dice) -> bool {
    let session = a_session(dice);
    let Some((_, lost)) = last_acked(clients, session) else { return false };
    named(clients, "last").records.retain(|record| {
        let is_lost = matches!(&record.operation, Operation::Delivery { seq, .. } if *seq >= lost);
        !(is_lost && record.session == session)
    });
    true
}

fn hide_gap(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = named(clients, &format!("follower-{}-1", dice.roll(2)));
    let gap = places(client, |operation| matches!(operation, Operation::Gap { .. }))[0];
    client.records.remove(gap);
    true
}

fn producer<'a>(clients: &'a mut Clients, dice: &mut Dice) -> &'a mut ClientHistory {
    let name = format!("producer-{}-{}", dice.roll(2), dice.roll(2));
    named(clients, &name)
}

fn shift_ack(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = producer(clients, dice);
    let acks = places(client, |operation| matches!(operation, Operation::Ok { .. }));
    let at = acks[dice.roll(acks.len())];
    if let Operation::Ok { seq, .. } = &mut client.records[at].operation {
        *seq = if dice.roll(2) == 0 { *seq + 1 } else { *seq - 1 };
    }
    true
}

/// Adds an entry at the end of a session's log, for everybody who read to its end.
fn append_everywhere(clients: &mut Clients, session: SessionId, message: &str, content: Content) {
    let seqs = clients.iter().flat_map(|client| &client.records).filter(|r| r.session == session);
    let head = seqs.filter_map(|record| match &record.operation {
        Operation::Delivery { seq, .. } => Some(*seq),
        _ => None,
    });
    let seq = head.max().unwrap_or(0) + 1;
    for client in clients.iter_mut() {
        let is_end = |record: &Record| {
            record.session == session
                && matches!(
                    record.operation,
                    Operation::Stop { why: agentbench_history::StopReason::CaughtUp }
                )
        };
        let Some(end) = client.records.iter().position(is_end) else { continue };
        let operation = Operation::Delivery { seq, message: message.into(), content };
        client.records.insert(end, Record { at: 3_000_000, session, operation });
    }
}

fn store_twice(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    let at = inner(&places(client, is_event), dice);
    let Record { session, operation: Operation::Delivery { message, content, .. }, .. } =
        client.records[at].clone()
    else {
        return false;
    };
    append_everywhere(clients, session, &message, content);
    true
}

fn swap_everywhere(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = producer(clients, dice);
    let acks = places(client, |operation| matches!(operation, Operation::Ok { duplicate: false, .. }));
    let first = dice.roll(acks.len() - 1);
    let (Operation::Ok { message: a, .. }, Operation::Ok { message: b, .. }) =
        (client.records[acks[first]].operation.clone(), client.records[acks[first + 1]].operation.clone())
    else {
        return false;
    };
    let Some((digest_a, digest_b)) = digest_of(clients, &a).zip(digest_of(clients, &b)) else { return false };
    for record in clients.iter_mut().flat_map(|client| &mut client.records) {
        if let Operation::Delivery { message, content, .. } = &mut record.operation {
            if *message == a {
                (*message, *content) = (b.clone(), Content::Event(digest_b));
            } else if *message == b {
                (*message, *content) = (a.clone(), Content::Event(digest_a));
            }
        }
    }
    true
}

fn digest_of(clients: &Clients, wanted: &str) -> Option<u32> {
    clients.iter().flat_map(|client| &client.records).find_map(|record| match &record.operation {
        Operation::Invoke { message, digest } if **message == *wanted => Some(*digest),
        _ => None,
    })
}

fn alter(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    let at = inner(&places(client, is_event), dice);
    if let Operation::Delivery { content: Content::Event(digest), .. } = &mut client.records[at].operation {
        *digest ^= 1;
    }
    true
}

fn store_refused(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = producer(clients, dice);
    let at = places(client, |operation| matches!(operation, Operation::Fail { .. }))[0];
    let Record { session, operation: Operation::Fail { message, .. }, .. } = client.records[at].clone()
    else {
        return false;
    };
    let Some(digest) = digest_of(clients, &message) else { return false };
    append_everywhere(clients, session, &message, Content::Event(digest));
    true
}

fn forget_outcome(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = producer(clients, dice);
    let outcomes = places(client, |operation| {
        matches!(operation, Operation::Ok { .. } | Operation::Fail { .. } | Operation::Unknown { .. })
    });
    client.records.remove(outcomes[dice.roll(outcomes.len())]);
    true
}

fn answer_twice(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = producer(clients, dice);
    let acks = places(client, |operation| matches!(operation, Operation::Ok { .. }));
    let again = client.records[acks[dice.roll(acks.len())]].clone();
    client.records.push(again);
    true
}

fn forget_reading(clients: &mut Clients, dice: &mut Dice) -> bool {
    let client = follower(clients, dice);
    client.records.retain(|record| !matches!(record.operation, Operation::Read { .. }));
    true
}

fn share_id(clients: &mut Clients, dice: &mut Dice) -> bool {
    let session = dice.roll(2);
    let theirs = named(clients, &format!("producer-{session}-0")).records[0].clone();
    named(clients, &format!("producer-{session}-1")).records.push(theirs);
    true
}
