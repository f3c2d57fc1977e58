//! Saving, loading and resuming an EMA, and records that do not fit.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::AdamWConfig;
use burn::store::ModuleRecord;
use burn::tensor::{DType, Tensor, TensorData};
use burn_ema::config::{MissingEma, NonFinite};
use burn_ema::record::Content;
use burn_ema::{Decay, EmaConfig, EmaModel};
use burn_ema_tests::backend::{self, autodiff_device, device};
use burn_ema_tests::folder::Folder;
use burn_ema_tests::models::{Mixed, Net, Weights};
use burn_ema_tests::snapshot::{
    assert_same, assert_same_values, assert_trained_alike, ids, numbers_at, values, with_numbers,
};

/// A file that is gone with its folder at the end of the test.
fn file() -> (Folder, PathBuf) {
    let folder = Folder::temporary();
    let file = folder.path().join("average.bpk");
    (folder, file)
}

/// What decay, counters and schedule make of a run depends on all of these.
fn config() -> EmaConfig {
    EmaConfig::new()
        .with_decay(Decay::power_warmup(0.75))
        .with_start(2)
        .with_interval(3)
        .with_non_finite(NonFinite::Skip)
}

fn source(t: u16) -> Mixed {
    let source = Mixed::at(Some(t), &device());
    match t {
        // An update step, which is skipped.
        7 => with_numbers(source, "a", &[f32::NAN, 0.0]),
        _ => source,
    }
}

fn averaged_until(t: u16) -> EmaModel<Mixed> {
    let mut ema = config().init(&Mixed::at(None, &device()));
    for t in 0..t {
        ema.update(&source(t)).unwrap();
    }
    ema
}

fn counters<M: Module>(ema: &EmaModel<M>) -> [u64; 3] {
    [ema.num_steps(), ema.num_updates(), ema.num_skipped()]
}

#[test]
fn ema_that_is_saved_and_loaded_goes_on_bit_for_bit() {
    for stop in [0, 1, 2, 3, 5, 8, 11, 14] {
        let mut uninterrupted = averaged_until(stop);
        let (_folder, file) = file();
        uninterrupted.clone().save_file(&file).unwrap();
        let fresh = config().init(&Mixed::at(Some(40), &device()));
        let mut resumed = fresh.try_load_file(&file).unwrap();
        assert_eq!(counters(&resumed), counters(&uninterrupted));

        for t in stop..stop + 9 {
            let decays = [&resumed, &uninterrupted].map(|ema| ema.current_decay().to_bits());
            assert_eq!(decays[0], decays[1]);
            let done = resumed.update(&source(t)).unwrap();
            assert_eq!(done, uninterrupted.update(&source(t)).unwrap());
            assert_same_values(&resumed, &uninterrupted);
            assert_same_values(resumed.model(), uninterrupted.model());
        }
        assert_eq!(counters(&resumed), counters(&uninterrupted));
    }
}

/// Burn reads a file when somebody looks at the values, which on a GPU may be long after it was loaded.
#[test]
fn ema_that_is_loaded_needs_its_file_no_more() {
    let trained = averaged_until(5);
    let load = |config: EmaConfig, save: &dyn Fn(&Path)| {
        let (_folder, file) = file();
        save(&file);
        let loaded = config
            .init(&Mixed::at(Some(40), &device()))
            .load_file(&file);
        fs::remove_file(file).unwrap();
        loaded
    };
    let loaded = load(config(), &|file| trained.clone().save_file(file).unwrap());
    assert_same_values(&loaded, &trained);

    let model = Mixed::at(Some(3), &device());
    let config = config().with_missing_ema(MissingEma::StartFromWeights);
    let started = load(config, &|file| model.clone().save_file(file).unwrap());
    assert_same_values(started.model(), &model);
}

/// With an optimizer between, whose state and ids come out of a record too.
#[test]
fn training_that_is_saved_and_loaded_goes_on_bit_for_bit() {
    let device = autodiff_device();
    let start = |steps: u32| {
        let mut optim = AdamWConfig::new().init();
        let mut net = Net::new(&device);
        let mut ema = config().init(&net);
        for step in 0..steps {
            net = net.trained(step, &mut optim, &device);
            ema.update(&net).unwrap();
        }
        (net, optim, ema)
    };
    let (_, _, uninterrupted) = start(12);

    let (net, optim, ema) = start(5);
    let bytes = [
        net.into_record().into_bytes().unwrap(),
        ema.into_record().into_bytes().unwrap(),
    ];
    let [net, ema] = bytes.map(|bytes| ModuleRecord::from_bytes(bytes).unwrap());
    let state = optim.to_record();
    let mut optim = AdamWConfig::new().init().load_record(state);
    let fresh = Net::new(&device);
    let mut ema = config().init(&fresh).load_record(ema);
    let mut net = fresh.load_record(net);
    for step in 5..12 {
        net = net.trained(step, &mut optim, &device);
        ema.update(&net).unwrap();
    }
    assert_trained_alike(&ema, &uninterrupted);
    assert_eq!(counters(&ema), counters(&uninterrupted));
    assert!(
        ema.relative_distance(&net).unwrap() > 1e-3,
        "the average is not the model"
    );
}

