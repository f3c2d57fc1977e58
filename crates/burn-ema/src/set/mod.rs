//! Several averages of one model.

mod config;
mod module;

pub use config::{EmaSetConfig, NamedConfig};

use burn::module::Module;
use burn::tensor::Device;

use crate::update::{Due, FiniteChecks, carry_out};
use crate::{EmaConfig, EmaError, EmaModel, Phase, Update};

/// Several averages of one model, each with a rule of its own and a name, updated together. Made by
/// [`EmaSetConfig::init`].
///
/// An update visits the source once, reads each value once for averages that are kept on one device, and looks
/// for NaN once for those that average the same values. Each average is to the bit what it would be alone.
///
/// # As a module
///
/// Like [`EmaModel`], it is a Burn [`Module`] that can be saved, loaded and be a field of another: one record
/// holds every average, under its name, with its counters.
///
/// # Example
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn_ema::{Decay, EmaConfig, EmaSetConfig};
///
/// let model = LinearConfig::new(2, 1).init(&Default::default());
/// let mut averages = EmaSetConfig::new()
///     .with("fast", EmaConfig::new().with_decay(Decay::half_life(100.0)))
///     .with("slow", EmaConfig::new().with_decay(Decay::half_life(10_000.0)))
///     .init(&model);
/// averages.update(&model)?;
/// let slow = averages.average("slow")?.model();
/// let record = averages.into_record();
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EmaSet<M: Module> {
    members: Vec<Member<M>>,
    /// Whether the averages are known to have the same values in the same order.
    is_aligned: bool,
}

#[derive(Clone, Debug)]
struct Member<M: Module> {
    name: String,
    average: EmaModel<M>,
}

impl<M: Module> EmaSet<M> {
    fn new(
        config: &EmaSetConfig,
        mut init: impl FnMut(&EmaConfig) -> Result<EmaModel<M>, EmaError>,
    ) -> Result<Self, EmaError> {
        config.validate()?;
        let mut members = Vec::new();
        for NamedConfig { name, config } in &config.averages {
            members.push(Member {
                name: name.clone(),
                average: init(config)?,
            });
        }
        Ok(Self::of(members))
    }

    fn of(members: Vec<Member<M>>) -> Self {
        Self {
            members,
            is_aligned: false,
        }
    }

    /// Takes the weights of `source` into account, in every average. Call it once after each optimizer step.
    ///
    /// What each average did is returned in their order.
    ///
    /// # Errors
    ///
    /// If one of the averages cannot be updated, as in [`EmaModel::update`]. None of them has changed then.
    ///
    /// # Panics
    ///
    /// As [`EmaModel::update`].
    pub fn update(&mut self, source: &M) -> Result<Vec<Update>, EmaError> {
        self.align()?;
        let averages = self.members.iter().map(|member| &member.average);
        let sources = match averages.clone().any(|ema| ema.phase() != Phase::Wait) {
            true => self.first().shadow.collect(source)?,
            false => Vec::new(),
        };
        let mut finite = FiniteChecks::default();
        let due = averages
            .map(|average| average.decide(&sources, &mut finite))
            .collect::<Result<Vec<_>, _>>()?;
        let members = self.members.iter_mut();
        let mut members: Vec<_> = members
            .map(|member| &mut member.average)
            .zip(&due)
            .collect();
        carry_out(&mut members, sources);
        let finish = |(average, due): (&mut EmaModel<M>, &Due)| average.finish(due);
        Ok(members.into_iter().map(finish).collect())
    }

    /// Makes every average a copy of `source`, as [`EmaModel::copy_from`] does.
    ///
    /// # Errors
    ///
    /// If `source` is not of the structure that the averages were made from. Nothing has changed then.
    pub fn copy_from(&mut self, source: &M) -> Result<(), EmaError> {
        self.align()?;
        self.first().shadow.collect(source)?;
        let mut members = self.members.iter_mut();
        members.try_for_each(|member| member.average.copy_from(source))
    }

    /// Writes that average back into `model` whose [`Switch`](crate::Switch) is due, as
    /// [`EmaModel::switch_if_due`] does.
    ///
    /// # Errors
    ///
    /// If `model` is not of the structure that the averages were made from. Nothing has changed then.
    pub fn switch_if_due(&self, model: &mut M) -> Result<bool, EmaError> {
        let mut switched = false;
        for member in &self.members {
            switched |= member.average.switch_if_due(model)?;
        }
        Ok(switched)
    }

    /// The average called `name`.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn average(&self, name: &str) -> Result<&EmaModel<M>, EmaError> {
        Ok(&self.members[self.position(name)?].average)
    }

    /// The average called `name`, to change it alone: to re-estimate its statistics, say.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn average_mut(&mut self, name: &str) -> Result<&mut EmaModel<M>, EmaError> {
        let position = self.position(name)?;
        self.is_aligned = false;
        Ok(&mut self.members[position].average)
    }

    /// The average called `name`, without the others.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn into_average(mut self, name: &str) -> Result<EmaModel<M>, EmaError> {
        let position = self.position(name)?;
        Ok(self.members.swap_remove(position).average)
    }

    /// The first average.
    pub fn first(&self) -> &EmaModel<M> {
        &self.members[0].average
    }

    /// Name and average, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &EmaModel<M>)> {
        let members = self.members.iter();
        members.map(|member| (member.name.as_str(), &member.average))
    }

    /// The names of the averages, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// The configuration that the averages were made with.
    pub fn config(&self) -> EmaSetConfig {
        let add = |set: EmaSetConfig, (name, average): (&str, &EmaModel<M>)| {
            set.with(name, average.config().clone())
        };
        self.iter().fold(EmaSetConfig::new(), add)
    }

    /// Moves the averages to `device` and keeps them there, wherever their source is.
    pub fn with_device(self, device: &Device) -> Self {
        self.each(|average| average.with_device(device))
    }

    /// The device that the averages are kept on wherever their source is, if there is one.
    pub fn device(&self) -> Option<Device> {
        self.first().device()
    }

    fn each(self, change: impl Fn(EmaModel<M>) -> EmaModel<M>) -> Self {
        let change = |Member { name, average }| Member {
            name,
            average: change(average),
        };
        Self::of(self.members.into_iter().map(change).collect())
    }

    /// Brings the values of all averages into the same order: that in which the module of the first has shown them.
    fn align(&mut self) -> Result<(), EmaError> {
        if self.is_aligned {
            return Ok(());
        }
        if let [first, others @ ..] = self.members.as_mut_slice() {
            for other in others {
                other.average.shadow.align(&first.average.shadow)?;
            }
        }
        self.is_aligned = true;
        Ok(())
    }

    fn position(&self, name: &str) -> Result<usize, EmaError> {
        let position = self.names().position(|known| known == name);
        position.ok_or_else(|| EmaError::UnknownAverage {
            name: name.to_string(),
            known: self.names().map(str::to_string).collect(),
        })
    }
}
