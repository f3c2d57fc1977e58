//! Saving, loading and resuming an average, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::AdamWConfig;
use burn::store::ModuleRecord;
use burn::tensor::{Tensor, TensorData};
use burn_ema::{Decay, EmaConfig, EmaModel, NonFinite, PlainRecord, record};
use burn_ema_tests::backend::{autodiff_device, device};
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
        // An average is due then, and skipped.
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
fn average_that_is_saved_and_loaded_goes_on_bit_for_bit() {
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
fn average_that_is_loaded_needs_its_file_no_more() {
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
    let config = config().with_plain_record(PlainRecord::StartFrom);
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
fn loaded_average_hands_out_models_with_the_ids_of_the_saved_one() {
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
fn record_holds_the_average_and_its_counters_by_name() {
    let paths: Vec<String> = values(&averaged_until(5))
        .into_iter()
        .map(|value| value.path)
        .collect();
    assert_eq!(
        paths,
        [
            "shadow.a",
            "shadow.f",
            "shadow.b",
            "shadow.n",
            "shadow.t",
            "ema_counters"
        ]
    );
}

#[test]
fn record_of_a_plain_model_is_refused_with_the_remedy() {
    let ema = averaged_until(5);
    let plain = Mixed::at(Some(9), &device()).into_record();
    let error = ema.try_load_record(plain).unwrap_err().to_string();
    assert!(error.contains("plain model and no average"), "{error}");
    assert!(error.contains("PlainRecord::StartFrom"), "{error}");
}

#[test]
fn plain_record_starts_the_average_where_that_is_chosen() {
    let config = config().with_plain_record(PlainRecord::StartFrom);
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
fn choice_to_start_from_plain_records_does_not_touch_those_with_an_average() {
    let saved = averaged_until(11);
    let config = config().with_plain_record(PlainRecord::StartFrom);
    let ema = config.init(&Mixed::at(None, &device()));
    let ema = ema.try_load_record(saved.clone().into_record()).unwrap();
    assert_same_values(&ema, &saved);
    assert_eq!(counters(&ema), counters(&saved));
}

#[test]
fn record_of_another_model_is_refused() {
    let other = Weights::new(&[1.0, 2.0], &device());
    let refused = |plain_record, record: ModuleRecord| {
        let config = config().with_plain_record(plain_record);
        let ema = config.init(&Mixed::at(None, &device()));
        ema.try_load_record(record).unwrap_err().to_string()
    };
    let average = config().init(&other).into_record();
    let error = refused(PlainRecord::Refuse, average.clone());
    assert!(error.contains("shadow.a"), "{error}");
    let error = refused(PlainRecord::StartFrom, average);
    assert!(error.contains("shadow.a"), "{error}");
    let error = refused(PlainRecord::StartFrom, other.into_record());
    assert!(error.contains(r#"Missing tensors: ["a""#), "{error}");
}

#[test]
fn record_with_another_shape_is_refused_by_name() {
    let config = EmaConfig::new();
    let ema = config.init(&Weights::new(&[1.0, 2.0], &device()));
    let longer = config.init(&Weights::new(&[1.0, 2.0, 3.0], &device()));
    let error = ema.try_load_record(longer.into_record()).unwrap_err();
    assert!(error.to_string().contains("shadow.w"), "{error}");
}

#[test]
fn damaged_file_is_refused() {
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

/// `try_load_file` takes the average; a clone, which shares its memory, is what it was.
#[test]
fn average_that_refused_a_record_is_still_there_in_a_clone() {
    let ema = averaged_until(5);
    let before = values(&ema);
    let plain = Mixed::at(Some(9), &device()).into_record();
    assert!(ema.clone().try_load_record(plain).is_err());
    assert_same(&values(&ema), &before);
}

#[test]
fn average_in_a_module_of_the_user_is_saved_and_loaded_with_it() {
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
    assert!(record::holds_average(&record, "ema"));
    assert!(!record::holds_average(&record, "net"));
    assert!(!record::holds_average(&record, ""));

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
