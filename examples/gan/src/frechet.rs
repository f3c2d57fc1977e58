//! The Fréchet distance of two sets of feature vectors (Heusel et al. 2017, arXiv:1706.08500).

use nalgebra::{DMatrix, DVector};

/// Mean and covariance of a set of feature vectors.
#[derive(Clone, Debug)]
pub struct Gaussian {
    mean: DVector<f64>,
    covariance: DMatrix<f64>,
}

impl Gaussian {
    /// Fits to `features`, one vector of length `width` after the other. At least two are needed for
    /// a covariance.
    ///
    /// # Panics
    ///
    /// If there are fewer than two vectors, or a part of one.
    pub fn fit(features: &[f32], width: usize) -> Self {
        let number = features.len() / width;
        assert!(number >= 2 && features.len() == number * width);
        let features = features.iter().map(|x| f64::from(*x));
        let rows = DMatrix::from_row_iterator(number, width, features);
        let mean = rows.row_mean().transpose();
        let centered = DMatrix::from_fn(number, width, |i, j| rows[(i, j)] - mean[j]);
        let covariance = centered.transpose() * &centered / (number - 1) as f64;
        Self { mean, covariance }
    }

    /// `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1^(1/2) C2 C1^(1/2))^(1/2))`, zero for equal ones.
    pub fn distance(&self, other: &Self) -> f64 {
        let root = square_root(&self.covariance);
        let between = &root * &other.covariance * &root;
        let eigenvalues = between.symmetric_eigenvalues();
        let overlap: f64 = eigenvalues.iter().map(|value| value.max(0.0).sqrt()).sum();
        let spread = self.covariance.trace() + other.covariance.trace() - 2.0 * overlap;
        (&self.mean - &other.mean).norm_squared() + spread.max(0.0)
    }
}

/// The symmetric square root of a covariance.
fn square_root(covariance: &DMatrix<f64>) -> DMatrix<f64> {
    let eigen = covariance.clone().symmetric_eigen();
    let roots = eigen.eigenvalues.map(|value| value.max(0.0).sqrt());
    &eigen.eigenvectors * DMatrix::from_diagonal(&roots) * eigen.eigenvectors.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_have_no_distance() {
        let features = [1.0, 2.0, 3.0, 5.0, 8.0, -4.0, 0.5, 0.25];
        let gaussian = Gaussian::fit(&features, 2);
        assert!(gaussian.distance(&gaussian).abs() < 1e-9);
    }

    #[test]
    fn distance_of_shifted_and_scaled_sets_is_that_of_the_formula() {
        // In one dimension: (m1 - m2)^2 + (s1 - s2)^2, with variances 2 and 18.
        let one = Gaussian::fit(&[1.0, 3.0], 1);
        let other = Gaussian::fit(&[4.0, 10.0], 1);
        let expected = 25.0 + (2.0_f64.sqrt() - 18.0_f64.sqrt()).powi(2);
        assert!((one.distance(&other) - expected).abs() < 1e-9);
        assert!((other.distance(&one) - expected).abs() < 1e-9);
    }

    #[test]
    fn covariances_that_do_not_commute_are_handled() {
        // C1 = diag(4, 0), C2 = [[1, 1], [1, 1]]: C1^(1/2) C2 C1^(1/2) = diag(4, 0).
        let one = Gaussian {
            mean: DVector::zeros(2),
            covariance: DMatrix::from_row_slice(2, 2, &[4.0, 0.0, 0.0, 0.0]),
        };
        let other = Gaussian {
            mean: DVector::zeros(2),
            covariance: DMatrix::from_element(2, 2, 1.0),
        };
        assert!((one.distance(&other) - (4.0 + 2.0 - 2.0 * 2.0)).abs() < 1e-9);
    }
}
