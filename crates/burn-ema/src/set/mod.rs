//! Several EMAs of one model.

mod average;
pub(crate) mod config;
mod module;

use std::convert::Infallible;

use burn::module::Module;
use burn::tensor::Device;

use crate::error::EmaError;
use crate::model::EmaModel;
use crate::model::config::EmaConfig;
use crate::model::update::{Update, Weight, update_all};
use crate::set::average::{Average, AverageKind};
use crate::set::config::{EmaSetConfig, NamedConfig};

/// Several EMAs of one model, each with its own decay schedule and a name, updated together. Created by
/// [`EmaSetConfig::init`]. BEMA, double EMAs and windows can be among them.
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
    average: Average<M>,
}

impl<M: Module> EmaSet<M> {
    pub(crate) fn new(
        config: &EmaSetConfig,
        mut init: impl FnMut(&EmaConfig) -> Result<EmaModel<M>, EmaError>,
    ) -> Result<Self, EmaError> {
        config.validate()?;
        let mut members: Vec<Named<M>> = Vec::new();
        for NamedConfig { name, config, kind } in &config.emas {
            let mut average = Average::new(*kind, config, &mut init)?;
            let first = members.first().map_or(&average, |first| &first.average);
            let plan = first.ema.plan.clone();
            for ema in average.emas_mut() {
                ema.plan.share_places(&plan);
            }
            members.push(Named {
                name: name.clone(),
                average,
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
        self.update_by(model, Weight::One)
    }

    /// Updates every EMA with the update weight `weight`, as [`EmaModel::update_weighted`] does. Every EMA must have the decay
    /// [`Decay::equal_weights`](crate::Decay::equal_weights).
    ///
    /// # Errors
    ///
    /// As [`EmaModel::update_weighted`], for the first EMA that returns an error; and [`EmaError::InvalidSet`] if the set has
    /// BEMA, a double EMA or a window. No EMA has changed then.
    ///
    /// # Panics
    ///
    /// As [`EmaModel::update`].
    pub fn update_weighted(&mut self, model: &M, weight: f64) -> Result<Vec<Update>, EmaError> {
        let is_other = |member: &&Named<M>| member.average.kind != AverageKind::Ema;
        if let Some(Named { name, average }) = self.members.iter().find(is_other) {
            return Err(EmaError::InvalidSet {
                problem: format!(
                    "updates have weights in means only, and `{name}` is {:?}: call `update`, or keep it in another set",
                    average.kind
                ),
            });
        }
        self.update_by(model, Weight::Of(weight))
    }

    fn update_by(&mut self, model: &M, weight: Weight) -> Result<Vec<Update>, EmaError> {
        for member in &self.members {
            member.average.check_whole()?;
        }
        let members = self.members.iter_mut();
        let mut emas: Vec<&mut EmaModel<M>> = members
            .flat_map(|member| member.average.updated_mut())
            .collect();
        let mut all = update_all(&mut emas, model, weight)?.into_iter();
        let mut updates = Vec::with_capacity(self.members.len());
        for Named { average, .. } in &mut self.members {
            let of_average = all.by_ref().take(average.updated_mut().count());
            let update = of_average.reduce(|first, _| first);
            let update = update.expect("each EMA was updated");
            average.after(update);
            updates.push(update);
        }
        Ok(updates)
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

    /// The average called `name`, in inference mode: its [`EmaModel::model`] if it is an EMA; BEMA, the double EMA or the mean
    /// of the window otherwise. BEMA is read beside `online`, the model that is trained, and the others do not look at it.
    ///
    /// # Errors
    ///
    /// If no average has this name, BEMA is read beside a model of another structure, or an earlier update panicked.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn_ema::window::Window;
    /// use burn_ema::{Decay, EmaConfig, EmaSetConfig};
    ///
    /// let model = LinearConfig::new(2, 1).init(&Default::default());
    /// let mut averages = EmaSetConfig::new()
    ///     .with_dema("dema", EmaConfig::new().with_decay(Decay::half_life(100.0)))
    ///     .with_window("window", Window::of(1_000), EmaConfig::new())
    ///     .init(&model);
    /// averages.update(&model)?;
    /// let mean = averages.model("window", &model)?;
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn model(&self, name: &str, online: &M) -> Result<M, EmaError> {
        self.members[self.position(name)?].average.model(online)
    }

    /// The EMA called `name`: without its correction if it is BEMA or a double EMA, and the block that is being filled if it is
    /// a window.
    ///
    /// # Errors
    ///
    /// If no EMA has this name.
    pub fn ema(&self, name: &str) -> Result<&EmaModel<M>, EmaError> {
        Ok(&self.members[self.position(name)?].average.ema)
    }

    /// The EMA called `name`, to change it alone: to re-estimate its statistics, for example.
    ///
    /// # Errors
    ///
    /// If no EMA has this name.
    pub fn ema_mut(&mut self, name: &str) -> Result<&mut EmaModel<M>, EmaError> {
        let position = self.position(name)?;
        Ok(&mut self.members[position].average.ema)
    }

    /// The EMA called `name`, without the others.
    ///
    /// # Errors
    ///
    /// If no EMA has this name.
    pub fn into_ema(mut self, name: &str) -> Result<EmaModel<M>, EmaError> {
        let position = self.position(name)?;
        Ok(self.members.swap_remove(position).average.ema)
    }

    /// The first EMA.
    pub fn first(&self) -> &EmaModel<M> {
        &self.members[0].average.ema
    }

    /// Name and EMA, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &EmaModel<M>)> {
        let members = self.members.iter();
        members.map(|member| (member.name.as_str(), &member.average.ema))
    }

    /// The names of the EMAs, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// The configuration that the EMAs were created with, with the decay, start and interval that BEMA and windows have instead.
    pub fn config(&self) -> EmaSetConfig {
        let add = |set: EmaSetConfig, Named { name, average }: &Named<M>| {
            set.with_kind(name, average.ema.config().clone(), average.kind)
        };
        self.members.iter().fold(EmaSetConfig::new(), add)
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
        let changed = self.try_each(|_, ema| Ok::<_, Infallible>(change(ema)));
        changed.unwrap_or_else(|never| match never {})
    }

    /// Changes each EMA, which is told the name of its average and its place there.
    fn try_each<E>(
        self,
        mut change: impl FnMut((&str, &str), EmaModel<M>) -> Result<EmaModel<M>, E>,
    ) -> Result<Self, E> {
        let mut members = Vec::with_capacity(self.members.len());
        for Named { name, average } in self.members {
            let average = average.try_map(|place, ema| change((&name, place), ema))?;
            members.push(Named { name, average });
        }
        Ok(Self { members })
    }

    /// All that the averages keep.
    fn emas(&self) -> impl Iterator<Item = &EmaModel<M>> {
        let members = self.members.iter();
        members.flat_map(|member| member.average.emas().map(|(_, ema)| ema))
    }

    fn emas_mut(&mut self) -> impl Iterator<Item = &mut EmaModel<M>> {
        let members = self.members.iter_mut();
        members.flat_map(|member| member.average.emas_mut())
    }

    fn check_alike(&self, model: &M) -> Result<(), EmaError> {
        self.emas()
            .try_for_each(|ema| ema.read_alike(model).map(drop))
    }

    fn position(&self, name: &str) -> Result<usize, EmaError> {
        let position = self.names().position(|known| known == name);
        position.ok_or_else(|| EmaError::UnknownEma {
            name: name.to_string(),
            known: self.names().map(str::to_string).collect(),
        })
    }
}
