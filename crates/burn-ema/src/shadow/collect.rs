//! Reading the values of a source model.
//!
//! Each update does it, so it goes the way that it knows: the module is compared with the way through it at the start,
//! and paths are put together only where the two differ, to pair by them or to say what is wrong.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Bool, DType, Int, Tensor};

use super::{Describe, Slot};
use crate::EmaError;
use crate::op::MAX_RANK;
use crate::policy::Class;
use crate::traverse::{Follow, Locator, Path, Route, follow_path};

/// A value of the source model.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) value: BridgeTensor,
    pub(crate) class: Class,
}

/// Describes every value of `source`, and gives the way to them.
pub(super) fn all<M: Module, T>(
    source: &M,
    mut describe: impl FnMut(&str, ParamId, BridgeTensor) -> T,
) -> Result<(Vec<T>, Route), EmaError> {
    sync_running_statistics(source);
    let mut visitor = All {
        path: Path::default(),
        route: Route::default(),
        describe: &mut describe,
        values: Vec::new(),
        error: None,
    };
    source.visit(&mut visitor);
    match visitor.error {
        None => Ok((visitor.values, visitor.route)),
        Some(error) => Err(error),
    }
}

/// The values of `source` in the order of `slots`, if they are the same ones. `route` led to the slots in their order.
pub(super) fn matching<M: Module>(
    source: &M,
    slots: &[Slot],
    route: &Route,
) -> Result<Vec<Source>, EmaError> {
    if slots.iter().any(|slot| slot.is_buffer) {
        sync_running_statistics(source);
    }
    match along(source, slots, route) {
        Some(sources) => Ok(sources),
        None => by_path(source, slots),
    }
}

/// The same, if `source` is what it was all along the way.
fn along<M: Module>(source: &M, slots: &[Slot], route: &Route) -> Option<Vec<Source>> {
    let mut visitor = Along {
        follow: route.follow(),
        slots,
        sources: Vec::with_capacity(slots.len()),
        is_other: false,
    };
    source.visit(&mut visitor);
    let is_it = visitor.follow.has_arrived() && !visitor.is_other;
    is_it.then_some(visitor.sources)
}

/// The same for a source that shows its values in another order, or the error that says what is wrong with it.
fn by_path<M: Module>(source: &M, slots: &[Slot]) -> Result<Vec<Source>, EmaError> {
    let mut visitor = Matching {
        path: Path::default(),
        slots,
        locator: Locator::new(slots.len()),
        sources: slots.iter().map(|_| None).collect(),
        error: None,
    };
    source.visit(&mut visitor);
    if let Some(error) = visitor.error {
        return Err(error);
    }
    if let Some(missed) = visitor.locator.missed() {
        return Err(EmaError::Missing {
            path: slots[missed].path.clone(),
        });
    }
    Ok(visitor.sources.into_iter().flatten().collect())
}

/// Brings the running statistics of BatchNorm up to date.
///
/// A forward pass leaves its statistics pending until the next one, and `visit` does not see them.
/// `valid` is the one method of a module that applies them, to `source` itself as the next forward
/// pass would; the snapshot that it returns is not needed.
pub(crate) fn sync_running_statistics<M: Module>(source: &M) {
    drop(source.valid());
}

/// Whether the optimizer trains a parameter.
///
/// A parameter without autodiff cannot require a gradient now, but remembers whether it would.
pub(crate) fn class<const D: usize>(param: &Param<Tensor<D>>, value: &BridgeTensor) -> Class {
    if value.is_qfloat() {
        return Class::Discrete;
    }
    let trainable = if param.is_autodiff() {
        param.is_require_grad()
    } else {
        Module::train(param.clone()).is_require_grad()
    };
    if trainable {
        Class::Trainable
    } else {
        Class::NonTrainable
    }
}

/// Visits values of each kind with one method, `$on_value`: `(rank, id, value, class)`. The rank is
/// told, for a backend may not even know the shape of a tensor whose rank is too high for it.
macro_rules! visit_values {
    ($on_value:ident) => {
        // With LoRA a visitor is shown the stored weight, without its adapter, and then the factors as
        // values of their own.
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.base().without_autodiff().into_bridge();
            self.$on_value(D, param.id, value, |value| class(param, value));
        }

        fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
            let value = param.base().without_autodiff().into_bridge();
            self.$on_value(D, param.id, value, |_| Class::Discrete);
        }

        fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
            let value = param.base().without_autodiff().into_bridge();
            self.$on_value(D, param.id, value, |_| Class::Discrete);
        }
    };
}

