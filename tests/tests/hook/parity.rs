//! The hook against the trajectories of mmagic's and mmengine's hooks and averaged models.
//!
//! In these the source is [`Mixed::at`] the iteration: `a = [1 + t/2, 2 - t/4]` is trained,
//! `f = [10 + t, -10 - 2t]` frozen, `b = [2 + t, 3 - t/2]` a buffer, `n = t + 1` an integer, and the EMA copy
//! starts at `a = [1, 2]`, `f = [10, -10]`, `b = [2, 3]`, `n = 0`.

use burn::tensor::{DType, Tensor};
use burn_ema_tests::backend::device;
use burn_ema_tests::models::{Mixed, Weights, vector};
use burn_ema_tests::runner::{Loop, Paired, mixed_pair};
use burn_ema_tests::snapshot::{numbers_at, values};
use burn_ema_train::hook::{At, EmaHook, EmaHookConfig, Hooks, InterpConfig, Interpolation};

/// The first number of the EMA copy's value at `path`, after each of `steps` iterations.
fn trajectory(hook: EmaHook<Paired<Mixed>>, path: &str, steps: u64) -> Vec<f64> {
    let device = device();
    let mut run = Loop::new(mixed_pair(&device));
    let mut hooks = Hooks::new().with(hook);
    hooks.before_run(&mut run).unwrap();
    let train = |model: &mut Paired<Mixed>, t: u64| model.net = Mixed::at(Some(t as u16), &device);
    let after = |iter: u64| {
        run.run_to(iter + 1, &mut hooks, train).unwrap();
        numbers_at(&run.model.net_ema, path)[0]
    };
    (0..steps).map(after).collect()
}

fn config(interval: i64, start_iter: u64, momentum: f64) -> EmaHookConfig {
    EmaHookConfig::new("net_ema")
        .with_interval(interval)
        .with_start_iter(start_iter)
        .with_momentum(momentum)
}

/// Equal to one unit in the last place of f32.
#[track_caller]
fn assert_ulp(actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len());
    for (a, e) in actual.iter().zip(expected) {
        let (a, e) = (*a as f32, *e as f32);
        let ulps = (a.to_bits() as i64 - e.to_bits() as i64).abs();
        assert!(
            ulps <= 1,
            "found {a}, expected {e}: {ulps} ulp of {actual:?}"
        );
    }
}

#[track_caller]
fn assert_trajectory(config: EmaHookConfig, path: &str, expected: &[f64]) {
    let hook = EmaHook::new(config.clone()).unwrap();
    let actual = trajectory(hook, path, expected.len() as u64);
    println!("{config:?}\n    {path} expected {expected:?}\n    {path} got      {actual:?}");
    assert_ulp(&actual, expected);
}

#[test]
fn every_iteration() {
    let expected = [
        1.0, 1.25, 1.625, 2.0625, 2.53125, 3.015625, 3.5078125, 4.00390625,
    ];
    assert_trajectory(config(1, 0, 0.5), "a", &expected);
    let source = |first: f64, step: f64| -> Vec<f64> {
        (0..8).map(|t| first + step * f64::from(t)).collect()
    };
    assert_trajectory(config(1, 0, 0.5), "f", &source(10.0, 1.0));
    assert_trajectory(config(1, 0, 0.5), "b", &source(2.0, 1.0));
    assert_trajectory(config(1, 0, 0.5), "n", &source(1.0, 1.0));
}

#[test]
fn every_second_iteration() {
    let expected = [1.0, 1.25, 1.25, 1.875, 1.875, 2.6875, 2.6875, 3.59375];
    assert_trajectory(config(2, 0, 0.5), "a", &expected);
    let waiting = [0.0, 2.0, 2.0, 4.0, 4.0, 6.0, 6.0, 8.0];
    assert_trajectory(config(2, 0, 0.5), "n", &waiting);
}

#[test]
fn every_third_iteration() {
    let expected = [1.0, 1.0, 1.5, 1.5, 1.5, 2.5, 2.5, 2.5];
    assert_trajectory(config(3, 0, 0.5), "a", &expected);
}

#[test]
fn from_the_third_iteration() {
    let expected = [1.0, 1.5, 2.0, 2.25, 2.625, 3.0625, 3.53125, 4.015625];
    assert_trajectory(config(1, 3, 0.5), "a", &expected);
}

