//! Averages without lag: BEMA and the double EMA.

use burn::module::Module;
use burn::tensor::DType;
use burn_ema::config::NonFinite;
use burn_ema::lag::{Bema, BemaModel, DemaModel};
use burn_ema::window::{Window, WindowModel};
use burn_ema::write_back::WriteBack;
use burn_ema::{Decay, EmaConfig, Update};
use burn_ema_tests::backend::{autodiff_device, device, elsewhere, has_dtype};
use burn_ema_tests::models::{Mixed, Weights};
use burn_ema_tests::snapshot::{assert_same_values, numbers_at, values};
use proptest::prelude::*;

const SEEN: [f32; 8] = [2.0, 4.0, 3.0, 5.0, 8.0, 6.0, 7.0, 9.0];

fn model(x: f32) -> Weights {
    Weights::new(&[x], &device())
}

fn number(model: &Weights) -> f64 {
    numbers_at(model, "w")[0]
}

fn each_step() -> Bema {
    Bema {
        update_freq: 1,
        ..Bema::trl()
    }
}

#[track_caller]
fn assert_near(found: f64, expected: f64) {
    let tolerance = 2e-6 * expected.abs().max(1.0);
    assert!(
        (found - expected).abs() < tolerance,
        "{found} is not {expected}"
    );
}

#[test]
fn bema_has_the_numbers_of_trl() {
    let mut bema = BemaModel::try_new(&model(1.0), each_step(), &EmaConfig::new()).unwrap();
    assert_eq!(number(&bema.model(&model(5.0)).unwrap()), 1.0);
    for (x, (ema, corrected)) in SEEN.into_iter().zip([
        (1.30151134458, 1.92055526526),
        (2.08049792038, 3.90559094606),
        (2.33552191238, 3.53292762346),
        (3.04763363513, 5.40721188455),
        (4.32632913216, 8.39900444623),
        (4.74474684912, 7.61649273661),
        (5.29172608168, 8.69628979571),
        (6.1657746264, 10.6535952082),
    ]) {
        bema.update(&model(x)).unwrap();
        assert_near(number(bema.ema().model()), ema);
        assert_near(number(&bema.model(&model(x)).unwrap()), corrected);
    }
    let profile = bema.profile().unwrap();
    let seen = std::iter::once(1.0).chain(SEEN.map(f64::from));
    let sum: f64 = profile.weights().iter().zip(seen).map(|(w, x)| w * x).sum();
    assert_near(sum, 10.6535952082);
}

#[test]
fn bema_begins_after_its_burn_in() {
    let numbers = Bema {
        update_after: 2,
        update_freq: 2,
        ..Bema::trl()
    };
    let mut bema = BemaModel::try_new(&model(1.0), numbers, &EmaConfig::new()).unwrap();
    let expected = [
        2.0,
        4.0,
        // Between two updates the EMA stands still and the online weights do not.
        4.0 - 13.0_f64.powf(-0.2),
        4.85715580427,
        4.26726124191 + 15.0_f64.powf(-0.2) * 4.0,
        5.84914428643,
        4.70044593143 + 17.0_f64.powf(-0.2) * 3.0,
        8.5187484077,
    ];
    for (x, expected) in SEEN.into_iter().zip(expected) {
        bema.update(&model(x)).unwrap();
        assert_near(number(&bema.model(&model(x)).unwrap()), expected);
    }
}

#[test]
fn dema_has_the_numbers_of_its_formula() {
    let config = EmaConfig::new().with_decay(Decay::constant(0.9));
    let mut dema = DemaModel::try_new(&model(1.0), &config).unwrap();
    for (x, expected) in SEEN.into_iter().zip([
        1.19,
        1.732,
        2.0037,
        2.61374,
        3.701735,
        4.2459936,
        4.89438313,
        5.820634818,
    ]) {
        dema.update(&model(x)).unwrap();
        assert_near(number(&dema.model().unwrap()), expected);
    }
}

/// Of a line an EMA of decay 0.9 is 9 steps behind, and a double EMA is not.
#[test]
fn double_ema_of_a_line_has_no_lag() {
    let config = EmaConfig::new().with_decay(Decay::constant(0.9));
    let mut dema = DemaModel::try_new(&model(0.0), &config).unwrap();
    for step in 1..=300_u16 {
        dema.update(&model(f32::from(step))).unwrap();
    }
    assert!((number(dema.ema().model()) - 291.0).abs() < 1e-3);
    assert!((number(&dema.model().unwrap()) - 300.0).abs() < 1e-2);
}

