//! A model without its weights.

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Device, Tensor};

use crate::burn_facts::{mode, rank};
use crate::walk::places::{Mode, Places};
use crate::walk::read;
use crate::walk::write::{replace, with_ids};

/// A model whose tensors, at the places that are known, have one element each: in training mode if it has autodiff.
///
/// It keeps what a model has besides weights: ids, layouts, which parameters train, flags, adapters, plain tensor fields
/// with their devices and checkpointing strategies, and every other field. It shares no running statistics with any model.
#[derive(Clone, Debug)]
pub(crate) struct Frame<M> {
    hollow: M,
    mode: Mode,
}

impl<M: Module> Frame<M> {
    /// The frame of `model`, which was read to be in `mode`, and the first place that a mapper does not find in it.
    pub(crate) fn of(model: &M, places: &Places, mode: Mode) -> (Self, Option<usize>) {
        let single = |_: usize, old: BridgeTensor| rank::single(&old);
        let copy = independent(model, &mode);
        let (hollow, missed) = replace(copy, &places.paths, |_| true, single);
        (Self { hollow, mode }, missed)
    }

    pub(crate) fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Whether each place is a running statistic or another float buffer.
    pub(crate) fn buffers(&self, places: &Places) -> Vec<bool> {
        buffers(&self.hollow, places)
    }

    /// A model in inference mode with a tensor at each place.
    pub(crate) fn filled(&self, places: &Places, tensor: impl Fn(usize) -> BridgeTensor) -> M {
        let tensor = |place, _| tensor(place);
        replace(self.hollow.valid(), &places.paths, |_| true, tensor).0
    }

    /// A model in training mode with a tensor at each place, none of which requires a gradient.
    pub(crate) fn filled_in_training(
        &self,
        places: &Places,
        tensor: impl Fn(usize) -> BridgeTensor,
    ) -> M {
        let hollow = mode::training_copy(&self.hollow).no_grad();
        replace(hollow, &places.paths, |_| true, |place, _| tensor(place)).0
    }

    /// Moves plain tensor fields, which follow the weights.
    pub(crate) fn move_to(&mut self, device: &Device) {
        let device = match self.mode.strategy {
            Some(_) => device.clone().autodiff(),
            None => device.clone().without_autodiff(),
        };
        self.hollow = self.hollow.clone().fork(&device);
    }

    pub(crate) fn set_ids(&mut self, places: &Places, ids: &[ParamId]) {
        let copy = independent(&self.hollow, &self.mode);
        self.hollow = with_ids(copy, &places.paths, ids);
    }

    /// The devices of plain tensor fields, and of what stands for weights.
    pub(crate) fn devices(&self) -> Vec<Device> {
        let devices = self.hollow.devices().into_iter();
        devices.map(Device::without_autodiff).collect()
    }
}

/// A copy of `model`, which is in `mode`, that shares no running statistics with it.
fn independent<M: Module>(model: &M, mode: &Mode) -> M {
    match mode.strategy {
        Some(_) => mode::training_copy(model),
        // Autodiff would cost a node for each parameter.
        None => model.valid(),
    }
}

/// Whether each place of a model whose tensors have one element is a running statistic or another float buffer.
///
/// A visitor sees buffers as parameters that do not train. But clones share them, so what is done to the buffers of a
/// clone shows.
pub(crate) fn buffers<M: Module>(hollow: &M, places: &Places) -> Vec<bool> {
    let original = hollow.valid();
    drop(original.clone().map(&mut Enlarge));
    let reading = read::again(&original, places, false);
    let is_enlarged = |shown: &Option<read::Shown>| {
        let shape = shown.as_ref().map(|shown| shown.tensor.shape());
        shape.is_some_and(|shape| shape.num_elements() > 1)
    };
    reading.shown.iter().map(is_enlarged).collect()
}

/// Gives every float a size of 2 in each dimension.
struct Enlarge;

impl ModuleMapper for Enlarge {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| Tensor::zeros([2; D], &value.device()))
    }
}
