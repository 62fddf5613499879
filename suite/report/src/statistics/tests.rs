//! Known values, and simulated runs: noise must not be called a loss, and a real loss must be found.

use proptest::prelude::*;

use super::*;
use crate::sample::Noise;

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-4
}

#[test]
fn mann_whitney_has_the_values_of_the_tables() {
    // Complete separation of 5 and 5: 2 of 252 ways.
    let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]);
    assert!(near(ranks::mann_whitney(&a, &b), 2.0 / 252.0));
    // U = 2 of 3 × 4: (1 + 1 + 2) / 35 on one side.
    assert!(near(ranks::mann_whitney(&[1.0, 2.0, 5.0], &[3.0, 4.0, 6.0, 7.0]), 8.0 / 35.0));
    assert!(near(ranks::mann_whitney(&[1.0; 5], &[1.0; 5]), 1.0));
}

#[test]
fn signed_ranks_have_the_values_of_the_tables() {
    assert!(near(ranks::signed_ranks(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), 2.0 / 64.0));
    assert!(near(ranks::signed_ranks(&[-0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), 4.0 / 64.0));
    assert!(near(ranks::signed_ranks(&[0.0, 0.0]), 1.0));
}

#[test]
fn the_normal_approximation_joins_the_exact_one() {
    let set = |n: usize, shift: f64| (0..n).map(|i| i as f64 + shift).collect::<Vec<f64>>();
    let exact = ranks::mann_whitney(&set(30, 0.0), &set(30, 6.5));
    let approximate = ranks::mann_whitney(&set(31, 0.0), &set(31, 6.5));
    assert!((exact - approximate).abs() < 0.02, "{exact} and {approximate}");
    let exact = ranks::signed_ranks(&set(60, -22.3));
    let approximate = ranks::signed_ranks(&set(61, -22.3));
    assert!((exact - approximate).abs() < 0.02, "{exact} and {approximate}");
}

#[test]
fn the_interval_of_five_and_five_leaves_out_two_differences_at_each_end() {
    // Tables for 5 and 5 at 95 %: the third smallest and the third largest of the 25 differences.
    let a = [1.0, 2.0, 4.0, 8.0, 16.0];
    let b = [3.0, 6.0, 12.0, 24.0, 48.0];
    let found = difference(&a, &b).unwrap();
    let mut ratios: Vec<f64> = a.iter().flat_map(|a| b.iter().map(move |b| b / a)).collect();
    ratios.sort_by(f64::total_cmp);
    let interval = found.interval.unwrap();
    assert!(near(interval.low, ratios[2]) && near(interval.high, ratios[22]), "{found:?}");
    assert!(near(found.ratio.unwrap(), 3.0));
}

#[test]
fn few_values_have_no_interval_and_cannot_tell() {
    let found = difference(&[1.0, 1.1, 1.2], &[2.0, 2.1, 2.2]).unwrap();
    assert!(found.interval.is_none());
    assert_eq!(judge(&found, found.p, Direction::Lower, MINIMUM_EFFECT), Judgement::CannotTell);
    assert!(difference(&[], &[1.0]).is_none());
    assert!(difference(&[f64::NAN], &[1.0]).is_none());
    assert_eq!(paired(&[1.0], &[2.0], Direction::Lower).verdict, Judgement::CannotTell);
    assert_eq!(paired(&[], &[], Direction::Lower).pairs, 0);
}

#[test]
fn direction_decides_what_worse_is() {
    let (a, b) = ([100.0, 101.0, 102.0, 103.0, 104.0], [80.0, 81.0, 82.0, 83.0, 84.0]);
    let found = difference(&a, &b).unwrap();
    assert_eq!(judge(&found, found.p, Direction::Higher, MINIMUM_EFFECT), Judgement::Worse);
    assert_eq!(judge(&found, found.p, Direction::Lower, MINIMUM_EFFECT), Judgement::Better);
}

#[test]
fn a_sure_but_small_change_is_no_verdict() {
    let a: Vec<f64> = (0..10).map(|n| 100.0 + f64::from(n) * 0.01).collect();
    let b: Vec<f64> = a.iter().map(|value| value * 1.02).collect();
    let found = difference(&a, &b).unwrap();
    assert!(found.p < 0.001);
    assert_eq!(judge(&found, found.p, Direction::Lower, MINIMUM_EFFECT), Judgement::Same);
}

#[test]
fn something_where_there_was_nothing_is_worse() {
    let found = difference(&[0.0; 5], &[0.1, 0.2, 0.1, 0.3, 0.2]).unwrap();
    assert_eq!(judge(&found, found.p, Direction::Lower, MINIMUM_EFFECT), Judgement::Worse);
    let nothing = difference(&[0.0; 5], &[0.0; 5]).unwrap();
    assert_eq!(judge(&nothing, nothing.p, Direction::Lower, MINIMUM_EFFECT), Judgement::Same);
}

#[test]
fn noise_alone_is_rarely_called_worse() {
    // Log-normal with σ = 0.3, as latencies on a shared machine are. 2,000 comparisons: with a rate of at most
    // 2.5 % on this side, more than 5 % would be a fluke of more than seven standard deviations.
    let mut noise = Noise::new(1);
    let worse = (0..2_000)
        .filter(|_| {
            let a: Vec<f64> = (0..8).map(|_| noise.around(10.0, 0.3)).collect();
            let b: Vec<f64> = (0..8).map(|_| noise.around(10.0, 0.3)).collect();
            let found = difference(&a, &b).unwrap();
            judge(&found, found.p, Direction::Lower, MINIMUM_EFFECT) == Judgement::Worse
        })
        .count();
    assert!(worse <= 100, "{worse} of 2000");
    assert!(worse > 0, "a test that never says worse finds nothing either");
}

#[test]
fn paired_noise_that_both_share_does_not_hide_a_loss() {
    let mut noise = Noise::new(2);
    let (mut found, mut false_alarms) = (0, 0);
    for _ in 0..500 {
        let day: Vec<f64> = (0..8).map(|_| noise.around(1000.0, 0.5)).collect();
        let a: Vec<f64> = day.iter().map(|day| noise.around(*day, 0.05)).collect();
        let lost: Vec<f64> = day.iter().map(|day| noise.around(day * 0.8, 0.05)).collect();
        let same: Vec<f64> = day.iter().map(|day| noise.around(*day, 0.05)).collect();
        found += usize::from(paired(&a, &lost, Direction::Higher).verdict == Judgement::Worse);
        false_alarms += usize::from(paired(&a, &same, Direction::Higher).verdict == Judgement::Worse);
    }
    assert!(found >= 490, "{found} of 500");
    assert!(false_alarms <= 25, "{false_alarms} of 500");
}

proptest! {
    #[test]
    fn swapping_the_sets_inverts_the_ratio_and_keeps_p(
        a in prop::collection::vec(0.01f64..1e6, 1..12),
        b in prop::collection::vec(0.01f64..1e6, 1..12),
    ) {
        let (there, back) = (difference(&a, &b).unwrap(), difference(&b, &a).unwrap());
        prop_assert!((there.p - back.p).abs() < 1e-9);
        prop_assert!((there.ratio.unwrap() * back.ratio.unwrap() - 1.0).abs() < 1e-9);
        if let Some(interval) = there.interval {
            prop_assert!(interval.low <= there.ratio.unwrap() * (1.0 + 1e-9));
            prop_assert!(interval.high >= there.ratio.unwrap() * (1.0 - 1e-9));
        }
    }

    #[test]
    fn any_values_are_taken(a in prop::collection::vec(any::<f64>(), 0..80), b in prop::collection::vec(any::<f64>(), 0..80)) {
        if let Some(found) = difference(&a, &b) {
            prop_assert!((0.0..=1.0).contains(&found.p));
        }
        prop_assert!((0.0..=1.0).contains(&paired(&a, &b, Direction::Lower).p));
    }
}
