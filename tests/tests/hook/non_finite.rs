//! The hook's guard against NaN and infinity, which mmagic averages.
//!
//! The source is [`Mixed::at`] the iteration: `a = [1 + t/2, 2 - t/4]` is trained and `n = t + 1` an integer. The EMA copy
//! starts at `a = [1, 2]` and `n = 0`.

use burn::config::{Config, config_to_json};
use burn_ema::EmaError;
use burn_ema::config::NonFinite;
use burn_ema_tests::backend::device;
use burn_ema_tests::models::Mixed;
use burn_ema_tests::runner::{Loop, Paired, mixed_pair};
use burn_ema_tests::snapshot::{numbers_at, values, with_numbers};
use burn_ema_train::hook::{EmaHook, EmaHookConfig, HookError, Hooks};

fn hooks(non_finite: NonFinite) -> Hooks<Loop<Paired<Mixed>>> {
    let config = EmaHookConfig::new("net_ema")
        .with_interval(1)
        .with_momentum(0.5)
        .with_non_finite(non_finite);
    Hooks::new().with(EmaHook::new(config).unwrap())
}

/// `bad` in the place of the second number of `a` at iteration 1.
fn train(bad: f32) -> impl Fn(&mut Paired<Mixed>, u64) {
    move |model, t| {
        model.net = Mixed::at(Some(t as u16), &device());
        if t == 1 {
            model.net = with_numbers(model.net.clone(), "a", &[1.5, bad]);
        }
    }
}

#[test]
fn source_that_is_not_finite_is_averaged_by_default() {
    let mut run = Loop::new(mixed_pair(&device()));
    let mut hooks = hooks(NonFinite::Propagate);
    hooks.before_run(&mut run).unwrap();
    run.run_to(3, &mut hooks, train(f32::NAN)).unwrap();
    let a = numbers_at(&run.model, "net_ema.a");
    // 1, halfway to 1.5, and halfway to 2.
    assert_eq!(a[0], 1.625);
    assert!(a[1].is_nan());
}

#[test]
fn source_that_is_not_finite_is_skipped_on_request() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut run = Loop::new(mixed_pair(&device()));
        let mut hooks = hooks(NonFinite::Skip);
        hooks.before_run(&mut run).unwrap();
        run.run_to(1, &mut hooks, train(bad)).unwrap();
        let before = values(&run.model.net_ema);
        run.run_to(2, &mut hooks, train(bad)).unwrap();
        // Integers wait too.
        assert_eq!(values(&run.model.net_ema), before);
        assert_eq!(numbers_at(&run.model, "net_ema.n"), [1.0]);

        // From [1, 2] halfway to [2, 1.5].
        run.run_to(3, &mut hooks, train(bad)).unwrap();
        assert_eq!(numbers_at(&run.model, "net_ema.a"), [1.5, 1.75]);
        assert_eq!(numbers_at(&run.model, "net_ema.n"), [3.0]);
    }
}

/// A copy would poison the first average.
#[test]
fn source_that_is_not_finite_is_skipped_before_the_start_too() {
    let config = EmaHookConfig::new("net_ema")
        .with_interval(1)
        .with_start_iter(3)
        .with_momentum(0.5)
        .with_non_finite(NonFinite::Skip);
    let mut hooks = Hooks::new().with(EmaHook::new(config).unwrap());
    let mut run = Loop::new(mixed_pair(&device()));
    hooks.before_run(&mut run).unwrap();
    run.run_to(2, &mut hooks, train(f32::NAN)).unwrap();
    assert_eq!(numbers_at(&run.model, "net_ema.a"), [1.0, 2.0]);
    run.run_to(3, &mut hooks, train(f32::NAN)).unwrap();
    assert_eq!(numbers_at(&run.model, "net_ema.a"), [2.0, 1.5]);
}

#[test]
fn source_that_is_not_finite_stops_the_run_on_request() {
    let mut run = Loop::new(mixed_pair(&device()));
    let mut hooks = hooks(NonFinite::Error);
    hooks.before_run(&mut run).unwrap();
    run.run_to(1, &mut hooks, train(f32::NAN)).unwrap();
    let before = values(&run.model.net_ema);
    let error = run.run_to(2, &mut hooks, train(f32::NAN)).unwrap_err();
    let expected = HookError::Submodule {
        key: "net_ema".into(),
        problem: Box::new(EmaError::NonFinite {
            path: "net.a".into(),
        }),
    };
    let error = error.downcast_ref::<HookError>().unwrap();
    assert_eq!(*error, expected);
    let message = error.to_string();
    assert!(
        message.starts_with("module key `net_ema`: `net.a` of the model holds NaN or infinity: "),
        "{message}"
    );
    assert_eq!(values(&run.model.net_ema), before);
    assert_eq!(run.iter, 1);

    // Once the source is finite the run goes on.
    run.run_to(3, &mut hooks, train(1.0)).unwrap();
    // [1, 2], halfway to [1.5, 1], and halfway to [2, 1.5].
    assert_eq!(numbers_at(&run.model, "net_ema.a"), [1.625, 1.5]);
}

#[test]
fn guard_is_written_in_json() {
    let config = EmaHookConfig::new("net_ema").with_non_finite(NonFinite::Skip);
    let json = config_to_json(&config);
    assert_eq!(EmaHookConfig::load_binary(json.as_bytes()).unwrap(), config);
    let short = br#"{ "module_keys": "net_ema", "non_finite": "Error" }"#;
    assert_eq!(
        EmaHookConfig::load_binary(short).unwrap().non_finite,
        NonFinite::Error
    );
    let none = br#"{ "module_keys": "net_ema" }"#;
    assert_eq!(
        EmaHookConfig::load_binary(none).unwrap().non_finite,
        NonFinite::Propagate
    );
}
