//! The training loop, with hooks.

use std::fmt;

use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Distribution, Tensor, TensorData, activation};
use burn_ema_digits::data::{DigitItem, IMAGE_SIDE};
use burn_ema_train::hook::Runner;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::model::{Gan, LATENT};

/// Real and made images per step.
pub const BATCH_SIZE: usize = 64;

/// High for a GAN, so that the generator keeps moving around.
const LEARNING_RATE: f64 = 2e-3;

/// Trains a [`Gan`], one iteration at a time.
pub struct Trainer {
    model: Gan,
    iter: u64,
    pub(crate) generator_optim: ModuleOptimizer,
    pub(crate) discriminator_optim: ModuleOptimizer,
    images: Vec<DigitItem>,
    seed: u64,
    device: Device,
}

impl fmt::Debug for Trainer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Trainer")
            .field("iter", &self.iter)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// A trainer is a runner by saying where it stands and what it trains.
impl Runner for Trainer {
    type Model = Gan;

    fn iter(&self) -> u64 {
        self.iter
    }

    fn model(&self) -> &Gan {
        &self.model
    }

    fn model_mut(&mut self) -> &mut Gan {
        &mut self.model
    }
}

/// The losses of one iteration.
#[derive(Clone, Copy, Debug)]
pub struct Losses {
    /// Of the generator.
    pub generator: f64,
    /// Of the discriminator.
    pub discriminator: f64,
}

impl Trainer {
    /// A trainer before its first iteration. `device` is without autodiff.
    pub fn new(images: Vec<DigitItem>, seed: u64, device: &Device) -> Self {
        let optim = || AdamConfig::new().with_beta_1(0.5).init();
        device.seed(seed);
        Self {
            model: Gan::new(&device.clone().autodiff()),
            iter: 0,
            generator_optim: optim(),
            discriminator_optim: optim(),
            images,
            seed,
            device: device.clone().autodiff(),
        }
    }

    /// Goes on from the end of iteration `iter - 1`, with the weights that `change` gives.
    pub(crate) fn resume<E>(
        &mut self,
        iter: u64,
        change: impl FnOnce(Gan) -> Result<Gan, E>,
    ) -> Result<(), E> {
        self.model = change(self.model.clone())?;
        self.iter = iter;
        Ok(())
    }

    /// Trains both networks on one batch: the non-saturating loss of Goodfellow et al. 2014.
    pub fn train_iter(&mut self) -> Losses {
        // What is random is a function of the iteration, so that a resumed run continues as it was.
        self.device
            .clone()
            .seed(self.seed.wrapping_mul(1_000_003) ^ self.iter);

        let made = self.model.generator.forward(self.latents()).detach();
        let logits = |images| self.model.discriminator.forward(images);
        let loss = softplus(-logits(self.real_images())) + softplus(logits(made));
        let gradients = GradientsParams::from_grads(loss.backward(), &self.model.discriminator);
        let discriminator = number(&loss);
        let network = self.model.discriminator.clone();
        self.model.discriminator = self
            .discriminator_optim
            .step(LEARNING_RATE, network, gradients);

        let made = self.model.generator.forward(self.latents());
        let loss = softplus(-self.model.discriminator.forward(made));
        let gradients = GradientsParams::from_grads(loss.backward(), &self.model.generator);
        let network = self.model.generator.clone();
        self.model.generator = self.generator_optim.step(LEARNING_RATE, network, gradients);
        Losses {
            generator: number(&loss),
            discriminator,
        }
    }

    /// Ends the iteration, after its hooks.
    pub fn advance(&mut self) {
        self.iter += 1;
    }

    fn latents(&self) -> Tensor<2> {
        let normal = Distribution::Normal(0.0, 1.0);
        Tensor::random([BATCH_SIZE, LATENT], normal, &self.device)
    }

    fn real_images(&self) -> Tensor<4> {
        let mut random = StdRng::seed_from_u64(self.seed.wrapping_add(self.iter << 20));
        let chosen = rand::seq::index::sample(&mut random, self.images.len(), BATCH_SIZE);
        let pixels = chosen.iter().flat_map(|index| self.images[index].image);
        images(pixels.collect(), &self.device)
    }
}

/// Images `[number, 1, 8, 8]` of their pixels.
pub(crate) fn images(pixels: Vec<f32>, device: &Device) -> Tensor<4> {
    let number = pixels.len() / (IMAGE_SIDE * IMAGE_SIDE);
    let data = TensorData::new(pixels, [number, 1, IMAGE_SIDE, IMAGE_SIDE]);
    Tensor::from_data(data, device)
}

/// The mean of `log(1 + exp(x))`.
fn softplus(logits: Tensor<2>) -> Tensor<1> {
    activation::softplus(logits, 1.0).mean()
}

fn number(loss: &Tensor<1>) -> f64 {
    loss.clone().into_data().iter::<f64>().sum()
}
