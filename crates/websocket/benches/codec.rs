//! What framing, masking and compression cost, per message. `cargo bench -p agentbench-websocket`.

use std::hint::black_box;

use agentbench_websocket::{
    Decoder, DeflatePolicy, Deflater, Inflater, Input, Limits, Opcode, Role, apply_mask, encode_deflated,
    encode_frame, negotiate,
};
use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// JSON of about `size` bytes, like an event's.
fn event(size: usize) -> Vec<u8> {
    let mut json = String::from(r#"{"id":"0190a7c2","type":"test_event","data":{"steps":["#);
    let mut n = 1_u32;
    while json.len() < size {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        json.push_str(&format!(r##"{{"action":"click","selector":"#row-{}","ms":{}}},"##, n >> 20, n % 900));
    }
    json.truncate(size);
    json.into_bytes()
}

/// A read buffer full of frames, as a busy socket gives it.
fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for (opcode, name) in [(Opcode::Text, "text"), (Opcode::Binary, "binary")] {
        for size in [128, 1024, 64 * 1024] {
            let count = (64 * 1024 / size).max(1);
            let mut wire = BytesMut::new();
            for _ in 0..count {
                encode_frame(&mut wire, opcode, false, &event(size), Some(MASK));
            }
            let mut decoder = Decoder::new(Role::Server, Limits::default(), None);
            let mut inflater = Inflater::new();
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(format!("{name} {size} B masked"), |b| {
                b.iter_batched_ref(
                    || wire.clone(),
                    |wire| {
                        let mut input = Input::new(wire);
                        while let Some(message) = decoder.next(&mut input, &mut inflater).expect("sound") {
                            black_box(message);
                        }
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

/// The same frames, of which the read buffer's end cuts one.
fn decode_cut(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode cut in two");
    for size in [1024, 64 * 1024] {
        let mut wire = BytesMut::new();
        encode_frame(&mut wire, Opcode::Text, false, &event(size), Some(MASK));
        let mut decoder = Decoder::new(Role::Server, Limits::default(), None);
        let mut inflater = Inflater::new();
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("text {size} B masked"), |b| {
            b.iter_batched_ref(
                || wire.clone(),
                |wire| {
                    let half = wire.len() / 2;
                    for piece in wire.chunks_mut(half + 1) {
                        let mut input = Input::new(piece);
                        while let Some(message) = decoder.next(&mut input, &mut inflater).expect("sound") {
                            black_box(message);
                        }
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn mask(c: &mut Criterion) {
    let mut group = c.benchmark_group("mask");
    for (size, offset) in [(128, 0), (1024, 3), (64 * 1024, 3)] {
        let mut bytes = vec![0x5a; size + offset];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} B at offset {offset}"), |b| {
            b.iter(|| apply_mask(black_box(&mut bytes[offset..]), black_box(MASK)));
        });
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    let payload = event(1024);
    let mut wire = BytesMut::with_capacity(2048);
    for (name, mask) in [("plain", None), ("masked", Some(MASK))] {
        c.bench_function(&format!("encode 1024 B {name}"), |b| {
            b.iter(|| {
                wire.clear();
                encode_frame(&mut wire, Opcode::Text, false, black_box(&payload), mask);
            });
        });
    }
}

fn compression(c: &mut Criterion) {
    let agreed = negotiate("permessage-deflate", &DeflatePolicy::default()).expect("a sound offer");
    let mut group = c.benchmark_group("compression");
    for size in [1024, 8 * 1024] {
        let payload = event(size);
        let mut deflater = Deflater::new(3);
        let mut wire = BytesMut::new();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("deflate {size} B at level 3"), |b| {
            b.iter(|| {
                wire.clear();
                encode_deflated(&mut wire, Opcode::Text, black_box(&payload), &mut deflater, 15, None);
            });
        });

        let mut decoder = Decoder::new(Role::Client, Limits::default(), Some(&agreed));
        let mut inflater = Inflater::new();
        group.bench_function(format!("inflate {size} B from {} B", wire.len()), |b| {
            b.iter(|| {
                let mut input = Input::new(&mut wire);
                black_box(decoder.next(&mut input, &mut inflater).expect("sound"));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode, decode_cut, mask, encode, compression);
criterion_main!(benches);
