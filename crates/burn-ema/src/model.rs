//! The average of a model's weights.

use std::cell::OnceCell;

use burn::module::Module;
use burn::tensor::Device;

use crate::policy::Class;
use crate::scope::Swapped;
use crate::shadow::{Shadow, Source};
use crate::{
    Action, EmaConfig, EmaError, Moment, NonFinite, Phase, PlainRecord, Policy, Rule, reduce,
};

/// An exponential moving average of the weights of a model `M`.
///
/// `ema = decay * ema + (1 - decay) * source` for each trainable parameter, after each optimizer step
/// (Polyak and Juditsky 1992; see Morales-Brotons et al. 2024, arXiv:2411.18704, for what it does to
/// deep networks). Made by [`EmaConfig::init`]. The source model is only read: its parameters, its
/// running statistics, its graph and its gradients are what they would be without an average.
///
/// # What is averaged
///
/// By default trainable float parameters are averaged, and frozen parameters, buffers such as
/// BatchNorm's running statistics, integers and booleans are copied exactly; [`Policy`] changes
/// that. Values are paired by module path. With LoRA the stored base and each factor are separate
/// values, so factors are averaged one by one; a quantized base is copied. Tensors that are not
/// parameters or buffers of the module (plain fields) stay what they were when the average was made.
///
/// # Memory
///
/// One value per averaged parameter, of the source's dtype but at least 32 bits; copied values share
/// the source's memory, unless they are of half precision, which is widened, or kept on another device.
/// [`clone`](Clone::clone) shares all memory until one of the two changes.
///
/// # As a module
///
/// `EmaModel` is a Burn [`Module`], so `save_file`, `try_load_file` and records work as on any other:
/// they hold the average (as `shadow.*`, in the shadow's dtype) and the counters (as `ema_counters`), and a
/// resumed run goes on bit for bit. It can be a field of a module that is trained: its parameters have
/// ids of their own and never require gradients, so an optimizer leaves them alone.
///
/// # Example
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::{GradientsParams, SgdConfig};
/// use burn::tensor::{Device, Tensor};
/// use burn_ema::{Decay, EmaConfig};
///
/// let device = Device::default().autodiff();
/// let mut model: Linear = LinearConfig::new(2, 1).init(&device);
/// let mut optim = SgdConfig::new().init();
/// let mut ema = EmaConfig::new().with_decay(Decay::constant(0.9)).init(&model);
///
/// for _ in 0..3 {
///     let loss = model.forward(Tensor::<2>::ones([4, 2], &device)).square().mean();
///     let grads = GradientsParams::from_grads(loss.backward(), &model);
///     model = optim.step(0.1, model, grads);
///     ema.update(&model)?;
/// }
/// assert_eq!(ema.num_updates(), 3);
/// let prediction = ema.model().forward(Tensor::<2>::ones([1, 2], &device.inner()));
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
#[derive(Debug)]
pub struct EmaModel<M: Module> {
    pub(crate) shadow: Shadow<M>,
    pub(crate) counters: Counters,
    config: EmaConfig,
    /// The model that [`model`](Self::model) gave out since the last change. Dropped before a
    /// change, so that the change can happen in place.
    handed_out: OnceCell<M>,
}

impl<M: Module> Clone for EmaModel<M> {
    fn clone(&self) -> Self {
        Self {
            shadow: self.shadow.clone(),
            counters: self.counters,
            config: self.config.clone(),
            // A clone of a model shares BatchNorm's running statistics with it.
            handed_out: OnceCell::new(),
        }
    }
}

/// How far an average has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Optimizer steps seen.
    pub(crate) steps: u64,
    /// Averages taken.
    pub(crate) updates: u64,
    /// Steps at which an average or a copy was due but skipped.
    pub(crate) skipped: u64,
}

/// What a call of [`EmaModel::update`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Update {
    /// Before the start: the average is a copy of the source.
    Copied,
    /// The average moved towards the source.
    Averaged {
        /// Share of the old average that was kept.
        decay: f64,
    },
    /// Between two averages: nothing was due.
    Waiting,
    /// The source held NaN or infinity, and [`NonFinite::Skip`] is set.
    Skipped,
}

