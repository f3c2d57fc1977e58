//! What happens to each tensor of a model: decided when the EMA is created, by path, and checked at every update.

pub(crate) mod pair;
mod similar;
mod table;

pub use table::{EmaPlan, PlanAction, PlanEntry};

use std::sync::Arc;

use burn::tensor::{DType, Shape};

use crate::burn_facts::rank::MAX_RANK;
use crate::error::EmaError;
use crate::policy::{Action, BufferAction, Class, DiscreteAction, Override, Policy};
use crate::walk::places::Places;
use crate::walk::read::{First, Kind, Reading, Shown, is_compatible};

/// The tensors that an EMA follows, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) places: Arc<Places>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) has_buffers: bool,
    policy: Policy,
}

/// One tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Shape in the model when the plan was made.
    pub(crate) shape: Shape,
    /// Dtype in the model.
    pub(crate) dtype: DType,
    pub(crate) kind: Kind,
    pub(crate) is_buffer: bool,
    /// What an override says.
    fixed: Option<Action>,
    /// Whether the parameter is, or was at an update, trained.
    pub(crate) was_trained: bool,
}

/// What an update is to do.
#[derive(Debug)]
pub(crate) struct Actions {
    /// What happens to each place.
    pub(crate) of_places: Vec<PlanAction>,
    pub(crate) fit: Fit,
    /// Places of parameters that are trained now and were not before.
    pub(crate) newly_trained: Vec<usize>,
}

/// How a model fits a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Everything that the plan needs is there.
    Same,
    /// Tensors have come or gone, perhaps none that is averaged.
    Other,
}

impl Plan {
    /// The plan for a model that was read for the first time. `buffers` says for each place whether it is a buffer.
    pub(crate) fn new(first: &First, buffers: &[bool], policy: &Policy) -> Result<Self, EmaError> {
        for exception in &policy.overrides {
            check_override(exception, first)?;
        }
        Ok(Self::of(first, buffers, policy))
    }

    /// The plan for the same model in another structure. What is known of a tensor stays.
    pub(crate) fn revised(&self, first: &First, buffers: &[bool]) -> Self {
        let mut plan = Self::of(first, buffers, &self.policy);
        for (path, entry) in plan.places.paths.iter().zip(&mut plan.entries) {
            if let Some(known) = self.places.position(path) {
                entry.fixed = self.entries[known].fixed;
                entry.was_trained |= self.entries[known].was_trained;
            }
        }
        plan
    }

    fn of(first: &First, buffers: &[bool], policy: &Policy) -> Self {
        let paths = &first.places.paths;
        let entries = first.shown.iter().zip(buffers).zip(paths);
        let entries = entries.map(|((shown, is_buffer), path)| Entry {
            shape: shown.tensor.shape(),
            dtype: shown.tensor.dtype(),
            kind: shown.kind(),
            is_buffer: *is_buffer,
            fixed: policy.exception(&shown.id, path),
            was_trained: shown.is_trainable,
        });
        Self {
            entries: entries.collect(),
            has_buffers: buffers.contains(&true),
            places: Arc::new(first.places.clone()),
            policy: policy.clone(),
        }
    }

    /// Lets two plans for the same places know it without a comparison.
    pub(crate) fn share_places(&mut self, other: &Self) {
        if self.places == other.places {
            self.places = other.places.clone();
        }
    }

    pub(crate) fn class(&self, place: usize, is_trainable: bool) -> Class {
        let entry = &self.entries[place];
        match entry.kind {
            Kind::Int | Kind::Bool | Kind::Quantized => Class::Discrete,
            Kind::Float if entry.is_buffer => Class::Buffer,
            Kind::Float if is_trainable || entry.was_trained => Class::Trainable,
            Kind::Float => Class::Frozen,
        }
    }

    /// What an update does to the tensor at `place`.
    pub(crate) fn action(&self, place: usize, is_trainable: bool) -> PlanAction {
        let class = self.class(place, is_trainable);
        match (self.entries[place].fixed, class) {
            (Some(Action::Average), Class::Discrete) => PlanAction::Copy,
            (Some(action), _) => action.into(),
            (None, Class::Trainable) => self.policy.trainable.into(),
            (None, Class::Frozen) => self.policy.frozen.into(),
            (None, Class::Buffer) => self.policy.buffers.into(),
            (None, Class::Discrete) => self.policy.discrete.into(),
        }
    }

    /// What the next update of a model that was read is to do.
    ///
    /// # Errors
    ///
    /// If a tensor that is averaged is missing, or has another shape, dtype or kind.
    pub(crate) fn actions(&self, reading: &Reading) -> Result<Actions, EmaError> {
        let mut others = reading.others.iter();
        let mut fit = match others.all(|(path, shown)| self.ignores(path, shown)) {
            true => Fit::Same,
            false => Fit::Other,
        };
        let mut actions = Vec::with_capacity(reading.shown.len());
        let mut newly_trained = Vec::new();
        for (place, shown) in reading.shown.iter().enumerate() {
            let is_trainable = shown.as_ref().is_some_and(|shown| shown.is_trainable);
            if is_trainable && !self.entries[place].was_trained {
                newly_trained.push(place);
            }
            let action = self.action(place, is_trainable);
            match (action, shown) {
                (PlanAction::Ignore, _) => {}
                (PlanAction::Average, Some(shown)) => self.check(place, shown)?,
                (PlanAction::Average, None) => {
                    let path = self.places.paths[place].clone();
                    return Err(EmaError::Missing { path });
                }
                (_, Some(shown)) if shown.kind() == self.entries[place].kind => {}
                _ => fit = Fit::Other,
            }
            actions.push(action);
        }
        Ok(Actions {
            of_places: actions,
            fit,
            newly_trained,
        })
    }

