//! The flags of the program, and the settings of a run that follow from them.

use std::path::PathBuf;

use burn_ema::config::NonFinite;
use burn_ema::{Decay, EmaConfig, EmaError};
use clap::Parser;
use serde::{Deserialize, Serialize};

use crate::error::DigitsError;

/// Trains a small conv net on 8x8 handwritten digits and compares its online weights with their
/// exponential moving average.
///
/// Writes checkpoints, logs, `curve.png`, `ema.bpk` and `ema.safetensors` into the output folder, and
/// ends with one line: ema_accuracy, online_accuracy, ema_file.
#[derive(Clone, Debug, Parser)]
#[command(name = "digits", version)]
pub struct Flags {
    /// Number of passes over the training data [default: 15]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub epochs: Option<u32>,

    /// Seed of the initial weights and of the order of the data [default: 1]
    #[arg(long)]
    pub seed: Option<u64>,

    /// Share of the old EMA that an update keeps, from 0.5 to 1
    #[arg(long, value_parser = decay, conflicts_with = "half_life")]
    pub decay: Option<f64>,

    /// Half-life of the EMA in optimizer steps [default: 100]
    #[arg(long, value_name = "STEPS", value_parser = half_life)]
    pub half_life: Option<f64>,

    /// Optimizer steps before averaging starts; until then the EMA is a copy of the online weights [default: 64]
    #[arg(long, value_name = "STEPS")]
    pub start: Option<u64>,

    /// Optimizer steps from one update of the EMA to the next [default: 1]
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    pub interval: Option<u64>,

    /// Backend to train on: a cargo feature that was compiled in, such as flex
    #[arg(long, default_value = "default")]
    pub device: String,

    /// Folder for everything that is written
    #[arg(long, value_name = "FOLDER", default_value = "out/digits")]
    pub out: PathBuf,

    /// Continue the run in the output folder after this epoch, with its settings
    #[arg(long, value_name = "EPOCH", value_parser = clap::value_parser!(u32).range(1..))]
    pub resume: Option<u32>,

    /// The data file, if not the one in the repository
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
}

fn decay(text: &str) -> Result<f64, String> {
    let decay = text.parse().map_err(|_| "not a number".to_string())?;
    Decay::try_constant(decay).map_err(|error| error.to_string())?;
    Ok(decay)
}

fn half_life(text: &str) -> Result<f64, String> {
    let steps = text.parse().map_err(|_| "not a number".to_string())?;
    Decay::try_half_life(steps).map_err(|error| error.to_string())?;
    Ok(steps)
}

/// The settings of a run, kept in its folder as `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Number of passes over the training data.
    pub epochs: usize,
    /// Seed of the initial weights and of the order of the data.
    pub seed: u64,
    /// The decay schedule.
    pub decay: Decay,
    /// Optimizer steps before averaging starts.
    pub start: u64,
    /// Optimizer steps from one update of the EMA to the next.
    pub interval: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            epochs: 15,
            seed: 1,
            decay: Decay::half_life(100.0),
            start: 64,
            interval: 1,
        }
    }
}

impl Settings {
    /// These settings with what the flags say.
    pub fn with_flags(mut self, flags: &Flags) -> Result<Self, DigitsError> {
        if let Some(epochs) = flags.epochs {
            self.epochs = epochs as usize;
        }
        self.seed = flags.seed.unwrap_or(self.seed);
        self.start = flags.start.unwrap_or(self.start);
        self.interval = flags.interval.unwrap_or(self.interval);
        if let Some(decay) = flags.decay {
            self.decay = Decay::try_constant(decay).map_err(EmaError::from)?;
        }
        if let Some(steps) = flags.half_life {
            self.decay = Decay::try_half_life(steps).map_err(EmaError::from)?;
        }
        match flags.resume {
            Some(epoch) if epoch as usize >= self.epochs => Err(DigitsError::Flags(format!(
                "--resume {epoch} leaves nothing to do in a run of {} epochs: raise --epochs",
                self.epochs
            ))),
            _ => Ok(self),
        }
    }

    /// The configuration of the EMA.
    ///
    /// BatchNorm's running statistics are averaged with the weights, as they are by default. Copied running
    /// statistics would not fit the EMA weights: with so high a learning rate they cost tens of percent of
    /// accuracy in the first epochs.
    pub fn ema(&self) -> EmaConfig {
        EmaConfig::new()
            .with_decay(self.decay.clone())
            .with_start(self.start)
            .with_interval(self.interval)
            .with_non_finite(NonFinite::Skip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Result<Flags, clap::Error> {
        Flags::try_parse_from(std::iter::once("digits").chain(line.split_whitespace()))
    }

    #[test]
    fn flags_override_the_settings_of_a_run() {
        let flags = flags("--epochs 7 --decay 0.99 --start 5 --interval 3 --seed 9").unwrap();
        let settings = Settings::default().with_flags(&flags).unwrap();
        assert_eq!(
            settings,
            Settings {
                epochs: 7,
                seed: 9,
                decay: Decay::constant(0.99),
                start: 5,
                interval: 3,
            }
        );
    }

    #[test]
    fn numbers_out_of_range_are_errors() {
        for line in [
            "--epochs 0",
            "--decay 0.001",
            "--decay 1.5",
            "--decay x",
            "--half-life 0",
            "--half-life inf",
            "--interval 0",
            "--resume 0",
            "--decay 0.9 --half-life 10",
            "--unknown",
        ] {
            assert!(flags(line).is_err(), "{line}");
        }
    }

    #[test]
    fn resuming_a_finished_run_is_an_error() {
        let flags = flags("--resume 15").unwrap();
        let error = Settings::default().with_flags(&flags).unwrap_err();
        assert!(error.to_string().contains("raise --epochs"), "{error}");
    }
}
