//! A weighted sum of models, which are added one by one.

use burn::module::Module;
use burn::tensor::Device;
use burn::tensor::kind::BridgeTensor;

use crate::burn_facts::rank;
use crate::error::EmaError;
use crate::model::config::EmaPrecision;
use crate::model::planned;
use crate::plan::{Plan, PlanAction};
use crate::policy::{Class, Policy};
use crate::store::Store;
use crate::store::slot::Slot;
use crate::walk::read::{First, Shown, again};

/// What has been summed so far.
#[derive(Clone)]
pub(crate) struct Sum {
    plan: Plan,
    /// What happens to each place.
    actions: Vec<PlanAction>,
    /// Whether each place was trainable in the first model.
    is_trainable: Vec<bool>,
    tensors: Vec<BridgeTensor>,
    precision: EmaPrecision,
}

/// The sum of as many models as weights. `start` makes it of the first.
pub(crate) fn weighted<M: Module>(
    weights: &[f64],
    models: impl IntoIterator<Item = M>,
    start: impl FnOnce(&M, f64) -> Result<Sum, EmaError>,
) -> Result<M, EmaError> {
    let count = weights.len();
    let mut weights = weights.iter().copied();
    let mut models = models.into_iter();
    let (Some(weight), Some(mut last)) = (weights.next(), models.next()) else {
        return invalid(format!(
            "there is no model, or no weight ({count}): give as many models as weights"
        ));
    };
    let mut sum = start(&last, weight)?;
    let mut found = 1;
    for model in models {
        let Some(weight) = weights.next() else {
            return invalid(format!(
                "there are more models than the {count} weights: give as many models as weights"
            ));
        };
        sum.add(&model, weight)?;
        last = model;
        found += 1;
    }
    match found == count {
        true => sum.into_model(&last, 1.0),
        false => invalid(format!(
            "there are {found} models for {count} weights: give as many models as weights"
        )),
    }
}

impl Sum {
    /// Begins with `weight * model`.
    pub(crate) fn of<M: Module>(
        model: &M,
        weight: f64,
        policy: &Policy,
        precision: EmaPrecision,
    ) -> Result<Self, EmaError> {
        let (first, plan, _) = planned(model, |first, buffers| Plan::new(first, buffers, policy))?;
        let any_trainable = first.mode.trainable.contains(&true);
        let action = |(place, shown): (usize, &Shown)| {
            plan.action(place, shown.is_trainable || !any_trainable)
        };
        let actions = first.shown.iter().enumerate().map(action).collect();
        Self::begin(first, plan, actions, weight, precision)
    }

    /// The same, where a tensor is summed if `is_averaged` holds for its path, and is that of the last model otherwise.
    pub(crate) fn of_averaged<M: Module>(
        model: &M,
        weight: f64,
        is_averaged: impl Fn(&str) -> bool,
    ) -> Result<Self, EmaError> {
        let (first, plan, _) = planned(model, |first, buffers| {
            Plan::new(first, buffers, &Policy::new())
        })?;
        let action = |(place, path): (usize, &String)| match is_averaged(path)
            && plan.class(place, false) != Class::Discrete
        {
            true => PlanAction::Average,
            false => PlanAction::Copy,
        };
        let actions = plan.places.paths.iter().enumerate().map(action).collect();
        Self::begin(first, plan, actions, weight, EmaPrecision::AtLeastF32)
    }

    fn begin(
        first: First,
        plan: Plan,
        actions: Vec<PlanAction>,
        weight: f64,
        precision: EmaPrecision,
    ) -> Result<Self, EmaError> {
        if let EmaPrecision::Compensated | EmaPrecision::StochasticBf16 { .. } = precision {
            return invalid(format!(
                "a sum of models is kept as `AtLeastF32`, `SameAsModel` or `F64`, found {precision:?}"
            ));
        }
        let mut sum = Self {
            plan,
            actions,
            is_trainable: first.mode.trainable,
            tensors: Vec::with_capacity(first.shown.len()),
            precision,
        };
        for (place, shown) in first.shown.into_iter().enumerate() {
            let tensor = match sum.actions[place] == PlanAction::Average {
                true => rank::scale(sum.widened(place, shown.tensor)?, weight),
                false => shown.tensor,
            };
            sum.tensors.push(tensor);
        }
        Ok(sum)
    }

