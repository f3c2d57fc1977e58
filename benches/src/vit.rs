//! A small vision transformer, and images for it.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};

const IMAGE_SIDE: usize = 32;
const PATCH_SIDE: usize = 4;
const NUM_PATCHES: usize = (IMAGE_SIDE / PATCH_SIDE).pow(2);
const NUM_CLASSES: usize = 100;
const WIDTH: usize = 192;
const HEADS: usize = 3;
const DEPTH: usize = 4;

/// ViT-Ti of a third of its depth, on the patches of small images: 1.8 M parameters.
#[derive(Module, Debug)]
pub struct SmallVit {
    patches: Conv2d,
    positions: Param<Tensor<3>>,
    encoder: TransformerEncoder,
    head: Linear,
}

impl SmallVit {
    /// One with random weights on `device`.
    pub fn new(device: &Device) -> Self {
        let positions = Initializer::Normal {
            mean: 0.0,
            std: 0.02,
        };
        Self {
            patches: Conv2dConfig::new([3, WIDTH], [PATCH_SIDE, PATCH_SIDE])
                .with_stride([PATCH_SIDE, PATCH_SIDE])
                .init(device),
            positions: positions.init([1, NUM_PATCHES, WIDTH], device),
            encoder: TransformerEncoderConfig::new(WIDTH, 4 * WIDTH, HEADS, DEPTH)
                .with_norm_first(true)
                .init(device),
            head: LinearConfig::new(WIDTH, NUM_CLASSES).init(device),
        }
    }

    /// Class scores `[batch, 100]` of images `[batch, 3, 32, 32]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let patches: Tensor<3> = self.patches.forward(images).flatten(2, 3);
        let tokens = patches.swap_dims(1, 2) + self.positions.val();
        let encoded = self.encoder.forward(TransformerEncoderInput::new(tokens));
        self.head.forward(encoded.mean_dim(1).flatten(1, 2))
    }

    fn classify(&self, batch: ImageBatch) -> ClassificationOutput {
        let scores = self.forward(batch.images);
        let loss = CrossEntropyLossConfig::new()
            .init(&scores.device())
            .forward(scores.clone(), batch.labels.clone());
        ClassificationOutput::new(loss, scores, batch.labels)
    }
}

impl TrainStep for SmallVit {
    type Input = ImageBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: ImageBatch) -> TrainOutput<ClassificationOutput> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for SmallVit {
    type Input = ImageBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: ImageBatch) -> ClassificationOutput {
        self.classify(batch)
    }
}

/// Images and their classes.
#[derive(Clone, Debug)]
pub struct ImageBatch {
    images: Tensor<4>,
    labels: Tensor<1, Int>,
}

impl ImageBatch {
    /// `number` images of noise, each of a class of its own. At most 100.
    pub fn random(number: usize, device: &Device) -> Self {
        let shape = [number, 3, IMAGE_SIDE, IMAGE_SIDE];
        Self {
            images: Tensor::random(shape, Distribution::Default, device),
            labels: Tensor::<1, Int>::arange(0..number as i64, device),
        }
    }
}
