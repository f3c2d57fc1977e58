//! The places of a module: its tensors, by path and in the order in which it shows them.

use burn::tensor::GradientCheckpointingStrategy;

use crate::walk::route::Route;

/// Where the tensors of a module are, as a first walk found them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Places {
    pub(crate) paths: Vec<String>,
    pub(crate) route: Route,
}

impl Places {
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(crate) fn position(&self, path: &str) -> Option<usize> {
        self.paths.iter().position(|known| known == path)
    }
}

/// How a module is configured, besides what its tensors hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mode {
    /// Whether each tensor that it shows is trainable, in order.
    pub(crate) trainable: Vec<bool>,
    /// Whether each of its flags (training behavior of layers) is enabled in training, in order.
    pub(crate) flags: Vec<bool>,
    /// How its tensors take part in gradient checkpointing. `None` without autodiff.
    pub(crate) strategy: Option<GradientCheckpointingStrategy>,
}

impl Mode {
    /// Whether a module in this mode behaves as one in mode `other` does. Without autodiff there is no strategy to differ in.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let strategies = (self.strategy, other.strategy);
        self.trainable == other.trainable
            && self.flags == other.flags
            && (strategies.0.is_none() || strategies.0 == strategies.1)
    }
}
