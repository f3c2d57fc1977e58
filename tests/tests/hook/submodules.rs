//! EMA copies in a model that is really trained: apart from their sources, untrained, resumable.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::module::Module;
use burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig, PositionalEncoding,
    PositionalEncodingConfig,
};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::store::ModuleRecord;
use burn::tensor::{DType, Device, Tensor};
use burn_ema::config::NonFinite;
use burn_ema::submodule::{Blend, EmaSubmodules, SubmodulePair};
use burn_ema_tests::backend::{autodiff_device, device, has_dtype};
use burn_ema_tests::compare::{assert_near, numbers};
use burn_ema_tests::models::{Net, Weights, batch};
use burn_ema_tests::runner::{Loop, Paired};
use burn_ema_tests::snapshot::{assert_same, assert_same_values, numbers_at, values, with_numbers};
use burn_ema_train::hook::{Counting, EmaHook, EmaHookConfig, Hooks, Runner};

fn hooks<M: Module + 'static>(config: EmaHookConfig) -> Hooks<Loop<M>> {
    Hooks::new().with(EmaHook::new(config).unwrap())
}

fn halving(key: &str) -> EmaHookConfig {
    EmaHookConfig::new(key).with_interval(1).with_momentum(0.5)
}

/// Whose EMA copy is made as everybody makes it.
fn cloned(device: &Device) -> Paired<Net> {
    let net = Net::new(device);
    Paired {
        net_ema: net.clone(),
        net,
        other: Net::new(device),
    }
}

/// One step of both networks with an optimizer for the whole model, which sees the EMA copy too.
fn train(model: &mut Paired<Net>, step: u64, optim: &mut ModuleOptimizer, device: &Device) {
    let step = step as u32;
    let loss = model.net.loss(step, device) + model.other.loss(step + 50, device);
    let gradients = GradientsParams::from_grads(loss.backward(), model);
    *model = optim.step(0.05, model.clone(), gradients);
}

/// What the networks beside the EMA copy are after each of `steps` steps.
fn trained(mut model: Paired<Net>, with_hook: bool, steps: u64) -> Vec<[String; 2]> {
    let device = autodiff_device();
    let mut optim = AdamConfig::new().init();
    let mut run_hooks = hooks::<Paired<Net>>(halving("net_ema"));
    if !with_hook {
        // The same training by hand, with nothing beside that is shared.
        model.net_ema = Net::new(&device);
        run_hooks = Hooks::new();
    }
    let mut run = Loop::new(model);
    run_hooks.before_run(&mut run).unwrap();
    let mut seen = Vec::new();
    for step in 0..steps {
        run.run_to(step + 1, &mut run_hooks, |model, step| {
            train(model, step, &mut optim, &device);
        })
        .unwrap();
        let stored = |net: &Net| {
            let values = values(&net.valid());
            values
                .iter()
                .map(|value| format!("{:?}", value.stored()))
                .collect()
        };
        seen.push([stored(&run.model.net), stored(&run.model.other)]);
    }
    seen
}

#[test]
fn training_is_the_same_with_and_without_the_hook() {
    let device = autodiff_device();
    let with = trained(cloned(&device), true, 6);
    let without = trained(cloned(&device), false, 6);
    assert_eq!(with, without);
    assert_ne!(with[0], with[5]);
}

/// Without the hook's preparation an EMA copy made by `clone()` gets the gradients of its source.
#[test]
fn optimizer_leaves_the_ema_copy_alone() {
    let device = autodiff_device();
    let mut optim = AdamConfig::new().init();
    let mut run = Loop::new(cloned(&device));
    let mut hooks = hooks(EmaHookConfig::new("net_ema"));
    hooks.before_run(&mut run).unwrap();
    let before = values(&run.model.net_ema);
    run.run_to(3, &mut hooks, |model, step| {
        train(model, step, &mut optim, &device)
    })
    .unwrap();
    assert_same(&values(&run.model.net_ema), &before);
    let value = |net: &Net| numbers_at(net, "first.weight");
    assert_ne!(value(&run.model.net), value(&run.model.net_ema));
}

