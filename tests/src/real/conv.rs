//! Convolutions, transposed convolutions and norms, in one to three dimensions.

use burn::module::Module;
use burn::nn::conv::{
    Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, Conv3d, Conv3dConfig, ConvTranspose1d,
    ConvTranspose1dConfig, ConvTranspose2d, ConvTranspose2dConfig, ConvTranspose3d,
    ConvTranspose3dConfig,
};
use burn::nn::norm::{Normalization, NormalizationConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, GroupNorm, GroupNormConfig, InstanceNorm, InstanceNormConfig,
    LayerNorm, LayerNormConfig, LocalResponseNorm, LocalResponseNormConfig, PRelu, PReluConfig,
    RmsNorm, RmsNormConfig,
};
use burn::optim::SgdConfig;
use burn::tensor::{Device, Tensor};

use super::{Case, filled, wave};

/// The squared distance of an output from a target of its own shape.
fn error(output: Tensor<2>, step: u32, device: &Device) -> Tensor<1> {
    let shape = output.dims();
    (output - wave(shape, step + 90, device)).square().mean()
}

/// Over sequences: convolution, BatchNorm, convolution, LayerNorm over the length, transposed convolution.
#[derive(Module, Debug)]
pub struct Net1d {
    first: Conv1d,
    batch: BatchNorm,
    second: Conv1d,
    layer: LayerNorm,
    up: ConvTranspose1d,
}

impl Net1d {
    fn new(device: &Device) -> Self {
        let model = Self {
            first: Conv1dConfig::new(2, 4, 3).init(device),
            batch: BatchNormConfig::new(4).init(device),
            second: Conv1dConfig::new(4, 4, 3).with_groups(2).init(device),
            layer: LayerNormConfig::new(4).init(device),
            up: ConvTranspose1dConfig::new([4, 2], 3)
                .with_stride(2)
                .init(device),
        };
        filled(model, 21)
    }

    fn run(&self, seed: u32, device: &Device) -> Tensor<2> {
        let hidden = self.first.forward(wave([2, 2, 8], seed, device));
        let hidden = self.batch.forward(hidden).tanh();
        let hidden = self.layer.forward(self.second.forward(hidden));
        self.up.forward(hidden.tanh()).flatten(1, 2)
    }
}

/// The net over sequences.
pub fn net_1d() -> Case<Net1d> {
    Case::new(
        "Conv1d, ConvTranspose1d, BatchNorm, LayerNorm",
        Net1d::new,
        |model, device| model.run(0, device),
        |model, step, device| error(model.run(step, device), step, device),
    )
}

/// Over images, with every other norm and a learned activation; trained by SGD.
#[derive(Module, Debug)]
pub struct Net2d {
    first: Conv2d,
    batch: BatchNorm,
    activation: PRelu,
    second: Conv2d,
    group: GroupNorm,
    plain: GroupNorm,
    instance: InstanceNorm,
    response: LocalResponseNorm,
    up: ConvTranspose2d,
}

impl Net2d {
    fn new(device: &Device) -> Self {
        let model = Self {
            first: Conv2dConfig::new([2, 4], [3, 3]).init(device),
            batch: BatchNormConfig::new(4).with_momentum(0.3).init(device),
            activation: PReluConfig::new().init(device),
            second: Conv2dConfig::new([4, 4], [2, 2])
                .with_bias(false)
                .init(device),
            group: GroupNormConfig::new(2, 4).init(device),
            plain: GroupNormConfig::new(2, 4).with_affine(false).init(device),
            instance: InstanceNormConfig::new(4).init(device),
            response: LocalResponseNormConfig::new(3).init(),
            up: ConvTranspose2dConfig::new([4, 2], [2, 2])
                .with_stride([2, 2])
                .init(device),
        };
        filled(model, 22)
    }

