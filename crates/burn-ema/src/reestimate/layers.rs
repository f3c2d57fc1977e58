//! The BatchNorm layers of a model: finding them, and reading and writing their statistics.

use std::collections::HashSet;

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};

use crate::shadow::sync_running_statistics;
use crate::traverse::{Locator, Path, follow_path};

/// How Burn's derive calls the layer.
const LAYER: &str = "Struct:BatchNorm";
/// Its flag, by which a frozen layer keeps its statistics.
const FLAG: &str = "training";
const STATISTICS: [&str; 2] = ["running_mean", "running_var"];

/// The statistics of the BatchNorm layers that are not frozen, in the order in which the model shows them.
#[derive(Debug)]
pub(super) struct Layers {
    statistics: Vec<String>,
}

impl Layers {
    /// The layers of `model`, and a copy of it in which they run as in training, and nothing else does.
    pub(super) fn running<M: Module>(model: &M) -> (Self, M) {
        // `train` puts flags back to what they are in training.
        let running = model.valid().train().no_grad();
        let mut finder = Finder::default();
        running.visit(&mut finder);
        let Finder {
            enabled,
            mut statistics,
            ..
        } = finder;
        statistics.retain(|(layer, _)| enabled.contains(layer));
        let layers = Self {
            statistics: statistics.into_iter().map(|(_, path)| path).collect(),
        };
        (layers, running.map(&mut OnlyBatchNorm::default()))
    }

    /// Path of the first statistic.
    pub(super) fn first(&self) -> Option<&str> {
        self.statistics.first().map(String::as_str)
    }

    pub(super) fn set_zero<M: Module>(&self, model: M) -> M {
        self.set(model, |_, old| full(old, 0.0))
    }

    /// Sets every statistic so high that no activation counts beside it, to a power of two.
    pub(super) fn set_huge<M: Module>(&self, model: M) -> M {
        self.set(model, |_, old| {
            let huge = huge(old.dtype());
            full(old, huge)
        })
    }

    /// The share of each statistic that a forward pass from [`set_huge`](Self::set_huge) has left.
    pub(super) fn retained<M: Module>(&self, model: &M) -> Vec<f64> {
        let values = self.read(model).into_iter();
        values
            .map(|(dtype, values)| {
                let epsilon = dtype.finfo().map_or(0.0, |info| info.epsilon);
                shortest(values[0] / huge(dtype), epsilon)
            })
            .collect()
    }

    /// The statistics after a forward pass.
    pub(super) fn values<M: Module>(&self, model: &M) -> Vec<Vec<f64>> {
        let values = self.read(model).into_iter();
        values.map(|(_, values)| values).collect()
    }

    /// `model` with the statistics for which there are values.
    pub(super) fn write<M: Module>(&self, model: M, values: &[Option<Vec<f64>>]) -> M {
        self.set(model, |index, old| match &values[index] {
            Some(values) => {
                let data = TensorData::new(values.clone(), old.shape());
                Tensor::from_data(data, (&old.device(), old.dtype()))
            }
            None => old,
        })
    }

    fn read<M: Module>(&self, model: &M) -> Vec<(DType, Vec<f64>)> {
        sync_running_statistics(model);
        let mut reader = Reader {
            path: Path::default(),
            locator: Locator::new(self.statistics.len()),
            paths: &self.statistics,
            values: vec![None; self.statistics.len()],
        };
        model.visit(&mut reader);
        reader.values.into_iter().flatten().collect()
    }

    fn set<M: Module>(&self, model: M, next: impl FnMut(usize, Tensor<1>) -> Tensor<1>) -> M {
        model.map(&mut Setter {
            path: Path::default(),
            locator: Locator::new(self.statistics.len()),
            paths: &self.statistics,
            next,
        })
    }
}

fn full(old: Tensor<1>, value: f64) -> Tensor<1> {
    Tensor::full(old.shape(), value, (&old.device(), old.dtype()))
}

/// A power of two, which is multiplied without rounding, that leaves room below infinity.
fn huge(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2.0_f64.powi(15),
        _ => 2.0_f64.powi(100),
    }
}

