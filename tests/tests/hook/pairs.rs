//! Which submodules can be a pair, and with what weight an EMA copy can move.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn_ema::EmaError;
use burn_ema::config::NonFinite;
use burn_ema::submodule::{Blend, EmaSubmodules, SubmodulePair};
use burn_ema_tests::backend::{autodiff_device, device};
use burn_ema_tests::models::{Net, Weights};
use burn_ema_tests::runner::Paired;
use burn_ema_tests::snapshot::{numbers_at, values};
use burn_ema_train::hook::{EmaHook, EmaHookConfig};

fn pairs(paths: &[(&str, &str)]) -> Vec<SubmodulePair> {
    let pair = |(source, ema): &(&str, &str)| SubmodulePair {
        source: source.to_string(),
        ema: ema.to_string(),
    };
    paths.iter().map(pair).collect()
}

/// The error of these pairs in a model whose EMA copy is a clone, which stays as it was: ids, gradients and all.
#[track_caller]
fn error_of(paths: &[(&str, &str)]) -> EmaError {
    let net = Net::new(&autodiff_device());
    let mut model = Paired {
        net_ema: net.clone(),
        net,
        other: Net::new(&autodiff_device()),
    };
    let before = values(&model);
    let error = EmaSubmodules::new(&mut model, pairs(paths)).unwrap_err();
    assert_eq!(values(&model), before);
    error
}

#[track_caller]
fn assert_invalid(paths: &[(&str, &str)], source: &str, ema: &str, reason: &str) {
    let error = error_of(paths);
    let is_it = matches!(
        &error,
        EmaError::InvalidPair { source_path, ema_path, .. } if source_path == source && ema_path == ema
    );
    assert!(is_it, "{error:?}");
    let message = error.to_string();
    assert!(
        message.starts_with(&format!("`{source}` and `{ema}` cannot be a pair: ")),
        "{message}"
    );
    assert!(message.ends_with(reason), "{message}");
}

/// It would no longer train.
#[test]
fn submodule_that_is_its_own_ema_copy_is_an_error() {
    let reason = "name two separate submodules";
    assert_invalid(&[("net", "net")], "net", "net", reason);
    assert_invalid(
        &[("net", "net_ema"), ("other", "other")],
        "other",
        "other",
        reason,
    );
}

#[test]
fn ema_copy_within_its_source_is_an_error() {
    let reason = "one is, or contains, the other: name two separate submodules";
    assert_invalid(&[("net", "net.first")], "net", "net.first", reason);
    assert_invalid(&[("net.first", "net")], "net.first", "net", reason);
}

/// The last of the two would win.
#[test]
fn ema_copy_of_two_submodules_is_an_error() {
    let reason = "the EMA copy is in another pair too: name each EMA copy once";
    let twice = [("net", "net_ema"), ("other", "net_ema")];
    assert_invalid(&twice, "other", "net_ema", reason);
    assert_invalid(
        &[("net", "net_ema"), ("net", "net_ema")],
        "net",
        "net_ema",
        reason,
    );
    let within = [("net", "net_ema"), ("other.first", "net_ema.first")];
    assert_invalid(&within, "other.first", "net_ema.first", reason);
}

#[test]
fn ema_copy_that_is_followed_itself_is_an_error() {
    let reason = "the first is an EMA copy, or contains one: follow a submodule that is trained";
    let chain = [("net", "net_ema"), ("net_ema", "other")];
    assert_invalid(&chain, "net_ema", "other", reason);
    let within = [("net", "net_ema"), ("net_ema.first", "other.first")];
    assert_invalid(&within, "net_ema.first", "other.first", reason);
}

#[test]
fn two_ema_copies_of_one_submodule_are_fine() {
    let weights = |x: f32| Weights::new(&[x], &device());
    let mut model = Paired {
        net: weights(4.0),
        net_ema: weights(0.0),
        other: weights(2.0),
    };
    let both = pairs(&[("net", "net_ema"), ("net", "other")]);
    let mut emas = EmaSubmodules::new(&mut model, both).unwrap();
    emas.update(&mut model, NonFinite::Propagate, |_| Blend::Lerp(0.5))
        .unwrap();
    let numbers = ["net.w", "net_ema.w", "other.w"].map(|path| numbers_at(&model, path)[0]);
    assert_eq!(numbers, [4.0, 2.0, 3.0]);
}

#[test]
fn weight_that_is_none_is_an_error_and_changes_nothing() {
    let weights = |x: f32| Weights::new(&[x, -x], &device());
    let mut model = Paired {
        net: weights(4.0),
        net_ema: weights(0.0),
        other: weights(1.0),
    };
    let mut emas = EmaSubmodules::new(&mut model, pairs(&[("net", "net_ema")])).unwrap();
    let before = values(&model);
    for weight in [f64::NAN, 2.0, -0.1, f64::INFINITY] {
        let lerp = |_| Blend::Lerp(weight);
        let error = emas
            .update(&mut model, NonFinite::Propagate, lerp)
            .unwrap_err();
        assert!(
            matches!(&error, EmaError::Weight { found } if found.to_bits() == weight.to_bits())
        );
        let expected =
            format!("the weight of new values must be in [0, 1], found {weight}: it is 1 - decay");
        assert_eq!(error.to_string(), expected);
        assert_eq!(values(&model), before);
    }
    // The next one works.
    emas.update(&mut model, NonFinite::Propagate, |_| Blend::Lerp(0.25))
        .unwrap();
    assert_eq!(numbers_at(&model, "net_ema.w"), [1.0, -1.0]);
}

#[derive(Module, Debug)]
struct Bare {
    scale: Param<Tensor<1>>,
    scale_ema: Param<Tensor<1>>,
}

#[test]
fn single_parameter_is_an_error_that_says_what_to_name() {
    let param = |x: f32| Weights::new(&[x], &device()).w;
    let mut model = Bare {
        scale: param(4.0),
        scale_ema: param(0.0),
    };
    let before = values(&model);
    let mut hook = EmaHook::new(EmaHookConfig::new("scale_ema").with_interval(1)).unwrap();
    let error = hook.begin(&mut model).unwrap_err().to_string();
    let expected = "module key `scale_ema`: `scale` is not a submodule with parameters or buffers: name a field that is a \
                    module (a single `Param` is not), and create an `Option` before the run";
    assert_eq!(error, expected);
    assert_eq!(values(&model), before);
}
