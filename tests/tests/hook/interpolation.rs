//! Interpolations of the user's own: when they are used, and what they cannot break.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::Tensor;
use burn_ema::EmaError;
use burn_ema::config::NonFinite;
use burn_ema::policy::Class;
use burn_ema::submodule::{Blend, EmaSubmodules, SubmodulePair};
use burn_ema_tests::backend::{autodiff_device, device};
use burn_ema_tests::models::{Mixed, Net};
use burn_ema_tests::runner::{Loop, Paired, mixed_pair};
use burn_ema_tests::snapshot::{numbers_at, values};
use burn_ema_train::hook::{
    At, EmaHook, EmaHookConfig, HookError, Hooks, InterpConfig, Interpolation,
};

/// 42, whatever comes in.
#[derive(Debug)]
struct Constant;

impl Interpolation for Constant {
    fn name(&self) -> &str {
        "constant"
    }

    fn interpolate(&self, _: Tensor<1>, ema: Tensor<1>, _: At, _: &InterpConfig) -> Tensor<1> {
        ema.zeros_like() + 42.0
    }
}

fn config() -> EmaHookConfig {
    EmaHookConfig::new("net_ema").with_interval(1)
}

fn first_update(hook: EmaHook<Paired<Mixed>>) -> f64 {
    let mut run = Loop::new(mixed_pair(&device()));
    let mut hooks = Hooks::new().with(hook);
    hooks.before_run(&mut run).unwrap();
    run.run_to(1, &mut hooks, |_, _| {}).unwrap();
    numbers_at(&run.model, "net_ema.a")[0]
}

#[test]
fn interpolation_that_is_handed_in_is_used_without_a_mode() {
    let hook = EmaHook::with_interpolation(config(), Constant).unwrap();
    assert_eq!(first_update(hook), 42.0);
    let named = config().with_interp_mode("constant");
    assert_eq!(
        first_update(EmaHook::with_interpolation(named, Constant).unwrap()),
        42.0
    );
}

#[test]
fn mode_of_another_name_is_an_error() {
    for mode in ["lerp", "mean"] {
        let config = config().with_interp_mode(mode);
        let error = EmaHook::<Paired<Mixed>>::with_interpolation(config, Constant).unwrap_err();
        assert_eq!(error, HookError::UnknownMode { mode: mode.into() });
    }
}

/// What the function does at its last call of an update.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Panic,
    Longer,
    Empty,
}

/// Copies, but for its `at`-th call.
#[derive(Debug)]
struct Faulty {
    fault: Fault,
    at: usize,
    calls: Arc<AtomicUsize>,
}

impl Faulty {
    fn new(fault: Fault, at: usize) -> Self {
        Self {
            fault,
            at,
            calls: Arc::default(),
        }
    }

    fn result(&self, source: Tensor<1>) -> Tensor<1> {
        match (
            self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.at,
            self.fault,
        ) {
            (false, _) => source,
            (true, Fault::Panic) => panic!("the interpolation panics"),
            (true, Fault::Longer) => Tensor::cat(vec![source.clone(), source], 0),
            (true, Fault::Empty) => Tensor::zeros([0], &source.device()),
        }
    }
}

impl Interpolation for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }

    fn interpolate(&self, source: Tensor<1>, _: Tensor<1>, _: At, _: &InterpConfig) -> Tensor<1> {
        self.result(source)
    }
}

/// Generator, EMA copy and discriminator that train.
fn gan() -> Paired<Net> {
    let net = || Net::new(&autodiff_device());
    Paired {
        net: net(),
        net_ema: net(),
        other: net(),
    }
}

/// The whole model runs and trains.
#[track_caller]
fn assert_trains(model: Paired<Net>) {
    let device = autodiff_device();
    let loss = model.net.loss(0, &device) + model.other.loss(1, &device);
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    // Weights, biases, gamma and beta of two of the networks.
    assert_eq!(gradients.len(), 12);
    let before = numbers_at(&model, "other.first.weight");
    let model = SgdConfig::new().init().step(0.1, model, gradients);
    assert_ne!(numbers_at(&model, "other.first.weight"), before);
}

