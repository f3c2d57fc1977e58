//! One tensor to move, and where to.

use burn::tensor::kind::BridgeTensor;

/// An average that is to move towards a source.
#[derive(Clone, Debug)]
pub struct Average {
    /// Its value: floats, on the device of the source, without autodiff.
    pub value: BridgeTensor,
    /// Position of its source among the sources.
    pub source: usize,
    /// Share of the source in the new average, in `[0, 1]`: 1 minus the decay.
    pub weight: f64,
}
