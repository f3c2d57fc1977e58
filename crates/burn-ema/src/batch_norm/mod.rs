//! BatchNorm's running statistics, computed from data.

mod layers;

use burn::module::Module;

use crate::batch_norm::layers::{Layers, Statistics};
use crate::burn_facts::mode;
use crate::error::EmaError;
use crate::model::EmaModel;

/// A model whose running statistics were computed from data. Made by [`reestimate`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reestimated<M> {
    /// The model, in inference mode.
    pub model: M,
    /// Number of BatchNorm layers whose statistics were computed.
    pub layers: usize,
}

/// Computes the running statistics of the BatchNorm layers of `model` from `batches`, as torch's `update_bn` does.
///
/// `forward` runs the model that it is given on a batch, whose tensors have to be on an *autodiff* device, as in
/// training; there is no graph. Each running mean and variance becomes the mean of those of the batches, each
/// batch counting the same, whatever the momentum of the layer (variances are biased, as in Burn's training).
/// Layers that are frozen, that no batch reaches, or whose momentum is 0 keep what they have; where some batches reach
/// a layer and others do not, those that do count. Of a layer that runs several times in a forward pass, later runs
/// count more.
///
/// Dropout and noise stay off, as they are when the EMA model is used; torch leaves them as the mode of the
/// model says. Nothing of `model` changes, so there is no mode and no momentum to restore. The first batch that
/// reaches a layer is run twice: once to find out the momentum, which a layer does not tell. (With layers whose
/// momentum is 0, so is every batch.)
///
/// # Errors
///
/// - [`EmaError::NothingToReestimate`] if the model has no BatchNorm layer that is not frozen.
/// - [`EmaError::NoBatches`] if there are no batches.
/// - [`EmaError::StatisticsUnmoved`] if none has changed a statistic, as when they are on a device without autodiff.
///
/// # Example
///
/// ```
/// use burn::nn::BatchNormConfig;
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default().autodiff();
/// let norm = BatchNormConfig::new(1).init(&device);
/// let batches = [[[1.0], [3.0]], [[5.0], [9.0]]].map(|batch| Tensor::<2>::from_data(batch, &device));
/// let computed = burn_ema::batch_norm::reestimate(&norm, batches, |norm, batch| {
///     norm.forward(batch.clone());
/// })?;
/// let mean: Vec<f64> = computed.model.running_mean.value().into_data().iter().collect();
/// assert!((mean[0] - 4.5).abs() < 1e-6); // the mean of 2 and 7
/// assert_eq!(computed.layers, 1);
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
#[doc(alias = "update_bn")]
pub fn reestimate<M: Module, B>(
    model: &M,
    batches: impl IntoIterator<Item = B>,
    forward: impl FnMut(&M, &B),
) -> Result<Reestimated<M>, EmaError> {
    let running = mode::training_copy(model).no_grad();
    let statistics = estimate(running, batches, forward)?;
    Ok(Reestimated {
        layers: statistics.layers(),
        model: statistics.written_into(model.valid()),
    })
}

/// The statistics of the layers of `model`, which is in training mode.
fn estimate<M: Module, B>(
    model: M,
    batches: impl IntoIterator<Item = B>,
    mut forward: impl FnMut(&M, &B),
) -> Result<Statistics, EmaError> {
    let (layers, mut running) = Layers::running(model);
    if layers.is_empty() {
        return Err(EmaError::NothingToReestimate);
    }
    let mut sums: Vec<Sum> = layers.paths().map(|_| Sum::default()).collect();
    let mut is_empty = true;
    for batch in batches {
        is_empty = false;
        // A forward pass makes `retained * old + share` of a statistic: from nothing, the share is left ..
        running = layers.set_to_nothing(running);
        forward(&running, &batch);
        let shares = layers.shares(&running);
        let mut is_known = true;
        for (sum, share) in sums.iter_mut().zip(&shares) {
            sum.add(share.as_deref());
            is_known &= sum.count == 0.0 || sum.retained < 1.0;
        }
        if is_known {
            continue;
        }
        // .. and from a huge old value, what is retained of that can be read off. Once is enough.
        running = layers.set_huge(running);
        forward(&running, &batch);
        for (sum, retained) in sums.iter_mut().zip(layers.retained(&running, &shares)) {
            sum.retained = sum.retained.min(retained);
        }
    }
    let means = sums.into_iter().map(Sum::mean);
    let statistics = Statistics {
        values: layers.paths().map(str::to_string).zip(means).collect(),
    };
    if statistics.moved().next().is_some() {
        return Ok(statistics);
    }
    Err(match is_empty {
        true => EmaError::NoBatches,
        false => EmaError::StatisticsUnmoved {
            path: layers.paths().next().unwrap_or_default().to_string(),
        },
    })
}

