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
use crate::model::set::EmaSet;
use crate::model::set::config::EmaSetConfig;
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
    /// Starts as a copy of `model`. Of `config`, the decay, the start and the interval do not count: `bema` has them. A record without
    /// BEMA is an error, whatever `config` says of it.
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
    /// It is not finite where `online` is not, also if the EMA has skipped such steps. The weight of an update counts updates, and the
    /// correction steps, so after skipped steps the two are as many steps apart.
    ///
    /// # Errors
    ///
    /// If `online` does not have the structure of the EMA, or an earlier update panicked.
    pub fn model(&self, online: &M) -> Result<M, EmaError> {
        bema_formed(&self.bema, &self.ema, &self.first, online)
    }

    /// The EMA, without the correction.
    pub fn ema(&self) -> &EmaModel<M> {
        &self.ema
    }

    /// How it averages and corrects.
    pub fn bema(&self) -> &Bema {
        &self.bema
    }

    /// The weight that each past step has, right after an update, if none was skipped. The oldest are negative.
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

/// Name in a set of the EMA that BEMA corrects.
pub const BEMA: &str = "bema";
/// Name in a set of the first weights.
pub const BEMA_FIRST: &str = "bema_first";

/// The EMAs that BEMA is formed of, called [`BEMA`] and [`BEMA_FIRST`], for an [`EmaSet`] with others beside them.
/// [`bema_model`] forms it.
///
/// Of `config`, the decay, the start and the interval do not count: `bema` has them.
///
/// # Errors
///
/// If a number of `bema` is out of its range, or `config` writes back.
///
/// # Example
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn_ema::lag::{Bema, bema_emas, bema_model};
/// use burn_ema::{Decay, EmaConfig};
///
/// let model = LinearConfig::new(2, 1).init(&Default::default());
/// let bema = Bema::trl();
/// let plain = EmaConfig::new().with_decay(Decay::half_life(100.0));
/// let mut emas = bema_emas(&bema, &EmaConfig::new())?.with("plain", plain).init(&model);
/// emas.update(&model)?;
/// let averaged = bema_model(&bema, &emas, &model)?;
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
pub fn bema_emas(bema: &Bema, config: &EmaConfig) -> Result<EmaSetConfig, EmaError> {
    bema.validate()?;
    config.check_no_write_back()?;
    let [ema, first] = configs(bema, config);
    Ok(EmaSetConfig::new().with(BEMA, ema).with(BEMA_FIRST, first))
}

/// BEMA, formed of a set that has the EMAs of [`bema_emas`], and of the model that is trained.
///
/// # Errors
///
/// If the set lacks one of the EMAs, or as [`BemaModel::model`].
pub fn bema_model<M: Module>(bema: &Bema, emas: &EmaSet<M>, online: &M) -> Result<M, EmaError> {
    bema_formed(bema, emas.ema(BEMA)?, emas.ema(BEMA_FIRST)?, online)
}

/// The configurations of the EMA and of what keeps the first weights.
fn configs(bema: &Bema, config: &EmaConfig) -> [EmaConfig; 2] {
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

/// BEMA, formed of an EMA and the first weights, as [`bema_emas`] keeps them, and of the model that is trained.
///
/// # Errors
///
/// As [`BemaModel::model`].
///
/// # Example
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn_ema::EmaConfig;
/// use burn_ema::lag::{BEMA, BEMA_FIRST, Bema, bema_emas, bema_formed};
///
/// let model = LinearConfig::new(2, 1).init(&Default::default());
/// let bema = Bema::trl();
/// let emas = bema_emas(&bema, &EmaConfig::new())?.init(&model);
/// let averaged = bema_formed(&bema, emas.ema(BEMA)?, emas.ema(BEMA_FIRST)?, &model)?;
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
pub fn bema_formed<M: Module>(
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
        return Ok(ema.formed(false, |_, average| average));
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
