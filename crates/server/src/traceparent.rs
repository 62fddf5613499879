//! The trace context of an event: `metadata.traceparent` (W3C Trace Context §3.2), validated when the event was admitted.

use serde::Deserialize;

/// Bit of the flags that says that the caller records this trace.
const SAMPLED: u8 = 1;
/// Searched for in an envelope before it is parsed: without it there is no trace context.
const KEY: &[u8] = b"\"traceparent\"";

/// The caller's span, and whether the caller records its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceParent {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    pub(crate) is_sampled: bool,
}

#[derive(Deserialize)]
struct EnvelopeFields {
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    traceparent: Option<String>,
}

impl TraceParent {
    /// The trace context of an event in its delivered form, if it has one.
    pub(crate) fn of_event(body: &[u8]) -> Option<Self> {
        if !body.windows(KEY.len()).any(|window| window == KEY) {
            return None;
        }
        let outside: EnvelopeFields = serde_json::from_slice(body).ok()?;
        Self::parse(&outside.metadata?.traceparent?)
    }

    /// `00-<trace>-<span>-<flags>`, lower-case hexadecimal digits.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version != "00" || parts.next().is_some() {
            return None;
        }
        let (trace, span, flags) = (bytes::<16>(trace)?, bytes::<8>(span)?, bytes::<1>(flags)?);
        let is_real = trace != [0; 16] && span != [0; 8];
        is_real.then_some(Self { trace, span, is_sampled: flags[0] & SAMPLED != 0 })
    }
}

fn bytes<const COUNT: usize>(hex: &str) -> Option<[u8; COUNT]> {
    let digits = hex.as_bytes();
    if digits.len() != COUNT * 2 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut read = [0; COUNT];
    for (byte, pair) in read.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_parent_is_read_with_its_flag_and_nothing_else() {
        let parent = TraceParent::parse(GOOD).unwrap();
        assert_eq!((parent.trace[0], parent.trace[15], parent.span[7]), (0x0a, 0x9c, 0x31));
        for (flags, is_sampled) in [("-00", false), ("-01", true), ("-02", false), ("-03", true)] {
            let parent = TraceParent::parse(&GOOD.replace("-01", flags));
            assert_eq!(parent.map(|parent| parent.is_sampled), Some(is_sampled), "{flags}");
        }
        for wrong in [
            GOOD.replacen("00-", "ff-", 1),
            GOOD.to_uppercase(),
            format!("{GOOD}-x"),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            GOOD[..40].to_owned(),
            String::new(),
            "äöü-".repeat(9),
        ] {
            assert_eq!(TraceParent::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn it_is_looked_for_in_metadata_alone() {
        let event = |metadata: &str, data: &str| {
            format!(r#"{{"id":"e","type":"test_event","data":{data},"metadata":{metadata}}}"#)
        };
        let named = format!(r#"{{"traceparent":"{GOOD}"}}"#);
        assert!(TraceParent::of_event(event(&named, "{}").as_bytes()).is_some());
        assert!(TraceParent::of_event(event("{}", &named).as_bytes()).is_none());
        assert!(TraceParent::of_event(event(r#"{"traceparent":5}"#, "{}").as_bytes()).is_none());
        assert!(TraceParent::of_event(b"\"traceparent\" and no JSON").is_none());
        assert!(TraceParent::of_event(b"{}").is_none());
    }
}
