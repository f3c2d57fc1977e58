//! A whole run, from the flags to the closing line.

use std::fmt;
use std::io::IsTerminal;
use std::path::PathBuf;

use burn::data::dataloader::DataLoaderBuilder;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::module::Module;
use burn::optim::SgdConfig;
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::Device;
use burn::train::checkpoint::KeepLastNCheckpoints;
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{Learner, LearnerSummary, SupervisedTraining};
use burn_ema_train::{EmaExt, Online, WithEma};

use crate::chart::{Better, Chart, Panel, Series};
use crate::data::{self, DigitBatch, DigitBatcher, DigitItem, Digits};
use crate::device;
use crate::error::DigitsError;
use crate::folder::RunFolder;
use crate::model::DigitsNet;
use crate::progress::PlainLines;
use crate::settings::{Flags, Settings};

const BATCH_SIZE: usize = 16;

/// High for this net, and constant: the online weights keep moving around a minimum, and the EMA averages that out.
const LEARNING_RATE: f64 = 0.3;

/// What a run ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Share of validation digits that the EMA weights get right, from 0 to 1.
    pub ema_accuracy: f64,
    /// The same of the online weights.
    pub online_accuracy: f64,
    /// The file with the EMA weights.
    pub ema_file: PathBuf,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "ema_accuracy={:.4} online_accuracy={:.4} ema_file={}",
            self.ema_accuracy,
            self.online_accuracy,
            self.ema_file.display()
        )
    }
}

/// Trains, evaluates, draws and saves.
///
/// # Errors
///
/// Whatever can be wrong with flags, folder, data, device or checkpoint is found before training,
/// and then nothing is overwritten.
pub fn run(flags: &Flags) -> Result<Report, DigitsError> {
    let digits = Digits::load(flags.data.as_deref().unwrap_or(data::default_path()))?;
    let device = device::find(&flags.device)?;
    let (folder, settings) = RunFolder::open(flags)?;
    let resume = flags.resume.map(|epoch| epoch as usize);
    if let Some(epoch) = resume {
        folder.check_checkpoint(epoch, learner_model(&settings, &device)?)?;
    }
    folder.prepare(&settings, resume)?;

    let (train, validation) = digits.split();
    let trained = train_model(
        &folder,
        &settings,
        resume,
        &device,
        train,
        validation.clone(),
    )?;
    draw_curve(&folder)?;

    let validation = DigitBatcher.batch(validation, &device);
    let report = Report {
        online_accuracy: accuracy(trained.online(), &validation),
        ema_accuracy: accuracy(&trained.clone().into_ema(), &validation),
        ema_file: save_ema(&folder, trained.into_ema())?,
    };
    Ok(report)
}

type Model = WithEma<DigitsNet, burn_ema_train::BothModels>;

fn learner_model(settings: &Settings, device: &Device) -> Result<Model, DigitsError> {
    device.seed(settings.seed);
    let net = DigitsNet::new(&device.clone().autodiff());
    Ok(net.try_with_ema(settings.ema())?.side_by_side())
}

fn train_model(
    folder: &RunFolder,
    settings: &Settings,
    resume: Option<usize>,
    device: &Device,
    train: Vec<DigitItem>,
    validation: Vec<DigitItem>,
) -> Result<Model, DigitsError> {
    let model = learner_model(settings, device)?;
    let monitor = model.monitor();
    let train = DataLoaderBuilder::new(DigitBatcher)
        .batch_size(BATCH_SIZE)
        .shuffle(settings.seed)
        .build(InMemDataset::new(train));
    let validation = DataLoaderBuilder::new(DigitBatcher)
        .batch_size(validation.len())
        .build(InMemDataset::new(validation));

    let mut training = SupervisedTraining::new(folder.path(), train, validation)
        .metrics((AccuracyMetric::new(), LossMetric::new()))
        .metric_valid_numeric(Online::new(AccuracyMetric::new()))
        .metric_valid_numeric(Online::new(LossMetric::new()))
        .metric_train_numeric(monitor.decay())
        .metric_train_numeric(monitor.updates())
        .metric_train_numeric(monitor.distance(16))
        .with_default_checkpointers()
        .with_checkpointing_strategy(KeepLastNCheckpoints::new(settings.epochs))
        .num_epochs(settings.epochs);
    if let Some(epoch) = resume {
        training = training.checkpoint(epoch);
    }
    if !cfg!(feature = "tui") || !std::io::stdout().is_terminal() {
        training = training.renderer(Box::new(PlainLines::default()));
    }

    let optimizer = SgdConfig::new().init();
    let result = training.launch(Learner::new(model, optimizer, LEARNING_RATE));
    match (result.error, result.interrupted) {
        (Some(error), _) => Err(DigitsError::Training(error.to_string())),
        (None, Some(_)) => Err(DigitsError::Training(
            "by hand; continue with --resume and the number of the last whole epoch".into(),
        )),
        (None, None) => Ok(result.model),
    }
}

