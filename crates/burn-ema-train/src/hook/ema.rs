//! The hook that keeps averaged twins of networks.

use std::fmt;

use burn::module::Module;
use burn::tensor::Tensor;
use burn_ema::Class;
use burn_ema::twin::{self, Blend, TwinError, Twins};

use super::config::LERP;
use super::hooks::HookResult;
use super::{
    Counting, EmaHookConfig, Hook, HookError, InterpConfig, Interpolation, Moment, Runner,
};

/// Keeps averaged twins of networks of a model: mmagic's `ExponentialMovingAverageHook`.
///
/// The twins are fields of the model, beside the networks that they follow: `generator_ema` follows
/// `generator`. With `iter` the 0-based index of the iteration that just finished,
///
/// - while `iter < start_iter` everything is copied after every iteration, whatever the interval;
/// - from then on an update is due when `interval > 0` and `iter + 1 - start_iter` is a multiple of it:
///   what the optimizer trains moves towards the source by `momentum`, other floats by
///   `momentum_nontrainable`, and integers and booleans are copied.
///
/// What the hook does is a function of the iteration, and the twins are part of the model, so a run goes
/// on from a record of the model bit for bit. If twins are made by `clone()`, [`begin`](Self::begin) has
/// to be called before that record is loaded.
///
/// # Differences to mmagic
///
/// - Twins must exist: a field cannot be made at run time. What mmagic does when one is missing (a copy
///   of the source) is `generator_ema: generator.clone()`.
/// - A twin made by `clone()` is detached from its source before the first iteration: it gets ids and
///   running statistics of its own. Twins do not require gradients.
/// - A missing source, a wrong momentum and a wrong interpolation are refused before the first
///   iteration, and not at the first update. A list of keys is as good as a tuple. A twin cannot be the
///   source of another.
/// - All twins move towards what their sources are when the update begins.
/// - Integers are copied exactly, whatever their size and `momentum_nontrainable`; mmagic computes them
///   as f32, and truncates.
/// - A weight of 1 is an exact copy, also where arithmetic would lose digits or keep NaN.
///
/// Beyond mmagic, a [decay rule](EmaHookConfig::decay) can take the place of the momentum: any of
/// [`Decay`](burn_ema::Decay), whose averages are those of the hook.
///
/// As in mmagic the twins are *not* made equal to their sources when the run begins: with a
/// `start_iter` of 0 and a twin with weights of its own, the average starts from those.
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
    twins: Option<Twins<M>>,
    /// A resumed run was refused, and must not pass at a second attempt.
    is_refused: bool,
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
    /// A hook that moves averages by `lerp`.
    ///
    /// # Errors
    ///
    /// If a key, a momentum or the mode is not valid.
    pub fn new(config: EmaHookConfig) -> Result<Self, HookError> {
        config.pairs()?;
        config.validate_decay()?;
        if config.interp_mode != LERP {
            return Err(HookError::UnknownMode {
                mode: config.interp_mode,
            });
        }
        config.interp_cfg.validate()?;
        if let Some(warning) = config.interp_cfg.warning() {
            log::warn!("EmaHook: {warning}");
        }
        Ok(Self {
            config,
            interpolation: None,
            twins: None,
            is_refused: false,
        })
    }

    /// A hook that moves averages as `interpolation` says, if that is of the name in `config`.
    ///
    /// # Errors
    ///
    /// If a key or the mode is not valid, or `interpolation` does not accept its arguments.
    pub fn with_interpolation(
        config: EmaHookConfig,
        interpolation: impl Interpolation + 'static,
    ) -> Result<Self, HookError> {
        config.pairs()?;
        config.validate_decay()?;
        if config.interp_mode == LERP && interpolation.name() != LERP {
            return Self::new(config);
        }
        let mode = config.interp_mode.clone();
        if mode != interpolation.name() {
            return Err(HookError::UnknownMode { mode });
        }
        interpolation
            .validate(&config.interp_cfg)
            .map_err(|problem| HookError::Interpolation { mode, problem })?;
        Ok(Self {
            config,
            interpolation: Some(Box::new(interpolation)),
            twins: None,
            is_refused: false,
        })
    }

    /// The configuration that the hook was made with.
    pub fn config(&self) -> &EmaHookConfig {
        &self.config
    }

    /// `average + (source - average) * m`, with `m` the momentum of what is trained or not.
    ///
    /// At `m = 1` this is `source`, exactly.
    pub fn lerp<const D: usize>(
        source: Tensor<D>,
        average: Tensor<D>,
        config: &InterpConfig,
        trainable: bool,
    ) -> Tensor<D> {
        let weight = weight(config, trainable);
        if weight == 1.0 {
            return source;
        }
        average.clone() + (source - average) * weight
    }

    /// Whether something is to be done after iteration `iter`: always before the start, and every `n`
    /// iterations from then on, counted from the start. Never from then on if `n` is zero or less.
    pub fn every_n_iters(&self, iter: u64, n: i64) -> bool {
        let start = self.config.start_iter;
        let is_due = |n| (iter + 1 - start).is_multiple_of(n);
        iter < start || u64::try_from(n).is_ok_and(|n| n > 0 && is_due(n))
    }

    /// Finds the twins in `model` and makes them ready, as `before_run` does.
    ///
    /// To resume, call this before a record is loaded into a model whose twins were made by `clone()`:
    /// until then they share running statistics with their sources.
    ///
    /// # Errors
    ///
    /// If a key leads to no network, there is none to follow, or the two differ in structure.
    pub fn begin(&mut self, model: &mut M) -> Result<(), HookError> {
        self.is_refused = false;
        self.pair(model)
    }

    fn pair(&mut self, model: &mut M) -> Result<(), HookError> {
        self.twins = None;
        let twins = Twins::new(model, self.config.pairs()?);
        self.twins = Some(twins.map_err(|problem| self.at_key(problem))?);
        Ok(())
    }

    /// Updates the twins in `model` after iteration `iter`. What `after_train_iter` does.
    ///
    /// # Errors
    ///
    /// If the run was not [begun](Self::begin), or a network is no longer what it was then.
    pub fn update(&self, model: &mut M, iter: u64) -> Result<(), HookError> {
        let twins = self.twins.as_ref().ok_or(HookError::NotBegun)?;
        if !self.every_n_iters(iter, self.config.interval) {
            apply_pending_statistics(model);
            return Ok(());
        }
        if iter < self.config.start_iter {
            let copied = twins.update(model, |_| Blend::Copy);
            return copied.map_err(|problem| self.at_key(problem));
        }
        let interval = self.config.interval.unsigned_abs();
        let at = burn_ema::Moment {
            updates: (iter + 1 - self.config.start_iter) / interval - 1,
            interval,
        };
        let mut config = self.config.interp_cfg.clone();
        if let Some(decay) = &self.config.decay {
            config.momentum = 1.0 - decay.try_decay(at).map_err(HookError::decay)?;
        }
        self.average(twins, model, iter, at.updates, &config)
            .map_err(|problem| self.at_key(problem))
    }

    fn average(
        &self,
        twins: &Twins<M>,
        model: &mut M,
        iter: u64,
        updates: u64,
        config: &InterpConfig,
    ) -> Result<(), TwinError> {
        let Some(interpolation) = &self.interpolation else {
            return twins.update(model, |class| {
                Blend::Lerp(weight(config, class == Class::Trainable))
            });
        };
        let interpolate = |trainable: bool| {
            let at = Moment {
                iter,
                updates,
                trainable,
            };
            move |source, average| interpolation.interpolate(source, average, at, config)
        };
        let (trained, other) = (interpolate(true), interpolate(false));
        twins.update(model, |class| match class {
            Class::Trainable => Blend::With(&trained),
            Class::NonTrainable | Class::Discrete => Blend::With(&other),
        })
    }

    /// Says which key an error is about.
    fn at_key(&self, problem: TwinError) -> HookError {
        let pairs = self.config.pairs().unwrap_or_default();
        let is_about = |network: &str| twin::is_at_or_within(problem.path(), network);
        let pair = pairs
            .into_iter()
            .find(|pair| is_about(&pair.source) || is_about(&pair.twin));
        HookError::Twin {
            key: pair.map(|pair| pair.twin).unwrap_or_default(),
            problem,
        }
    }
}

/// Does what the next forward pass would do.
///
/// A record does not hold what BatchNorm has not yet applied; with that applied, a record taken after the
/// hooks can be resumed from bit for bit. An update of the twins does it too.
fn apply_pending_statistics<M: Module>(model: &M) {
    drop(model.valid());
}

fn weight(config: &InterpConfig, trainable: bool) -> f64 {
    match trainable {
        true => config.momentum,
        false => config.momentum_nontrainable,
    }
}

impl<M: Module, R: Runner<Model = M>> Hook<R> for EmaHook<M> {
    fn before_run(&mut self, runner: &mut R) -> HookResult {
        self.pair(runner.model_mut())?;
        let shared = self.twins.as_ref().is_some_and(Twins::shared_statistics);
        self.is_refused |= shared && runner.iter() > 0;
        match self.is_refused {
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
                apply_pending_statistics(runner.model());
                Ok(())
            }
        }
    }
}
