//! Reading an envelope's outside, and translating MessagePack, by size of the content.

use agentbench_protocol::envelope::read_frame;
use agentbench_protocol::{msgpack, outline};
use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn event(size: usize) -> String {
    let text = "All work and no play makes a dull log. ".repeat(size / 39 + 1);
    format!(
        r#"{{"id":"e-000001","type":"test_event","timestamp":1760000000000,"sessionId":"c2fdc154-441a-8acf-97a2-11b369fe5426","data":{{"eventType":"console_log","text":"{}"}},"metadata":{{"requiresAck":true}}}}"#,
        &text[..size]
    )
}

fn read_data(text: &str) -> String {
    let mut data = String::new();
    let found = read_frame(text, |envelope| data.push_str(envelope.expect("it is whole").data));
    found.expect("it is a frame");
    data
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("envelope");
    for size in [128, 1024, 64 * 1024] {
        let text = event(size);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::new("read", size), &text, |bencher, text| {
            bencher.iter(|| read_frame(text, |envelope| drop(std::hint::black_box(envelope))));
        });
        let data = read_data(&text);
        group.bench_with_input(BenchmarkId::new("outline", size), &data, |bencher, data| {
            bencher.iter(|| outline(std::hint::black_box(data)));
        });
        // With an escape the top level has to be read.
        let escaped = data.replacen("All", "\\u0041ll", 1);
        group.bench_with_input(BenchmarkId::new("outline, read", size), &escaped, |bencher, data| {
            bencher.iter(|| outline(std::hint::black_box(data)));
        });
        group.bench_with_input(BenchmarkId::new("serde_json skips", size), &text, |bencher, text| {
            bencher.iter(|| {
                serde_json::from_str::<&serde_json::value::RawValue>(text).map(|raw| raw.get().len())
            });
        });
        group.bench_with_input(BenchmarkId::new("to MessagePack", size), &text, |bencher, text| {
            let mut dst = BytesMut::new();
            bencher.iter(|| {
                dst.clear();
                msgpack::from_json(text.as_bytes(), &mut dst)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, read);
criterion_main!(benches);
