//! Running statistics computed again from data, and what updates do to them otherwise.

use std::iter;

use burn::module::{Module, Param, RunningState};
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::store::ModuleRecord;
use burn::tensor::{DType, Tensor, TensorData};
use burn_ema::batch_norm::reestimate;
use burn_ema::policy::{Action, BufferAction};
use burn_ema::{Decay, EmaConfig, EmaError, EmaModel, Policy};
use burn_ema_tests::backend::{autodiff_device, device, has_dtype, multiplies_in_tf32};
use burn_ema_tests::compare::{assert_near, numbers};
use burn_ema_tests::models::Mixed;
use burn_ema_tests::snapshot::{
    Value, assert_same, assert_same_values, numbers_at, values, with_numbers,
};

/// Two layers with running statistics, the second on what the first makes of its input.
#[derive(Module, Debug)]
struct Deep {
    first: Linear,
    dropout: Dropout,
    norm: BatchNorm,
    second: Linear,
    last: BatchNorm,
}

impl Deep {
    /// Weights made of a few fixed numbers.
    fn new(momentum: f64, dropout: f64) -> Self {
        let device = autodiff_device();
        let norm = |features| {
            let config = BatchNormConfig::new(features).with_momentum(momentum);
            config.init(&device)
        };
        let deep = Self {
            first: LinearConfig::new(2, 3).init(&device),
            dropout: DropoutConfig::new(dropout).init(),
            norm: norm(3),
            second: LinearConfig::new(3, 2).init(&device),
            last: norm(2),
        };
        let numbers: [(&str, &[f32]); 6] = [
            ("first.weight", &[0.5, -1.0, 0.75, 0.25, 1.5, -0.5]),
            ("first.bias", &[0.125, -0.25, 2.0]),
            ("norm.gamma", &[1.5, 0.5, -1.0]),
            ("norm.beta", &[0.25, -0.5, 0.0]),
            ("second.weight", &[1.0, -0.5, 0.5, 2.0, -1.5, 0.25]),
            ("second.bias", &[0.5, -1.0]),
        ];
        numbers.into_iter().fold(deep, |deep, (path, numbers)| {
            with_numbers(deep, path, numbers)
        })
    }

    fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let hidden = self.dropout.forward(self.first.forward(input));
        let hidden = self.norm.forward(hidden).tanh();
        self.last.forward(self.second.forward(hidden))
    }

    /// Statistics that are neither the initial ones nor those of the examples.
    fn with_statistics(self) -> Self {
        let deep = with_numbers(self, "norm.running_mean", &[0.5, -0.25, 100.0]);
        let deep = with_numbers(deep, "norm.running_var", &[2.0, 0.5, 1e4]);
        let deep = with_numbers(deep, "last.running_mean", &[-3.0, 7.0]);
        with_numbers(deep, "last.running_var", &[0.25, 8.0])
    }
}

/// Mean and variance that `layer` has, of all its features.
fn statistics(deep: &Deep, layer: &str) -> Vec<f64> {
    let of = |name: &str| numbers_at(deep, &format!("{layer}.{name}"));
    [of("running_mean"), of("running_var")].concat()
}

/// Examples in batches of different sizes, means and spreads.
fn examples() -> Vec<Vec<Vec<f64>>> {
    let x = |batch: usize, i: usize| {
        let wave = ((i + 5 * batch) as f32 * 1.3).sin();
        f64::from((batch + 1) as f32 * wave + 0.5 * batch as f32)
    };
    let batch = |(batch, size): (usize, usize)| -> Vec<Vec<f64>> {
        let rows = (0..size).map(|row| vec![x(batch, 2 * row), x(batch, 2 * row + 1)]);
        rows.collect()
    };
    [4, 2, 7].into_iter().enumerate().map(batch).collect()
}

/// The same as tensors.
fn batches() -> Vec<Tensor<2>> {
    let tensor = |rows: Vec<Vec<f64>>| -> Tensor<2> {
        let data = TensorData::new(rows.concat(), [rows.len(), 2]);
        Tensor::from_data(data, (&autodiff_device(), DType::F32))
    };
    examples().into_iter().map(tensor).collect()
}

fn run(deep: &Deep, batch: &Tensor<2>) {
    deep.forward(batch.clone());
}

fn estimated(deep: &Deep) -> Deep {
    reestimate(deep, batches(), run).unwrap().model
}

