//! What users hold: an EMA beside a model, or several.

pub(crate) mod carry;
pub(crate) mod config;
pub(crate) mod exchange;
pub(crate) mod formed;
pub(crate) mod module;
pub(crate) mod update;
pub(crate) mod view;
pub(crate) mod write_back;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::OnceLock;

use burn::module::Module;
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{DType, Device};
use burn_ema_rules::profile::Profile;

use crate::burn_facts::rank;
use crate::counters::Counters;
use crate::engine::distance;
use crate::error::EmaError;
use crate::model::config::{EmaConfig, EmaPrecision};
use crate::plan::{EmaPlan, Fit, Plan, PlanAction, PlanEntry, check_ranks};
use crate::store::Store;
use crate::store::slot::Slot;
use crate::walk::frame::Frame;
use crate::walk::read::{self, First, Reading, Shown};

/// An exponential moving average (EMA) of the weights of a model `M`.
///
/// `ema = decay * ema + (1 - decay) * model` for each trainable parameter, after each optimizer step
/// (Polyak and Juditsky 1992; see Morales-Brotons et al. 2024, arXiv:2411.18704, for what it does to
/// deep networks). Created by [`EmaConfig::init`].
///
/// The model is only read: its parameters, its graph and its gradients are what they would be without an EMA. Pending running
/// statistics are applied at an update, as the next forward pass would do; with forward passes in several threads that is
/// earlier than without an EMA.
///
/// # What is averaged
///
/// By default trainable float parameters and float buffers (BatchNorm's running statistics) are averaged; frozen parameters,
/// integers and booleans are copied exactly. [`Policy`](crate::Policy) changes that, and [`plan`](Self::plan) lists it.
/// Tensors are paired by module path. With LoRA the stored base and each factor are separate tensors, so factors are averaged
/// one by one; a quantized base is copied. Plain tensor fields, which are no parameters, are those of the model when the EMA
/// was created, or when the model's device, flags or trainable parameters last changed; [`copy_from`](Self::copy_from) renews
/// them.
///
/// # Memory
///
/// One tensor for each averaged parameter, in the dtype that [`EmaPrecision`] says: by default the model's, but at least f32.
/// With [`EmaPrecision::Compensated`] a second one. What is copied shares the model's memory,
/// unless the EMA is kept on another device. [`clone`](Clone::clone) shares all memory until one of the two changes.
///
/// # Precision
///
/// In f32, a difference to the model below about `6e-8 / (1 - decay)` of the value is lost at every update, as in every
/// other framework: at a decay of 0.9999 below 6e-4. A longer [interval](EmaConfig::interval) with a lower decay moves the
/// limit, and [`EmaPrecision`] has forms without it.
///
/// # As a module
///
/// `EmaModel` is a Burn [`Module`], so `save_file`, `try_load_file` and records work as on any other: they hold the EMA
/// weights and the counters, and a resumed run goes on bit for bit. It can be a field of a module that is trained:
/// Burn's optimizers do not see it, and its records contain it.
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
    pub(crate) plan: Plan,
    pub(crate) store: Store<M>,
    pub(crate) counters: Counters,
    pub(crate) config: EmaConfig,
    /// The optimizer step after which the EMA was last written back.
    pub(crate) written_back_at: u64,
    /// Whether an update panicked.
    pub(crate) is_interrupted: bool,
    /// Why a record that was mapped onto the EMA does not fit.
    load_error: Option<EmaError>,
    /// Module paths of the tensors whose compensations are in the record that is to be mapped onto the EMA, if that is known.
    expected: Option<HashSet<String>>,
    /// The model that [`model`](Self::model) gave out since the last change. Dropped before a change, so that the change can
    /// happen in place.
    handed_out: OnceLock<M>,
    /// The same of [`training_model`](Self::training_model).
    in_training: OnceLock<M>,
}