#[test]
fn ids_of_a_cloned_ema_copy_are_its_own() {
    let mut run = Loop::new(cloned(&autodiff_device()));
    let weights = |net: &Net| -> Vec<_> {
        let values = values(net).into_iter();
        let weights = values.filter(|value| !value.path.contains("running"));
        weights.map(|value| value.id).collect()
    };
    let net = weights(&run.model.net);
    assert_eq!(weights(&run.model.net_ema), net);
    let mut hooks = hooks(halving("net_ema"));
    hooks.before_run(&mut run).unwrap();
    assert_eq!(weights(&run.model.net), net);
    assert!(
        weights(&run.model.net_ema)
            .iter()
            .all(|id| !net.contains(id))
    );

    // A second run with the same model has nothing left to do.
    let copy = values(&run.model);
    hooks.before_run(&mut run).unwrap();
    assert_same(&values(&run.model), &copy);
}

fn statistics(norm: &BatchNorm) -> Vec<f64> {
    [
        numbers(&norm.running_mean.value_sync()),
        numbers(&norm.running_var.value_sync()),
    ]
    .concat()
}

/// The source's statistics are those of a source without an EMA copy, and the EMA copy's follow one update later.
#[test]
fn statistics_of_the_source_never_move_because_of_the_hook() {
    let device = autodiff_device();
    let observe = |norm: &BatchNorm, x: f32| {
        let input = Tensor::<2>::from_data([[x, 2.0], [x + 4.0, 8.0]], &device);
        let _ = norm.forward(input);
    };
    for momentum in [0.5, 1.0] {
        let norm = || BatchNormConfig::new(2).init(&device);
        let net = norm();
        let alone = norm();
        let mut run = Loop::new(Paired {
            net_ema: net.clone(),
            net,
            other: norm(),
        });
        // Pending when the run begins.
        observe(&run.model.net, 3.0);
        observe(&alone, 3.0);
        let config = halving("net_ema").with_momentum_nontrainable(momentum);
        let mut hooks = hooks(config);
        hooks.before_run(&mut run).unwrap();
        assert_eq!(statistics(&run.model.net), statistics(&alone));
        let mut expected = statistics(&run.model.net_ema);
        for step in 0..5_u8 {
            let x = f32::from(step) - 2.0;
            observe(&alone, x);
            run.run_to(u64::from(step) + 1, &mut hooks, |model, _| {
                observe(&model.net, x)
            })
            .unwrap();
            assert_eq!(statistics(&run.model.net), statistics(&alone));
            for (e, source) in expected.iter_mut().zip(statistics(&alone)) {
                *e += (source - *e) * momentum;
            }
            assert_near(&statistics(&run.model.net_ema), &expected, 1e-6);
        }
        // The EMA copy runs in training state without a trace in the source.
        observe(&run.model.net_ema, 100.0);
        assert_eq!(statistics(&run.model.net), statistics(&alone));
    }
}

/// Without the hook, which applies what is pending at each iteration.
#[test]
fn ema_copies_have_the_statistics_of_the_last_forward_pass() {
    let device = autodiff_device();
    let norm = || BatchNormConfig::new(1).init(&device);
    let mut model = Paired {
        net: norm(),
        net_ema: norm(),
        other: norm(),
    };
    let pair = SubmodulePair {
        source: "net".into(),
        ema: "net_ema".into(),
    };
    let mut copies = EmaSubmodules::new(&mut model, vec![pair]).unwrap();
    let _ = model
        .net
        .forward(Tensor::<2>::from_data([[9.0], [11.0]], &device));
    copies
        .update(&mut model, NonFinite::Propagate, |_| Blend::Copy)
        .unwrap();
    assert_near(&statistics(&model.net_ema), &[1.0, 1.0], 1e-6);
}

