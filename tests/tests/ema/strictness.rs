//! What is checked: what is averaged strictly, the rest as little as it needs.

use burn::module::{Module, Param, ParamGroup, RunningState};
use burn::store::ModuleRecord;
use burn::tensor::{DType, Int, Tensor};
use burn_ema::config::{EmaPrecision, MissingEma};
use burn_ema::policy::{Action, BufferAction};
use burn_ema::record::Content;
use burn_ema::{Decay, EmaConfig, EmaError, EmaModel, EmaSetConfig, Policy};
use burn_ema_tests::backend::{device, has_dtype};
use burn_ema_tests::compare::assert_close;
use burn_ema_tests::models::{Weights, integers, vector};
use burn_ema_tests::snapshot::numbers_at;

#[derive(Module, Debug)]
struct Watched {
    w: Param<Tensor<1>>,
    seen: Option<RunningState<Tensor<1>>>,
}

fn watched(w: f32, seen: Option<&[f32]>) -> Watched {
    let state = |numbers| RunningState::new(vector(numbers, DType::F32, &device()));
    Watched {
        w: Param::from_tensor(vector(&[w], DType::F32, &device())),
        seen: seen.map(state),
    }
}

fn halving(buffers: BufferAction) -> EmaConfig {
    EmaConfig::new()
        .with_decay(Decay::weight(0.5))
        .with_policy(Policy::new().with_buffers(buffers))
}

#[test]
fn what_is_ignored_may_change_its_shape_appear_and_vanish() {
    let ignored = ParamGroup::from_path("seen");
    let policy = Policy::new().with_override(ignored, Action::Ignore);
    let config = EmaConfig::new()
        .with_decay(Decay::weight(0.5))
        .with_policy(policy);
    let mut ema = config.init(&watched(0.0, Some(&[1.0])));
    for seen in [Some(&[1.0, 2.0, 3.0][..]), None, Some(&[4.0])] {
        ema.update(&watched(8.0, seen)).unwrap();
    }
    assert_close(&ema.model().w.val(), &[7.0]);
    assert_eq!(numbers_at(ema.model(), "seen"), [1.0]);
}

#[test]
fn what_is_copied_is_replaced_in_whatever_shape_it_comes() {
    let mut ema = halving(BufferAction::Copy).init(&watched(0.0, None));
    for seen in [
        Some(&[1.0][..]),
        Some(&[1.0, 2.0, 3.0]),
        None,
        Some(&[4.0, 5.0]),
    ] {
        ema.update(&watched(8.0, seen)).unwrap();
        match seen {
            Some(seen) => {
                let expected: Vec<f64> = seen.iter().map(|x| f64::from(*x)).collect();
                assert_eq!(numbers_at(ema.model(), "seen"), expected);
            }
            None => assert!(ema.model().seen.is_none()),
        }
    }
    // 4, 6, 7, 7.5: what is averaged went on.
    assert_close(&ema.model().w.val(), &[7.5]);
    assert_eq!(ema.num_updates(), 4);
}

#[test]
fn what_is_averaged_must_keep_its_shape_and_stay() {
    let mut ema = halving(BufferAction::Average).init(&watched(0.0, Some(&[1.0])));
    let error = ema.update(&watched(8.0, Some(&[1.0, 2.0]))).unwrap_err();
    assert!(matches!(error, EmaError::ShapeMismatch { .. }), "{error}");
    let error = ema.update(&watched(8.0, None)).unwrap_err();
    assert!(matches!(error, EmaError::Missing { .. }), "{error}");
    let mut without = halving(BufferAction::Average).init(&watched(0.0, None));
    let error = without.update(&watched(8.0, Some(&[1.0]))).unwrap_err();
    assert!(matches!(error, EmaError::Unexpected { .. }), "{error}");
    for ema in [&ema, &without] {
        assert_eq!((ema.num_steps(), ema.num_updates()), (0, 0));
        assert_close(&ema.model().w.val(), &[0.0]);
    }
}

