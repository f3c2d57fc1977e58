//! A decay schedule instead of the hook's momentum.
//!
//! In these the source is [`Mixed::at`] the iteration: `a = [1 + t/2, 2 - t/4]` is trained,
//! `f = [10 + t, -10 - 2t]` frozen, `b = [2 + t, 3 - t/2]` a buffer, `n = t + 1` an integer, and the EMA copy
//! starts at `a = [1, 2]`, `f = [10, -10]`, `b = [2, 3]`, `n = 0`.

use burn::config::{Config, config_to_json};
use burn::module::Module;
use burn::tensor::Tensor;
use burn_ema::decay::{
    Annealing, Clock, Constant, EqualWeights, ExponentialWarmup, HalfLife, ImageRampUp,
    LinearWarmup, Progress, TfRamp, Ticks,
};
use burn_ema::policy::BufferAction;
use burn_ema::{Decay, EmaConfig, Policy};
use burn_ema_tests::backend::device;
use burn_ema_tests::compare::assert_near;
use burn_ema_tests::models::Mixed;
use burn_ema_tests::reference::Reference;
use burn_ema_tests::runner::{Loop, Paired, mixed_pair};
use burn_ema_tests::snapshot::{assert_same, assert_same_values, numbers_at, values};
use burn_ema_train::hook::{
    self, Counting, EmaHook, EmaHookConfig, HookError, Hooks, InterpConfig, Interpolation,
};

fn config(interval: i64, start_iter: u64, decay: impl Into<Decay>) -> EmaHookConfig {
    EmaHookConfig::new("net_ema")
        .with_interval(interval)
        .with_start_iter(start_iter)
        .with_decay(decay.into())
}

fn train(model: &mut Paired<Mixed>, t: u64) {
    model.net = Mixed::at(Some(t as u16), &device());
}

/// The EMA copy after each of `steps` iterations, of which an optimizer step takes `accumulation`.
fn copies(config: EmaHookConfig, steps: u64, accumulation: u64) -> Vec<Mixed> {
    let mut run = Loop::new(mixed_pair(&device()));
    run.accumulation = accumulation;
    let mut hooks = Hooks::new().with(EmaHook::new(config).unwrap());
    hooks.before_run(&mut run).unwrap();
    let after = |iter: u64| {
        run.run_to(iter + 1, &mut hooks, train).unwrap();
        // A clone would share the buffer.
        run.model.net_ema.valid()
    };
    (0..steps).map(after).collect()
}

/// The first number of the EMA copy's value at `path`, after each of `steps` iterations.
fn trajectory(config: EmaHookConfig, path: &str, steps: usize) -> Vec<f64> {
    let copies = copies(config, steps as u64, 1);
    copies
        .iter()
        .map(|copy| numbers_at(copy, path)[0])
        .collect()
}

#[track_caller]
fn assert_trajectory(config: EmaHookConfig, path: &str, expected: &[f64]) {
    let actual = trajectory(config, path, expected.len());
    assert_near(&actual, expected, 1e-6);
}

#[test]
fn decay_of_one_half_is_a_momentum_of_one_half() {
    for (interval, start_iter) in [(1, 0), (2, 3), (3, 4), (-1, 3)] {
        let decay = config(interval, start_iter, Decay::constant(0.5));
        let momentum = EmaHookConfig::new("net_ema")
            .with_interval(interval)
            .with_start_iter(start_iter)
            .with_momentum(0.5);
        let expected = copies(momentum.clone().with_momentum_nontrainable(0.25), 10, 1);
        let found = copies(decay.clone().with_momentum_nontrainable(0.25), 10, 1);
        for (found, expected) in found.iter().zip(&expected) {
            assert_same_values(found, expected);
        }
        let (found, expected) = (copies(decay, 10, 1), copies(momentum, 10, 1));
        for (found, expected) in found.iter().zip(&expected) {
            assert_same_values(found, expected);
        }
    }
}

