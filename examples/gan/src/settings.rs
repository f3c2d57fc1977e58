//! The flags of the program, and the settings of a run that follow from them.

use std::path::PathBuf;

use burn_ema_train::hook::EmaHookConfig;
use clap::Parser;
use serde::{Deserialize, Serialize};

use crate::error::GanError;

/// Trains a GAN on 8x8 handwritten digits and compares its generator with the generator's exponential
/// moving average.
///
/// Writes samples, the Fréchet distance to real digits and checkpoints into the output folder, and
/// ends with one line: ema_fd, online_fd, grid.
#[derive(Clone, Debug, Parser)]
#[command(name = "gan", version)]
pub struct Flags {
    /// Number of training iterations [default: 2000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub iters: Option<u64>,

    /// Seed of weights, data and latent codes [default: 1]
    #[arg(long)]
    pub seed: Option<u64>,

    /// Weight of the new value of trainable parameters in an EMA update, between 0 and 1 [default: 0.01]
    #[arg(long)]
    pub momentum: Option<f64>,

    /// Weight of the new value of BatchNorm's running statistics, above 0 and at most 1 [default: 0.01]
    #[arg(long)]
    pub momentum_nontrainable: Option<f64>,

    /// Iterations before averaging starts; until then the EMA copy is equal to the generator [default: 200]
    #[arg(long, value_name = "ITERS")]
    pub start_iter: Option<u64>,

    /// Iterations from one update of the EMA to the next; -1 for never [default: 1]
    #[arg(long, value_name = "ITERS", allow_negative_numbers = true)]
    pub interval: Option<i64>,

    /// Iterations from one comparison and checkpoint to the next [default: 200]
    #[arg(long, value_name = "ITERS", value_parser = clap::value_parser!(u64).range(1..))]
    pub eval_every: Option<u64>,

    /// A run of 60 iterations, to see it work
    #[arg(long, conflicts_with_all = ["iters", "eval_every", "resume"])]
    pub quick: bool,

    /// Backend to train on: a cargo feature that was compiled in, such as flex
    #[arg(long, default_value = "default")]
    pub device: String,

    /// Folder for everything that is written
    #[arg(long, value_name = "FOLDER", default_value = "out/gan")]
    pub out: PathBuf,

    /// Go on with the run in the output folder from its last checkpoint, with its settings
    #[arg(long)]
    pub resume: bool,

    /// The data file, if not the one in the repository
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
}

/// The settings of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Number of training iterations.
    pub iters: u64,
    /// Seed of weights, data and latent codes.
    pub seed: u64,
    /// Iterations from one comparison and checkpoint to the next.
    pub eval_every: u64,
    /// The settings of the EMA copy of the generator.
    pub hook: EmaHookConfig,
}

impl Default for Settings {
    /// BatchNorm's running statistics are averaged with the weights: the running statistics of the online generator do
    /// not fit its EMA. mmagic's default copies them (momentum 1).
    fn default() -> Self {
        Self {
            iters: 2000,
            seed: 1,
            eval_every: 200,
            hook: EmaHookConfig::new("generator_ema")
                .with_interval(1)
                .with_start_iter(200)
                .with_momentum(0.01)
                .with_momentum_nontrainable(0.01),
        }
    }
}

impl Settings {
    /// These settings with what the flags say.
    ///
    /// # Errors
    ///
    /// If the settings of the EMA are not valid.
    pub fn with_flags(mut self, flags: &Flags) -> Result<Self, GanError> {
        if flags.quick {
            (self.iters, self.eval_every, self.hook.start_iter) = (60, 30, 20);
        }
        self.iters = flags.iters.unwrap_or(self.iters);
        self.seed = flags.seed.unwrap_or(self.seed);
        self.eval_every = flags.eval_every.unwrap_or(self.eval_every);
        let hook = &mut self.hook;
        hook.start_iter = flags.start_iter.unwrap_or(hook.start_iter);
        hook.interval = flags.interval.unwrap_or(hook.interval);
        let cfg = &mut hook.interp_cfg;
        cfg.momentum = flags.momentum.unwrap_or(cfg.momentum);
        cfg.momentum_nontrainable = flags
            .momentum_nontrainable
            .unwrap_or(cfg.momentum_nontrainable);
        cfg.validate()?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Result<Flags, clap::Error> {
        Flags::try_parse_from(std::iter::once("gan").chain(line.split_whitespace()))
    }

    #[test]
    fn flags_override_the_settings_of_a_run() {
        let flags =
            flags("--iters 7 --seed 9 --momentum 0.1 --interval -1 --start-iter 3").unwrap();
        let settings = Settings::default().with_flags(&flags).unwrap();
        assert_eq!((settings.iters, settings.seed), (7, 9));
        assert_eq!((settings.hook.interval, settings.hook.start_iter), (-1, 3));
        assert_eq!(settings.hook.interp_cfg.momentum, 0.1);
        assert_eq!(settings.hook.interp_cfg.momentum_nontrainable, 0.01);
    }

    #[test]
    fn bad_flags_are_errors() {
        for line in [
            "--iters 0",
            "--eval-every 0",
            "--quick --iters 5",
            "--momentum x",
            "--what",
        ] {
            assert!(flags(line).is_err(), "{line}");
        }
        for line in [
            "--momentum 0",
            "--momentum 1",
            "--momentum-nontrainable 1.5",
        ] {
            let flags = flags(line).unwrap();
            let error = Settings::default().with_flags(&flags).unwrap_err();
            assert!(error.to_string().starts_with("momentum"), "{error}");
        }
    }
}
