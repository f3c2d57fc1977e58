//! Running statistics from the data of a loader.

use std::fmt;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::module::Module;
use burn::train::{InferenceStep, LearnerModel};

type Estimate<M> = dyn Fn(&M) -> Result<M, String> + Send + Sync;

/// Computes the running statistics of models.
pub(crate) struct Reestimation<M> {
    estimate: Arc<Estimate<M>>,
}

impl<M> Clone for Reestimation<M> {
    fn clone(&self) -> Self {
        Self {
            estimate: self.estimate.clone(),
        }
    }
}

impl<M> fmt::Debug for Reestimation<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Reestimation")
            .finish_non_exhaustive()
    }
}

impl<M: Module> Reestimation<M> {
    /// From the first `batches` batches of `loader`.
    pub(crate) fn from_loader<I>(loader: Arc<dyn DataLoader<I>>, batches: usize) -> Self
    where
        M: LearnerModel + InferenceStep<Input = I>,
        I: Clone + 'static,
    {
        let estimate = move |model: &M| {
            let Some(device) = model.devices().into_iter().next() else {
                return Err("the model has no parameters".to_string());
            };
            let loader = loader.to_device(&device.autodiff());
            let mut failed = None;
            let items = loader.iter().take(batches).map_while(|item| match item {
                Ok(item) => Some(item),
                Err(error) => {
                    failed = Some(error.to_string());
                    None
                }
            });
            let estimated = burn_ema::batch_norm::reestimate(model, items, |model, item: &I| {
                drop(InferenceStep::step(model, item.clone()));
            });
            match failed {
                Some(problem) => Err(problem),
                None => estimated
                    .map(|estimated| estimated.model)
                    .map_err(|error| error.to_string()),
            }
        };
        Self {
            estimate: Arc::new(estimate),
        }
    }

    /// `model` with statistics of the data.
    ///
    /// # Errors
    ///
    /// If the loader fails, gives nothing, or moves no statistic.
    pub(crate) fn estimate(&self, model: &M) -> Result<M, String> {
        (self.estimate)(model)
    }
}
