//! The judge is judged: good histories pass, and every way to damage one is found by its name.

mod damage;
mod good;

use agentbench_history::{Kind, check};
use proptest::prelude::*;

use damage::DAMAGES;
use good::{Dice, Shape, good};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_good_history_passes(seed: u64, final_read: bool) {
        let history = good(seed, &Shape { final_read, ..Shape::default() });
        let verdict = check(&history);
        prop_assert!(verdict.is_clean(), "{:#?}", verdict.findings);
        prop_assert!(verdict.summary.stored > 0 && verdict.summary.delivered > 0);
    }

    #[test]
    fn every_damage_is_found_by_its_name(seed: u64) {
        for damage in DAMAGES {
            let mut history = good(seed, &Shape { final_read: damage.final_read, ..Shape::default() });
            let applied = (damage.apply)(&mut history, &mut Dice::new(seed ^ 0x5eed));
            prop_assert!(applied, "{}: nothing to damage", damage.name);
            let verdict = check(&history);
            prop_assert!(verdict.count(damage.kind) > 0, "{}: {:#?}", damage.name, verdict.findings);
            let named = verdict.findings.iter().find(|finding| finding.kind == damage.kind);
            prop_assert!(named.is_some_and(|finding| !finding.client.is_empty()));
        }
    }
}

#[test]
fn every_kind_has_a_saboteur() {
    for kind in Kind::ALL {
        assert!(DAMAGES.iter().any(|damage| damage.kind == kind), "nothing provokes {kind:?}");
    }
}

/// A million operations are judged in seconds; the figure is printed, not asserted beyond what any machine
/// can do.
#[test]
fn a_million_operations_take_seconds() {
    let shape = Shape { sessions: 100, producers: 2, followers: 1, messages: 1500, final_read: true };
    let history = good(1, &shape);
    let records: usize = history.iter().map(|client| client.records.len()).sum();
    let started = std::time::Instant::now();
    let verdict = check(&history);
    let took = started.elapsed();
    println!("{records} records judged in {took:.2?}");
    assert!(verdict.is_clean(), "{:#?}", verdict.findings.first());
    assert!(records > 1_000_000, "{records}");
    assert!(took.as_secs() < 60, "{took:?}");
}