#[test]
fn loaded_ema_hands_out_models_with_the_ids_of_the_saved_one() {
    let ema = averaged_until(5);
    let record = ema.clone().into_record();
    let loaded = config()
        .init(&Mixed::at(None, &device()))
        .load_record(record);
    // Buffers have no ids in a record.
    let parameters = |ema: &EmaModel<Mixed>| {
        let values = values(ema.model()).into_iter();
        let parameters = values.filter(|value| value.path != "b");
        parameters.map(|value| value.id).collect::<Vec<_>>()
    };
    assert_eq!(parameters(&loaded), parameters(&ema));
    assert_ne!(ids(&loaded), ids(loaded.model()));
}

#[test]
fn record_holds_weights_and_progress_by_name() {
    // Until the last step but one before, and at, the step that is skipped.
    for (steps, progress) in [
        (0, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (5, [1, 5, 0, 1, 0, 0, 0, 0, 0x7fe0_0000, 0]),
        (8, [1, 8, 0, 1, 0, 1, 0, 0, 0x7fe0_0000, 0]),
    ] {
        let stored = values(&averaged_until(steps));
        let paths: Vec<&str> = stored.iter().map(|value| value.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "ema_weights.a",
                "ema_weights.f",
                "ema_weights.b",
                "ema_weights.n",
                "ema_weights.t",
                "ema_progress",
                "ema_trained"
            ]
        );
        let integers = |path: &str| -> Vec<i32> {
            let value = stored.iter().find(|value| value.path == path).unwrap();
            // LibTorch has no other integers than `i64`.
            let width = match value.dtype {
                DType::I64 if backend::is_libtorch() => 8,
                DType::I32 => 4,
                dtype => panic!("{path} is {dtype:?}"),
            };
            let numbers = value.bytes.chunks_exact(width);
            numbers
                .map(|bytes| i32::from_le_bytes(bytes[..4].try_into().unwrap()))
                .collect()
        };
        // Version, then steps, updates and skipped steps of two numbers each, and a sum of weights of three.
        assert_eq!(integers("ema_progress"), progress);
        // One bit for each of a, b, f, n, t: only `a` is trained.
        assert_eq!(integers("ema_trained"), [0b00001]);
    }
}

#[test]
fn record_without_ema_is_an_error_with_the_remedy() {
    let ema = averaged_until(5);
    let plain = Mixed::at(Some(9), &device()).into_record();
    let error = ema.try_load_record(plain).unwrap_err().to_string();
    assert_eq!(
        error,
        "Record validation error: the record has weights but no EMA: load it into the model and create a new EMA, or \
         start from its weights with `EmaConfig::with_missing_ema(MissingEma::StartFromWeights)`"
    );
}

#[test]
fn ema_starts_from_the_weights_of_a_record_where_that_is_chosen() {
    let config = config().with_missing_ema(MissingEma::StartFromWeights);
    let mut ema = config.init(&Mixed::at(None, &device()));
    for t in 0..6 {
        ema.update(&Mixed::at(Some(t), &device())).unwrap();
    }
    let plain = Mixed::at(Some(9), &device());
    let (_folder, file) = file();
    plain.clone().save_file(&file).unwrap();
    let mut ema = ema.try_load_file(&file).unwrap();
    assert_same_values(ema.model(), &plain);
    assert_eq!(counters(&ema), [0; 3]);

    // As if made from that model.
    let mut made = config.init(&plain);
    for t in 10..20 {
        let source = Mixed::at(Some(t), &device());
        assert_eq!(ema.update(&source).unwrap(), made.update(&source).unwrap());
    }
    assert_same_values(ema.model(), made.model());
}

#[test]
fn choice_to_start_from_weights_does_not_change_how_a_record_with_an_ema_loads() {
    let saved = averaged_until(11);
    let config = config().with_missing_ema(MissingEma::StartFromWeights);
    let ema = config.init(&Mixed::at(None, &device()));
    let ema = ema.try_load_record(saved.clone().into_record()).unwrap();
    assert_same_values(&ema, &saved);
    assert_eq!(counters(&ema), counters(&saved));
}

#[test]
fn record_of_another_model_is_an_error_that_names_what_is_missing() {
    let other = Weights::new(&[1.0, 2.0], &device());
    let message = |missing_ema, record: ModuleRecord| {
        let config = config().with_missing_ema(missing_ema);
        let ema = config.init(&Mixed::at(None, &device()));
        ema.try_load_record(record).unwrap_err().to_string()
    };
    let ema = config().init(&other).into_record();
    for missing_ema in [MissingEma::Error, MissingEma::StartFromWeights] {
        let message = message(missing_ema, ema.clone());
        let expected = r#"Missing tensors: ["ema_weights.a", "ema_weights.f", "ema_weights.b", "ema_weights.n", "ema_weights.t"]"#;
        assert!(message.contains(expected), "{message}");
    }
    let message = message(MissingEma::StartFromWeights, other.into_record());
    let expected = r#"Missing tensors: ["a", "f", "b", "n", "t"]"#;
    assert!(message.contains(expected), "{message}");
}

