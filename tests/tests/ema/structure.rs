//! What a model may be made of, and what happens when it is made of something else later.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::{Module, Param, ParamId};
use burn::nn::{Linear, LinearConfig, LinearLayout};
use burn::tensor::{DType, Device, Tensor};
use burn_ema::config::MissingEma;
use burn_ema::exchange::Stored;
use burn_ema::{Decay, EmaConfig, EmaError, EmaModel};
use burn_ema_tests::backend::{autodiff_device, device, has_dtype};
use burn_ema_tests::compare::{assert_close, assert_near, numbers};
use burn_ema_tests::models::{Mixed, Weights};
use burn_ema_tests::snapshot::{assert_same, assert_same_values, numbers_at, values, with_numbers};

fn halving<M: Module>(model: &M) -> EmaModel<M> {
    EmaConfig::new().with_decay(Decay::weight(0.5)).init(model)
}

fn param(numbers: &[f32]) -> Param<Tensor<1>> {
    Weights::new(numbers, &device()).w
}

#[derive(Module, Debug)]
enum Choice {
    Plain(Weights),
    Pair((Weights, Weights)),
    Nothing(usize),
}

#[derive(Module, Debug)]
struct Containers<M> {
    list: Vec<Weights>,
    some: Option<Weights>,
    none: Option<Weights>,
    pair: (Param<Tensor<1>>, Weights),
    array: [Weights; 2],
    choice: Choice,
    generic: M,
    name: String,
    factor: f64,
}

fn containers(x: f32) -> Containers<Option<Vec<Weights>>> {
    let weights = |numbers: &[f32]| Weights::new(numbers, &device());
    Containers {
        list: vec![weights(&[x]), weights(&[2.0 * x, 3.0 * x])],
        some: Some(weights(&[4.0 * x])),
        none: None,
        pair: (param(&[5.0 * x]), weights(&[6.0 * x])),
        array: [weights(&[7.0 * x]), weights(&[8.0 * x])],
        choice: Choice::Pair((weights(&[9.0 * x]), weights(&[10.0 * x]))),
        generic: Some(vec![weights(&[11.0 * x])]),
        name: format!("at {x}"),
        factor: f64::from(x),
    }
}

#[test]
fn values_in_every_kind_of_container_are_averaged() {
    let mut ema = halving(&containers(2.0));
    ema.update(&containers(4.0)).unwrap();
    let model = ema.model();
    let found: Vec<f64> = values(model)
        .iter()
        .flat_map(|value| numbers_at(model, &value.path))
        .collect();
    let expected: Vec<f64> = (1..=11).map(|i| 3.0 * f64::from(i)).collect();
    assert_near(&found, &expected, 1e-6);
    assert!(matches!(model.choice, Choice::Pair(..)));
    assert!(model.none.is_none());
}

#[test]
fn fields_that_are_no_parameters_stay_what_they_were() {
    let mut ema = halving(&containers(2.0));
    ema.update(&containers(4.0)).unwrap();
    assert_eq!(ema.model().name, "at 2");
    assert_eq!(ema.model().factor, 2.0);
}

