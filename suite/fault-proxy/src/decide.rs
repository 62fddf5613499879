//! Whether a fault strikes: a pure function of the fault, the seed and the state of the traffic.
//!
//! Chance is a hash, not a shared generator, so that an earlier or later message cannot change another one's draw.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::fault::{Direction, Fault, Way};

/// The purpose of a draw; keeps draws for different purposes independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Whether a message is hit.
    Message = 1,
    /// Whether a link is hit.
    Link = 2,
    /// The position, amount or bit.
    Detail = 3,
}

/// The coordinates of a draw. The same spot gives the same number, in every run and on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) seed: u64,
    pub(crate) fault: u64,
    pub(crate) link: u64,
    pub(crate) direction: Direction,
    pub(crate) ordinal: u64,
}

/// The number drawn at a spot.
pub(crate) fn draw(spot: Spot, purpose: Purpose) -> u64 {
    let words = [spot.seed, spot.fault, spot.link, spot.direction as u64, spot.ordinal, purpose as u64]
        .map(u64::to_le_bytes);
    xxh3_64(words.as_flattened())
}

/// Whether something with this probability happens at a spot.
fn happens(probability: f64, spot: Spot, purpose: Purpose) -> bool {
    // A double holds exactly 53 bits; the largest value is still below 1.
    let unit = (draw(spot, purpose) >> 11) as f64 / (1u64 << 53) as f64;
    unit < probability
}

/// The traffic that a decision is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// A piece of the HTTP heads that may open a WebSocket.
    Head,
    /// Bytes of a link that is not a WebSocket.
    Bytes,
    /// A whole message.
    Message,
}

/// The state of the traffic when something passes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) seed: u64,
    pub(crate) link: u64,
    pub(crate) way: Way,
    pub(crate) traffic: Traffic,
    /// Number of earlier messages in this direction.
    pub(crate) messages: u64,
    /// Number of earlier bytes in this direction.
    pub(crate) bytes: u64,
    /// Of the link.
    pub(crate) age: Duration,
}

impl Moment {
    /// The spot of this moment's draws for a fault.
    pub(crate) fn spot(&self, fault: u64) -> Spot {
        Spot { seed: self.seed, fault, link: self.link, direction: self.way.into(), ordinal: self.messages }
    }
}

/// Whether a fault strikes the traffic, apart from its content and the number of strikes so far.
pub(crate) fn strikes(id: u64, fault: &Fault, moment: &Moment) -> bool {
    let when = &fault.when;
    fault.direction.covers(moment.way)
        && fits(fault, moment.traffic)
        && when.after_ms.is_none_or(|ms| moment.age >= Duration::from_millis(ms))
        && when.after_messages.is_none_or(|messages| moment.messages >= messages)
        && when.after_bytes.is_none_or(|bytes| moment.bytes >= bytes)
        && when.probability.is_none_or(|probability| is_drawn(id, fault, probability, moment))
}

/// Whether a lasting fault that needs no traffic starts on a link.
pub(crate) fn begins(id: u64, fault: &Fault, seed: u64, link: u64) -> bool {
    fault.when.probability.is_none_or(|probability| {
        let spot = Spot { seed, fault: id, link, direction: fault.direction, ordinal: 0 };
        happens(probability, spot, Purpose::Link)
    })
}

fn is_drawn(id: u64, fault: &Fault, probability: f64, moment: &Moment) -> bool {
    let per_link =
        moment.traffic != Traffic::Message || (fault.effect.is_lasting() && fault.when.contains.is_none());
    if per_link {
        return begins(id, fault, moment.seed, moment.link);
    }
    happens(probability, moment.spot(id), Purpose::Message)
}

fn fits(fault: &Fault, traffic: Traffic) -> bool {
    match traffic {
        Traffic::Message => true,
        Traffic::Bytes => !fault.effect.needs_messages(),
        // Chance and content apply after the heads: otherwise they would hit the handshake far too often.
        Traffic::Head => {
            !fault.effect.needs_messages()
                && fault.when.contains.is_none()
                && fault.when.probability.is_none()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Effect, When};

    fn chance(probability: f64) -> Fault {
        Fault { when: When { probability: Some(probability), ..When::default() }, ..Fault::new(Effect::Drop) }
    }

    fn moment(seed: u64, link: u64, messages: u64) -> Moment {
        Moment {
            seed,
            link,
            way: Way::Up,
            traffic: Traffic::Message,
            messages,
            bytes: 0,
            age: Duration::ZERO,
        }
    }

    proptest! {
        #[test]
        fn the_same_spot_gives_the_same_decision_whatever_the_age(seed: u64, link: u64, messages: u64, age: u32, p in 0.0..=1.0) {
            let early = moment(seed, link, messages);
            let late = Moment { age: Duration::from_millis(age.into()), bytes: age.into(), ..early };
            prop_assert_eq!(strikes(3, &chance(p), &early), strikes(3, &chance(p), &late));
        }

        #[test]
        fn a_greater_chance_strikes_wherever_a_smaller_one_does(seed: u64, link: u64, messages: u64, p in 0.0..=1.0, q in 0.0..=1.0) {
            let moment = moment(seed, link, messages);
            let (low, high) = if p < q { (p, q) } else { (q, p) };
            prop_assert!(!strikes(3, &chance(low), &moment) || strikes(3, &chance(high), &moment));
        }

        #[test]
        fn never_and_always_are_meant(seed: u64, link: u64, messages: u64) {
            prop_assert!(!strikes(1, &chance(0.0), &moment(seed, link, messages)));
            prop_assert!(strikes(1, &chance(1.0), &moment(seed, link, messages)));
        }
    }

    /// Which of ten thousand messages a fault of a tenth strikes.
    fn struck(seed: u64, fault: u64, link: u64) -> Vec<u64> {
        (0..10_000).filter(|n| strikes(fault, &chance(0.1), &moment(seed, link, *n))).collect()
    }

    #[test]
    fn a_tenth_is_about_a_tenth_and_seeds_faults_and_links_differ() {
        let first = struck(1, 1, 1);
        assert!((850..1150).contains(&first.len()), "{}", first.len());
        for other in [struck(2, 1, 1), struck(1, 2, 1), struck(1, 1, 2)] {
            assert_ne!(first, other);
        }
        assert_eq!(first, struck(1, 1, 1));
    }

    #[test]
    fn heads_are_struck_only_without_chance_and_content() {
        let head = Moment { traffic: Traffic::Head, ..moment(1, 1, 0) };
        assert!(strikes(1, &Fault::new(Effect::Reset { forward: false }), &head));
        assert!(!strikes(1, &Fault::new(Effect::Drop), &head));
        assert!(!strikes(1, &Fault { effect: Effect::Reset { forward: false }, ..chance(1.0) }, &head));
    }
}
