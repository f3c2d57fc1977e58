//! EMAs that were not kept, from those that were: post-hoc EMA.
//!
//! An EMA by a power function is known by two numbers, the time at which it was stored and its exponent. Karras et
//! al. 2023 (arXiv:2312.02696, section 3 and appendix C) store snapshots of a few such EMAs during a run,
//! and afterwards combine them into one of any other width: the combination of their profiles that is closest to
//! the wanted profile gives the weights with which the snapshots are summed.
//!
//! [`reconstruct`] finds the weights, and [`combine`] sums the snapshots. Running statistics of the result are those of the
//! last snapshot, which do not fit the combined weights exactly:
//! [`reestimate`](crate::batch_norm::reestimate) them where BatchNorm matters.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn_ema::post_hoc::{PowerProfile, combine, reconstruct};
//! use burn_ema::{Decay, EmaConfig, EmaSetConfig};
//!
//! let model = LinearConfig::new(2, 1).init(&Default::default());
//! let widths = [0.05, 0.10];
//! let mut emas = EmaSetConfig::new()
//!     .with("narrow", EmaConfig::new().with_decay(Decay::sigma_rel(widths[0])))
//!     .with("wide", EmaConfig::new().with_decay(Decay::sigma_rel(widths[1])))
//!     .init(&model);
//! let (mut profiles, mut snapshots) = (Vec::new(), Vec::new());
//! for step in 1..=80 {
//!     // Train, then:
//!     emas.update(&model)?;
//!     if step % 10 == 0 {
//!         for ((_, ema), width) in emas.iter().zip(widths) {
//!             profiles.push(PowerProfile::new(step as f64, width)?);
//!             snapshots.push(ema.full_precision_model()); // or save it, and load it later
//!         }
//!     }
//! }
//! let wanted = PowerProfile::new(80.0, 0.15)?;
//! let reconstruction = reconstruct(&profiles, wanted)?;
//! assert!(reconstruction.relative_error() < 0.05);
//! let model = combine(&reconstruction, snapshots)?;
//! # Ok::<(), burn_ema::EmaError>(())
//! ```

use burn::module::Module;
use burn::tensor::DType;
use burn::tensor::kind::BridgeTensor;

pub use burn_ema_rules::post_hoc::{PowerProfile, Reconstruction, reconstruct};

use crate::burn_facts::rank;
use crate::error::EmaError;
use crate::model::config::EmaPrecision;
use crate::model::planned;
use crate::plan::Plan;
use crate::policy::{Class, Policy};
use crate::store::Store;
use crate::store::slot::Slot;
use crate::walk::read::{First, Shown, again};

/// Combines stored EMAs, given in the order of their profiles, with the [normalized](Reconstruction::normalized) weights of
/// `reconstruction`. They are taken one by one, so they can be loaded on the way.
///
/// Trainable parameters are combined, in at least f32; if no parameter of the first snapshot is trainable (it was loaded for
/// inference), all float parameters are. Everything else, buffers included, is that of the last snapshot, and so is the
/// device.
///
/// # Errors
///
/// [`EmaError::Reconstruction`] if the number of models is not the number of weights, models differ in what is trainable, or
/// the rounding of the snapshots, amplified by [`noise_gain`](Reconstruction::noise_gain), would be more than a tenth of the
/// parameters; and if models differ in structure.
pub fn combine<M: Module>(
    reconstruction: &Reconstruction,
    models: impl IntoIterator<Item = M>,
) -> Result<M, EmaError> {
    let weights = reconstruction.normalized();
    let mut sum: Option<Sum> = None;
    let mut last = None;
    let mut count = 0;
    for model in models {
        let Some(weight) = weights.get(count).copied() else {
            return invalid(format!("there are more models than the {count} weights"));
        };
        count += 1;
        match &mut sum {
            None => {
                let new = Sum::of(&model, weight)?;
                new.check_noise(reconstruction.noise_gain())?;
                sum = Some(new);
            }
            Some(sum) => sum.add(&model, weight)?,
        }
        last = Some(model);
    }
    match (sum, last) {
        (Some(sum), Some(last)) if count == weights.len() => sum.into_model(&last),
        _ => invalid(format!(
            "there are {count} models for {} weights",
            weights.len()
        )),
    }
}

/// What a difference in structure means here.
fn different(error: EmaError) -> EmaError {
    let path = error.path().unwrap_or_default().to_string();
    let difference = match error {
        EmaError::ShapeMismatch {
            expected, found, ..
        } => format!("has shape {expected} in the first model and {found} in another"),
        EmaError::DTypeMismatch {
            expected, found, ..
        } => format!("is {expected:?} in the first model and {found:?} in another"),
        _ => "is not in all models".to_string(),
    };
    EmaError::Reconstruction {
        problem: format!("`{path}` {difference}: combine snapshots of one model"),
    }
}

