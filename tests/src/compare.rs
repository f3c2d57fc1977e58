//! Comparisons of numbers.

use burn::tensor::Tensor;

use crate::backend;

/// How far apart trainings come to be that differ by no more than roundings: a network that learns otherwise is farther.
pub const TRAINED_ALIKE: f64 = 1e-2;

/// The values of a tensor as f64.
pub fn numbers<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    tensor.clone().into_data().iter::<f64>().collect()
}

/// Asserts that a tensor holds `expected`: to the bit on `flex`, within two units in the last place
/// of f32 elsewhere.
///
/// # Panics
///
/// If it does not.
#[track_caller]
pub fn assert_close<const D: usize>(tensor: &Tensor<D>, expected: &[f64]) {
    let actual = numbers(tensor);
    let tolerance = if backend::is_flex() {
        0.0
    } else {
        2.0 * f64::from(f32::EPSILON)
    };
    let close = |(a, e): (&f64, &f64)| (a - e).abs() <= tolerance * e.abs();
    let equal = actual.len() == expected.len() && actual.iter().zip(expected).all(close);
    assert!(equal, "found {actual:?}, expected {expected:?}");
}

/// `|actual - expected| / |expected|` in the Euclidean norm.
///
/// # Panics
///
/// If the lengths differ.
#[track_caller]
pub fn relative_error(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "number of values");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut actual.iter().zip(expected).map(|(a, e)| a - e));
    difference / norm(&mut expected.iter().copied())
}

/// Asserts that [`relative_error`] is at most `bound`.
///
/// # Panics
///
/// If it is larger, or not a number.
#[track_caller]
pub fn assert_near(actual: &[f64], expected: &[f64], bound: f64) {
    let error = relative_error(actual, expected);
    assert!(
        error <= bound,
        "relative error {error:e} above {bound:e}: found {actual:?}, expected {expected:?}"
    );
}
