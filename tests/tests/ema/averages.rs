//! BEMA, double EMAs and windows within a set.

use burn::config::Config;
use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::DType;
use burn_ema::config::{EmaPrecision, MissingEma};
use burn_ema::lag::{Bema, BemaModel, DemaModel};
use burn_ema::window::{Window, WindowModel};
use burn_ema::write_back::WriteBack;
use burn_ema::{Decay, EmaConfig, EmaModel, EmaSet, EmaSetConfig};
use burn_ema_tests::backend::{device, elsewhere, has_dtype};
use burn_ema_tests::models::Weights;
use burn_ema_tests::snapshot::{assert_same_values, numbers_at};

const NAMES: [&str; 4] = ["ema", "bema", "dema", "window"];

fn config() -> EmaConfig {
    EmaConfig::new().with_decay(Decay::constant(0.9))
}

fn bema() -> Bema {
    Bema {
        update_after: 1,
        update_freq: 2,
        ..Bema::trl()
    }
}

fn all(config: &EmaConfig) -> EmaSetConfig {
    EmaSetConfig::new()
        .with("ema", config.clone())
        .with_bema("bema", bema(), config.clone())
        .with_dema("dema", config.clone())
        .with_window("window", Window::of(3), config.clone())
}

fn passed() -> Vec<Weights> {
    let numbers = [1.0, 3.0, 2.0, 5.0, 7.0, 4.0, 8.0, 6.0, 9.0, 7.5, 0.1_f32];
    numbers.map(|x| model(&[x, -x / 3.0])).into()
}

fn model(numbers: &[f32]) -> Weights {
    Weights::new(numbers, &device())
}

fn updated(mut set: EmaSet<Weights>, models: &[Weights]) -> EmaSet<Weights> {
    for model in models {
        set.update(model).unwrap();
    }
    set
}

fn read(set: &EmaSet<Weights>, online: &Weights) -> Vec<Vec<f64>> {
    let read = NAMES.map(|name| numbers_at(&set.model(name, online).unwrap(), "w"));
    read.into()
}

#[test]
fn each_average_of_a_set_is_what_it_is_alone() {
    let first = model(&[1.0, 0.5]);
    for precision in [EmaPrecision::AtLeastF32, EmaPrecision::Compensated] {
        let config = config().with_precision(precision);
        let mut set = all(&config).init(&first);
        let mut ema: EmaModel<Weights> = config.init(&first);
        let mut bema = BemaModel::try_new(&first, bema(), &config).unwrap();
        let mut dema = DemaModel::try_new(&first, &config).unwrap();
        let mut window = WindowModel::try_new(&first, Window::of(3), &config).unwrap();
        for online in &passed() {
            let updates = set.update(online).unwrap();
            let alone = [
                ema.update(online).unwrap(),
                bema.update(online).unwrap(),
                dema.update(online).unwrap(),
                window.update(online).unwrap(),
            ];
            assert_eq!(updates, alone);
            let alone = [
                ema.model().clone(),
                bema.model(online).unwrap(),
                dema.model().unwrap(),
                window.model().unwrap(),
            ];
            for (name, alone) in NAMES.iter().zip(&alone) {
                assert_same_values(&set.model(name, online).unwrap(), alone);
            }
        }
    }
}

/// 2E - EMA(E) at a decay of 0.9, worked out in f64.
#[test]
fn double_ema_of_a_set_has_its_known_values() {
    let expected = [
        1.19,
        1.732,
        2.0037,
        2.61374,
        3.701735,
        4.2459936,
        4.89438313,
        5.820634818,
    ];
    let passed = [2.0, 4.0, 3.0, 5.0, 8.0, 6.0, 7.0, 9.0_f32];
    let first = model(&[1.0]);
    let mut set = EmaSetConfig::new().with_dema("dema", config()).init(&first);
    for (online, expected) in passed.iter().zip(expected) {
        let online = model(&[*online]);
        set.update(&online).unwrap();
        let found = numbers_at(&set.model("dema", &online).unwrap(), "w")[0];
        assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
    }
}