    /// Checks a tensor of the model against what is averaged at `place`.
    fn check(&self, place: usize, shown: &Shown) -> Result<(), EmaError> {
        let entry = &self.entries[place];
        let (expected, found) = (entry.dtype, shown.tensor.dtype());
        if entry.kind != shown.kind() || !is_compatible(expected, found) {
            return Err(EmaError::DTypeMismatch {
                path: self.places.paths[place].clone(),
                expected,
                found,
            });
        }
        let found = shown.tensor.shape();
        match entry.shape == found {
            true => Ok(()),
            false => Err(EmaError::ShapeMismatch {
                path: self.places.paths[place].clone(),
                expected: entry.shape.clone(),
                found,
            }),
        }
    }

    /// Checks that every tensor of a model that was read has the place, kind, shape and dtype that the plan knows, whatever
    /// happens to it.
    pub(crate) fn check_all(&self, reading: &Reading) -> Result<(), EmaError> {
        if let Some((path, _)) = reading.others.first() {
            return Err(EmaError::Unexpected { path: path.clone() });
        }
        for (place, shown) in reading.shown.iter().enumerate() {
            match shown {
                Some(shown) => self.check(place, shown)?,
                None => {
                    let path = self.places.paths[place].clone();
                    return Err(EmaError::Missing { path });
                }
            }
        }
        Ok(())
    }

    /// Whether `revised`, the plan for the model as it is now, differs only in tensors that are not averaged.
    ///
    /// # Errors
    ///
    /// If it differs in one that is.
    pub(crate) fn check_revised(&self, revised: &Self) -> Result<(), EmaError> {
        let averages = |plan: &Self, place| plan.action(place, false) == PlanAction::Average;
        for (place, path) in revised.places.paths.iter().enumerate() {
            if self.places.position(path).is_none() && averages(revised, place) {
                return Err(EmaError::Unexpected { path: path.clone() });
            }
        }
        for (place, path) in self.places.paths.iter().enumerate() {
            if revised.places.position(path).is_none() && averages(self, place) {
                return Err(EmaError::Missing { path: path.clone() });
            }
        }
        Ok(())
    }

    /// Notes that the model trains the tensors at these places.
    pub(crate) fn note_trained(&mut self, places: &[usize]) {
        for place in places {
            self.entries[*place].was_trained = true;
        }
    }

    /// Notes how the tensor at `place`, which is copied, looks now.
    pub(crate) fn note_copy(&mut self, place: usize, shown: &Shown) {
        let entry = &mut self.entries[place];
        entry.dtype = shown.tensor.dtype();
        entry.shape = shown.tensor.shape();
    }

    /// Which tensors were trained so far, in the order of their paths.
    pub(crate) fn trained(&self) -> Vec<bool> {
        let places = self.by_path().into_iter();
        places
            .map(|place| self.entries[place].was_trained)
            .collect()
    }

    /// Takes over what was trained in a run that is resumed.
    pub(crate) fn set_trained(&mut self, trained: &[bool]) {
        for (place, trained) in self.by_path().into_iter().zip(trained) {
            self.entries[place].was_trained |= trained;
        }
    }

    fn by_path(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.places.len()).collect();
        places.sort_by_key(|place| &self.places.paths[*place]);
        places
    }

    /// Whether an update ignores a tensor that the plan does not know.
    fn ignores(&self, path: &str, shown: &Shown) -> bool {
        let policy = &self.policy;
        match (policy.exception(&shown.id, path), shown.kind()) {
            (Some(action), _) => action == Action::Ignore,
            (None, Kind::Float) if shown.is_trainable => policy.trainable == Action::Ignore,
            // It may be a frozen parameter or a buffer.
            (None, Kind::Float) => {
                policy.frozen == Action::Ignore && policy.buffers == BufferAction::Ignore
            }
            (None, _) => policy.discrete == DiscreteAction::Ignore,
        }
    }
}

/// Checks that Burn's optimizers and records support every tensor.
pub(crate) fn check_ranks(first: &First) -> Result<(), EmaError> {
    let mut shown = first.shown.iter().zip(&first.places.paths);
    match shown.find(|(shown, _)| !(1..=MAX_RANK).contains(&shown.rank)) {
        None => Ok(()),
        Some((shown, path)) => Err(EmaError::UnsupportedRank {
            path: path.clone(),
            rank: shown.rank,
            max: MAX_RANK,
        }),
    }
}

/// Checks that an override is for some tensor.
fn check_override(exception: &Override, first: &First) -> Result<(), EmaError> {
    let paths = &first.places.paths;
    let mut shown = first.shown.iter().zip(paths);
    if shown.any(|(shown, path)| exception.group.matches(&shown.id, Some(path))) {
        return Ok(());
    }
    let group = format!("{:?}", exception.group);
    Err(EmaError::UnmatchedOverride {
        near: similar::similar(&group, paths),
        group,
    })
}

impl From<Action> for PlanAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Average => Self::Average,
            Action::Copy => Self::Copy,
            Action::Ignore => Self::Ignore,
        }
    }
}

impl From<BufferAction> for PlanAction {
    fn from(action: BufferAction) -> Self {
        match action {
            BufferAction::Average => Self::Average,
            BufferAction::Copy => Self::Copy,
            BufferAction::Ignore => Self::Ignore,
            BufferAction::Reestimate => Self::Reestimate,
        }
    }
}

impl From<DiscreteAction> for PlanAction {
    fn from(action: DiscreteAction) -> Self {
        match action {
            DiscreteAction::Copy => Self::Copy,
            DiscreteAction::Ignore => Self::Ignore,
        }
    }
}