fn linear(deep: &Deep, name: &str, rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let weight = numbers_at(deep, &format!("{name}.weight"));
    let bias = numbers_at(deep, &format!("{name}.bias"));
    let output = |row: &Vec<f64>| -> Vec<f64> {
        let column = |j: usize| {
            let terms = row.iter().enumerate();
            let terms = terms.map(|(i, x)| x * weight[i * bias.len() + j]);
            bias[j] + terms.sum::<f64>()
        };
        (0..bias.len()).map(column).collect()
    };
    rows.iter().map(output).collect()
}

/// Mean and biased variance of each column.
fn moments(rows: &[Vec<f64>]) -> [Vec<f64>; 2] {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let moments = (0..rows[0].len()).map(|column| {
        let values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
        let center = mean(&values);
        let squares: Vec<f64> = values.iter().map(|x| (x - center).powi(2)).collect();
        (center, mean(&squares))
    });
    let (means, variances): (Vec<f64>, Vec<f64>) = moments.unzip();
    [means, variances]
}

/// What `norm` and tanh make of `rows`, with the given mean and variance.
fn activated(deep: &Deep, rows: &[Vec<f64>], moments: &[Vec<f64>; 2]) -> Vec<Vec<f64>> {
    let [mean, variance] = moments;
    let [gamma, beta] = ["norm.gamma", "norm.beta"].map(|path| numbers_at(deep, path));
    let value = |(j, x): (usize, &f64)| {
        let normal = (x - mean[j]) / (variance[j] + 1e-5).sqrt();
        (gamma[j] * normal + beta[j]).tanh()
    };
    let output = |row: &Vec<f64>| -> Vec<f64> { row.iter().enumerate().map(value).collect() };
    rows.iter().map(output).collect()
}

/// The statistics that `norm` and `last` are to have, in f64: the mean over the batches of mean and variance.
/// `norm` runs with those of the batch, or with the given ones if it is frozen.
fn expected(deep: &Deep, frozen: Option<&[Vec<f64>; 2]>) -> [Vec<f64>; 2] {
    let of_batch = |rows: &Vec<Vec<f64>>| {
        let hidden = linear(deep, "first", rows);
        let first = moments(&hidden);
        let hidden = activated(deep, &hidden, frozen.unwrap_or(&first));
        let last = moments(&linear(deep, "second", &hidden));
        (first.concat(), last.concat())
    };
    let (first, last): (Vec<_>, Vec<_>) = examples().iter().map(of_batch).unzip();
    [first, last].map(|batches| {
        let [means, _] = moments(&batches);
        means
    })
}

/// How near the network on the device comes to the one in f64: where Burn multiplies matrices in TF32, whose significands
/// have 11 bits, it was 2.5e-4 off.
fn tolerance() -> f64 {
    if multiplies_in_tf32() { 1e-3 } else { 1e-5 }
}

/// That both layers of `deep` have the statistics of the examples.
#[track_caller]
fn assert_estimated(deep: &Deep) {
    let [first, last] = expected(deep, None);
    assert_near(&statistics(deep, "norm"), &first, tolerance());
    assert_near(&statistics(deep, "last"), &last, tolerance());
}

#[test]
fn statistics_are_the_mean_over_batches_of_any_size() {
    assert_estimated(&estimated(&Deep::new(0.1, 0.0)));
}

#[test]
fn two_batches_give_the_numbers_worked_out_by_hand() {
    let device = autodiff_device();
    let norm = BatchNormConfig::new(1).init(&device);
    // Means 22 and 4, biased variances 4 and 6.
    let batches = [
        Tensor::<2>::from_data([[20.0], [24.0]], &device),
        Tensor::<2>::from_data([[1.0], [4.0], [7.0]], &device),
    ];
    let norm = reestimate(&norm, batches, |norm, batch| {
        norm.forward(batch.clone());
    });
    let norm = norm.unwrap();
    assert_eq!(norm.layers, 1);
    let norm = norm.model;
    assert_near(&numbers_at(&norm, "running_mean"), &[13.0], 1e-6);
    assert_near(&numbers_at(&norm, "running_var"), &[5.0], 1e-6);
}

#[test]
fn momentum_of_a_layer_makes_no_difference() {
    for momentum in [0.1, 0.01, 0.003, 1.0, 1.0 / 3.0] {
        let deep = estimated(&Deep::new(momentum, 0.0));
        assert_estimated(&deep);
        assert_eq!(deep.norm.momentum, momentum);
    }
}

