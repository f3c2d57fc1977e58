//! The average of a model's weights.

use std::borrow::Cow;
use std::cell::OnceCell;

use burn::module::Module;
use burn::tensor::Device;
use burn::tensor::kind::BridgeTensor;

use crate::policy::Class;
use crate::shadow::{Shadow, Slot};
use crate::{Action, EmaConfig, EmaError, Moment, PlainRecord, Policy, Rule, distance};

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

    /// Number of steps that [`NonFinite::Skip`](crate::NonFinite::Skip) left out.
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
        Ok(distance::relative_distance(averaged))
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

    pub(crate) fn moment(&self) -> Moment {
        Moment {
            updates: self.counters.updates,
            interval: self.config.interval,
        }
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
}
