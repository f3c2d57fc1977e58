//! Training mode and inference mode.
//!
//! - `valid` gives a copy without autodiff that shares no running statistics with the original.
//! - `train` on a clone gives such a copy too, and leaves autodiff as it is where there is autodiff already: the
//!   gradient-checkpointing strategy of every tensor stays, also of plain tensor fields, which no mapper reaches.
//! - `train` after `valid` gives every tensor the default strategy, and Burn panics when an operation meets two.

use burn::module::{Module, Param};
use burn::tensor::kind::Autodiff;
use burn::tensor::{GradientCheckpointingStrategy, Tensor};

/// An independent copy of `model` in training mode, with the checkpointing strategies that it has.
pub(crate) fn training_copy<M: Module>(model: &M) -> M {
    model.clone().train()
}

/// `tensor`, with autodiff of the given strategy if there is one.
pub(crate) fn with_strategy<const D: usize, K: Autodiff>(
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

/// Whether a float parameter is configured to be trained.
///
/// Without autodiff a parameter does not require a gradient, but remembers whether `train` makes it require one.
pub(crate) fn is_trainable<const D: usize>(param: &Param<Tensor<D>>) -> bool {
    match param.is_autodiff() {
        true => param.is_require_grad(),
        false => Module::train(param.clone()).is_require_grad(),
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::nn::{PositionalEncoding, PositionalEncodingConfig};
    use burn::tensor::Device;

    #[test]
    fn train_on_a_clone_keeps_the_strategy_of_plain_tensors_and_train_after_valid_does_not() {
        let device = Device::flex().autodiff().gradient_checkpointing();
        let encoding: PositionalEncoding = PositionalEncodingConfig::new(4).init(&device);
        let input = Tensor::<3>::zeros([1, 2, 4], &device);
        training_copy(&encoding).forward(input.clone());
        let lost = std::panic::catch_unwind(|| encoding.valid().train().forward(input));
        assert!(lost.is_err(), "Burn keeps the strategy now: simplify");
    }
}
