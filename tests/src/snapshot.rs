//! What a module holds, as plain data that later changes cannot reach.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, DType, Int, Tensor, TensorData};

use crate::backend;
use crate::compare::{TRAINED_ALIKE, assert_near};

/// One value of a module.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Module path.
    pub path: String,
    /// Id of the parameter or buffer.
    pub id: ParamId,
    /// Dtype.
    pub dtype: DType,
    /// Shape.
    pub shape: Vec<usize>,
    /// The stored value, byte for byte.
    pub bytes: Vec<u8>,
    /// Whether the tensor is tracked by autodiff.
    pub is_autodiff: bool,
    /// Whether the tensor requires a gradient.
    pub requires_grad: bool,
}

impl Value {
    /// Path and stored value: what a record keeps of it, apart from the id.
    pub fn stored(&self) -> (&str, DType, &[usize], &[u8]) {
        (&self.path, self.dtype, &self.shape, &self.bytes)
    }

    /// Its numbers.
    fn numbers(&self) -> Vec<f64> {
        let (bytes, shape) = (self.bytes.clone(), self.shape.clone());
        let data = TensorData::from_bytes_vec(bytes, shape, self.dtype);
        data.iter::<f64>().collect()
    }
}

/// Everything that `module` shows to a visitor.
pub fn values<M: Module>(module: &M) -> Vec<Value> {
    let mut collector = Collector::default();
    module.visit(&mut collector);
    collector.values
}

/// The ids of everything that `module` shows to a visitor.
pub fn ids<M: Module>(module: &M) -> Vec<ParamId> {
    values(module).into_iter().map(|value| value.id).collect()
}

/// Asserts that two modules hold the same values, byte for byte, whatever their ids.
///
/// # Panics
///
/// If they do not.
#[track_caller]
pub fn assert_same_values<M: Module, N: Module>(actual: &M, expected: &N) {
    assert_same(&values(actual), &values(expected));
}

/// Asserts that two snapshots hold the same values, byte for byte, whatever their ids.
///
/// # Panics
///
/// If they do not.
#[track_caller]
pub fn assert_same(actual: &[Value], expected: &[Value]) {
    let stored = |values: &[Value]| -> Vec<_> {
        let text = |value: &Value| format!("{:?}", value.stored());
        values.iter().map(text).collect()
    };
    assert_eq!(stored(actual), stored(expected));
}

/// Asserts that two trainings came to the same values: byte for byte where [trainings repeat
/// themselves](backend::repeats_trainings).
///
/// # Panics
///
/// If they did not.
#[track_caller]
pub fn assert_trained_alike<M: Module, N: Module>(actual: &M, expected: &N) {
    let (actual, expected) = (values(actual), values(expected));
    if backend::repeats_trainings() {
        return assert_same(&actual, &expected);
    }
    let known = |values: &[Value]| -> Vec<_> {
        let known = |value: &Value| (value.path.clone(), value.dtype, value.shape.clone());
        values.iter().map(known).collect()
    };
    assert_eq!(known(&actual), known(&expected));
    for (actual, expected) in actual.iter().zip(&expected) {
        assert_near(&actual.numbers(), &expected.numbers(), TRAINED_ALIKE);
    }
}

/// `module` with other numbers in the float value at `path`.
///
/// # Panics
///
/// If there is no float value at `path`.
pub fn with_numbers<M: Module>(module: M, path: &str, numbers: &[f32]) -> M {
    let mut setter = Setter {
        path: Vec::new(),
        wanted: path,
        numbers,
        done: false,
    };
    let module = module.map(&mut setter);
    assert!(setter.done, "no float value at {path}");
    module
}

/// The numbers of the float value at `path`.
///
/// # Panics
///
/// If there is no value at `path`.
pub fn numbers_at<M: Module>(module: &M, path: &str) -> Vec<f64> {
    let values = values(module);
    let value = values.iter().find(|value| value.path == path);
    let value = value.unwrap_or_else(|| panic!("no value at {path} among {values:?}"));
    value.numbers()
}

#[derive(Default)]
struct Collector {
    path: Vec<String>,
    values: Vec<Value>,
}

impl Collector {
    fn add(&mut self, id: ParamId, data: TensorData, is_autodiff: bool, requires_grad: bool) {
        self.values.push(Value {
            path: self.path.join("."),
            id,
            dtype: data.dtype(),
            shape: data.shape().to_vec(),
            bytes: data.as_bytes().to_vec(),
            is_autodiff,
            requires_grad,
        });
    }
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.base();
        let (is_autodiff, requires_grad) = (value.is_autodiff(), value.is_require_grad());
        self.add(param.id, value.into_data(), is_autodiff, requires_grad);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.add(param.id, param.base().into_data(), false, false);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.add(param.id, param.base().into_data(), false, false);
    }
}

struct Setter<'a> {
    path: Vec<String>,
    wanted: &'a str,
    numbers: &'a [f32],
    done: bool,
}

impl ModuleMapper for Setter<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.path.join(".") != self.wanted {
            return param;
        }
        self.done = true;
        let numbers = TensorData::new(self.numbers.to_vec(), param.base().shape());
        param.map(|old| {
            let new = Tensor::from_data(numbers, (&old.device(), old.dtype()));
            new.set_require_grad(old.is_require_grad())
        })
    }
}
