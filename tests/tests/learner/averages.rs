//! Validation, result and checkpoints on averages that are no EMA: BEMA, the double EMA, the mean of a window.

use burn::module::Module;
use burn::train::InferenceStep;
use burn_ema::lag::{Bema, BemaModel, DemaModel};
use burn_ema::window::{Window, WindowModel};
use burn_ema::{Decay, EmaConfig, EmaSetConfig};
use burn_ema_tests::learner::{Net, batch, batches, device, drive, learner};
use burn_ema_tests::snapshot::{assert_same_values, numbers_at};
use burn_ema_train::{EmaExt, WithEma};

const NAMES: [&str; 3] = ["bema", "dema", "window"];

fn bema() -> Bema {
    Bema {
        update_freq: 1,
        ..Bema::trl()
    }
}

fn config() -> EmaConfig {
    EmaConfig::new().with_decay(Decay::constant(0.8))
}

/// All three, of which one validates.
fn fresh(chosen: &str) -> WithEma<Net> {
    let averages = EmaSetConfig::new()
        .with("ema", config())
        .with_bema("bema", bema(), EmaConfig::new())
        .with_dema("dema", config())
        .with_window("window", Window::of(2), EmaConfig::new());
    Net::new(0.0, &device())
        .with_ema(averages)
        .with_chosen(chosen)
}

/// After some steps.
fn trained(model: WithEma<Net>, steps: usize) -> WithEma<Net> {
    let mut learner = learner(model);
    drive(&mut learner, &batches(0..4 * steps, 4, &device()));
    learner.model()
}

/// Parameters are those of the average on its own, which was shown the online weights after each step.
#[test]
fn result_is_the_average_of_the_online_weights() {
    let net = Net::new(0.0, &device());
    let mut bema = BemaModel::try_new(&net, bema(), &EmaConfig::new()).unwrap();
    let mut dema = DemaModel::try_new(&net, &config()).unwrap();
    let mut window = WindowModel::try_new(&net, Window::of(2), &EmaConfig::new()).unwrap();
    let mut learner = learner(fresh("bema"));
    for step in 0..5 {
        drive(&mut learner, &batches(4 * step..4 * step + 4, 4, &device()));
        let online = learner.model().into_online();
        bema.update(&online).unwrap();
        dema.update(&online).unwrap();
        window.update(&online).unwrap();
    }
    let model = learner.model();
    let expected = [
        bema.model(model.online()).unwrap(),
        dema.model().unwrap(),
        window.model().unwrap(),
    ];
    for (name, expected) in NAMES.iter().zip(&expected) {
        let model = model.clone().with_chosen(name);
        let (found, ema) = (model.try_into_ema().unwrap(), model.ema().unwrap());
        let mut largest: f64 = 0.0;
        for path in ["head.weight", "body.weight", "norm.gamma"] {
            assert_eq!(
                numbers_at(&found, path),
                numbers_at(expected, path),
                "{name}"
            );
            let kept = numbers_at(ema.model(), path).into_iter();
            let moved = kept.zip(numbers_at(&found, path));
            largest = moved.fold(largest, |largest, (kept, found)| {
                largest.max((kept - found).abs())
            });
        }
        assert!(largest > 1e-3, "{name} is its EMA but for {largest}");
        let read = model.emas().unwrap().model(name, model.online()).unwrap();
        assert_same_values(&read, &found);
    }
}

#[test]
fn validation_runs_on_it() {
    for name in NAMES {
        let model = trained(fresh(name), 4);
        let expected = model.try_into_ema().unwrap();
        let item = batch(&[0, 1, 2, 3], &device());
        let found = InferenceStep::step(&model.valid(), item.clone()).output;
        let expected = InferenceStep::step(&expected, item).output;
        assert_eq!(found.into_data(), expected.into_data(), "{name}");
    }
}

#[test]
fn averages_beside_the_chosen_one_validate_too() {
    let model = trained(fresh("ema"), 4).side_by_side();
    let item = batch(&[0, 1, 2, 3], &device());
    let found = InferenceStep::step(&model.valid(), item.clone());
    let others = found.others;
    let names: Vec<&str> = others.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, NAMES);
    for (name, output) in others {
        let average = model.emas().unwrap().model(&name, model.online()).unwrap();
        let expected = InferenceStep::step(&average, item.clone()).output;
        assert_eq!(output.output.into_data(), expected.into_data(), "{name}");
    }
}

/// In the middle of a block, too.
#[test]
fn resumed_run_ends_with_the_same_averages() {
    for steps in [2, 3] {
        let whole = trained(fresh("dema"), steps);
        let record = whole.clone().into_record();
        let loaded = fresh("dema").try_load_record(record).unwrap();
        let [whole, loaded] = [whole, loaded].map(|model| trained(model, 2));
        for name in NAMES {
            let [whole, loaded] = [&whole, &loaded].map(|model| {
                let model = model.clone().with_chosen(name);
                model.try_into_ema().unwrap()
            });
            assert_same_values(&loaded, &whole);
        }
        let emas = loaded.emas().unwrap();
        assert_eq!(emas.ema("bema").unwrap().num_updates(), steps as u64 + 2);
    }
}

/// Before training there is nothing to correct.
#[test]
fn untrained_model_is_itself() {
    let net = Net::new(0.0, &device());
    for name in NAMES {
        assert_same_values(&fresh(name).try_into_ema().unwrap(), &net.valid());
    }
}

#[test]
fn numbers_out_of_range_are_an_error() {
    let wrong = Bema { lag: 0, ..bema() };
    let net = || Net::new(0.0, &device());
    let set = EmaSetConfig::new().with_bema("bema", wrong, EmaConfig::new());
    let error = net().try_with_ema(set).err().unwrap().to_string();
    assert!(error.contains("lag must be at least 1"), "{error}");
    let set = EmaSetConfig::new().with_window("window", Window::of(0), EmaConfig::new());
    let error = net().try_with_ema(set).err().unwrap().to_string();
    assert!(
        error.contains("min_average_window must be at least 1"),
        "{error}"
    );
}
