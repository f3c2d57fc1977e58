//! The weights of an EMA as records see them.

use burn::module::{Flag, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor};

use crate::burn_facts::layout::in_saved_shape;
use crate::record::ids::exchanged;

/// Name of the weights in a record.
pub(crate) const WEIGHTS: &str = "ema_weights";

/// Passes a walk on with ids of the EMA's own, and parameters in the shape that records accept.
///
/// The EMA keeps the ids of its model, for a model that is taken out of it. Whoever walks through the EMA must not see
/// those: an optimizer would take the gradient and the state of the live parameter.
pub(crate) struct OwnIds<'a, T>(pub(crate) &'a mut T);

impl<V: ModuleVisitor> ModuleVisitor for OwnIds<'_, V> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.0.enter_module(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.0.exit_module(name, container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut param = param.clone();
        param.id = exchanged(param.id);
        self.0.visit_float(&param);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let mut param = param.clone();
        param.id = exchanged(param.id);
        self.0.visit_int(&param);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        let mut param = param.clone();
        param.id = exchanged(param.id);
        self.0.visit_bool(&param);
    }
}

impl<T: ModuleMapper> ModuleMapper for OwnIds<'_, T> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.0.enter_module(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.0.exit_module(name, container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        in_saved_shape(param, |mut param| {
            param.id = exchanged(param.id);
            let mut param = self.0.map_float(param);
            param.id = exchanged(param.id);
            param
        })
    }

    fn map_int<const D: usize>(
        &mut self,
        mut param: Param<Tensor<D, Int>>,
    ) -> Param<Tensor<D, Int>> {
        param.id = exchanged(param.id);
        let mut param = self.0.map_int(param);
        param.id = exchanged(param.id);
        param
    }

    fn map_bool<const D: usize>(
        &mut self,
        mut param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        param.id = exchanged(param.id);
        let mut param = self.0.map_bool(param);
        param.id = exchanged(param.id);
        param
    }

    // Flags say how a model behaves. The EMA model is always in inference mode.
    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        flag
    }
}