#[test]
fn record_at_any_step_changes_no_bit() {
    let first = model(&[1.0, 0.5]);
    let passed = passed();
    let online = passed.last().unwrap();
    for precision in [EmaPrecision::AtLeastF32, EmaPrecision::Compensated] {
        let set = || all(&config().with_precision(precision)).init(&first);
        let whole = updated(set(), &passed);
        for at in 0..passed.len() {
            let (before, after) = passed.split_at(at);
            let bytes = updated(set(), before).into_record().into_bytes().unwrap();
            let record = ModuleRecord::from_bytes(bytes).unwrap();
            let fresh = all(&config().with_precision(precision)).init(&model(&[9.0, 9.0]));
            let resumed = updated(fresh.try_load_record(record).unwrap(), after);
            assert_eq!(read(&resumed, online), read(&whole, online), "at {at}");
        }
    }
}

#[test]
fn what_a_record_lacks_is_an_error_or_begins_as_a_whole() {
    let first = model(&[1.0, 0.5]);
    let plain = EmaSetConfig::new()
        .with("ema", config())
        .with("dema", config());
    let record = updated(plain.init(&first), &passed()).into_record();
    // It has the EMA of `dema`, and not the EMA of that.
    let two = |missing| {
        let config = config().with_missing_ema(missing);
        EmaSetConfig::new()
            .with("ema", config.clone())
            .with_dema("dema", config)
            .init(&first)
    };
    for missing in [MissingEma::Error, MissingEma::StartFromWeights] {
        let error = two(missing).try_load_record(record.clone()).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("no `dema.of_ema`, a part of the average `dema`"),
            "{error}"
        );
    }
    let plain = EmaSetConfig::new()
        .with("ema", config())
        .with("other", config());
    let record = updated(plain.init(&first), &passed()).into_record();
    let record = record.allow_unused(true);
    let error = two(MissingEma::Error)
        .try_load_record(record.clone())
        .unwrap_err();
    assert!(error.to_string().contains("`dema`"), "{error}");
    let set = two(MissingEma::StartFromWeights)
        .try_load_record(record)
        .unwrap();
    assert_eq!(set.ema("ema").unwrap().num_updates(), 11);
    assert_eq!(set.ema("dema").unwrap().num_updates(), 0);
    assert_eq!(
        numbers_at(&set.model("dema", &first).unwrap(), "w"),
        [1.0, 0.5]
    );
}

#[test]
fn averages_start_again_and_live_elsewhere() {
    let first = model(&[1.0, 0.5]);
    let passed = passed();
    let online = passed.last().unwrap();
    let whole = updated(all(&config()).init(&first), &passed);

    let mut again = updated(all(&config()).init(&model(&[5.0, 5.0])), &passed[..4]);
    again.restart(&first).unwrap();
    assert_eq!(read(&updated(again, &passed), online), read(&whole, online));

    let pinned = updated(all(&config()).init_on(&first, &elsewhere()), &passed);
    for (pinned, whole) in read(&pinned, online).iter().zip(read(&whole, online)) {
        for (pinned, whole) in pinned.iter().zip(whole) {
            assert!((pinned - whole).abs() < 1e-5, "{pinned} is not {whole}");
        }
    }
    assert_eq!(pinned.device(), Some(elsewhere()));
}

/// The EMA of a window is the last block that has anything in it.
#[test]
fn ema_of_a_window_is_no_older_than_the_window() {
    let set = EmaSetConfig::new().with_window("window", Window::of(3), config());
    let set = updated(
        set.init(&model(&[0.0])),
        &[1.0, 2.0, 6.0].map(|x| model(&[x])),
    );
    let block = numbers_at(set.ema("window").unwrap().model(), "w");
    assert_eq!(block, [3.0]);
    assert_eq!(
        numbers_at(&set.model("window", &model(&[9.0])).unwrap(), "w"),
        block
    );
}

