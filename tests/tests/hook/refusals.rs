//! What is an error before the first iteration, and what the error says.

use burn::config::{Config, config_to_json};
use burn::module::{Module, Param};
use burn::tensor::{DType, Int, Tensor};
use burn_ema_tests::backend::device;
use burn_ema_tests::models::{Weights, integers};
use burn_ema_tests::runner::Loop;
use burn_ema_tests::snapshot::{assert_same, values};
use burn_ema_train::hook::{
    Counting, EmaHook, EmaHookConfig, HookError, Hooks, InterpConfig, ModuleKeys, Priority, Runner,
};

#[derive(Module, Debug)]
struct Inner {
    generator: Weights,
    generator_ema: Weights,
}

#[derive(Module, Debug)]
struct Model {
    generator: Weights,
    generator_ema: Option<Weights>,
    critic: Option<Weights>,
    critic_ema: Weights,
    long: Weights,
    long_ema: Weights,
    deep: Inner,
    deep_ema: Weights,
    whole: Count,
    whole_ema: Weights,
    lonely_ema: Weights,
}

#[derive(Module, Debug)]
struct Count {
    w: Param<Tensor<1, Int>>,
}

fn model() -> Model {
    let weights = |n: usize| Weights::new(&vec![1.0; n], &device());
    Model {
        generator: weights(2),
        generator_ema: None,
        critic: None,
        critic_ema: weights(2),
        long: weights(3),
        long_ema: weights(2),
        deep: Inner {
            generator: weights(2),
            generator_ema: weights(2),
        },
        deep_ema: weights(2),
        whole: Count {
            w: Param::initialized(
                burn::module::ParamId::new(),
                integers(&[1, 1], DType::I32, &device()),
            ),
        },
        whole_ema: weights(2),
        lonely_ema: weights(2),
    }
}

/// What is said when a run with these keys begins, the model being as it was.
fn refusal(key: &str) -> String {
    let mut run = Loop::new(model());
    let before = values(&run.model);
    let hook = EmaHook::new(EmaHookConfig::new(key).with_interval(1)).unwrap();
    let mut hooks = Hooks::new().with(hook);
    let error = hooks.before_run(&mut run).unwrap_err().to_string();
    assert_same(&values(&run.model), &before);
    println!("{key}: {error}");
    error
}

fn config_refusal(config: EmaHookConfig) -> String {
    let error = EmaHook::<Model>::new(config).unwrap_err().to_string();
    println!("{error}");
    error
}

#[test]
fn no_keys() {
    assert_eq!(
        config_refusal(EmaHookConfig::new(ModuleKeys::Several(Vec::new()))),
        "module_keys is empty: name at least one EMA copy, e.g. `generator_ema`"
    );
}

#[test]
fn key_without_its_suffix() {
    for key in [
        "generator",
        "a",
        "generator_EMA",
        "",
        "_ema",
        "nets._ema",
        "generator_ema.weight",
    ] {
        let error = config_refusal(EmaHookConfig::new(key));
        assert_eq!(
            error,
            format!(
                "module key `{key}` does not end in `_ema`: call the EMA copy as the submodule that it \
                 follows, with `_ema` behind it"
            )
        );
        config_refusal(EmaHookConfig::new(["generator_ema", key]));
    }
}

#[test]
fn key_that_is_there_twice() {
    let error = config_refusal(EmaHookConfig::new(["generator_ema", "generator_ema"]));
    assert!(error.contains("`generator_ema` is there twice"), "{error}");
}

/// An EMA copy is not trained, so an EMA copy of it would only be a copy; and a tensor cannot follow two.
#[test]
fn key_within_the_ema_copy_of_another() {
    for (keys, key) in [
        (["g_ema", "g_ema_ema"], "g_ema_ema"),
        (["a_ema", "a_ema.b_ema"], "a_ema.b_ema"),
    ] {
        let error = config_refusal(EmaHookConfig::new(keys));
        let expected = format!(
            "module key `{key}` leads into `{}`, which is an EMA copy itself: follow the submodule that is trained",
            keys[0]
        );
        assert!(error.starts_with(&expected), "{error}");
    }
    let apart = EmaHookConfig::new(["g_ema", "g_ema2_ema", "h.g_ema"]);
    assert!(EmaHook::<Model>::new(apart).is_ok());
}

/// In Python an argument that a function does not have is an error, too.
#[test]
fn unknown_argument() {
    let json = r#"{ "module_keys": "generator_ema", "interp_cfg": { "momentun": 0.01 } }"#;
    let error = config_refusal(EmaHookConfig::load_binary(json.as_bytes()).unwrap());
    assert_eq!(
        error,
        "interp_cfg has `momentun`, which lerp does not know: write `momentum` or \
         `momentum_nontrainable`"
    );
}