/// What forward passes have added to one statistic.
#[derive(Debug)]
struct Sum {
    shares: Vec<f64>,
    /// The number of batches that have reached the layer.
    count: f64,
    /// The share of the old value that a forward pass leaves: 1 as long as it is not known.
    retained: f64,
}

impl Default for Sum {
    fn default() -> Self {
        Self {
            shares: Vec::new(),
            count: 0.0,
            retained: 1.0,
        }
    }
}

impl Sum {
    fn add(&mut self, share: Option<&[f64]>) {
        let Some(share) = share else {
            return;
        };
        self.shares.resize(share.len(), 0.0);
        for (sum, share) in self.shares.iter_mut().zip(share) {
            *sum += share;
        }
        self.count += 1.0;
    }

    /// `None` if nothing has moved the statistic.
    fn mean(self) -> Option<Vec<f64>> {
        let scale = self.count * (1.0 - self.retained);
        (scale > 0.0).then(|| self.shares.into_iter().map(|sum| sum / scale).collect())
    }
}

impl<M: Module> EmaModel<M> {
    /// Computes the running statistics of the EMA model from data, as [`reestimate`] does, and returns the number of BatchNorm
    /// layers whose statistics were computed.
    ///
    /// Call it before the EMA is used. The next update copies or averages statistics again, as the
    /// [`Policy`](crate::Policy) says, which has a table of when that is right. An EMA that is kept on another device wants its
    /// batches there.
    ///
    /// # Errors
    ///
    /// Those of [`reestimate`], and [`EmaError::Interrupted`] if an earlier update panicked. Nothing has changed then.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
    /// use burn::tensor::{Device, Tensor};
    /// use burn_ema::{Decay, EmaConfig};
    ///
    /// #[derive(Module, Debug)]
    /// struct Net {
    ///     linear: Linear,
    ///     norm: BatchNorm,
    /// }
    ///
    /// impl Net {
    ///     fn forward(&self, input: Tensor<2>) -> Tensor<2> {
    ///         self.norm.forward(self.linear.forward(input))
    ///     }
    /// }
    ///
    /// let device = Device::default().autodiff();
    /// let net = Net {
    ///     linear: LinearConfig::new(2, 3).init(&device),
    ///     norm: BatchNormConfig::new(3).init(&device),
    /// };
    /// let mut ema = EmaConfig::new().with_decay(Decay::equal_weights()).init(&net);
    /// // Train, with `ema.update(&net)` after each step. Then:
    /// let batches = (0..10).map(|i| Tensor::<2>::ones([8, 2], &device) * i);
    /// ema.reestimate(batches, |net, batch| {
    ///     net.forward(batch.clone());
    /// })?;
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    #[doc(alias = "update_bn")]
    pub fn reestimate<B>(
        &mut self,
        batches: impl IntoIterator<Item = B>,
        forward: impl FnMut(&M, &B),
    ) -> Result<usize, EmaError> {
        self.check_whole()?;
        // Of a clone, whose statistics are its own.
        let running = self.clone().training_model().clone();
        let statistics = estimate(running, batches, forward)?;
        self.store.settle();
        self.release();
        for (path, values) in statistics.moved() {
            if let Some(place) = self.plan.places.position(path) {
                self.store.write(place, values);
            }
        }
        Ok(statistics.layers())
    }
}
