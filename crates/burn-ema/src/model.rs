//! The average of a model's weights.

use std::borrow::Cow;
use std::cell::OnceCell;

use burn::module::Module;
use burn::tensor::Device;
use burn::tensor::kind::BridgeTensor;

use crate::policy::Class;
use crate::shadow::{Shadow, Slot, Source};
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
    pub(crate) handed_out: OnceCell<M>,
    /// The same as [`training_model`](Self::training_model) gave it out.
    pub(crate) in_training: OnceCell<M>,
}

impl<M: Module> Clone for EmaModel<M> {
    fn clone(&self) -> Self {
        Self {
            shadow: self.settled().into_owned(),
            counters: self.counters,
            config: self.config.clone(),
            // A clone of a model shares BatchNorm's running statistics with it.
            handed_out: OnceCell::new(),
            in_training: OnceCell::new(),
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
            in_training: OnceCell::new(),
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
        if self.phase() == Phase::Wait {
            return Ok(self.finish(&Due::Nothing));
        }
        let sources = self.shadow.collect(source)?;
        let due = self.decide(&sources, &mut FiniteChecks::default())?;
        self.begin(&due);
        for (slot, source) in sources.into_iter().enumerate() {
            let value = self.shadow.conformed(slot, source.value);
            self.apply(&due, slot, value);
        }
        Ok(self.finish(&due))
    }

    /// What the next step means for the average.
    pub(crate) fn phase(&self) -> Phase {
        self.config.schedule().phase(self.counters.steps + 1)
    }

    /// What the next step does, given the values of the source. Everything that can be wrong is found here.
    pub(crate) fn decide(
        &self,
        sources: &[Source],
        finite: &mut FiniteChecks,
    ) -> Result<Due, EmaError> {
        let phase = self.phase();
        if phase == Phase::Wait {
            return Ok(Due::Nothing);
        }
        let decay = match phase {
            Phase::Average => self.config.decay.try_decay(self.moment())?,
            Phase::Copy | Phase::Wait => 0.0,
        };
        let actions: Vec<Action> = self.actions(sources).collect();
        if !self.is_acceptable(sources, &actions, finite)? {
            return Ok(Due::Skip);
        }
        Ok(match phase {
            Phase::Copy => Due::Copy { actions },
            Phase::Average | Phase::Wait => Due::Average { actions, decay },
        })
    }

    /// Makes ready for what is due.
    pub(crate) fn begin(&mut self, due: &Due) {
        if due.changes_values() {
            self.release();
        }
    }

    /// Does to one slot what is due, with a source that is [conformed](Shadow::conformed).
    pub(crate) fn apply(&mut self, due: &Due, slot: usize, source: BridgeTensor) {
        let (actions, decay) = match due {
            Due::Nothing | Due::Skip => return,
            Due::Copy { actions } => (actions, 0.0),
            Due::Average { actions, decay } => (actions, *decay),
        };
        match actions[slot] {
            Action::Average => self.shadow.average(slot, source, 1.0 - decay),
            Action::Copy | Action::Reestimate => self.shadow.copy(slot, source),
            Action::Ignore => {}
        }
    }

    /// Counts the step in which everything that was due has been done.
    pub(crate) fn finish(&mut self, due: &Due) -> Update {
        self.counters.steps += 1;
        match due {
            Due::Nothing => Update::Waiting,
            Due::Skip => {
                self.counters.skipped += 1;
                Update::Skipped
            }
            Due::Copy { .. } => Update::Copied,
            Due::Average { decay, .. } => {
                self.counters.updates += 1;
                Update::Averaged { decay: *decay }
            }
        }
    }

    /// Makes the average a copy of `source`, whatever the [`Policy`] says. Counters stay.
    ///
    /// # Errors
    ///
    /// If `source` is not of the structure that the average was made from. Nothing has changed then.
    pub fn copy_from(&mut self, source: &M) -> Result<(), EmaError> {
        let sources = self.shadow.collect(source)?;
        self.release();
        for (slot, source) in sources.into_iter().enumerate() {
            let value = self.shadow.conformed(slot, source.value);
            self.shadow.copy(slot, value);
        }
        Ok(())
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
        self.config.decay.decay(self.moment())
    }

    /// The configuration that the average was made with.
    pub fn config(&self) -> &EmaConfig {
        &self.config
    }

    /// Moves the average to `device` and keeps it there, wherever its source is, as
    /// [`EmaConfig::try_init_on`] does from the start.
    pub fn with_device(mut self, device: &Device) -> Self {
        self.release();
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
        self.release();
        self.shadow.replace(model, &self.config.policy)?;
        self.counters = counters;
        Ok(())
    }

    /// Moves the average to `device`. A device that it was pinned to is forgotten for this one.
    pub(crate) fn move_to(&mut self, device: &Device) {
        self.release();
        self.shadow.move_to(device);
    }

    fn moment(&self) -> Moment {
        Moment {
            updates: self.counters.updates,
            interval: self.config.interval,
        }
    }

    pub(crate) fn actions<'a>(
        &'a self,
        sources: &'a [Source],
    ) -> impl Iterator<Item = Action> + 'a {
        let slots = self.shadow.slots().iter();
        slots.zip(sources).map(|(slot, source)| {
            self.policy()
                .action(source.class, slot.is_buffer, slot.exception)
        })
    }

    /// Lets go of the models that were handed out, so that a change can happen in place.
    pub(crate) fn release(&mut self) {
        let own = self.own_statistics();
        self.handed_out.take();
        self.in_training.take();
        for (slot, value) in own {
            self.shadow.copy(slot, value);
        }
    }

    /// The values, with what forward passes of the [training model](Self::training_model) have done since the
    /// last change to running statistics that follow nothing else.
    pub(crate) fn settled(&self) -> Cow<'_, Shadow<M>> {
        let mut shadow = Cow::Borrowed(&self.shadow);
        for (slot, value) in self.own_statistics() {
            shadow.to_mut().copy(slot, value);
        }
        shadow
    }

    fn own_statistics(&self) -> Vec<(usize, BridgeTensor)> {
        let Some(model) = self.in_training.get() else {
            return Vec::new();
        };
        let is_own = |slot: &Slot| {
            let policy = self.policy();
            slot.is_buffer
                && policy.action(Class::NonTrainable, true, slot.exception) == Action::Ignore
        };
        let slots = self.shadow.slots();
        if !slots.iter().any(is_own) {
            return Vec::new();
        }
        let values = self.shadow.collect(model);
        let values = values.expect("a model that was handed out has the structure of the average");
        let own = values.into_iter().enumerate().zip(slots);
        own.filter(|(_, slot)| is_own(slot))
            .map(|((slot, source), _)| (slot, self.shadow.conformed(slot, source.value)))
            .collect()
    }

    /// Whether the values that would be averaged are finite, as far as anybody wants to know.
    fn is_acceptable(
        &self,
        sources: &[Source],
        actions: &[Action],
        finite: &mut FiniteChecks,
    ) -> Result<bool, EmaError> {
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
        if finite.all(actions, || {
            reduce::all_finite(averaged().map(|(_, value)| value))
        }) {
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
}

/// What an optimizer step is going to do to an average.
#[derive(Debug)]
pub(crate) enum Due {
    Nothing,
    Skip,
    Copy { actions: Vec<Action> },
    Average { actions: Vec<Action>, decay: f64 },
}

impl Due {
    pub(crate) fn changes_values(&self) -> bool {
        match self {
            Self::Nothing | Self::Skip => false,
            Self::Copy { .. } | Self::Average { .. } => true,
        }
    }
}

/// Whether sources are finite where they would be averaged, as far as somebody has already looked: averages of
/// one source that average the same values look once.
#[derive(Debug, Default)]
pub(crate) struct FiniteChecks {
    known: Vec<(Vec<Action>, bool)>,
}

impl FiniteChecks {
    fn all(&mut self, actions: &[Action], look: impl FnOnce() -> bool) -> bool {
        if let Some((_, finite)) = self.known.iter().find(|(known, _)| known == actions) {
            return *finite;
        }
        let finite = look();
        self.known.push((actions.to_vec(), finite));
        finite
    }
}
