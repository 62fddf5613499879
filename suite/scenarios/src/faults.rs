//! Which faults hit which messages: drawn from the seed before the run, so that the same seed gives the same
//! faults.
//!
//! TCP never loses a single message, so no fault pretends to: each affects the connection that carries the message.
//! A fault waits in the proxy of that connection until its message passes, and strikes once.

use std::collections::BTreeMap;
use std::time::Duration;

use agentbench_fault_proxy::{CorruptPart, Direction, Effect, Ending, Fault, When};
use agentbench_load::arrival::mix;
use agentbench_report::schema::FaultCount;
use serde::{Deserialize, Serialize};

use crate::definition::{Faults, Scenario};

/// What happens to the connection of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The publish arrives, then the connection is reset: its ack never arrives.
    ResetBeforeAck,
    /// The server has sent the ack; the connection is reset before it arrives.
    ResetAfterAck,
    /// The follower's connection is reset while the event is on its way to it.
    ResetDelivery,
    /// From this message on, the connection silently drops all bytes.
    BlackHole,
    /// The message and everything after it is delayed.
    Delay,
    /// The connection is throttled for a while.
    ThrottledLink,
    /// The publish arrives twice.
    DuplicatedPublish,
    /// One byte of the frame is changed.
    CorruptedFrame,
    /// Half of the frame arrives, then the connection ends.
    TruncatedFrame,
    /// The follower's side receives nothing for a while.
    SlowReader,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::ResetBeforeAck,
        Self::ResetAfterAck,
        Self::ResetDelivery,
        Self::BlackHole,
        Self::Delay,
        Self::ThrottledLink,
        Self::DuplicatedPublish,
        Self::CorruptedFrame,
        Self::TruncatedFrame,
        Self::SlowReader,
    ];

    /// Its name in plans and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ResetBeforeAck => "reset_before_ack",
            Self::ResetAfterAck => "reset_after_ack",
            Self::ResetDelivery => "reset_delivery",
            Self::BlackHole => "black_hole",
            Self::Delay => "delay",
            Self::ThrottledLink => "throttled_link",
            Self::DuplicatedPublish => "duplicated_publish",
            Self::CorruptedFrame => "corrupted_frame",
            Self::TruncatedFrame => "truncated_frame",
            Self::SlowReader => "slow_reader",
        }
    }
}

/// One of the two connections of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The publisher's.
    Publisher,
    /// The follower's.
    Follower,
}

/// A fault and the message that triggers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// Number of the client.
    pub client: u32,
    /// Number of the client's message.
    pub message: u32,
    /// The kind of fault.
    pub kind: FaultKind,
    /// Which of the client's connections it hits.
    pub side: Side,
    /// Duration in ms, for kinds that last.
    pub ms: u64,
}

/// What happens to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// SIGKILL, and a restart on the same data.
    Kill,
    /// SIGSTOP, and SIGCONT after a while.
    Pause(Duration),
    /// SIGTERM, and a restart on the same data.
    Restart,
}

impl Disturbance {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "server_killed",
            Self::Pause(_) => "server_paused",
            Self::Restart => "server_restarted",
        }
    }
}

/// A disturbance of the server, as written in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisturbanceKind {
    /// [`Disturbance::Kill`].
    Kill,
    /// [`Disturbance::Pause`].
    Pause,
    /// [`Disturbance::Restart`].
    Restart,
}

/// A disturbance of the server and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// Since the first event was due, ms.
    pub at_ms: u64,
    /// The kind of disturbance.
    pub what: DisturbanceKind,
}

/// Bytes per second of a throttled link: slow enough to delay an event of 1 KiB noticeably.
const THROTTLED: u64 = 8 * 1024;
/// The share of the publishing time in which the server is disturbed.
const DISTURBED_FROM: f64 = 0.1;
const DISTURBED_TO: f64 = 0.9;

/// The faults of a run.
pub fn planned(scenario: &Scenario, seed: u64) -> Vec<PlannedFault> {
    if let Some(planned) = &scenario.faults.planned {
        return planned.clone();
    }
    let messages = (0..scenario.clients).flat_map(|client| (0..scenario.messages).map(move |m| (client, m)));
    messages.filter_map(|(client, message)| draw(&scenario.faults, seed, client, message)).collect()
}

/// The draw for one message: a function of the seed and its place, independent of the run.
fn draw(faults: &Faults, seed: u64, client: u32, message: u32) -> Option<PlannedFault> {
    let place = u64::from(client) << 32 | u64::from(message);
    let first = mix(seed ^ mix(place));
    if share(first) >= faults.rate {
        return None;
    }
    let kinds = if faults.kinds.is_empty() { &FaultKind::ALL[..] } else { &faults.kinds[..] };
    let second = mix(first);
    let kind = kinds[(second % kinds.len() as u64) as usize];
    let third = mix(second);
    Some(PlannedFault { client, message, kind, side: side(kind, third), ms: lasts(kind, mix(third)) })
}

