//! The decay schedules that are compared. Their numbers are fixed and in range, so their constructors do not panic.

use burn_ema::Decay;
use burn_ema::decay::{
    Annealing, ExponentialWarmup, ImageRampUp, LinearWarmup, PowerWarmup, TfRamp,
};

/// A decay schedule, and its name in legend and table.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedSchedule {
    /// What it is called.
    pub name: &'static str,
    /// The schedule.
    pub decay: Decay,
}

impl NamedSchedule {
    fn new(name: &'static str, decay: impl Into<Decay>) -> Self {
        Self {
            name,
            decay: decay.into(),
        }
    }
}

/// Schedules whose weights are drawn: schedules whose window grows with the run, and schedules with a window of
/// fixed length.
pub fn averages() -> Vec<NamedSchedule> {
    vec![
        NamedSchedule::new("equal weights (SWA)", Decay::equal_weights()),
        NamedSchedule::new("sigma_rel 0.05", Decay::sigma_rel(0.05)),
        NamedSchedule::new("sigma_rel 0.10", Decay::sigma_rel(0.10)),
        NamedSchedule::new("sigma_rel 0.20", Decay::sigma_rel(0.20)),
        NamedSchedule::new("constant 0.999", Decay::constant(0.999)),
        NamedSchedule::new("half-life of 1000 steps", Decay::half_life(1000.0)),
    ]
}

/// Schedules whose decays are drawn: the warm-ups, and what most of them tend to.
pub fn warmups() -> Vec<NamedSchedule> {
    vec![
        NamedSchedule::new("constant 0.9999", Decay::constant(0.9999)),
        NamedSchedule::new("PowerWarmup 2/3", PowerWarmup::new(2.0 / 3.0)),
        NamedSchedule::new("PowerWarmup 3/4", PowerWarmup::new(0.75)),
        NamedSchedule::new("TfRamp(0.9999)", TfRamp::new(0.9999)),
        NamedSchedule::new(
            "ExponentialWarmup(0.9999, 2000)",
            ExponentialWarmup::new(0.9999, 2000.0),
        ),
        NamedSchedule::new(
            "LinearWarmup(0.9, 0.9999, 5000)",
            LinearWarmup::new(0.9, 0.9999, 5000),
        ),
        NamedSchedule::new("Annealing(0.0002, 100)", Annealing::new(0.0002, 100.0)),
        NamedSchedule::new(
            "ImageRampUp(10 kimg, 0.05, 32)",
            ImageRampUp::from_kimg(10.0, Some(0.05), 32),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use burn_ema::decay::DecaySchedule;

    use super::*;

    #[test]
    fn rules_are_valid_and_told_apart_by_name() {
        let schedules: Vec<_> = averages().into_iter().chain(warmups()).collect();
        for (index, schedule) in schedules.iter().enumerate() {
            schedule.decay.validate().unwrap();
            assert!(
                schedules[..index]
                    .iter()
                    .all(|other| other.name != schedule.name)
            );
        }
    }
}
