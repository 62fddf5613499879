//! Holm's correction for many figures: keeps the probability of at least one false alarm at the chosen level.
//! Source: Holm, *A simple sequentially rejective multiple test procedure*, 1979.

/// Each p, corrected for judging all of them together.
pub fn corrected(ps: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|x, y| ps[*x].total_cmp(&ps[*y]));
    let mut corrected = vec![1.0; ps.len()];
    let mut least: f64 = 0.0;
    for (place, index) in order.iter().enumerate() {
        let left = (ps.len() - place) as f64;
        least = least.max((ps[*index] * left).min(1.0));
        corrected[*index] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::corrected;

    #[test]
    fn the_smallest_counts_most_and_order_stays() {
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near(&corrected(&[0.01, 0.04, 0.03]), &[0.03, 0.06, 0.06]));
        assert!(near(&corrected(&[0.9, 0.8]), &[1.0, 1.0]));
        assert!(corrected(&[]).is_empty());
    }
}
