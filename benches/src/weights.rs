//! A model that is nothing but weights.

use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Distribution, FloatDType, Tensor};

use crate::shapes::{Block, Shapes};

/// Weights of the given [`Shapes`].
#[derive(Module, Debug)]
pub struct Weights {
    blocks: Vec<BlockWeights>,
}

/// The weights of a [`Block`].
#[derive(Module, Debug)]
struct BlockWeights {
    vectors: Vec<Param<Tensor<1>>>,
    matrices: Vec<Param<Tensor<2>>>,
    sequences: Vec<Param<Tensor<3>>>,
    filters: Vec<Param<Tensor<4>>>,
    norms: Vec<BatchNorm>,
}

impl Weights {
    /// Random weights of `dtype` on `device`, with autodiff, as a model has them while it trains.
    pub fn new(shapes: &Shapes, dtype: FloatDType, device: &Device) -> Self {
        let blocks = shapes.blocks.iter();
        let weights = Self {
            blocks: blocks
                .map(|block| BlockWeights::new(block, dtype, device))
                .collect(),
        };
        weights.train()
    }

    /// The trainable vectors, those of the normalizations among them.
    pub fn vectors(&self) -> impl Iterator<Item = &Param<Tensor<1>>> {
        self.blocks.iter().flat_map(|block| {
            let of_norms = block
                .norms
                .iter()
                .flat_map(|norm| [&norm.gamma, &norm.beta]);
            block.vectors.iter().chain(of_norms)
        })
    }

    /// Weights of linear layers.
    pub fn matrices(&self) -> impl Iterator<Item = &Param<Tensor<2>>> {
        self.blocks.iter().flat_map(|block| &block.matrices)
    }

    /// Tokens and positions.
    pub fn sequences(&self) -> impl Iterator<Item = &Param<Tensor<3>>> {
        self.blocks.iter().flat_map(|block| &block.sequences)
    }

    /// Weights of convolutions.
    pub fn filters(&self) -> impl Iterator<Item = &Param<Tensor<4>>> {
        self.blocks.iter().flat_map(|block| &block.filters)
    }
}

impl BlockWeights {
    fn new(shapes: &Block, dtype: FloatDType, device: &Device) -> Self {
        let norm = |features: &usize| BatchNormConfig::new(*features).init(device);
        Self {
            vectors: params(&shapes.vectors, dtype, device),
            matrices: params(&shapes.matrices, dtype, device),
            sequences: params(&shapes.sequences, dtype, device),
            filters: params(&shapes.filters, dtype, device),
            norms: shapes.norms.iter().map(norm).collect(),
        }
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
