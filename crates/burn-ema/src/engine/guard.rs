//! The guard against NaN and infinity.

use burn::tensor::kind::BridgeTensor;

use crate::error::EmaError;
use crate::plan::PlanAction;
use crate::walk::read::{Kind, Reading};

/// What an update does when a tensor that it would average holds NaN or infinity.
///
/// `Skip` and `Error` read the model once more, since nothing may change before all of it is known to be finite: 16 bytes of
/// memory traffic for each f32 element instead of 12. A GPU is waited for once per update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum NonFinite {
    /// Average it. One such value stays in the EMA for good.
    Propagate,
    /// Leave the EMA as it is and count the step as [skipped](crate::EmaModel::num_skipped).
    Skip,
    /// Return [`EmaError::NonFinite`] and leave everything as it is.
    Error,
}

impl NonFinite {
    /// Whether an update goes on with tensors of these places that it would average. `is_finite` is asked only if that matters.
    ///
    /// # Errors
    ///
    /// With the path of the first that is not finite, if that is to be an error.
    pub(crate) fn accepts<'a>(
        self,
        averaged: impl IntoIterator<Item = (usize, &'a BridgeTensor)>,
        paths: &[String],
        is_finite: impl FnOnce() -> bool,
    ) -> Result<bool, EmaError> {
        if self == Self::Propagate || is_finite() {
            return Ok(true);
        }
        if self == Self::Skip {
            return Ok(false);
        }
        let mut averaged = averaged.into_iter();
        let culprit = averaged.find(|(_, tensor)| !burn_ema_kernels::all_finite([*tensor]));
        let path = culprit.map(|(place, _)| paths[place].clone());
        Err(EmaError::NonFinite {
            path: path.unwrap_or_default(),
        })
    }
}

/// Looks for NaN and infinity in what an update would average. EMAs that average the same tensors look once.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    known: Vec<(Vec<PlanAction>, bool)>,
}

impl Guard {
    /// Whether every float that is averaged is finite in the model.
    ///
    /// Before the start it is copied, and would poison the first average all the same.
    pub(crate) fn is_finite(&mut self, reading: &Reading, actions: &[PlanAction]) -> bool {
        if let Some((_, is_finite)) = self.known.iter().find(|(known, _)| known == actions) {
            return *is_finite;
        }
        let averaged = averaged(reading, actions).map(|(_, tensor)| tensor);
        let is_finite = burn_ema_kernels::all_finite(averaged);
        self.known.push((actions.to_vec(), is_finite));
        is_finite
    }
}

/// The floats that are averaged, with their places.
pub(crate) fn averaged<'a>(
    reading: &'a Reading,
    actions: &'a [PlanAction],
) -> impl Iterator<Item = (usize, &'a BridgeTensor)> {
    let places = reading.shown.iter().zip(actions).enumerate();
    places.filter_map(|(place, (shown, action))| {
        let shown = shown.as_ref()?;
        let is_averaged = *action == PlanAction::Average && shown.kind() == Kind::Float;
        is_averaged.then_some((place, &shown.tensor))
    })
}
