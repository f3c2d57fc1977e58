//! One update: the sources are read and checked, then the twins are written.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::kind::{Autodiff, Basic, BridgeTensor};
use burn::tensor::{Bool, Int, Shape, Tensor};

use super::{Blend, Kind, TwinError, Twins};
use crate::autodiff::as_before;
use crate::op;
use crate::policy::Class;
use crate::shadow::{Source, class, sync_running_statistics};
use crate::traverse::{Locator, Path, follow_path};

/// The values of the sources, each at the index of its entry, if the module is what it was.
pub(super) fn collect<M: Module>(
    module: &M,
    twins: &Twins<M>,
) -> Result<Vec<Option<Source>>, TwinError> {
    sync_running_statistics(module);
    let mut is_source = vec![false; twins.entries.len()];
    for entry in &twins.entries {
        if let Some(source) = entry.source {
            is_source[source] = true;
        }
    }
    let mut visitor = Collect {
        path: Path::default(),
        locator: Locator::new(twins.entries.len()),
        twins,
        sources: is_source.iter().map(|_| None).collect(),
        is_source,
        error: None,
    };
    module.visit(&mut visitor);
    if let Some(error) = visitor.error {
        return Err(error);
    }
    match visitor.locator.missed() {
        None => Ok(visitor.sources),
        Some(missed) => Err(changed(&twins.entries[missed].path, "disappeared".into())),
    }
}

/// Moves the twins of `module` towards `sources`.
pub(super) fn write<'a, M: Module>(
    module: M,
    twins: &Twins<M>,
    sources: Vec<Option<Source>>,
    blend: impl FnMut(Class) -> Blend<'a>,
) -> M {
    module.map(&mut Write {
        path: Path::default(),
        locator: Locator::new(twins.entries.len()),
        twins,
        sources,
        blend,
    })
}

fn changed(path: &str, change: String) -> TwinError {
    TwinError::Changed {
        path: path.to_string(),
        change,
    }
}

struct Collect<'a, M> {
    path: Path,
    locator: Locator,
    twins: &'a Twins<M>,
    /// Whether some twin follows the value.
    is_source: Vec<bool>,
    sources: Vec<Option<Source>>,
    error: Option<TwinError>,
}

impl<M: Module> Collect<'_, M> {
    fn on_value(
        &mut self,
        kind: Kind,
        shape: Shape,
        source: impl FnOnce() -> Source,
    ) -> Result<(), TwinError> {
        let path = self.path.as_str();
        let Some(index) = self.twins.locate(&mut self.locator, path) else {
            return match self.twins.covers(path) {
                true => Err(changed(path, "appeared".into())),
                false => Ok(()),
            };
        };
        let entry = &self.twins.entries[index];
        if entry.kind != kind {
            return Err(changed(path, "changed its kind".into()));
        }
        if entry.shape != shape {
            let change = format!("changed its shape from {} to {shape}", entry.shape);
            return Err(changed(path, change));
        }
        if self.is_source[index] {
            self.sources[index] = Some(source());
        }
        Ok(())
    }

    fn keep_first(&mut self, result: Result<(), TwinError>) {
        if let Err(error) = result {
            self.error.get_or_insert(error);
        }
    }
}

impl<M: Module> ModuleVisitor for Collect<'_, M> {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.base();
        let kind = Kind::of_float(value.dtype());
        let result = self.on_value(kind, value.shape(), || {
            let value = value.without_autodiff().into_bridge();
            let class = class(param, &value);
            Source { value, class }
        });
        self.keep_first(result);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let value = param.base();
        let result = self.on_value(Kind::Int, value.shape(), || Source {
            value: value.without_autodiff().into_bridge(),
            class: Class::Discrete,
        });
        self.keep_first(result);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        let value = param.base();
        let result = self.on_value(Kind::Bool, value.shape(), || Source {
            value: value.without_autodiff().into_bridge(),
            class: Class::Discrete,
        });
        self.keep_first(result);
    }
}

struct Write<'a, M, F> {
    path: Path,
    locator: Locator,
    twins: &'a Twins<M>,
    sources: Vec<Option<Source>>,
    blend: F,
}

impl<'a, M: Module, F: FnMut(Class) -> Blend<'a>> Write<'_, M, F> {
    /// What the twin's value at the current path follows, and how.
    fn source(&mut self) -> Option<(BridgeTensor, Blend<'a>)> {
        let index = self.twins.locate(&mut self.locator, self.path.as_str())?;
        let source = self.twins.entries[index].source?;
        let source = self.sources[source].as_ref().expect("it was collected");
        let blend = match source.class {
            Class::Discrete => Blend::Copy,
            class => (self.blend)(class),
        };
        Some((source.value.clone(), blend))
    }
}

impl<'a, M: Module, F: FnMut(Class) -> Blend<'a>> ModuleMapper for Write<'_, M, F> {
    follow_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((source, blend)) = self.source() else {
            return param;
        };
        param.map(|twin| {
            let strategy = twin.gradient_checkpointing_strategy();
            let blended: Tensor<D> = blended(source, twin.without_autodiff(), blend);
            as_before(blended, strategy)
        })
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let Some((source, _)) = self.source() else {
            return param;
        };
        param.map(|twin| copied(source, twin))
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        let Some((source, _)) = self.source() else {
            return param;
        };
        param.map(|twin| copied(source, twin))
    }
}

/// `source` in the place of `twin`.
fn copied<const D: usize, K: Basic + Autodiff>(
    source: BridgeTensor,
    twin: Tensor<D, K>,
) -> Tensor<D, K> {
    let device = twin.device().without_autodiff();
    let copy = Tensor::from_bridge(op::conform(source, &device, twin.dtype()));
    as_before(copy, twin.gradient_checkpointing_strategy())
}

/// The next value of a twin that has the value `twin`.
fn blended<const D: usize>(source: BridgeTensor, twin: Tensor<D>, blend: Blend<'_>) -> Tensor<D> {
    let (device, dtype) = (twin.device(), twin.dtype());
    let source = op::conform(source, &device, dtype);
    match blend {
        Blend::Copy => Tensor::from_bridge(source),
        Blend::Lerp(weight) => Tensor::from_bridge(op::lerp(twin.into_bridge(), source, weight)),
        Blend::With(function) => {
            let shape = twin.shape();
            let row = |tensor: Tensor<D>| {
                let length = tensor.shape().num_elements();
                tensor.reshape([length])
            };
            let result = function(row(Tensor::from_bridge(source)), row(twin));
            result.cast(dtype).reshape(shape)
        }
    }
}
