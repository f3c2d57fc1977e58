//! The part of a running mean that an earlier one has not seen.

use burn::module::Module;
use burn_ema_rules::decay::Decay;

use crate::error::EmaError;
use crate::merge::range_weights;
use crate::merge::sum::{Sum, invalid, weighted};
use crate::model::EmaModel;
use crate::plan::PlanAction;

/// The average of the updates that `later` has had and `earlier` has not, of two EMAs of one run.
///
/// Keep a mean during the run ([`Decay::equal_weights`], or any other power function) and save it now and then: any two
/// of the records then give the mean of what is between them, without the checkpoints (icefall's `--use-averaged-model`). With
/// another power function than equal weights the result has the part of the profile of `later` that is after `earlier`: see
/// [`range_weights`](crate::merge::range_weights), which also tells how much the rounding of the records grows.
///
/// Averaged parameters are combined. Buffers and all other tensors are those of `later`. The result is in the dtypes
/// of the [full-precision model](EmaModel::full_precision_model), in inference mode.
///
/// # Errors
///
/// [`EmaError::Merge`] if the two EMAs have different schedules, a decay that is neither equal weights nor a power function,
/// different structures, or different trained parameters (a parameter that was unfrozen in between has no mean of the range);
/// [`EmaError::Rules`] if `earlier` has as many updates as `later` or more; [`EmaError::Interrupted`] if an update of one of
/// them panicked.
///
/// # Example
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn_ema::merge::range_mean;
/// use burn_ema::{Decay, EmaConfig};
///
/// let model = LinearConfig::new(2, 1).init(&Default::default());
/// let mut ema = EmaConfig::new().with_decay(Decay::equal_weights()).init(&model);
/// ema.update(&model)?;
/// let earlier = ema.clone(); // or its record
/// ema.update(&model)?;
/// ema.update(&model)?;
/// let mean_of_the_last_two = range_mean(&earlier, &ema)?;
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
pub fn range_mean<M: Module>(earlier: &EmaModel<M>, later: &EmaModel<M>) -> Result<M, EmaError> {
    earlier.check_whole()?;
    later.check_whole()?;
    let of = |ema: &EmaModel<M>| {
        let config = ema.config();
        (config.decay.clone(), config.interval, config.start)
    };
    let (decay, interval, start) = of(later);
    if of(earlier) != (decay.clone(), interval, start) {
        return invalid(
            "the two EMAs have different schedules: give two of one run, loaded with its configuration".into(),
        );
    }
    let (prior, gamma) = match decay {
        Decay::EqualWeights(mean) => (mean.prior as f64, 0.0),
        Decay::PowerFunction(power) => (0.0, power.gamma),
        other => {
            return invalid(format!(
                "a range needs two means (`Decay::equal_weights`) or EMAs by a power function, found {other:?}"
            ));
        }
    };
    let count = |ema: &EmaModel<M>| ema.counters.weight + prior;
    let weights = range_weights(count(earlier), count(later), gamma)?;
    let is_averaged = |path: &str| {
        let place = later.plan.places.position(path);
        place.is_some_and(|place| {
            let is_averaged = later.plan.action(place, false) == PlanAction::Average;
            is_averaged && !later.plan.entries[place].is_buffer
        })
    };
    let models = [earlier, later].map(EmaModel::full_precision_model);
    weighted(&weights, models, |first, weight| {
        Sum::of_averaged(first, weight, is_averaged)
    })
}
