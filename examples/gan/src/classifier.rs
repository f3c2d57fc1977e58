//! The classifier whose features tell how much made digits look like real ones.

use burn::data::dataloader::batcher::Batcher;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{AvgPool2d, AvgPool2dConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor};
use burn_ema_digits::data::{DigitBatcher, DigitItem};
use burn_ema_digits::model::DigitsNet;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::frechet::Gaussian;

/// Number of features: 32 channels in 2x2 places.
const WIDTH: usize = 32 * 2 * 2;

const EPOCHS: usize = 4;
const BATCH_SIZE: usize = 32;

/// The net of the digits example, trained.
#[derive(Debug)]
pub struct Classifier {
    net: DigitsNet,
    pool: AvgPool2d,
}

impl Classifier {
    /// Trains it on `digits`: the same each time, whatever the seed of a run, so that distances of
    /// different runs can be compared. `device` is without autodiff.
    pub fn train(digits: &[DigitItem], device: &Device) -> Self {
        device.seed(17);
        let mut random = StdRng::seed_from_u64(17);
        let device = device.clone().autodiff();
        let mut net = DigitsNet::new(&device);
        let mut optim = AdamConfig::new().init();
        let mut digits = digits.to_vec();
        for _ in 0..EPOCHS {
            digits.shuffle(&mut random);
            for items in digits.chunks(BATCH_SIZE) {
                let batch = DigitBatcher.batch(items.to_vec(), &device);
                let loss = CrossEntropyLossConfig::new().init(&device);
                let loss = loss.forward(net.forward(batch.images), batch.labels);
                let gradients = GradientsParams::from_grads(loss.backward(), &net);
                net = optim.step(1e-3, net, gradients);
            }
        }
        Self {
            net: net.valid(),
            pool: AvgPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        }
    }

    /// The distribution of the features of images `[number, 1, 8, 8]`, on a device without autodiff.
    pub fn features(&self, images: Tensor<4>) -> Gaussian {
        let features = self.net.features(images);
        let pooled = self.pool.forward(features);
        let features: Vec<f32> = pooled.into_data().iter::<f32>().collect();
        Gaussian::fit(&features, WIDTH)
    }

    /// Share of `digits` that it gets right.
    pub fn accuracy(&self, digits: &[DigitItem], device: &Device) -> f64 {
        let batch = DigitBatcher.batch(digits.to_vec(), device);
        let guesses = self.net.forward(batch.images).argmax(1).flatten::<1>(0, 1);
        let right = guesses.equal(batch.labels).int().sum().into_data();
        right.iter::<i64>().sum::<i64>() as f64 / digits.len() as f64
    }
}
