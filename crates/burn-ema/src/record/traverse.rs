//! Records of what is not a module by derivation.

use std::fmt;

use burn::module::{Devices, Flag, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Device, Int, Tensor};

use crate::burn_facts::layout::in_saved_shape;

/// What takes part in a record: the two methods of [`Module`] that matter for one.
///
/// Burn makes and applies records with methods that [`Module`] provides. A module that overrides one
/// of them cannot call what it overrides; it can implement this and go through [`Recorded`].
pub trait Traverse: Clone + Send + fmt::Debug {
    /// As [`Module::visit`].
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V);
    /// As [`Module::map`].
    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self;
}

/// A module that is only good for records, over whatever can be [traversed](Traverse).
///
/// Its other methods (devices, modes) do nothing.
#[derive(Clone, Debug)]
pub struct Recorded<T>(pub T);

impl<T: Traverse> Module for Recorded<T> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.0.visit(visitor);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        Self(self.0.map(mapper))
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        devices
    }

    fn fork(self, _device: &Device) -> Self {
        self
    }

    fn to_device(self, _device: &Device) -> Self {
        self
    }

    fn train(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn materialize(self) -> Self {
        self
    }
}

/// A plain module that takes part in a record. It also loads where Burn alone does not, into a `Col`-layout weight that is
/// initialized.
///
/// # Example
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{LinearConfig, LinearLayout};
/// use burn_ema::record::{Plain, Recorded};
///
/// let config = LinearConfig::new(2, 3).with_layout(LinearLayout::Col);
/// let record = config.init(&Default::default()).into_record();
/// let model = config.init(&Default::default()).valid(); // initialized
/// let Recorded(Plain(model)) = Recorded(Plain(model)).try_load_record(record).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Plain<M>(pub M);

impl<M: Module> Traverse for Plain<M> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.0.visit(visitor);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        Self(self.0.map(&mut SavedShapes(mapper)))
    }
}

/// Passes parameters on in the shape that records accept.
struct SavedShapes<'a, T>(&'a mut T);

impl<T: ModuleMapper> ModuleMapper for SavedShapes<'_, T> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.0.enter_module(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.0.exit_module(name, container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        in_saved_shape(param, |param| self.0.map_float(param))
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        self.0.map_int(param)
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        self.0.map_bool(param)
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        self.0.map_flag(flag)
    }
}
