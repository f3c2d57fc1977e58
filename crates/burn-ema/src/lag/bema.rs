//! BEMA of the weights of a model.

use burn::module::Module;
use burn::tensor::Device;
use burn_ema_rules::bema::Bema;
use burn_ema_rules::decay::Decay;
use burn_ema_rules::profile::Profile;

use crate::burn_facts::rank;
use crate::error::EmaError;
use crate::model::EmaModel;
use crate::model::config::{EmaConfig, EmaPrecision};
use crate::model::update::{Update, Weight, update_all};

/// BEMA of the weights of a model `M`: an EMA that is corrected for its lag when it is [read](Self::model). See the
/// [module](crate::lag).
///
/// # Example
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn_ema::EmaConfig;
/// use burn_ema::lag::{Bema, BemaModel};
///
/// let model = LinearConfig::new(2, 1).init(&Default::default());
/// let bema = Bema { update_freq: 10, ..Bema::trl() };
/// let mut averaged = BemaModel::try_new(&model, bema, &EmaConfig::new())?;
/// for _ in 0..100 {
///     // An optimizer step, then:
///     averaged.update(&model)?;
/// }
/// let to_evaluate = averaged.model(&model)?;
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
#[derive(Module, Debug)]
pub struct BemaModel<M: Module> {
    ema: EmaModel<M>,
    /// An EMA that stands still once it has started.
    first: EmaModel<M>,
    #[module(skip)]
    bema: Bema,
}

impl<M: Module> BemaModel<M> {
    /// Starts as a copy of `model`. The decay, start and interval come from `bema`, and those of `config` are not used.
    /// Loading a record without BEMA returns an error, whatever [`missing_ema`](EmaConfig::missing_ema) is.
    ///
    /// # Errors
    ///
    /// If a number of `bema` is out of its range, `config` writes back, or as [`EmaConfig::try_init`].
    pub fn try_new(model: &M, bema: Bema, config: &EmaConfig) -> Result<Self, EmaError> {
        bema.validate()?;
        config.check_no_write_back()?;
        let [of_ema, of_first] = configs(&bema, config);
        let ema = of_ema.try_init(model)?;
        let mut first = of_first.try_init(model)?;
        first.plan.share_places(&ema.plan);
        Ok(Self { ema, first, bema })
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
        let updates = update_all(&mut [&mut self.ema, &mut self.first], model, Weight::One)?;
        Ok(updates[0])
    }

    /// The average without lag, in inference mode: the EMA plus [`Bema::correction`] of the way from the first weights to those
    /// of `online`, the model that is trained.
    ///
    /// After the burn-in the result is not finite where `online` is not finite, even if the EMA has skipped such steps. The
    /// decay schedule advances with updates and the correction with optimizer steps, so each skipped update puts the decay
    /// schedule `update_freq` steps behind the correction.
    ///
    /// # Errors
    ///
    /// If `online` does not have the structure of the EMA, or an earlier update panicked.
    pub fn model(&self, online: &M) -> Result<M, EmaError> {
        formed(&self.bema, &self.ema, &self.first, online)
    }

    /// The EMA, without the correction.
    pub fn ema(&self) -> &EmaModel<M> {
        &self.ema
    }

    /// How it averages and corrects.
    pub fn bema(&self) -> &Bema {
        &self.bema
    }

    /// The weight of each past step right after an update, if no step was skipped. Only the first weight can be negative.
    ///
    /// # Errors
    ///
    /// As [`Bema::profile`].
    pub fn profile(&self) -> Result<Profile, EmaError> {
        Ok(self.bema.profile(self.ema.num_updates())?)
    }

    /// Starts again from `model`, with all counters at 0.
    ///
    /// # Errors
    ///
    /// If `model` does not have the structure of the EMA. Nothing has changed then.
    pub fn restart(&mut self, model: &M) -> Result<(), EmaError> {
        self.ema.restart(model)?;
        self.first.restart(model)
    }

    /// Keeps everything on `device`, wherever the model is.
    #[must_use]
    pub fn with_device(self, device: &Device) -> Self {
        Self {
            ema: self.ema.with_device(device),
            first: self.first.with_device(device),
            bema: self.bema,
        }
    }
}

/// The configurations of the EMA and of what keeps the first weights.
pub(crate) fn configs(bema: &Bema, config: &EmaConfig) -> [EmaConfig; 2] {
    let scheduled = |decay| {
        let config = config.clone().with_decay(decay);
        config
            .with_start(bema.update_after)
            .with_interval(bema.update_freq)
    };
    // Never averaged, so it needs no more digits than the model has.
    let first = scheduled(Decay::constant(1.0)).with_precision(EmaPrecision::SameAsModel);
    [scheduled(bema.decay()), first]
}

/// BEMA of its EMA, the first weights as [`configs`] keeps them, and the online weights.
///
/// # Errors
///
/// As [`BemaModel::model`].
pub(crate) fn formed<M: Module>(
    bema: &Bema,
    ema: &EmaModel<M>,
    first: &EmaModel<M>,
    online: &M,
) -> Result<M, EmaError> {
    first.check_whole()?;
    let (reading, _) = ema.read_averaged(online)?;
    ema.check_whole()?;
    let correction = bema.correction(ema.num_steps());
    // Not computed: the online weights may be NaN.
    if correction == 0.0 {
        return Ok(ema.fresh_model());
    }
    Ok(ema.formed(false, |place, average| {
        let (Some(first), Some(shown)) = (first.tensor_of(ema, place), &reading.shown[place])
        else {
            return average;
        };
        let online = rank::conform(
            shown.tensor.clone(),
            &rank::device(&average),
            average.dtype(),
        );
        let first = rank::conform(first, &rank::device(&average), average.dtype());
        let way = rank::add(online, rank::scale(first, -1.0));
        rank::add(average, rank::scale(way, correction))
    }))
}