#[test]
fn key_that_leads_nowhere() {
    let error = refusal("discriminator_ema");
    assert!(
        error.starts_with(
            "module key `discriminator_ema`: the model has no submodule `discriminator`"
        ) && error.contains("it has `critic`, `critic_ema`,"),
        "{error}"
    );
    let error = refusal("deep.critic_ema");
    assert!(
        error.contains("no submodule `deep.critic`: it has `deep.generator`, `deep.generator_ema`"),
        "{error}"
    );
    let error = refusal("no.such.generator_ema");
    assert!(
        error.contains("no submodule `no.such.generator`: it has `critic`"),
        "{error}"
    );
}

#[test]
fn source_that_is_missing() {
    let error = refusal("critic_ema");
    assert_eq!(
        error,
        "module key `critic_ema`: `critic` is not a submodule with parameters or buffers: name a field that is a module \
         (a single `Param` is not), and create an `Option` before the run"
    );
    let error = refusal("lonely_ema");
    assert!(
        error.contains("the model has no submodule `lonely`"),
        "{error}"
    );
}

#[test]
fn ema_copy_that_is_missing() {
    let error = refusal("generator_ema");
    assert_eq!(
        error,
        "module key `generator_ema`: `generator_ema` is not a submodule with parameters or buffers: name a field that is \
         a module (a single `Param` is not), and create an `Option` before the run"
    );
}

#[test]
fn pair_of_different_structure() {
    assert_eq!(
        refusal("long_ema"),
        "module key `long_ema`: `long_ema.w` has shape [2] and `long.w` has [3]: create both \
         submodules from the same configuration"
    );
    let error = refusal("deep_ema");
    assert!(
        error.contains("`deep_ema.w` has no counterpart in `deep`"),
        "{error}"
    );
    let error = refusal("whole_ema");
    assert!(
        error.contains("`whole_ema.w` and `whole.w` are of different kinds"),
        "{error}"
    );
}

#[test]
fn momentum_out_of_its_range() {
    for momentum in [0.0, 1.0, -0.1, 2.0, f64::NAN, f64::INFINITY] {
        let config = EmaHookConfig::new("generator_ema").with_momentum(momentum);
        let error = config_refusal(config);
        assert!(
            error.starts_with(&format!(
                "momentum must be above 0 and below 1, found {momentum}"
            )),
            "{error}"
        );
    }
    for momentum in [0.0, 1.1, -0.1, f64::NAN] {
        let config = EmaHookConfig::new("generator_ema").with_momentum_nontrainable(momentum);
        let error = config_refusal(config);
        let range = "momentum_nontrainable must be above 0 and at most 1, found";
        assert!(error.starts_with(range), "{error}");
    }
    let valid = EmaHookConfig::new("generator_ema").with_momentum_nontrainable(1.0);
    assert!(EmaHook::<Model>::new(valid).is_ok());
}

#[test]
fn unknown_mode() {
    let config = EmaHookConfig::new("generator_ema").with_interp_mode("xxx");
    assert_eq!(
        config_refusal(config),
        "interp_mode `xxx` is unknown: write `lerp`, or hand the hook an interpolation of that \
         name with `EmaHook::with_interpolation`"
    );
}

#[test]
fn iteration_before_the_run() {
    let mut run = Loop::new(model());
    let mut hook = EmaHook::new(EmaHookConfig::new("generator_ema")).unwrap();
    let error = hook.update(run.model_mut(), 0).unwrap_err();
    assert_eq!(error, HookError::NotBegun);
}

/// A network that changes while the run goes on is found before anything is written.
#[test]
fn network_that_changes_during_the_run() {
    let mut run = Loop::new(model());
    run.model.generator_ema = Some(Weights::new(&[0.0; 2], &device()));
    let config = EmaHookConfig::new("generator_ema").with_interval(1);
    let mut hooks = Hooks::new().with(EmaHook::new(config).unwrap());
    hooks.before_run(&mut run).unwrap();
    run.run_to(3, &mut hooks, |_, _| {}).unwrap();

    let refused =
        |change: fn(&mut Model), hooks: &mut Hooks<Loop<Model>>, run: &mut Loop<Model>| {
            let good = run.model.clone();
            change(&mut run.model);
            let before = values(&run.model);
            let error = hooks.after_train_iter(run, 0).unwrap_err().to_string();
            assert_same(&values(&run.model), &before);
            run.model = good;
            println!("{error}");
            error
        };
    let longer = |model: &mut Model| model.generator = Weights::new(&[9.0; 3], &device());
    let error = refused(longer, &mut hooks, &mut run);
    assert!(
        error.contains("`generator.w` changed its shape from [2] to [3] since the run began"),
        "{error}"
    );
    let gone = |model: &mut Model| model.generator_ema = None;
    let error = refused(gone, &mut hooks, &mut run);
    assert!(error.contains("`generator_ema.w` disappeared"), "{error}");
    run.run_to(5, &mut hooks, |_, _| {}).unwrap();
}