impl<M: Module> Clone for EmaModel<M> {
    fn clone(&self) -> Self {
        Self {
            plan: self.plan.clone(),
            store: self.settled().into_owned(),
            counters: self.counters,
            config: self.config.clone(),
            written_back_at: self.written_back_at,
            is_interrupted: self.is_interrupted,
            load_error: None,
            expected: self.expected.clone(),
            // A clone of a model shares BatchNorm's running statistics with it.
            handed_out: OnceLock::new(),
            in_training: OnceLock::new(),
        }
    }
}

impl<M: Module> EmaModel<M> {
    pub(crate) fn new(
        config: &EmaConfig,
        model: &M,
        pinned: Option<Device>,
    ) -> Result<Self, EmaError> {
        config.validate()?;
        let (first, plan, frame) = planned(model, |first, buffers| {
            Plan::new(first, buffers, &config.policy)
        })?;
        check_dtypes(config, &plan, first.shown.iter().map(Some), pinned.as_ref())?;
        let slots = (0..first.shown.len()).map(|place| {
            let tensor = first.shown[place].tensor.clone();
            let action = plan.action(place, false);
            Slot::new(conformed(config, tensor, action, pinned.as_ref()))
        });
        Ok(Self {
            store: Store::new(slots.collect(), frame, pinned),
            plan,
            counters: Counters::default(),
            config: config.clone(),
            written_back_at: 0,
            is_interrupted: false,
            load_error: None,
            expected: None,
            handed_out: OnceLock::new(),
            in_training: OnceLock::new(),
        })
    }

    /// Number of updates that averaged. Copies before the start do not count.
    #[doc(alias = "n_averaged")]
    #[doc(alias = "optimization_step")]
    pub fn num_updates(&self) -> u64 {
        self.counters.updates
    }

    /// Number of optimizer steps seen.
    pub fn num_steps(&self) -> u64 {
        self.counters.steps
    }

    /// Number of steps that [`NonFinite::Skip`](crate::config::NonFinite::Skip) left out.
    pub fn num_skipped(&self) -> u64 {
        self.counters.skipped
    }

    /// The decay that the next update will use.
    pub fn current_decay(&self) -> f64 {
        self.config.rules().decay(self.counters)
    }

    /// The configuration that the EMA was created with.
    pub fn config(&self) -> &EmaConfig {
        &self.config
    }

    /// The weight of each past step in the current EMA, for example for [`post_hoc`](crate::post_hoc). It is exact only if no
    /// step was skipped and [`copy_from`](Self::copy_from) was not called.
    ///
    /// # Errors
    ///
    /// [`EmaError::InvalidConfig`] if an update had a [weight](Self::update_weighted) other than 1, because the EMA keeps only
    /// the sum of the weights; or as [`EmaConfig::profile`].
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn_ema::{Decay, EmaConfig};
    ///
    /// let model = LinearConfig::new(2, 1).init(&Default::default());
    /// let mut ema = EmaConfig::new().with_decay(Decay::weight(0.5)).init(&model);
    /// ema.update(&model)?;
    /// ema.update(&model)?;
    /// assert_eq!(ema.profile()?.weights(), [0.25, 0.25, 0.5]);
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn profile(&self) -> Result<Profile, EmaError> {
        let Counters {
            updates,
            is_weighted,
            ..
        } = self.counters;
        if is_weighted {
            return Err(EmaError::InvalidConfig {
                field: "decay",
                problem: format!(
                    "the EMA had {updates} updates of which some have weights, and keeps only their sum: build the profile with `Profile::new`"
                ),
            });
        }
        Ok(self
            .config
            .schedule()
            .profile(&self.config.decay, updates)?)
    }