/// The last of the eight floats of [`Net`] is at fault, when everything before was computed.
#[test]
fn faulty_function_leaves_every_network_of_the_hooks_model_as_it_was() {
    for fault in [Fault::Panic, Fault::Longer, Fault::Empty] {
        let mut run = Loop::new(gan());
        let hook = EmaHook::with_interpolation(config(), Faulty::new(fault, 8)).unwrap();
        let mut hooks = Hooks::new().with(hook);
        hooks.before_run(&mut run).unwrap();
        let before = values(&run.model);
        let outcome = catch_unwind(AssertUnwindSafe(|| run.run_to(1, &mut hooks, |_, _| {})));
        assert_eq!(values(&run.model), before, "{fault:?}");
        match (fault, outcome) {
            (Fault::Panic, outcome) => assert!(outcome.is_err()),
            (_, outcome) => {
                let error = outcome.expect("an error and no panic").unwrap_err();
                let message = error.to_string();
                let path = "`net_ema.last.bias`, which has 1: return one for each";
                assert!(
                    message.starts_with("module key `net_ema`: the interpolation returned "),
                    "{message}"
                );
                assert!(message.ends_with(path), "{message}");
            }
        }
        // The run goes on.
        hooks.before_run(&mut run).unwrap();
        run.run_to(1, &mut hooks, |_, _| {}).unwrap();
        assert_trains(run.model);
    }
}

/// Also where others of the EMA copy move by a weight, in place.
#[test]
fn faulty_function_among_others_leaves_the_module_as_it_was() {
    for fault in [Fault::Panic, Fault::Longer, Fault::Empty] {
        let mut model = gan();
        let pair = SubmodulePair {
            source: "net".into(),
            ema: "net_ema".into(),
        };
        let mut emas = EmaSubmodules::new(&mut model, vec![pair]).unwrap();
        let before = values(&model);
        let faulty = Faulty::new(fault, 2);
        let function = |source, _| faulty.result(source);
        let mut update = |model: &mut Paired<Net>| {
            emas.update(model, NonFinite::Propagate, |class| match class {
                Class::Buffer => Blend::With(&function),
                _ => Blend::Lerp(0.5),
            })
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| update(&mut model)));
        assert_eq!(values(&model), before, "{fault:?}");
        match (fault, outcome) {
            (Fault::Panic, outcome) => assert!(outcome.is_err()),
            (_, outcome) => {
                let error = outcome.expect("an error and no panic").unwrap_err();
                let found = if fault == Fault::Longer { 6 } else { 0 };
                let path = "net_ema.norm.running_var".to_string();
                assert_eq!(
                    error,
                    EmaError::BlendLength {
                        path,
                        expected: 3,
                        found
                    }
                );
            }
        }
        // The third and fourth calls are good again.
        update(&mut model).unwrap();
        assert_trains(model);
    }
}

/// A function that is handed rows keeps the shape of the tensor.
#[test]
fn result_of_a_function_has_the_shape_of_its_tensor() {
    let norm = || BatchNormConfig::new(3).init(&device());
    let mut run = Loop::new(Paired {
        net: norm(),
        net_ema: norm(),
        other: norm(),
    });
    let hook = EmaHook::with_interpolation(config(), Constant).unwrap();
    let mut hooks = Hooks::new().with(hook);
    hooks.before_run(&mut run).unwrap();
    run.run_to(1, &mut hooks, |_, _| {}).unwrap();
    let shapes = |norm: &BatchNorm| -> Vec<Vec<usize>> {
        values(norm).into_iter().map(|value| value.shape).collect()
    };
    assert_eq!(shapes(&run.model.net_ema), shapes(&run.model.net));
    assert_eq!(
        numbers_at(&run.model.net_ema.valid(), "running_var"),
        [42.0; 3]
    );
}