#[test]
fn override_that_matches_nothing_names_what_is_similar() {
    let wrong = ParamGroup::from_path("sen");
    let policy = Policy::new().with_override(wrong, Action::Ignore);
    let config = EmaConfig::new().with_policy(policy);
    let error = config.try_init(&watched(0.0, Some(&[1.0]))).unwrap_err();
    let EmaError::UnmatchedOverride { near, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(near[0], "seen");
    assert!(error.to_string().contains("`seen`"), "{error}");
}

/// The ids of a model are drawn when it is made, and its records bring other ones.
#[test]
fn override_by_id_holds_after_a_record_with_other_ids_is_loaded() {
    let saved = {
        let mut ema = halving(BufferAction::Copy).init(&watched(2.0, None));
        ema.update(&watched(2.0, None)).unwrap();
        ema.into_record()
    };
    let model = watched(1.0, None);
    let group = ParamGroup::from_ids(vec![model.w.id]);
    let policy = Policy::new().with_override(group, Action::Ignore);
    let config = EmaConfig::new().with_policy(policy);
    let mut ema = config.init(&model).load_record(saved);
    ema.update(&watched(9.0, None)).unwrap();
    assert_close(&ema.model().w.val(), &[2.0]);
}

fn weights(x: f32, dtype: DType) -> Weights {
    Weights::of_dtype(&[x], dtype, &device())
}

#[test]
fn record_in_another_dtype_is_widened_or_an_error_and_the_model_keeps_its_own() {
    let test = "record_in_another_dtype_is_widened_or_an_error_and_the_model_keeps_its_own";
    if !has_dtype(DType::F64, test) || !has_dtype(DType::BF16, test) {
        return;
    }
    let ema = |dtype, precision| -> EmaModel<Weights> {
        EmaConfig::new()
            .with_precision(precision)
            .init(&weights(1.5, dtype))
    };
    let same = EmaPrecision::SameAsModel;
    // f64 into f32 would lose digits.
    let error = ema(DType::F32, same)
        .try_load_record(ema(DType::F64, same).into_record())
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("`w` is F64 in the record and F32 in the EMA"),
        "{text}"
    );
    assert!(text.contains("cast_to_module_dtype"), "{text}");
    let cast = ema(DType::F64, same).into_record().cast_to_module_dtype();
    let loaded = ema(DType::F32, same).try_load_record(cast).unwrap();
    assert_eq!(loaded.model().w.val().dtype(), DType::F32);
    // Half precision into f32 does not, and moves from then on.
    let half = ema(DType::BF16, same).into_record();
    let mut loaded = ema(DType::F32, same).try_load_record(half).unwrap();
    assert_eq!(loaded.full_precision_model().w.val().dtype(), DType::F32);
    loaded.update(&weights(2.5, DType::F32)).unwrap();
    assert_close(&loaded.model().w.val(), &[f64::from(1.5_f32 + 0.001_f32)]);
}

/// A record of an EMA with other numbers in its progress.
fn with_progress(progress: Tensor<1, Int>) -> ModuleRecord {
    #[derive(Module, Debug)]
    struct Forged {
        ema_weights: Weights,
        ema_progress: Param<Tensor<1, Int>>,
        ema_trained: Param<Tensor<1, Int>>,
    }
    let int = |tensor| Param::initialized(burn::module::ParamId::new(), tensor);
    Forged {
        ema_weights: weights(2.0, DType::F32),
        ema_progress: int(progress),
        ema_trained: int(integers(&[1], DType::I32, &device())),
    }
    .into_record()
}

fn load(record: ModuleRecord) -> Result<EmaModel<Weights>, String> {
    let ema = EmaConfig::new().init(&weights(0.0, DType::F32));
    ema.try_load_record(record)
        .map_err(|error| error.to_string())
}

