//! The guard against NaN and infinity.

use burn::tensor::kind::BridgeTensor;

use crate::plan::PlanAction;
use crate::walk::read::{Kind, Reading};

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

/// The first place that is averaged and not finite in the model.
pub(crate) fn culprit(reading: &Reading, actions: &[PlanAction]) -> Option<usize> {
    let mut averaged = averaged(reading, actions);
    let is_bad = |tensor| !burn_ema_kernels::all_finite([tensor]);
    averaged
        .find(|(_, tensor)| is_bad(*tensor))
        .map(|(place, _)| place)
}

fn averaged<'a>(
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
