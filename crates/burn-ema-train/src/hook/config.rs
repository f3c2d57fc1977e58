//! The parameters of the hook, named as mmagic names them.

use std::collections::BTreeMap;

use burn::config::Config;
use burn_ema::Decay;
use burn_ema::config::NonFinite;
use burn_ema::decay::DecaySchedule;
use burn_ema::submodule::{SubmodulePair, is_at_or_within};
use serde::{Deserialize, Deserializer, Serialize};

use crate::hook::error::HookError;
use crate::hook::hooks::Priority;

/// Suffix of the name of an EMA copy.
const SUFFIX: &str = "_ema";

/// The interpolation that is built in.
pub(crate) const LERP: &str = "lerp";

/// Configuration of an [`EmaHook`](super::EmaHook), with the parameters and defaults of mmagic's
/// `ExponentialMovingAverageHook`. A `dict` of an mmagic configuration works as JSON, with its `type` and `priority`.
///
/// # Example
///
/// ```
/// use burn::config::Config;
/// use burn_ema_train::hook::EmaHookConfig;
///
/// let config = EmaHookConfig::new("generator_ema").with_interval(1).with_start_iter(4_000);
///
/// let json = r#"{ "type": "ExponentialMovingAverageHook", "module_keys": "generator_ema", "interval": 1,
///                 "start_iter": 4000 }"#;
/// assert_eq!(EmaHookConfig::load_binary(json.as_bytes()).unwrap(), config);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EmaHookConfig {
    /// Paths of the EMA copies in the model, each ending in `_ema`; the source is what is left
    /// without that: `generator_ema` follows `generator`, `ema.generator_ema` follows `ema.generator`.
    pub module_keys: ModuleKeys,
    /// Name of the interpolation. Default: that of the [interpolation](super::EmaHook::with_interpolation) that the hook is
    /// given, and `lerp` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interp_mode: Option<String>,
    /// Arguments of the interpolation.
    #[serde(default, deserialize_with = "null_is_default")]
    pub interp_cfg: InterpConfig,
    /// A decay schedule instead of the momentum of what is trained, which mmagic does not have. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay: Option<Decay>,
    /// Number of iterations from one update to the next. Zero or less: never. Default: -1.
    #[serde(default = "never")]
    pub interval: i64,
    /// Number of iterations during which the EMA copies are equal to their sources. Default: 0.
    #[serde(default)]
    pub start_iter: u64,
    /// What `interval` and `start_iter` count. Default: iterations, as mmagic.
    #[serde(default)]
    pub counting: Counting,
    /// What happens when a source holds NaN or infinity, which mmagic averages. Default: propagate.
    #[serde(default = "propagate")]
    pub non_finite: NonFinite,
    /// When the hook is called among others, by number or by mmengine's name, e.g. `VERY_HIGH`. Default: `NORMAL`.
    #[serde(default)]
    pub priority: Priority,
    /// mmagic's name of the hook, which may be there.
    #[serde(default, rename = "type", skip_serializing)]
    registered: Registered,
}

/// The name under which mmagic registers the hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum Registered {
    #[default]
    ExponentialMovingAverageHook,
}

fn propagate() -> NonFinite {
    NonFinite::Propagate
}

/// Arguments of an interpolation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InterpConfig {
    /// Weight of the *new* value of what the optimizer trains, in `(0, 1)`; `1 - decay`. Default: 0.001.
    pub momentum: f64,
    /// Weight of the new value of everything else that is a float: frozen parameters and buffers, in
    /// `(0, 1]`. Default: 1, a copy.
    pub momentum_nontrainable: f64,
    /// Numbers for your own interpolation. With `lerp` they are an error: one is probably a misspelled momentum.
    #[serde(flatten)]
    pub extra: BTreeMap<String, f64>,
}

/// One or several [paths](EmaHookConfig::module_keys).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ModuleKeys {
    /// One.
    One(String),
    /// Several, at least one.
    Several(Vec<String>),
}

/// What an [`EmaHook`](super::EmaHook) counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Counting {
    /// Iterations, whether or not they end in an optimizer step.
    #[default]
    Iterations,
    /// [Optimizer steps](super::Runner::optimizer_step). Iterations without one change nothing.
    OptimizerSteps,
}

fn never() -> i64 {
    -1
}

/// Python's `interp_cfg=None`.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Config for EmaHookConfig {}

impl EmaHookConfig {
    /// The defaults: with `interval` -1 the EMA copies never change after the start. Set at least
    /// [`with_interval`](Self::with_interval).
    pub fn new(module_keys: impl Into<ModuleKeys>) -> Self {
        Self {
            module_keys: module_keys.into(),
            interp_mode: None,
            interp_cfg: InterpConfig::default(),
            decay: None,
            interval: never(),
            start_iter: 0,
            counting: Counting::default(),
            non_finite: propagate(),
            priority: Priority::NORMAL,
            registered: Registered::default(),
        }
    }

    /// Sets [`interp_mode`](Self::interp_mode).
    #[must_use]
    pub fn with_interp_mode(mut self, interp_mode: impl Into<String>) -> Self {
        self.interp_mode = Some(interp_mode.into());
        self
    }

    /// Sets [`interp_cfg`](Self::interp_cfg).
    #[must_use]
    pub fn with_interp_cfg(mut self, interp_cfg: InterpConfig) -> Self {
        self.interp_cfg = interp_cfg;
        self
    }

    /// Sets the [momentum](InterpConfig::momentum) of what is trained.
    #[must_use]
    pub fn with_momentum(mut self, momentum: f64) -> Self {
        self.interp_cfg.momentum = momentum;
        self
    }