    /// Adds `weight * model`.
    pub(crate) fn add<M: Module>(&mut self, model: &M, weight: f64) -> Result<(), EmaError> {
        self.blend(model, |_, sum, tensor| {
            rank::add(sum, rank::scale(tensor, weight))
        })
    }

    /// Replaces what is summed by what `blend` makes of the class of a tensor, of the sum, and of the tensor of `model`, and
    /// takes the rest from `model`. After an error the sum is of no use.
    pub(crate) fn blend<M: Module>(
        &mut self,
        model: &M,
        blend: impl Fn(Class, BridgeTensor, BridgeTensor) -> BridgeTensor,
    ) -> Result<(), EmaError> {
        let reading = again(model, &self.plan.places, true);
        self.plan.check_all(&reading).map_err(different)?;
        let mut blended = Vec::with_capacity(self.tensors.len());
        // Taken, so that the sum can change in place.
        let sums = std::mem::take(&mut self.tensors).into_iter();
        for (place, (shown, old)) in reading.shown.into_iter().flatten().zip(sums).enumerate() {
            if shown.is_trainable != self.is_trainable[place] {
                return invalid(format!(
                    "`{}` is trainable in one model and frozen in another: load all of them alike",
                    self.plan.places.paths[place]
                ));
            }
            blended.push(match self.actions[place] {
                PlanAction::Average => {
                    let new = self.widened(place, shown.tensor)?;
                    // Models may have been loaded onto different devices.
                    let old = rank::on_device(old, &rank::device(&new));
                    blend(self.plan.class(place, false), old, new)
                }
                PlanAction::Ignore => rank::on_device(old, &rank::device(&shown.tensor)),
                _ => shown.tensor,
            });
        }
        self.tensors = blended;
        Ok(())
    }

    /// The sum times `factor` as a model: everything else is that of `last`.
    pub(crate) fn into_model<M: Module>(self, last: &M, factor: f64) -> Result<M, EmaError> {
        let (_, _, frame) = planned(last, |_, _| Ok(self.plan.clone()))?;
        let tensors = self.tensors.into_iter().zip(&self.actions);
        let slots = tensors.map(|(tensor, action)| {
            Slot::new(match *action == PlanAction::Average && factor != 1.0 {
                true => rank::scale(tensor, factor),
                false => tensor,
            })
        });
        let store = Store::new(slots.collect(), frame, None);
        let entries = &self.plan.entries;
        Ok(store.model(&self.plan.places, |place| entries[place].dtype))
    }

    /// The dtypes of what is summed, as it came.
    #[cfg(feature = "post-hoc")]
    pub(crate) fn dtypes(&self) -> impl Iterator<Item = burn::tensor::DType> {
        let entries = self.plan.entries.iter().enumerate();
        entries.filter_map(|(place, entry)| {
            (self.actions[place] == PlanAction::Average).then_some(entry.dtype)
        })
    }

    /// A tensor in the dtype of the sum.
    fn widened(&self, place: usize, tensor: BridgeTensor) -> Result<BridgeTensor, EmaError> {
        let dtype = self.precision.of(tensor.dtype());
        let device: Device = rank::device(&tensor);
        if dtype != tensor.dtype() && !device.supports_dtype(dtype) {
            return invalid(format!(
                "`{}` is on {device:?}, which has no {dtype:?}: sum with `EmaPrecision::AtLeastF32`, or on another device",
                self.plan.places.paths[place]
            ));
        }
        Ok(rank::cast(tensor, dtype))
    }
}

/// What a difference in structure means here.
fn different(error: EmaError) -> EmaError {
    let path = error.path().unwrap_or_default().to_string();
    let difference = match error {
        EmaError::ShapeMismatch {
            expected, found, ..
        } => format!("has shape {expected} in the first model and {found} in another"),
        EmaError::DTypeMismatch {
            expected, found, ..
        } => format!("is {expected:?} in the first model and {found:?} in another"),
        _ => "is not in all models".to_string(),
    };
    EmaError::Merge {
        problem: format!("`{path}` {difference}: merge models of one structure"),
    }
}

pub(crate) fn invalid<T>(problem: String) -> Result<T, EmaError> {
    Err(EmaError::Merge { problem })
}
