//! JSON to MessagePack and back, and the other way round.

use agentbench_protocol::json::Scanner;
use agentbench_protocol::msgpack::{from_json, intake, to_json};
use bytes::BytesMut;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::Seed;

/// Most bytes of JSON that one message becomes here.
const LIMIT: usize = 4096;

/// Any bytes as JSON.
///
/// Holds if our scanner takes exactly what serde_json takes, a refused text leaves nothing behind, a taken one becomes MessagePack
/// whose JSON has the same content, and that JSON becomes the same MessagePack again.
pub fn json_to_msgpack(input: &[u8]) {
    let mut packed = BytesMut::from(&b"before"[..]);
    let taken = from_json(input, &mut packed);
    let reference =
        std::str::from_utf8(input).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    assert_eq!(taken.is_ok(), reference, "ours and serde_json differ: {taken:?}");
    if taken.is_err() {
        assert_eq!(&packed[..], b"before", "a refused text leaves something behind");
        return;
    }
    let packed = packed.split_off(b"before".len());
    let back = json_of(&packed);
    assert_eq!(packed_of(&back), packed, "once more it becomes the same");
    // A parser that builds values takes less: no lone surrogates, no numbers beyond floats, no deep nests.
    if let Ok(value) = serde_json::from_slice::<Value>(input) {
        let again = serde_json::from_slice::<Value>(&back).expect("what a strict parser takes stays strict");
        assert_eq!(again, value, "the content has changed");
    }
}

/// Any bytes as a client's MessagePack.
///
/// Holds if what is taken becomes JSON within the limit, every flaw stands behind what replaces it, a text without flaws becomes
/// MessagePack that becomes the same text again, and a flawed message is flawed behind any number of others, too.
pub fn msgpack_to_json(input: &[u8]) {
    let mut json = BytesMut::from(&b"before"[..]);
    let taken = intake(input, &mut json, LIMIT);
    assert!(json.starts_with(b"before"), "what stood there before is gone");
    let json = json.split_off(b"before".len());
    // The last value may be as long as what arrived: six bytes of JSON for each.
    assert!(json.len() <= LIMIT + 6 * input.len() + 32, "{} bytes from {}", json.len(), input.len());
    let Ok(flaws) = taken else { return };
    let text = std::str::from_utf8(&json).expect("JSON is UTF-8");
    let mut scanner = Scanner::new(text);
    let read = scanner.value().and_then(|_| scanner.end());
    assert_eq!(read, Ok(()), "what comes out is one JSON value: {text}");
    assert!(serde_json::from_str::<IgnoredAny>(text).is_ok(), "serde_json says no: {text}");
    assert!(flaws.is_sorted_by(|one, next| one.at < next.at), "flaws out of order: {flaws:?}");
    for flaw in &flaws {
        let before = &text[..flaw.at];
        assert!(before.ends_with("null") || before.ends_with("\"\""), "a flaw in the wrong place: {before}");
    }
    if flaws.is_empty() {
        assert_eq!(json_of(&packed_of(&json)), json, "there and back");
    } else {
        check_batch(input, json.len());
    }
}

/// An array that holds a flawed message, whose text has this length, many times.
fn check_batch(message: &[u8], length: usize) {
    /// Far more flaws than a frame may be given in all, and not too many bytes.
    const COUNT: u16 = 600;
    if message.len() > 128 {
        return;
    }
    let [high, low] = COUNT.to_be_bytes();
    let batch = [&[0xdc, high, low], &message.repeat(usize::from(COUNT))[..]].concat();
    // Refused as a whole, if there are too many.
    let Ok(flaws) = intake(&batch, &mut BytesMut::new(), usize::MAX) else { return };
    for place in 0..usize::from(COUNT) {
        let (begin, end) = (1 + place * (length + 1), (place + 1) * (length + 1));
        assert!(
            flaws.iter().any(|flaw| (begin..=end).contains(&flaw.at)),
            "message {place} is altered and not flawed"
        );
    }
}

fn packed_of(json: &[u8]) -> BytesMut {
    let mut packed = BytesMut::new();
    from_json(json, &mut packed).expect("our own JSON has a form in MessagePack");
    packed
}

fn json_of(packed: &[u8]) -> BytesMut {
    let mut json = BytesMut::new();
    to_json(packed, &mut json).expect("our own MessagePack has a form in JSON");
    json
}

const TEXTS: [(&str, &str); 6] = [
    (
        "event",
        r#"{"id":"e-1","type":"test_event","timestamp":1760000000000,"data":{"eventType":"progress","percent":5e1}}"#,
    ),
    ("escapes", r#"["\"\\\/\b\f\n\r\t","\u00e9\ud83d\ude00","é😀",""]"#),
    ("numbers", "[0,-0,1.5,-2e-7,127,128,-33,65536,9007199254740993,18446744073709551615,1e308]"),
    ("odd", r#"[1e999,"\ud83d",18446744073709551616,-9223372036854775809]"#),
    ("nested", r#" { "a" : [ [ [ ] , { } ] , null , true , false ] , "a" : 2 } "#),
    (
        "long",
        "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,\"j\":10,\"k\":11,\"l\":12,\"m\":13,\"n\":14,\"o\":15,\"p\":16}]",
    ),
];

/// Texts with every kind of value.
pub(crate) fn json_seeds() -> Vec<Seed> {
    super::named(TEXTS.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())))
}

/// The same in MessagePack, and what JSON does not have.
pub(crate) fn msgpack_seeds() -> Vec<Seed> {
    let packed = TEXTS.iter().map(|(name, text)| ((*name).to_owned(), packed_of(text.as_bytes()).to_vec()));
    let flaws =
        b"\x85\xa1a\xc4\x02xx\xa1b\xca\x7f\xc0\x00\x00\x07\x01\xa1c\xd5\x01ab\xa1d\xca\x7f\x80\x00\x00";
    super::named(packed.chain([("flaws".to_owned(), flaws.to_vec())]))
}
