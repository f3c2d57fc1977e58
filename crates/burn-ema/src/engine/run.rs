//! Carries out one update, for one EMA or several of one model.

use burn::tensor::kind::BridgeTensor;
use burn::tensor::{DType, Device};

use crate::burn_facts::rank;
use crate::engine::batch::{Batch, Move, Rounding};
use crate::plan::PlanAction;
use crate::store::slot::Slot;
use crate::walk::read::Shown;

/// An EMA that takes part in an update.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub(crate) slots: &'a mut [Slot],
    /// The device that it is kept on. `None`: where the model is.
    pub(crate) device: Option<&'a Device>,
    /// Whether the model's tensors came from other devices than the EMA's.
    pub(crate) has_moved: bool,
}

/// What an update does to one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    Nothing,
    /// It becomes the model's, as `dtype` if it is a float.
    Copy {
        dtype: DType,
    },
    /// It moves towards the model's.
    Move(Move),
}

impl Change {
    /// What an action means at this weight of the model, for a tensor that the EMA keeps as `dtype` and rounds so.
    pub(crate) fn of(
        action: PlanAction,
        weight: f64,
        dtype: DType,
        rounding: impl FnOnce() -> Rounding,
    ) -> Self {
        match action {
            PlanAction::Ignore => Self::Nothing,
            PlanAction::Average if weight == 0.0 => Self::Nothing,
            // Not computed: `1e8 + (1.2345 - 1e8)` is 0 in f32, and NaN would stay NaN.
            PlanAction::Average if weight == 1.0 => Self::Copy { dtype },
            PlanAction::Average => Self::Move(Move {
                dtype,
                weight,
                rounding: rounding(),
            }),
            PlanAction::Copy | PlanAction::Reestimate => Self::Copy { dtype },
        }
    }
}

/// Changes every member as `change` says of its index and a place, with the tensors of the model that they share. `copied` is
/// told of each tensor that becomes a new copy.
///
/// Place by place, so that each tensor is read once for all members that average it, and copied once for those that copy it
/// alike. Moves are batched: calling a backend costs as much as moving a small tensor.
pub(crate) fn run(
    members: &mut [Member<'_>],
    mut shown: Vec<Option<Shown>>,
    change: impl Fn(usize, usize, &Shown) -> Change,
    mut copied: impl FnMut(usize, usize, &Shown),
) {
    let mut batch = Batch::of(shown.len(), members.len());
    let mut changes = vec![Change::Nothing; members.len()];
    for (place, shown) in shown.iter_mut().enumerate() {
        let Some(seen) = shown.as_ref() else {
            continue;
        };
        for (index, (of_member, member)) in changes.iter_mut().zip(members.iter()).enumerate() {
            *of_member = match change(index, place, seen) {
                Change::Copy { dtype } if member.slots[place].is_copy_of(&seen.tensor, dtype) => {
                    Change::Nothing
                }
                change => change,
            };
            if matches!(of_member, Change::Copy { .. }) {
                copied(index, place, seen);
            }
        }
        if changes.iter().all(|change| *change == Change::Nothing) {
            continue;
        }
        if batch.is_full() {
            run_batch(&mut batch, members);
        }
        let mut shared = Shared::default();
        let last = members.len() - 1;
        for (index, (member, change)) in members.iter_mut().zip(&changes).enumerate() {
            let source = Source {
                shown: &mut *shown,
                is_last: index == last,
            };
            shared.apply(member, (index, place), *change, source, &mut batch);
        }
    }
    run_batch(&mut batch, members);
}

fn run_batch(batch: &mut Batch, members: &mut [Member<'_>]) {
    batch.run(|moved| {
        let slot = &mut members[moved.member].slots[moved.place];
        slot.moved(moved.tensor, moved.compensation, moved.is_shared);
    });
}

/// A tensor of the model, for one member. It stays where it is until it is taken: handles are slow to move, and to clone.
struct Source<'a> {
    shown: &'a mut Option<Shown>,
    /// Whether no other member needs it.
    is_last: bool,
}

impl Source<'_> {
    fn tensor(&self) -> &BridgeTensor {
        let shown = self.shown.as_ref();
        &shown.expect("only the last member takes it").tensor
    }

    fn take(self) -> BridgeTensor {
        let shown = match self.is_last {
            true => self.shown.take(),
            false => self.shown.clone(),
        };
        shown.expect("only the last member takes it").tensor
    }
}

/// What the members share of one tensor of the model.
#[derive(Default)]
struct Shared {
    /// The last copy that had to be made: for which device (`None`: where the model is), and as which dtype.
    copy: Option<(Option<Device>, DType, BridgeTensor)>,
    /// The device that the last moving member is kept on (the inner `None`: where the model is), if any moves.
    moves_on: Option<Option<Device>>,
}

impl Shared {
    fn apply(
        &mut self,
        member: &mut Member<'_>,
        (index, place): (usize, usize),
        change: Change,
        source: Source<'_>,
        batch: &mut Batch,
    ) {
        let slot = &mut member.slots[place];
        match change {
            Change::Nothing => {}
            Change::Copy { dtype } => {
                let tensor = source.tensor();
                let afar = member.device.filter(|device| !rank::is_on(tensor, device));
                if afar.is_some() {
                    let copy = self.converted(tensor, afar, dtype);
                    slot.put_from_afar(copy, source.take());
                    return;
                }
                member.has_moved |= slot.is_whole() && !rank::are_together(slot.tensor(), tensor);
                slot.put(match rank::is_of(tensor, dtype) {
                    true => source.take(),
                    false => self.converted(tensor, None, dtype),
                });
            }
            Change::Move(to) => {
                let is_known = match (&self.moves_on, member.device) {
                    (Some(None), None) => true,
                    (Some(Some(known)), Some(device)) => known == device,
                    _ => false,
                };
                if !is_known {
                    batch.add_source(source.take(), member.device);
                    self.moves_on = Some(member.device.cloned());
                }
                member.has_moved |= batch.add(slot, (index, place), to);
            }
        }
    }

    /// The tensor on another device, or as another dtype.
    fn converted(
        &mut self,
        source: &BridgeTensor,
        device: Option<&Device>,
        dtype: DType,
    ) -> BridgeTensor {
        if let Some((known, of, copy)) = &self.copy
            && known.as_ref() == device
            && *of == dtype
        {
            return copy.clone();
        }
        let source = source.clone();
        let copy = match device {
            Some(device) => rank::conform(source, device, dtype),
            None => rank::cast(source, dtype),
        };
        self.copy = Some((device.cloned(), dtype, copy.clone()));
        copy
    }
}