/// What `clone()` shares with the EMA copy besides; all of it stays as it was for everybody else.
#[test]
fn detaching_changes_nothing_else() {
    #[derive(Module, Debug)]
    struct Model {
        net: Inner,
        net_ema: Inner,
    }
    #[derive(Module, Debug)]
    struct Inner {
        norm: BatchNorm,
        linear: Linear,
        frozen: Linear,
        dropout: Dropout,
        constant: Tensor<1>,
        name: String,
    }
    let device = autodiff_device();
    let net = Inner {
        norm: BatchNormConfig::new(2).init(&device),
        linear: LinearConfig::new(2, 2).init(&device),
        frozen: LinearConfig::new(2, 2).init(&device).no_grad(),
        dropout: DropoutConfig::new(0.5).init(),
        constant: Tensor::ones([2], &device),
        name: "generator".into(),
    };
    // One of them does not drop, although it trains.
    let quiet = net.clone();
    let quiet = Inner {
        dropout: quiet.dropout.freeze(),
        ..quiet
    };
    let model = Model {
        net_ema: net.clone(),
        net: quiet,
    };
    let mut run = Loop::new(model);
    let before = values(&run.model.net);
    let mut hooks = hooks(halving("net_ema"));
    hooks.before_run(&mut run).unwrap();
    let model = &run.model;
    assert_eq!(values(&model.net), before);
    assert!(model.net.constant.is_autodiff() && model.net_ema.constant.is_autodiff());
    assert!(!model.net.dropout.training.val().is_enabled());
    assert!(model.net_ema.dropout.training.val().is_enabled());
    assert_eq!(model.net.name, "generator");

    // Still a leaf that gets its gradient.
    let loss = model
        .net
        .linear
        .forward(Tensor::<2>::ones([1, 2], &device))
        .sum();
    let gradients = loss.backward();
    assert!(model.net.linear.weight.val().grad(&gradients).is_some());
    assert!(model.net_ema.linear.weight.val().grad(&gradients).is_none());
}

/// `train()` after `valid()` gives back what it gave before the hook, in networks without an EMA copy too.
#[test]
fn detaching_forgets_no_flag() {
    let device = autodiff_device();
    #[derive(Module, Debug)]
    struct Inner {
        norm: BatchNorm,
        dropout: Dropout,
    }
    let inner = Inner {
        norm: BatchNormConfig::new(2).init(&device),
        dropout: DropoutConfig::new(0.5).init(),
    };
    let frozen = Inner {
        norm: BatchNormConfig::new(2).init(&device),
        dropout: DropoutConfig::new(0.5).init().freeze(),
    };
    let model = Paired {
        net_ema: inner.clone(),
        net: inner,
        other: frozen,
    };
    let enabled = |model: &Paired<Inner>| {
        [&model.net, &model.net_ema, &model.other]
            .map(|inner| inner.dropout.training.val().is_enabled())
    };
    let mut mixed = model.clone();
    mixed.other = model.net.valid();
    for model in [model.clone(), model.valid(), mixed] {
        let expected = (enabled(&model), enabled(&model.clone().train()));
        let mut run = Loop::new(model);
        hooks(halving("net_ema")).before_run(&mut run).unwrap();
        assert_eq!(
            (enabled(&run.model), enabled(&run.model.clone().train())),
            expected
        );
    }
}

/// Operands of different strategies make Burn panic.
#[test]
fn gradient_checkpointing_is_kept() {
    let device = Device::default().autodiff().gradient_checkpointing();
    let model = Paired {
        net: Net::new(&device),
        net_ema: Net::new(&device),
        other: Net::new(&device),
    };
    let mut optim = SgdConfig::new().init();
    let mut run = Loop::new(model);
    let mut run_hooks = hooks(halving("net_ema"));
    run_hooks.before_run(&mut run).unwrap();
    run.run_to(3, &mut run_hooks, |model, step| {
        train(model, step, &mut optim, &device)
    })
    .unwrap();
    let output = run.model.net_ema.forward(batch(0, &device));
    assert!(!output.is_require_grad());
}

