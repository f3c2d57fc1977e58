//! What holds for every rule, schedule and history, on random ones.

use burn::module::Module;
use burn::store::ModuleRecord;
use burn_ema::config::EmaPrecision;
use burn_ema::decay::PowerWarmup;
use burn_ema::{Decay, EmaConfig, EmaModel};
use burn_ema_tests::backend::device;
use burn_ema_tests::compare::numbers;
use burn_ema_tests::models::Weights;
use burn_ema_tests::reference::Reference;
use burn_ema_tests::snapshot::{numbers_at, values};
use proptest::collection::vec;
use proptest::prelude::*;

/// A rule, worked out once more in the test.
#[derive(Clone, Debug)]
enum DecaySchedule {
    Constant(f64),
    Weight(f64),
    HalfLife(f64),
    PowerWarmup {
        power: f64,
        inv_gamma: f64,
        max: f64,
    },
}

impl DecaySchedule {
    fn decay(&self) -> Decay {
        match *self {
            Self::Constant(decay) => Decay::constant(decay),
            Self::Weight(weight) => Decay::weight(weight),
            Self::HalfLife(steps) => Decay::half_life(steps),
            Self::PowerWarmup {
                power,
                inv_gamma,
                max,
            } => PowerWarmup::new(power)
                .with_inv_gamma(inv_gamma)
                .with_max(max)
                .into(),
        }
    }

    /// The decay of the `n`-th average, counted from 0.
    fn at(&self, n: u64, interval: u64) -> f64 {
        match *self {
            Self::Constant(decay) => decay,
            Self::Weight(weight) => 1.0 - weight,
            Self::HalfLife(steps) => 0.5_f64.powf(interval as f64 / steps),
            Self::PowerWarmup {
                power,
                inv_gamma,
                max,
            } => (1.0 - 1.0 / (1.0 + n as f64 / inv_gamma).powf(power)).min(max),
        }
    }
}

fn rule() -> impl Strategy<Value = DecaySchedule> {
    prop_oneof![
        (0.5..=1.0).prop_map(DecaySchedule::Constant),
        (0.0..=1.0).prop_map(DecaySchedule::Weight),
        (0.1..100.0).prop_map(DecaySchedule::HalfLife),
        (0.1..2.0, 0.1..20.0, 0.5..=1.0).prop_map(|(power, inv_gamma, max)| {
            DecaySchedule::PowerWarmup {
                power,
                inv_gamma,
                max,
            }
        }),
    ]
}

/// A rule, a schedule, and the weights that training passes through.
#[derive(Clone, Debug)]
struct Run {
    rule: DecaySchedule,
    start: u64,
    interval: u64,
    precision: EmaPrecision,
    initial: Vec<f32>,
    seen: Vec<Vec<f32>>,
}

impl Run {
    fn config(&self) -> EmaConfig {
        EmaConfig::new()
            .with_decay(self.rule.decay())
            .with_start(self.start)
            .with_interval(self.interval)
            .with_precision(self.precision)
    }

    fn average(&self) -> EmaModel<Weights> {
        self.config().init(&Weights::new(&self.initial, &device()))
    }
}

const WIDTH: usize = 4;

fn run() -> impl Strategy<Value = Run> {
    let weights = || vec(-100.0_f32..100.0, WIDTH);
    let precision = prop_oneof![
        Just(EmaPrecision::AtLeastF32),
        Just(EmaPrecision::Compensated)
    ];
    let timing = (0..6_u64, 1..5_u64);
    (rule(), timing, precision, weights(), vec(weights(), 1..30)).prop_map(
        |(rule, (start, interval), precision, initial, seen)| Run {
            rule,
            start,
            interval,
            precision,
            initial,
            seen,
        },
    )
}

fn update(ema: &mut EmaModel<Weights>, seen: &[Vec<f32>]) {
    for weights in seen {
        ema.update(&Weights::new(weights, &device())).unwrap();
    }
}

fn result(ema: &EmaModel<Weights>) -> Vec<f64> {
    numbers(&ema.model().w.val())
}

