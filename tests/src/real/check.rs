//! The checks, the same for every model.

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{DType, Device, Tensor};

use super::api::{self, Ema};
use super::recursion::{Recursion, distance, is_float};
use super::report::{Outcome, Report};
use crate::backend;
use crate::compare::numbers;
use crate::folder::Folder;
use crate::snapshot::{Value, values};

/// Updates before a check looks.
const UPDATES: usize = 5;

/// f32 against f64 after a few updates, relative to the largest number of a tensor.
const ROUNDING: f64 = 2e-6;

/// A model, and what the checks need to train it and to run it.
#[derive(Debug)]
pub struct Case<M> {
    /// Its name in the table.
    pub name: &'static str,
    /// Makes it, with the same numbers every time.
    pub make: fn(&Device) -> M,
    /// Its output for an input that is made on the device.
    pub forward: fn(&M, &Device) -> Tensor<2>,
    /// Its loss on the batch of a step, which is made on the device.
    pub loss: fn(&M, u32, &Device) -> Tensor<1>,
    /// What its users do after an optimizer step.
    pub after_step: fn(M) -> M,
    /// The optimizer that trains it.
    pub optimizer: fn() -> ModuleOptimizer,
    /// The learning rate.
    pub learning_rate: f64,
    /// The decay of its EMA.
    pub decay: f64,
    /// How far outputs may be apart that should be equal but for rounding, relative to the largest.
    pub tolerance: f64,
    /// Whether it is trained with gradient checkpointing.
    pub checkpointing: bool,
    /// The dtype that its devices need to have.
    pub dtype: DType,
    /// Whether other backends than `flex` can run it.
    pub is_portable: bool,
    /// Whether it keeps matrices transposed. LibTorch rounds otherwise for those than for the ones of a record.
    pub is_transposed: bool,
    /// Trainable parameters that its loss does not depend on.
    pub unmoved: &'static [&'static str],
}

impl<M> Case<M> {
    /// A model in f32, trained by Adam.
    pub fn new(
        name: &'static str,
        make: fn(&Device) -> M,
        forward: fn(&M, &Device) -> Tensor<2>,
        loss: fn(&M, u32, &Device) -> Tensor<1>,
    ) -> Self {
        Self {
            name,
            make,
            forward,
            loss,
            after_step: |model| model,
            optimizer: || AdamConfig::new().init(),
            learning_rate: 0.02,
            decay: 0.9,
            tolerance: 5e-5,
            checkpointing: false,
            dtype: DType::F32,
            is_portable: true,
            is_transposed: false,
            unmoved: &[],
        }
    }

    /// `device`, as the case trains there.
    fn training_device(&self, device: &Device) -> Device {
        let device = device.clone().autodiff();
        match self.checkpointing {
            true => device.gradient_checkpointing(),
            false => device,
        }
    }

    /// The device where the case trains.
    pub fn device(&self) -> Device {
        self.training_device(&backend::device())
    }

    /// Another device for the case, if there is one.
    fn second_device(&self) -> Option<Device> {
        let second = another_device()?;
        let runs = self.is_portable && second.supports_dtype(self.dtype);
        runs.then_some(second)
    }
}

/// A device of another backend than the one under test, if one is compiled in.
#[allow(deprecated)] // NdArray is on its way out, and all that comes without a driver beside Flex
fn another_device() -> Option<Device> {
    let devices = [
        backend::elsewhere(),
        #[cfg(feature = "ndarray")]
        Device::ndarray(),
    ];
    let mut others = devices
        .into_iter()
        .filter(|device| *device != backend::device());
    others.next()
}

/// A training that can stop at any step.
pub struct Trainer<'a, M: Module> {
    case: &'a Case<M>,
    optimizer: ModuleOptimizer,
    device: Device,
    step: u32,
    /// What is trained.
    pub model: M,
}

impl<M: Module> std::fmt::Debug for Trainer<'_, M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} after step {}", self.case.name, self.step)
    }
}

impl<'a, M: Module> Trainer<'a, M> {
    /// A training before its first step.
    pub fn new(case: &'a Case<M>) -> Self {
        let device = case.device();
        Self {
            case,
            optimizer: (case.optimizer)(),
            step: 0,
            model: (case.make)(&device),
            device,
        }
    }