/// With gradient checkpointing too, an EMA copy made by `clone()` gets its own running statistics, and training is the same
/// with and without the hook.
#[test]
fn statistics_are_taken_apart_on_a_device_with_gradient_checkpointing() {
    let device = Device::default().autodiff().gradient_checkpointing();
    let norm = || BatchNormConfig::new(1).init(&device);
    let (net, alone) = (norm(), norm());
    let mut run = Loop::new(Paired {
        net_ema: net.clone(),
        net,
        other: norm(),
    });
    let mut run_hooks = hooks(halving("net_ema"));
    run_hooks.before_run(&mut run).unwrap();
    // Mean 22 and variance 4: running mean 2.2 and running variance 1.3.
    let observe = |norm: &BatchNorm| {
        norm.forward(Tensor::<2>::from_data([[20.0], [24.0]], &device))
            .sum()
            .backward()
    };
    run.run_to(1, &mut run_hooks, |model, _| drop(observe(&model.net)))
        .unwrap();
    drop(observe(&alone));
    assert_eq!(statistics(&run.model.net), statistics(&alone));
    assert_near(&statistics(&run.model.net), &[2.2, 1.3], 1e-6);
    // Copied at the update; its own pass then moves nothing of the source.
    assert_near(&statistics(&run.model.net_ema), &[2.2, 1.3], 1e-6);
    let _ = run
        .model
        .net_ema
        .forward(Tensor::<2>::from_data([[90.0], [94.0]], &device));
    assert_near(&statistics(&run.model.net), &[2.2, 1.3], 1e-6);
    assert_near(
        &statistics(&run.model.net_ema),
        &[0.9 * 2.2 + 9.2, 0.9 * 1.3 + 0.4],
        1e-5,
    );

    // Still a leaf, and still of the strategy of the device.
    let gradients = observe(&run.model.net);
    assert!(run.model.net.gamma.val().grad(&gradients).is_some());

    let trained = |with_hook: bool| {
        let net = |device: &Device| Net::new(device);
        let model = Paired {
            net: net(&device),
            net_ema: net(&device),
            other: net(&device),
        };
        let mut run = Loop::new(model);
        let mut optim = AdamConfig::new().init();
        let mut run_hooks = Hooks::new();
        if with_hook {
            run.model.net_ema = run.model.net.clone();
            run_hooks = hooks(halving("net_ema"));
        }
        run_hooks.before_run(&mut run).unwrap();
        run.run_to(4, &mut run_hooks, |model, step| {
            train(model, step, &mut optim, &device)
        })
        .unwrap();
        run.model.net.valid()
    };
    assert_same_values(&trained(true), &trained(false));
}

/// An EMA copy may be a clone of any network, and two may be clones of one.
#[test]
fn ema_copies_that_share_with_others_are_taken_apart() {
    #[derive(Module, Debug)]
    struct Model {
        a: BatchNorm,
        b: BatchNorm,
        a_ema: BatchNorm,
        b_ema: BatchNorm,
        third: BatchNorm,
    }
    let device = autodiff_device();
    let norm = || BatchNormConfig::new(1).init(&device);
    let third = norm();
    let model = Model {
        a: norm(),
        b: norm(),
        a_ema: third.clone(),
        b_ema: third.clone(),
        third,
    };
    let mut run = Loop::new(model);
    let keys = ["a_ema", "b_ema"];
    let config = EmaHookConfig::new(keys).with_interval(1).with_momentum(0.5);
    let mut run_hooks = hooks(config);
    for _ in 0..2 {
        run_hooks.before_run(&mut run).unwrap();
        let mut ids: Vec<_> = [&run.model.a_ema, &run.model.b_ema, &run.model.third]
            .map(|norm| norm.gamma.id)
            .to_vec();
        ids.dedup();
        assert_eq!(ids.len(), 3);
    }
    let observe = |norm: &BatchNorm, x: f32| {
        let _ = norm.forward(Tensor::<2>::from_data([[x], [x + 2.0]], &device));
    };
    run.run_to(1, &mut run_hooks, |model, _| {
        observe(&model.a, 9.0);
        observe(&model.b, -11.0);
    })
    .unwrap();
    // Mean 10 at BatchNorm's momentum 0.1, and -10.
    let mean = |norm: &BatchNorm| numbers(&norm.running_mean.value_sync())[0];
    assert_near(&[mean(&run.model.a_ema)], &[1.0], 1e-6);
    assert_near(&[mean(&run.model.b_ema)], &[-1.0], 1e-6);
    assert_eq!(mean(&run.model.third), 0.0);
}

/// Plain tensors, which no mapper reaches, keep the strategy of their device: Burn panics where two meet.
#[test]
fn plain_tensors_keep_gradient_checkpointing_where_statistics_are_taken_apart() {
    #[derive(Module, Debug)]
    struct Encoder {
        encoding: PositionalEncoding,
        norm: BatchNorm,
    }
    let device = Device::default().autodiff().gradient_checkpointing();
    let encoder = || Encoder {
        encoding: PositionalEncodingConfig::new(4).init(&device),
        norm: BatchNormConfig::new(2).init(&device),
    };
    let net = encoder();
    let mut run = Loop::new(Paired {
        net_ema: net.clone(),
        net,
        other: encoder(),
    });
    let mut run_hooks = hooks(halving("net_ema"));
    run_hooks.before_run(&mut run).unwrap();
    let input = || Tensor::<3>::ones([3, 2, 4], &device);
    let forward = |encoder: &Encoder| encoder.norm.forward(encoder.encoding.forward(input()));
    run.run_to(1, &mut run_hooks, |model, _| {
        for encoder in [&model.net, &model.other] {
            forward(encoder).square().sum().backward();
        }
    })
    .unwrap();
    assert_eq!(
        statistics(&run.model.net_ema.norm),
        statistics(&run.model.net.norm)
    );
    assert!(!forward(&run.model.net_ema).is_tracked());
    forward(&run.model.net).square().sum().backward();
}