/// The decimal with the fewest digits among the numbers that are rounded to `x`: `1 - momentum` before it was
/// rounded to the dtype of the statistics. That matters, for `momentum` is small against the rounding.
fn shortest(x: f64, epsilon: f64) -> f64 {
    let decimal = |digits: i32| {
        let scale = 10.0_f64.powi(digits);
        (x * scale).round() / scale
    };
    let is_close = |decimal: &f64| (decimal - x).abs() <= epsilon * x.abs();
    (0..16).map(decimal).find(is_close).unwrap_or(x)
}

/// The fields that were entered, each with the type that it is a field of.
#[derive(Debug, Default)]
struct Fields {
    path: Path,
    parents: Vec<(String, bool)>,
}

impl Fields {
    fn enter(&mut self, name: &str, container_type: &str) {
        let parent = self.path.as_str().to_string();
        self.parents.push((parent, container_type == LAYER));
        self.path.enter(name);
    }

    fn exit(&mut self) {
        self.path.exit();
        self.parents.pop();
    }

    /// The path of the layer, if the field is one of those called `names` of a BatchNorm.
    fn layer(&self, names: &[&str]) -> Option<&str> {
        let (parent, is_layer) = self.parents.last()?;
        let name = self.path.as_str().rsplit('.').next()?;
        (*is_layer && names.contains(&name)).then_some(parent)
    }
}

macro_rules! follow_fields {
    () => {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.fields.enter(name, container_type);
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.fields.exit();
        }
    };
}

#[derive(Default)]
struct Finder {
    fields: Fields,
    enabled: HashSet<String>,
    /// Path of the layer and of the statistic.
    statistics: Vec<(String, String)>,
}

impl ModuleVisitor for Finder {
    follow_fields!();

    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        if let Some(layer) = self.fields.layer(&STATISTICS) {
            let path = self.fields.path.as_str().to_string();
            self.statistics.push((layer.to_string(), path));
        }
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        if let Some(layer) = self.fields.layer(&[FLAG])
            && flag.is_enabled()
        {
            self.enabled.insert(layer.to_string());
        }
    }
}

/// Turns off whatever behaves in another way in training, but for BatchNorm.
#[derive(Default)]
struct OnlyBatchNorm {
    fields: Fields,
}

impl ModuleMapper for OnlyBatchNorm {
    follow_fields!();

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        match self.fields.layer(&[FLAG]) {
            Some(_) => flag,
            None => flag.with_value(false),
        }
    }
}

struct Reader<'a> {
    path: Path,
    locator: Locator,
    paths: &'a [String],
    values: Vec<Option<(DType, Vec<f64>)>>,
}

impl ModuleVisitor for Reader<'_> {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.as_str();
        if let Some(index) = self.locator.locate(self.paths, path, String::as_str) {
            let data = param.base().into_data();
            self.values[index] = Some((data.dtype(), data.iter::<f64>().collect()));
        }
    }
}

struct Setter<'a, F> {
    path: Path,
    locator: Locator,
    paths: &'a [String],
    next: F,
}

impl<F: FnMut(usize, Tensor<1>) -> Tensor<1>> ModuleMapper for Setter<'_, F> {
    follow_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.as_str();
        let Some(index) = self.locator.locate(self.paths, path, String::as_str) else {
            return param;
        };
        param.map(|old| {
            let shape = old.shape();
            let length = shape.num_elements();
            (self.next)(index, old.reshape([length])).reshape(shape)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rounded_to_f32_is_found_again() {
        for momentum in [0.1, 0.01, 0.003, 0.0003, 0.25, 1.0, 0.0] {
            let retained: f64 = 1.0 - momentum;
            let rounded = f64::from(retained as f32);
            let found = shortest(rounded, f64::from(f32::EPSILON));
            assert!((found - retained).abs() < 1e-15, "{momentum}: {found}");
        }
        let third = f64::from((2.0_f64 / 3.0) as f32);
        let found = shortest(third, f64::from(f32::EPSILON));
        assert!((found - 2.0 / 3.0).abs() < f64::from(f32::EPSILON));
    }
}
