//! The averaged model without its values.

use std::collections::HashSet;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::kind::{Basic, BridgeTensor};
use burn::tensor::{Bool, Int, Tensor};

use super::Slot;
use crate::traverse::{Locator, Path, follow_path};

/// A model in validation state whose tensors have one element each.
///
/// It keeps what a model has besides values: ids, layouts (`Param`'s load and save mappers), which
/// parameters train, LoRA adapters, and every field that is no parameter.
#[derive(Clone, Debug)]
pub(crate) struct Skeleton<M> {
    hollow: M,
}

impl<M: Module> Skeleton<M> {
    pub(crate) fn new(source: &M) -> Self {
        // `clone` would share BatchNorm's running statistics with the source, and the mapper would
        // then write into those.
        Self {
            hollow: source.valid().map(&mut Hollow),
        }
    }

    pub(crate) fn hollow(&self) -> &M {
        &self.hollow
    }

    /// Finds the running statistics and other float buffers among `slots`.
    ///
    /// A visitor sees them as parameters that do not train. But clones share them, so what is done to those of
    /// a clone of the hollow model shows.
    pub(super) fn mark_buffers(&self, slots: &mut [Slot]) {
        let hollow = self.hollow.valid();
        drop(hollow.clone().map(&mut Enlarge));
        let mut enlarged = Enlarged::default();
        hollow.visit(&mut enlarged);
        for slot in slots {
            slot.is_buffer = enlarged.paths.contains(&slot.path);
        }
    }

    /// A model with the values of `slots`, sharing no mutable state with any other.
    pub(super) fn filled(&self, slots: &[Slot], value: impl Fn(&Slot) -> BridgeTensor) -> M {
        self.hollow.valid().map(&mut Fill {
            path: Path::default(),
            locator: Locator::new(slots.len()),
            slots,
            value: &value,
        })
    }
}

/// Replaces every tensor by one with a single element.
struct Hollow;

impl ModuleMapper for Hollow {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let device = param.lazy_device();
        param.map(|_| Tensor::zeros([1; D], &device))
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let device = param.lazy_device();
        param.map(|_| Tensor::zeros([1; D], &device))
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        let device = param.lazy_device();
        param.map(|_| Tensor::<D, Int>::zeros([1; D], &device).bool())
    }
}

/// Gives every float a size of 2 in each dimension.
struct Enlarge;

impl ModuleMapper for Enlarge {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| Tensor::zeros([2; D], &value.device()))
    }
}

/// Finds the floats of that size.
#[derive(Default)]
struct Enlarged {
    path: Path,
    paths: HashSet<String>,
}

impl ModuleVisitor for Enlarged {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.base().dims() == [2; D] {
            self.paths.insert(self.path.as_str().to_string());
        }
    }
}

/// Puts the values of slots where they belong.
struct Fill<'a> {
    path: Path,
    locator: Locator,
    slots: &'a [Slot],
    value: &'a dyn Fn(&Slot) -> BridgeTensor,
}

impl Fill<'_> {
    fn tensor<const D: usize, K: Basic>(&mut self) -> Tensor<D, K> {
        let slots = self.slots;
        let index = self
            .locator
            .locate(slots, self.path.as_str(), |slot| &slot.path)
            .expect("the skeleton has the structure that the slots were made from");
        Tensor::from_bridge((self.value)(&slots[index]))
    }
}

impl ModuleMapper for Fill<'_> {
    follow_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|_| self.tensor())
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        param.map(|_| self.tensor())
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        param.map(|_| self.tensor())
    }
}