#[test]
fn earlier_statistics_make_no_difference() {
    for momentum in [0.1, 0.003, 1.0] {
        assert_estimated(&estimated(&Deep::new(momentum, 0.0).with_statistics()));
    }
}

#[test]
fn dropout_is_off_meanwhile() {
    assert_estimated(&estimated(&Deep::new(0.1, 0.5)));
}

#[test]
fn model_that_was_passed_in_is_as_before() {
    let deep = Deep::new(0.1, 0.5).with_statistics();
    let before = values(&deep);
    let result = estimated(&deep);
    assert_eq!(values(&deep), before);
    assert!(deep.norm.training.is_enabled() && deep.dropout.training.is_enabled());
    assert_eq!(deep.norm.momentum, 0.1);

    // It trains on, and the other one does not notice.
    let (own, others) = (statistics(&deep, "norm"), values(&result));
    run(&deep, &batches()[0]);
    assert_ne!(statistics(&deep.valid(), "norm"), own);
    assert_eq!(values(&result.valid()), others);
}

#[test]
fn statistics_that_are_pending_in_the_model_are_not_lost() {
    let norm = BatchNormConfig::new(1).init(&autodiff_device());
    let batch = Tensor::<2>::from_data([[20.0], [24.0]], &autodiff_device());
    norm.forward(batch.clone());
    let result = reestimate(&norm, [batch], |norm, batch| {
        norm.forward(batch.clone());
    });
    assert_near(
        &numbers_at(&result.unwrap().model, "running_mean"),
        &[22.0],
        1e-6,
    );
    // 0.1 * 22 and 0.9 + 0.1 * 4.
    assert_near(&numbers(&norm.running_mean.value_sync()), &[2.2], 1e-6);
    assert_near(&numbers(&norm.running_var.value_sync()), &[1.3], 1e-6);
}

#[test]
fn result_is_in_validation_state_and_trains_on_as_before() {
    let mut deep = Deep::new(0.1, 0.5);
    deep.second = deep.second.freeze();
    let result = estimated(&deep);
    for value in values(&result) {
        assert!(!value.is_autodiff && !value.requires_grad, "{value:?}");
    }
    assert!(!result.norm.training.is_enabled() && !result.dropout.training.is_enabled());

    let requires = |deep: &Deep| -> Vec<bool> {
        let values = values(deep).into_iter();
        values.map(|value| value.requires_grad).collect()
    };
    let trained = result.train();
    assert!(trained.norm.training.is_enabled() && trained.dropout.training.is_enabled());
    assert_eq!(requires(&trained), requires(&deep));
}

#[test]
fn frozen_layer_keeps_its_statistics_and_runs_with_them() {
    let mut deep = Deep::new(0.1, 0.0).with_statistics();
    deep.norm = deep.norm.freeze();
    let own = [vec![0.5, -0.25, 100.0], vec![2.0, 0.5, 1e4]];

    let result = estimated(&deep);
    assert_eq!(statistics(&result, "norm"), own.concat());
    let [_, last] = expected(&deep, Some(&own));
    assert_near(&statistics(&result, "last"), &last, tolerance());
    assert!(!result.train().norm.training.is_enabled());
}

#[test]
fn model_whose_layers_are_all_frozen_has_nothing_to_estimate() {
    let deep = Deep::new(0.1, 0.0).with_statistics().freeze();
    let error = reestimate(&deep, batches(), run).unwrap_err();
    assert_eq!(error, EmaError::NothingToReestimate);
}

#[test]
fn layer_that_no_forward_pass_reaches_keeps_its_statistics() {
    let deep = Deep::new(0.1, 0.0).with_statistics();
    let half = |deep: &Deep, batch: &Tensor<2>| {
        deep.norm.forward(deep.first.forward(batch.clone()));
    };
    let result = reestimate(&deep, batches(), half).unwrap();
    assert_eq!(result.layers, 1);
    let result = result.model;
    let [first, _] = expected(&deep, None);
    assert_near(&statistics(&result, "norm"), &first, tolerance());
    assert_eq!(statistics(&result, "last"), statistics(&deep, "last"));
}

