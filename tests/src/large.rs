//! Layers that are large beside everything that is no tensor, for tests of memory.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};

use crate::backend::device;

/// Features of a layer.
pub const WIDTH: usize = 500;

/// Bytes of one of the large tensors.
pub const TENSOR: f64 = (4 * WIDTH * WIDTH) as f64;

/// What an update may take besides the average: a hundredth of it, for handles on tensors.
pub const TEMPORARIES: f64 = 0.01 * 4.0 * TENSOR;

/// Four tensors of a megabyte, and small ones, all initialized.
///
/// # Panics
///
/// If layers have other parameters than they should.
pub fn layers() -> Vec<Linear> {
    let layer = |_| LinearConfig::new(WIDTH, WIDTH).init(&device());
    let layers: Vec<Linear> = (0..4).map(layer).collect();
    assert_eq!(layers.num_params(), 4 * WIDTH * (WIDTH + 1));
    layers.valid()
}