/// Decays 0, 1/2, 2/3 and so on: the mean of everything seen since the start.
#[test]
fn power_warm_up_counts_updates() {
    let mean = || Decay::power_warmup(1.0);
    let expected = [1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75];
    assert_trajectory(config(1, 0, mean()), "a", &expected);
    // From iteration 2 on, whose source is 2.
    let expected = [1.0, 1.5, 2.0, 2.25, 2.5, 2.75, 3.0, 3.25];
    assert_trajectory(config(1, 2, mean()), "a", &expected);
    // Of the sources 2.5, 4 and 5.5 of iterations 3, 6 and 9.
    let expected = [1.0, 1.0, 1.0, 2.5, 2.5, 2.5, 3.25, 3.25, 3.25, 4.0];
    assert_trajectory(config(3, 1, mean()), "a", &expected);
}

#[test]
fn half_life_counts_iterations() {
    // An update every second iteration keeps one half.
    let expected = [1.0, 1.5, 2.0, 2.0, 2.5, 2.5, 3.25, 3.25];
    assert_trajectory(config(2, 3, Decay::half_life(2.0)), "a", &expected);

    let reference = Reference {
        start: 3,
        interval: 2,
        decay: |_: u64| 0.5_f64.powf(2.0 / 5.0),
    };
    let seen: Vec<Vec<f64>> = (0..12).map(|t| vec![1.0 + 0.5 * f64::from(t)]).collect();
    let expected = reference.averages(&[1.0], &seen).concat();
    assert_trajectory(config(2, 3, Decay::half_life(5.0)), "a", &expected);
}

/// mmengine's `MomentumAnnealingEMA(momentum=.1, gamma=4)`, whose counter is that of its calls.
#[test]
fn annealing_is_mmengines() {
    let rule = Annealing::new(0.1, 4.0);
    let expected = [1.0, 1.4, 1.8, 2.2, 2.6, 3.0, 3.4, 3.8];
    assert_trajectory(config(1, 0, rule), "a", &expected);

    // Weights 4/7 and 4/10 at calls 3 and 6.
    let calls = Clock {
        ticks: Ticks::Steps,
        inclusive: true,
        offset: 0,
    };
    let rule = Annealing {
        clock: calls,
        ..rule
    };
    let first = 1.0 + (2.5 - 1.0) * 4.0 / 7.0;
    let second = first + (4.0 - first) * 0.4;
    let expected = [1.0, 1.0, 1.0, first, first, first, second];
    assert_trajectory(config(3, 1, rule), "a", &expected);
}

/// mmengine's `StochasticWeightAverage`, and every third iteration of it.
#[test]
fn equal_weights_are_the_mean() {
    let expected = [1.0, 1.25, 1.5, 1.75];
    assert_trajectory(config(1, 0, Decay::equal_weights()), "a", &expected);
    let rule = EqualWeights { prior: 1 };
    let expected = [1.0, 1.0, 1.0, 1.75, 1.75, 1.75, 2.5];
    assert_trajectory(config(3, 1, rule), "a", &expected);
}

/// The hook keeps the average that an `EmaModel` beside the network would keep.
#[test]
fn every_schedule_gives_the_ema_of_an_ema_model() {
    let two_phases = |at: Progress| if at.updates < 3 { 0.5 } else { 0.75 };
    let rules: [Decay; 15] = [
        Decay::constant(0.9),
        Decay::weight(0.3),
        Decay::half_life(5.0),
        Decay::power_warmup(0.75),
        TfRamp::new(0.9).into(),
        ExponentialWarmup::new(0.95, 6.0).into(),
        LinearWarmup::new(0.25, 0.9, 7).into(),
        ImageRampUp::from_kimg(0.5, Some(0.1), 32).into(),
        Annealing::new(0.1, 4.0).into(),
        Decay::equal_weights(),
        Decay::sigma_rel(0.1),
        Decay::custom("two phases", two_phases),
        Decay::constant(0.9).per_step(),
        Decay::constant(0.9).debiased(),
        Decay::half_life(4.0).copy_first(2),
    ];
    for (i, rule) in (0..).zip(rules) {
        let (start, interval) = (i % 5, 1 + i % 3);
        let found = copies(config(interval as i64, start, rule.clone()), 20, 1);
        // As mmagic, the hook copies buffers where `momentum_nontrainable` is 1.
        let mut ema = EmaConfig::new()
            .with_decay(rule)
            .with_start(start)
            .with_interval(interval)
            .with_policy(Policy::new().with_buffers(BufferAction::Copy))
            .init(&Mixed::at(None, &device()));
        for (t, copy) in (0..).zip(&found) {
            ema.update(&Mixed::at(Some(t), &device())).unwrap();
            assert_same_values(copy, ema.model());
        }
    }
}