#[test]
fn layer_without_momentum_keeps_its_statistics() {
    let mut deep = Deep::new(0.1, 0.0).with_statistics();
    deep.norm.momentum = 0.0;
    let result = estimated(&deep);
    assert_eq!(statistics(&result, "norm"), statistics(&deep, "norm"));
    // It normalizes with the batch's all the same.
    let [_, last] = expected(&deep, None);
    assert_near(&statistics(&result, "last"), &last, tolerance());
}

fn halving<M: Module>(model: &M, policy: Policy) -> EmaModel<M> {
    EmaConfig::new()
        .with_decay(Decay::weight(0.5))
        .with_policy(policy)
        .init(model)
}

/// An average of two models with other weights, neither of which has the statistics of the examples.
fn average(policy: Policy) -> EmaModel<Deep> {
    let deep = Deep::new(0.1, 0.0).with_statistics();
    let mut ema = halving(&deep, policy);
    let weight = [2.0, 0.5, -1.0, 1.0, 0.25, 1.75];
    ema.update(&with_numbers(deep, "first.weight", &weight))
        .unwrap();
    ema
}

#[track_caller]
fn assert_unchanged_by_error<M: Module>(
    ema: &mut EmaModel<M>,
    reestimate: impl FnOnce(&mut EmaModel<M>) -> Result<usize, EmaError>,
) -> EmaError {
    let before = (values(ema), values(ema.model()));
    let error = reestimate(ema).unwrap_err();
    assert_same(&values(ema), &before.0);
    assert_same(&values(ema.model()), &before.1);
    error
}

#[test]
fn no_batches_are_an_error_and_nothing_changes() {
    let nothing = Vec::<Tensor<2>>::new;
    let error = reestimate(&Deep::new(0.1, 0.0), nothing(), run).unwrap_err();
    assert!(matches!(error, EmaError::NoBatches));

    let mut ema = average(Policy::new());
    let error = assert_unchanged_by_error(&mut ema, |ema| ema.reestimate(nothing(), run));
    assert!(matches!(error, EmaError::NoBatches));
}

#[test]
fn forward_pass_that_moves_nothing_is_an_error_and_nothing_changes() {
    let mut ema = average(Policy::new());
    let error = assert_unchanged_by_error(&mut ema, |ema| ema.reestimate(batches(), |_, _| ()));
    assert!(
        matches!(&error, EmaError::StatisticsUnmoved { path } if path == "norm.running_mean"),
        "{error}"
    );
    assert!(error.to_string().contains("`norm.running_mean`"), "{error}");
}

#[test]
fn batches_without_autodiff_are_an_error_and_nothing_changes() {
    let norm = BatchNormConfig::new(1).init(&autodiff_device());
    let mut ema = halving(&norm, Policy::new());
    let batch = Tensor::<2>::from_data([[20.0], [24.0]], &device());
    let error = assert_unchanged_by_error(&mut ema, |ema| {
        ema.reestimate([batch], |norm, batch| {
            norm.forward(batch.clone());
        })
    });
    assert!(
        matches!(&error, EmaError::StatisticsUnmoved { path } if path == "running_mean"),
        "{error}"
    );
    assert!(error.to_string().contains("device.autodiff()"), "{error}");
}

/// `Mixed` has running state, but not that of a BatchNorm.
#[test]
fn model_without_batch_norm_has_nothing_to_estimate() {
    let batches = || iter::from_fn(|| -> Option<()> { panic!("looked at the batches") });
    let model = Mixed::at(Some(3), &autodiff_device());
    let error = reestimate(&model, batches(), |_, _| panic!("ran the model")).unwrap_err();
    assert_eq!(error, EmaError::NothingToReestimate);

    let mut ema = halving(&model, Policy::new());
    let error = assert_unchanged_by_error(&mut ema, |ema| {
        ema.reestimate(batches(), |_, _| panic!("ran the model"))
    });
    assert_eq!(error, EmaError::NothingToReestimate);
    assert_same_values(ema.model(), &model.valid());
}

#[test]
fn ema_gets_the_statistics_of_its_own_weights_and_keeps_the_rest() {
    let others = |ema: &EmaModel<Deep>| -> Vec<Value> {
        let values = values(ema).into_iter();
        values
            .filter(|value| !value.path.contains("running_"))
            .collect()
    };
    let mut ema = average(Policy::new());
    let before = others(&ema);
    ema.reestimate(batches(), run).unwrap();
    assert_estimated(ema.model());
    assert_estimated(&ema.full_precision_model());
    // The counters are among these.
    assert_same(&others(&ema), &before);
    assert_eq!((ema.num_steps(), ema.num_updates()), (1, 1));
}

