//! Penalties for refused tokens: above a rate, further refusals of an address are delayed. Only refusals are delayed, so a
//! valid token from the same address is served as usual.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::addresses::Addresses;

/// Delay of a refusal: long enough to slow a tight loop, well below the timeouts of clients.
const PENALTY: Duration = Duration::from_secs(1);
/// Maximum number of delayed refusals. Each holds a socket; beyond this they are sent at once.
const MAX_WAITING: usize = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Penalties {
    waiting: AtomicUsize,
}

impl Penalties {
    /// Counts a refused token of the address, and delays if it had too many (`FAILED_TOKEN_RATE`).
    pub(crate) async fn wait(&self, addresses: &Addresses, address: IpAddr, now: u64) {
        if let Some(_place) = self.due(addresses, address, now) {
            tokio::time::sleep(PENALTY).await;
        }
    }

    /// A place among the delayed refusals, if this one has to be delayed and a place is free.
    fn due(&self, addresses: &Addresses, address: IpAddr, now: u64) -> Option<WaitPlace<'_>> {
        addresses.take_failure(address, now).err().and_then(|_| WaitPlace::take(&self.waiting))
    }
}

/// One of [`MAX_WAITING`] places, released when the delay ends or is cancelled.
struct WaitPlace<'a>(&'a AtomicUsize);

impl<'a> WaitPlace<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let take = |count| (count < MAX_WAITING).then_some(count + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok().map(|_| Self(waiting))
    }
}

impl Drop for WaitPlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn refusals_beyond_the_rate_of_their_address_wait() {
        let (penalties, addresses) = (Penalties::default(), Addresses::new(0, 0, 1));
        let waits = |address, now| penalties.due(&addresses, address, now).is_some();
        assert_eq!(
            [0, 0, 0, 999, 1_000, 1_001].map(|now| waits(ADDRESS, now)),
            [false, false, true, true, false, true]
        );
        assert!(!waits([192, 0, 2, 1].into(), 0), "another address");
        let unlimited = Addresses::new(0, 0, 0);
        assert!((0..100).all(|_| penalties.due(&unlimited, ADDRESS, 0).is_none()));
    }

    #[test]
    fn so_many_wait_and_no_more_and_places_come_back() {
        let waiting = AtomicUsize::new(0);
        let places: Vec<_> = std::iter::from_fn(|| WaitPlace::take(&waiting)).collect();
        assert_eq!(places.len(), MAX_WAITING);
        drop(places);
        assert!(WaitPlace::take(&waiting).is_some());
    }
}
