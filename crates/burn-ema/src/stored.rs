//! The weights of a model, put aside.

use burn::module::Module;

use crate::shadow::Shadow;
use crate::{EmaError, Policy, ShadowDType};

/// The weights and buffers of a model as they were when this was made, to be put back later: `store` and
/// `restore` of diffusers and pytorch_ema.
///
/// It shares the model's memory until the model changes. To run on the average for a while, prefer
/// [`EmaModel::model`](crate::EmaModel::model), which leaves the online model alone, or
/// [`EmaModel::evaluate_in`](crate::EmaModel::evaluate_in), which cannot forget to put the weights back.
///
/// # Example
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn_ema::{EmaConfig, Stored};
///
/// let mut model = LinearConfig::new(2, 1).init(&Default::default());
/// let ema = EmaConfig::new().init(&model);
/// let stored = Stored::of(&model)?;
/// ema.copy_to(&mut model)?;
/// // Evaluate, sample, save `model`.
/// stored.restore(&mut model)?;
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stored<M> {
    values: Shadow<M>,
}

impl<M: Module> Stored<M> {
    /// Puts the values of `model` aside.
    ///
    /// # Errors
    ///
    /// If a parameter has too many dimensions.
    pub fn of(model: &M) -> Result<Self, EmaError> {
        let values = Shadow::new(model, ShadowDType::Source, &Policy::new(), None)?;
        Ok(Self { values })
    }

    /// Puts the values back into `model`, which stays on its device, trained or not, as it is.
    ///
    /// # Errors
    ///
    /// If `model` is not of the structure that the values came from. Nothing has changed then.
    pub fn restore(&self, model: &mut M) -> Result<(), EmaError> {
        self.values.write_to(model)
    }
}
