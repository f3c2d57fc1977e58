//! A model with an EMA copy of one submodule, and a training loop with hooks.

use burn::module::Module;
use burn::tensor::Device;
use burn_ema_train::hook::{HookResult, Hooks, Runner};

use crate::models::Mixed;

/// A network, its EMA copy, and a network that no hook is to touch.
#[derive(Module, Debug)]
pub struct Paired<M> {
    /// The network that is trained.
    pub net: M,
    /// The one that follows it.
    pub net_ema: M,
    /// Another one.
    pub other: M,
}

/// A loop that "trains" by doing what it is told.
#[derive(Debug)]
pub struct Loop<M> {
    /// What is trained.
    pub model: M,
    /// Index of the iteration that runs.
    pub iter: u64,
    /// Number of iterations that an optimizer step takes.
    pub accumulation: u64,
}

impl<M: Module> Runner for Loop<M> {
    type Model = M;

    fn iter(&self) -> u64 {
        self.iter
    }

    fn model(&self) -> &M {
        &self.model
    }

    fn model_mut(&mut self) -> &mut M {
        &mut self.model
    }

    fn optimizer_step(&self) -> Option<u64> {
        let done = self.iter + 1;
        let is_step = done.is_multiple_of(self.accumulation);
        is_step.then(|| done / self.accumulation - 1)
    }
}

impl<M: Module> Loop<M> {
    /// A loop before its first iteration.
    pub fn new(model: M) -> Self {
        Self {
            model,
            iter: 0,
            accumulation: 1,
        }
    }

    /// Runs iterations up to `end`: `train` is given the model and the index of the iteration.
    ///
    /// # Errors
    ///
    /// That of a hook.
    pub fn run_to(
        &mut self,
        end: u64,
        hooks: &mut Hooks<Self>,
        mut train: impl FnMut(&mut M, u64),
    ) -> HookResult {
        while self.iter < end {
            train(&mut self.model, self.iter);
            hooks.after_train_iter(self, 0)?;
            self.iter += 1;
        }
        Ok(())
    }
}

/// mmagic's fixture: all networks as they are before the first iteration.
pub fn mixed_pair(device: &Device) -> Paired<Mixed> {
    let net = || Mixed::at(None, device);
    Paired {
        net: net(),
        net_ema: net(),
        other: net(),
    }
}
