//! The averaged values: a flat list of slots, and the skeleton of the model that they belong in.
//!
//! A list of tensors, rather than a model that is mapped at each update, makes an update one walk
//! over the source, leaves the values alone when something is wrong with the source, and never
//! writes into a model that was handed out.

mod collect;
mod moves;
mod skeleton;
mod slot;

use burn::module::{Module, ParamId};
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{DType, Device, GradientCheckpointingStrategy};

use crate::assign::assign;
use crate::traverse::{Locator, Route};
use crate::{EmaError, Policy, ShadowDType};
use crate::{autodiff, lazy_read, op};

pub(crate) use collect::{Source, class, sync_running_statistics};
pub(crate) use moves::Moves;
pub(crate) use skeleton::Skeleton;
pub(crate) use slot::Slot;

/// The averaged values of a model.
#[derive(Clone, Debug)]
pub(crate) struct Shadow<M> {
    skeleton: Skeleton<M>,
    slots: Vec<Slot>,
    /// The way through a source that meets the slots in their order.
    route: Route,
    dtype: ShadowDType,
    /// How autodiff tracked the source.
    strategy: Option<GradientCheckpointingStrategy>,
    /// The device that the values were asked to be on; otherwise they are where the source is.
    pinned: Option<Device>,
}

impl<M: Module> Shadow<M> {
    /// A copy of `source` that shares its memory until one of them changes.
    pub(crate) fn new(
        source: &M,
        dtype: ShadowDType,
        policy: &Policy,
        pinned: Option<Device>,
    ) -> Result<Self, EmaError> {
        let (mut slots, route) = collect::all(source, |path, id, value| {
            let source_dtype = value.dtype();
            let device = pinned.clone().unwrap_or_else(|| op::device(&value));
            let value = op::conform(value, &device, dtype.of(source_dtype));
            Slot::new(path, policy.exception(&id, path), value, source_dtype)
        })?;
        let skeleton = Skeleton::new(source);
        skeleton.mark_buffers(&mut slots);
        Ok(Self {
            skeleton,
            slots,
            route,
            dtype,
            strategy: autodiff::strategy(source),
            pinned,
        })
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The values of `source`, one for each slot, in the order of the slots.
    pub(crate) fn collect(&self, source: &M) -> Result<Vec<Source>, EmaError> {
        collect::matching(source, &self.slots, &self.route)
    }

    /// `source` as a slot wants it: on its device, and of its dtype if it is a float.
    pub(crate) fn conformed(&self, slot: usize, source: BridgeTensor) -> BridgeTensor {
        let (device, dtype) = self.wants(slot, &source);
        op::conform(source, &device, dtype)
    }

    /// The device and the dtype that a slot wants a copy of `source` to be.
    pub(crate) fn wants(&self, slot: usize, source: &BridgeTensor) -> (Device, DType) {
        let device = self.pinned.clone();
        let device = device.unwrap_or_else(|| op::device(source));
        (device, self.slots[slot].dtype())
    }

    /// Brings the slots into the order of those of `other`, if they are of the same structure.
    pub(crate) fn align(&mut self, other: &Self) -> Result<(), EmaError> {
        let mut locator = Locator::new(self.slots.len());
        let mut order = Vec::new();
        for slot in &other.slots {
            let path = slot.path.clone();
            let Some(index) = locator.locate(&self.slots, &path, |slot| &slot.path) else {
                return Err(EmaError::Missing { path });
            };
            let (expected, found) = (self.slots[index].shape(), slot.shape());
            if expected != found {
                return Err(EmaError::ShapeMismatch {
                    path,
                    expected: expected.clone(),
                    found: found.clone(),
                });
            }
            let (expected, found) = (self.slots[index].source_dtype, slot.source_dtype);
            if !collect::is_compatible(expected, found) {
                return Err(EmaError::DTypeMismatch {
                    path,
                    expected,
                    found,
                });
            }
            order.push(index);
        }
        if let Some(missed) = locator.missed() {
            return Err(EmaError::Unexpected {
                path: self.slots[missed].path.clone(),
            });
        }
        if !order.is_sorted() {
            let mut slots: Vec<_> = self.slots.drain(..).map(Some).collect();
            let slots = order.into_iter().map(|index| slots[index].take());
            self.slots = slots
                .map(|slot| slot.expect("each is found once"))
                .collect();
        }
        self.route = other.route.clone();
        Ok(())
    }

    /// Gives a slot the value of `source`, which is [conformed](Self::conformed).
    pub(crate) fn copy(&mut self, slot: usize, source: BridgeTensor) {
        self.slots[slot].put(source);
    }

    /// Gives a slot back the value that [`Moves`] took from it.
    pub(crate) fn moved(&mut self, slot: usize, value: BridgeTensor, is_shared: bool) {
        self.slots[slot].moved(value, is_shared);
    }

    /// Gives `model` every value. It stays on its device, of its dtypes, trained or not.
    pub(crate) fn write_to(&self, model: &mut M) -> Result<(), EmaError> {
        // Checks the structure, and brings running statistics up to date.
        self.collect(model)?;
        let value = |slot: usize, _| Some(self.slots[slot].share());
        assign(model, &self.slots, value);
        Ok(())
    }

    /// Gives the float slot at `path` these values.
    pub(crate) fn write(&mut self, path: &str, values: &[f64]) {
        let slot = self.slots.iter_mut().find(|slot| slot.path == path);
        let slot = slot.expect("the values are those of the model");
        slot.put(op::filled(slot.value(), values));
    }

    /// How autodiff tracked the model that the values were made from.
    pub(crate) fn strategy(&self) -> Option<GradientCheckpointingStrategy> {
        self.strategy
    }

    /// The averaged model as it runs: validation state, values of the source's dtypes.
    pub(crate) fn model(&self) -> M {
        let values = |slot: &Slot| match slot.is_widened() {
            true => op::cast(slot.value().clone(), slot.source_dtype),
            false => slot.share(),
        };
        self.skeleton.filled(&self.slots, values)
    }

    /// The averaged model as it is kept: validation state, values of the shadow's dtypes.
    pub(crate) fn full_precision_model(&self) -> M {
        self.skeleton.filled(&self.slots, Slot::share)
    }

    /// Takes over `model`, a changed [`full_precision_model`](Self::full_precision_model).
    pub(crate) fn replace(&mut self, model: M, policy: &Policy) -> Result<(), EmaError> {
        let source_dtype = |path: &str| {
            let slot = self.slots.iter().find(|slot| slot.path == path);
            slot.map(|slot| slot.source_dtype)
        };
        let (mut slots, route) = collect::all(&model, |path, id, value| {
            let source_dtype = source_dtype(path).unwrap_or(value.dtype());
            let (device, dtype) = (op::device(&value), self.dtype.of(value.dtype()));
            let value = op::conform(value, &device, dtype);
            Slot::new(path, policy.exception(&id, path), value, source_dtype)
        })?;
        self.skeleton = Skeleton::new(&model);
        self.skeleton.mark_buffers(&mut slots);
        (self.slots, self.route) = (slots, route);
        self.take_in();
        Ok(())
    }

    pub(crate) fn move_to(&mut self, device: &Device) {
        let device = device.clone().without_autodiff();
        for slot in &mut self.slots {
            slot.put(op::on_device(slot.value().clone(), &device));
        }
        if self.pinned.is_some() {
            self.pinned = Some(device);
        }
    }

    /// Moves the values to `device` and keeps them there.
    pub(crate) fn pin(&mut self, device: &Device) {
        self.move_to(device);
        self.pinned = Some(device.clone().without_autodiff());
    }

    pub(crate) fn pinned(&self) -> Option<Device> {
        self.pinned.clone()
    }

    /// Gets ready for values that were handed out to be let go of.
    pub(crate) fn settle(&self) {
        self.settle_where(Slot::is_handed_out);
    }

    /// Takes the values out of the file that they may have been loaded from: Burn reads it when somebody looks at them, and it
    /// may be another one by then, or none.
    fn take_in(&self) {
        self.settle_where(|_| true);
        self.slots.iter().for_each(|slot| op::read(slot.value()));
    }

    fn settle_where(&self, is_concerned: impl Fn(&Slot) -> bool) {
        let slots = self.slots.iter().filter(|slot| is_concerned(slot));
        let mut settled: Vec<Device> = Vec::new();
        for device in slots.map(|slot| op::device(slot.value())) {
            if !settled.contains(&device) {
                lazy_read::settle(&device);
                settled.push(device);
            }
        }
    }

    pub(crate) fn devices(&self) -> impl Iterator<Item = Device> {
        self.slots.iter().map(|slot| op::device(slot.value()))
    }
}

impl ShadowDType {
    /// The dtype of the shadow of a value.
    fn of(self, source: DType) -> DType {
        match (self, source) {
            (Self::Wide, DType::F16 | DType::BF16) => DType::F32,
            _ => source,
        }
    }
}

/// What a visitor is told of a value: its path, the id of its parameter, and the value.
type Describe<'a, T> = &'a mut dyn FnMut(&str, ParamId, BridgeTensor) -> T;
