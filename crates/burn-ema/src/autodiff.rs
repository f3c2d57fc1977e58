//! Values in the place of tensors that autodiff may track.

use burn::tensor::kind::Autodiff;
use burn::tensor::{GradientCheckpointingStrategy, Tensor};

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
