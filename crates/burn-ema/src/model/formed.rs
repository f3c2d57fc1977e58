//! Models that are formed of EMAs when they are read, and EMAs of EMAs.

use burn::module::{Module, ParamId};
use burn::tensor::kind::BridgeTensor;

use crate::burn_facts::rank;
use crate::engine::run::{Change, Member, run};
use crate::model::EmaModel;
use crate::plan::PlanAction;
use crate::store::slot::Slot;
use crate::walk::read::Shown;

impl<M: Module> EmaModel<M> {
    /// The EMA model in inference mode, with what `form` makes of each parameter that is averaged, and of each buffer if that
    /// is wanted. `form` is given a tensor of at least f32, and of no fewer digits than the model's.
    pub(crate) fn formed(
        &self,
        with_buffers: bool,
        form: impl Fn(usize, BridgeTensor) -> BridgeTensor,
    ) -> M {
        let settled = self.settled();
        let is_formed = |place: usize| {
            let is_averaged = self.plan.action(place, false) == PlanAction::Average;
            is_averaged && (with_buffers || !self.plan.entries[place].is_buffer)
        };
        let tensor = |place: usize| {
            let tensor = settled.share(place);
            let tensor = match is_formed(place) {
                true => {
                    let dtype = rank::wider(tensor.dtype(), self.model_dtype(place));
                    form(place, rank::cast(tensor, dtype))
                }
                false => tensor,
            };
            rank::cast(tensor, self.model_dtype(place))
        };
        settled.frame.filled(&self.plan.places, tensor)
    }

    /// The tensor that is to this EMA what the one at `place` is to `other`.
    pub(crate) fn tensor_of(&self, other: &Self, place: usize) -> Option<BridgeTensor> {
        let place = self.place_of(other, place)?;
        Some(self.store.share(place))
    }

    /// Moves towards the weights of `other`, an EMA of the same model, as its own updates move towards the model.
    pub(crate) fn follow(&mut self, other: &Self, weight: f64) {
        self.store.settle();
        self.release();
        let is_other = self.plan.places != other.plan.places;
        if is_other {
            // The model has changed in what is not averaged.
            let slots =
                (0..other.plan.entries.len()).map(|place| match self.place_of(other, place) {
                    Some(known) => self.store.slot(known),
                    None => Slot::new(other.store.share(place)),
                });
            self.store.slots = slots.collect();
            self.store.frame = other.store.frame.clone();
        }
        if is_other || self.plan.entries != other.plan.entries {
            self.plan = other.plan.clone();
        }
        self.counters = other.counters;
        let shown = other.store.slots.iter().map(|slot| {
            let tensor = slot.tensor().clone();
            Some(Shown {
                rank: tensor.shape().num_dims(),
                tensor,
                id: ParamId::from(0),
                is_trainable: false,
            })
        });
        let shown = shown.collect();
        let mut members = [Member {
            slots: &mut self.store.slots,
            device: self.store.pinned.as_ref(),
            has_moved: false,
        }];
        let (plan, precision) = (&self.plan, self.config.precision);
        let updates = self.counters.updates;
        self.is_interrupted = true;
        let change = |_, place: usize, shown: &Shown| {
            let dtype = shown.tensor.dtype();
            // Other random bits than those of the other EMA.
            let name = || format!("{}.follower", plan.places.paths[place]);
            let rounding = || precision.rounding(updates, &name());
            match plan.action(place, false) {
                PlanAction::Average => Change::of(PlanAction::Average, weight, dtype, rounding),
                _ => Change::Copy { dtype },
            }
        };
        run(&mut members, shown, change, |_, _, _| {});
        let [Member { has_moved, .. }] = members;
        self.is_interrupted = false;
        if has_moved {
            self.store.frame = other.store.frame.clone();
        }
    }

    /// The place here of what is at `place` in `other`.
    fn place_of(&self, other: &Self, place: usize) -> Option<usize> {
        let (own, others) = (&self.plan.places, &other.plan.places);
        match std::sync::Arc::ptr_eq(own, others) || own.paths.get(place) == others.paths.get(place)
        {
            true => Some(place),
            false => own.position(&others.paths[place]),
        }
    }
}
