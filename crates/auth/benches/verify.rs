//! What it costs to check a token, by algorithm, and to turn away what is none.

use std::hint::black_box;

use agentbench_auth::{Algorithm, Claims, KeyRing, Role, SigningKey, sign};
use criterion::{Criterion, criterion_group, criterion_main};

const NOW: u64 = 1_760_000_000;
const SECRET: &str = "the secret of the benchmark, 8f1d0c7ab2e9";

fn public_key(algorithm: Algorithm) -> (SigningKey, KeyRing) {
    let (private, public) = match algorithm {
        Algorithm::Rs256 => {
            (include_str!("../tests/keys/rsa.private.pem"), include_str!("../tests/keys/rsa.public.pem"))
        }
        Algorithm::Es256 => {
            (include_str!("../tests/keys/p256.private.pem"), include_str!("../tests/keys/p256.public.pem"))
        }
        _ => (
            include_str!("../tests/keys/ed25519.private.pem"),
            include_str!("../tests/keys/ed25519.public.pem"),
        ),
    };
    let keys = serde_json::json!({"keys": [{"alg": algorithm.as_str(), "publicKeyPem": public}]});
    let key = SigningKey::from_private_pem(algorithm, private).expect("a test key");
    (key, KeyRing::from_json(&keys.to_string()).expect("a test key"))
}

fn secret_key(algorithm: Algorithm) -> (SigningKey, KeyRing) {
    let keys = serde_json::json!({"keys": [{"alg": algorithm.as_str(), "secret": SECRET}]});
    let key = SigningKey::from_secret(algorithm, SECRET.as_bytes()).expect("a secret");
    (key, KeyRing::from_json(&keys.to_string()).expect("a test key"))
}

fn claims() -> Claims {
    Claims {
        username: Some("Ada Lovelace".into()),
        project_id: Some("project-1".into()),
        permissions: vec!["run:automated_tests".into()],
        jti: Some("0b9e2c1c-7f0e-4f0c-9b55-0a4c0f6f3a11".into()),
        ..Claims::new("user-12345", Role::Evaluator, NOW - 60, NOW + 3_600)
    }
}

fn verify(c: &mut Criterion) {
    let mut group = c.benchmark_group("verify");
    for algorithm in Algorithm::ALL {
        let (key, ring) =
            if algorithm.is_symmetric() { secret_key(algorithm) } else { public_key(algorithm) };
        let token = sign(&claims(), &key).expect("a token");
        group.bench_function(algorithm.as_str(), |b| {
            b.iter(|| ring.verify(black_box(&token), NOW * 1_000).expect("a good token"));
        });
    }
    group.finish();
}

fn refuse(c: &mut Criterion) {
    let (key, _) = secret_key(Algorithm::Hs256);
    let token = sign(&claims(), &key).expect("a token");
    let other = KeyRing::from_secret(b"another secret");
    let mut group = c.benchmark_group("refuse");
    group.bench_function("HS256 of another key", |b| b.iter(|| other.verify(black_box(&token), NOW * 1_000)));
    let rubbish = "a".repeat(8_000);
    group.bench_function("8 kB of rubbish", |b| b.iter(|| other.verify(black_box(&rubbish), NOW * 1_000)));
    group.finish();
}

criterion_group!(benches, verify, refuse);
criterion_main!(benches);
