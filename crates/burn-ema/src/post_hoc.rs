//! Post-hoc EMA: combines stored snapshots into an average that was not kept during the run.
//!
//! The profile of a snapshot is the weight of each step of the run in it. [`reconstruct`] and [`reconstruct_profiles`] find
//! the combination of these profiles that is closest to the wanted profile. They return the weights of the snapshots, two
//! errors and the growth of rounding, without any tensor. [`combine`] then sums the snapshots. Running statistics of the
//! result are those of the last snapshot, which do not fit the combined weights exactly:
//! [`reestimate`](crate::batch_norm::reestimate) them where BatchNorm matters.
//!
//! # EMAs of any schedule, and plain checkpoints
//!
//! [`EmaModel::profile`](crate::EmaModel::profile) is the profile of an EMA,
//! [`Profile::checkpoint`](crate::profile::Profile::checkpoint) that of a checkpoint, and
//! [`merge::window`](crate::merge::window) that of a mean or a merge of a window:
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn_ema::merge::{MergeSchedule, window};
//! use burn_ema::post_hoc::{Fit, combine, reconstruct_profiles};
//! use burn_ema::{Decay, EmaConfig};
//!
//! let model = LinearConfig::new(2, 1).init(&Default::default());
//! let mut ema = EmaConfig::new().with_decay(Decay::half_life(10.0)).init(&model);
//! let (mut profiles, mut snapshots) = (Vec::new(), Vec::new());
//! for step in 1..=320 {
//!     // Train, then:
//!     ema.update(&model)?;
//!     if step % 10 == 0 {
//!         profiles.push(ema.profile()?);
//!         snapshots.push(ema.full_precision_model()); // or save it, and load it later
//!     }
//! }
//! let quarter = window(320, 80, MergeSchedule::Linear)?;
//! let reconstruction = reconstruct_profiles(&profiles, &quarter, Fit::default())?;
//! assert!(reconstruction.change_error() < 0.03 && reconstruction.noise_gain() < 2.0);
//! let model = combine(&reconstruction, snapshots)?;
//! # Ok::<(), burn_ema::EmaError>(())
//! ```
//!
//! # Power functions
//!
//! Karras et al. 2023 (arXiv:2312.02696, section 3 and appendix C) store snapshots of power function EMAs. Two numbers
//! describe the profile of such a snapshot: its time and the exponent. [`reconstruct`] computes the weights by a formula:
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

pub use burn_ema_rules::post_hoc::{
    Fit, Measure, PowerProfile, Reconstruction, reconstruct, reconstruct_profiles,
};

use crate::error::EmaError;
use crate::merge::sum::{Sum, invalid, weighted};
use crate::model::config::EmaPrecision;
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
/// tenth of the parameters: see [`combine_within`].
pub fn combine<M: Module>(
    reconstruction: &Reconstruction,
    models: impl IntoIterator<Item = M>,
) -> Result<M, EmaError> {
    combine_within(MOST_NOISE, reconstruction, models)
}

/// Combines stored snapshots as [`combine`] does, where rounding may change the parameters by up to `most_noise` of their size.
///
/// # Errors
///
/// As [`combine`], with `most_noise` for a tenth.
///
/// # Example
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn_ema::post_hoc::{PowerProfile, combine_within, reconstruct};
///
/// let stored = [PowerProfile::new(50.0, 0.1)?, PowerProfile::new(100.0, 0.1)?];
/// let reconstruction = reconstruct(&stored, PowerProfile::new(100.0, 0.12)?)?;
/// let models = || stored.iter().map(|_| LinearConfig::new(2, 1).init(&Default::default()));
/// assert!(combine_within(1e-9, &reconstruction, models()).is_err());
/// assert!(combine_within(f64::INFINITY, &reconstruction, models()).is_ok());
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
pub fn combine_within<M: Module>(
    most_noise: f64,
    reconstruction: &Reconstruction,
    models: impl IntoIterator<Item = M>,
) -> Result<M, EmaError> {
    let policy = Policy::new().with_buffers(BufferAction::Copy);
    weighted(reconstruction.normalized(), models, |first, weight| {
        let sum = Sum::of(first, weight, &policy, EmaPrecision::AtLeastF32)?;
        check_noise(&sum, reconstruction, most_noise)?;
        Ok(sum)
    })
}

/// Share of the parameters that amplified rounding may reach.
const MOST_NOISE: f64 = 0.1;
/// The same of what is worth a warning.
const NOTABLE_NOISE: f64 = 0.01;

/// The relative precision of floats of this dtype: half of the distance from 1 to the next number. For [`Fit`] and
/// [`Reconstruction::noise`]; 0 for what is no float.
///
/// # Example
///
/// ```
/// use burn::tensor::DType;
/// use burn_ema::post_hoc::precision;
///
/// assert_eq!([DType::F32, DType::BF16].map(precision), [2.0_f64.powi(-24), 2.0_f64.powi(-8)]);
/// ```
#[must_use]
pub fn precision(dtype: DType) -> f64 {
    dtype.finfo().map_or(0.0, |info| 0.5 * info.epsilon)
}

/// Checks that the rounding of the snapshots does not drown what they hold.
fn check_noise(
    sum: &Sum,
    reconstruction: &Reconstruction,
    most_noise: f64,
) -> Result<(), EmaError> {
    let coarsest = sum.dtypes().map(|dtype| (precision(dtype), dtype));
    let Some((precision, dtype)) = coarsest.max_by(|a, b| a.0.total_cmp(&b.0)) else {
        return Ok(());
    };
    let noise = reconstruction.noise(precision);
    // NaN is not.
    let is_within = noise <= most_noise;
    if !is_within {
        return invalid(format!(
            "the absolute weights of the snapshots sum to {:.3e}, which amplifies the rounding of {dtype:?} to {:.0}% of the \
             parameters: store snapshots in f32 or f64, leave out EMAs of similar width, or set a higher limit with `combine_within`",
            reconstruction.noise_gain(),
            100.0 * noise
        ));
    }
    if noise > NOTABLE_NOISE {
        log::warn!(
            "post-hoc EMA: rounding of {dtype:?} snapshots may change the parameters by up to {:.1}%",
            100.0 * noise
        );
    }
    Ok(())
}