    /// What happens to each tensor, and what it costs.
    ///
    /// # Panics
    ///
    /// If an earlier [`update`](Self::update) panicked.
    pub fn plan(&self) -> EmaPlan {
        let places = self.plan.places.paths.iter().enumerate();
        let entry = |(place, path): (usize, &String)| {
            let (entry, slot) = (&self.plan.entries[place], &self.store.slots[place]);
            let elements = slot.tensor().shape().num_elements() as u64;
            let tensors = match self.is_compensated(place) {
                true => 2,
                false => 1,
            };
            PlanEntry {
                path: path.clone(),
                class: self.plan.class(place, false),
                action: self.plan.action(place, false),
                shape: entry.shape.to_vec(),
                dtype: entry.dtype,
                ema_dtype: slot.dtype(),
                device: format!("{:?}", rank::device(slot.tensor())),
                bytes: elements * (slot.dtype().size() * tensors) as u64,
            }
        };
        EmaPlan {
            entries: places.map(entry).collect(),
        }
    }

    /// Moves the EMA to `device` and keeps it there, wherever the model is, as [`EmaConfig::try_init_on`] does from the
    /// start.
    ///
    /// # Panics
    ///
    /// If the backend does, for example because `device` lacks the [dtype of the EMA](EmaConfig::precision).
    #[must_use]
    pub fn with_device(mut self, device: &Device) -> Self {
        self.release();
        self.store.pin(device);
        self
    }

    /// The device that the EMA is kept on wherever the model is, if it was given one.
    pub fn device(&self) -> Option<Device> {
        self.store.pinned.clone()
    }

    /// How far the EMA is from `model`: `|model - ema| / |model|` in the Euclidean norm over everything that is averaged.
    /// Computed in f32; waits for the device once.
    ///
    /// # Errors
    ///
    /// If `model` does not have the structure of the EMA, or an earlier update panicked.
    pub fn relative_distance(&self, model: &M) -> Result<f64, EmaError> {
        self.check_whole()?;
        let (reading, actions) = self.read_averaged(model)?;
        let places = actions.iter().zip(&reading.shown).zip(&self.store.slots);
        let averaged = places.filter_map(|((action, shown), slot)| {
            let shown = shown.as_ref()?;
            (*action == PlanAction::Average).then(|| (&shown.tensor, slot.tensor()))
        });
        Ok(distance::relative_distance(averaged))
    }

    pub(crate) fn read(&self, model: &M) -> Reading {
        read::again(model, &self.plan.places, self.plan.has_buffers)
    }

    /// Reads a model that must have the averaged tensors of the EMA and no others to average, and what happens to each tensor.
    pub(crate) fn read_averaged(&self, model: &M) -> Result<(Reading, Vec<PlanAction>), EmaError> {
        let reading = self.read(model);
        let actions = self.plan.actions(&reading)?;
        if actions.fit == Fit::Other {
            let (_, revised, _) = planned(model, |first, buffers| {
                Ok(self.plan.revised(first, buffers))
            })?;
            self.plan.check_revised(&revised)?;
        }
        Ok((reading, actions.of_places))
    }

    /// Reads a model that must have the structure of the EMA, whatever happens to each tensor.
    pub(crate) fn read_alike(&self, model: &M) -> Result<Reading, EmaError> {
        let reading = self.read(model);
        self.plan.check_all(&reading)?;
        Ok(reading)
    }

    pub(crate) fn check_whole(&self) -> Result<(), EmaError> {
        match self.is_interrupted {
            true => Err(EmaError::Interrupted),
            false => Ok(()),
        }
    }

    /// The dtype of the EMA model at `place`.
    pub(crate) fn model_dtype(&self, place: usize) -> DType {
        self.plan.entries[place].dtype
    }

    /// Whether the tensor at `place` has a compensation.
    pub(crate) fn is_compensated(&self, place: usize) -> bool {
        self.config.precision == EmaPrecision::Compensated
            && self.plan.action(place, false) == PlanAction::Average
    }

    /// Lets go of the models that were handed out, so that a change can happen in place.
    pub(crate) fn release(&mut self) {
        let own = self.own_statistics();
        self.handed_out.take();
        self.in_training.take();
        for (place, tensor) in own {
            self.store.slots[place].put(tensor);
        }
    }