fn share(bits: u64) -> f64 {
    bits as f64 / u64::MAX as f64
}

fn side(kind: FaultKind, bits: u64) -> Side {
    match kind {
        FaultKind::ResetBeforeAck | FaultKind::ResetAfterAck | FaultKind::DuplicatedPublish => {
            Side::Publisher
        }
        FaultKind::ResetDelivery | FaultKind::SlowReader => Side::Follower,
        _ if bits & 1 == 0 => Side::Publisher,
        _ => Side::Follower,
    }
}

/// Duration of a fault, ms; 0 for kinds that do not last.
fn lasts(kind: FaultKind, bits: u64) -> u64 {
    match kind {
        FaultKind::Delay => 50 + bits % 450,
        FaultKind::ThrottledLink => 200 + bits % 600,
        FaultKind::SlowReader => 200 + bits % 800,
        _ => 0,
    }
}

/// The disturbances of the server: one in each part of the time, at a random moment of that part.
pub fn disturbances(faults: &Faults, spread: Duration, seed: u64) -> Vec<(Duration, Disturbance)> {
    let pause = Disturbance::Pause(Duration::from_millis(faults.pause_ms.max(100)));
    if let Some(moments) = &faults.moments {
        let what = |kind| match kind {
            DisturbanceKind::Kill => Disturbance::Kill,
            DisturbanceKind::Pause => pause,
            DisturbanceKind::Restart => Disturbance::Restart,
        };
        return moments.iter().map(|it| (Duration::from_millis(it.at_ms), what(it.what))).collect();
    }
    let kinds =
        [(faults.kills, Disturbance::Kill), (faults.pauses, pause), (faults.restarts, Disturbance::Restart)];
    let mut what: Vec<Disturbance> =
        kinds.iter().flat_map(|(times, kind)| std::iter::repeat_n(*kind, *times as usize)).collect();
    // In an order that depends on the seed (Fisher–Yates).
    for last in (1..what.len()).rev() {
        what.swap(last, (mix(seed ^ last as u64) % (last as u64 + 1)) as usize);
    }
    let part = spread.mul_f64((DISTURBED_TO - DISTURBED_FROM) / what.len().max(1) as f64);
    let moment = |index: usize| {
        let within = share(mix(seed.rotate_left(17) ^ index as u64)) * 0.8;
        spread.mul_f64(DISTURBED_FROM) + part.mul_f64(index as f64 + within)
    };
    what.into_iter().enumerate().map(|(index, what)| (moment(index), what)).collect()
}

/// The moments in the form of a plan.
pub fn moments(disturbances: &[(Duration, Disturbance)]) -> Vec<Moment> {
    let kind = |what: &Disturbance| match what {
        Disturbance::Kill => DisturbanceKind::Kill,
        Disturbance::Pause(_) => DisturbanceKind::Pause,
        Disturbance::Restart => DisturbanceKind::Restart,
    };
    disturbances.iter().map(|(at, what)| Moment { at_ms: at.as_millis() as u64, what: kind(what) }).collect()
}

impl PlannedFault {
    /// The fault for the proxy of its connection. `id` is the message's id, which is a substring of no other id.
    pub fn fault(&self, id: &str) -> Fault {
        let up =
            matches!((self.side, self.kind), (Side::Publisher, kind) if kind != FaultKind::ResetAfterAck);
        let when = When { contains: Some(id.to_owned()), times: Some(1), ..When::default() };
        Fault {
            name: Some(self.kind.name().to_owned()),
            direction: if up { Direction::Up } else { Direction::Down },
            when,
            effect: self.effect(),
        }
    }

    fn effect(&self) -> Effect {
        let for_ms = Some(self.ms);
        match self.kind {
            FaultKind::ResetBeforeAck => Effect::Reset { forward: true },
            FaultKind::ResetAfterAck | FaultKind::ResetDelivery => Effect::Reset { forward: false },
            FaultKind::BlackHole => Effect::BlackHole { for_ms: None },
            FaultKind::Delay => Effect::Delay { ms: self.ms },
            FaultKind::ThrottledLink => Effect::Bandwidth { bytes_per_second: THROTTLED, for_ms },
            FaultKind::DuplicatedPublish => Effect::Duplicate,
            // The only change of a byte that a WebSocket peer is sure to detect: frames have no checksum.
            FaultKind::CorruptedFrame => Effect::Corrupt { part: CorruptPart::PayloadHighBit },
            FaultKind::TruncatedFrame => Effect::Truncate { ending: Ending::Fin },
            FaultKind::SlowReader => {
                Effect::SlowReader { bytes_per_second: None, pause_ms: for_ms, for_ms: None }
            }
        }
    }
}