    /// One optimizer step.
    pub fn step(&mut self) {
        self.step += 1;
        let loss = (self.case.loss)(&self.model, self.step, &self.device);
        let gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        let rate = self.case.learning_rate;
        let model = self.optimizer.step(rate, self.model.clone(), gradients);
        self.model = (self.case.after_step)(model);
    }

    /// Goes on elsewhere.
    fn move_to(&mut self, device: &Device) {
        self.model = self.model.clone().fork(device);
        self.device = self.case.training_device(device);
    }

    /// The model in inference mode.
    fn online(&self) -> M {
        self.model.valid()
    }
}

/// A training with an EMA and a recursion beside it.
struct Run<'a, M: Module> {
    trainer: Trainer<'a, M>,
    ema: Ema<M>,
    recursion: Recursion,
}

impl<'a, M: Module> Run<'a, M> {
    fn new(case: &'a Case<M>) -> Result<Self, String> {
        Self::with(case, |model| api::new_ema(model, case.decay))
    }

    fn with(
        case: &'a Case<M>,
        init: impl FnOnce(&M) -> Result<Ema<M>, String>,
    ) -> Result<Self, String> {
        let trainer = Trainer::new(case);
        Ok(Self {
            ema: init(&trainer.model)?,
            recursion: Recursion::new(&trainer.model, case.decay),
            trainer,
        })
    }

    fn after(mut self, updates: usize) -> Result<Self, String> {
        for _ in 0..updates {
            self.step()?;
        }
        Ok(self)
    }

    fn step(&mut self) -> Result<(), String> {
        self.trainer.step();
        self.recursion.update(&self.trainer.model);
        api::update(&mut self.ema, &self.trainer.model)
    }

    fn output(&self, model: &M, device: &Device) -> Vec<f64> {
        let device = device.clone().without_autodiff();
        numbers(&(self.trainer.case.forward)(model, &device))
    }

    /// The output of a model of this type with the numbers of the recursion.
    fn expected(&self) -> Vec<f64> {
        let device = self.trainer.case.device();
        let model = (self.trainer.case.make)(&device).valid();
        self.output(&self.recursion.written_into(model), &device)
    }

    /// Compares the EMA model on `device` with what it should be.
    fn compare_output(&self, device: &Device, tolerance: f64) -> Result<(), String> {
        let devices = api::model(&self.ema).devices();
        if devices.iter().any(|found| found != device) {
            return Err(format!(
                "the EMA model is on {devices:?}, expected {device:?}"
            ));
        }
        let actual = self.output(api::model(&self.ema), device);
        near(&actual, &self.expected(), tolerance)
    }
}

fn near(actual: &[f64], expected: &[f64], tolerance: f64) -> Result<(), String> {
    match distance(actual, expected) {
        Some(off) if off <= tolerance => Ok(()),
        Some(off) => Err(format!(
            "the output is off by {off:.1e} of its largest, more than {tolerance:.0e}"
        )),
        None => Err(format!(
            "the output is not finite, or of another length: {actual:?}, {expected:?}"
        )),
    }
}

/// Compares bit for bit, whatever the ids.
fn same(actual: &[Value], expected: &[Value]) -> Result<(), String> {
    if actual.len() != expected.len() {
        return Err(format!(
            "{} values, expected {}",
            actual.len(),
            expected.len()
        ));
    }
    let pairs = actual.iter().zip(expected);
    let differs = pairs.filter(|(actual, expected)| actual.stored() != expected.stored());
    let problems: Vec<String> = differs
        .map(|(actual, expected)| match actual.path == expected.path {
            true if actual.dtype != expected.dtype => {
                format!(
                    "`{}` is {:?}, expected {:?}",
                    actual.path, actual.dtype, expected.dtype
                )
            }
            true => format!("`{}` has other bits", actual.path),
            false => format!("`{}` in the place of `{}`", actual.path, expected.path),
        })
        .collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("; ")),
    }
}

