//! Weighted means: updates that count as more or fewer than one.

use burn::module::Module;
use burn_ema::config::NonFinite;
use burn_ema::decay::EqualWeights;
use burn_ema::presets::LevanterDecaySqrt;
use burn_ema::{Decay, EmaConfig, EmaError, EmaModel, EmaSetConfig, Update};
use burn_ema_tests::backend::device;
use burn_ema_tests::models::Weights;
use burn_ema_tests::snapshot::{numbers_at, values};
use proptest::prelude::*;

const SEEN: [f32; 8] = [2.0, 4.0, 3.0, 5.0, 8.0, 6.0, 7.0, 9.0];

fn model(x: f32) -> Weights {
    Weights::new(&[x], &device())
}

fn mean() -> EmaConfig {
    EmaConfig::new().with_decay(Decay::equal_weights())
}

fn number(ema: &EmaModel<Weights>) -> f64 {
    numbers_at(ema.model(), "w")[0]
}

/// Levanter's `EmaDecaySqrtModelAveraging` with `beta` 0.9, `switch_step` 3 and `decay_steps` 6. In its first phase all raw
/// weights are `1 - beta`, so it is a plain mean there, and not the EMA of its name.
#[test]
fn weights_of_levanter_give_its_averages() {
    let levanter = LevanterDecaySqrt {
        beta: 0.9,
        switch_step: 3,
        decay_steps: 6,
    };
    let expected = [
        2.0,
        3.0,
        3.0,
        4.53846153846,
        5.62125231482,
        5.69041819261,
        5.83753145789,
        6.0454733347,
    ];
    let config = EmaConfig::from_preset(&levanter).unwrap();
    let mut ema = config.init(&model(1.0));
    for (step, (x, expected)) in (0..).zip(SEEN.iter().zip(expected)) {
        let weight = levanter.weight(step);
        ema.update_weighted(&model(*x), weight).unwrap();
        let found = number(&ema);
        assert!((found - expected).abs() < 2e-6, "{step}: {found}");
    }
}

#[test]
fn updates_without_a_weight_count_as_one() {
    let mut plain = mean().init(&model(1.0));
    let mut weighted = plain.clone();
    let mut mixed = plain.clone();
    for (step, x) in SEEN.into_iter().enumerate() {
        let expected = plain.update(&model(x)).unwrap();
        assert_eq!(weighted.update_weighted(&model(x), 1.0).unwrap(), expected);
        match step % 2 {
            0 => mixed.update(&model(x)).unwrap(),
            _ => mixed.update_weighted(&model(x), 1.0).unwrap(),
        };
    }
    for ema in [&weighted, &mixed] {
        assert_eq!(values(ema.model())[0].bytes, values(plain.model())[0].bytes);
        assert_eq!(ema.current_decay(), plain.current_decay());
    }
}

#[test]
fn decay_of_the_next_update_knows_the_sum() {
    let mut ema = mean().init(&model(1.0));
    let update = ema.update_weighted(&model(8.0), 3.0).unwrap();
    assert!(matches!(update, Update::Averaged { decay: 0.0, .. }));
    assert_eq!(ema.current_decay(), 0.75);
    let update = ema.update_weighted(&model(4.0), 1.0).unwrap();
    assert!(matches!(update, Update::Averaged { decay: 0.75, .. }));
    assert_eq!(number(&ema), 7.0);
}

/// As `prior` updates of weight 1.
#[test]
fn weights_that_averaging_started_from_count_as_prior() {
    let prior = EqualWeights { prior: 2 };
    let mut ema = EmaConfig::new().with_decay(prior.into()).init(&model(1.0));
    ema.update_weighted(&model(11.0), 8.0).unwrap();
    assert!((number(&ema) - 9.0).abs() < 1e-6);
}

#[test]
fn weight_of_zero_changes_nothing() {
    let mut ema = mean().init(&model(1.0));
    for (x, weight, expected) in [
        (5.0, 0.0, 1.0),
        (4.0, 2.0, 4.0),
        (9.0, 0.0, 4.0),
        (7.0, 1.0, 5.0),
    ] {
        ema.update_weighted(&model(x), weight).unwrap();
        assert!((number(&ema) - expected).abs() < 1e-6, "{x} with {weight}");
    }
    assert_eq!(ema.num_updates(), 4);
}

