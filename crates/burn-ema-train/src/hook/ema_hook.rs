//! The hook that keeps EMA copies of submodules.

use std::fmt;

use burn::module::Module;
use burn::tensor::Tensor;
use burn_ema::EmaError;
use burn_ema::decay::Progress;
use burn_ema::policy::Class;
use burn_ema::submodule::{Blend, EmaSubmodules, is_at_or_within};

use crate::hook::config::{Counting, EmaHookConfig, InterpConfig, LERP};
use crate::hook::error::HookError;
use crate::hook::hooks::{Hook, HookResult, Priority, Runner};
use crate::hook::interpolation::{At, Interpolation};

/// Keeps EMA copies of submodules of a model: mmagic's `ExponentialMovingAverageHook`.
///
/// The EMA copies are fields of the model, beside the submodules that they follow: `generator_ema` follows
/// `generator`. With `iter` the 0-based index of the iteration that just finished,
///
/// - while `iter < start_iter` everything is copied after every iteration, whatever the interval;
/// - from then on an update is due when `interval > 0` and `iter + 1 - start_iter` is a multiple of it:
///   what the optimizer trains moves towards the source by `momentum`, other floats by
///   `momentum_nontrainable`, and integers and booleans are copied.
///
/// What the hook does is a function of the iteration, and the EMA copies are part of the model, so a run goes
/// on from a record of the model bit for bit. If EMA copies are made by `clone()`, [`begin`](Self::begin) has
/// to be called before that record is loaded. The update runs in batches on the engine of
/// [`EmaModel`](burn_ema::EmaModel).
///
/// # Differences to mmagic
///
/// - EMA copies must exist: a field cannot be made at run time. What mmagic does when one is missing (a copy
///   of the source) is `generator_ema: generator.clone()`.
/// - An EMA copy made by `clone()` is detached from its source before the first iteration: it gets its own ids and
///   running statistics. EMA copies do not require gradients.
/// - A missing source, a wrong momentum and a wrong interpolation are errors before the first
///   iteration, and not at the first update. A list of keys is as good as a tuple. An EMA copy cannot be the
///   source of another.
/// - All EMA copies move towards what their sources are when the update begins.
/// - Integers are copied exactly, whatever their size and `momentum_nontrainable`; mmagic computes them
///   as f32, and truncates.
/// - A weight of 1 is an exact copy, also where arithmetic would lose digits or keep NaN.
///
/// Beyond mmagic, a [decay schedule](EmaHookConfig::decay) can replace the momentum: any of
/// [`Decay`](burn_ema::Decay), whose updates are those of the hook; and a [guard](EmaHookConfig::non_finite) looks for NaN.
///
/// As in mmagic the EMA copies are *not* made equal to their sources when the run begins: with a
/// `start_iter` of 0 and an EMA copy with its own weights, the EMA starts from those.
///
/// # Example
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn_ema_train::hook::{EmaHook, EmaHookConfig, Hooks, Runner};
///
/// #[derive(Module, Debug)]
/// struct Gan {
///     generator: Linear,
///     generator_ema: Linear,
///     discriminator: Linear,
/// }
///
/// struct Trainer {
///     model: Gan,
///     iter: u64,
/// }
///
/// impl Runner for Trainer {
///     type Model = Gan;
///     fn iter(&self) -> u64 {
///         self.iter
///     }
///     fn model(&self) -> &Gan {
///         &self.model
///     }
///     fn model_mut(&mut self) -> &mut Gan {
///         &mut self.model
///     }
/// }
///
/// # let device = Default::default();
/// # let generator: Linear = LinearConfig::new(2, 2).init(&device);
/// # let discriminator = LinearConfig::new(2, 1).init(&device);
/// # let model = Gan { generator_ema: generator.clone(), generator, discriminator };
/// # let mut trainer = Trainer { model, iter: 0 };
/// let config = EmaHookConfig::new("generator_ema").with_interval(1).with_momentum(0.001);
/// let mut hooks = Hooks::new().with(EmaHook::new(config)?);
/// hooks.before_run(&mut trainer)?;
/// for batch in 0..10 {
///     // Train the generator and the discriminator.
///     hooks.after_train_iter(&mut trainer, batch)?;
///     trainer.iter += 1;
/// }
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub struct EmaHook<M: Module> {
    config: EmaHookConfig,
    interpolation: Option<Box<dyn Interpolation>>,
    emas: Option<EmaSubmodules<M>>,
    /// A run was to be resumed with shared statistics: an error, also at a second attempt.
    has_shared_statistics: bool,
}