/// Compares two EMAs bit for bit, with their counters.
fn same_ema<M: Module>(actual: &Ema<M>, expected: &Ema<M>) -> Result<(), String> {
    let counts = [actual, expected].map(api::num_updates);
    if counts[0] != counts[1] {
        return Err(format!("{} updates, expected {}", counts[0], counts[1]));
    }
    same(&values(actual), &values(expected))?;
    same(&values(api::model(actual)), &values(api::model(expected)))
}

/// Runs every check on a model.
///
/// # Panics
///
/// If a check failed, with the list of those that did.
pub fn check<M: Module>(case: &Case<M>) {
    let is_runnable = case.is_portable || backend::is_flex();
    if !is_runnable || !backend::has_dtype(case.dtype, case.name) {
        println!("SKIPPED {}: the device cannot run it", case.name);
        return;
    }
    let mut report = Report::new(case.name);
    report.run("trains", || trains(case));
    report.run("init", || init(case));
    report.run("values", || averages(case));
    report.run("forward", || forward(case));
    report.run("training_model", || training_model(case));
    report.run("handed_out", || handed_out(case));
    report.run("online", || online(case));
    report.run("save_load", || save_load(case));
    report.run("resume", || resume(case));
    report.run("export", || export(case));
    report.run("set", || set(case));
    report.run("pinned", || pinned(case));
    report.run("pinned_later", || pinned_later(case));
    report.run("moved", || moved(case));
    report.finish();
}

/// Of the case itself: parameters and running statistics move, and the online model is another than its EMA.
fn trains<M: Module>(case: &Case<M>) -> Result<Outcome, String> {
    let mut trainer = Trainer::new(case);
    let again = values(&Trainer::new(case).online());
    let before = values(&trainer.online());
    same(&before, &again).map_err(|problem| format!("made twice: {problem}"))?;
    let is_trainable: Vec<bool> = values(&trainer.model)
        .iter()
        .map(|value| value.requires_grad)
        .collect();
    let mut recursion = Recursion::new(&trainer.model, case.decay);
    for _ in 0..UPDATES {
        trainer.step();
        recursion.update(&trainer.model);
    }
    let after = values(&trainer.online());
    let pairs = before.iter().zip(&after).zip(is_trainable);
    for ((before, after), is_trainable) in pairs {
        let is_buffer = before.path.contains("running_");
        let should_move = is_trainable && !case.unmoved.contains(&before.path.as_str());
        if (should_move || is_buffer) && is_float(before) && before.bytes == after.bytes {
            return Err(format!("`{}` has not moved", before.path));
        }
    }
    let run = Run::new(case)?;
    let device = case.device();
    let ema = recursion.written_into((case.make)(&device).valid());
    let outputs = [&ema, &trainer.online()].map(|model| run.output(model, &device));
    match distance(&outputs[0], &outputs[1]) {
        Some(off) if off > 3.0 * case.tolerance => Ok(Outcome::Passed),
        off => Err(format!("EMA and online model differ by {off:?} only")),
    }
}

/// The EMA starts as the model, in inference mode.
fn init<M: Module>(case: &Case<M>) -> Result<Outcome, String> {
    let run = Run::new(case)?;
    let (actual, expected) = (api::model(&run.ema), run.trainer.online());
    let found = values(actual);
    same(&found, &values(&expected))?;
    let tracked = found
        .iter()
        .find(|value| value.is_autodiff || value.requires_grad);
    if let Some(value) = tracked {
        return Err(format!("`{}` is tracked", value.path));
    }
    let outputs = [actual, &expected].map(|model| run.output(model, &case.device()));
    near(&outputs[0], &outputs[1], 0.0)?;
    Ok(Outcome::Passed)
}

/// Every number of the EMA is that of the recursion.
fn averages<M: Module>(case: &Case<M>) -> Result<Outcome, String> {
    let run = Run::new(case)?.after(UPDATES)?;
    run.recursion
        .compare(&api::full_precision_model(&run.ema), ROUNDING)?;
    let precision = if case.dtype == DType::F32 {
        ROUNDING
    } else {
        4e-3
    };
    run.recursion.compare(api::model(&run.ema), precision)?;
    Ok(Outcome::Passed)
}

/// The EMA model computes what the recursion's would.
fn forward<M: Module>(case: &Case<M>) -> Result<Outcome, String> {
    let run = Run::new(case)?.after(UPDATES)?;
    run.compare_output(&backend::device(), case.tolerance)?;
    Ok(Outcome::Passed)
}