    fn run(&self, seed: u32, device: &Device) -> Tensor<2> {
        let hidden = self.first.forward(wave([3, 2, 6, 6], seed, device));
        let hidden = self.activation.forward(self.batch.forward(hidden));
        let hidden = self.group.forward(self.second.forward(hidden)).tanh();
        let hidden = self.plain.forward(hidden) + wave([3, 4, 3, 3], 70, device);
        let hidden = self.response.forward(self.instance.forward(hidden));
        self.up.forward(hidden.tanh()).flatten(1, 3)
    }
}

/// The net over images.
pub fn net_2d() -> Case<Net2d> {
    Case {
        optimizer: || SgdConfig::new().init(),
        learning_rate: 0.2,
        ..Case::new(
            "Conv2d, ConvTranspose2d, Batch-, Group-, InstanceNorm, LocalResponseNorm, PRelu",
            Net2d::new,
            |model, device| model.run(0, device),
            |model, step, device| error(model.run(step, device), step, device),
        )
    }
}

/// Over volumes, with RmsNorm over the last dimension.
#[derive(Module, Debug)]
pub struct Net3d {
    first: Conv3d,
    batch: BatchNorm,
    rms: RmsNorm,
    up: ConvTranspose3d,
}

impl Net3d {
    fn new(device: &Device) -> Self {
        let model = Self {
            first: Conv3dConfig::new([1, 3], [2, 2, 2]).init(device),
            batch: BatchNormConfig::new(3).init(device),
            rms: RmsNormConfig::new(3).init(device),
            up: ConvTranspose3dConfig::new([3, 1], [2, 2, 2]).init(device),
        };
        filled(model, 23)
    }

    fn run(&self, seed: u32, device: &Device) -> Tensor<2> {
        let hidden = self.first.forward(wave([2, 1, 4, 4, 4], seed, device));
        let hidden = self.rms.forward(self.batch.forward(hidden).tanh());
        self.up.forward(hidden).flatten(1, 4)
    }
}

/// The net over volumes.
pub fn net_3d() -> Case<Net3d> {
    Case::new(
        "Conv3d, ConvTranspose3d, BatchNorm, RmsNorm",
        Net3d::new,
        |model, device| model.run(0, device),
        |model, step, device| error(model.run(step, device), step, device),
    )
}

/// A block for each kind of [`Normalization`].
#[derive(Module, Debug)]
pub struct Norms {
    convs: Vec<Conv2d>,
    norms: Vec<Normalization>,
}

impl Norms {
    fn new(device: &Device) -> Self {
        let kinds = [
            NormalizationConfig::Identity,
            NormalizationConfig::Batch(BatchNormConfig::new(0)),
            NormalizationConfig::Group(GroupNormConfig::new(2, 0)),
            NormalizationConfig::Instance(InstanceNormConfig::new(0)),
            NormalizationConfig::Layer(LayerNormConfig::new(0)),
            NormalizationConfig::Rms(RmsNormConfig::new(0)),
        ];
        let conv = || {
            let config = Conv2dConfig::new([4, 4], [3, 3]);
            let padding = burn::nn::PaddingConfig2d::Explicit(1, 1, 1, 1);
            config.with_padding(padding).init(device)
        };
        let model = Self {
            convs: kinds.iter().map(|_| conv()).collect(),
            norms: kinds
                .into_iter()
                .map(|kind| kind.with_num_features(4).init(device))
                .collect(),
        };
        filled(model, 24)
    }

    fn run(&self, seed: u32, device: &Device) -> Tensor<2> {
        let mut hidden = wave([3, 4, 4, 4], seed, device);
        for (conv, norm) in self.convs.iter().zip(&self.norms) {
            hidden = hidden.clone() + norm.forward(conv.forward(hidden)).tanh();
        }
        hidden.flatten(1, 3)
    }
}

/// Every kind of the wrapper for norms.
pub fn norms() -> Case<Norms> {
    Case::new(
        "Normalization (every kind)",
        Norms::new,
        |model, device| model.run(0, device),
        |model, step, device| error(model.run(step, device), step, device),
    )
}
