//! The double EMA of the weights of a model.

use burn::module::Module;
use burn::tensor::Device;

use crate::burn_facts::rank;
use crate::error::EmaError;
use crate::model::EmaModel;
use crate::model::config::EmaConfig;
use crate::model::update::Update;

/// The double EMA (DEMA) of the weights of a model `M`: twice an EMA, less the EMA of it, formed when it is
/// [read](Self::model). See the [module](crate::lag).
///
/// If the weights move along a line, it has no lag; its noise is larger than that of the EMA.
///
/// # Example
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn_ema::lag::DemaModel;
/// use burn_ema::{Decay, EmaConfig};
///
/// let model = LinearConfig::new(2, 1).init(&Default::default());
/// let config = EmaConfig::new().with_decay(Decay::half_life(100.0));
/// let mut averaged = DemaModel::try_new(&model, &config)?;
/// // After each optimizer step:
/// averaged.update(&model)?;
/// let to_evaluate = averaged.model()?;
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
#[derive(Module, Debug)]
pub struct DemaModel<M: Module> {
    ema: EmaModel<M>,
    /// The EMA of the EMA.
    of_ema: EmaModel<M>,
}

impl<M: Module> DemaModel<M> {
    /// Starts as a copy of `model`. Both EMAs have the schedule of `config`. Loading a record without both EMAs returns an
    /// error, whatever [`missing_ema`](EmaConfig::missing_ema) is.
    ///
    /// # Errors
    ///
    /// If `config` writes back, or as [`EmaConfig::try_init`].
    pub fn try_new(model: &M, config: &EmaConfig) -> Result<Self, EmaError> {
        config.check_no_write_back()?;
        let ema = config.try_init(model)?;
        let of_ema = ema.clone();
        Ok(Self { ema, of_ema })
    }

    /// Takes the weights of `model` into account. Call it once after each optimizer step.
    ///
    /// # Errors
    ///
    /// As [`EmaModel::update`].
    ///
    /// # Panics
    ///
    /// As [`EmaModel::update`].
    pub fn update(&mut self, model: &M) -> Result<Update, EmaError> {
        self.of_ema.check_whole()?;
        let update = self.ema.update(model)?;
        follow(&mut self.of_ema, &self.ema, update);
        Ok(update)
    }

    /// The average without lag, in inference mode.
    ///
    /// # Errors
    ///
    /// If an earlier update panicked.
    pub fn model(&self) -> Result<M, EmaError> {
        formed(&self.ema, &self.of_ema)
    }

    /// The EMA, without the correction.
    pub fn ema(&self) -> &EmaModel<M> {
        &self.ema
    }

    /// Starts again from `model`, with all counters at 0.
    ///
    /// # Errors
    ///
    /// If `model` does not have the structure of the EMA. Nothing has changed then.
    pub fn restart(&mut self, model: &M) -> Result<(), EmaError> {
        self.ema.restart(model)?;
        self.of_ema = self.ema.clone();
        Ok(())
    }

    /// Keeps everything on `device`, wherever the model is.
    #[must_use]
    pub fn with_device(self, device: &Device) -> Self {
        Self {
            ema: self.ema.with_device(device),
            of_ema: self.of_ema.with_device(device),
        }
    }
}

/// Does to the EMA of an EMA what an update has done to that.
pub(crate) fn follow<M: Module>(of_ema: &mut EmaModel<M>, ema: &EmaModel<M>, update: Update) {
    match update {
        Update::Copied { .. } => of_ema.follow(ema, 1.0),
        Update::Averaged { decay, .. } => of_ema.follow(ema, 1.0 - decay),
        Update::Waiting | Update::Skipped => of_ema.counters = ema.counters,
    }
}

/// Twice an EMA, less the EMA of it.
///
/// # Errors
///
/// If an earlier update panicked.
pub(crate) fn formed<M: Module>(ema: &EmaModel<M>, of_ema: &EmaModel<M>) -> Result<M, EmaError> {
    ema.check_whole()?;
    of_ema.check_whole()?;
    Ok(
        ema.formed(false, |place, average| match of_ema.tensor_of(ema, place) {
            Some(slower) => {
                let slower = rank::cast(slower, average.dtype());
                let twice = rank::scale(average, 2.0);
                rank::add(twice, rank::scale(slower, -1.0))
            }
            None => average,
        }),
    )
}