/// In bf16 the way from 1 to 1.001 would be none, and twice 1.004 less 1.002 not 1.006.
#[test]
fn averages_of_emas_in_bf16_are_formed_in_f32() {
    if !has_dtype(DType::BF16, "averages_of_emas_in_bf16_are_formed_in_f32") {
        return;
    }
    let config = config().with_precision(EmaPrecision::StochasticBf16 { seed: 1 });
    let each_step = Bema {
        update_freq: 1,
        ..Bema::trl()
    };
    let set = EmaSetConfig::new().with_bema("bema", each_step, config.clone());
    let (first, online) = (model(&[1.0]), model(&[1.001]));
    let mut set = set.init(&first);
    set.update(&online).unwrap();
    let ema = numbers_at(set.ema("bema").unwrap().model(), "w")[0];
    let expected = ema + each_step.correction(1) * 0.001;
    let found = numbers_at(&set.model("bema", &online).unwrap(), "w")[0];
    assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");

    let ema = config.init(&first);
    let mut written = online.clone();
    ema.write_back(&mut written, 0.5).unwrap();
    assert!((numbers_at(&written, "w")[0] - 1.0005).abs() < 1e-6);
}

/// As without compensations: what is not used of a record is an error.
#[test]
fn compensated_sets_are_strict() {
    let models = |count: usize| vec![model(&[1.0]); count];
    let set = |count| {
        EmaSetConfig::new()
            .with("a", config().with_precision(EmaPrecision::Compensated))
            .with("b", config())
            .init(&models(count))
    };
    let record = set(2).into_record();
    assert!(set(2).try_load_record(record.clone()).is_ok());
    let error = set(1).try_load_record(record).unwrap_err().to_string();
    assert!(error.contains("Unused tensors"), "{error}");
}

#[test]
fn configuration_comes_back_from_json_and_from_the_set() {
    let config = all(&config());
    let json = burn::config::config_to_json(&config);
    let loaded = EmaSetConfig::load_binary(json.as_bytes()).unwrap();
    let of_set = loaded.init(&model(&[1.0, 0.5])).config();
    for (found, expected) in of_set.emas.iter().zip(&config.emas) {
        assert_eq!((&found.name, found.kind), (&expected.name, expected.kind));
    }
    // A file of EMAs only says nothing of kinds.
    let json = r#"{"emas": [{"name": "fast", "config": {}}]}"#;
    let loaded = EmaSetConfig::load_binary(json.as_bytes()).unwrap();
    assert!(loaded.validate().is_ok());
}

#[test]
fn what_cannot_be_is_an_error() {
    let told = |set: EmaSetConfig| set.validate().unwrap_err().to_string();
    let error = told(EmaSetConfig::new().with_dema("", config()));
    assert!(error.contains("give the average a name"), "{error}");
    let error = told(EmaSetConfig::new().with_window("w", Window::of(0), config()));
    assert!(
        error.contains("min_average_window must be at least 1"),
        "{error}"
    );
    let lag = Bema { lag: 0, ..bema() };
    let error = told(EmaSetConfig::new().with_bema("b", lag, config()));
    assert!(error.contains("lag must be at least 1"), "{error}");
    let written = config().with_write_back(WriteBack::every(3));
    for set in [
        EmaSetConfig::new().with_dema("a", written.clone()),
        EmaSetConfig::new().with_bema("a", bema(), written.clone()),
        EmaSetConfig::new().with_window("a", Window::of(3), written),
    ] {
        assert!(told(set).contains("write_back"));
    }

    let mean = || EmaConfig::new().with_decay(Decay::equal_weights());
    let set = EmaSetConfig::new()
        .with("m", mean())
        .with_window("w", Window::of(3), mean());
    let mut set = set.init(&model(&[1.0]));
    let error = set
        .update_weighted(&model(&[2.0]), 0.5)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("in means only, and `w` is Window"),
        "{error}"
    );
    assert_eq!(set.first().num_updates(), 0);
    assert!(set.model("nobody", &model(&[1.0])).is_err());
}