struct All<'a, T> {
    path: Path,
    route: Route,
    describe: Describe<'a, T>,
    values: Vec<T>,
    error: Option<EmaError>,
}

impl<T> All<'_, T> {
    fn on_value(
        &mut self,
        rank: usize,
        id: ParamId,
        value: BridgeTensor,
        _: impl Fn(&BridgeTensor) -> Class,
    ) {
        let path = self.path.as_str();
        if rank > MAX_RANK {
            self.error.get_or_insert_with(|| EmaError::RankTooHigh {
                path: path.to_string(),
                rank,
                max: MAX_RANK,
            });
            return;
        }
        let described = (self.describe)(path, id, value);
        self.route.value();
        self.values.push(described);
    }
}

impl<T> ModuleVisitor for All<'_, T> {
    visit_values!(on_value);

    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
        self.route.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
        self.route.exit();
    }
}

struct Along<'a> {
    follow: Follow<'a>,
    slots: &'a [Slot],
    sources: Vec<Source>,
    /// Whether a value was not what it was.
    is_other: bool,
}

impl Along<'_> {
    fn on_value(
        &mut self,
        _: usize,
        _: ParamId,
        value: BridgeTensor,
        class: impl Fn(&BridgeTensor) -> Class,
    ) {
        self.follow.value();
        if self.is_other || self.follow.is_lost() {
            return;
        }
        match self.slots.get(self.sources.len()) {
            Some(slot) if misfit(slot, &value).is_none() => {
                let class = class(&value);
                self.sources.push(Source { value, class });
            }
            _ => self.is_other = true,
        }
    }
}

impl ModuleVisitor for Along<'_> {
    visit_values!(on_value);

    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.follow.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.follow.exit();
    }
}

/// What is wrong with a value in the place of the one that `slot` was made from.
fn misfit(slot: &Slot, value: &BridgeTensor) -> Option<EmaError> {
    let (expected, found) = (slot.source_dtype, value.dtype());
    if !is_compatible(expected, found) {
        return Some(EmaError::DTypeMismatch {
            path: slot.path.clone(),
            expected,
            found,
        });
    }
    let found = value.shape();
    (*slot.shape() != found).then(|| EmaError::ShapeMismatch {
        path: slot.path.clone(),
        expected: slot.shape().clone(),
        found,
    })
}

struct Matching<'a> {
    path: Path,
    slots: &'a [Slot],
    locator: Locator,
    sources: Vec<Option<Source>>,
    /// The first mismatch.
    error: Option<EmaError>,
}

impl Matching<'_> {
    fn on_value(
        &mut self,
        _: usize,
        _: ParamId,
        value: BridgeTensor,
        class: impl Fn(&BridgeTensor) -> Class,
    ) {
        if self.error.is_some() {
            return;
        }
        match self.fitting_slot(&value) {
            Ok(index) => {
                let class = class(&value);
                self.sources[index] = Some(Source { value, class });
            }
            Err(error) => self.error = Some(error),
        }
    }

    fn fitting_slot(&mut self, value: &BridgeTensor) -> Result<usize, EmaError> {
        let path = self.path.as_str();
        let Some(index) = self.locator.locate(self.slots, path, |slot| &slot.path) else {
            return Err(EmaError::Unexpected {
                path: path.to_string(),
            });
        };
        match misfit(&self.slots[index], value) {
            None => Ok(index),
            Some(error) => Err(error),
        }
    }
}

impl ModuleVisitor for Matching<'_> {
    follow_path!();
    visit_values!(on_value);
}

/// Whether a value of one dtype can take the place of one of the other.
///
/// Booleans are stored in several ways, which a backend may choose anew for each tensor; and a record
/// of Burn's loads integers as the type that the backend likes best. Both are copied as they come.
pub(super) fn is_compatible(a: DType, b: DType) -> bool {
    let is_integer = |dtype: DType| dtype.is_int() || dtype.is_uint();
    a == b || (a.is_bool() && b.is_bool()) || (is_integer(a) && is_integer(b))
}