    /// Sets the [momentum](InterpConfig::momentum_nontrainable) of what is not trained.
    #[must_use]
    pub fn with_momentum_nontrainable(mut self, momentum: f64) -> Self {
        self.interp_cfg.momentum_nontrainable = momentum;
        self
    }

    /// Averages what is trained by a [decay schedule](Self::decay): a warm-up, or a half-life.
    #[must_use]
    pub fn with_decay(mut self, decay: Decay) -> Self {
        self.decay = Some(decay);
        self
    }

    /// Sets [`interval`](Self::interval).
    #[must_use]
    pub fn with_interval(mut self, interval: i64) -> Self {
        self.interval = interval;
        self
    }

    /// Sets [`start_iter`](Self::start_iter).
    #[must_use]
    pub fn with_start_iter(mut self, start_iter: u64) -> Self {
        self.start_iter = start_iter;
        self
    }

    /// Sets [`counting`](Self::counting).
    #[must_use]
    pub fn with_counting(mut self, counting: Counting) -> Self {
        self.counting = counting;
        self
    }

    /// Sets what happens at [NaN and infinity](Self::non_finite).
    #[must_use]
    pub fn with_non_finite(mut self, non_finite: NonFinite) -> Self {
        self.non_finite = non_finite;
        self
    }

    /// Sets [`priority`](Self::priority).
    #[must_use]
    pub fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Checks the decay schedule, if there is one, of a hook with an interpolation of this name.
    ///
    /// # Errors
    ///
    /// If the schedule is not valid, there is a momentum beside it, or the interpolation is not `lerp`.
    pub(crate) fn validate_decay(&self, interpolation: &str) -> Result<(), HookError> {
        let Some(decay) = &self.decay else {
            return Ok(());
        };
        if interpolation != LERP || self.interp_cfg.momentum != InterpConfig::default().momentum {
            return Err(HookError::DecayAndMomentum);
        }
        decay
            .validate()
            .map_err(|problem| HookError::Decay { problem })
    }

    /// The path of each EMA copy, with that of its source.
    ///
    /// # Errors
    ///
    /// If there is no path, one does not end in `_ema` after a name, one is there twice, or one leads into
    /// the EMA copy of another.
    pub(crate) fn pairs(&self) -> Result<Vec<SubmodulePair>, HookError> {
        let keys = self.module_keys.as_slice();
        if keys.is_empty() {
            return Err(HookError::NoKeys);
        }
        let mut pairs: Vec<SubmodulePair> = Vec::new();
        for key in keys {
            let source = key.strip_suffix(SUFFIX);
            let is_name = |source: &&str| !source.is_empty() && !source.ends_with('.');
            let Some(source) = source.filter(is_name) else {
                return Err(HookError::KeyWithoutSuffix { key: key.clone() });
            };
            if pairs.iter().any(|pair| pair.ema == *key) {
                return Err(HookError::KeyTwice { key: key.clone() });
            }
            pairs.push(SubmodulePair {
                source: source.to_string(),
                ema: key.clone(),
            });
        }
        for (pair, other) in pairs
            .iter()
            .flat_map(|pair| pairs.iter().map(move |o| (pair, o)))
        {
            let inside = |path: &str| is_at_or_within(path, &other.ema);
            if pair != other && (inside(&pair.source) || inside(&pair.ema)) {
                return Err(HookError::KeyWithinEma {
                    key: pair.ema.clone(),
                    ema: other.ema.clone(),
                });
            }
        }
        Ok(pairs)
    }
}

impl InterpConfig {
    /// Checks the arguments of `lerp`.
    ///
    /// # Errors
    ///
    /// If a momentum is out of its range, or there is anything else.
    pub fn validate(&self) -> Result<(), HookError> {
        if let Some(argument) = self.extra.keys().next() {
            return Err(HookError::UnknownArgument {
                argument: argument.clone(),
            });
        }
        self.validate_momenta()
    }

    /// Checks both momenta.
    pub(crate) fn validate_momenta(&self) -> Result<(), HookError> {
        let Self {
            momentum,
            momentum_nontrainable,
            ..
        } = *self;
        if !(momentum > 0.0 && momentum < 1.0) {
            return Err(HookError::Momentum { found: momentum });
        }
        if !(momentum_nontrainable > 0.0 && momentum_nontrainable <= 1.0) {
            return Err(HookError::MomentumNontrainable {
                found: momentum_nontrainable,
            });
        }
        Ok(())
    }

    /// What is odd about values that are valid: a momentum above 0.5 is probably a decay.
    pub fn warning(&self) -> Option<String> {
        let momentum = self.momentum;
        (momentum > 0.5).then(|| {
            format!(
                "momentum {momentum} is the weight of the *new* value, and is usually much \
                 smaller. If {momentum} is a decay, the weight of the old one, write momentum {}",
                1.0 - momentum
            )
        })
    }
}

impl Default for InterpConfig {
    fn default() -> Self {
        Self {
            momentum: 0.001,
            momentum_nontrainable: 1.0,
            extra: BTreeMap::new(),
        }
    }
}

impl ModuleKeys {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Several(keys) => keys,
        }
    }
}

impl From<&str> for ModuleKeys {
    fn from(key: &str) -> Self {
        Self::One(key.to_string())
    }
}

impl From<String> for ModuleKeys {
    fn from(key: String) -> Self {
        Self::One(key)
    }
}

impl<const N: usize> From<[&str; N]> for ModuleKeys {
    fn from(keys: [&str; N]) -> Self {
        Self::Several(keys.map(str::to_string).to_vec())
    }
}

impl From<Vec<String>> for ModuleKeys {
    fn from(keys: Vec<String>) -> Self {
        Self::Several(keys)
    }
}
