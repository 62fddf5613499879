//! A straight line through measured points, by least squares, with what it leaves unexplained.

use serde::Serialize;

/// `y = intercept + slope · x`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Line {
    /// Growth of `y` per unit of `x`.
    pub slope: f64,
    /// `y` at `x` = 0.
    pub intercept: f64,
    /// Root mean square of the distances of the points from the line, in units of `y`.
    pub residual: f64,
}

impl Line {
    /// The line through points of (x, y). `None` with fewer than two different values of x.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        if points.is_empty() || spread <= 0.0 {
            return None;
        }
        let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
        let mut line = Self { slope, intercept: y - slope * x, residual: 0.0 };
        let squares: f64 = points.iter().map(|point| (point.1 - line.at(point.0)).powi(2)).sum();
        line.residual = (squares / count).sqrt();
        Some(line)
    }

    /// The line's `y` at `x`.
    pub fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_a_line_leave_no_residual() {
        let line = Line::through(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]).unwrap();
        assert!((line.slope - 2.0).abs() < 1e-9 && (line.intercept - 3.0).abs() < 1e-9, "{line:?}");
        assert!(line.residual < 1e-9 && (line.at(10.0) - 23.0).abs() < 1e-9, "{line:?}");
    }

    #[test]
    fn a_point_beside_the_line_is_in_the_residual() {
        let line = Line::through(&[(0.0, 0.0), (1.0, 3.0), (2.0, 0.0)]).unwrap();
        assert!(line.slope.abs() < 1e-9 && (line.intercept - 1.0).abs() < 1e-9, "{line:?}");
        assert!((line.residual - 2.0_f64.sqrt()).abs() < 1e-9, "{line:?}");
    }

    #[test]
    fn one_place_makes_no_line() {
        assert_eq!(Line::through(&[]), None);
        assert_eq!(Line::through(&[(1.0, 1.0)]), None);
        assert_eq!(Line::through(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }
}
