//! Reads the envelope of a 1 KiB event so many times: for counting instructions (`cargo xtask bench --instructions`).

use std::hint::black_box;

use agentbench_protocol::envelope::read_frame;
use agentbench_protocol::outline;

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse::<u32>().ok()).unwrap_or(1);
    let text = "x".repeat(980);
    let event = format!(
        r#"{{"id":"e-000001","type":"test_event","timestamp":1760000000000,"sessionId":"c2fdc154-441a-8acf-97a2-11b369fe5426","data":{{"eventType":"console_log","text":"{text}"}},"metadata":{{"requiresAck":true}}}}"#
    );
    for _ in 0..count {
        let read = read_frame(black_box(&event), |envelope| {
            let envelope = envelope.expect("it is whole");
            drop(black_box(outline(envelope.data)));
            black_box(envelope.metadata.requires_ack);
        });
        read.expect("it is a frame");
    }
}
