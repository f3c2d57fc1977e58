//! Several EMAs of one model.

pub(crate) mod config;
mod module;

use burn::module::Module;
use burn::tensor::Device;

use crate::error::EmaError;
use crate::model::EmaModel;
use crate::model::config::EmaConfig;
use crate::model::set::config::{EmaSetConfig, NamedConfig};
use crate::model::update::{Update, Weight, update_all};

/// Several EMAs of one model, each with its own decay schedule and a name, updated together. Created by
/// [`EmaSetConfig::init`].
///
/// An update visits the model once, reads each tensor once for all EMAs that are kept on one device, and looks
/// for NaN once for those that average the same tensors. Each EMA is bit for bit what it would be alone.
///
/// # As a module
///
/// Like [`EmaModel`], it is a Burn [`Module`] that can be saved, loaded and be a field of another: one record
/// holds every EMA, under its name, with its counters.
///
/// # Example
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn_ema::{Decay, EmaConfig, EmaSetConfig};
///
/// let model = LinearConfig::new(2, 1).init(&Default::default());
/// let mut emas = EmaSetConfig::new()
///     .with("fast", EmaConfig::new().with_decay(Decay::half_life(100.0)))
///     .with("slow", EmaConfig::new().with_decay(Decay::half_life(10_000.0)))
///     .init(&model);
/// emas.update(&model)?;
/// let slow = emas.ema("slow")?.model();
/// let record = emas.into_record();
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EmaSet<M: Module> {
    members: Vec<Named<M>>,
}

#[derive(Clone, Debug)]
struct Named<M: Module> {
    name: String,
    ema: EmaModel<M>,
}

impl<M: Module> EmaSet<M> {
    pub(crate) fn new(
        config: &EmaSetConfig,
        mut init: impl FnMut(&EmaConfig) -> Result<EmaModel<M>, EmaError>,
    ) -> Result<Self, EmaError> {
        config.validate()?;
        let mut members: Vec<Named<M>> = Vec::new();
        for NamedConfig { name, config } in &config.emas {
            let mut ema = init(config)?;
            if let Some(first) = members.first() {
                ema.plan.share_places(&first.ema.plan);
            }
            members.push(Named {
                name: name.clone(),
                ema,
            });
        }
        Ok(Self { members })
    }

    /// Takes the weights of `model` into account, in every EMA. Call it once after each optimizer step.
    ///
    /// Returns what each EMA did, in their order.
    ///
    /// # Errors
    ///
    /// If one of the EMAs cannot be updated, as in [`EmaModel::update`]. None of them has changed then.
    ///
    /// # Panics
    ///
    /// As [`EmaModel::update`].
    pub fn update(&mut self, model: &M) -> Result<Vec<Update>, EmaError> {
        let mut emas: Vec<&mut EmaModel<M>> = self.emas_mut().collect();
        update_all(&mut emas, model, Weight::One)
    }

    /// Updates every EMA with the update weight `weight`, as [`EmaModel::update_weighted`] does. Every EMA must have the decay
    /// [`Decay::equal_weights`](crate::Decay::equal_weights).
    ///
    /// # Errors
    ///
    /// As [`EmaModel::update_weighted`], for the first EMA that returns an error. No EMA has changed then.
    ///
    /// # Panics
    ///
    /// As [`EmaModel::update`].
    pub fn update_weighted(&mut self, model: &M, weight: f64) -> Result<Vec<Update>, EmaError> {
        let mut emas: Vec<&mut EmaModel<M>> = self.emas_mut().collect();
        update_all(&mut emas, model, Weight::Of(weight))
    }

    /// Makes every EMA a copy of `model`, as [`EmaModel::copy_from`] does.
    ///
    /// # Errors
    ///
    /// If `model` does not have the structure of the EMAs. Nothing has changed then.
    pub fn copy_from(&mut self, model: &M) -> Result<(), EmaError> {
        self.check_alike(model)?;
        self.emas_mut().try_for_each(|ema| ema.copy_from(model))
    }

