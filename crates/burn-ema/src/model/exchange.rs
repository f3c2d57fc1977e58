//! Putting weights into a model and back.

use std::ops::{Deref, DerefMut};

use burn::module::Module;
use burn::tensor::kind::BridgeTensor;

use crate::burn_facts::rank;
use crate::error::EmaError;
use crate::model::EmaModel;
use crate::walk::places::Places;
use crate::walk::read::{First, again, first, is_compatible};
use crate::walk::write::replace;

/// EMA weights in the place of a model, which returns when this is dropped. Made by
/// [`EmaModel::swap_into`](crate::EmaModel::swap_into).
#[derive(Debug)]
#[must_use = "the weights of the model return when this is dropped"]
pub struct Swapped<'a, M> {
    place: &'a mut M,
    /// What was in the place. `None` once it is back.
    original: Option<M>,
}

impl<'a, M> Swapped<'a, M> {
    pub(crate) fn new(place: &'a mut M, averaged: M) -> Self {
        let original = Some(std::mem::replace(place, averaged));
        Self { place, original }
    }
}

impl<M> Deref for Swapped<'_, M> {
    type Target = M;

    fn deref(&self) -> &M {
        self.place
    }
}

impl<M> DerefMut for Swapped<'_, M> {
    fn deref_mut(&mut self) -> &mut M {
        self.place
    }
}

impl<M> Drop for Swapped<'_, M> {
    fn drop(&mut self) {
        if let Some(original) = self.original.take() {
            *self.place = original;
        }
    }
}

/// The weights and buffers of a model as they were when this was made, to be put back later: `store` and
/// `restore` of diffusers and pytorch_ema.
///
/// It shares the model's memory until the model changes. To run on the EMA for a while, prefer
/// [`EmaModel::model`](crate::EmaModel::model), which leaves the online model alone, or
/// [`EmaModel::evaluate_in`](crate::EmaModel::evaluate_in), which cannot forget to put the weights back.
///
/// # Example
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn_ema::EmaConfig;
/// use burn_ema::exchange::Stored;
///
/// let mut model = LinearConfig::new(2, 1).init(&Default::default());
/// let ema = EmaConfig::new().init(&model);
/// let stored = Stored::of(&model);
/// ema.copy_to(&mut model)?;
/// // Evaluate, sample, save `model`.
/// stored.restore(&mut model)?;
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Stored {
    places: Places,
    tensors: Vec<BridgeTensor>,
}

impl Stored {
    /// Puts the weights of `model` aside.
    pub fn of<M: Module>(model: &M) -> Self {
        let First { places, shown, .. } = first(model);
        Self {
            places,
            tensors: shown.into_iter().map(|shown| shown.tensor).collect(),
        }
    }

    /// Puts the weights back into `model`, which keeps its device, its mode and what it trains.
    ///
    /// # Errors
    ///
    /// If `model` does not have the structure that the weights came from. Nothing has changed then.
    pub fn restore<M: Module>(&self, model: &mut M) -> Result<(), EmaError> {
        let reading = again(model, &self.places, true);
        if let Some((path, _)) = reading.others.first() {
            return Err(EmaError::Unexpected { path: path.clone() });
        }
        for ((path, tensor), shown) in self
            .places
            .paths
            .iter()
            .zip(&self.tensors)
            .zip(reading.shown)
        {
            let Some(shown) = shown else {
                return Err(EmaError::Missing { path: path.clone() });
            };
            let (expected, found) = (tensor.shape(), shown.tensor.shape());
            if expected != found {
                return Err(EmaError::ShapeMismatch {
                    path: path.clone(),
                    expected,
                    found,
                });
            }
            let (expected, found) = (tensor.dtype(), shown.tensor.dtype());
            if !is_compatible(expected, found) {
                return Err(EmaError::DTypeMismatch {
                    path: path.clone(),
                    expected,
                    found,
                });
            }
        }
        assign(
            model,
            &self.places,
            |_| true,
            |place| self.tensors[place].clone(),
        );
        Ok(())
    }
}

/// Gives the places of `model` for which `is_wanted` holds the tensor of `next`, on their device and in their dtype.
///
/// Running statistics must be up to date. For a while there are two models in memory.
pub(crate) fn assign<M: Module>(
    model: &mut M,
    places: &Places,
    is_wanted: impl FnMut(usize) -> bool,
    mut next: impl FnMut(usize) -> BridgeTensor,
) {
    let next = |place: usize, old: BridgeTensor| {
        rank::conform(next(place), &rank::device(&old), old.dtype())
    };
    // A clone shares running statistics with the model, where these are written. If something panics on the way, the model
    // has all of its parameters.
    (*model, _) = replace(model.clone(), &places.paths, is_wanted, next);
}

impl<M: Module> EmaModel<M> {
    /// Gives `model` every tensor of the EMA, also those that are not averaged. `model` keeps its device, its mode, its ids and
    /// what it trains. See [`Stored`] for the way back.
    ///
    /// # Errors
    ///
    /// If `model` does not have the structure of the EMA, or an earlier update panicked. Nothing has changed then.
    pub fn copy_to(&self, model: &mut M) -> Result<(), EmaError> {
        self.check_whole()?;
        self.read_alike(model)?;
        let settled = self.settled();
        assign(
            model,
            &self.plan.places,
            |_| true,
            |place| settled.share(place),
        );
        Ok(())
    }
}