#[test]
fn from_the_third_iteration_every_second() {
    let expected = [1.0, 1.5, 2.0, 2.0, 2.5, 2.5, 3.25, 3.25];
    assert_trajectory(config(2, 3, 0.5), "a", &expected);
    let expected = [1.0, 1.5, 2.0, 2.5, 2.5, 2.5, 2.875, 2.875];
    assert_trajectory(config(3, 4, 0.25), "a", &expected);
}

#[test]
fn never_but_copied_before_the_start() {
    let expected = [1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0];
    for interval in [-1, 0, i64::MIN] {
        assert_trajectory(config(interval, 3, 0.5), "a", &expected);
        assert_trajectory(config(interval, 0, 0.5), "a", &[1.0; 8]);
    }
}

/// The defaults: an interval of -1 and a start of 0.
#[test]
fn defaults_leave_the_ema_copy_as_it_is() {
    assert_trajectory(EmaHookConfig::new("net_ema"), "a", &[1.0; 8]);
}

/// `n` differs on purpose: mmagic truncates it to 0, 1, 2 and so on.
#[test]
fn values_that_are_not_trained_with_a_momentum_of_their_own() {
    let config = || config(1, 0, 0.5).with_momentum_nontrainable(0.5);
    assert_trajectory(config(), "f", &[10.0, 10.5, 11.25, 12.125, 13.0625]);
    assert_trajectory(config(), "b", &[2.0, 2.5, 3.25, 4.125, 5.0625]);
    assert_trajectory(config(), "n", &[1.0, 2.0, 3.0, 4.0, 5.0]);
}

/// mmengine's `EMAHook(begin_iter=5, momentum=.1)`.
#[test]
fn mmengine_hook() {
    let expected = [1.0, 1.5, 2.0, 2.5, 3.0, 3.05, 3.145, 3.2805, 3.45245];
    assert_trajectory(config(1, 5, 0.1), "a", &expected);
}

/// Averages whose momentum depends on the number of averages before.
#[derive(Debug)]
struct Scheduled(fn(f64) -> f64);

impl Interpolation for Scheduled {
    fn name(&self) -> &str {
        "scheduled"
    }

    fn interpolate(
        &self,
        source: Tensor<1>,
        average: Tensor<1>,
        at: At,
        config: &InterpConfig,
    ) -> Tensor<1> {
        let weight = match at.trainable {
            true => (self.0)(at.updates as f64),
            false => config.momentum_nontrainable,
        };
        average.clone() + (source - average) * weight
    }
}

fn scheduled(config: EmaHookConfig, momentum: fn(f64) -> f64) -> EmaHook<Paired<Mixed>> {
    let config = config.with_interp_mode("scheduled");
    EmaHook::with_interpolation(config, Scheduled(momentum)).unwrap()
}

/// mmengine's `MomentumAnnealingEMA(momentum=.1, gamma=4)`, whose call 0 is a copy.
#[test]
fn momentum_annealing() {
    let hook = scheduled(config(1, 0, 0.1), |n| (4.0 / (4.0 + n)).max(0.1));
    let expected = [1.0, 1.4, 1.8, 2.2, 2.6, 3.0, 3.4, 3.8];
    assert_ulp(&trajectory(hook, "a", 8), &expected);

    // Every third: averages of mmengine are at calls 3 and 6, and its counter is that of calls.
    let hook = scheduled(config(3, 1, 0.1), |n| 4.0 / (4.0 + 3.0 * (n + 1.0)));
    let a = |x: f64| 1.0 + (1.0 + 0.5 * 3.0 - 1.0) * x;
    let first = a(4.0 / 7.0);
    let second = first + (1.0 + 0.5 * 6.0 - first) * 0.4;
    assert!((first - 1.857142857).abs() < 1e-9 && (second - 2.714285714).abs() < 1e-9);
    let expected = [1.0, 1.0, 1.0, first, first, first, second];
    assert_ulp(&trajectory(hook, "a", 7), &expected);
}

/// mmengine's `StochasticWeightAverage`, and every third iteration of it.
#[test]
fn equal_weights() {
    let hook = scheduled(config(1, 0, 0.1), |n| 1.0 / (n + 1.0));
    assert_ulp(&trajectory(hook, "a", 4), &[1.0, 1.25, 1.5, 1.75]);
    let hook = scheduled(config(3, 1, 0.1), |n| 1.0 / (n + 2.0));
    let expected = [1.0, 1.0, 1.0, 1.75, 1.75, 1.75, 2.5];
    assert_ulp(&trajectory(hook, "a", 7), &expected);
}

