//! What autodiff makes of a model: whether it is tracked, and by which strategy.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::kind::Autodiff;
use burn::tensor::{Bool, GradientCheckpointingStrategy, Int, Tensor};

/// `tensor`, with autodiff if the one in its place had a strategy for that.
pub(crate) fn as_before<const D: usize, K: Autodiff>(
    tensor: Tensor<D, K>,
    strategy: Option<GradientCheckpointingStrategy>,
) -> Tensor<D, K> {
    match strategy {
        Some(strategy) => tensor
            .autodiff()
            .with_gradient_checkpointing_strategy(strategy),
        None => tensor,
    }
}

/// The strategy of the first parameter of `model` that has one.
pub(crate) fn strategy<M: Module>(model: &M) -> Option<GradientCheckpointingStrategy> {
    let mut first = First::default();
    model.visit(&mut first);
    first.strategy
}

/// `model` as it is in training, but with no parameter that requires a gradient. It shares no state with `model`.
///
/// Burn refuses to mix strategies, and `train` knows only the default one.
pub(crate) fn in_training<M: Module>(
    model: &M,
    strategy: Option<GradientCheckpointingStrategy>,
) -> M {
    let model = model.valid().train().no_grad();
    match strategy {
        Some(strategy) => model.map(&mut WithStrategy(strategy)),
        None => model,
    }
}

#[derive(Default)]
struct First {
    strategy: Option<GradientCheckpointingStrategy>,
}

impl ModuleVisitor for First {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.strategy.is_none() {
            self.strategy = param.base().gradient_checkpointing_strategy();
        }
    }
}

struct WithStrategy(GradientCheckpointingStrategy);

impl WithStrategy {
    fn apply<const D: usize, K: Autodiff>(&self, tensor: Tensor<D, K>) -> Tensor<D, K> {
        tensor.with_gradient_checkpointing_strategy(self.0)
    }
}

impl ModuleMapper for WithStrategy {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| self.apply(value))
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        param.map(|value| self.apply(value))
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        param.map(|value| self.apply(value))
    }
}