#[test]
fn record_with_another_shape_is_an_error_by_name() {
    let config = EmaConfig::new();
    let ema = config.init(&Weights::new(&[1.0, 2.0], &device()));
    let longer = config.init(&Weights::new(&[1.0, 2.0, 3.0], &device()));
    let error = ema.try_load_record(longer.into_record()).unwrap_err();
    assert!(
        error.to_string().contains(
            "ema_weights.w: shape mismatch, expected Shape { dims: [2] } but record has Shape { dims: [3] }"
        ),
        "{error}"
    );
}

#[test]
fn damaged_file_is_an_error() {
    let (_folder, file) = file();
    averaged_until(5).save_file(&file).unwrap();
    let good = fs::read(&file).unwrap();
    let load = || {
        config()
            .init(&Mixed::at(None, &device()))
            .try_load_file(&file)
    };
    assert!(load().is_ok());

    for cut in [0, 1, 10, good.len() / 2, good.len() - 1] {
        fs::write(&file, &good[..cut]).unwrap();
        assert!(load().is_err(), "cut after {cut} of {} bytes", good.len());
    }
    let mut foreign = good;
    foreign[..4].copy_from_slice(b"PK\x03\x04");
    fs::write(&file, &foreign).unwrap();
    assert!(load().is_err());
    fs::remove_file(&file).unwrap();
    assert!(load().is_err());
}

/// `try_load_file` takes the EMA; a clone, which shares its memory, is what it was.
#[test]
fn ema_that_failed_to_load_is_still_there_in_a_clone() {
    let ema = averaged_until(5);
    let before = values(&ema);
    let plain = Mixed::at(Some(9), &device()).into_record();
    assert!(ema.clone().try_load_record(plain).is_err());
    assert_same(&values(&ema), &before);
}

#[test]
fn ema_in_a_module_of_the_user_is_saved_and_loaded_with_it() {
    #[derive(Module, Debug)]
    struct Both {
        net: Weights,
        ema: EmaModel<Weights>,
    }
    let both = |x: f32| {
        let net = Weights::new(&[x], &device());
        let ema = EmaConfig::new()
            .with_decay(Decay::weight(0.5))
            .init(&Weights::new(&[0.0], &device()));
        Both { net, ema }
    };
    let mut saved = both(4.0);
    saved.ema.update(&saved.net.clone()).unwrap();
    let record = saved.clone().into_record();
    assert_eq!(Content::of(&record).emas(), ["ema"]);

    let loaded = both(-1.0).try_load_record(record).unwrap();
    assert_eq!(numbers_at(&loaded.net, "w"), [4.0]);
    assert_eq!(numbers_at(loaded.ema.model(), "w"), [2.0]);
    assert_eq!(counters(&loaded.ema), [1, 1, 0]);
}

#[test]
fn averaged_model_is_saved_as_a_plain_model() {
    let ema = averaged_until(5);
    let (_folder, file) = file();
    ema.model().clone().save_file(&file).unwrap();
    let plain = Mixed::at(None, &device()).try_load_file(&file).unwrap();
    assert_same_values(&plain, ema.model());
}

/// Burn's GPU backends fetch the values of a record when it is written, which for a checkpoint is while
/// training goes on. Averages that change in place would change under it.
#[test]
fn record_holds_what_was_there_when_it_was_taken() {
    let device = autodiff_device();
    let mut optim = AdamWConfig::new().init();
    let mut net = Net::new(&device);
    let mut ema = EmaConfig::new()
        .with_decay(Decay::weight(0.5))
        .with_start(1)
        .init(&net);
    for step in 0..6 {
        let expected = values(&ema);
        let expected_net = values(&net.valid());
        let record = ema.clone().into_record();
        let net_record = net.valid().into_record();
        let numbers: Vec<_> = values_of(ema.model());
        for _ in 0..3 {
            net = net.trained(step, &mut optim, &device);
            ema.update(&net).unwrap();
        }
        let read = |record: ModuleRecord| record.into_bytes().unwrap();
        let written = ModuleRecord::from_bytes(read(record)).unwrap();
        let loaded = config().init(&Net::new(&device)).load_record(written);
        assert_same(&values(&loaded), &expected);
        // Burn's own: with Fusion, a record of what is being trained is written over.
        if cfg!(not(feature = "fusion")) {
            let written = ModuleRecord::from_bytes(read(net_record)).unwrap();
            assert_same(
                &values(&Net::new(&device.clone().inner()).load_record(written)),
                &expected_net,
            );
        }
        for (data, expected) in numbers.into_iter().zip(&expected) {
            assert_eq!(data.as_bytes(), expected.bytes, "{}", expected.path);
        }
    }
}

/// The values of the floats in `model`, which nobody has looked at yet.
fn values_of<M: Module>(model: &M) -> Vec<TensorData> {
    struct Read(Vec<TensorData>);
    impl ModuleVisitor for Read {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.base().into_data());
        }
    }
    let mut read = Read(Vec::new());
    model.visit(&mut read);
    read.0
}