/// Draws what Burn logged, which with `--resume` includes the epochs before.
fn draw_curve(folder: &RunFolder) -> Result<(), DigitsError> {
    let names = ["Accuracy", "Accuracy (online)", "Loss", "Loss (online)"];
    let summary = LearnerSummary::new(folder.path(), &names).map_err(DigitsError::Training)?;
    let values = |name: &str| -> Vec<f64> {
        let metrics = summary.metrics.valid.iter();
        let entries = metrics.filter(|metric| metric.name == name);
        entries
            .flat_map(|metric| metric.entries.iter().map(|entry| entry.value))
            .collect()
    };
    let accuracy = Series {
        ema: values("Accuracy"),
        online: values("Accuracy (online)"),
    };
    let loss = Series {
        ema: values("Loss"),
        online: values("Loss (online)"),
    };
    let curve = Chart {
        title: "Validation of online and EMA weights",
        x_label: "epoch",
        x: (1..=accuracy.online.len()).collect(),
        panels: vec![
            Panel {
                label: "validation accuracy (%)",
                series: accuracy,
                better: Better::Higher,
                bounds: 0.0..100.0,
            },
            Panel {
                label: "validation loss",
                series: loss,
                better: Better::Lower,
                bounds: 0.0..f64::INFINITY,
            },
        ],
    };
    Ok(curve.draw(&folder.file("curve.png"))?)
}

/// Share of the digits that `net` gets right.
fn accuracy(net: &DigitsNet, batch: &DigitBatch) -> f64 {
    let [number] = batch.labels.dims();
    let guesses = net
        .forward(batch.images.clone())
        .argmax(1)
        .reshape([number]);
    let right = guesses.equal(batch.labels.clone()).int().sum().into_data();
    let right = right.iter::<i64>().sum::<i64>();
    right as f64 / number as f64
}

/// Saves the EMA net as burnpack and safetensors, and returns the path of the first.
fn save_ema(folder: &RunFolder, net: DigitsNet) -> Result<PathBuf, DigitsError> {
    let failed = |path: &PathBuf, problem: String| DigitsError::Save {
        path: path.clone(),
        problem,
    };
    let path = folder.file("ema.safetensors");
    let mut store = SafetensorsStore::from_file(&path).overwrite(true);
    net.save_into(&mut store)
        .map_err(|error| failed(&path, error.to_string()))?;
    let path = folder.file("ema.bpk");
    net.save_file(&path)
        .map_err(|error| failed(&path, error.to_string()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use burn::store::ModuleRecord;
    use clap::Parser;

    use super::*;

    fn run_in(folder: &Path, line: &str) -> Result<Report, DigitsError> {
        let out = folder.to_str().unwrap();
        let line = ["digits", "--out", out]
            .into_iter()
            .chain(line.split_whitespace());
        run(&Flags::try_parse_from(line).unwrap())
    }

    /// Every file below a folder, but for the log, which an earlier run in the same process goes on with.
    fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => files.extend(self::files(&path)),
                false if path.ends_with("experiment.log") => {}
                false => {
                    files.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        files
    }

    fn assert_error(folder: &Path, line: &str, part: &str) {
        let before = files(folder);
        let error = run_in(folder, line).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains('\n'), "{error}");
        assert!(files(folder) == before, "{line} changed something");
    }

    #[test]
    fn resumed_run_goes_on_counting_and_a_damaged_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_error(folder, "--resume 1", "there is no run");
        run_in(folder, "--epochs 1 --seed 3").unwrap();
        let report = run_in(folder, "--resume 1 --epochs 2").unwrap();
        assert!(report.ema_accuracy > 0.5 && report.ema_file.is_file());
        assert!(folder.join("curve.png").is_file() && folder.join("ema.safetensors").is_file());

        // 1 000 digits in batches of 16 are 63 steps an epoch, of which the first 64 only copy.
        let settings = Settings::default();
        let record = ModuleRecord::load(folder.join("checkpoint/model-2.bpk")).unwrap();
        let model = learner_model(&settings, &Device::default()).unwrap();
        let ema = model.load_record(record).ema().unwrap();
        assert_eq!((ema.num_steps(), ema.num_updates()), (126, 62));

        assert_error(folder, "--resume 2", "leaves nothing to do");
        assert_error(folder, "--resume 5 --epochs 9", "there is no");
        for name in ["model", "optim", "scheduler"] {
            let file = folder.join(format!("checkpoint/{name}-2.bpk"));
            let good = fs::read(&file).unwrap();
            // A scheduler without state is 19 bytes, and room.
            fs::write(&file, &good[..12]).unwrap();
            assert_error(
                folder,
                "--resume 2 --epochs 3",
                "cannot resume from epoch 2",
            );
            fs::write(&file, good).unwrap();
        }
        fs::write(folder.join("run.json"), "{").unwrap();
        assert_error(folder, "--resume 2 --epochs 3", "run.json is damaged");
        assert_error(folder, "--epochs 1", "not from this program");
    }

    #[test]
    fn foreign_folder_and_damaged_data_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        // Another program's.
        fs::write(folder.join("run.json"), r#"{ "iters": 3 }"#).unwrap();
        assert_error(folder, "--epochs 1", "not from this program");
        let file = folder.join("a-file");
        fs::write(&file, "").unwrap();
        assert!(run_in(&file, "--epochs 1").is_err());
        let data = folder.join("digits.csv.gz");
        fs::write(&data, b"\x1f\x8b\x08 cut").unwrap();
        let line = format!("--epochs 1 --data {}", data.display());
        assert_error(folder, &line, "is damaged");
    }
}