/// How often each kind was planned and happened. `happened` names the strikes.
pub fn counted<'a>(
    planned: &[PlannedFault],
    disturbed: &[(Duration, Disturbance)],
    happened: impl Iterator<Item = &'a str>,
) -> Vec<FaultCount> {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for fault in planned {
        counts.entry(fault.kind.name()).or_default().0 += 1;
    }
    for (_, disturbance) in disturbed {
        counts.entry(disturbance.name()).or_default().0 += 1;
    }
    for name in happened {
        counts.entry(name).or_default().1 += 1;
    }
    let count =
        |(kind, (planned, happened)): (&str, _)| FaultCount { kind: kind.to_owned(), planned, happened };
    counts.into_iter().map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::built_in;

    fn extreme() -> Scenario {
        built_in::named("Extreme Conditions Test").unwrap()
    }

    #[test]
    fn the_same_seed_means_the_same_faults() {
        let scenario = extreme();
        assert_eq!(planned(&scenario, 7), planned(&scenario, 7));
        assert_ne!(planned(&scenario, 7), planned(&scenario, 8));
        let disturbed = |seed| disturbances(&scenario.faults, scenario.spread(), seed);
        assert_eq!(disturbed(7), disturbed(7));
        assert_ne!(disturbed(7), disturbed(8));
    }

    #[test]
    fn a_message_keeps_its_fault_when_others_come_or_go() {
        let more = Scenario { clients: 50, messages: 400, ..extreme() };
        let few = planned(&extreme(), 7);
        let of_few: Vec<_> =
            planned(&more, 7).into_iter().filter(|fault| fault.client < 25 && fault.message < 100).collect();
        assert_eq!(few, of_few);
    }

    #[test]
    fn the_rate_is_kept_and_every_kind_is_drawn() {
        let scenario = Scenario { clients: 100, messages: 1000, ..extreme() };
        let planned = planned(&scenario, 3);
        let share = planned.len() as f64 / 100_000.0;
        assert!((share - 0.25).abs() < 0.01, "{share}");
        for kind in FaultKind::ALL {
            let share =
                planned.iter().filter(|fault| fault.kind == kind).count() as f64 / planned.len() as f64;
            assert!((share - 0.1).abs() < 0.02, "{kind:?} {share}");
        }
        let none = Faults { rate: 0.0, ..Faults::default() };
        assert!((0..1000).all(|message| draw(&none, 1, 0, message).is_none()));
        let always = Faults { rate: 1.0, kinds: vec![FaultKind::Delay], ..Faults::default() };
        let all_delayed =
            |message| draw(&always, 1, 0, message).is_some_and(|fault| fault.kind == FaultKind::Delay);
        assert!((0..1000).all(all_delayed));
    }

    #[test]
    fn the_server_is_disturbed_while_events_are_published_one_thing_after_the_other() {
        let spread = Duration::from_secs(40);
        for seed in 0..100 {
            let faults = Faults { kills: 3, pauses: 1, pause_ms: 1000, restarts: 2, ..Faults::default() };
            let disturbed = disturbances(&faults, spread, seed);
            assert_eq!(disturbed.len(), 6);
            assert!(disturbed.is_sorted_by(|a, b| a.0 < b.0));
            assert!(disturbed[0].0 >= spread / 10 && disturbed[5].0 <= spread * 9 / 10);
            assert_eq!(disturbed.iter().filter(|(_, what)| *what == Disturbance::Kill).count(), 3);
            let written = Faults { moments: Some(moments(&disturbed)), pause_ms: 1000, ..Faults::default() };
            assert_eq!(moments(&disturbances(&written, spread, 0)), moments(&disturbed));
        }
        assert!(disturbances(&Faults::default(), spread, 1).is_empty());
    }

    #[test]
    fn what_happened_is_counted_beside_what_was_planned() {
        let planned = planned(&extreme(), 7);
        let counts =
            counted(&planned, &[(Duration::ZERO, Disturbance::Kill)], ["delay", "delay"].into_iter());
        let of = |kind: &str| counts.iter().find(|count| count.kind == kind).unwrap();
        assert_eq!((of("server_killed").planned, of("server_killed").happened), (1, 0));
        assert_eq!(of("delay").happened, 2);
        assert_eq!(counts.iter().map(|count| count.planned).sum::<u64>(), planned.len() as u64 + 1);
    }
}
