//! Every target's corpus, and random inputs from one seed: the same in every run, and as many as take about two seconds.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use agentbench_fuzz_targets::runner::{Limit, read_corpus, run};
use agentbench_fuzz_targets::targets;

const SEED: u64 = 1;

fn holds(name: &str) {
    let target = targets::named_target(name).expect("the table has it");
    let corpus = read_corpus(name).expect("it has a corpus: cargo xtask fuzz --write-corpus");
    assert!(!corpus.is_empty(), "{name} has no corpus");
    let Err(failure) = run(&target, &corpus, SEED, Limit::Inputs(target.quick)) else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    let path = failure.write(&folder).expect("the failing input is kept");
    panic!("{failure}\n  this input alone: cargo xtask fuzz {name} --input {}", path.display());
}

/// One test for each target, so that they run side by side.
macro_rules! targets {
    ($($(#[$when:meta])? $name:ident,)*) => {
        $(
            $(#[$when])?
            #[test]
            fn $name() {
                holds(stringify!($name));
            }
        )*

        const TESTED: &[&str] = &[$($(#[$when])? stringify!($name),)*];
    };
}

targets! {
    archive_file,
    audit_log,
    client_frame,
    client_machine,
    history_file,
    http_answer,
    http_request,
    json_to_msgpack,
    log_frame,
    log_recovery,
    msgpack_to_json,
    report_file,
    #[cfg(feature = "server")]
    server_heads,
    websocket_decoder,
    websocket_round_trip,
}

#[test]
fn every_target_has_a_test_and_a_file_for_libfuzzer() {
    let all: BTreeSet<_> = targets::all().iter().map(|target| target.name).collect();
    assert_eq!(all, TESTED.iter().copied().collect());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("fuzz/ is a package");
    for name in all {
        assert!(folder.join(format!("fuzz_targets/{name}.rs")).is_file(), "{name} has no file");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
    }
}
