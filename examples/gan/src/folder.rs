//! The output folder of a run: checkpoints, and the state that a resumed run continues from.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn_ema_digits::folder::make_writable;
use burn_ema_train::hook::Runner;
use serde::{Deserialize, Serialize};

use crate::error::GanError;
use crate::evaluation::Distances;
use crate::settings::{Flags, Settings};
use crate::trainer::Trainer;

const STATE: &str = "run.json";

/// What the files of a checkpoint begin with.
const CHECKPOINT: [&str; 3] = ["model", "generator-optim", "discriminator-optim"];

/// What a run has to remember besides its networks and optimizers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Its settings.
    pub settings: Settings,
    /// Number of iterations done.
    pub iters: u64,
    /// The distances so far.
    pub history: Vec<Distances>,
}

/// The folder of a run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The folder that the flags name, and the state of the run in it: a new one, or the one to resume.
    /// Creates the folder; in a new run, the state of an older one is removed.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written, holds foreign files, or lacks a run to resume.
    pub fn open(flags: &Flags) -> Result<(Self, State), GanError> {
        let folder = Self {
            path: flags.out.clone(),
        };
        let old = match flags.resume {
            true => folder.state()?,
            false => State {
                settings: Settings::default(),
                iters: 0,
                history: Vec::new(),
            },
        };
        let state = State {
            settings: old.settings.clone().with_flags(flags)?,
            ..old
        };
        if state.iters >= state.settings.iters {
            return Err(folder.cannot_resume(format!(
                "its {} iterations are done: raise --iters",
                state.iters
            )));
        }
        make_writable(&folder.path).map_err(|error| GanError::output(&folder.path, error))?;
        folder.check_own()?;
        if !flags.resume {
            // Otherwise `--resume` would go on with the old run if this one stops before its first checkpoint.
            match fs::remove_file(folder.file(STATE)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(GanError::output(folder.file(STATE), error));
                }
                _ => {}
            }
        }
        Ok((folder, state))
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a checkpoint. The state, which names the checkpoint, comes last and in one piece, so that
    /// a run that is cut off at any moment can be resumed.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn save(&self, trainer: &Trainer, state: &State) -> Result<(), GanError> {
        let failed = |path: &Path, problem: String| GanError::Output {
            path: path.to_owned(),
            problem,
        };
        let path = self.checkpoint(CHECKPOINT[0], state.iters);
        let model = trainer.model().clone();
        model
            .save_file(&path)
            .map_err(|error| failed(&path, error.to_string()))?;
        for (name, optim) in optimizers(trainer) {
            let path = self.checkpoint(name, state.iters);
            let record = optim.to_record();
            record
                .save(&path)
                .map_err(|error| failed(&path, error.to_string()))?;
        }
        let text = serde_json::to_string_pretty(state).expect("a state is plain data");
        let (path, unfinished) = (self.file(STATE), self.file(".run.json"));
        fs::write(&unfinished, text + "\n")
            .and_then(|()| fs::rename(&unfinished, &path))
            .map_err(|error| GanError::output(&path, error))?;
        self.remove_other_checkpoints(state.iters);
        Ok(())
    }

    /// Puts the checkpoint of `state` into a new `trainer`.
    ///
    /// # Errors
    ///
    /// If it is missing, damaged, or of other networks.
    pub fn load(&self, trainer: &mut Trainer, state: &State) -> Result<(), GanError> {
        let path = self.checkpoint(CHECKPOINT[0], state.iters);
        let damaged = |path: &Path, error: &dyn std::fmt::Display| {
            self.cannot_resume(format!("{} is missing or damaged: {error}", path.display()))
        };
        trainer
            .resume(state.iters, |model| model.try_load_file(&path))
            .map_err(|error| damaged(&path, &error))?;
        let load = |name: &str, optim: &ModuleOptimizer| {
            let path = self.checkpoint(name, state.iters);
            let record = OptimizerRecord::load(&path).map_err(|error| damaged(&path, &error))?;
            Ok::<_, GanError>(optim.clone().load_record(record))
        };
        trainer.generator_optim = load(CHECKPOINT[1], &trainer.generator_optim)?;
        trainer.discriminator_optim = load(CHECKPOINT[2], &trainer.discriminator_optim)?;
        Ok(())
    }

    fn checkpoint(&self, name: &str, iters: u64) -> PathBuf {
        self.file(&format!("{name}-{iters:06}.bpk"))
    }

    fn remove_other_checkpoints(&self, iters: u64) {
        let suffix = format!("-{iters:06}.bpk");
        let Ok(entries) = fs::read_dir(&self.path) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if is_checkpoint(&name) && !name.ends_with(&suffix) {
                // What is left takes room, and no harm.
                let _ = fs::remove_file(&path);
            }
        }
    }

    fn state(&self) -> Result<State, GanError> {
        let path = self.file(STATE);
        let text = fs::read_to_string(&path)
            .map_err(|_| self.cannot_resume(format!("there is no run, {STATE} is missing")))?;
        serde_json::from_str(&text)
            .map_err(|error| self.cannot_resume(format!("{STATE} is damaged: {error}")))
    }

    fn cannot_resume(&self, problem: String) -> GanError {
        GanError::Resume {
            path: self.path.clone(),
            problem,
        }
    }

    /// What is not ours is not to be mixed with ours.
    fn check_own(&self) -> Result<(), GanError> {
        let mut entries =
            fs::read_dir(&self.path).map_err(|error| GanError::output(&self.path, error))?;
        let is_state = |text: String| serde_json::from_str::<State>(&text).is_ok();
        if entries.next().is_none() || fs::read_to_string(self.file(STATE)).is_ok_and(is_state) {
            return Ok(());
        }
        Err(GanError::ForeignFolder {
            path: self.path.clone(),
        })
    }
}

/// Whether a file of this name is one of ours.
fn is_checkpoint(name: &str) -> bool {
    let number = CHECKPOINT
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix)?.strip_prefix('-'))
        .and_then(|rest| rest.strip_suffix(".bpk"));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn optimizers(trainer: &Trainer) -> [(&'static str, &ModuleOptimizer); 2] {
    [
        (CHECKPOINT[1], &trainer.generator_optim),
        (CHECKPOINT[2], &trainer.discriminator_optim),
    ]
}