impl<M: Module> EmaModel<M> {
    pub(crate) fn new(
        config: &EmaConfig,
        source: &M,
        pinned: Option<Device>,
    ) -> Result<Self, EmaError> {
        config.validate()?;
        Ok(Self {
            shadow: Shadow::new(source, config.shadow_dtype, &config.policy, pinned)?,
            counters: Counters::default(),
            config: config.clone(),
            handed_out: OnceCell::new(),
        })
    }

    /// Takes the weights of `source` into account. Call it once after each optimizer step.
    ///
    /// Whether this copies, averages or waits depends on [`Schedule`](crate::Schedule).
    ///
    /// # Errors
    ///
    /// If `source` is not of the structure that the average was made from, or holds NaN or infinity
    /// and [`NonFinite::Error`] is set. Neither values nor counters have changed then.
    pub fn update(&mut self, source: &M) -> Result<Update, EmaError> {
        let step = self.counters.steps + 1;
        let phase = self.config.schedule().phase(step);
        if phase == Phase::Wait {
            self.counters.steps = step;
            return Ok(Update::Waiting);
        }

        let sources = self.shadow.collect(source)?;
        let actions: Vec<Action> = self.actions(&sources).collect();
        if !self.is_acceptable(&sources, &actions)? {
            self.counters.steps = step;
            self.counters.skipped += 1;
            return Ok(Update::Skipped);
        }

        self.handed_out.take();
        self.counters.steps = step;
        if phase == Phase::Copy {
            self.copy(sources, &actions);
            return Ok(Update::Copied);
        }
        let decay = self.current_decay();
        self.average(sources, &actions, 1.0 - decay);
        self.counters.updates += 1;
        Ok(Update::Averaged { decay })
    }

    /// Makes the average a copy of `source`, whatever the [`Policy`] says. Counters stay.
    ///
    /// # Errors
    ///
    /// If `source` is not of the structure that the average was made from. Nothing has changed then.
    pub fn copy_from(&mut self, source: &M) -> Result<(), EmaError> {
        let sources = self.shadow.collect(source)?;
        self.handed_out.take();
        let everything = vec![Action::Copy; sources.len()];
        self.copy(sources, &everything);
        Ok(())
    }

    /// The averaged model in validation state: no autodiff, dropout off, BatchNorm on its running
    /// statistics, dtypes of the source, so that it runs wherever the source does.
    ///
    /// This is free after the first call since the last update, and copies no tensor (half-precision
    /// ones are rounded from the average, and so made anew). Later updates never change it or a clone
    /// of it; while a clone is alive they copy what it holds instead of working in place. As ever in
    /// Burn a clone shares BatchNorm's running statistics; for a model to train or to load into, take
    /// `ema.clone().into_model()`.
    pub fn model(&self) -> &M {
        self.handed_out.get_or_init(|| self.shadow.model())
    }

    /// The averaged model, as [`model`](Self::model), without the average. It shares no state with any
    /// other model.
    pub fn into_model(self) -> M {
        self.shadow.model()
    }

    /// The averaged model in the dtypes of the average: f32 where the source is f16 or bf16.
    pub fn full_precision_model(&self) -> M {
        self.shadow.full_precision_model()
    }