/// As a teacher it runs beside the model on the device of the training, and takes no gradient.
fn training_model<M: Module>(case: &Case<M>) -> Result<Outcome, String> {
    let mut run = Run::new(case)?.after(2)?;
    let (device, student) = (case.device(), run.trainer.model.clone());
    let teacher = api::training_model(&run.ema);
    let target = (case.forward)(teacher, &device);
    let own = numbers(&(case.loss)(teacher, 1, &device));
    let loss = ((case.forward)(&student, &device) - target).square().mean();
    let all = [own, numbers(&loss)].concat();
    if !all.iter().all(|number| number.is_finite()) {
        return Err(format!("losses {all:?}"));
    }
    let gradients = loss.backward();
    let of_teacher = GradientsParams::from_grads(gradients, teacher).len();
    if of_teacher != 0 {
        return Err(format!("{of_teacher} gradients of the teacher"));
    }
    run = run.after(UPDATES - 2)?;
    run.compare_output(&backend::device(), case.tolerance)?;
    Ok(Outcome::Passed)
}

/// A model that was handed out stays as it is.
fn handed_out<M: Module>(case: &Case<M>) -> Result<Outcome, String> {
    let mut run = Run::new(case)?.after(2)?;
    let kept = api::model(&run.ema).clone();
    let before = values(&kept);
    run = run.after(2)?;
    same(&values(&kept), &before)?;
    run.compare_output(&backend::device(), case.tolerance)?;
    Ok(Outcome::Passed)
}

/// An update only reads the online model.
fn online<M: Module>(case: &Case<M>) -> Result<Outcome, String> {
    let mut run = Run::new(case)?.after(1)?;
    run.trainer.step();
    // Burn brings running statistics up to date here, which is then no change.
    run.trainer.online();
    let before = values(&run.trainer.model);
    api::update(&mut run.ema, &run.trainer.model)?;
    match values(&run.trainer.model) == before {
        true => Ok(Outcome::Passed),
        false => Err("the online model has changed".into()),
    }
}

/// The run, and an EMA that was loaded from its file.
fn saved_and_loaded<'a, M: Module>(
    case: &'a Case<M>,
    folder: &Folder,
) -> Result<(Run<'a, M>, Ema<M>), String> {
    let run = Run::new(case)?.after(UPDATES)?;
    let path = folder.path().join("ema.bpk");
    api::save(&run.ema, &path)?;
    let fresh = api::new_ema(&(case.make)(&case.device()), case.decay)?;
    let loaded = api::load(fresh, &path)?;
    Ok((run, loaded))
}

/// A checkpoint holds all of the EMA.
fn save_load<M: Module>(case: &Case<M>) -> Result<Outcome, String> {
    let folder = Folder::temporary();
    let (run, loaded) = saved_and_loaded(case, &folder)?;
    same_ema(&loaded, &run.ema)?;
    let models = [&loaded, &run.ema].map(api::model);
    let outputs = models.map(|model| run.output(model, &case.device()));
    // Equal numbers in another memory layout are summed in another order.
    near(&outputs[0], &outputs[1], case.tolerance)?;
    Ok(Outcome::Passed)
}

/// A run that goes on from a checkpoint is the run that never stopped.
fn resume<M: Module>(case: &Case<M>) -> Result<Outcome, String> {
    let folder = Folder::temporary();
    let (mut run, mut loaded) = saved_and_loaded(case, &folder)?;
    for _ in 0..2 {
        run.step()?;
        api::update(&mut loaded, &run.trainer.model)?;
        if case.is_transposed && backend::is_libtorch() {
            let averages = api::full_precision_model(&loaded);
            run.recursion.compare(&averages, ROUNDING)?;
        } else {
            same_ema(&loaded, &run.ema)?;
        }
    }
    Ok(Outcome::Passed)
}

/// `model` after it was saved as a plain model and loaded by a program that knows nothing of this library.
fn reloaded<M: Module>(case: &Case<M>, model: M) -> Result<M, String> {
    let folder = Folder::temporary();
    let path = folder.path().join("model.bpk");
    model.save_file(&path).map_err(|error| error.to_string())?;
    let fresh = (case.make)(&backend::device());
    let loaded = fresh.try_load_file(&path);
    let loaded = loaded.map_err(|error| error.to_string())?.valid();
    values(&loaded); // reads the file
    Ok(loaded)
}

