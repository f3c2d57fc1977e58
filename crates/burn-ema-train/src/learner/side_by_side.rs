//! Validation on several sets of weights in one run.

use burn::train::{InferenceStep, LearnerModel};

use crate::learner::WithEma;
use crate::metrics::compared::Compared;

/// Validation on all sets of weights: see [`WithEma::side_by_side`].
#[derive(Clone, Copy, Debug)]
pub struct BothModels;

impl<M: LearnerModel> InferenceStep for WithEma<M, BothModels>
where
    <M as InferenceStep>::Input: Clone,
{
    type Input = <M as InferenceStep>::Input;
    type Output = Compared<<M as InferenceStep>::Output>;

    fn step(&self, item: Self::Input) -> Self::Output {
        Compared {
            ema: self.on_ema(|averaged| InferenceStep::step(averaged, item.clone())),
            chosen: self.chosen_name(),
            others: self.on_others(|averaged| InferenceStep::step(averaged, item.clone())),
            online: InferenceStep::step(self.online(), item),
        }
    }
}
