//! The weights of an EMA, and their compensations, as records see them.

use burn::module::{Flag, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, Int, Tensor};

use crate::burn_facts::layout::in_saved_shape;
use crate::walk::path::Path;

/// Name of the weights in a record.
pub(crate) const WEIGHTS: &str = "ema_weights";
/// Name of what their last roundings have lost.
pub(crate) const COMPENSATIONS: &str = "ema_compensations";

/// Passes a walk on with ids of the EMA's own, and parameters in the shape that records accept.
///
/// The EMA keeps the ids of its model, for a model that is taken out of it. Whoever walks through the EMA must not see
/// those: an optimizer would take the gradient and the state of the live parameter.
pub(crate) struct OwnIds<'a, T> {
    pub(crate) inner: &'a mut T,
    /// The id of the EMA's own for one of the model, and back.
    pub(crate) exchange: fn(ParamId) -> ParamId,
}

impl<V: ModuleVisitor> ModuleVisitor for OwnIds<'_, V> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.inner.enter_module(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.inner.exit_module(name, container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut param = param.clone();
        param.id = (self.exchange)(param.id);
        self.inner.visit_float(&param);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let mut param = param.clone();
        param.id = (self.exchange)(param.id);
        self.inner.visit_int(&param);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        let mut param = param.clone();
        param.id = (self.exchange)(param.id);
        self.inner.visit_bool(&param);
    }
}

impl<T: ModuleMapper> ModuleMapper for OwnIds<'_, T> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.inner.enter_module(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.inner.exit_module(name, container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        in_saved_shape(param, |mut param| {
            param.id = (self.exchange)(param.id);
            let mut param = self.inner.map_float(param);
            param.id = (self.exchange)(param.id);
            param
        })
    }

    fn map_int<const D: usize>(
        &mut self,
        mut param: Param<Tensor<D, Int>>,
    ) -> Param<Tensor<D, Int>> {
        param.id = (self.exchange)(param.id);
        let mut param = self.inner.map_int(param);
        param.id = (self.exchange)(param.id);
        param
    }

    fn map_bool<const D: usize>(
        &mut self,
        mut param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        param.id = (self.exchange)(param.id);
        let mut param = self.inner.map_bool(param);
        param.id = (self.exchange)(param.id);
        param
    }

    // Flags say how a model behaves. The EMA model is always in inference mode.
    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        flag
    }
}

/// Passes a walk on that meets some floats only.
pub(crate) struct Only<'a, T> {
    inner: &'a mut T,
    is_wanted: &'a dyn Fn(&str) -> bool,
    path: Path,
}

impl<'a, T> Only<'a, T> {
    /// Those for whose module path `is_wanted` holds.
    pub(crate) fn of(inner: &'a mut T, is_wanted: &'a dyn Fn(&str) -> bool) -> Self {
        Self {
            inner,
            is_wanted,
            path: Path::default(),
        }
    }
}

impl<V: ModuleVisitor> ModuleVisitor for Only<'_, V> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name);
        self.inner.enter_module(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.path.exit();
        self.inner.exit_module(name, container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if (self.is_wanted)(self.path.as_str()) {
            self.inner.visit_float(param);
        }
    }
}

impl<T: ModuleMapper> ModuleMapper for Only<'_, T> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name);
        self.inner.enter_module(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.path.exit();
        self.inner.exit_module(name, container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match (self.is_wanted)(self.path.as_str()) {
            true => self.inner.map_float(param),
            false => param,
        }
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        flag
    }
}
