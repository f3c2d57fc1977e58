//! The average as it is written by hand: `average * decay + source * (1 - decay)`, tensor by tensor.

use burn::module::Param;
use burn::tensor::{FloatDType, Tensor};

use crate::weights::Weights;

const DECAY: f64 = 0.999;

/// The averages of [`Weights`], in lists: a walk over two models would cost more.
#[derive(Debug)]
pub struct Naive {
    vectors: Vec<Tensor<1>>,
    matrices: Vec<Tensor<2>>,
    sequences: Vec<Tensor<3>>,
    filters: Vec<Tensor<4>>,
}

impl Naive {
    /// A copy of `source`.
    pub fn new(source: &Weights) -> Self {
        Self {
            vectors: source.vectors().map(value).collect(),
            matrices: source.matrices().map(value).collect(),
            sequences: source.sequences().map(value).collect(),
            filters: source.filters().map(value).collect(),
        }
    }

    /// Moves the averages towards `source`.
    pub fn update(&mut self, source: &Weights) {
        update(&mut self.vectors, source.vectors());
        update(&mut self.matrices, source.matrices());
        update(&mut self.sequences, source.sequences());
        update(&mut self.filters, source.filters());
    }
}

fn update<'a, const D: usize>(
    averages: &mut Vec<Tensor<D>>,
    sources: impl Iterator<Item = &'a Param<Tensor<D>>>,
) {
    // Nobody else holds the averages then, so that Burn may change them in place.
    let pairs = std::mem::take(averages).into_iter().zip(sources);
    let updated = pairs.map(|(average, source)| average * DECAY + value(source) * (1.0 - DECAY));
    averages.extend(updated);
}

/// What there is to average: without autodiff, in f32.
fn value<const D: usize>(param: &Param<Tensor<D>>) -> Tensor<D> {
    param.val().without_autodiff().cast(FloatDType::F32)
}
