//! Hooks, the runner that they work on, and the order in which they are called.

use std::fmt;

use burn::module::Module;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

/// A training loop that hooks can look into.
///
/// # Example
///
/// ```
/// use burn::nn::Linear;
/// use burn_ema_train::hook::Runner;
///
/// struct Trainer {
///     model: Linear,
///     iter: u64,
/// }
///
/// impl Runner for Trainer {
///     type Model = Linear;
///
///     fn iter(&self) -> u64 {
///         self.iter
///     }
///
///     fn model(&self) -> &Linear {
///         &self.model
///     }
///
///     fn model_mut(&mut self) -> &mut Linear {
///         &mut self.model
///     }
/// }
/// ```
pub trait Runner {
    /// Everything that is trained, as one module.
    type Model: Module;

    /// The 0-based index of the iteration that runs, until the hooks after it have been called. It
    /// goes on from there when a training is resumed.
    fn iter(&self) -> u64;

    /// What is trained.
    fn model(&self) -> &Self::Model;

    /// What is trained, to change it.
    fn model_mut(&mut self) -> &mut Self::Model;

    /// The 0-based index of the optimizer step that the iteration has taken; `None` if it took none, as
    /// between two steps of gradient accumulation. Default: each iteration takes one.
    fn optimizer_step(&self) -> Option<u64> {
        Some(self.iter())
    }
}

/// What a hook returns when it cannot go on; it stops the run.
pub type HookResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Something that is done at certain moments of a training run. Each does nothing by default.
pub trait Hook<R: Runner + ?Sized> {
    /// When it is called, among the hooks that are called at the same moment.
    fn priority(&self) -> Priority {
        Priority::NORMAL
    }

    /// Before the first iteration, of a resumed run too.
    ///
    /// # Errors
    ///
    /// If the run cannot work.
    fn before_run(&mut self, _runner: &mut R) -> HookResult {
        Ok(())
    }

    /// Before an epoch.
    ///
    /// # Errors
    ///
    /// If the run cannot go on.
    fn before_train_epoch(&mut self, _runner: &mut R) -> HookResult {
        Ok(())
    }

    /// Before an iteration; `batch` is its index in the epoch.
    ///
    /// # Errors
    ///
    /// If the run cannot go on.
    fn before_train_iter(&mut self, _runner: &mut R, _batch: usize) -> HookResult {
        Ok(())
    }

    /// After an iteration; `batch` is its index in the epoch.
    ///
    /// # Errors
    ///
    /// If the run cannot go on.
    fn after_train_iter(&mut self, _runner: &mut R, _batch: usize) -> HookResult {
        Ok(())
    }

    /// After an epoch.
    ///
    /// # Errors
    ///
    /// If the run cannot go on.
    fn after_train_epoch(&mut self, _runner: &mut R) -> HookResult {
        Ok(())
    }

    /// After the last iteration.
    ///
    /// # Errors
    ///
    /// If what is left to do cannot be done.
    fn after_run(&mut self, _runner: &mut R) -> HookResult {
        Ok(())
    }
}

/// When a hook is called among others: lower ones first. The names and numbers are mmengine's.
///
/// In a configuration file it is a number or one of these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Priority(pub u8);

impl Priority {
    /// Before all others.
    pub const HIGHEST: Self = Self(0);
    /// Among the first.
    pub const VERY_HIGH: Self = Self(10);
    /// Early.
    pub const HIGH: Self = Self(30);
    /// Somewhat early.
    pub const ABOVE_NORMAL: Self = Self(40);
    /// The default.
    pub const NORMAL: Self = Self(50);
    /// Somewhat late.
    pub const BELOW_NORMAL: Self = Self(60);
    /// Late.
    pub const LOW: Self = Self(70);
    /// Among the last, e.g. what saves a checkpoint of what the others did.
    pub const VERY_LOW: Self = Self(90);
    /// After all others.
    pub const LOWEST: Self = Self(100);
}

