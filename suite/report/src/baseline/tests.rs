//! Comparisons of made-up runs with known differences.

use agentbench_history::Verdict;

use super::*;
use crate::sample::{Noise, sample};

/// One run of one performance scenario, with noise on each judged figure and its latencies times `slower`.
fn run(noise: &mut Noise, slower: f64, spread: f64) -> Report {
    let mut report = sample();
    report.scenarios.truncate(1);
    let result = &mut report.scenarios[0];
    let figures = &mut result.figures;
    let mut with_noise = |value: u64, factor: f64| noise.around(value as f64 * factor, spread) as u64;
    figures.delivery.corrected.p50 = with_noise(900_000, slower);
    figures.delivery.corrected.p99 = with_noise(2_000_000, slower);
    figures.ack.corrected.p99 = with_noise(1_500_000, 1.0);
    let server = figures.server.as_mut().unwrap();
    server.cpu_ms = with_noise(500_000, 1.0);
    server.peak_resident = with_noise(50_000_000, 1.0);
    figures.delivered_per_second = with_noise(1_000_000, 1.0) as f64;
    report
}

fn runs(noise: &mut Noise, count: usize, slower: f64, spread: f64) -> Vec<Report> {
    (0..count).map(|_| run(noise, slower, spread)).collect()
}

#[test]
fn one_run_each_gives_a_ratio_and_no_verdict() {
    let mut noise = Noise::new(3);
    let comparison = compare(&[run(&mut noise, 1.0, 0.01)], &[run(&mut noise, 2.0, 0.01)]);
    let p99 = comparison.rows.iter().find(|row| row.metric == "p99_ms").unwrap();
    assert!((1.8..2.2).contains(&p99.ratio.unwrap()));
    assert_eq!((p99.p, p99.verdict), (None, Judgement::CannotTell));
    assert!(comparison.notes.iter().any(|note| note.contains("cannot tell noise from change")));
    assert!(!comparison.has_worse());
}

#[test]
fn noise_does_not_fail_a_build() {
    let mut noise = Noise::new(4);
    let alarms = (0..300)
        .filter(|_| {
            let (a, b) = (runs(&mut noise, 5, 1.0, 0.3), runs(&mut noise, 5, 1.0, 0.3));
            compare(&a, &b).has_worse()
        })
        .count();
    // At most 2.5 % by construction; 5 % of 300 would be nearly three standard deviations above.
    assert!(alarms <= 15, "{alarms} of 300");
}

#[test]
fn a_fifth_slower_is_found_with_five_runs_each() {
    let mut noise = Noise::new(5);
    let found = (0..100)
        .filter(|_| {
            let (a, b) = (runs(&mut noise, 5, 1.0, 0.05), runs(&mut noise, 5, 1.25, 0.05));
            compare(&a, &b).has_worse()
        })
        .count();
    assert!(found >= 95, "{found} of 100");
}

#[test]
fn a_new_finding_is_worse_at_once_and_an_old_one_is_not() {
    let mut noise = Noise::new(6);
    let a = run(&mut noise, 1.0, 0.01);
    let mut b = a.clone();
    b.scenarios[0].verdict = Verdict { counts: [(Kind::Lost, 1)].into(), ..Verdict::default() };
    b.scenarios[0].status = Status::Failed;
    let comparison = compare(std::slice::from_ref(&a), std::slice::from_ref(&b));
    assert!(comparison.has_worse());
    assert_eq!(comparison.broken[0].what, "acked but lost: 1 in a run");
    assert!(!compare(std::slice::from_ref(&b), std::slice::from_ref(&b)).has_worse());
    assert!(!compare(&[b], &[a]).has_worse());
}

#[test]
fn a_scenario_that_fails_without_a_finding_is_worse_too() {
    let mut noise = Noise::new(7);
    let a = run(&mut noise, 1.0, 0.01);
    let mut b = a.clone();
    b.scenarios[0].status = Status::Failed;
    b.scenarios[0].reasons = vec!["3 events refused".to_owned()];
    assert_eq!(compare(&[a], &[b]).broken[0].what, "failed: 3 events refused");
}

#[test]
fn what_cannot_be_compared_is_said() {
    let a = sample();
    let mut b = sample();
    b.machine.cores += 1;
    b.scenarios[0].scenario.clients += 1;
    b.scenarios.remove(1);
    let notes = compare(std::slice::from_ref(&a), std::slice::from_ref(&b)).notes.join("\n");
    for part in ["different machines", "different sizes", "is not in the new set"] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
}

#[test]
fn too_few_runs_for_many_figures_name_how_many_are_enough() {
    let (a, b) = (vec![sample(); 4], vec![sample(); 4]);
    let comparison = compare(&a, &b);
    assert!(comparison.notes.iter().any(|note| note.contains("run each side")), "{:?}", comparison.notes);
    let json = serde_json::to_string(&comparison).unwrap();
    assert_eq!(serde_json::from_str::<Comparison>(&json).unwrap(), comparison);
}
