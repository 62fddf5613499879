//! The JSON that the API returns.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::{FaultStatus, LinkInfo, Proxy, Strike};

pub(super) fn proxy(name: &str, proxy: &Proxy) -> Value {
    json!({
        "name": name,
        "listen": proxy.address(),
        "upstream": proxy.upstream(),
        "enabled": proxy.is_enabled(),
        "links": proxy.links().len(),
        "faults": proxy.faults().iter().map(fault).collect::<Vec<_>>(),
    })
}

pub(super) fn fault(status: &FaultStatus) -> Value {
    let fault = &status.fault;
    json!({
        "id": status.id,
        "name": fault.name,
        "direction": fault.direction,
        "when": fault.when,
        "effect": fault.effect,
        "strikes": status.strikes,
    })
}

pub(super) fn link(link: &LinkInfo) -> Value {
    json!({
        "id": link.id,
        "since": unix_ms(link.since),
        "client": link.client,
        "upstream": link.upstream,
        "bytes_up": link.bytes_up,
        "bytes_down": link.bytes_down,
        "messages_up": link.messages_up,
        "messages_down": link.messages_down,
        "state": link.state,
    })
}

pub(super) fn strike(strike: &Strike) -> Value {
    json!({
        "at": unix_ms(strike.at),
        "link": strike.link,
        "direction": strike.direction,
        "kind": strike.kind,
        "fault": strike.fault,
        "name": strike.name,
        "contains": strike.contains,
        "message": strike.message,
    })
}

/// Milliseconds since 1970, as precise as the two clocks agree.
fn unix_ms(at: Instant) -> u64 {
    let then = SystemTime::now().checked_sub(Instant::now().saturating_duration_since(at));
    let since = then.and_then(|then| then.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
