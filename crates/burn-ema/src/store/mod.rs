//! Where EMA weights live: in a list beside the model, or inside the model.

pub(crate) mod inside;
pub(crate) mod slot;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use burn::module::{Module, ParamId};
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{DType, Device};

use crate::burn_facts::{late_reads, rank};
use crate::store::slot::Slot;
use crate::walk::frame::Frame;
use crate::walk::places::{Mode, Places};

/// The weights of an EMA as a flat list, and the model that they belong in without its own.
///
/// A list of tensors, rather than a model that is mapped at each update, makes an update one walk over the model, leaves the
/// EMA alone when the model does not fit, and never writes into a model that was handed out.
#[derive(Debug)]
pub(crate) struct Store<M> {
    pub(crate) slots: Vec<Slot>,
    pub(crate) frame: Frame<M>,
    /// The device that the EMA is kept on. `None`: where the model is.
    pub(crate) pinned: Option<Device>,
    /// Whether the EMA was moved away from its model.
    is_away: bool,
    /// Whether a slot may be handed out. So that an update need not look at all of them.
    may_be_handed_out: AtomicBool,
}

/// Clones share all tensors.
impl<M: Clone> Clone for Store<M> {
    fn clone(&self) -> Self {
        self.may_be_handed_out.store(true, Relaxed);
        Self {
            slots: self.slots.clone(),
            frame: self.frame.clone(),
            pinned: self.pinned.clone(),
            is_away: self.is_away,
            may_be_handed_out: AtomicBool::new(true),
        }
    }
}

impl<M: Module> Store<M> {
    pub(crate) fn new(slots: Vec<Slot>, frame: Frame<M>, pinned: Option<Device>) -> Self {
        let mut store = Self {
            slots,
            frame,
            pinned: None,
            is_away: false,
            may_be_handed_out: AtomicBool::new(true),
        };
        if let Some(device) = pinned {
            store.frame.move_to(&device);
            store.pinned = Some(device);
        }
        store
    }

    /// The model in inference mode, with tensors of these dtypes where they are floats.
    pub(crate) fn model(&self, places: &Places, dtype: impl Fn(usize) -> DType) -> M {
        self.frame
            .filled(places, |place| self.cast(place, dtype(place)))
    }

    /// The model in training mode, but for gradients.
    pub(crate) fn training_model(&self, places: &Places, dtype: impl Fn(usize) -> DType) -> M {
        let tensor = |place| self.cast(place, dtype(place));
        self.frame.filled_in_training(places, tensor)
    }

    fn cast(&self, place: usize, dtype: DType) -> BridgeTensor {
        rank::cast(self.share(place), dtype)
    }

    /// The model in inference mode, with the tensors as they are kept.
    pub(crate) fn full_precision_model(&self, places: &Places) -> M {
        self.frame.filled(places, |place| self.share(place))
    }

    /// The slot at `place` for another store.
    pub(crate) fn slot(&self, place: usize) -> Slot {
        self.may_be_handed_out.store(true, Relaxed);
        self.slots[place].clone()
    }

    /// The tensor at `place`, to be kept elsewhere.
    pub(crate) fn share(&self, place: usize) -> BridgeTensor {
        self.may_be_handed_out.store(true, Relaxed);
        self.slots[place].share()
    }

    /// What the last roundings of the tensor at `place` have lost, to be kept elsewhere. `None` is nothing.
    pub(crate) fn share_compensation(&self, place: usize) -> Option<BridgeTensor> {
        self.may_be_handed_out.store(true, Relaxed);
        self.slots[place].share_compensation()
    }

    /// Follows the model to where it is, and in how it is configured.
    pub(crate) fn follow(&mut self, model: &M, places: &Places, mode: &Mode, has_moved: bool) {
        let has_moved = self.pinned.is_none() && (has_moved || self.is_away);
        if has_moved || !mode.is_like(self.frame.mode()) {
            self.renew_frame(model, places, mode);
        }
    }

    /// Takes everything from the model that is no weight.
    pub(crate) fn renew_frame(&mut self, model: &M, places: &Places, mode: &Mode) {
        let mut mode = mode.clone();
        mode.strategy = mode.strategy.or(self.frame.mode().strategy);
        // A place that is missing is one that is ignored, and missing in the model now.
        (self.frame, _) = Frame::of(model, places, mode);
        self.is_away = false;
        if let Some(device) = &self.pinned {
            self.frame.move_to(device);
        }
    }

    /// Moves everything to `device`. A device that it was pinned to is forgotten for this one.
    pub(crate) fn move_to(&mut self, device: &Device) {
        let device = device.clone().without_autodiff();
        self.settle();
        for slot in &mut self.slots {
            slot.move_to(&device);
        }
        self.frame.move_to(&device);
        self.is_away = true;
        if self.pinned.is_some() {
            self.pinned = Some(device);
        }
    }

    /// Moves everything to `device` and keeps it there.
    pub(crate) fn pin(&mut self, device: &Device) {
        self.move_to(device);
        self.pinned = Some(device.clone().without_autodiff());
    }

    /// Replaces all tensors, and ids.
    pub(crate) fn replace(&mut self, places: &Places, tensors: Vec<BridgeTensor>, ids: &[ParamId]) {
        self.settle();
        self.slots = tensors.into_iter().map(Slot::new).collect();
        self.frame.set_ids(places, ids);
        self.read_now();
    }

    /// Gives the float at `place` these values.
    pub(crate) fn write(&mut self, place: usize, values: &[f64]) {
        let slot = &mut self.slots[place];
        slot.put(rank::filled(slot.tensor(), values));
    }

    /// Waits for pending work on tensors that were handed out, before they are dropped.
    pub(crate) fn settle(&self) {
        if self.may_be_handed_out.load(Relaxed) {
            self.settle_where(Slot::is_handed_out);
            let is_one = self.slots.iter().any(Slot::is_handed_out);
            self.may_be_handed_out.store(is_one, Relaxed);
        }
    }

    /// Reads tensors that were loaded lazily: the file may change or vanish later.
    pub(crate) fn read_now(&self) {
        self.settle_where(|_| true);
        for slot in &self.slots {
            rank::read(slot.tensor());
            slot.compensation().into_iter().for_each(rank::read);
        }
    }

    fn settle_where(&self, is_concerned: impl Fn(&Slot) -> bool) {
        let slots = self.slots.iter().filter(|slot| slot.is_whole());
        let slots = slots.filter(|slot| is_concerned(slot));
        let mut settled: Vec<Device> = Vec::new();
        for device in slots.map(|slot| rank::device(slot.tensor())) {
            if !settled.contains(&device) {
                late_reads::settle(&device);
                settled.push(device);
            }
        }
    }

    /// The devices of everything that [`model`](Self::model) gives.
    pub(crate) fn devices(&self) -> impl Iterator<Item = Device> {
        let slots = self.slots.iter();
        let weights = slots.map(|slot| rank::device(slot.tensor()));
        weights.chain(self.frame.devices())
    }
}
