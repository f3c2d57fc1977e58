//! A whole run, from the flags to the closing line.

use std::fmt;
use std::path::PathBuf;

use burn_ema_digits::data::{self, DigitItem, Digits};
use burn_ema_digits::device;
use burn_ema_train::hook::{EmaHook, Hooks, Runner};
use indicatif::{ProgressBar, ProgressStyle};

use crate::error::GanError;
use crate::evaluation::{Distances, Evaluation, draw_distances};
use crate::folder::{RunFolder, State};
use crate::settings::Flags;
use crate::trainer::Trainer;

/// What a run ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The distances at the end.
    pub distances: Distances,
    /// The picture of samples.
    pub grid: PathBuf,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Distances { ema, online, .. } = self.distances;
        let grid = self.grid.display();
        write!(
            formatter,
            "ema_fd={ema:.2} online_fd={online:.2} grid={grid}"
        )
    }
}

/// Trains, compares, draws and saves.
///
/// # Errors
///
/// Whatever can be wrong with flags, folder, data, device or checkpoint is found before training, and
/// then nothing is overwritten.
pub fn run(flags: &Flags) -> Result<Report, GanError> {
    let digits = Digits::load(flags.data.as_deref().unwrap_or(data::default_path()))?;
    run_on(digits.items, flags)
}

fn run_on(digits: Vec<DigitItem>, flags: &Flags) -> Result<Report, GanError> {
    let device = device::find(&flags.device)?;
    let (folder, mut state) = RunFolder::open(flags)?;
    let settings = state.settings.clone();

    let mut trainer = Trainer::new(digits.clone(), settings.seed, &device);
    let mut hook = EmaHook::new(settings.hook.clone())?;
    // Before a record is loaded: until then both generators share BatchNorm's running statistics.
    hook.begin(trainer.model_mut())?;
    if state.iters > 0 {
        folder.load(&mut trainer, &state)?;
    }
    let mut hooks = Hooks::new().with(hook);
    hooks.before_run(&mut trainer).map_err(GanError::Run)?;

    let evaluation = Evaluation::new(&digits, &device);
    let bar = progress_bar(settings.iters, state.iters);
    while trainer.iter() < settings.iters {
        let losses = trainer.train_iter();
        hooks
            .after_train_iter(&mut trainer, 0)
            .map_err(GanError::Run)?;
        trainer.advance();
        bar.set_message(format!(
            "loss of generator {:.2}, of discriminator {:.2}",
            losses.generator, losses.discriminator
        ));
        bar.inc(1);

        state.iters = trainer.iter();
        let is_last = state.iters == settings.iters;
        if is_last || state.iters.is_multiple_of(settings.eval_every) {
            compare(&evaluation, &trainer, &folder, &mut state, &bar)?;
        }
    }
    hooks.after_run(&mut trainer).map_err(GanError::Run)?;
    bar.finish_and_clear();
    Ok(Report {
        distances: state.history[state.history.len() - 1],
        grid: folder.file("samples.png"),
    })
}

/// Compares both generators, draws, and writes a checkpoint.
fn compare(
    evaluation: &Evaluation,
    trainer: &Trainer,
    folder: &RunFolder,
    state: &mut State,
    bar: &ProgressBar,
) -> Result<(), GanError> {
    let distances = evaluation.distances(trainer.model(), state.iters);
    let line = format!(
        "iteration {:>6}: Fréchet distance {:6.2} with EMA, {:6.2} online",
        distances.iters, distances.ema, distances.online
    );
    bar.suspend(|| println!("{line}"));
    state.history.push(distances);
    let samples = folder.file(&format!("samples-{:06}.png", state.iters));
    evaluation.draw_samples(trainer.model(), &samples)?;
    evaluation.draw_samples(trainer.model(), &folder.file("samples.png"))?;
    draw_distances(&state.history, &folder.file("frechet.png"))?;
    folder.save(trainer, state)
}