/// mmengine's names, as they are written in its configurations.
const NAMES: [(&str, Priority); 9] = [
    ("HIGHEST", Priority::HIGHEST),
    ("VERY_HIGH", Priority::VERY_HIGH),
    ("HIGH", Priority::HIGH),
    ("ABOVE_NORMAL", Priority::ABOVE_NORMAL),
    ("NORMAL", Priority::NORMAL),
    ("BELOW_NORMAL", Priority::BELOW_NORMAL),
    ("LOW", Priority::LOW),
    ("VERY_LOW", Priority::VERY_LOW),
    ("LOWEST", Priority::LOWEST),
];

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u8),
            Name(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) if number <= 100 => Ok(Self(number)),
            Written::Number(number) => Err(de::Error::custom(format!(
                "priority must be at most 100, found {number}"
            ))),
            Written::Name(name) => {
                let known = NAMES
                    .into_iter()
                    .find(|(known, _)| *known == name.to_uppercase());
                known.map(|(_, priority)| priority).ok_or_else(|| {
                    let names = NAMES.map(|(name, _)| name).join(", ");
                    de::Error::custom(format!(
                        "priority `{name}` is unknown: write a number or one of {names}"
                    ))
                })
            }
        }
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

/// The hooks of a run, in the order of their priority; those of equal priority in the order in which
/// they were added.
///
/// Each of its methods calls that method of every hook, and stops at the first error.
///
/// # Example
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn_ema_train::hook::Runner;
/// use burn_ema_train::hook::{Hook, HookResult, Hooks};
/// # struct Trainer { model: Linear, iter: u64 }
/// # impl Runner for Trainer {
/// #     type Model = Linear;
/// #     fn iter(&self) -> u64 { self.iter }
/// #     fn model(&self) -> &Linear { &self.model }
/// #     fn model_mut(&mut self) -> &mut Linear { &mut self.model }
/// # }
///
/// struct Report;
///
/// impl<R: Runner> Hook<R> for Report {
///     fn after_train_iter(&mut self, runner: &mut R, _batch: usize) -> HookResult {
///         println!("iteration {} is done", runner.iter());
///         Ok(())
///     }
/// }
///
/// # let mut trainer = Trainer { model: LinearConfig::new(2, 2).init(&Default::default()), iter: 0 };
/// let mut hooks = Hooks::new().with(Report);
/// hooks.before_run(&mut trainer)?;
/// for batch in 0..3 {
///     // A training step.
///     hooks.after_train_iter(&mut trainer, batch)?;
///     trainer.iter += 1;
/// }
/// hooks.after_run(&mut trainer)?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub struct Hooks<R: Runner + ?Sized> {
    hooks: Vec<(Priority, Box<dyn Hook<R>>)>,
}

impl<R: Runner + ?Sized> Default for Hooks<R> {
    fn default() -> Self {
        Self { hooks: Vec::new() }
    }
}

impl<R: Runner + ?Sized> fmt::Debug for Hooks<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let priorities = self.hooks.iter().map(|(priority, _)| priority);
        formatter.debug_list().entries(priorities).finish()
    }
}

/// The same method of [`Hooks`] for each moment of [`Hook`].
macro_rules! call_all {
    ($($(#[$doc:meta])* $moment:ident($($argument:ident: $type:ty)?);)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            ///
            /// That of the first hook that returns one. The hooks after it are not called.
            pub fn $moment(&mut self, runner: &mut R $(, $argument: $type)?) -> HookResult {
                for (_, hook) in &mut self.hooks {
                    hook.$moment(runner $(, $argument)?)?;
                }
                Ok(())
            }
        )*
    };
}

impl<R: Runner + ?Sized> Hooks<R> {
    /// No hooks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a hook.
    #[must_use]
    pub fn with(mut self, hook: impl Hook<R> + 'static) -> Self {
        self.add(hook);
        self
    }

    /// Adds a hook.
    pub fn add(&mut self, hook: impl Hook<R> + 'static) {
        self.add_at(hook.priority(), hook);
    }

    /// Adds a hook with another priority than its own: mmengine's `register_hook(hook, priority)`.
    pub fn add_at(&mut self, priority: Priority, hook: impl Hook<R> + 'static) {
        let place = self.hooks.partition_point(|(other, _)| *other <= priority);
        self.hooks.insert(place, (priority, Box::new(hook)));
    }

    call_all! {
        /// Before the first iteration, of a resumed run too.
        before_run();
        /// Before an epoch.
        before_train_epoch();
        /// Before an iteration; `batch` is its index in the epoch.
        before_train_iter(batch: usize);
        /// After an iteration; `batch` is its index in the epoch.
        after_train_iter(batch: usize);
        /// After an epoch.
        after_train_epoch();
        /// After the last iteration.
        after_run();
    }
}
