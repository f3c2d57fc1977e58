//! The naive expression: `ema * decay + model * (1 - decay)`, tensor by tensor.

use burn::module::Param;
use burn::tensor::{FloatDType, Tensor};

use crate::weights::Weights;

const DECAY: f64 = 0.999;

/// The EMA of [`Weights`], in lists: a walk over two models would cost more.
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

    /// Moves the EMA towards `source`.
    pub fn update(&mut self, source: &Weights) {
        update(&mut self.vectors, source.vectors());
        update(&mut self.matrices, source.matrices());
        update(&mut self.sequences, source.sequences());
        update(&mut self.filters, source.filters());
    }
}

fn update<'a, const D: usize>(
    emas: &mut Vec<Tensor<D>>,
    sources: impl Iterator<Item = &'a Param<Tensor<D>>>,
) {
    // No other handle is left then, so that Burn may change the tensors in place.
    let pairs = std::mem::take(emas).into_iter().zip(sources);
    let updated = pairs.map(|(ema, source)| ema * DECAY + value(source) * (1.0 - DECAY));
    emas.extend(updated);
}

/// The value of a parameter, without autodiff and in f32.
fn value<const D: usize>(param: &Param<Tensor<D>>) -> Tensor<D> {
    param.val().without_autodiff().cast(FloatDType::F32)
}