/// Parameters are corrected; what is frozen, buffers, integers and booleans are the EMA's.
#[test]
fn only_parameters_are_corrected() {
    let mixed = |t| Mixed::at(t, &device());
    let config = EmaConfig::new().with_decay(Decay::weight(0.5));
    let mut bema = BemaModel::try_new(&mixed(None), each_step(), &config).unwrap();
    let mut dema = DemaModel::try_new(&mixed(None), &config).unwrap();
    for t in 1..=3 {
        bema.update(&mixed(Some(t))).unwrap();
        dema.update(&mixed(Some(t))).unwrap();
    }
    let online = mixed(Some(3));
    let corrected = bema.model(&online).unwrap();
    let found = numbers_at(&corrected, "a")[0];
    let ema = numbers_at(bema.ema().model(), "a")[0];
    assert_near(found, ema + 13.0_f64.powf(-0.2) * 1.5);
    // EMAs of 1, 1.5, 2, 2.5 are 1.25, 1.625, 2.0625, and of these 1.125, 1.375, 1.71875.
    let doubled = dema.model().unwrap();
    assert_near(numbers_at(&doubled, "a")[0], 2.0 * 2.0625 - 1.71875);
    for path in ["f", "b", "n", "t"] {
        assert_eq!(
            numbers_at(&corrected, path),
            numbers_at(bema.ema().model(), path),
            "{path}"
        );
        assert_eq!(
            numbers_at(&doubled, path),
            numbers_at(dema.ema().model(), path),
            "{path}"
        );
    }
    assert_eq!(numbers_at(&corrected, "f"), numbers_at(&online, "f"));
}

#[test]
fn half_precision_is_corrected_in_f32() {
    if !has_dtype(DType::BF16, "half_precision_is_corrected_in_f32") {
        return;
    }
    let half = |x: f32| Weights::of_dtype(&[x], DType::BF16, &device());
    let mut bema = BemaModel::try_new(&half(1.0), each_step(), &EmaConfig::new()).unwrap();
    let config = EmaConfig::new().with_decay(Decay::constant(0.9));
    let mut dema = DemaModel::try_new(&half(1.0), &config).unwrap();
    for x in SEEN {
        bema.update(&half(x)).unwrap();
        dema.update(&half(x)).unwrap();
    }
    for (found, expected) in [
        (bema.model(&half(9.0)).unwrap(), 10.6535952082),
        (dema.model().unwrap(), 5.820634818),
    ] {
        assert_eq!(found.w.val().dtype(), DType::BF16);
        assert!(
            (number(&found) - expected).abs() < 0.04,
            "{}",
            number(&found)
        );
    }
}

#[test]
fn resumed_averages_go_on_bit_for_bit() {
    let config = EmaConfig::new().with_decay(Decay::half_life(3.0));
    let config = config.with_interval(2);
    let numbers = Bema {
        update_after: 1,
        update_freq: 2,
        ..Bema::trl()
    };
    let new_bema = |x| BemaModel::try_new(&model(x), numbers, &EmaConfig::new()).unwrap();
    let new_dema = |x| DemaModel::try_new(&model(x), &config).unwrap();
    let (mut bema, mut dema) = (new_bema(1.0), new_dema(1.0));
    let (mut bema_parts, mut dema_parts) = (new_bema(1.0), new_dema(1.0));
    for x in SEEN {
        bema.update(&model(x)).unwrap();
        dema.update(&model(x)).unwrap();
        bema_parts.update(&model(x)).unwrap();
        dema_parts.update(&model(x)).unwrap();
        bema_parts = new_bema(-7.0).load_record(bema_parts.into_record());
        dema_parts = new_dema(-7.0).load_record(dema_parts.into_record());
        assert_same_values(
            &bema_parts.model(&model(x)).unwrap(),
            &bema.model(&model(x)).unwrap(),
        );
        assert_same_values(&dema_parts.model().unwrap(), &dema.model().unwrap());
    }
    assert_eq!(bema_parts.ema().num_updates(), 3);
    assert_eq!(dema_parts.ema().num_updates(), 4);
}

/// The model is trained on an autodiff device; what is read has no graph.
#[test]
fn what_is_read_is_for_inference() {
    let trained = Weights::new(&[1.0], &autodiff_device());
    let mut bema = BemaModel::try_new(&trained, each_step(), &EmaConfig::new()).unwrap();
    let mut dema = DemaModel::try_new(&trained, &EmaConfig::new()).unwrap();
    let later = trained.with(&[3.0]);
    bema.update(&later).unwrap();
    dema.update(&later).unwrap();
    for read in [bema.model(&later).unwrap(), dema.model().unwrap()] {
        let value = &values(&read)[0];
        assert!(!value.is_autodiff && !value.requires_grad);
    }
}

#[test]
fn averages_are_kept_elsewhere() {
    let mut bema = BemaModel::try_new(&model(1.0), each_step(), &EmaConfig::new()).unwrap();
    bema = bema.with_device(&elsewhere());
    let config = EmaConfig::new().with_decay(Decay::constant(0.9));
    let mut dema = DemaModel::try_new(&model(1.0), &config).unwrap();
    dema = dema.with_device(&elsewhere());
    for x in SEEN {
        bema.update(&model(x)).unwrap();
        dema.update(&model(x)).unwrap();
    }
    let read = bema.model(&model(9.0)).unwrap();
    assert_eq!(read.w.val().device(), elsewhere());
    assert_near(number(&read), 10.6535952082);
    assert_near(number(&dema.model().unwrap()), 5.820634818);
}