#[test]
fn ema_copy_of_another_make_is_fine_too() {
    let device = autodiff_device();
    for copy in [
        Net::new(&device),
        Net::new(&device).valid(),
        Net::new(&device).no_grad(),
    ] {
        let net = Net::new(&device);
        let is_autodiff = copy.first.weight.val().is_autodiff();
        let mut run = Loop::new(Paired {
            net,
            net_ema: copy,
            other: Net::new(&device),
        });
        let mut optim = SgdConfig::new().init();
        let mut hooks = hooks(halving("net_ema").with_start_iter(2));
        hooks.before_run(&mut run).unwrap();
        run.run_to(2, &mut hooks, |model, step| {
            train(model, step, &mut optim, &device)
        })
        .unwrap();
        assert_same_values(&run.model.net_ema.valid(), &run.model.net.valid());
        let before = numbers_at(&run.model.net_ema, "first.weight");
        run.run_to(3, &mut hooks, |model, step| {
            train(model, step, &mut optim, &device)
        })
        .unwrap();
        let source = numbers_at(&run.model.net, "first.weight");
        let expected: Vec<f64> = before
            .iter()
            .zip(&source)
            .map(|(b, s)| (b + s) / 2.0)
            .collect();
        assert_near(
            &numbers_at(&run.model.net_ema, "first.weight"),
            &expected,
            1e-6,
        );
        let weight = run.model.net_ema.first.weight.val();
        assert_eq!(weight.is_autodiff(), is_autodiff);
        assert!(!weight.is_require_grad());
    }
}

/// The EMA copy's own forward pass records nothing, so nothing grows with it.
#[test]
fn ema_copy_carries_no_graph() {
    let device = autodiff_device();
    let mut optim = SgdConfig::new().init();
    let mut run = Loop::new(cloned(&device));
    let mut hooks = hooks(halving("net_ema"));
    hooks.before_run(&mut run).unwrap();
    run.run_to(3, &mut hooks, |model, step| {
        train(model, step, &mut optim, &device)
    })
    .unwrap();
    let output = |net: &Net| net.forward(batch(0, &device)).sum();
    let tracked = |net: &Net| catch_unwind(AssertUnwindSafe(|| output(net).backward())).is_ok();
    assert!(tracked(&run.model.net));
    assert!(!tracked(&run.model.net_ema));
}

fn resumable(stop: Option<u64>, end: u64, config: &EmaHookConfig) -> Paired<Net> {
    let device = autodiff_device();
    let mut optim = AdamConfig::new().init();
    let accumulation = match config.counting {
        Counting::Iterations => 1,
        Counting::OptimizerSteps => 2,
    };
    let mut run = Loop::new(cloned(&device));
    run.accumulation = accumulation;
    let mut run_hooks = hooks(config.clone());
    run_hooks.before_run(&mut run).unwrap();
    run.run_to(stop.unwrap_or(end), &mut run_hooks, |model, step| {
        train(model, step, &mut optim, &device);
    })
    .unwrap();
    let Some(stop) = stop else {
        return run.model;
    };
    // Only records are left: of the whole model, and of the optimizer.
    let bytes = run.model.into_record().into_bytes().unwrap();
    let record = ModuleRecord::from_bytes(bytes).unwrap();
    let mut optim = AdamConfig::new().init().load_record(optim.to_record());
    let mut model = cloned(&device);
    let mut hook = EmaHook::new(config.clone()).unwrap();
    hook.begin(&mut model).unwrap();
    let mut run = Loop::new(model.load_record(record));
    run.iter = stop;
    run.accumulation = accumulation;
    let mut run_hooks = Hooks::new().with(hook);
    run_hooks.before_run(&mut run).unwrap();
    run.run_to(end, &mut run_hooks, |model, step| {
        train(model, step, &mut optim, &device)
    })
    .unwrap();
    run.model
}