/// Draws nothing where there is no terminal.
fn progress_bar(iters: u64, done: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} left, {msg}")
        .expect("the template is valid");
    ProgressBar::new(iters)
        .with_style(style)
        .with_position(done)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::PoisonError;

    use burn::module::{Module, ModuleVisitor, Param};
    use burn::tensor::{Device, Tensor};
    use clap::Parser;

    use super::*;
    use crate::ALONE;
    use crate::model::Gan;
    use crate::settings::Settings;

    /// On few digits: how good they get is not the question.
    fn run_in(folder: &Path, line: &str) -> Result<Report, GanError> {
        let out = folder.to_str().unwrap();
        let line = ["gan", "--out", out]
            .into_iter()
            .chain(line.split_whitespace());
        let mut digits = Digits::load(data::default_path()).unwrap().items;
        digits.truncate(128);
        run_on(digits, &Flags::try_parse_from(line).unwrap())
    }

    fn state(folder: &Path) -> State {
        serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap()
    }

    /// Every number of a checkpoint, as bits. Ids of parameters are drawn again in each run.
    fn bits(file: &Path) -> Vec<u32> {
        struct Bits(Vec<u32>);
        impl ModuleVisitor for Bits {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let data = param.base().into_data();
                self.0.extend(data.iter::<f32>().map(f32::to_bits));
            }
        }
        let mut model = Gan::new(&Device::default());
        let mut hook = EmaHook::new(Settings::default().hook).unwrap();
        hook.begin(&mut model).unwrap();
        let mut bits = Bits(Vec::new());
        model.try_load_file(file).unwrap().visit(&mut bits);
        bits.0
    }

    #[test]
    fn stopped_and_resumed_run_is_the_uninterrupted_one() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        let flags = "--eval-every 4 --start-iter 3 --momentum 0.2 --iters";
        let report = run_in(&whole, &format!("{flags} 12")).unwrap();
        run_in(&parts, &format!("{flags} 8")).unwrap();
        let before = bits(&parts.join("model-000008.bpk"));
        let resumed = run_in(&parts, "--resume --iters 12").unwrap();

        assert_eq!(resumed.distances, report.distances);
        assert_ne!(report.distances.ema, report.distances.online);
        assert_eq!(state(&parts), state(&whole));
        let [one, other] = [&whole, &parts].map(|folder| bits(&folder.join("model-000012.bpk")));
        assert!(one == other);
        assert!(one != before);
        for picture in ["samples.png", "frechet.png", "samples-000004.png"] {
            assert!(parts.join(picture).is_file(), "{picture}");
        }
        // Only the last checkpoint is kept.
        assert!(!parts.join("model-000008.bpk").exists());
    }

    /// Also one that stops before its first checkpoint.
    #[test]
    fn new_run_leaves_no_older_one_to_resume() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        run_in(folder.path(), "--iters 2").unwrap();
        let out = folder.path().to_str().unwrap();
        let flags = ["gan", "--out", out, "--seed", "2", "--iters", "4"];
        RunFolder::open(&Flags::try_parse_from(flags).unwrap()).unwrap();
        let error = run_in(folder.path(), "--resume --iters 6").unwrap_err();
        assert!(error.to_string().contains("there is no run"), "{error}");
    }

    #[test]
    fn what_cannot_be_resumed_is_an_error_and_stays_as_it_is() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let assert_error = |line: &str, part: &str| {
            let error = run_in(folder.path(), line).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        };
        assert_error("--resume", "there is no run");
        run_in(folder.path(), "--iters 2").unwrap();
        assert_error("--resume", "its 2 iterations are done: raise --iters");

        let model = folder.path().join("model-000002.bpk");
        let good = fs::read(&model).unwrap();
        fs::write(&model, &good[..good.len() / 2]).unwrap();
        assert_error(
            "--resume --iters 4",
            "model-000002.bpk is missing or damaged",
        );
        fs::write(&model, &good).unwrap();
        fs::write(folder.path().join("generator-optim-000002.bpk"), "garbage").unwrap();
        assert_error(
            "--resume --iters 4",
            "generator-optim-000002.bpk is missing or damaged",
        );
        fs::write(folder.path().join("run.json"), "{").unwrap();
        assert_error("--resume --iters 4", "run.json is damaged");
        assert!(fs::read(&model).unwrap() == good);

        let foreign = tempfile::tempdir().unwrap();
        fs::write(foreign.path().join("thesis.tex"), "").unwrap();
        let error = run_in(foreign.path(), "--iters 2").unwrap_err();
        assert!(
            error.to_string().contains("not from this program"),
            "{error}"
        );
    }
}
