//! The conv net.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d, Relu,
};
use burn::tensor::{Device, Tensor};
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};

use crate::data::{DigitBatch, IMAGE_SIDE, NUM_CLASSES};

const CHANNELS: [usize; 2] = [16, 32];

/// Two convolutions with batch normalization, one max-pool, dropout and a linear layer.
#[derive(Module, Debug)]
pub struct DigitsNet {
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
    pool: MaxPool2d,
    dropout: Dropout,
    linear: Linear,
    relu: Relu,
}

impl DigitsNet {
    /// A net with random weights on `device`.
    pub fn new(device: &Device) -> Self {
        let conv = |channels| {
            Conv2dConfig::new(channels, [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                // The normalization that follows has a bias of its own.
                .with_bias(false)
                .init(device)
        };
        let pooled_side = IMAGE_SIDE / 2;
        Self {
            conv1: conv([1, CHANNELS[0]]),
            norm1: BatchNormConfig::new(CHANNELS[0]).init(device),
            conv2: conv(CHANNELS),
            norm2: BatchNormConfig::new(CHANNELS[1]).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            dropout: DropoutConfig::new(0.5).init(),
            linear: LinearConfig::new(CHANNELS[1] * pooled_side * pooled_side, NUM_CLASSES)
                .init(device),
            relu: Relu::new(),
        }
    }

    /// What the last layer decides on, `[batch, 32, 4, 4]`, of images `[batch, 1, 8, 8]`.
    pub fn features(&self, images: Tensor<4>) -> Tensor<4> {
        let x = self
            .relu
            .forward(self.norm1.forward(self.conv1.forward(images)));
        let x = self.relu.forward(self.norm2.forward(self.conv2.forward(x)));
        self.pool.forward(x)
    }

    /// Class scores `[batch, 10]` of images `[batch, 1, 8, 8]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let features = self.features(images).flatten(1, 3);
        self.linear.forward(self.dropout.forward(features))
    }

    fn classify(&self, batch: DigitBatch) -> ClassificationOutput {
        let scores = self.forward(batch.images);
        let loss = CrossEntropyLossConfig::new()
            .init(&scores.device())
            .forward(scores.clone(), batch.labels.clone());
        ClassificationOutput::new(loss, scores, batch.labels)
    }
}

impl TrainStep for DigitsNet {
    type Input = DigitBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: DigitBatch) -> TrainOutput<ClassificationOutput> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for DigitsNet {
    type Input = DigitBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: DigitBatch) -> ClassificationOutput {
        self.classify(batch)
    }
}