#[test]
fn decay_of_zero_copies_and_of_one_does_nothing() {
    let source = [1.0, 1.5, 2.0, 2.5];
    assert_trajectory(config(1, 0, Decay::weight(1.0)), "a", &source);
    let start = [1.0, 1.5, 1.5, 1.5];
    assert_trajectory(config(1, 2, Decay::constant(1.0)), "a", &start);
}

#[test]
fn values_that_are_not_trained_follow_their_own_momentum() {
    let copying = || config(1, 0, Decay::constant(0.75));
    assert_trajectory(copying(), "a", &[1.0, 1.125, 1.34375]);
    assert_trajectory(copying(), "f", &[10.0, 11.0, 12.0, 13.0]);
    assert_trajectory(copying(), "b", &[2.0, 3.0, 4.0, 5.0]);
    let halving = || copying().with_momentum_nontrainable(0.5);
    assert_trajectory(halving(), "a", &[1.0, 1.125, 1.34375]);
    assert_trajectory(halving(), "f", &[10.0, 10.5, 11.25, 12.125]);
    assert_trajectory(halving(), "b", &[2.0, 2.5, 3.25, 4.125]);
    assert_trajectory(halving(), "n", &[1.0, 2.0, 3.0, 4.0]);
}

/// Every second iteration ends in a step: the mean of the sources 1.5, 2.5, 3.5 and 4.5 of these.
#[test]
fn rule_counts_optimizer_steps_where_the_hook_does() {
    let mean = config(1, 0, Decay::power_warmup(1.0)).with_counting(Counting::OptimizerSteps);
    let copies = copies(mean, 8, 2);
    let found: Vec<f64> = copies.iter().map(|copy| numbers_at(copy, "a")[0]).collect();
    let expected = [1.0, 1.5, 1.5, 2.0, 2.0, 2.5, 2.5, 3.0];
    assert_near(&found, &expected, 1e-6);
}

#[test]
fn decay_is_written_in_json() {
    let json = r#"{ "module_keys": "net_ema", "interval": 2, "start_iter": 3,
                    "decay": { "HalfLife": { "steps": 2.0 } } }"#;
    let loaded = EmaHookConfig::load_binary(json.as_bytes()).unwrap();
    assert_eq!(loaded, config(2, 3, Decay::half_life(2.0)));
    assert_trajectory(loaded, "a", &[1.0, 1.5, 2.0, 2.0, 2.5, 2.5, 3.25, 3.25]);

    for rule in [
        Decay::constant(0.999),
        Decay::constant(0.999).per_step(),
        Decay::equal_weights().copy_first(3),
        TfRamp::new(0.999).into(),
    ] {
        let config = config(10, 4000, rule);
        let json = config_to_json(&config);
        assert_eq!(EmaHookConfig::load_binary(json.as_bytes()).unwrap(), config);
    }
}

/// Files without a decay schedule load, and are written without one.
#[test]
fn configuration_without_a_decay_stays_what_it_was() {
    let json = r#"{ "module_keys": ["net_ema"], "interp_mode": "lerp",
                    "interp_cfg": { "momentum": 0.01 }, "interval": 1, "start_iter": 20 }"#;
    let loaded = EmaHookConfig::load_binary(json.as_bytes()).unwrap();
    let expected = EmaHookConfig::new(["net_ema"])
        .with_interp_mode("lerp")
        .with_momentum(0.01)
        .with_interval(1)
        .with_start_iter(20);
    assert_eq!(loaded, expected);
    assert_eq!(loaded.decay, None);
    let written = config_to_json(&loaded);
    assert!(!written.contains("decay"), "{written}");

    let null = r#"{ "module_keys": "net_ema", "decay": null }"#;
    let loaded = EmaHookConfig::load_binary(null.as_bytes()).unwrap();
    assert_eq!(loaded, EmaHookConfig::new("net_ema"));
}

