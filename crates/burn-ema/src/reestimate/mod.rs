//! BatchNorm's running statistics, computed anew from data.

mod layers;

use burn::module::Module;

use crate::{EmaError, EmaModel};
use layers::Layers;

/// A model like `model`, in validation state, whose BatchNorm layers have the statistics of `batches`: torch's
/// `update_bn`.
///
/// `forward` runs the model that it is given on a batch, whose tensors have to be on an *autodiff* device, as in
/// training; there is no graph. Each running mean and variance becomes the mean of those of the batches, each
/// batch counting the same, whatever the momentum of the layer (variances are biased, as in Burn's training).
/// Layers that are frozen, that no forward pass reaches, or whose momentum is 0 keep what they have. Of a layer that
/// runs several times in a forward pass, later runs count more.
///
/// Dropout and noise stay off, as they are when the averaged model is used; torch leaves them as the mode of the
/// model says. Nothing of `model` changes, so there is no mode and no momentum to restore. The first batch is run
/// twice: once to find out the momenta, which a layer does not tell.
///
/// # Errors
///
/// If there are no batches, or none has moved any statistic, as when they are on a device without autodiff. A model
/// without BatchNorm is returned as it is, without a look at the batches.
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
/// let norm = burn_ema::reestimate(&norm, batches, |norm, batch| {
///     norm.forward(batch.clone());
/// })?;
/// let mean: Vec<f64> = norm.running_mean.value().into_data().iter().collect();
/// assert!((mean[0] - 4.5).abs() < 1e-6); // the mean of 2 and 7
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
pub fn reestimate<M: Module, B>(
    model: &M,
    batches: impl IntoIterator<Item = B>,
    mut forward: impl FnMut(&M, &B),
) -> Result<M, EmaError> {
    let (layers, mut running) = Layers::running(model);
    let Some(first_layer) = layers.first() else {
        return Ok(model.valid());
    };
    let mut batches = batches.into_iter().peekable();
    let first = batches.peek().ok_or(EmaError::NoBatches)?;

    // A forward pass makes `retained * old + share` of a statistic. From a huge old value the one can be read off ..
    running = layers.set_huge(running);
    forward(&running, first);
    let retained = layers.retained(&running);
    if retained.iter().all(|retained| *retained == 1.0) {
        return Err(EmaError::StatisticsUnmoved {
            path: first_layer.to_string(),
        });
    }

    // .. and from an old value of 0 the other.
    let mut sums: Vec<Vec<f64>> = Vec::new();
    let mut count = 0.0;
    for batch in batches {
        running = layers.set_zero(running);
        forward(&running, &batch);
        let shares = layers.values(&running);
        sums.resize_with(shares.len(), Vec::new);
        for (sum, share) in sums.iter_mut().zip(shares) {
            sum.resize(share.len(), 0.0);
            sum.iter_mut()
                .zip(share)
                .for_each(|(sum, share)| *sum += share);
        }
        count += 1.0;
    }
    let mean = |(sum, retained): (Vec<f64>, f64)| {
        let scale = count * (1.0 - retained);
        (retained < 1.0).then(|| sum.into_iter().map(|sum| sum / scale).collect())
    };
    let means: Vec<Option<Vec<f64>>> = sums.into_iter().zip(retained).map(mean).collect();
    Ok(layers.write(model.valid(), &means))
}

impl<M: Module> EmaModel<M> {
    /// Computes the running statistics of the averaged model anew, from data: [`reestimate`] for an average.
    ///
    /// Call it before the average is used. The next update copies or averages statistics again, as the
    /// [`Policy`](crate::Policy) says; which of the three is right when is told there.
    ///
    /// # Errors
    ///
    /// Those of [`reestimate`]. Nothing has changed then.
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
    pub fn reestimate<B>(
        &mut self,
        batches: impl IntoIterator<Item = B>,
        forward: impl FnMut(&M, &B),
    ) -> Result<(), EmaError> {
        let estimated = reestimate(&self.settled().model(), batches, forward)?;
        self.release();
        let values = self.shadow.collect(&estimated)?;
        for (slot, source) in values.into_iter().enumerate() {
            if self.shadow.slots()[slot].is_buffer {
                let value = self.shadow.conformed(slot, source.value);
                self.shadow.copy(slot, value);
            }
        }
        Ok(())
    }
}
