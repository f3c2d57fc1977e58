//! How close made digits come to real ones, over the course of a run.

use std::path::Path;

use burn::tensor::{Device, Distribution, Tensor};
use burn_ema_digits::chart::{Better, Chart, Panel, Series};
use burn_ema_digits::data::DigitItem;
use serde::{Deserialize, Serialize};

use crate::classifier::Classifier;
use crate::error::GanError;
use crate::frechet::Gaussian;
use crate::grid;
use crate::model::{Gan, LATENT, SampleModel};
use crate::trainer::images;

/// Number of samples in a picture.
const IN_PICTURE: usize = 64;

/// The Fréchet distances after some iteration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distances {
    /// Number of iterations done.
    pub iters: u64,
    /// Of the generator that is trained.
    pub online: f64,
    /// Of its EMA copy.
    pub ema: f64,
}

/// Compares samples with real digits. The latent codes are the same each time, and for both generators.
#[derive(Debug)]
pub struct Evaluation {
    classifier: Classifier,
    real: Gaussian,
    some_real: Tensor<4>,
    latents: Tensor<2>,
}

impl Evaluation {
    /// Trains the classifier, and looks at the real digits.
    pub fn new(digits: &[DigitItem], device: &Device) -> Self {
        let classifier = Classifier::train(digits, device);
        let pixels = |digits: &[DigitItem]| {
            let pixels = digits.iter().flat_map(|digit| digit.image);
            images(pixels.collect(), device)
        };
        device.seed(23);
        let normal = Distribution::Normal(0.0, 1.0);
        Self {
            real: classifier.features(pixels(digits)),
            some_real: pixels(&digits[..IN_PICTURE.min(digits.len())]),
            latents: Tensor::random([digits.len(), LATENT], normal, device),
            classifier,
        }
    }

    /// The distance of images `[number, 1, 8, 8]` to the real digits.
    pub fn distance(&self, images: Tensor<4>) -> f64 {
        self.real.distance(&self.classifier.features(images))
    }

    /// The distances of what both generators make.
    pub fn distances(&self, model: &Gan, iters: u64) -> Distances {
        let distance = |of| self.distance(model.sample(&self.latents, of));
        Distances {
            iters,
            online: distance(SampleModel::Orig),
            ema: distance(SampleModel::Ema),
        }
    }

    /// Draws real digits, samples and samples of the EMA copy side by side, the latter two of the same latent
    /// codes.
    ///
    /// # Errors
    ///
    /// If the picture cannot be written.
    pub fn draw_samples(&self, model: &Gan, path: &Path) -> Result<(), GanError> {
        let latents = self.latents.clone().narrow(0, 0, IN_PICTURE);
        let online = model.sample(&latents, SampleModel::Orig);
        let ema = model.sample(&latents, SampleModel::Ema);
        grid::write(&[self.some_real.clone(), online, ema], path).map_err(|error| {
            GanError::Output {
                path: path.to_owned(),
                problem: error.to_string(),
            }
        })
    }
}

/// Draws the distances of a run.
///
/// # Errors
///
/// If there are none, or the picture cannot be written.
pub fn draw_distances(history: &[Distances], path: &Path) -> Result<(), GanError> {
    let series = Series {
        online: history.iter().map(|at| at.online).collect(),
        ema: history.iter().map(|at| at.ema).collect(),
    };
    let chart = Chart {
        title: "Made digits",
        x_label: "iteration",
        x: history.iter().map(|at| at.iters as usize).collect(),
        panels: vec![Panel {
            label: "Fréchet distance to real digits",
            series,
            better: Better::Lower,
            bounds: 0.0..f64::INFINITY,
        }],
    };
    Ok(chart.draw(path)?)
}

#[cfg(test)]
mod tests {
    use std::sync::PoisonError;

    use burn_ema_digits::data::{self, Digits};

    use super::*;
    use crate::ALONE;

    /// A measure that cannot tell digits from what is not quite digits would be of no use.
    #[test]
    fn distance_discriminates() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let device = Device::default();
        let (train, other) = Digits::load(data::default_path()).unwrap().split();
        let evaluation = Evaluation::new(&train, &device);
        assert!(evaluation.classifier.accuracy(&other, &device) > 0.9);

        let pixels = |digits: &[DigitItem]| {
            let pixels = digits.iter().flat_map(|digit| digit.image);
            images(pixels.collect(), &device)
        };
        let same = evaluation.distance(pixels(&train));
        let others = evaluation.distance(pixels(&other));
        let noise = |strength: f64| {
            let digits = pixels(&other);
            let noise = digits.random_like(Distribution::Normal(0.0, strength));
            evaluation.distance((digits + noise).clamp(0.0, 1.0))
        };
        let noisy = [0.05, 0.1, 0.2, 0.4].map(noise);
        let one_digit: Vec<DigitItem> = other
            .iter()
            .filter(|digit| digit.label == 3)
            .cloned()
            .collect();
        let collapsed = evaluation.distance(pixels(&one_digit));
        let uniform = other.len();
        let nothing = Tensor::random([uniform, 1, 8, 8], Distribution::Default, &device);
        let nothing = evaluation.distance(nothing);
        println!(
            "the same {same:.3}, other writers {others:.2}, noise {noisy:.2?}, threes only \
             {collapsed:.2}, nothing but noise {nothing:.2}"
        );
        assert!(same < 1e-3);
        assert!(noisy.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(others < noisy[1] && noisy[3] < nothing);
        assert!(collapsed > 3.0 * others);
    }
}
