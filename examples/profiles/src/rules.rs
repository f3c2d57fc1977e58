//! The rules that are compared. Their numbers are fixed and in range, so their constructors do not panic.

use burn_ema::{
    Annealing, Decay, ExponentialWarmup, ImageRampUp, LinearWarmup, PowerWarmup, TfRamp,
};

/// A rule, and what it is called in legend and table.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedRule {
    /// What it is called.
    pub name: &'static str,
    /// The rule.
    pub decay: Decay,
}

impl NamedRule {
    fn new(name: &'static str, decay: impl Into<Decay>) -> Self {
        Self {
            name,
            decay: decay.into(),
        }
    }
}

/// Rules whose weights are drawn: those that go with the length of the training, and those with a memory of
/// fixed length.
pub fn averages() -> Vec<NamedRule> {
    vec![
        NamedRule::new("equal weights (SWA)", Decay::equal_weights()),
        NamedRule::new("sigma_rel 0.05", Decay::sigma_rel(0.05)),
        NamedRule::new("sigma_rel 0.10", Decay::sigma_rel(0.10)),
        NamedRule::new("sigma_rel 0.20", Decay::sigma_rel(0.20)),
        NamedRule::new("constant 0.999", Decay::constant(0.999)),
        NamedRule::new("half-life of 1000 steps", Decay::half_life(1000.0)),
    ]
}

/// Rules whose decays are drawn: the warm-ups, and what most of them tend to.
pub fn warmups() -> Vec<NamedRule> {
    vec![
        NamedRule::new("constant 0.9999", Decay::constant(0.9999)),
        NamedRule::new("PowerWarmup 2/3", PowerWarmup::new(2.0 / 3.0)),
        NamedRule::new("PowerWarmup 3/4", PowerWarmup::new(0.75)),
        NamedRule::new("TfRamp(0.9999)", TfRamp::new(0.9999)),
        NamedRule::new(
            "ExponentialWarmup(0.9999, 2000)",
            ExponentialWarmup::new(0.9999, 2000.0),
        ),
        NamedRule::new(
            "LinearWarmup(0.9, 0.9999, 5000)",
            LinearWarmup::new(0.9, 0.9999, 5000),
        ),
        NamedRule::new("Annealing(0.0002, 100)", Annealing::new(0.0002, 100.0)),
        NamedRule::new(
            "ImageRampUp(10 kimg, 0.05, 32)",
            ImageRampUp::new(10.0, Some(0.05), 32),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use burn_ema::Rule;

    use super::*;

    #[test]
    fn rules_are_valid_and_told_apart_by_name() {
        let rules: Vec<_> = averages().into_iter().chain(warmups()).collect();
        for (index, rule) in rules.iter().enumerate() {
            rule.decay.validate().unwrap();
            assert!(rules[..index].iter().all(|other| other.name != rule.name));
        }
    }
}