    /// Puts the averaged weights into `model` until the returned guard is dropped.
    ///
    /// For code that needs the averaged weights in a place of its own; elsewhere [`model`](Self::model)
    /// is simpler. The guard gives back what was there, also when the code in between panics or
    /// returns early. What it derefs to is in validation state, and changes to it are lost.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Tensor};
    /// use burn_ema::EmaConfig;
    ///
    /// let mut model = LinearConfig::new(2, 1).init(&Device::default());
    /// let ema = EmaConfig::new().init(&model);
    /// let output = {
    ///     let averaged = ema.swap_into(&mut model);
    ///     averaged.forward(Tensor::<2>::ones([1, 2], &Device::default()))
    /// }; // `model` has its own weights again
    /// ```
    pub fn swap_into<'a>(&self, model: &'a mut M) -> Swapped<'a, M> {
        Swapped::new(model, self.shadow.model())
    }

    /// Number of averages taken. Copies before the start do not count.
    pub fn num_updates(&self) -> u64 {
        self.counters.updates
    }

    /// Number of optimizer steps seen.
    pub fn num_steps(&self) -> u64 {
        self.counters.steps
    }

    /// Number of steps that [`NonFinite::Skip`] left out.
    pub fn num_skipped(&self) -> u64 {
        self.counters.skipped
    }

    /// The decay that the next average will use.
    pub fn current_decay(&self) -> f64 {
        self.config.decay.decay(Moment {
            updates: self.counters.updates,
            interval: self.config.interval,
        })
    }

    /// The configuration that the average was made with.
    pub fn config(&self) -> &EmaConfig {
        &self.config
    }

    /// Moves the average to `device` and keeps it there, wherever its source is, as
    /// [`EmaConfig::try_init_on`] does from the start.
    pub fn with_device(mut self, device: &Device) -> Self {
        self.handed_out.take();
        self.shadow.pin(device);
        self
    }

    /// The device that the average is kept on wherever its source is, if there is one.
    pub fn device(&self) -> Option<Device> {
        self.shadow.pinned()
    }

    /// How far the average is from `source`: `|source - ema| / |source|` in the Euclidean norm over
    /// everything that is averaged. Computed in f32; waits for the device once.
    ///
    /// # Errors
    ///
    /// If `source` is not of the structure that the average was made from.
    pub fn relative_distance(&self, source: &M) -> Result<f64, EmaError> {
        let sources = self.shadow.collect(source)?;
        let averaged = self
            .actions(&sources)
            .zip(&sources)
            .zip(self.shadow.slots())
            .filter(|((action, _), _)| *action == Action::Average)
            .map(|((_, source), slot)| (&source.value, slot.value()));
        Ok(reduce::relative_distance(averaged))
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.config.policy
    }

    pub(crate) fn plain_record(&self) -> PlainRecord {
        self.config.plain_record
    }

    /// Replaces the whole state.
    pub(crate) fn replace(&mut self, model: M, counters: Counters) -> Result<(), EmaError> {
        self.handed_out.take();
        self.shadow.replace(model, &self.config.policy)?;
        self.counters = counters;
        Ok(())
    }

    /// Moves the average to `device`. A device that it was pinned to is forgotten for this one.
    pub(crate) fn move_to(&mut self, device: &Device) {
        self.handed_out.take();
        self.shadow.move_to(device);
    }

    fn actions<'a>(&'a self, sources: &'a [Source]) -> impl Iterator<Item = Action> + 'a {
        let slots = self.shadow.slots().iter();
        let action = |source: &Source, exception| self.policy().action(source.class, exception);
        slots
            .zip(sources)
            .map(move |(slot, source)| action(source, slot.exception))
    }

    /// Whether the values that would be averaged are finite, as far as anybody wants to know.
    fn is_acceptable(&self, sources: &[Source], actions: &[Action]) -> Result<bool, EmaError> {
        if self.config.non_finite == NonFinite::Propagate {
            return Ok(true);
        }
        // Before the start these are copied, and would poison the first average all the same.
        let averaged = || {
            let slots = self.shadow.slots().iter();
            let all = slots.zip(sources).zip(actions);
            all.filter(|((_, source), action)| {
                **action == Action::Average && source.class != Class::Discrete
            })
            .map(|((slot, source), _)| (slot, &source.value))
        };
        if reduce::all_finite(averaged().map(|(_, value)| value)) {
            return Ok(true);
        }
        if self.config.non_finite == NonFinite::Skip {
            return Ok(false);
        }
        let culprit = averaged().find(|(_, value)| !reduce::all_finite([*value]));
        Err(EmaError::NonFinite {
            path: culprit.map_or_else(String::new, |(slot, _)| slot.path.clone()),
        })
    }

    fn copy(&mut self, sources: Vec<Source>, actions: &[Action]) {
        for (slot, (source, action)) in sources.into_iter().zip(actions).enumerate() {
            match action {
                Action::Average | Action::Copy => self.shadow.copy(slot, source.value),
                Action::Ignore => {}
            }
        }
    }

    fn average(&mut self, sources: Vec<Source>, actions: &[Action], weight: f64) {
        for (slot, (source, action)) in sources.into_iter().zip(actions).enumerate() {
            match action {
                Action::Average => self.shadow.average(slot, source.value, weight),
                Action::Copy => self.shadow.copy(slot, source.value),
                Action::Ignore => {}
            }
        }
    }
}
