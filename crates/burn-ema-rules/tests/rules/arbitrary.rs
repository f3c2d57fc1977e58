//! Random schedules, and one of a user's own. The tests of burn-ema use them, too.

use burn_ema_rules::RulesError;
use burn_ema_rules::decay::{
    Annealing, Clock, Constant, CosineWarmup, Decay, DecaySchedule, Ends, EqualWeights,
    ExponentialWarmup, ImageRampUp, LinearWarmup, PowerFunction, PowerLaw, PowerWarmup, Progress,
    RestartedMean, TfRamp, Ticks, Weight,
};
use burn_ema_rules::schedule::Schedule;
use proptest::prelude::*;

pub(crate) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn clock() -> impl Strategy<Value = Clock> {
    (any::<bool>(), any::<bool>(), -8..8_i64).prop_map(|(steps, inclusive, offset)| Clock {
        ticks: if steps { Ticks::Steps } else { Ticks::Updates },
        inclusive,
        offset,
    })
}

fn ends() -> impl Strategy<Value = Ends> {
    prop_oneof![Just(Ends::Both), Just(Ends::First), Just(Ends::Last)]
}

/// A line; the ends of half a cosine are drawn alike.
fn ramp() -> impl Strategy<Value = LinearWarmup> {
    let ends = (0.0..=1.0, 0.5..=1.0, 0..30_u64, ends(), clock());
    ends.prop_map(|(from, to, updates, ends, clock)| LinearWarmup {
        from,
        to,
        updates,
        ends,
        clock,
    })
}

fn simple_decay() -> impl Strategy<Value = Decay> {
    prop_oneof![
        (0.5..=1.0).prop_map(|decay| Decay::Constant(Constant { decay })),
        (0.0..0.5).prop_map(|weight| Decay::Weight(Weight { weight })),
        (0.1..100.0).prop_map(Decay::half_life),
        (0.1..2.0, 0.1..20.0, 0.0..0.5, 0.5..=1.0, clock()).prop_map(
            |(power, inv_gamma, min, max, clock)| PowerWarmup {
                power,
                inv_gamma,
                min,
                max,
                clock
            }
            .into()
        ),
        (0.5..=1.0, 1.0..30.0, clock()).prop_map(|(max, factor, clock)| TfRamp {
            max,
            min: 0.0,
            factor,
            clock
        }
        .into()),
        (0.5..=1.0, 0.1..50.0, clock()).prop_map(|(max, tau, clock)| ExponentialWarmup {
            max,
            tau,
            clock
        }
        .into()),
        ramp().prop_map(Decay::from),
        ramp().prop_map(
            |LinearWarmup {
                 from,
                 to,
                 updates,
                 ends,
                 clock,
             }| {
                CosineWarmup {
                    from,
                    to,
                    updates,
                    ends,
                    clock,
                }
                .into()
            }
        ),
        (
            0.01..5.0,
            proptest::option::of(0.01..1.0),
            1..200_u64,
            clock()
        )
            .prop_map(|(kimg, ramp_up, batch_size, clock)| ImageRampUp {
                clock,
                ..ImageRampUp::from_kimg(kimg, ramp_up, batch_size)
            }
            .into()),
        (0.001..0.5, 0.1..50.0, clock()).prop_map(|(weight, gamma, clock)| Annealing {
            weight,
            gamma,
            clock
        }
        .into()),
        (0..5_u64).prop_map(|prior| EqualWeights { prior }.into()),
        (-0.9..30.0).prop_map(|gamma| PowerFunction { gamma }.into()),
        (1..6_u64, 0..6_u64).prop_map(|(window, more)| {
            let every = window + more;
            RestartedMean { window, every }.into()
        }),
        (0.2..20.0, 0.1..3.0, 0.1..2.0, 0.0..0.1, clock()).prop_map(
            |(rho, gamma, power, min_weight, clock)| {
                PowerLaw {
                    rho,
                    gamma,
                    power,
                    min_weight,
                    clock,
                }
                .into()
            }
        ),
        (0.5..1.0).prop_map(|low: f64| Decay::custom("waves", move |at: Progress| {
            low + (1.0 - low) * (at.updates as f64).sin().abs()
        })),
    ]
}

/// Any decay schedule, also with one or two modifications.
pub(crate) fn decay() -> impl Strategy<Value = Decay> {
    let modified = (simple_decay(), 0..4_u8, 0..4_u8, 0..4_u64);
    modified.prop_map(|(decay, first, second, copies)| {
        [first, second]
            .into_iter()
            .fold(decay, |decay, modification| match modification {
                1 => decay.per_step(),
                2 => decay.debiased(),
                3 => decay.copy_first(copies),
                _ => decay,
            })
    })
}

/// Schedules, and the number of updates.
pub(crate) fn run() -> impl Strategy<Value = (Decay, Schedule, u64)> {
    (decay(), 0..10_u64, 1..6_u64, 0..25_u64).prop_map(|(decay, start, interval, updates)| {
        (decay, Schedule { start, interval }, updates)
    })
}

/// It checks itself.
#[derive(Debug)]
pub(crate) struct Staircase {
    pub(crate) steps: u64,
}

impl DecaySchedule for Staircase {
    fn decay(&self, at: Progress) -> f64 {
        1.0 - 0.5_f64.powi(1 + (at.updates / self.steps) as i32)
    }

    fn validate(&self) -> Result<(), RulesError> {
        match self.steps {
            0 => Err(RulesError::InvalidConfig {
                field: "decay",
                problem: "a staircase with steps of 0".into(),
            }),
            _ => Ok(()),
        }
    }
}
