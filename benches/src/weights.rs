//! A model that is nothing but weights.

use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Distribution, FloatDType, Tensor};

use crate::shapes::Shapes;

/// Weights of the given [`Shapes`].
#[derive(Module, Debug)]
pub struct Weights {
    vectors: Vec<Param<Tensor<1>>>,
    /// Weights of linear layers.
    pub matrices: Vec<Param<Tensor<2>>>,
    /// Tokens and positions.
    pub sequences: Vec<Param<Tensor<3>>>,
    /// Weights of convolutions.
    pub filters: Vec<Param<Tensor<4>>>,
    norms: Vec<BatchNorm>,
}

impl Weights {
    /// Random weights of `dtype` on `device`, with autodiff, as a model has them while it trains.
    pub fn new(shapes: &Shapes, dtype: FloatDType, device: &Device) -> Self {
        let norm = |features: &usize| BatchNormConfig::new(*features).init(device);
        let weights = Self {
            vectors: params(&shapes.vectors, dtype, device),
            matrices: params(&shapes.matrices, dtype, device),
            sequences: params(&shapes.sequences, dtype, device),
            filters: params(&shapes.filters, dtype, device),
            norms: shapes.norms.iter().map(norm).collect(),
        };
        weights.train()
    }

    /// The trainable vectors, those of the normalizations among them.
    pub fn vectors(&self) -> impl Iterator<Item = &Param<Tensor<1>>> {
        let of_norms = self.norms.iter().flat_map(|norm| [&norm.gamma, &norm.beta]);
        self.vectors.iter().chain(of_norms)
    }
}

fn params<const D: usize>(
    shapes: &[[usize; D]],
    dtype: FloatDType,
    device: &Device,
) -> Vec<Param<Tensor<D>>> {
    let param = |shape: &[usize; D]| {
        let values = Tensor::<D>::random(*shape, Distribution::Default, device);
        Param::from_tensor(values.cast(dtype))
    };
    shapes.iter().map(param).collect()
}