#[test]
fn progress_of_a_record_is_checked() {
    let progress = |numbers: &[i64]| with_progress(integers(numbers, DType::I32, &device()));
    let loaded = load(progress(&[1, 5, 0, 3, 0, 2, 0, 0, 0, 0])).unwrap();
    assert_eq!(
        (
            loaded.num_steps(),
            loaded.num_updates(),
            loaded.num_skipped()
        ),
        (5, 3, 2)
    );
    for (numbers, expected) in [
        (
            &[1, 1, 0, 1000, 0, 7, 0, 0, 0, 0][..],
            "1 steps, 1000 updates and 7 skipped steps",
        ),
        (
            &[2, 5, 0, 3, 0, 2, 0, 0, 0, 0],
            "has format 2, and this version of burn-ema reads format 1",
        ),
        (&[2, 5, 0, 3, 0, 2, 0, 0, 0, 0, 9, 9], "reads format 1"),
        (
            &[1, -5, 0, 3, 0, 2, 0, 0, 0, 0],
            "`ema_progress` of the record has format",
        ),
    ] {
        let error = load(progress(numbers)).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

/// A damaged or foreign file may hold integers where there are floats, or floats where there are integers.
#[test]
fn entries_of_another_kind_are_errors() {
    #[derive(Module, Debug)]
    struct Forged {
        ema_weights: Inner,
        ema_progress: Param<Tensor<1, Int>>,
        ema_trained: Param<Tensor<1, Int>>,
    }
    #[derive(Module, Debug)]
    struct Inner {
        w: Param<Tensor<1, Int>>,
    }
    let int = |numbers: &[i64]| {
        let tensor = integers(numbers, DType::I32, &device());
        Param::initialized(burn::module::ParamId::new(), tensor)
    };
    let record = Forged {
        ema_weights: Inner { w: int(&[2]) },
        ema_progress: int(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ema_trained: int(&[1]),
    };
    let error = load(record.into_record()).unwrap_err();
    assert!(error.contains("Expected float dtype"), "{error}");
}

#[test]
fn record_of_a_group_has_the_progress_and_comes_back() {
    let model = vec![weights(1.0, DType::F32), weights(2.0, DType::F32)];
    // One tensor, progress, and what was trained; and what rounding has lost of the tensor, if that is kept.
    for (precision, tensors) in [
        (EmaPrecision::AtLeastF32, 3),
        (EmaPrecision::Compensated, 4),
    ] {
        let config = EmaConfig::new()
            .with_decay(Decay::weight(0.5))
            .with_precision(precision);
        let mut ema = config.init(&model);
        ema.update(&vec![weights(3.0, DType::F32), weights(4.0, DType::F32)])
            .unwrap();
        // By path and by the id of the model's parameter.
        for group in [
            ParamGroup::from_path("0.w"),
            ParamGroup::from_ids(vec![model[0].w.id]),
        ] {
            let record = ema.clone().into_record_group(group);
            assert_eq!(record.len(), tensors);
            let fresh = config.init(&vec![weights(9.0, DType::F32), weights(9.0, DType::F32)]);
            let loaded = fresh.try_load_record(record.allow_partial(true)).unwrap();
            assert_eq!(loaded.num_updates(), 1);
            assert_eq!(numbers_at(loaded.model(), "0.w"), [2.0]);
            assert_eq!(numbers_at(loaded.model(), "1.w"), [9.0]);
        }
    }
}

/// The record of a module that has weights of its own beside the EMA.
#[test]
fn ema_is_found_wherever_it_is_and_not_mistaken_for_online_weights() {
    let config = EmaConfig::new().with_decay(Decay::weight(0.5));
    let mut ema = config.init(&weights(0.0, DType::F32));
    ema.update(&weights(4.0, DType::F32)).unwrap();
    let record = (weights(4.0, DType::F32), ema).into_record();
    assert_eq!(Content::of(&record).emas(), ["1"]);
    for missing in [MissingEma::Error, MissingEma::StartFromWeights] {
        let config = config.clone().with_missing_ema(missing);
        for unused in [false, true] {
            let record = record.clone().allow_unused(unused);
            let fresh = config.init(&weights(9.0, DType::F32));
            let loaded = fresh.try_load_record(record).unwrap();
            assert_close(&loaded.model().w.val(), &[2.0]);
            assert_eq!(loaded.num_updates(), 1);
        }
    }
}

#[test]
fn one_of_several_emas_must_be_named() {
    let set = EmaSetConfig::new()
        .with("fast", EmaConfig::new())
        .with("slow", EmaConfig::new())
        .init(&weights(1.0, DType::F32));
    let error = load(set.into_record()).unwrap_err();
    assert!(error.contains("several EMAs (`fast`, `slow`)"), "{error}");
}

#[test]
fn set_gains_and_loses_an_ema_on_load_by_choice() {
    let halving = || EmaConfig::new().with_decay(Decay::weight(0.5));
    let fast = EmaSetConfig::new().with("fast", halving());
    let mut saved = fast.init(&weights(0.0, DType::F32));
    saved.update(&weights(4.0, DType::F32)).unwrap();
    let record = saved.into_record();
    // It gains one.
    let both = |missing| {
        fast.clone()
            .with("slow", halving().with_missing_ema(missing))
            .init(&weights(7.0, DType::F32))
    };
    let error = both(MissingEma::Error).try_load_record(record.clone());
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("no EMA called `slow`, its EMAs are `fast`"),
        "{text}"
    );
    let grown = both(MissingEma::StartFromWeights);
    let grown = grown.try_load_record(record).unwrap();
    let number = |name: &str| numbers_at(grown.ema(name).unwrap().model(), "w")[0];
    assert_eq!(["fast", "slow"].map(number), [2.0, 7.0]);
    let updates = ["fast", "slow"].map(|name| grown.ema(name).unwrap().num_updates());
    assert_eq!(updates, [1, 0]);
    // It loses one.
    let record = grown.into_record();
    let error = fast
        .init(&weights(0.0, DType::F32))
        .try_load_record(record.clone())
        .unwrap_err();
    assert!(
        error.to_string().contains("also has the EMAs `slow`"),
        "{error}"
    );
    let smaller = fast
        .init(&weights(0.0, DType::F32))
        .try_load_record(record.allow_unused(true))
        .unwrap();
    assert_eq!(smaller.ema("fast").unwrap().num_updates(), 1);
}