/// The stored values, without the ids, which are drawn anew for each model.
fn stored(ema: &EmaModel<Weights>) -> Vec<String> {
    let values = values(ema);
    values
        .iter()
        .map(|value| format!("{:?}", value.stored()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn ema_agrees_with_the_weighted_sum_in_f64(run in run()) {
        let mut ema = run.average();
        update(&mut ema, &run.seen);

        let wide = |weights: &Vec<f32>| weights.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        let reference = Reference {
            start: run.start,
            interval: run.interval,
            decay: |n| run.rule.at(n, run.interval),
        };
        let seen: Vec<_> = run.seen.iter().map(wide).collect();
        let expected = reference.averages(&wide(&run.initial), &seen);
        let expected = expected.last().unwrap();
        // Each update rounds to f32 a few times; numbers are up to 100.
        let tolerance = 100.0 * 4.0 * f64::from(f32::EPSILON) * run.seen.len() as f64;
        for (actual, expected) in result(&ema).iter().zip(expected) {
            prop_assert!((actual - expected).abs() <= tolerance, "{actual} and {expected}");
        }
    }

    #[test]
    fn interruption_anywhere_changes_no_bit(run in run(), at in any::<prop::sample::Index>()) {
        let mut uninterrupted = run.average();
        update(&mut uninterrupted, &run.seen);

        let (before, after) = run.seen.split_at(at.index(run.seen.len() + 1));
        let mut ema = run.average();
        update(&mut ema, before);
        let bytes = ema.into_record().into_bytes().unwrap();
        let record = ModuleRecord::from_bytes(bytes).unwrap();
        let fresh = run.config().init(&Weights::new(&[0.5; WIDTH], &device()));
        let mut resumed = fresh.load_record(record);
        update(&mut resumed, after);
        prop_assert_eq!(stored(&resumed), stored(&uninterrupted));
        let decays = [&resumed, &uninterrupted].map(|ema| ema.current_decay().to_bits());
        prop_assert_eq!(decays[0], decays[1]);
    }

    #[test]
    fn source_that_stays_where_it_is_leaves_the_ema_there(run in run()) {
        let source = Weights::new(&run.initial, &device());
        let mut ema = run.average();
        for _ in &run.seen {
            ema.update(&source).unwrap();
        }
        prop_assert_eq!(numbers_at(ema.model(), "w"), numbers_at(&source, "w"));
        prop_assert_eq!(ema.relative_distance(&source).unwrap(), 0.0);
    }

    #[test]
    fn ema_lies_between_the_smallest_and_the_largest_that_was_seen(run in run()) {
        let mut ema = run.average();
        update(&mut ema, &run.seen);
        for (i, average) in result(&ema).into_iter().enumerate() {
            let seen = || run.seen.iter().chain([&run.initial]).map(|weights| f64::from(weights[i]));
            let slack = 100.0 * f64::from(f32::EPSILON);
            prop_assert!(seen().any(|x| x <= average + slack));
            prop_assert!(seen().any(|x| x >= average - slack));
        }
    }

    /// Averaging is linear: twice the weights, to the bit, give twice the average.
    #[test]
    fn scaled_weights_have_the_scaled_ema(run in run()) {
        let twice = |weights: &Vec<f32>| weights.iter().map(|x| 2.0 * x).collect::<Vec<_>>();
        let scaled = Run {
            initial: twice(&run.initial),
            seen: run.seen.iter().map(twice).collect(),
            ..run.clone()
        };
        let (mut ema, mut scaled_ema) = (run.average(), scaled.average());
        update(&mut ema, &run.seen);
        update(&mut scaled_ema, &scaled.seen);
        let expected: Vec<f64> = result(&ema).iter().map(|x| 2.0 * x).collect();
        prop_assert_eq!(result(&scaled_ema), expected);
    }

    #[test]
    fn clone_goes_its_own_way(run in run(), at in any::<prop::sample::Index>()) {
        let (before, after) = run.seen.split_at(at.index(run.seen.len()));
        let mut ema = run.average();
        update(&mut ema, before);
        let snapshot = stored(&ema);
        let mut other = ema.clone();
        update(&mut other, after);
        prop_assert_eq!(stored(&ema), snapshot);
        update(&mut ema, after);
        prop_assert_eq!(stored(&ema), stored(&other));
    }
}
