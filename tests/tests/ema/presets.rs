//! EMAs by the presets of other frameworks, against values that were read off the running frameworks. (What their numbers alone
//! say is tested in `burn-ema-rules`.)

use burn_ema::EmaConfig;
use burn_ema::presets::{
    Ignite, Keras, MmengineAnnealing, MmengineEma, MmengineSwa, Optax, OptaxIncremental, Preset,
    PytorchEma, TorchEma, TorchSwa,
};
use burn_ema_tests::backend::device;
use burn_ema_tests::models::{Mixed, Weights};
use burn_ema_tests::snapshot::numbers_at;

/// `a[0]` of mmagic's fixture after each iteration.
#[track_caller]
fn assert_trajectory(preset: &impl Preset, expected: &[f64]) {
    let mut ema = EmaConfig::from_preset(preset)
        .unwrap()
        .init(&Mixed::at(None, &device()));
    for (t, expected) in (0..).zip(expected) {
        ema.update(&Mixed::at(Some(t), &device())).unwrap();
        let found = numbers_at(ema.model(), "a")[0];
        let close = (found - expected).abs() <= 4.0 * f64::from(f32::EPSILON) * expected;
        assert!(close, "iteration {t}: {found}, and not {expected}");
    }
}

#[test]
fn mmengine_trajectories() {
    let ema = MmengineEma {
        momentum: 0.1,
        begin_iter: 5,
        ..MmengineEma::default()
    };
    let begin_5 = [1.0, 1.5, 2.0, 2.5, 3.0, 3.05, 3.145, 3.2805, 3.45245];
    assert_trajectory(&ema, &begin_5);

    let annealing = |interval| MmengineAnnealing {
        momentum: 0.1,
        gamma: 4.0,
        interval,
        ..MmengineAnnealing::default()
    };
    assert_trajectory(&annealing(1), &[1.0, 1.4, 1.8, 2.2, 2.6, 3.0, 3.4, 3.8]);
    let (third, sixth) = (13.0 / 7.0, 2.714285714285714);
    assert_trajectory(&annealing(3), &[1.0, 1.0, 1.0, third, third, third, sixth]);

    let swa = |interval| MmengineSwa {
        interval,
        ..MmengineSwa::default()
    };
    assert_trajectory(&swa(1), &[1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5]);
    assert_trajectory(&swa(3), &[1.0, 1.0, 1.0, 1.75, 1.75, 1.75, 2.5]);
}

/// The average of one value after each of `seen`.
fn averages(preset: &impl Preset, initial: f32, seen: &[f32]) -> Vec<f64> {
    let mut ema = EmaConfig::from_preset(preset)
        .unwrap()
        .init(&Weights::new(&[initial], &device()));
    let after = |value: &f32| {
        ema.update(&Weights::new(&[*value], &device())).unwrap();
        numbers_at(ema.model(), "w")[0]
    };
    seen.iter().map(after).collect()
}

#[test]
fn ignite_values() {
    // A weight of 1 that grows by 1 in each of 4 iterations.
    let last = |every| {
        let preset = Ignite {
            momentum: 0.5,
            every,
            ..Ignite::default()
        };
        averages(&preset, 1.0, &[2.0, 3.0, 4.0, 5.0])[3]
    };
    assert_eq!(last(1), 4.0625);
    assert_eq!(last(2), 3.5);
}

/// Two steps of SGD at a rate of 0.1 on half the square of a weight of 1.
#[test]
fn keras_values() {
    let preset = Keras {
        ema_momentum: 0.9,
        ..Keras::default()
    };
    let found = averages(&preset, 1.0, &[0.9, 0.81]);
    assert!((found[1] - 0.891).abs() < 1e-6, "{found:?}");
}

#[test]
fn mmagic_averaged_models_accept_or_reject_these() {
    let preset = |momentum| MmengineEma {
        momentum,
        ..MmengineEma::default()
    };
    for momentum in [10.0, -2.0, 3.0] {
        let message = EmaConfig::from_preset(&preset(momentum))
            .unwrap_err()
            .to_string();
        assert!(message.contains("above 0 and below 1"), "{message}");
    }
    // A warning there and here.
    assert!(EmaConfig::from_preset(&preset(0.6)).is_ok());
    let found = averages(&preset(0.0001), 3.0, &[3.0, 5.0])[1];
    assert!(
        (found - (0.9999 * 3.0 + 0.0001 * 5.0)).abs() < 1e-6,
        "{found}"
    );
}

#[test]
fn pytorch_ema_and_optax_values() {
    for decay in [0.995, 0.9, 0.0, 1.0] {
        let preset = PytorchEma {
            decay,
            use_num_updates: false,
        };
        let found = averages(&preset, 0.0, &[1.0])[0];
        assert!((found - (1.0 - decay)).abs() < 1e-7);
    }
    // optax: values 5 and 7 at 0.9, debiased.
    let found = averages(&Optax { decay: 0.9 }, -3.0, &[5.0, 7.0]);
    assert!((found[0] - 5.0).abs() < 1e-6 && (found[1] - 6.0526315789).abs() < 1e-6);
    let preset = OptaxIncremental {
        step_size: 0.5,
        period: 1,
    };
    assert_eq!(averages(&preset, 1.0, &[2.0]), [1.5]);
}

/// torch's own test: `sum p_i decay^(N - i - 1) (1 - decay if i > 0 else 1)`.
#[test]
fn torch_values() {
    let seen = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0];
    let preset = TorchEma {
        decay: 0.75,
        use_buffers: false,
    };
    let n = seen.len();
    let term = |(i, p): (usize, &f32)| {
        let share = if i > 0 { 0.25 } else { 1.0 };
        f64::from(*p) * 0.75_f64.powi((n - i - 1) as i32) * share
    };
    let expected: f64 = seen.iter().enumerate().map(term).sum();
    let found = averages(&preset, 100.0, &seen)[n - 1];
    assert!((found - expected).abs() < 1e-5, "{found} and {expected}");

    let mean: f64 = seen.iter().map(|p| f64::from(*p)).sum::<f64>() / n as f64;
    let found = averages(&TorchSwa::default(), 100.0, &seen)[n - 1];
    assert!((found - mean).abs() < 1e-5, "{found} and {mean}");
}
