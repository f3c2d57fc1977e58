//! A program that uses one device must not be given another: `Device::default()` is the first backend that is compiled in, or
//! what `BURN_DEVICE` says, and may not work at all.

use std::process::Command;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Device;
use burn_ema::config::MissingEma;
use burn_ema::{EmaConfig, EmaSetConfig};
use burn_ema_train::EmaExt;

/// Set in the process whose default device does not work.
const MARK: &str = "BURN_EMA_WITHOUT_DEFAULT_DEVICE";

#[test]
fn everything_works_where_the_default_device_does_not() {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .env("BURN_DEVICE", "cuda") // not compiled in
        .env(MARK, "1")
        .args([
            "--exact",
            "default_device::in_a_process_of_its_own",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("everything worked"), "{out}\n{err}");
}

#[test]
fn in_a_process_of_its_own() {
    if std::env::var_os(MARK).is_none() {
        return;
    }
    let layer = || -> Linear { LinearConfig::new(2, 2).init(&Device::flex()) };
    let model = layer();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ema.bpk");
    let config = EmaConfig::new();
    let mut ema = config.init(&model);
    ema.update(&model).unwrap();
    ema.clone().save_file(&file).unwrap();
    let loaded = config.init(&layer()).try_load_file(&file).unwrap();
    assert_eq!(loaded.num_updates(), 1);

    let starts = config
        .clone()
        .with_missing_ema(MissingEma::StartFromWeights);
    let plain = layer().into_record();
    assert!(starts.init(&layer()).try_load_record(plain).is_ok());

    let set = EmaSetConfig::new()
        .with("a", EmaConfig::new())
        .with("b", EmaConfig::new());
    let record = set.init(&model).into_record();
    assert!(set.init(&layer()).try_load_record(record).is_ok());

    let checkpoint = layer().with_ema(EmaConfig::new()).into_record();
    let wrapped = layer().with_ema(EmaConfig::new());
    assert!(wrapped.try_load_record(checkpoint).is_ok());

    // A model without parameters has no device at all.
    let empty: Vec<Linear> = Vec::new();
    assert!(config.try_init(&empty).is_err());
    assert!(empty.with_ema(EmaConfig::new()).into_record().is_empty());
    println!("everything worked");
}
