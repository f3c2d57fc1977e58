//! Running statistics, such as BatchNorm's.
//!
//! - A clone shares them with the original: a mapper over the clone writes into the original.
//! - A forward pass leaves its statistics pending until the next one, and `visit` does not show pending ones. `valid` is
//!   the one method of a module that applies them, to the module itself. With forward passes in several threads it
//!   averages what they left, which is what the next forward pass would do.
//! - A visitor sees them as parameters that do not train.

use burn::module::Module;

/// Applies pending statistics to `model`, as its next forward pass would.
pub(crate) fn apply_pending<M: Module>(model: &M) {
    drop(model.valid());
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::module::{ModuleMapper, Param, RunningState};
    use burn::tensor::{Device, Tensor};

    struct Double;

    impl ModuleMapper for Double {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|value| value * 2.0)
        }
    }

    fn state() -> RunningState<Tensor<1>> {
        RunningState::new(Tensor::from_floats([3.0], &Device::flex()))
    }

    fn number(state: &RunningState<Tensor<1>>) -> f32 {
        state.value().into_scalar()
    }

    #[test]
    fn clones_share_and_copies_for_inference_or_training_do_not() {
        let original = state();
        drop(original.clone().map(&mut Double));
        assert_eq!(number(&original), 6.0);
        drop(original.valid().map(&mut Double));
        drop(original.clone().train().map(&mut Double));
        assert_eq!(number(&original), 6.0);
    }

    #[test]
    fn pending_values_show_after_valid() {
        let state = state();
        state.update(Tensor::from_floats([5.0], &Device::flex()));
        assert_eq!(number(&state), 3.0);
        apply_pending(&state);
        assert_eq!(number(&state), 5.0);
    }
}
