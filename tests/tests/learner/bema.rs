//! Validation, result and checkpoints on BEMA.

use burn::module::Module;
use burn::train::InferenceStep;
use burn::train::metric::LossMetric;
use burn_ema::lag::{BEMA, BEMA_FIRST, Bema, bema_emas, bema_model};
use burn_ema::{EmaConfig, EmaSetConfig};
use burn_ema_tests::learner::{Net, batch, batches, device, drive, learner};
use burn_ema_tests::snapshot::{assert_same_values, numbers_at};
use burn_ema_train::{EmaExt, WithEma};

fn bema() -> Bema {
    Bema {
        update_freq: 1,
        ..Bema::trl()
    }
}

fn emas() -> EmaSetConfig {
    bema_emas(&bema(), &EmaConfig::new()).unwrap()
}

fn fresh() -> WithEma<Net> {
    let net = Net::new(0.0, &device()).with_ema(emas());
    net.try_with_bema(bema()).unwrap()
}

/// After some steps.
fn trained(model: WithEma<Net>, steps: usize) -> WithEma<Net> {
    let mut learner = learner(model);
    drive(&mut learner, &batches(0..4 * steps, 4, &device()));
    learner.model()
}

#[test]
fn result_is_the_ema_without_its_lag() {
    let model = trained(fresh(), 5);
    let found = model.try_into_ema().unwrap();
    let emas = model.emas().unwrap();
    let kept = |name| emas.ema(name).unwrap().model();
    let correction = bema().correction(5);
    for path in ["head.weight", "body.weight", "norm.gamma"] {
        let [online, ema, first, found] = [
            &model.online().valid(),
            kept(BEMA),
            kept(BEMA_FIRST),
            &found,
        ]
        .map(|model| numbers_at(model, path));
        let mut largest: f64 = 0.0;
        for (((online, ema), first), found) in online.iter().zip(&ema).zip(&first).zip(&found) {
            let expected = ema + correction * (online - first);
            assert!(
                (found - expected).abs() < 1e-5,
                "{path}: {found}, {expected}"
            );
            largest = largest.max((found - ema).abs());
        }
        assert!(largest > 0.005, "{path} has moved by {largest} only");
    }
    // The first weights are those before training, and statistics are the EMA's.
    assert_eq!(
        numbers_at(kept(BEMA_FIRST), "head.weight"),
        numbers_at(&Net::new(0.0, &device()), "head.weight")
    );
    assert_eq!(
        numbers_at(&found, "norm.running_mean"),
        numbers_at(kept(BEMA), "norm.running_mean")
    );
    assert_same_values(&bema_model(&bema(), &emas, model.online()).unwrap(), &found);
}

#[test]
fn validation_runs_on_it() {
    let model = trained(fresh(), 4);
    let expected = model.try_into_ema().unwrap();
    let item = batch(&[0, 1, 2, 3], &device());
    let found = InferenceStep::step(&model.valid(), item.clone()).output;
    let expected = InferenceStep::step(&expected, item).output;
    assert_eq!(found.into_data(), expected.into_data());
}

#[test]
fn resumed_run_ends_with_the_same_average() {
    let whole = trained(fresh(), 3);
    let record = whole.clone().into_record();
    let loaded = fresh().try_load_record(record).unwrap();
    assert_same_values(
        &loaded.try_into_ema().unwrap(),
        &whole.try_into_ema().unwrap(),
    );
    let more = trained(loaded, 2);
    let emas = more.emas().unwrap();
    assert_eq!(emas.ema(BEMA).unwrap().num_updates(), 5);
    let expected = bema_model(&bema(), &emas, more.online()).unwrap();
    assert_same_values(&more.try_into_ema().unwrap(), &expected);
}

#[test]
fn set_without_its_emas_is_an_error() {
    let model = Net::new(0.0, &device()).with_ema(EmaConfig::new());
    let error = model.try_with_bema(bema()).unwrap_err().to_string();
    assert!(error.contains("no EMA is called `bema`"), "{error}");
    let wrong = Bema { lag: 0, ..bema() };
    let error = fresh().try_with_bema(wrong).unwrap_err().to_string();
    assert!(error.contains("lag must be at least 1"), "{error}");
    assert!(bema_emas(&wrong, &EmaConfig::new()).is_err());
    // Of other numbers, or of the first weights.
    let error = fresh().try_with_bema(Bema::online()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("another decay, start or interval than this `Bema`"),
        "{error}"
    );
    let first = Net::new(0.0, &device()).with_ema(emas());
    let error = first.with_chosen(BEMA_FIRST).try_with_bema(bema());
    assert!(error.unwrap_err().to_string().contains("cannot validate"));
    let error = fresh().metric_of(BEMA_FIRST, LossMetric::new()).err();
    assert!(error.unwrap().to_string().contains("do not validate"));
}

/// Before training there is nothing to correct.
#[test]
fn untrained_model_is_itself() {
    let net = Net::new(0.0, &device());
    assert_same_values(&fresh().try_into_ema().unwrap(), &net.valid());
}