/// mmagic's `RampUpEMA` with `ema_kimg` 10, `ema_rampup` 0.05 and a batch of 32.
fn ramp_up(steps: f64) -> f64 {
    let (batch, kimg, rampup) = (32.0, 10.0, 0.05);
    let images = (kimg * 1000.0_f64).min((steps + 1.0) * batch * rampup);
    0.5_f64.powf(batch / images.max(1e-8))
}

#[test]
fn ramp_up_reference_values() {
    for (steps, beta) in [
        (0.0, 9.5367431640625e-07),
        (1.0, 9.765625e-04),
        (2.0, 0.0098431332),
        (3.0, 0.03125),
        (9.0, 0.25),
        (99.0, 0.8705505633),
        (999.0, 0.9862327045),
        (6249.0, 0.9977843871238888),
        (1e6, 0.9977843871238888),
    ] {
        assert!((ramp_up(steps) - beta).abs() < 1e-10, "{steps}");
    }
}

#[test]
fn ramp_up_drives_the_hook() {
    let hook = scheduled(config(1, 0, 0.001), |n| 1.0 - ramp_up(n));
    // The recursion as mmagic computes it, in f32.
    let mut expected = Vec::new();
    let mut average = 1.0_f32;
    for t in 0..8_u16 {
        let source = 1.0 + 0.5 * f32::from(t);
        average += (source - average) * (1.0 - ramp_up(f64::from(t))) as f32;
        expected.push(f64::from(average));
    }
    assert_ulp(&trajectory(hook, "a", 8), &expected);
}

/// mmagic's tests 2, 3 and 6, two networks in one hook.
#[test]
fn several_keys_at_once() {
    #[derive(burn::module::Module, Debug)]
    struct Model {
        module_a: Mixed,
        module_b: Weights,
        module_a_ema: Mixed,
        module_b_ema: Weights,
    }
    let device = device();
    let a = |x: f32| {
        let mut mixed = Mixed::at(None, &device);
        mixed.a = mixed.a.map(|_| vector(&[x, 2.0 * x], DType::F32, &device));
        mixed.b = burn::module::RunningState::new(vector(&[2.0 * x, 3.0 * x], DType::F32, &device));
        mixed
    };
    let b = |x: f32| Weights::new(&[x, 2.0 * x], &device);
    let run = |start_iter: u64, keys: &[&str]| {
        let mut run = Loop::new(Model {
            module_a: a(1.0),
            module_b: b(1.0),
            module_a_ema: a(1.0),
            module_b_ema: b(1.0),
        });
        let keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
        let config = EmaHookConfig::new(keys)
            .with_interval(1)
            .with_momentum(0.5)
            .with_start_iter(start_iter);
        let mut hooks = Hooks::new().with(EmaHook::new(config).unwrap());
        hooks.before_run(&mut run).unwrap();
        let mut at = |iter: u64, x: f32| {
            run.model.module_a = a(x);
            run.model.module_b = b(x);
            run.iter = iter;
            hooks.after_train_iter(&mut run, 0).unwrap();
            let model = &run.model;
            [
                numbers_at(&model.module_a_ema, "a"),
                numbers_at(&model.module_a_ema, "b"),
                numbers_at(&model.module_b_ema, "w"),
            ]
        };
        let first = at(0, 1.0);
        let second = at(1, 0.5);
        let third = at(3, 0.25);
        [first, second, third]
    };
    let both = ["module_a_ema", "module_b_ema"];
    let [first, second, _] = run(0, &both);
    assert_eq!(first, [[1.0, 2.0], [2.0, 3.0], [1.0, 2.0]]);
    assert_eq!(second, [[0.75, 1.5], [1.0, 1.5], [0.75, 1.5]]);
    let [_, copied, averaged] = run(3, &both);
    assert_eq!(copied, [[0.5, 1.0], [1.0, 1.5], [0.5, 1.0]]);
    assert_eq!(averaged, [[0.375, 0.75], [0.5, 0.75], [0.375, 0.75]]);
    // An EMA copy without a key stays where it is.
    let [_, second, _] = run(0, &["module_b_ema"]);
    assert_eq!(second, [[1.0, 2.0], [2.0, 3.0], [0.75, 1.5]]);
}

