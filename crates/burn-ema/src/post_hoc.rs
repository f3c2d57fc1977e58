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

pub use burn_ema_rules::post_hoc::{PowerProfile, Reconstruction, reconstruct};

use crate::error::EmaError;
use crate::merge::SumPrecision;
use crate::merge::sum::{Sum, invalid, weighted};
use crate::policy::{BufferAction, Policy};

/// Combines stored EMAs, given in the order of their profiles, with the [normalized](Reconstruction::normalized) weights of
/// `reconstruction`. They are taken one by one, so they can be loaded on the way.
///
/// Trainable parameters are combined, in at least f32; if no parameter of the first snapshot is trainable (it was loaded for
/// inference), all float parameters are. Everything else, buffers included, is that of the last snapshot, and so is the
/// device.
///
/// # Errors
///
/// [`EmaError::Merge`] if the number of models is not the number of weights, models differ in structure or in what is
/// trainable, or the rounding of the snapshots, amplified by [`noise_gain`](Reconstruction::noise_gain), would be more than a
/// tenth of the parameters.
pub fn combine<M: Module>(
    reconstruction: &Reconstruction,
    models: impl IntoIterator<Item = M>,
) -> Result<M, EmaError> {
    let policy = Policy::new().with_buffers(BufferAction::Copy);
    weighted(reconstruction.normalized(), models, |first, weight| {
        let sum = Sum::of(first, weight, &policy, SumPrecision::AtLeastF32)?;
        check_noise(&sum, reconstruction.noise_gain())?;
        Ok(sum)
    })
}

/// Share of the parameters that amplified rounding may reach.
const MOST_NOISE: f64 = 0.1;
/// The same of what is worth a warning.
const NOTABLE_NOISE: f64 = 0.01;

/// Checks that the rounding of the snapshots does not drown what they hold.
fn check_noise(sum: &Sum, gain: f64) -> Result<(), EmaError> {
    let precision = |dtype: DType| dtype.finfo().map_or(0.0, |info| 0.5 * info.epsilon);
    let coarsest = sum.dtypes().map(|dtype| (precision(dtype), dtype));
    let Some((epsilon, dtype)) = coarsest.max_by(|a, b| a.0.total_cmp(&b.0)) else {
        return Ok(());
    };
    let noise = gain * epsilon;
    if noise > MOST_NOISE {
        return invalid(format!(
            "the weights of the snapshots sum to {gain:.3e} in absolute value, which amplifies the rounding of {dtype:?} to \
             {:.0} % of the parameters: store snapshots in a wider dtype, or leave out EMAs of similar width",
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