#[test]
fn model_that_was_handed_out_before_keeps_its_statistics() {
    let mut ema = average(Policy::new());
    let kept = ema.model().clone();
    let before = values(&kept);
    ema.reestimate(batches(), run).unwrap();
    assert_same(&values(&kept), &before);
}

#[test]
fn next_update_copies_the_statistics_of_the_model_again_where_the_policy_copies() {
    for buffers in [BufferAction::Copy, BufferAction::Reestimate] {
        let policy = Policy::new().with_buffers(buffers);
        let mut ema = average(policy);
        ema.reestimate(batches(), run).unwrap();
        let source = Deep::new(0.1, 0.0).with_statistics();
        ema.update(&source).unwrap();
        for layer in ["norm", "last"] {
            assert_eq!(statistics(ema.model(), layer), statistics(&source, layer));
        }
    }
}

#[test]
fn next_update_averages_from_the_estimated_statistics_by_default() {
    let mut ema = average(Policy::new());
    ema.reestimate(batches(), run).unwrap();
    let source = Deep::new(0.1, 0.0).with_statistics();
    let halfway = |layer| -> Vec<f64> {
        let estimated = statistics(ema.model(), layer).into_iter();
        let both = estimated.zip(statistics(&source, layer));
        both.map(|(ema, source)| (ema + source) / 2.0).collect()
    };
    let expected = ["norm", "last"].map(halfway);
    ema.update(&source).unwrap();
    for (layer, expected) in ["norm", "last"].into_iter().zip(expected) {
        assert_near(&statistics(ema.model(), layer), &expected, 1e-6);
    }
}

#[test]
fn estimated_statistics_are_in_the_record() {
    let mut ema = average(Policy::new());
    ema.reestimate(batches(), run).unwrap();
    let bytes = ema.clone().into_record().into_bytes().unwrap();
    let record = ModuleRecord::from_bytes(bytes).unwrap();
    let fresh = halving(&Deep::new(0.1, 0.0), Policy::new());
    let loaded = fresh.load_record(record);
    assert_same_values(&loaded, &ema);
    assert_estimated(loaded.model());
}

/// The average of [`Mixed`] after one update from its initial state to iteration 3: the frozen `f` from
/// `[10, -10]` to `[13, -16]`, the buffer `b` from `[2, 3]` to `[5, 1.5]`.
fn updated(policy: Policy) -> [Vec<f64>; 2] {
    let mut ema = halving(&Mixed::at(None, &device()), policy);
    ema.update(&Mixed::at(Some(3), &device())).unwrap();
    ["f", "b"].map(|path| numbers_at(ema.model(), path))
}

#[test]
fn buffers_are_averaged_while_frozen_parameters_are_copied() {
    for policy in [
        Policy::new(),
        Policy::new().with_buffers(BufferAction::Average),
    ] {
        assert_eq!(updated(policy), [[13.0, -16.0], [3.5, 2.25]]);
    }
}

#[test]
fn frozen_parameters_can_be_averaged_while_buffers_are_copied() {
    let policy = Policy::new()
        .with_buffers(BufferAction::Copy)
        .with_frozen(Action::Average);
    assert_eq!(updated(policy), [[11.5, -13.0], [5.0, 1.5]]);
}

#[test]
fn buffers_can_be_ignored_while_frozen_parameters_are_copied() {
    let policy = Policy::new().with_buffers(BufferAction::Ignore);
    assert_eq!(updated(policy), [[13.0, -16.0], [2.0, 3.0]]);
}

#[test]
fn buffers_to_be_estimated_are_copied_until_then() {
    let policy = Policy::new().with_buffers(BufferAction::Reestimate);
    assert!(policy.reestimates() && !Policy::new().reestimates());
    assert_eq!(updated(policy), [[13.0, -16.0], [5.0, 1.5]]);
}

/// Two layers, of which a batch takes one or both.
#[derive(Module, Debug)]
struct Routed {
    left: BatchNorm,
    right: BatchNorm,
}

/// A batch of one feature, and whether it goes to the left and to the right.
struct Route(Tensor<2>, bool, bool);

