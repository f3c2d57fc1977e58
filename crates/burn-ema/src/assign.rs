//! Writing values into a model that goes on being what it was: trained or not, on its device, with its ids.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::kind::{Autodiff, Basic, BridgeTensor};
use burn::tensor::{Bool, Int, Tensor};

use crate::autodiff::as_before;
use crate::op;
use crate::shadow::Slot;
use crate::traverse::{Locator, Path, follow_path};

/// Gives each value of `model` what `next` makes of it, where that makes something.
///
/// `next` is told the index of a value in `slots`, which must be those of `model`, and the value itself without
/// autodiff; what it returns must be of the same kind and shape, and is brought to its device and dtype.
/// Running statistics must have been brought up to date before.
pub(crate) fn assign<M: Module>(
    model: &mut M,
    slots: &[Slot],
    next: impl FnMut(usize, BridgeTensor) -> Option<BridgeTensor>,
) {
    // A clone shares running statistics with the model, which is where these are written; so if something
    // panics on the way, the model has lost nothing.
    *model = model.clone().map(&mut Assign {
        path: Path::default(),
        locator: Locator::new(slots.len()),
        slots,
        next,
    });
}

struct Assign<'a, F> {
    path: Path,
    locator: Locator,
    slots: &'a [Slot],
    next: F,
}

impl<F: FnMut(usize, BridgeTensor) -> Option<BridgeTensor>> Assign<'_, F> {
    fn assigned<const D: usize, K: Basic + Autodiff>(&mut self, old: Tensor<D, K>) -> Tensor<D, K> {
        let index = self
            .locator
            .locate(self.slots, self.path.as_str(), |slot| &slot.path)
            .expect("the model was checked to have the structure of the slots");
        let strategy = old.gradient_checkpointing_strategy();
        let (device, dtype) = (old.device().without_autodiff(), old.dtype());
        let value = old.clone().without_autodiff().into_bridge();
        match (self.next)(index, value) {
            Some(value) => {
                let value = op::conform(value, &device, dtype);
                as_before(Tensor::from_bridge(value), strategy)
            }
            None => old,
        }
    }
}

impl<F: FnMut(usize, BridgeTensor) -> Option<BridgeTensor>> ModuleMapper for Assign<'_, F> {
    follow_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let id = param.id;
        param.map(|old| {
            // What is trained also says whether its gradients are exchanged between processes.
            let requires_grad = old.is_require_grad();
            let is_distributed = requires_grad && old.is_distributed();
            let new = self.assigned(old).set_require_grad(requires_grad);
            match is_distributed {
                true => new.set_distributed(id),
                false => new,
            }
        })
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        param.map(|old| self.assigned(old))
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        param.map(|old| self.assigned(old))
    }
}
