//! The networks, and samples of them.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, LeakyRelu, LeakyReluConfig, Linear, LinearConfig, PaddingConfig2d,
};
use burn::tensor::{Device, Tensor, activation};

/// Number of latent dimensions.
pub const LATENT: usize = 32;

const CHANNELS: [usize; 2] = [64, 32];

/// Everything that is trained or averaged, as one module.
#[derive(Module, Debug)]
pub struct Gan {
    /// Makes images of latent codes.
    pub generator: Generator,
    /// Its EMA copy, which the hook updates.
    pub generator_ema: Generator,
    /// Tells real images from made ones.
    pub discriminator: Discriminator,
}

/// Whose samples are asked for. mmagic spells these `'orig'`, `'ema'` and `'ema/orig'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleModel {
    /// The generator that is trained.
    Orig,
    /// Its EMA copy.
    Ema,
    /// Both, the samples of the EMA copy first.
    EmaAndOrig,
}

impl Gan {
    /// Networks with random weights on `device`, the EMA copy equal to the generator.
    pub fn new(device: &Device) -> Self {
        let generator = Generator::new(device);
        Self {
            generator_ema: generator.clone(),
            generator,
            discriminator: Discriminator::new(device),
        }
    }

    /// Images `[number, 1, 8, 8]` of latent codes `[number, LATENT]`, the networks being as they are in
    /// validation; for both generators one after the other.
    pub fn sample(&self, latents: &Tensor<2>, of: SampleModel) -> Tensor<4> {
        let images = |generator: &Generator| generator.valid().forward(latents.clone());
        match of {
            SampleModel::Orig => images(&self.generator),
            SampleModel::Ema => images(&self.generator_ema),
            SampleModel::EmaAndOrig => Tensor::cat(
                vec![images(&self.generator_ema), images(&self.generator)],
                0,
            ),
        }
    }
}

/// Latent codes to images.
#[derive(Module, Debug)]
pub struct Generator {
    linear: Linear,
    norm1: BatchNorm,
    up: ConvTranspose2d,
    norm2: BatchNorm,
    paint: Conv2d,
}

impl Generator {
    fn new(device: &Device) -> Self {
        Self {
            linear: LinearConfig::new(LATENT, CHANNELS[0] * 4 * 4).init(device),
            norm1: BatchNormConfig::new(CHANNELS[0]).init(device),
            up: ConvTranspose2dConfig::new(CHANNELS, [4, 4])
                .with_stride([2, 2])
                .with_padding([1, 1])
                .init(device),
            norm2: BatchNormConfig::new(CHANNELS[1]).init(device),
            paint: Conv2dConfig::new([CHANNELS[1], 1], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device),
        }
    }

    /// Images `[batch, 1, 8, 8]` from 0 to 1 of latent codes `[batch, LATENT]`.
    pub fn forward(&self, latents: Tensor<2>) -> Tensor<4> {
        let [batch, _] = latents.dims();
        let x = self.linear.forward(latents);
        let x = x.reshape([batch, CHANNELS[0], 4, 4]);
        let x = activation::relu(self.norm1.forward(x));
        let x = activation::relu(self.norm2.forward(self.up.forward(x)));
        activation::sigmoid(self.paint.forward(x))
    }
}

/// Images to the logit of their being real.
#[derive(Module, Debug)]
pub struct Discriminator {
    conv1: Conv2d,
    conv2: Conv2d,
    judge: Linear,
    leaky: LeakyRelu,
}

impl Discriminator {
    fn new(device: &Device) -> Self {
        let conv = |channels: [usize; 2]| {
            Conv2dConfig::new(channels, [3, 3])
                .with_stride([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device)
        };
        Self {
            conv1: conv([1, 32]),
            conv2: conv([32, 64]),
            judge: LinearConfig::new(64 * 2 * 2, 1).init(device),
            leaky: LeakyReluConfig::new().with_negative_slope(0.2).init(),
        }
    }

    /// Logits `[batch, 1]` of images `[batch, 1, 8, 8]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.leaky.forward(self.conv1.forward(images));
        let x = self.leaky.forward(self.conv2.forward(x));
        self.judge.forward(x.flatten(1, 3))
    }
}