/// The EMA model is a plain model, and can be deployed as one.
fn export<M: Module>(case: &Case<M>) -> Result<Outcome, String> {
    let run = Run::new(case)?.after(UPDATES)?;
    let device = backend::device();
    let expected = run.output(api::model(&run.ema), &device);
    let plain = api::into_model(run.ema.clone());
    near(&run.output(&plain, &device), &expected, 0.0)?;
    if reloaded(case, run.trainer.online()).is_err() {
        return Ok(Outcome::FailsInBurn);
    }
    let loaded = reloaded(case, plain)?;
    same(&values(&loaded), &values(api::model(&run.ema)))?;
    near(&run.output(&loaded, &device), &expected, case.tolerance)?;
    Ok(Outcome::Passed)
}

/// Each EMA of a set is what it would be alone.
fn set<M: Module>(case: &Case<M>) -> Result<Outcome, String> {
    let mut trainer = Trainer::new(case);
    let decays = [case.decay, 0.5];
    let mut set = api::new_set(&trainer.model, decays)?;
    let mut alone = [
        api::new_ema(&trainer.model, decays[0])?,
        api::new_compensated_ema(&trainer.model, decays[1])?,
    ];
    for _ in 0..UPDATES {
        trainer.step();
        api::update_set(&mut set, &trainer.model)?;
        for ema in &mut alone {
            api::update(ema, &trainer.model)?;
        }
    }
    let members = api::members(&set);
    for (member, alone) in members.into_iter().zip(&alone) {
        same_ema(member, alone)?;
    }
    Ok(Outcome::Passed)
}

/// How far two backends may be apart.
fn across<M>(case: &Case<M>) -> f64 {
    10.0 * case.tolerance
}

/// The EMA is kept on another device from the start.
fn pinned<M: Module>(case: &Case<M>) -> Result<Outcome, String> {
    let Some(second) = case.second_device() else {
        return Ok(Outcome::Skipped);
    };
    let run = Run::with(case, |model| api::new_ema_on(model, case.decay, &second))?;
    let run = run.after(UPDATES)?;
    run.recursion
        .compare(&api::full_precision_model(&run.ema), ROUNDING)?;
    run.compare_output(&second, across(case))?;
    Ok(Outcome::Passed)
}

/// The EMA is sent to another device in the middle, and its checkpoint is loaded there.
fn pinned_later<M: Module>(case: &Case<M>) -> Result<Outcome, String> {
    let Some(second) = case.second_device() else {
        return Ok(Outcome::Skipped);
    };
    let mut run = Run::new(case)?.after(2)?;
    run.ema = api::pinned(run.ema, &second);
    run = run.after(UPDATES - 2)?;
    run.compare_output(&second, across(case))?;
    let folder = Folder::temporary();
    let path = folder.path().join("ema.bpk");
    api::save(&run.ema, &path)?;
    let fresh = api::new_ema_on(&(case.make)(&case.device()), case.decay, &second)?;
    let loaded = api::load(fresh, &path)?;
    same_ema(&loaded, &run.ema)?;
    run.ema = loaded;
    run.compare_output(&second, across(case))?;
    Ok(Outcome::Passed)
}

/// The model is sent to another device in the middle, and its EMA goes with it.
fn moved<M: Module>(case: &Case<M>) -> Result<Outcome, String> {
    let Some(second) = case.second_device() else {
        return Ok(Outcome::Skipped);
    };
    let mut run = Run::new(case)?.after(2)?;
    run.trainer.move_to(&second);
    run = run.after(2)?;
    run.recursion
        .compare(&api::full_precision_model(&run.ema), ROUNDING)?;
    run.compare_output(&second, across(case))?;
    // And as a teacher beside the model.
    let device = case.training_device(&second);
    let loss = numbers(&(case.loss)(api::training_model(&run.ema), 1, &device));
    match loss[0].is_finite() {
        true => Ok(Outcome::Passed),
        false => Err(format!("loss {loss:?}")),
    }
}