fn refusal(config: EmaHookConfig) -> HookError {
    EmaHook::<Paired<Mixed>>::new(config).unwrap_err()
}

#[test]
fn decay_beside_a_momentum_is_an_error() {
    for momentum in [0.01, 0.5, 2.0] {
        let config = config(1, 0, Decay::constant(0.99)).with_momentum(momentum);
        let error = refusal(config);
        assert_eq!(error, HookError::DecayAndMomentum);
        let message = error.to_string();
        assert!(
            message.contains("write one of `decay`, `momentum` and `interp_mode`"),
            "{message}"
        );
    }
}

/// Averages that become copies.
#[derive(Debug)]
struct Copies;

impl Interpolation for Copies {
    fn name(&self) -> &str {
        "copies"
    }

    fn interpolate(
        &self,
        source: Tensor<1>,
        _average: Tensor<1>,
        _at: hook::At,
        _config: &InterpConfig,
    ) -> Tensor<1> {
        source
    }
}

#[test]
fn decay_beside_an_interpolation_is_an_error() {
    let config = config(1, 0, Decay::constant(0.99)).with_interp_mode("copies");
    assert_eq!(refusal(config.clone()), HookError::DecayAndMomentum);
    let error = EmaHook::<Paired<Mixed>>::with_interpolation(config, Copies).unwrap_err();
    assert_eq!(error, HookError::DecayAndMomentum);
}

#[test]
fn schedule_that_is_not_valid_is_an_error_before_the_run() {
    let refused = |decay: Decay, reason: &str| {
        let error = refusal(config(1, 0, decay)).to_string();
        assert!(error.starts_with("decay: "), "{error}");
        assert!(error.contains(reason), "{error}");
    };
    refused(
        Decay::Constant(Constant { decay: 1.001 }),
        "decay must be in [0, 1], found 1.001",
    );
    refused(
        Decay::HalfLife(HalfLife { steps: 0.0 }),
        "steps must be finite and above 0, found 0",
    );
    let ramp = TfRamp {
        factor: 0.5,
        ..TfRamp::new(0.999)
    };
    let reason = "factor must be finite and at least 1, found 0.5";
    refused(ramp.into(), reason);
    refused(Decay::from(ramp).per_step().copy_first(1), reason);

    // A file cannot hold a function.
    let custom = config(1, 0, Decay::custom("two phases", |_: Progress| 0.5));
    let json = config_to_json(&custom);
    let loaded = EmaHookConfig::load_binary(json.as_bytes()).unwrap();
    let error = refusal(loaded).to_string();
    assert!(
        error.contains("the decay schedule `two phases` is a function"),
        "{error}"
    );
}

#[test]
fn rule_that_gives_no_decay_stops_the_run_and_leaves_no_trace() {
    for decay in [2.0, -0.5, f64::NAN] {
        let rule = move |at: Progress| if at.updates == 2 { decay } else { 0.5 };
        let config = config(2, 1, Decay::custom("overshooting", rule));
        let mut run = Loop::new(mixed_pair(&device()));
        let mut hooks = Hooks::new().with(EmaHook::new(config).unwrap());
        hooks.before_run(&mut run).unwrap();
        // Averages after iterations 2, 4 and 6.
        run.run_to(6, &mut hooks, train).unwrap();
        let before = values(&run.model.net_ema);
        let error = run.run_to(7, &mut hooks, train).unwrap_err();
        let error = error.downcast_ref::<HookError>().unwrap();
        assert!(matches!(error, HookError::Decay { .. }));
        let message = error.to_string();
        for part in ["decay must be in [0, 1]", "update 2", "overshooting"] {
            assert!(message.contains(part), "{message}");
        }
        assert_same(&values(&run.model.net_ema), &before);
        assert_eq!(run.iter, 6);
    }
}