/// 2^24 + 1 is the first integer that f32, which mmagic computes in, does not have.
#[test]
fn integers_are_exact_whatever_the_momentum() {
    #[derive(burn::module::Module, Debug)]
    struct Counts {
        n: burn::module::Param<Tensor<1, burn::tensor::Int>>,
    }
    #[derive(burn::module::Module, Debug)]
    struct Model {
        net: Counts,
        net_ema: Counts,
    }
    let device = device();
    let counts = |n: i64| Counts {
        n: burn::module::Param::initialized(
            burn::module::ParamId::new(),
            burn_ema_tests::models::integers(&[n], DType::I32, &device),
        ),
    };
    let mut run = Loop::new(Model {
        net: counts(16_777_217),
        net_ema: counts(0),
    });
    let config = config(1, 0, 0.3).with_momentum_nontrainable(0.3);
    let mut hooks = Hooks::new().with(EmaHook::new(config).unwrap());
    hooks.before_run(&mut run).unwrap();
    run.run_to(1, &mut hooks, |_, _| {}).unwrap();
    assert_eq!(numbers_at(&run.model.net_ema, "n"), [16_777_217.0]);
}

/// At a momentum of 1, `1e8 + (1.2345 - 1e8) * 1` would be 0 in f32, and NaN would stay.
#[test]
fn momentum_nontrainable_of_one_is_an_exact_copy() {
    let device = device();
    let frozen = |x: f32| {
        let weights = Weights::new(&[x], &device);
        Weights {
            w: weights.w.set_require_grad(false),
        }
    };
    for before in [1e8, f32::NAN] {
        let mut run = Loop::new(Paired {
            net: frozen(1.2345),
            net_ema: frozen(before),
            other: frozen(0.0),
        });
        let mut hooks = Hooks::new().with(EmaHook::new(config(1, 0, 0.5)).unwrap());
        hooks.before_run(&mut run).unwrap();
        run.run_to(1, &mut hooks, |_, _| {}).unwrap();
        assert_eq!(numbers_at(&run.model.net_ema, "w"), [f64::from(1.2345_f32)]);
    }
}

#[test]
fn lerp_is_mmagics() {
    let device = device();
    let row = |x: f32| vector(&[x], DType::F32, &device);
    let lerp = |config: &InterpConfig, trainable| {
        let result = EmaHook::<Weights>::lerp(row(2.0), row(1.0), config, trainable);
        result.into_data().iter::<f64>().next().unwrap()
    };
    let config = InterpConfig::default();
    assert_ulp(&[lerp(&config, true)], &[1.001]);
    assert_ulp(&[lerp(&config, false)], &[2.0]);
}

#[test]
fn due_iterations_are_mmagics() {
    let due = |start: u64, n: i64| -> Vec<u64> {
        let hook = EmaHook::<Weights>::new(config(n, start, 0.5)).unwrap();
        (0..10)
            .filter(|iter| hook.every_n_iters(*iter, n))
            .collect()
    };
    assert_eq!(due(0, 1), (0..10).collect::<Vec<_>>());
    assert_eq!(due(0, 3), [2, 5, 8]);
    assert_eq!(due(3, 2), [0, 1, 2, 4, 6, 8]);
    assert_eq!(due(4, 0), [0, 1, 2, 3]);
    assert_eq!(due(0, -1), [0_u64; 0]);
}

#[test]
fn other_networks_and_sources_stay_what_they_are() {
    let device = device();
    let mut run = Loop::new(mixed_pair(&device));
    let mut hooks = Hooks::new().with(EmaHook::new(config(1, 2, 0.5)).unwrap());
    hooks.before_run(&mut run).unwrap();
    let untouched = |model: &Paired<Mixed>| (values(&model.net), values(&model.other));
    for t in 0..6 {
        let net = Mixed::at(Some(t), &device);
        let mut before = None;
        run.run_to(u64::from(t) + 1, &mut hooks, |model, _| {
            model.net = net.clone();
            before = Some(untouched(model));
        })
        .unwrap();
        assert_eq!(untouched(&run.model), before.unwrap());
    }
}