#[test]
fn averages_begin_anew() {
    let mut bema = BemaModel::try_new(&model(1.0), each_step(), &EmaConfig::new()).unwrap();
    let mut dema = DemaModel::try_new(&model(1.0), &EmaConfig::new()).unwrap();
    bema.update(&model(50.0)).unwrap();
    dema.update(&model(50.0)).unwrap();
    bema.restart(&model(1.0)).unwrap();
    dema.restart(&model(1.0)).unwrap();
    let update = bema.update(&model(2.0)).unwrap();
    assert!(matches!(update, Update::Averaged { .. }));
    assert_near(number(&bema.model(&model(2.0)).unwrap()), 1.92055526526);
    assert_eq!(bema.ema().num_updates(), 1);
    dema.update(&model(1.0)).unwrap();
    assert_eq!(number(&dema.model().unwrap()), 1.0);
}

/// Until the end of the burn-in nothing is corrected, whatever the online weights are.
#[test]
fn skipped_steps_of_the_burn_in_leave_bema_finite() {
    let numbers = Bema {
        update_after: 3,
        ..each_step()
    };
    let config = EmaConfig::new().with_non_finite(NonFinite::Skip);
    let mut bema = BemaModel::try_new(&model(1.0), numbers, &config).unwrap();
    bema.update(&model(2.0)).unwrap();
    bema.update(&model(f32::NAN)).unwrap();
    assert_eq!(number(&bema.model(&model(f32::NAN)).unwrap()), 2.0);
}

/// A frozen head of the same shapes takes the place of another.
#[test]
fn double_ema_follows_a_model_into_another_structure() {
    #[derive(Module, Debug)]
    enum Head {
        Old(Weights),
        New(Weights),
    }
    #[derive(Module, Debug)]
    struct Switching {
        body: Weights,
        head: Head,
    }
    let body = model(1.0);
    let with = |head| Switching {
        body: body.clone(),
        head,
    };
    let head = |x: f32| Weights::new(&[x, 2.0 * x], &device()).no_grad();
    let (old, new) = (with(Head::Old(head(2.0))), with(Head::New(head(3.0))));
    let config = EmaConfig::new().with_decay(Decay::constant(0.9));
    let mut dema = DemaModel::try_new(&old, &config).unwrap();
    dema.update(&old).unwrap();
    dema.update(&new).unwrap();
    dema.update(&new).unwrap();
    assert_eq!(numbers_at(&dema.model().unwrap(), "head.New.w"), [3.0, 6.0]);
    let fresh = DemaModel::try_new(&new, &config).unwrap();
    let loaded = fresh.load_record(dema.clone().into_record());
    assert_same_values(&loaded.model().unwrap(), &dema.model().unwrap());
}

#[test]
fn what_is_formed_when_it_is_read_is_not_written_back() {
    let config = EmaConfig::new().with_write_back(WriteBack::every(3));
    for error in [
        BemaModel::try_new(&model(1.0), each_step(), &config).err(),
        DemaModel::try_new(&model(1.0), &config).err(),
        WindowModel::try_new(&model(1.0), Window::of(3), &config).err(),
    ] {
        let error = error.unwrap().to_string();
        assert!(error.contains("write_back"), "{error}");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let none = Bema {
        lag: 0,
        ..Bema::trl()
    };
    let error = BemaModel::try_new(&model(1.0), none, &EmaConfig::new());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("lag must be at least 1 for TRL"), "{error}");

    let mut bema = BemaModel::try_new(&model(1.0), each_step(), &EmaConfig::new()).unwrap();
    let mut dema = DemaModel::try_new(&model(1.0), &EmaConfig::new()).unwrap();
    let other = Weights::new(&[1.0, 2.0], &device());
    let error = bema.model(&other).unwrap_err().to_string();
    assert!(error.contains("has shape [1]"), "{error}");
    assert!(bema.update(&other).is_err() && dema.update(&other).is_err());
    assert_eq!(bema.ema().num_steps() + dema.ema().num_steps(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Negative weights included: right after an update BEMA is the sum of what was seen by the weights of its profile.
    #[test]
    fn bema_is_the_sum_of_what_was_seen_by_weight(
        convention in prop_oneof![Just(Bema::trl()), Just(Bema::online()), Just(Bema::offline())],
        (update_after, update_freq, lag) in (0..4_u64, 1..4_u64, 1..6_u32),
        seen in prop::collection::vec(-9.0..9.0_f32, 1..30),
    ) {
        let numbers = Bema { update_after, update_freq, lag, ..convention };
        let mut bema = BemaModel::try_new(&model(seen[0]), numbers, &EmaConfig::new()).unwrap();
        for (step, x) in seen.iter().enumerate().skip(1) {
            let update = bema.update(&model(*x)).unwrap();
            if !matches!(update, Update::Averaged { .. }) {
                continue;
            }
            let profile = bema.profile().unwrap();
            prop_assert_eq!(profile.last_step(), step as u64);
            let terms = profile.steps().zip(profile.weights());
            let expected: f64 = terms.map(|(step, weight)| weight * f64::from(seen[step as usize])).sum();
            let found = number(&bema.model(&model(*x)).unwrap());
            prop_assert!((found - expected).abs() < 1e-4, "{} and {}", found, expected);
        }
    }
}