fn invalid<T>(problem: String) -> Result<T, EmaError> {
    Err(EmaError::Reconstruction { problem })
}

/// Share of the parameters that amplified rounding may reach.
const MOST_NOISE: f64 = 0.1;
/// The same of what is worth a warning.
const NOTABLE_NOISE: f64 = 0.01;

/// What has been summed so far.
struct Sum {
    plan: Plan,
    /// Whether each place is combined.
    is_combined: Vec<bool>,
    /// Whether each place was trainable in the first model.
    is_trainable: Vec<bool>,
    tensors: Vec<BridgeTensor>,
}

impl Sum {
    fn of<M: Module>(model: &M, weight: f64) -> Result<Self, EmaError> {
        let (first, plan, _) = planned(model, |first, buffers| {
            Plan::new(first, buffers, &Policy::new())
        })?;
        let First { shown, mode, .. } = first;
        let any_trainable = mode.trainable.iter().any(|trainable| *trainable);
        let is_combined = |(place, shown): (usize, &Shown)| match plan.class(place, false) {
            Class::Discrete | Class::Buffer => false,
            _ => shown.is_trainable || !any_trainable,
        };
        let is_combined: Vec<bool> = shown.iter().enumerate().map(is_combined).collect();
        let tensors = shown.into_iter().zip(&is_combined);
        let tensors = tensors.map(|(shown, is_combined)| scaled(shown, *is_combined, weight));
        Ok(Self {
            tensors: tensors.collect(),
            is_trainable: mode.trainable,
            is_combined,
            plan,
        })
    }

    /// Checks that the rounding of the snapshots does not drown what they hold.
    fn check_noise(&self, gain: f64) -> Result<(), EmaError> {
        let combined = self.plan.entries.iter().zip(&self.is_combined);
        let dtypes = combined.filter(|(_, combined)| **combined);
        let precision = |dtype: DType| dtype.finfo().map_or(0.0, |info| 0.5 * info.epsilon);
        let coarsest = dtypes.map(|(entry, _)| (precision(entry.dtype), entry.dtype));
        let Some((epsilon, dtype)) = coarsest.max_by(|a, b| a.0.total_cmp(&b.0)) else {
            return Ok(());
        };
        let noise = gain * epsilon;
        if noise > MOST_NOISE {
            return invalid(format!(
                "the weights of the snapshots sum to {gain:.3e} in absolute value, which amplifies the rounding of \
                 {dtype:?} to {:.0} % of the parameters: store snapshots in a wider dtype, or leave out EMAs of similar \
                 width",
                100.0 * noise
            ));
        }
        if noise > NOTABLE_NOISE {
            log::warn!(
                "post-hoc EMA: rounding of {dtype:?} snapshots may change the parameters by up to {:.1} %",
                100.0 * noise
            );
        }
        Ok(())
    }

    fn add<M: Module>(&mut self, model: &M, weight: f64) -> Result<(), EmaError> {
        let reading = again(model, &self.plan.places, true);
        self.plan.check_all(&reading).map_err(different)?;
        for (place, shown) in reading.shown.into_iter().flatten().enumerate() {
            if shown.is_trainable != self.is_trainable[place] {
                return invalid(format!(
                    "`{}` is trainable in one model and frozen in another: load all of them alike",
                    self.plan.places.paths[place]
                ));
            }
            let is_combined = self.is_combined[place];
            let new = scaled(shown, is_combined, weight);
            let old = &mut self.tensors[place];
            *old = match is_combined {
                // Models may have been loaded onto different devices.
                true => rank::add(rank::on_device(old.clone(), &rank::device(&new)), new),
                false => new,
            };
        }
        Ok(())
    }

    fn into_model<M: Module>(self, last: &M) -> Result<M, EmaError> {
        let (_, plan, frame) =
            planned(last, |first, buffers| Ok(self.plan.revised(first, buffers)))?;
        let slots = self.tensors.into_iter().map(Slot::new);
        let store = Store::new(slots.collect(), frame, None);
        Ok(store.model(&self.plan.places, |place| plan.entries[place].dtype))
    }
}

fn scaled(shown: Shown, is_combined: bool, weight: f64) -> BridgeTensor {
    let tensor = shown.tensor;
    match is_combined {
        true => {
            let dtype = EmaPrecision::AtLeastF32.of(tensor.dtype());
            rank::scale(rank::cast(tensor, dtype), weight)
        }
        false => tensor,
    }
}
