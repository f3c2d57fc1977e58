//! Replacing tensors of a module, which stays what it is otherwise: trained or frozen, in its mode, on its device, with
//! its ids and layouts.

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::kind::{Autodiff, Basic, BridgeTensor};
use burn::tensor::{Bool, Int, Tensor};

use crate::burn_facts::mode::with_strategy;
use crate::walk::path::{Locator, Path};

/// `module` with the tensors of the places for which `is_wanted` holds replaced by what `next` makes of them.
///
/// `next` is given the index of the place and its tensor, without autodiff and by value: nobody else holds it then, unless a
/// clone of the module does. It returns a tensor of the same kind and rank. Also returns the first place that `module` does
/// not have.
pub(crate) fn replace<M: Module>(
    module: M,
    paths: &[String],
    is_wanted: impl FnMut(usize) -> bool,
    next: impl FnMut(usize, BridgeTensor) -> BridgeTensor,
) -> (M, Option<usize>) {
    let mut mapper = Replace {
        at: At::new(paths),
        is_wanted,
        next,
    };
    let module = module.map(&mut mapper);
    (module, mapper.at.locator.missed())
}

/// `module` with these ids.
pub(crate) fn with_ids<M: Module>(module: M, paths: &[String], ids: &[ParamId]) -> M {
    module.map(&mut WithIds {
        at: At::new(paths),
        ids,
    })
}

/// Which place a walk is at.
struct At<'a> {
    path: Path,
    locator: Locator,
    paths: &'a [String],
}

impl<'a> At<'a> {
    fn new(paths: &'a [String]) -> Self {
        Self {
            path: Path::default(),
            locator: Locator::new(paths.len()),
            paths,
        }
    }

    fn place(&mut self) -> Option<usize> {
        let path = self.path.as_str();
        self.locator.locate(self.paths, path, String::as_str)
    }
}

struct Replace<'a, W, N> {
    at: At<'a>,
    is_wanted: W,
    next: N,
}

impl<W: FnMut(usize) -> bool, N> Replace<'_, W, N> {
    fn wanted(&mut self) -> Option<usize> {
        self.at.place().filter(|place| (self.is_wanted)(*place))
    }
}

impl<W, N: FnMut(usize, BridgeTensor) -> BridgeTensor> Replace<'_, W, N> {
    fn next<const D: usize, K: Basic + Autodiff>(
        &mut self,
        place: usize,
        old: Tensor<D, K>,
    ) -> Tensor<D, K> {
        let strategy = old.gradient_checkpointing_strategy();
        let new = (self.next)(place, old.without_autodiff().into_bridge());
        with_strategy(Tensor::from_bridge(new), strategy)
    }
}

impl<W, N> ModuleMapper for Replace<'_, W, N>
where
    W: FnMut(usize) -> bool,
    N: FnMut(usize, BridgeTensor) -> BridgeTensor,
{
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.at.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.at.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(place) = self.wanted() else {
            return param;
        };
        let id = param.id;
        param.map(|old| {
            // What is trained also says whether its gradients are exchanged between processes.
            let requires_grad = old.is_require_grad();
            let is_distributed = requires_grad && old.is_distributed();
            let new = self.next(place, old).set_require_grad(requires_grad);
            match is_distributed {
                true => new.set_distributed(id),
                false => new,
            }
        })
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        match self.wanted() {
            Some(place) => param.map(|old| self.next(place, old)),
            None => param,
        }
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        match self.wanted() {
            Some(place) => param.map(|old| self.next(place, old)),
            None => param,
        }
    }
}

struct WithIds<'a> {
    at: At<'a>,
    ids: &'a [ParamId],
}

impl WithIds<'_> {
    fn id(&mut self, old: ParamId) -> ParamId {
        self.at.place().map_or(old, |place| self.ids[place])
    }
}

impl ModuleMapper for WithIds<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.at.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.at.path.exit();
    }

    fn map_float<const D: usize>(&mut self, mut param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.id = self.id(param.id);
        param
    }

    fn map_int<const D: usize>(
        &mut self,
        mut param: Param<Tensor<D, Int>>,
    ) -> Param<Tensor<D, Int>> {
        param.id = self.id(param.id);
        param
    }

    fn map_bool<const D: usize>(
        &mut self,
        mut param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        param.id = self.id(param.id);
        param
    }
}
