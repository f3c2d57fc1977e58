//! One average of a set: an EMA, or an EMA and what a correction or a window keeps beside it.

use burn::module::Module;
use burn_ema_rules::bema::Bema;
use serde::{Deserialize, Serialize};

use crate::error::EmaError;
use crate::lag::{bema, dema};
use crate::model::EmaModel;
use crate::model::config::EmaConfig;
use crate::model::update::Update;
use crate::window::{self, Window};

/// What an average of a set is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AverageKind {
    /// An EMA.
    #[default]
    Ema,
    /// BEMA: see [`BemaModel`](crate::lag::BemaModel).
    Bema(Bema),
    /// The double EMA: see [`DemaModel`](crate::lag::DemaModel).
    Dema,
    /// The mean of a window: see [`WindowModel`](crate::window::WindowModel).
    Window(Window),
}

impl AverageKind {
    /// What is kept beside the EMA, as records call it.
    fn second(&self) -> Option<&'static str> {
        match self {
            Self::Ema => None,
            Self::Bema(_) => Some("first"),
            Self::Dema => Some("of_ema"),
            Self::Window(_) => Some("before"),
        }
    }

    /// Checks its numbers, and a configuration for it.
    ///
    /// # Errors
    ///
    /// For the first that is off.
    pub(crate) fn validate(&self, config: &EmaConfig) -> Result<(), EmaError> {
        match self {
            Self::Ema => return config.validate(),
            Self::Bema(bema) => bema.validate()?,
            Self::Dema => {}
            Self::Window(window) => window.validate()?,
        }
        config.check_no_write_back()?;
        config.validate()
    }
}

/// An EMA, and what the kind of average keeps beside it.
#[derive(Clone, Debug)]
pub(super) struct Average<M: Module> {
    pub(super) kind: AverageKind,
    /// Of a window, the block that is being filled.
    pub(super) ema: EmaModel<M>,
    /// The first weights, the EMA of the EMA, or the block before.
    pub(super) second: Option<EmaModel<M>>,
}

impl<M: Module> Average<M> {
    pub(super) fn new(
        kind: AverageKind,
        config: &EmaConfig,
        init: &mut impl FnMut(&EmaConfig) -> Result<EmaModel<M>, EmaError>,
    ) -> Result<Self, EmaError> {
        let (ema, second) = match kind {
            AverageKind::Ema => (init(config)?, None),
            AverageKind::Bema(bema) => {
                let [of_ema, of_first] = bema::configs(&bema, config);
                (init(&of_ema)?, Some(init(&of_first)?))
            }
            AverageKind::Dema => {
                let ema = init(config)?;
                (ema.clone(), Some(ema))
            }
            AverageKind::Window(_) => {
                let block = init(&window::of_block(config))?;
                (block.clone(), Some(block))
            }
        };
        Ok(Self { kind, ema, second })
    }

    /// All that is kept, with what is added to the name of the average in records.
    pub(super) fn emas(&self) -> impl Iterator<Item = (&'static str, &EmaModel<M>)> {
        let second = self.kind.second().unwrap_or_default();
        let second = self.second.as_ref().map(|ema| (second, ema));
        std::iter::once(("", &self.ema)).chain(second)
    }

    pub(super) fn emas_mut(&mut self) -> impl Iterator<Item = &mut EmaModel<M>> {
        std::iter::once(&mut self.ema).chain(self.second.as_mut())
    }

    /// What takes the weights of the model into account.
    pub(super) fn updated_mut(&mut self) -> impl Iterator<Item = &mut EmaModel<M>> {
        let second = match self.kind {
            AverageKind::Bema(_) => self.second.as_mut(),
            _ => None,
        };
        std::iter::once(&mut self.ema).chain(second)
    }

    /// Checks that no earlier update of what is kept has panicked.
    pub(super) fn check_whole(&self) -> Result<(), EmaError> {
        self.emas().try_for_each(|(_, ema)| ema.check_whole())
    }

    /// Follows the update that its EMA has done.
    pub(super) fn after(&mut self, update: Update) {
        let Self { kind, ema, second } = self;
        match (kind, second) {
            (AverageKind::Dema, Some(of_ema)) => dema::follow(of_ema, ema, update),
            (AverageKind::Window(window), Some(before)) => {
                window::turn(ema, before, window, update);
            }
            _ => {}
        }
    }

    /// The average, read beside the online weights.
    pub(super) fn model(&self, online: &M) -> Result<M, EmaError> {
        match (&self.kind, &self.second) {
            (AverageKind::Bema(bema), Some(first)) => bema::formed(bema, &self.ema, first, online),
            (AverageKind::Dema, Some(of_ema)) => dema::formed(&self.ema, of_ema),
            (AverageKind::Window(_), Some(before)) => window::formed(&self.ema, before),
            _ => {
                self.ema.check_whole()?;
                Ok(self.ema.fresh_model())
            }
        }
    }

    /// The same with each EMA changed, which is told its place in records.
    pub(super) fn try_map<E>(
        self,
        mut change: impl FnMut(&str, EmaModel<M>) -> Result<EmaModel<M>, E>,
    ) -> Result<Self, E> {
        let name = self.kind.second().unwrap_or_default();
        let ema = change("", self.ema)?;
        let second = self.second.map(|ema| change(name, ema)).transpose()?;
        Ok(Self {
            kind: self.kind,
            ema,
            second,
        })
    }
}
