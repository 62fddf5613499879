//! The scenarios by name. Each is data; what they mean is in the runners.

use std::time::Duration;

/// Clients that publish at a planned pace and are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Performance {
    /// Its name.
    pub name: String,
    /// Clients, each with a session of its own and a follower on a second connection.
    pub clients: u32,
    /// Events that each publishes.
    pub messages: u32,
    /// Bytes of an event's `data`.
    pub payload: usize,
    /// Time over which the events are spread.
    pub spread: Duration,
    /// Time after which the run ends, whatever has come of it.
    pub limit: Duration,
}

/// What the user wants otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Other number of clients.
    pub clients: Option<u32>,
    /// Other number of messages each.
    pub messages: Option<u32>,
    /// Other time limit; the events are spread over the same share of it.
    pub limit: Option<Duration>,
    /// A tenth of the messages in a tenth of the time.
    pub quick: bool,
}

/// The share of the time limit over which the events are spread: what is left is for servers that fall
/// behind.
const SPREAD: u32 = 3;
/// What `quick` divides by.
const QUICK: u32 = 10;

/// The scenarios of this kind: small, medium, high, stress, latency.
pub fn performance() -> Vec<Performance> {
    let scenario = |name: &str, clients, messages, payload, seconds| {
        let limit = Duration::from_secs(seconds);
        Performance { name: name.to_owned(), clients, messages, payload, spread: limit / SPREAD, limit }
    };
    vec![
        scenario("Small Load Test", 10, 100, 1024, 30),
        scenario("Medium Load Test", 50, 200, 2 * 1024, 60),
        scenario("High Load Test", 100, 500, 4 * 1024, 120),
        scenario("Stress Test", 200, 1000, 8 * 1024, 180),
        scenario("Latency Test", 20, 1000, 128, 30),
    ]
}

impl Performance {
    /// The same, as the user wants it.
    #[must_use]
    pub fn with(mut self, overrides: Overrides) -> Self {
        self.clients = overrides.clients.unwrap_or(self.clients).max(1);
        self.messages = overrides.messages.unwrap_or(self.messages).max(1);
        if let Some(limit) = overrides.limit {
            (self.limit, self.spread) = (limit, limit / SPREAD);
        }
        if overrides.quick {
            self.messages = (self.messages / QUICK).max(1);
            self.spread /= QUICK;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_is_a_tenth_of_the_work_at_the_same_pace() {
        let whole = performance().remove(1);
        let quick = whole.clone().with(Overrides { quick: true, ..Overrides::default() });
        assert_eq!((quick.clients, quick.messages), (50, 20));
        assert_eq!(quick.spread * 10, whole.spread);
        assert_eq!(quick.limit, whole.limit);
    }

    #[test]
    fn overrides_replace_and_never_make_nothing() {
        let overrides = Overrides {
            clients: Some(0),
            messages: Some(7),
            limit: Some(Duration::from_secs(6)),
            quick: true,
        };
        let scenario = performance().remove(0).with(overrides);
        assert_eq!((scenario.clients, scenario.messages), (1, 1));
        assert_eq!((scenario.limit, scenario.spread), (Duration::from_secs(6), Duration::from_millis(200)));
    }
}