#[test]
fn module_without_parameters_is_an_error() {
    let error = EmaConfig::new().try_init(&Choice::Nothing(0)).unwrap_err();
    assert_eq!(error, EmaError::EmptyModel);
    let message = error.to_string();
    for part in [
        "no parameters and no buffers",
        "create the layers of the model before its EMA",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn parameters_of_the_same_name_in_different_places_are_told_apart() {
    // In a list of twelve, `list.10` sorts before `list.2`, and is also its prefix's neighbour.
    let list = |x: f32| -> Vec<Weights> {
        (0..12)
            .map(|i| Weights::new(&[x * i as f32], &device()))
            .collect()
    };
    let mut ema = halving(&list(1.0));
    ema.update(&list(3.0)).unwrap();
    for (i, weights) in ema.model().iter().enumerate() {
        assert_close(&weights.w.val(), &[2.0 * i as f64]);
    }
}

/// A parameter that counts how often it is initialized, and where.
fn lazy(count: &Arc<AtomicUsize>, device: &Device) -> Weights {
    let count = count.clone();
    let init = move |device: &Device, require_grad: bool| {
        let value = count.fetch_add(1, Ordering::SeqCst) as f32 + 1.0;
        Tensor::full([2], value, device).set_require_grad(require_grad)
    };
    Weights {
        w: Param::uninitialized(ParamId::new(), init, device.clone(), true, [2].into()),
    }
}

#[test]
fn lazy_parameter_is_initialized_once_for_source_and_ema() {
    for device in [device(), autodiff_device()] {
        let count = Arc::new(AtomicUsize::new(0));
        let source = lazy(&count, &device);
        let mut ema = halving(&source);
        let clone = source.clone();
        ema.update(&clone).unwrap();

        assert_close(&ema.model().w.val(), &[1.0, 1.0]);
        assert_close(&source.w.val(), &[1.0, 1.0]);
        assert_close(&clone.w.val(), &[1.0, 1.0]);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn lazy_parameter_stays_a_leaf_on_its_own_device() {
    let device = autodiff_device();
    let source = lazy(&Arc::default(), &device);
    let ema = halving(&source);
    assert!(source.w.val().is_autodiff() && source.w.is_require_grad());
    assert!(!ema.model().w.val().is_autodiff());

    let gradients = (source.w.val() * 3.0).sum().backward();
    assert_close(&source.w.val().grad(&gradients).unwrap(), &[3.0, 3.0]);
}

#[test]
fn lazy_parameter_that_an_update_meets_first_is_initialized_once() {
    let count = Arc::new(AtomicUsize::new(0));
    let mut ema = halving(&Weights::new(&[3.0, 5.0], &device()));
    let source = lazy(&count, &device());
    ema.update(&source).unwrap();
    assert_close(&ema.model().w.val(), &[2.0, 3.0]);
    assert_close(&source.w.val(), &[1.0, 1.0]);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

fn column_major(shift: f32) -> Linear {
    let config = LinearConfig::new(2, 3).with_layout(LinearLayout::Col);
    let weight: Vec<f32> = (0..6).map(|i| i as f32 + shift).collect();
    let linear = with_numbers(config.init(&device()), "weight", &weight);
    with_numbers(linear, "bias", &[shift, 0.0, -shift])
}

fn output(linear: &Linear) -> Vec<f64> {
    numbers(&linear.forward(Tensor::<2>::from_data([[1.0, 10.0]], &device())))
}

#[test]
fn column_major_linear_computes_the_same() {
    let source = column_major(1.0);
    // Weight [[1, 2, 3], [4, 5, 6]], input [1, 10], bias [1, 0, -1].
    assert_eq!(output(&source), [42.0, 52.0, 62.0]);
    assert_eq!(output(halving(&source).model()), [42.0, 52.0, 62.0]);
}

/// A layer that nobody used yet: Burn loads a `Col` record into no other, unless it is square.
fn fresh_column_major() -> Linear {
    LinearConfig::new(2, 3)
        .with_layout(LinearLayout::Col)
        .init(&device())
}

#[test]
fn column_major_linear_keeps_its_layout_in_a_record_of_the_averaged_model() {
    let mut ema = halving(&column_major(1.0));
    ema.update(&column_major(3.0)).unwrap();
    let expected = output(&column_major(2.0));
    assert_eq!(output(ema.model()), expected);

    // The record of a `Col` layer is stored transposed, `[3, 2]`, so that no `Row` layer takes it.
    let record = ema.model().clone().into_record();
    assert_eq!(
        output(&fresh_column_major().load_record(record.clone())),
        expected
    );
    assert!(
        LinearConfig::new(2, 3)
            .init(&device())
            .try_load_record(record)
            .is_err()
    );
}

#[test]
fn ema_of_a_column_major_linear_resumes_from_its_record() {
    let mut ema = halving(&column_major(1.0));
    ema.update(&column_major(3.0)).unwrap();
    let resumed = halving(&fresh_column_major());
    let resumed = resumed.try_load_record(ema.clone().into_record()).unwrap();
    assert_eq!(output(resumed.model()), output(&column_major(2.0)));

    // The layout survives that, too.
    let record = resumed.model().clone().into_record();
    assert_eq!(
        output(&fresh_column_major().load_record(record)),
        output(&column_major(2.0))
    );
}

#[test]
fn ema_starts_from_a_record_without_ema_of_a_column_major_linear() {
    let config = EmaConfig::new().with_missing_ema(MissingEma::StartFromWeights);
    let ema = config.init(&fresh_column_major());
    let ema = ema
        .try_load_record(column_major(2.0).into_record())
        .unwrap();
    assert_eq!(output(ema.model()), output(&column_major(2.0)));
}

#[derive(Module, Debug)]
struct Model<H> {
    first: Weights,
    layers: Vec<Weights>,
    head: H,
}

fn model<H: Module>(x: f32, layers: usize, head: H) -> Model<H> {
    let layers = (0..layers).map(|i| Weights::new(&[x + i as f32], &device()));
    Model {
        first: Weights::new(&[x], &device()),
        layers: layers.collect(),
        head,
    }
}

/// `ema` refuses `source` with an error that names `path`, stays as it was, and works on.
#[track_caller]
fn assert_refused<M: Module>(mut ema: EmaModel<M>, good: &M, bad: &M, path: &str) -> EmaError {
    ema.update(good).unwrap();
    let handed_out = values(ema.model());
    let before = values(&ema);
    let error = ema.update(bad).unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("`{path}`")),
        "{error}"
    );
    assert!(ema.copy_from(bad).is_err());
    assert!(ema.relative_distance(bad).is_err());
    assert_same(&values(&ema), &before);
    assert_same(&values(ema.model()), &handed_out);
    assert_eq!((ema.num_steps(), ema.num_updates()), (1, 1));

    ema.update(good).unwrap();
    assert_eq!((ema.num_steps(), ema.num_updates()), (2, 2));
    error
}

#[test]
fn parameter_that_appears_is_an_error() {
    let (start, good) = (model(1.0, 2, None), model(2.0, 2, None));
    let bad = model(9.0, 2, Some(Weights::new(&[1.0], &device())));
    let error = assert_refused(halving(&start), &good, &bad, "head.w");
    assert!(matches!(error, EmaError::Unexpected { .. }));
}

#[test]
fn parameter_that_disappears_is_an_error() {
    let head = |x: f32| Some(Weights::new(&[x], &device()));
    let (start, good) = (model(1.0, 2, head(1.0)), model(2.0, 2, head(2.0)));
    let error = assert_refused(halving(&start), &good, &model(9.0, 2, None), "head.w");
    assert!(matches!(error, EmaError::Missing { .. }));
}

#[test]
fn list_that_grows_or_shrinks_is_an_error() {
    let at = |x: f32, layers: usize| model(x, layers, None::<Weights>);
    let refused = |layers: usize, path: &str| {
        assert_refused(halving(&at(1.0, 2)), &at(2.0, 2), &at(9.0, layers), path)
    };
    assert!(matches!(
        refused(3, "layers.2.w"),
        EmaError::Unexpected { .. }
    ));
    assert!(matches!(refused(1, "layers.1.w"), EmaError::Missing { .. }));
}

#[test]
fn parameter_of_another_shape_is_an_error() {
    let at = |x: f32, head: &[f32]| model(x, 1, param(head));
    let (start, good, bad) = (at(1.0, &[1.0; 3]), at(2.0, &[2.0; 3]), at(9.0, &[9.0; 4]));
    let error = assert_refused(halving(&start), &good, &bad, "head");
    assert!(
        error.to_string().contains("[4]") && error.to_string().contains("[3]"),
        "{error}"
    );
    assert!(matches!(error, EmaError::ShapeMismatch { .. }));
}

#[test]
fn single_element_is_not_broadcast_over_a_parameter() {
    let at = |x: f32, head: &[f32]| model(x, 1, param(head));
    let (start, good, bad) = (at(1.0, &[1.0; 3]), at(2.0, &[2.0; 3]), at(9.0, &[9.0]));
    let error = assert_refused(halving(&start), &good, &bad, "head");
    assert!(matches!(error, EmaError::ShapeMismatch { .. }));
}

#[test]
fn parameter_of_another_dtype_is_an_error() {
    if !has_dtype(DType::F16, "parameter_of_another_dtype_is_an_error") {
        return;
    }
    let at = |x: f32, dtype| model(x, 1, Weights::of_dtype(&[x], dtype, &device()));
    let (start, good) = (at(1.0, DType::F32), at(2.0, DType::F32));
    let error = assert_refused(halving(&start), &good, &at(9.0, DType::F16), "head.w");
    assert!(matches!(error, EmaError::DTypeMismatch { .. }));
}

#[test]
fn enum_that_turns_into_another_variant_is_an_error() {
    let weights = |x: f32| Weights::new(&[x], &device());
    let (start, good) = (Choice::Plain(weights(1.0)), Choice::Plain(weights(2.0)));
    let pair = Choice::Pair((weights(9.0), weights(9.0)));
    // `Pair.0.w` and `Pair.1.w` are new besides; what is missing is said first.
    for bad in [pair, Choice::Nothing(0)] {
        let error = assert_refused(halving(&start), &good, &bad, "Plain.w");
        assert!(matches!(error, EmaError::Missing { .. }));
    }
}

#[test]
fn buffers_are_found_by_path_when_a_reload_gives_them_new_ids() {
    let device = device();
    let source = Mixed::at(Some(1), &device);
    let mut ema = halving(&source);
    let target = Mixed::at(None, &device);
    let reloaded = target.load_record(Mixed::at(Some(3), &device).into_record());
    let id = |model: &Mixed| values(&model.b)[0].id;
    assert_ne!(id(&source), id(&reloaded), "otherwise this shows nothing");

    ema.update(&reloaded).unwrap();
    // `b` is [2 + t, 3 - t/2] and `a` is [1 + t/2, 2 - t/4]: halfway from t = 1 to t = 3.
    assert_close(&ema.model().b.value(), &[4.0, 2.0]);
    assert_close(&ema.model().a.val(), &[2.0, 1.5]);
}

#[test]
fn ema_starts_equal_to_any_source() {
    let source = containers(3.0);
    assert_same_values(halving(&source).model(), &source);
}

#[test]
fn column_major_linear_is_written_back_and_put_back() {
    let mut model = column_major(1.0);
    let mut ema = EmaConfig::new().with_decay(Decay::weight(0.5)).init(&model);
    let source = column_major(3.0);
    ema.update(&source).unwrap();
    let stored = Stored::of(&model);
    let before = values(&model);
    ema.write_back(&mut model, 0.0).unwrap();
    assert_same_values(&model, ema.model());
    assert_same_values(ema.training_model(), ema.model());
    let saved = |model: &Linear| model.weight.transform_for_save().base().dims();
    assert_eq!(saved(&model), saved(&source));
    stored.restore(&mut model).unwrap();
    assert_eq!(values(&model), before);
}
