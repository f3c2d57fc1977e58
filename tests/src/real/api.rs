//! The calls of the library that the checks make: the one file that follows its names.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use burn_ema::config::EmaPrecision;
use burn_ema::policy::BufferAction;
use burn_ema::{Decay, EmaConfig, EmaModel, EmaSet, EmaSetConfig, Policy};

/// An EMA of a model.
pub type Ema<M> = EmaModel<M>;

/// Several EMAs of a model.
pub type Set<M> = EmaSet<M>;

/// Averages parameters and buffers at a constant decay, and copies everything else.
fn config(decay: f64) -> EmaConfig {
    let policy = Policy::new().with_buffers(BufferAction::Average);
    EmaConfig::new()
        .with_decay(Decay::constant(decay))
        .with_policy(policy)
}

fn compensated(decay: f64) -> EmaConfig {
    config(decay).with_precision(EmaPrecision::Compensated)
}

/// Turns an error into its text.
fn told<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// An EMA on the device of the model.
///
/// # Errors
///
/// That of the library.
pub fn new_ema<M: Module>(model: &M, decay: f64) -> Result<Ema<M>, String> {
    told(config(decay).try_init(model))
}

/// An EMA that keeps what rounding loses.
///
/// # Errors
///
/// That of the library.
pub fn new_compensated_ema<M: Module>(model: &M, decay: f64) -> Result<Ema<M>, String> {
    told(compensated(decay).try_init(model))
}

/// An EMA that is kept on `device`.
///
/// # Errors
///
/// That of the library.
pub fn new_ema_on<M: Module>(model: &M, decay: f64, device: &Device) -> Result<Ema<M>, String> {
    told(config(decay).try_init_on(model, device))
}

/// The EMA, kept on `device` from now on.
pub fn pinned<M: Module>(ema: Ema<M>, device: &Device) -> Ema<M> {
    ema.with_device(device)
}

/// One update.
///
/// # Errors
///
/// That of the library.
pub fn update<M: Module>(ema: &mut Ema<M>, model: &M) -> Result<(), String> {
    told(ema.update(model)).map(drop)
}

/// How many updates there were.
pub fn num_updates<M: Module>(ema: &Ema<M>) -> u64 {
    ema.num_updates()
}

/// The EMA model for inference.
pub fn model<M: Module>(ema: &Ema<M>) -> &M {
    ema.model()
}

/// The EMA model in training mode.
pub fn training_model<M: Module>(ema: &Ema<M>) -> &M {
    ema.training_model()
}

/// The EMA model in the dtypes in which the EMA is kept.
pub fn full_precision_model<M: Module>(ema: &Ema<M>) -> M {
    ema.full_precision_model()
}

/// The EMA model without the EMA.
pub fn into_model<M: Module>(ema: Ema<M>) -> M {
    ema.into_model()
}

/// Writes a checkpoint of the EMA.
///
/// # Errors
///
/// That of the library.
pub fn save<M: Module>(ema: &Ema<M>, path: &Path) -> Result<(), String> {
    told(ema.clone().save_file(path))
}

/// Reads a checkpoint into a fresh EMA.
///
/// # Errors
///
/// That of the library.
pub fn load<M: Module>(fresh: Ema<M>, path: &Path) -> Result<Ema<M>, String> {
    told(fresh.try_load_file(path))
}

/// A set of two EMAs, of which the second keeps what rounding loses.
///
/// # Errors
///
/// That of the library.
pub fn new_set<M: Module>(model: &M, decays: [f64; 2]) -> Result<Set<M>, String> {
    let set = EmaSetConfig::new()
        .with("first", config(decays[0]))
        .with("second", compensated(decays[1]));
    told(set.try_init(model))
}

/// One update of a set.
///
/// # Errors
///
/// That of the library.
pub fn update_set<M: Module>(set: &mut Set<M>, model: &M) -> Result<(), String> {
    told(set.update(model)).map(drop)
}

/// The EMAs of a set.
pub fn members<M: Module>(set: &Set<M>) -> Vec<&Ema<M>> {
    set.iter().map(|(_, ema)| ema).collect()
}