impl<M: Module> fmt::Debug for EmaHook<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EmaHook")
            .field("config", &self.config)
            .field("interpolation", &self.interpolation)
            .finish_non_exhaustive()
    }
}

impl<M: Module> EmaHook<M> {
    /// A hook that moves EMA copies by `lerp`.
    ///
    /// # Errors
    ///
    /// If a key, a momentum or the mode is not valid.
    pub fn new(config: EmaHookConfig) -> Result<Self, HookError> {
        config.pairs()?;
        config.validate_decay(config.interp_mode.as_deref().unwrap_or(LERP))?;
        if let Some(mode) = config.interp_mode.as_deref().filter(|mode| *mode != LERP) {
            let mode = mode.to_string();
            return Err(HookError::UnknownMode { mode });
        }
        config.interp_cfg.validate()?;
        if let Some(warning) = config.interp_cfg.warning() {
            log::warn!("EmaHook: {warning}");
        }
        Ok(Self {
            config,
            interpolation: None,
            emas: None,
            has_shared_statistics: false,
        })
    }

    /// A hook that moves EMA copies as `interpolation` says. A mode in `config` must be its name.
    ///
    /// # Errors
    ///
    /// If a key or the mode is not valid, or `interpolation` does not accept its arguments.
    pub fn with_interpolation(
        config: EmaHookConfig,
        interpolation: impl Interpolation + 'static,
    ) -> Result<Self, HookError> {
        config.pairs()?;
        config.validate_decay(interpolation.name())?;
        let name = interpolation.name().to_string();
        let mode = config.interp_mode.clone().unwrap_or_else(|| name.clone());
        if mode != name {
            return Err(HookError::UnknownMode { mode });
        }
        interpolation
            .validate(&config.interp_cfg)
            .map_err(|problem| HookError::Interpolation { mode, problem })?;
        Ok(Self {
            config,
            interpolation: Some(Box::new(interpolation)),
            emas: None,
            has_shared_statistics: false,
        })
    }

    /// The configuration that the hook was made with.
    pub fn config(&self) -> &EmaHookConfig {
        &self.config
    }

    /// `ema + (source - ema) * m`, with `m` the momentum of what is trained or not: mmagic's static method `lerp`.
    ///
    /// At `m = 1` this is `source`, exactly.
    pub fn lerp<const D: usize>(
        source: Tensor<D>,
        ema: Tensor<D>,
        config: &InterpConfig,
        trainable: bool,
    ) -> Tensor<D> {
        let weight = weight(config, trainable);
        if weight == 1.0 {
            return source;
        }
        ema.clone() + (source - ema) * weight
    }

    /// Whether something is to be done after iteration `iter`: always before the start, and every `n`
    /// iterations from then on, counted from the start. Never from then on if `n` is zero or less.
    pub fn every_n_iters(&self, iter: u64, n: i64) -> bool {
        let start = self.config.start_iter;
        let is_due = |n| (iter + 1 - start).is_multiple_of(n);
        iter < start || u64::try_from(n).is_ok_and(|n| n > 0 && is_due(n))
    }

    /// Finds the EMA copies in `model` and makes them ready, as `before_run` does.
    ///
    /// To resume, call this before a record is loaded into a model whose EMA copies were made by `clone()`:
    /// until then they share running statistics with their sources.
    ///
    /// # Errors
    ///
    /// If a key leads to no submodule, there is none to follow, or the two differ in structure.
    pub fn begin(&mut self, model: &mut M) -> Result<(), HookError> {
        self.has_shared_statistics = false;
        self.pair(model)
    }

    fn pair(&mut self, model: &mut M) -> Result<(), HookError> {
        self.emas = None;
        let emas = EmaSubmodules::new(model, self.config.pairs()?);
        self.emas = Some(emas.map_err(|problem| self.at_key(problem))?);
        Ok(())
    }

