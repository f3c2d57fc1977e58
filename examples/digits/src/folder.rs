//! The output folder of a run.
//!
//! Everything that could be wrong with it is found before anything in it changes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::OptimizerRecord;
use burn::optim::lr_scheduler::LrSchedulerRecord;
use burn::store::ModuleRecord;
use burn::train::checkpoint::{Checkpointer, FileCheckpointer};

use crate::error::DigitsError;
use crate::settings::{Flags, Settings};

/// What a run writes, apart from `run.json`.
const WRITTEN: [&str; 7] = [
    "checkpoint",
    "train",
    "valid",
    "experiment.log",
    "curve.png",
    "ema.bpk",
    "ema.safetensors",
];

/// The folder of a run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The folder that the flags name, and the settings for a run in it: those of the run that is
    /// resumed or the default ones, with what the flags say.
    ///
    /// Changes nothing but that it creates the folder.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written, holds foreign files, or lacks the run to resume.
    pub fn open(flags: &Flags) -> Result<(Self, Settings), DigitsError> {
        let folder = Self {
            path: flags.out.clone(),
        };
        let settings = match flags.resume {
            Some(epoch) => folder.settings(epoch as usize)?,
            None => Settings::default(),
        };
        let settings = settings.with_flags(flags)?;
        folder.check_writable()?;
        folder.check_own()?;
        Ok((folder, settings))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where Burn's checkpointers write.
    pub fn checkpoints(&self) -> PathBuf {
        self.file("checkpoint")
    }

    /// Clears what an earlier run left: all of it, or what lies after the epoch to resume from. Then
    /// writes the settings down.
    ///
    /// # Errors
    ///
    /// If a file cannot be removed or written.
    pub fn prepare(&self, settings: &Settings, resume: Option<usize>) -> Result<(), DigitsError> {
        match resume {
            None => {
                for name in WRITTEN {
                    remove(&self.file(name))?;
                }
            }
            Some(epoch) => {
                for split in ["train", "valid"] {
                    self.remove_epochs_after(epoch, split)?;
                }
            }
        }
        let text = serde_json::to_string_pretty(settings).expect("settings are plain numbers");
        let path = self.run_file();
        fs::write(&path, text + "\n").map_err(|source| DigitsError::Output { path, source })
    }

    /// Checks that the checkpoint of an epoch is whole and fits `model`.
    ///
    /// # Errors
    ///
    /// If one of its files is missing, damaged, or of another model.
    pub fn check_checkpoint<M: Module>(&self, epoch: usize, model: M) -> Result<(), DigitsError> {
        let problem = |problem: String| self.checkpoint_error(epoch, problem);
        for name in ["model", "optim", "scheduler"] {
            let file = self.checkpoints().join(format!("{name}-{epoch}.bpk"));
            if !file.is_file() {
                return Err(problem(format!("there is no {}", file.display())));
            }
        }
        let directory = self.checkpoints();
        let record: ModuleRecord = FileCheckpointer::new(&directory, "model")
            .restore(epoch)
            .map_err(|error| problem(format!("{error:?}")))?;
        model
            .try_load_record(record)
            .map_err(|error| problem(error.to_string()))?;
        let _: OptimizerRecord = FileCheckpointer::new(&directory, "optim")
            .restore(epoch)
            .map_err(|error| problem(format!("{error:?}")))?;
        let _: LrSchedulerRecord = FileCheckpointer::new(&directory, "scheduler")
            .restore(epoch)
            .map_err(|error| problem(format!("{error:?}")))?;
        Ok(())
    }

    fn run_file(&self) -> PathBuf {
        self.file("run.json")
    }

    fn settings(&self, epoch: usize) -> Result<Settings, DigitsError> {
        let path = self.run_file();
        let problem = |problem: String| self.checkpoint_error(epoch, problem);
        let text = fs::read_to_string(&path)
            .map_err(|_| problem(format!("there is no run, {} is missing", path.display())))?;
        serde_json::from_str(&text)
            .map_err(|error| problem(format!("{} is damaged: {error}", path.display())))
    }

    fn checkpoint_error(&self, epoch: usize, problem: String) -> DigitsError {
        DigitsError::Checkpoint {
            epoch,
            path: self.path.clone(),
            problem,
        }
    }

    fn check_writable(&self) -> Result<(), DigitsError> {
        make_writable(&self.path).map_err(|source| DigitsError::Output {
            path: self.path.clone(),
            source,
        })
    }

    /// Burn would write beside whatever is there; a run that is not ours is not to be cleared.
    fn check_own(&self) -> Result<(), DigitsError> {
        let mut entries = fs::read_dir(&self.path).map_err(|source| DigitsError::Output {
            path: self.path.clone(),
            source,
        })?;
        let is_settings = |text: String| serde_json::from_str::<Settings>(&text).is_ok();
        if entries.next().is_none() || fs::read_to_string(self.run_file()).is_ok_and(is_settings) {
            return Ok(());
        }
        Err(DigitsError::ForeignFolder {
            path: self.path.clone(),
        })
    }

    fn remove_epochs_after(&self, epoch: usize, split: &str) -> Result<(), DigitsError> {
        let Ok(entries) = fs::read_dir(self.file(split)) else {
            return Ok(());
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let number = name.strip_prefix("epoch-").and_then(|n| n.parse().ok());
            if number.is_some_and(|number: usize| number > epoch) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

/// Creates the folder if it is not there, and tries to write in it.
///
/// # Errors
///
/// What the operating system says.
pub fn make_writable(folder: &Path) -> io::Result<()> {
    let test = folder.join(".write-test");
    fs::create_dir_all(folder)?;
    fs::write(&test, "")?;
    fs::remove_file(&test)
}

fn remove(path: &Path) -> Result<(), DigitsError> {
    let result = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DigitsError::Output {
            path: path.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
}