#[test]
fn run_that_is_stopped_and_resumed_goes_on_bit_for_bit() {
    for config in [
        halving("net_ema"),
        halving("net_ema").with_interval(3).with_start_iter(4),
        halving("net_ema").with_momentum_nontrainable(0.25),
        halving("net_ema").with_interval(-1).with_start_iter(6),
        halving("net_ema").with_counting(Counting::OptimizerSteps),
    ] {
        let whole = resumable(None, 11, &config).valid();
        for stop in [0, 1, 4, 5, 7, 10] {
            assert_same_values(&resumable(Some(stop), 11, &config).valid(), &whole);
        }
    }
}

/// The record of the EMA copy's statistics went where the source's had gone.
#[test]
fn run_that_is_resumed_with_shared_statistics_is_an_error() {
    let device = autodiff_device();
    let record = cloned(&device).into_record();
    let mut run = Loop::new(cloned(&device).load_record(record));
    run.iter = 5;
    let mut run_hooks = hooks(halving("net_ema"));
    let mut refused = || run_hooks.before_run(&mut run).unwrap_err().to_string();
    let error = refused();
    let remedy = "one place: call `EmaHook::begin` on the model before loading the record, or";
    assert!(error.contains(remedy), "{error}");
    // They are apart by now, and what they were is lost all the same.
    assert_eq!(refused(), error);
}

#[test]
fn dotted_paths_lead_into_nested_models() {
    #[derive(Module, Debug)]
    struct Ema {
        generator: Weights,
        generator_ema: Weights,
    }
    #[derive(Module, Debug)]
    struct Model {
        ema: Ema,
        stages: Vec<Paired<Weights>>,
    }
    let weights = |x: f32| Weights::new(&[x], &device());
    let mut run = Loop::new(Model {
        ema: Ema {
            generator: weights(4.0),
            generator_ema: weights(0.0),
        },
        stages: (0..2)
            .map(|i| Paired {
                net: weights(8.0 * i as f32),
                net_ema: weights(0.0),
                other: weights(1.0),
            })
            .collect(),
    });
    let keys = ["ema.generator_ema", "stages.1.net_ema"];
    let config = EmaHookConfig::new(keys).with_interval(1).with_momentum(0.5);
    let mut hooks = hooks(config);
    hooks.before_run(&mut run).unwrap();
    run.run_to(1, &mut hooks, |_, _| {}).unwrap();
    assert_eq!(numbers_at(&run.model, "ema.generator_ema.w"), [2.0]);
    assert_eq!(numbers_at(&run.model, "stages.0.net_ema.w"), [0.0]);
    assert_eq!(numbers_at(&run.model, "stages.1.net_ema.w"), [4.0]);
}

/// `net` is also the beginning of other names.
#[test]
fn networks_whose_names_begin_alike_are_told_apart() {
    #[derive(Module, Debug)]
    struct Model {
        net: Weights,
        net_ema: Weights,
        network: Weights,
        net_ema_old: Weights,
    }
    let weights = |n: usize, x: f32| Weights::new(&vec![x; n], &device());
    let mut run = Loop::new(Model {
        net: weights(1, 4.0),
        net_ema: weights(1, 0.0),
        network: weights(3, 7.0),
        net_ema_old: weights(2, 9.0),
    });
    let mut hooks = hooks(halving("net_ema"));
    hooks.before_run(&mut run).unwrap();
    run.run_to(1, &mut hooks, |_, _| {}).unwrap();
    let paths = ["net.w", "net_ema.w", "network.w", "net_ema_old.w"];
    let first = paths.map(|path| numbers_at(&run.model, path)[0]);
    assert_eq!(first, [4.0, 2.0, 7.0, 9.0]);
}

#[test]
fn ema_copy_in_f32_follows_a_source_in_half_precision() {
    for dtype in [DType::F16, DType::BF16] {
        if !has_dtype(dtype, "ema_copy_in_f32_follows_a_source_in_half_precision") {
            continue;
        }
        let mut run = Loop::new(Paired {
            net: Weights::of_dtype(&[2.0], dtype, &device()),
            net_ema: Weights::new(&[1.0], &device()),
            other: Weights::new(&[1.0], &device()),
        });
        let mut hooks = hooks(EmaHookConfig::new("net_ema").with_interval(1));
        hooks.before_run(&mut run).unwrap();
        run.run_to(1, &mut hooks, |_, _| {}).unwrap();
        let copy = run.model.net_ema.w.val();
        assert_eq!(copy.dtype(), DType::F32);
        assert_near(&numbers(&copy), &[1.001], 1e-7);
    }
}

