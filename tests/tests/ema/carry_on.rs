//! Starting again, going on from elsewhere, and carrying an EMA over to another model.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn_ema::decay::{PowerWarmup, Progress};
use burn_ema::{Decay, EmaConfig, EmaError, EmaModel, Update};
use burn_ema_tests::backend::device;
use burn_ema_tests::compare::assert_close;
use burn_ema_tests::models::Weights;
use burn_ema_tests::snapshot::{assert_same_values, numbers_at};

fn weights(x: f32) -> Weights {
    Weights::new(&[x], &device())
}

#[test]
fn restart_forgets_weights_and_counters() {
    let mut ema = EmaConfig::new()
        .with_decay(Decay::equal_weights())
        .init(&weights(0.0));
    for x in [1.0, 3.0] {
        ema.update(&weights(x)).unwrap();
    }
    assert_close(&ema.model().w.val(), &[2.0]);
    ema.restart(&weights(5.0)).unwrap();
    assert_eq!((ema.num_steps(), ema.num_updates()), (0, 0));
    // The mean of what comes after, and not of all.
    for (x, mean) in [(6.0, 6.0), (8.0, 7.0)] {
        ema.update(&weights(x)).unwrap();
        assert_close(&ema.model().w.val(), &[mean]);
    }
}

/// timm's warm-up `1 - (1 + n)^-0.75` after 1,000 updates, towards 10: `10 - 10 * 1001^-0.75 * ..` in one step.
#[test]
fn resuming_from_elsewhere_goes_on_at_its_place_of_the_schedule() {
    let config = EmaConfig::new().with_decay(PowerWarmup::new(0.75).into());
    let mut ema = config.init(&weights(0.0));
    let progress = Progress {
        updates: 1_000,
        interval: 1,
    };
    ema.resume_from(&weights(4.0), progress).unwrap();
    assert_eq!((ema.num_steps(), ema.num_updates()), (1_000, 1_000));
    ema.update(&weights(10.0)).unwrap();
    let weight = 1001.0_f64.powf(-0.75);
    let expected = 4.0 + 6.0 * weight;
    let found = numbers_at(ema.model(), "w")[0];
    assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
}

/// With an import that counts from 0 this EMA would become a copy at its first update.
#[test]
fn resuming_counts_the_start_and_wants_the_same_interval() {
    let config = EmaConfig::new().with_start(7).with_interval(5);
    let mut ema = config.init(&weights(0.0));
    let progress = |interval| Progress {
        updates: 3,
        interval,
    };
    let error = ema.resume_from(&weights(1.0), progress(1)).unwrap_err();
    let (expected, found) = (5, 1);
    assert_eq!(error, EmaError::IntervalMismatch { expected, found });
    assert_eq!(ema.num_steps(), 0);
    ema.resume_from(&weights(1.0), progress(5)).unwrap();
    assert_eq!(ema.num_steps(), 7 + 3 * 5);
    for _ in 0..4 {
        assert_eq!(ema.update(&weights(2.0)).unwrap(), Update::Waiting);
    }
    assert!(matches!(
        ema.update(&weights(2.0)).unwrap(),
        Update::Averaged { averaged: 1, .. }
    ));
}

fn layer(rows: usize, columns: usize) -> Linear {
    LinearConfig::new(rows, columns).init(&device())
}

fn halving<M: Module>(model: &M) -> EmaModel<M> {
    EmaConfig::new().with_decay(Decay::weight(0.5)).init(model)
}

#[test]
fn grown_model_is_adopted_and_the_report_says_what_was_kept() {
    let model = vec![layer(2, 2), layer(2, 3)];
    let mut ema = halving(&model);
    ema.update(&vec![layer(2, 2), layer(2, 3)]).unwrap();
    let (kept, steps) = (ema.model()[0].clone(), ema.num_steps());
    // Another head, and one more layer.
    let grown = vec![model[0].clone(), layer(2, 5), layer(5, 1)];
    let adopted = ema.adopt(&grown).unwrap();
    assert_eq!(adopted.kept, ["0.weight", "0.bias"]);
    assert_eq!(
        adopted.started,
        ["1.weight", "1.bias", "2.weight", "2.bias"]
    );
    assert!(adopted.dropped.is_empty());
    assert_eq!(ema.num_steps(), steps);
    assert_same_values(&ema.model()[0], &kept);
    assert_same_values(&ema.model()[1], &grown[1].valid());
    ema.update(&grown).unwrap();

    let adopted = ema.adopt(&vec![layer(2, 2)]).unwrap();
    assert_eq!(adopted.kept, ["0.weight", "0.bias"]);
    assert_eq!(
        adopted.dropped,
        ["1.weight", "1.bias", "2.weight", "2.bias"]
    );
    assert_eq!(ema.model().len(), 1);
}

#[test]
fn model_that_cannot_be_adopted_changes_nothing() {
    let mut ema = halving(&vec![layer(2, 2)]);
    let before = ema.model().clone();
    assert_eq!(ema.adopt(&Vec::new()).unwrap_err(), EmaError::EmptyModel);
    assert_same_values(ema.model(), &before);
}