    /// The weights, with what forward passes of the [training model](Self::training_model) have done since the last change to
    /// running statistics that follow nothing else.
    pub(crate) fn settled(&self) -> Cow<'_, Store<M>> {
        let mut store = Cow::Borrowed(&self.store);
        for (place, tensor) in self.own_statistics() {
            store.to_mut().slots[place].put(tensor);
        }
        store
    }

    /// Running statistics that follow nothing but forward passes of the [training model](Self::training_model), as these
    /// left them since the last change.
    fn own_statistics(&self) -> Vec<(usize, BridgeTensor)> {
        let Some(model) = self.in_training.get() else {
            return Vec::new();
        };
        let is_own = |place: usize| {
            let entry = &self.plan.entries[place];
            entry.is_buffer && self.plan.action(place, false) == PlanAction::Ignore
        };
        if !(0..self.plan.entries.len()).any(is_own) {
            return Vec::new();
        }
        let reading = self.read(model);
        let shown = reading.shown.into_iter().enumerate();
        let own = shown.filter_map(|(place, shown)| {
            let (tensor, slot) = (shown?.tensor, &self.store.slots[place]);
            let is_alike = slot.is_whole() && tensor.shape() == slot.tensor().shape();
            (is_own(place) && is_alike).then(|| {
                let device = rank::device(slot.tensor());
                (place, rank::conform(tensor, &device, slot.dtype()))
            })
        });
        own.collect()
    }
}

/// The plan for a model that is seen for the first time, and the model without its weights.
pub(crate) fn planned<M: Module>(
    model: &M,
    plan: impl FnOnce(&First, &[bool]) -> Result<Plan, EmaError>,
) -> Result<(First, Plan, Frame<M>), EmaError> {
    let first = read::first(model);
    check_ranks(&first)?;
    if first.shown.is_empty() {
        return Err(EmaError::EmptyModel);
    }
    let (frame, missed) = Frame::of(model, &first.places, first.mode.clone());
    if let Some(missed) = missed {
        let path = first.places.paths[missed].clone();
        return Err(EmaError::VisitDiffersFromMap { path });
    }
    let buffers = frame.buffers(&first.places);
    let plan = plan(&first, &buffers)?;
    Ok((first, plan, frame))
}

/// Checks that the device of the EMA has the dtypes that it is to keep tensors of the model in. There is one for each place,
/// or `None` if the model has none.
pub(crate) fn check_dtypes<'a>(
    config: &EmaConfig,
    plan: &Plan,
    shown: impl Iterator<Item = Option<&'a Shown>>,
    pinned: Option<&Device>,
) -> Result<(), EmaError> {
    for (place, shown) in shown.enumerate() {
        let Some(Shown { tensor, .. }) = shown else {
            continue;
        };
        let action = plan.action(place, false);
        let dtype = config.precision.kept(action, tensor.dtype());
        let device = pinned.cloned().unwrap_or_else(|| rank::device(tensor));
        if dtype != tensor.dtype() && !device.supports_dtype(dtype) {
            return Err(EmaError::InvalidConfig {
                field: "precision",
                problem: format!(
                    "`{}` is to be kept as {dtype:?}, which {device:?} does not have: choose `EmaPrecision::AtLeastF32`, or \
                     keep the EMA on another device",
                    plan.places.paths[place]
                ),
            });
        }
    }
    Ok(())
}

/// A tensor of the model as the EMA keeps it.
pub(crate) fn conformed(
    config: &EmaConfig,
    tensor: BridgeTensor,
    action: PlanAction,
    pinned: Option<&Device>,
) -> BridgeTensor {
    let dtype = config.precision.kept(action, tensor.dtype());
    match pinned {
        Some(device) => rank::conform(tensor, device, dtype),
        None => rank::cast(tensor, dtype),
    }
}
