//! The curves of a schedule.

use burn_ema::decay::Progress;
use burn_ema::profile::Profile;
use burn_ema::{Decay, EmaError};

/// The last update of a [`decay_curve`].
pub const LAST_UPDATE: u64 = 1_000_000;

/// About as many points as a line needs to look smooth.
const POINTS: usize = 300;

/// How much each step counts in the EMA, relative to a mean of all steps: its weight times the number of
/// steps, the oldest first. The weights that averaging started from are not among them.
pub fn density(profile: &Profile) -> Vec<f64> {
    let [_, steps @ ..] = profile.weights() else {
        return Vec::new();
    };
    let number = steps.len() as f64;
    steps.iter().map(|weight| weight * number).collect()
}

/// The [`density`] over the position in the run, where 1 is its end.
pub fn density_curve(profile: &Profile) -> Vec<(f64, f64)> {
    let density = density(profile);
    let number = density.len();
    let stride = number.div_ceil(POINTS);
    density
        .into_iter()
        .enumerate()
        .filter(|(index, _)| index.is_multiple_of(stride) || index + 1 == number)
        .map(|(index, value)| ((index + 1) as f64 / number as f64, value))
        .collect()
}

/// `1 - decay` of each update, i.e. how much it takes of the new weights, over the number of the update, counted
/// from 1. The points are at equal distances on a logarithmic axis.
///
/// # Errors
///
/// If the schedule gives a decay outside `[0, 1]`.
pub fn decay_curve(schedule: &Decay) -> Result<Vec<(f64, f64)>, EmaError> {
    let share = |point: usize| point as f64 / POINTS as f64;
    let update = |point| (LAST_UPDATE as f64).powf(share(point)).round() as u64;
    let mut updates: Vec<u64> = (0..=POINTS).map(update).collect();
    updates.dedup();
    updates
        .into_iter()
        .map(|update| {
            let at = Progress {
                updates: update.saturating_sub(1),
                interval: 1,
            };
            Ok((update as f64, 1.0 - schedule.try_decay(at)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use burn_ema::EmaConfig;

    use super::*;
    use crate::schedules;

    fn profile(decay: Decay, steps: u64) -> Profile {
        EmaConfig::new().with_decay(decay).profile(steps).unwrap()
    }

    #[test]
    fn density_of_equal_weights_is_1_everywhere() {
        let density = density(&profile(Decay::equal_weights(), 2_000));

        assert_eq!(density.len(), 2_000);
        assert!(density.iter().all(|value| (value - 1.0).abs() < 1e-9));
    }

    #[test]
    fn densities_integrate_to_1_with_what_averaging_started_from() {
        for schedule in schedules::averages()
            .into_iter()
            .chain(schedules::warmups())
        {
            let profile = profile(schedule.decay, 3_000);
            let integral = density(&profile).iter().sum::<f64>() / 3_000.0;

            let whole = integral + profile.weights()[0];
            assert!((whole - 1.0).abs() < 1e-9, "{}: {whole}", schedule.name);
        }
    }

    #[test]
    fn density_of_a_power_function_is_its_power() {
        let gamma = burn_ema::decay::gamma_of_sigma_rel(0.10).unwrap();
        for (position, value) in density_curve(&profile(Decay::sigma_rel(0.10), 100_000)) {
            let expected = (gamma + 1.0) * position.powf(gamma);
            assert!((value - expected).abs() < 1e-3, "at {position}: {value}");
        }
    }

    #[test]
    fn density_curve_has_few_points_and_reaches_the_end() {
        for steps in [0, 1, 7, 299, 300, 301, 12_345] {
            let points = density_curve(&profile(Decay::half_life(100.0), steps));

            assert!(points.len() <= POINTS + 1, "{steps}: {}", points.len());
            assert_eq!(
                points.last().map(|point| point.0),
                (steps > 0).then_some(1.0)
            );
        }
    }

    #[test]
    fn decay_curve_counts_updates_from_1() {
        let points = decay_curve(&Decay::equal_weights()).unwrap();

        assert_eq!(points[..2], [(1.0, 1.0), (2.0, 0.5)]);
        let (last, share) = points[points.len() - 1];
        assert_eq!(last, LAST_UPDATE as f64);
        assert!((share * last - 1.0).abs() < 1e-9);
    }

    #[test]
    fn decay_that_is_none_is_an_error() {
        let schedule = Decay::custom("wrong", |_: Progress| 1.5);

        assert!(decay_curve(&schedule).is_err());
    }
}