/// A source in bf16 goes on in bf16, and its EMA copy in f32, whether it is copied or averaged, trained or frozen.
#[test]
fn ema_copy_in_f32_stays_f32_beside_a_source_in_bf16() {
    let test = "ema_copy_in_f32_stays_f32_beside_a_source_in_bf16";
    if !has_dtype(DType::BF16, test) {
        return;
    }
    let half = |x: f32| Weights::of_dtype(&[x], DType::BF16, &device());
    // The first is trained and the second frozen.
    let net = |x: f32| vec![half(x), half(10.0 * x).no_grad()];
    let full = || {
        vec![
            Weights::new(&[0.0], &device()),
            Weights::new(&[0.0], &device()),
        ]
    };
    let mut run = Loop::new(Paired {
        net: net(0.0),
        net_ema: full(),
        other: full(),
    });
    let config = EmaHookConfig::new("net_ema")
        .with_interval(1)
        .with_start_iter(1)
        .with_momentum(0.001)
        .with_momentum_nontrainable(0.5);
    let mut hooks = hooks(config);
    hooks.before_run(&mut run).unwrap();
    for (iter, source, expected) in [
        (1, 1.0, [1.0, 10.0]),
        // In bf16 1.001 is 1, and 1.002999 is 1 too.
        (2, 2.0, [1.001, 15.0]),
        (3, 3.0, [1.001 + 1.999 * 0.001, 22.5]),
    ] {
        run.run_to(iter, &mut hooks, |model, _| model.net = net(source))
            .unwrap();
        let ema = run.model.net_ema.iter().map(|layer| layer.w.val());
        let ema: Vec<Tensor<1>> = ema.collect();
        assert!(
            ema.iter().all(|tensor| tensor.dtype() == DType::F32),
            "{iter}"
        );
        assert_near(
            &ema.iter().flat_map(numbers).collect::<Vec<_>>(),
            &expected,
            1e-6,
        );
        let source = run.model.net.iter().map(|layer| layer.w.val().dtype());
        assert!(source.eq([DType::BF16; 2]), "{iter}");
    }
}

#[test]
fn counting_optimizer_steps_leaves_iterations_without_one_alone() {
    let run = |counting: Counting, accumulation: u64| -> Vec<f64> {
        let weights = |x: f32| Weights::new(&[x], &device());
        let mut run = Loop::new(Paired {
            net: weights(0.0),
            net_ema: weights(0.0),
            other: weights(0.0),
        });
        run.accumulation = accumulation;
        let config = halving("net_ema")
            .with_start_iter(1)
            .with_counting(counting);
        let mut hooks = hooks(config);
        hooks.before_run(&mut run).unwrap();
        let mut after = |iter: u64| {
            run.run_to(iter + 1, &mut hooks, |model, iter| {
                model.net = model.net.with(&[8.0 * (1 + iter / accumulation) as f32]);
            })
            .unwrap();
            numbers_at(&run.model.net_ema, "w")[0]
        };
        (0..6).map(&mut after).collect()
    };
    // One optimizer step in two iterations, after the second: sources are 8, 16, 24.
    let iterations = run(Counting::Iterations, 2);
    assert_eq!(iterations, [8.0, 8.0, 12.0, 14.0, 19.0, 21.5]);
    let steps = run(Counting::OptimizerSteps, 2);
    assert_eq!(steps, [0.0, 8.0, 8.0, 12.0, 12.0, 18.0]);
    assert_eq!(
        run(Counting::OptimizerSteps, 1),
        run(Counting::Iterations, 1)
    );
}

/// As in mmagic, an EMA copy with weights of its own starts from those.
#[test]
fn ema_copies_are_not_made_equal_when_the_run_begins() {
    let device = autodiff_device();
    let mut model = cloned(&device);
    model.net_ema = with_numbers(model.net_ema, "last.bias", &[100.0]);
    let before = values(&model.net_ema.valid());
    let mut run = Loop::new(model);
    hooks(halving("net_ema")).before_run(&mut run).unwrap();
    let stored = |values: &[burn_ema_tests::snapshot::Value]| -> Vec<_> {
        values
            .iter()
            .map(|value| format!("{:?}", value.stored()))
            .collect()
    };
    assert_eq!(
        stored(&values(&run.model().net_ema.valid())),
        stored(&before)
    );
}
