//! The address of a server, parsed from its URL.

use agentbench_protocol::limits::DEFAULT_PORT;

use crate::Error;

/// Default port of `wss://` (RFC 6455 §3).
const TLS_PORT: u16 = 443;

/// The query parameter that names the producer.
const PRODUCER: &str = "producerId";

/// The query parameter that has events with warnings refused.
const STRICT: &str = "strict";

/// A server's address, in the parts that the driver and the handshake need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Name or IP address to connect to; an IPv6 address without its brackets.
    pub(crate) name: String,
    /// `wss://`: starts with a TLS session.
    pub(crate) encrypted: bool,
    /// Port to connect to.
    pub(crate) port: u16,
    /// Value of the `Host` header.
    pub(crate) host: String,
    /// Path and query.
    pub(crate) target: String,
}

impl Address {
    /// Parses `ws://host[:port][/path][?query]`, or the same with `wss://`, whose default port is 443.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let invalid = |detail: &str| Error::Invalid(format!("the server's URL {detail}"));
        let (encrypted, rest) = match url.split_once("://") {
            Some(("ws", rest)) => (false, rest),
            Some(("wss", rest)) => (true, rest),
            _ => return Err(invalid("must begin with ws:// or wss://")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(end);
        if host.contains('@') {
            return Err(invalid("must not contain a user name; use the token setting"));
        }
        let (name, port) = match host.strip_prefix('[') {
            Some(inner) => inner.split_once(']').ok_or_else(|| invalid("has a [ without a ]"))?,
            None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => digits.parse().map_err(|_| invalid("has an invalid port"))?,
            None if port.is_empty() && encrypted => TLS_PORT,
            None if port.is_empty() => DEFAULT_PORT,
            None => return Err(invalid("has text after the host that is not a port")),
        };
        let target = target.split('#').next().unwrap_or_default();
        if name.is_empty() {
            return Err(invalid("has no host"));
        }
        if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(invalid("contains white space"));
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Self { name: name.to_owned(), encrypted, port, host: host.to_owned(), target })
    }
}

/// Adds the producer's name to the target's query, percent-encoded, since a header cannot carry every character, and `strict=1` if
/// `strict`. Replaces what the URL says of them.
pub(crate) fn with_query(target: &str, producer: &str, strict: bool) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut whole = format!("{path}?");
    let is_other = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        !pair.is_empty() && name != PRODUCER && !(strict && name == STRICT)
    };
    for pair in query.split('&').filter(is_other) {
        whole.push_str(pair);
        whole.push('&');
    }
    if strict {
        whole.push_str(STRICT);
        whole.push_str("=1&");
    }
    whole.push_str(PRODUCER);
    whole.push('=');
    for byte in producer.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => whole.push(byte.into()),
            _ => whole.push_str(&format!("%{byte:02X}")),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producers_name_in_any_script_goes_into_the_query() {
        for (target, producer, whole) in [
            ("/", "ci-1", "/?producerId=ci-1"),
            ("/ws?", "ci-1", "/ws?producerId=ci-1"),
            ("/ws?a=b", "M\u{fc}ller", "/ws?a=b&producerId=M%C3%BCller"),
            ("/?producerId=x&a=b&producerIds=y", "\u{6771}", "/?a=b&producerIds=y&producerId=%E6%9D%B1"),
            ("/", "a&b=c+d%#?~_.", "/?producerId=a%26b%3Dc%2Bd%25%23%3F~_."),
        ] {
            assert_eq!(with_query(target, producer, false), whole);
        }
    }

    #[test]
    fn strict_goes_into_the_query_and_replaces_that_of_the_url() {
        for (target, strict, whole) in [
            ("/ws", true, "/ws?strict=1&producerId=p"),
            ("/ws?strict=0&a=b&stricter=1", true, "/ws?a=b&stricter=1&strict=1&producerId=p"),
            ("/ws?strict=1", false, "/ws?strict=1&producerId=p"),
        ] {
            assert_eq!(with_query(target, "p", strict), whole);
        }
    }

    #[test]
    fn urls_and_their_parts() {
        let cases = [
            ("ws://localhost", "localhost", 3001, "localhost", "/"),
            ("ws://127.0.0.1:80/ws", "127.0.0.1", 80, "127.0.0.1:80", "/ws"),
            ("ws://[::1]:9/?a=b#c", "::1", 9, "[::1]:9", "/?a=b"),
            ("ws://host?a=b", "host", 3001, "host", "/?a=b"),
        ];
        for (url, name, port, host, target) in cases {
            let expected = Address {
                name: name.into(),
                encrypted: false,
                port,
                host: host.into(),
                target: target.into(),
            };
            assert_eq!(Address::parse(url).unwrap(), expected, "{url}");
        }
        let secure = Address::parse("wss://host/ws").unwrap();
        assert!(secure.encrypted && secure.port == 443 && secure.host == "host");
        assert_eq!(Address::parse("wss://host:3001").unwrap().port, 3001);
        for bad in
            ["", "http://x", "wss://", "ws://", "ws://:1", "ws://x:y", "ws://[::1", "ws://u@h", "ws://a b"]
        {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