#[test]
fn configuration_survives_json() {
    let config = EmaHookConfig::new(["generator_ema", "ema.critic_ema"])
        .with_interval(10)
        .with_start_iter(4000)
        .with_momentum(0.002)
        .with_momentum_nontrainable(0.5)
        .with_counting(Counting::OptimizerSteps);
    let json = config_to_json(&config);
    assert_eq!(EmaHookConfig::load_binary(json.as_bytes()).unwrap(), config);
}

/// What a Python configuration holds, as JSON.
#[test]
fn configuration_is_written_as_in_python() {
    let load = |json: &str| EmaHookConfig::load_binary(json.as_bytes());
    let one = load(r#"{ "module_keys": "generator_ema" }"#).unwrap();
    assert_eq!(one, EmaHookConfig::new("generator_ema"));
    assert_eq!((one.interval, one.start_iter), (-1, 0));
    assert_eq!(one.interp_mode, None);
    assert_eq!(
        (
            one.interp_cfg.momentum,
            one.interp_cfg.momentum_nontrainable
        ),
        (0.001, 1.0)
    );
    assert_eq!(one.counting, Counting::Iterations);

    let full = load(
        r#"{ "module_keys": ["generator_ema"], "interp_mode": "lerp",
             "interp_cfg": { "momentum": 0.01 }, "interval": 1, "start_iter": 20 }"#,
    );
    let expected = EmaHookConfig::new(["generator_ema"])
        .with_interp_mode("lerp")
        .with_interp_cfg(InterpConfig {
            momentum: 0.01,
            ..InterpConfig::default()
        })
        .with_interval(1)
        .with_start_iter(20);
    assert_eq!(full.unwrap(), expected);

    let none = load(r#"{ "module_keys": "generator_ema", "interp_cfg": null }"#).unwrap();
    assert_eq!(none.interp_cfg, InterpConfig::default());
    assert!(load(r#"{ "interval": 1 }"#).is_err());
    assert!(load(r#"{ "module_keys": "generator_ema", "intervall": 1 }"#).is_err());
}

/// The `dict` of an mmagic configuration, whose `type` and `priority` mmagic gives to mmengine.
#[test]
fn dict_of_mmagic_is_read_with_its_type_and_priority() {
    let load = |json: &str| EmaHookConfig::load_binary(json.as_bytes());
    let of = |priority: &str| {
        let json = format!(
            r#"{{ "type": "ExponentialMovingAverageHook", "module_keys": ["generator_ema"], "interval": 1,
                  "interp_cfg": {{ "momentum": 0.001 }}, "priority": {priority} }}"#
        );
        load(&json)
            .map(|config| config.priority)
            .map_err(|error| error.to_string())
    };
    for (written, priority) in [
        (r#""VERY_HIGH""#, Priority::VERY_HIGH),
        (r#""NORMAL""#, Priority::NORMAL),
        (r#""ABOVE_NORMAL""#, Priority(40)),
        (r#""low""#, Priority::LOW),
        ("0", Priority::HIGHEST),
        ("42", Priority(42)),
        ("100", Priority::LOWEST),
    ] {
        assert_eq!(of(written), Ok(priority), "{written}");
    }
    let error = of(r#""SOON""#).unwrap_err();
    assert!(
        error.contains("priority `SOON` is unknown: write a number or one of HIGHEST, VERY_HIGH"),
        "{error}"
    );
    let error = of("101").unwrap_err();
    assert!(
        error.contains("priority must be at most 100, found 101"),
        "{error}"
    );
    assert!(of("-1").is_err() && of("null").is_err());

    let with_type =
        load(r#"{ "type": "ExponentialMovingAverageHook", "module_keys": "generator_ema" }"#);
    assert_eq!(with_type.unwrap(), EmaHookConfig::new("generator_ema"));
    let other = load(r#"{ "type": "EMAHook", "module_keys": "generator_ema" }"#);
    let error = other.unwrap_err().to_string();
    assert!(
        error.contains("`EMAHook`") && error.contains("`ExponentialMovingAverageHook`"),
        "{error}"
    );

    let config = EmaHookConfig::new("generator_ema").with_priority(Priority(42));
    assert_eq!(load(&config_to_json(&config)).unwrap(), config);
}