#[test]
fn layer_gets_the_mean_over_the_batches_that_reach_it() {
    let device = autodiff_device();
    let norm = || BatchNormConfig::new(1).init(&device);
    let routed = Routed {
        left: norm(),
        right: norm(),
    };
    let batch =
        |a: f32, b: f32, left, right| Route(Tensor::from_data([[a], [b]], &device), left, right);
    // The first batch misses the right one, the second misses both.
    let batches = [
        batch(1.0, 3.0, true, false),
        batch(50.0, 90.0, false, false),
        batch(5.0, 9.0, true, true),
        batch(0.0, 2.0, false, true),
    ];
    let routed = reestimate(&routed, batches, |routed, Route(batch, left, right)| {
        for (norm, is_taken) in [(&routed.left, left), (&routed.right, right)] {
            if *is_taken {
                norm.forward(batch.clone());
            }
        }
    })
    .unwrap();
    assert_eq!(routed.layers, 2);
    let routed = routed.model;
    // Means 2, 7 and 1; variances 1, 4 and 1.
    let statistics = |name: &str| {
        let of = |statistic: &str| numbers_at(&routed, &format!("{name}.{statistic}"))[0];
        [of("running_mean"), of("running_var")]
    };
    assert_near(&statistics("left"), &[4.5, 2.5], 1e-6);
    assert_near(&statistics("right"), &[4.0, 2.5], 1e-6);
}

/// Zero is a mean like any other, also where every batch has it.
#[test]
fn batches_of_zeros_have_statistics_of_zero() {
    let device = autodiff_device();
    let norm = BatchNormConfig::new(2).init(&device);
    let batches = [
        Tensor::<2>::zeros([3, 2], &device),
        Tensor::ones([3, 2], &device),
    ];
    let norm = reestimate(&norm, batches, |norm, batch| {
        norm.forward(batch.clone());
    })
    .unwrap()
    .model;
    assert_near(&numbers(&norm.running_mean.value()), &[0.5; 2], 1e-6);
    assert_eq!(numbers(&norm.running_var.value()), [0.0; 2]);
}

#[test]
fn model_on_a_device_with_gradient_checkpointing_is_estimated_there() {
    let device = autodiff_device().gradient_checkpointing();
    let norm = BatchNormConfig::new(1).init(&device);
    let mut ema = halving(&norm, Policy::new());
    let batches = || [Tensor::<2>::from_data([[1.0], [3.0]], &device)];
    let run = |norm: &BatchNorm, batch: &Tensor<2>| {
        norm.forward(batch.clone());
    };
    let estimated = reestimate(&norm, batches(), run).unwrap().model;
    ema.reestimate(batches(), run).unwrap();
    for norm in [&estimated, ema.model()] {
        assert_near(&numbers(&norm.running_mean.value()), &[2.0], 1e-6);
    }
}

/// The average of a half-precision model is kept in f32, and so are its statistics.
#[test]
fn statistics_of_a_half_precision_model_are_not_rounded_to_it() {
    if !has_dtype(
        DType::BF16,
        "statistics_of_a_half_precision_model_are_not_rounded_to_it",
    ) {
        return;
    }
    let device = autodiff_device();
    let half = |x: f32| Tensor::<1>::from_data([x], (&device, DType::BF16));
    let mut norm = BatchNormConfig::new(1).init(&device);
    norm.gamma = Param::from_tensor(half(1.0));
    norm.beta = Param::from_tensor(half(0.0));
    norm.running_mean = RunningState::new(half(0.0));
    norm.running_var = RunningState::new(half(1.0));
    let mut ema = halving(&norm, Policy::new());
    // Means 1 and 2 and 2: 5/3 has no end in binary.
    let batches = [[[0.0], [2.0]], [[1.0], [3.0]], [[0.0], [4.0]]];
    let batches = batches.map(|batch| Tensor::<2>::from_data(batch, (&device, DType::BF16)));
    ema.reestimate(batches, |norm, batch| {
        norm.forward(batch.clone());
    })
    .unwrap();
    let kept = ema.full_precision_model().running_mean.value();
    assert_eq!(kept.dtype(), DType::F32);
    let error = (numbers(&kept)[0] - 5.0 / 3.0).abs();
    // The momentum of 0.1 is rounded to 8 bits; a mean that was rounded itself would be a multiple of 1/128.
    assert!(error < 1.0 / 128.0, "{error}");
    assert_ne!(numbers(&kept)[0] * 128.0 % 1.0, 0.0);
}