#[test]
fn only_what_is_averaged_counts() {
    let config = mean().with_start(1).with_interval(2);
    let mut ema = config.with_non_finite(NonFinite::Skip).init(&model(1.0));
    // A copy, a wait, an update, a wait, a skip, a wait, an update.
    for (x, weight) in [
        (8.0, 100.0),
        (7.0, 100.0),
        (2.0, 1.0),
        (6.0, 100.0),
        (f32::NAN, 100.0),
        (5.0, 100.0),
        (6.0, 3.0),
    ] {
        ema.update_weighted(&model(x), weight).unwrap();
    }
    assert_eq!((ema.num_updates(), ema.num_skipped()), (2, 1));
    assert_eq!(number(&ema), 5.0);
}

#[test]
fn resumed_mean_goes_on_bit_for_bit() {
    let weight = |step: usize| 0.1 + 0.37 * step as f64;
    let mut whole = mean().init(&model(1.0));
    let mut parts = mean().init(&model(1.0));
    for (step, x) in SEEN.into_iter().enumerate() {
        whole.update_weighted(&model(x), weight(step)).unwrap();
        parts.update_weighted(&model(x), weight(step)).unwrap();
        let fresh = mean().init(&model(0.0));
        parts = fresh.try_load_record(parts.into_record()).unwrap();
    }
    assert_eq!(
        values(parts.model())[0].bytes,
        values(whole.model())[0].bytes
    );
    assert_eq!(parts.current_decay(), whole.current_decay());

    whole.restart(&model(3.0)).unwrap();
    whole.update_weighted(&model(4.0), 0.5).unwrap();
    assert_eq!(number(&whole), 4.0);
}

#[test]
fn sets_of_means_have_one_weight() {
    let mut set = EmaSetConfig::new()
        .with("all", mean())
        .with("late", mean().with_start(2))
        .init(&model(1.0));
    for (x, weight) in [(1.0, 1.0), (4.0, 2.0), (7.0, 3.0)] {
        set.update_weighted(&model(x), weight).unwrap();
    }
    assert!((number(set.ema("all").unwrap()) - 5.0).abs() < 1e-6);
    assert_eq!(number(set.ema("late").unwrap()), 7.0);
}

#[test]
fn weights_that_are_none_change_nothing() {
    let mut ema = mean().init(&model(1.0));
    ema.update_weighted(&model(2.0), f64::MAX).unwrap();
    for weight in [-1.0, f64::NAN, f64::INFINITY, f64::MAX] {
        let error = ema.update_weighted(&model(9.0), weight).unwrap_err();
        assert!(matches!(error, EmaError::UpdateWeight { .. }), "{error}");
    }
    assert_eq!((number(&ema), ema.num_steps()), (2.0, 1));

    let config = EmaConfig::new().with_decay(Decay::constant(0.9));
    let mut set = EmaSetConfig::new()
        .with("mean", mean())
        .with("ema", config)
        .init(&model(1.0));
    let error = set.update_weighted(&model(9.0), 1.0).unwrap_err();
    assert!(
        error.to_string().contains("`Decay::equal_weights`"),
        "{error}"
    );
    assert_eq!(number(set.first()), 1.0);
    assert_eq!(set.first().num_steps(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn mean_is_the_sum_by_weight_over_the_sum_of_weights(terms in prop::collection::vec((0.0..5.0_f64, -9.0..9.0_f32), 1..20)) {
        let mut ema = mean().init(&model(0.0));
        for (weight, x) in &terms {
            ema.update_weighted(&model(*x), *weight).unwrap();
        }
        let sum: f64 = terms.iter().map(|term| term.0).sum();
        let expected: f64 = terms.iter().map(|(weight, x)| weight * f64::from(*x)).sum::<f64>() / sum;
        prop_assert!((number(&ema) - expected).abs() < 1e-4, "{} and {}", number(&ema), expected);
    }
}