    /// Updates the EMA copies in `model` after iteration `iter`. What `after_train_iter` does.
    ///
    /// # Errors
    ///
    /// If the run was not [begun](Self::begin), a submodule is no longer what it was then, or a source holds NaN or infinity
    /// and [`non_finite`](EmaHookConfig::non_finite) makes that an error. Nothing has changed then.
    pub fn update(&mut self, model: &mut M, iter: u64) -> Result<(), HookError> {
        let mut emas = self.emas.take().ok_or(HookError::NotBegun)?;
        let updated = self.update_with(&mut emas, model, iter);
        self.emas = Some(emas);
        updated
    }

    fn update_with(
        &self,
        emas: &mut EmaSubmodules<M>,
        model: &mut M,
        iter: u64,
    ) -> Result<(), HookError> {
        if !self.every_n_iters(iter, self.config.interval) {
            apply_pending_statistics(emas, model);
            return Ok(());
        }
        let non_finite = self.config.non_finite;
        if iter < self.config.start_iter {
            let copied = emas.update(model, non_finite, |_| Blend::Copy);
            return copied.map(drop).map_err(|problem| self.at_key(problem));
        }
        let interval = self.config.interval.unsigned_abs();
        let progress = Progress {
            updates: (iter + 1 - self.config.start_iter) / interval - 1,
            interval,
        };
        let mut config = self.config.interp_cfg.clone();
        if let Some(decay) = &self.config.decay {
            let decay = decay.try_decay(progress);
            config.momentum = 1.0 - decay.map_err(|problem| HookError::Decay { problem })?;
        }
        let is_trained = |class| class == Class::Trainable;
        let Some(interpolation) = &self.interpolation else {
            let lerp = |class| Blend::Lerp(weight(&config, is_trained(class)));
            let averaged = emas.update(model, non_finite, lerp);
            return averaged.map(drop).map_err(|problem| self.at_key(problem));
        };
        let interpolate = |trainable: bool| {
            let at = At {
                iter,
                updates: progress.updates,
                trainable,
            };
            let config = &config;
            move |source, ema| interpolation.interpolate(source, ema, at, config)
        };
        let (trained, other) = (interpolate(true), interpolate(false));
        let averaged = emas.update(model, non_finite, |class| match is_trained(class) {
            true => Blend::With(&trained),
            false => Blend::With(&other),
        });
        averaged.map(drop).map_err(|problem| self.at_key(problem))
    }

    /// Says which key an error is about.
    fn at_key(&self, problem: EmaError) -> HookError {
        let pairs = self.config.pairs().unwrap_or_default();
        let is_about = |submodule: &str| {
            problem
                .path()
                .is_some_and(|path| is_at_or_within(path, submodule))
        };
        let pair = pairs
            .into_iter()
            .find(|pair| is_about(&pair.source) || is_about(&pair.ema));
        HookError::Submodule {
            key: pair.map(|pair| pair.ema).unwrap_or_default(),
            problem: problem.into(),
        }
    }
}

/// Applies pending running statistics, as the next forward pass would do.
///
/// A record does not hold them; with them applied, a record taken after the
/// hooks can be resumed from bit for bit. An update of the EMA copies does it too.
fn apply_pending_statistics<M: Module>(emas: &EmaSubmodules<M>, model: &M) {
    if emas.has_buffers() {
        drop(model.valid());
    }
}

fn weight(config: &InterpConfig, trainable: bool) -> f64 {
    match trainable {
        true => config.momentum,
        false => config.momentum_nontrainable,
    }
}

impl<M: Module, R: Runner<Model = M>> Hook<R> for EmaHook<M> {
    fn priority(&self) -> Priority {
        self.config.priority
    }

    fn before_run(&mut self, runner: &mut R) -> HookResult {
        self.pair(runner.model_mut())?;
        let emas = self.emas.as_ref();
        let shared = emas.is_some_and(EmaSubmodules::shared_statistics);
        self.has_shared_statistics |= shared && runner.iter() > 0;
        match self.has_shared_statistics {
            true => Err(HookError::SharedStatistics.into()),
            false => Ok(()),
        }
    }

    fn after_train_iter(&mut self, runner: &mut R, _batch: usize) -> HookResult {
        let count = match self.config.counting {
            Counting::Iterations => Some(runner.iter()),
            Counting::OptimizerSteps => runner.optimizer_step(),
        };
        match count {
            Some(iter) => Ok(self.update(runner.model_mut(), iter)?),
            None => {
                if let Some(emas) = &self.emas {
                    apply_pending_statistics(emas, runner.model());
                }
                Ok(())
            }
        }
    }
}