    /// Starts every EMA again from `model`, as [`EmaModel::restart`] does.
    ///
    /// # Errors
    ///
    /// If `model` does not have the structure of the EMAs. Nothing has changed then.
    pub fn restart(&mut self, model: &M) -> Result<(), EmaError> {
        self.check_alike(model)?;
        self.emas_mut().try_for_each(|ema| ema.restart(model))
    }

    /// Writes the EMA back into `model` whose [`WriteBack`](crate::write_back::WriteBack) is due, as
    /// [`EmaModel::write_back_if_due`] does.
    ///
    /// # Errors
    ///
    /// If `model` does not have the structure of the EMAs. Nothing has changed then.
    pub fn write_back_if_due(&mut self, model: &mut M) -> Result<bool, EmaError> {
        let mut is_written = false;
        for ema in self.emas_mut() {
            is_written |= ema.write_back_if_due(model)?;
        }
        Ok(is_written)
    }

    /// The EMA called `name`.
    ///
    /// # Errors
    ///
    /// If no EMA has this name.
    pub fn ema(&self, name: &str) -> Result<&EmaModel<M>, EmaError> {
        Ok(&self.members[self.position(name)?].ema)
    }

    /// The EMA called `name`, to change it alone: to re-estimate its statistics, for example.
    ///
    /// # Errors
    ///
    /// If no EMA has this name.
    pub fn ema_mut(&mut self, name: &str) -> Result<&mut EmaModel<M>, EmaError> {
        let position = self.position(name)?;
        Ok(&mut self.members[position].ema)
    }

    /// The EMA called `name`, without the others.
    ///
    /// # Errors
    ///
    /// If no EMA has this name.
    pub fn into_ema(mut self, name: &str) -> Result<EmaModel<M>, EmaError> {
        let position = self.position(name)?;
        Ok(self.members.swap_remove(position).ema)
    }

    /// The first EMA.
    pub fn first(&self) -> &EmaModel<M> {
        &self.members[0].ema
    }

    /// Name and EMA, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &EmaModel<M>)> {
        let members = self.members.iter();
        members.map(|member| (member.name.as_str(), &member.ema))
    }

    /// The names of the EMAs, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// The configuration that the EMAs were created with.
    pub fn config(&self) -> EmaSetConfig {
        let add = |set: EmaSetConfig, (name, ema): (&str, &EmaModel<M>)| {
            set.with(name, ema.config().clone())
        };
        self.iter().fold(EmaSetConfig::new(), add)
    }

    /// Moves the EMAs to `device` and keeps them there, wherever the model is.
    #[must_use]
    pub fn with_device(self, device: &Device) -> Self {
        self.each(|ema| ema.with_device(device))
    }

    /// The device that the first EMA is kept on wherever the model is, if it was given one.
    pub fn device(&self) -> Option<Device> {
        self.first().device()
    }

    fn each(self, change: impl Fn(EmaModel<M>) -> EmaModel<M>) -> Self {
        let change = |Named { name, ema }| Named {
            name,
            ema: change(ema),
        };
        Self {
            members: self.members.into_iter().map(change).collect(),
        }
    }

    fn emas_mut(&mut self) -> impl Iterator<Item = &mut EmaModel<M>> {
        self.members.iter_mut().map(|member| &mut member.ema)
    }

    fn check_alike(&self, model: &M) -> Result<(), EmaError> {
        let mut emas = self.members.iter();
        emas.try_for_each(|member| member.ema.read_alike(model).map(drop))
    }

    fn position(&self, name: &str) -> Result<usize, EmaError> {
        let position = self.names().position(|known| known == name);
        position.ok_or_else(|| EmaError::UnknownEma {
            name: name.to_string(),
            known: self.names().map(str::to_string).collect(),
        })
    }
}
