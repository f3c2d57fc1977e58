//! Averaged twins: networks of one module that follow other networks of the same module.
//!
//! In GAN code the average is often a field beside the network that is trained, say `generator_ema`
//! beside `generator`, and travels, runs and is saved with the module that holds both. [`Twins`] finds
//! such pairs by path and moves each twin towards its source, in place, touching nothing else. When
//! and how far is for the caller to say; the hook of `burn-ema-train` says it as mmagic does.
//!
//! For an average that is *not* a field of the model, see [`EmaModel`](crate::EmaModel).

mod error;
mod pairing;
mod prepare;
mod update;

pub use error::TwinError;

use std::fmt;

use burn::module::Module;
use burn::tensor::{DType, Shape, Tensor};

use crate::policy::Class;
use crate::shadow::Skeleton;
use crate::traverse::Locator;

/// Module paths of a network and of its averaged twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The network that is trained, e.g. `generator`.
    pub source: String,
    /// The one that follows it, e.g. `generator_ema`.
    pub twin: String,
}

/// How a value of the twin follows the source.
pub enum Blend<'a> {
    /// It takes the value of the source, exactly.
    Copy,
    /// It moves towards the source by this share of the way, in `[0, 1]`.
    Lerp(f64),
    /// It becomes what this makes of the values of source and twin, given in that order and as rows
    /// of numbers, in the dtype and on the device of the twin.
    With(&'a dyn Fn(Tensor<1>, Tensor<1>) -> Tensor<1>),
}

impl fmt::Debug for Blend<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy => formatter.write_str("Copy"),
            Self::Lerp(weight) => formatter.debug_tuple("Lerp").field(weight).finish(),
            Self::With(_) => formatter.debug_tuple("With").finish_non_exhaustive(),
        }
    }
}

/// Networks of a module and their averaged twins in the same module.
///
/// Values of source and twin are paired by their path within the network. Shapes must be equal, and
/// dtypes may differ among floats: a source in half precision is best followed by a twin in f32.
///
/// # Example
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn_ema::Class;
/// use burn_ema::twin::{Blend, Pair, Twins};
///
/// #[derive(Module, Debug)]
/// struct Gan {
///     generator: Linear,
///     generator_ema: Linear,
///     discriminator: Linear,
/// }
///
/// let device = Default::default();
/// let generator = LinearConfig::new(2, 2).init(&device);
/// let mut gan = Gan {
///     generator_ema: generator.clone(),
///     generator,
///     discriminator: LinearConfig::new(2, 1).init(&device),
/// };
/// let pair = Pair { source: "generator".into(), twin: "generator_ema".into() };
/// let twins = Twins::new(&mut gan, vec![pair])?;
/// // After each training step:
/// twins.update(&mut gan, |class| match class {
///     Class::Trainable => Blend::Lerp(0.001),
///     Class::NonTrainable | Class::Discrete => Blend::Copy,
/// })?;
/// # Ok::<(), burn_ema::twin::TwinError>(())
/// ```
#[derive(Debug)]
pub struct Twins<M> {
    pairs: Vec<Pair>,
    /// Every value of a source or twin, in the order in which the module shows them.
    entries: Vec<Entry>,
    /// What is in the place of the module while its values are written.
    skeleton: Skeleton<M>,
    shared_statistics: bool,
}

/// A value of the module, as found when the twins were paired.
#[derive(Clone, Debug)]
struct Entry {
    path: String,
    kind: Kind,
    shape: Shape,
    /// The entry that this one follows, if it belongs to a twin.
    source: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float,
    Quantized,
    Int,
    Bool,
}

impl Kind {
    fn of_float(dtype: DType) -> Self {
        match dtype {
            DType::QFloat(_) => Self::Quantized,
            _ => Self::Float,
        }
    }
}

impl<M: Module> Twins<M> {
    /// Finds the pairs in `module` and makes the twins ready to follow:
    ///
    /// - A twin is not trained: its parameters no longer require gradients.
    /// - A twin that was made by `clone()` shares ids with the original, so that an optimizer would give one
    ///   of the two the gradients of the other, and BatchNorm's running statistics. It gets ids and
    ///   statistics of its own.
    ///
    /// No value changes.
    ///
    /// # Errors
    ///
    /// If a path leads to no network, the networks of a pair differ in structure, or shared statistics
    /// cannot be taken apart. `module` is as it was then.
    pub fn new(module: &mut M, pairs: Vec<Pair>) -> Result<Self, TwinError> {
        let found = pairing::find(module, &pairs)?;
        let skeleton = Skeleton::new(module);
        let mut twins = Self {
            entries: pairing::entries(&pairs, &found)?,
            pairs,
            skeleton,
            shared_statistics: false,
        };
        let shared = twins.replace(module, |module| prepare::prepare(module, &twins, &found));
        twins.shared_statistics = shared?;
        Ok(twins)
    }

    /// Moves every twin towards its source, as `blend` says for each class of value of the source.
    /// Integers, booleans and quantized values are copied whatever it says.
    ///
    /// All twins are moved towards what their sources are before the call. While this runs a
    /// placeholder is in the place of `module`, and would stay there if a function given as
    /// [`Blend::With`] panicked.
    ///
    /// # Errors
    ///
    /// If the structure of a network has changed. Nothing has changed then.
    pub fn update<'a>(
        &self,
        module: &mut M,
        blend: impl FnMut(Class) -> Blend<'a>,
    ) -> Result<(), TwinError> {
        let sources = update::collect(module, self)?;
        self.replace(module, |module| {
            (update::write(module, self, sources, blend), ())
        });
        Ok(())
    }

    /// Whether a twin shared BatchNorm's running statistics with another network when this was made.
    ///
    /// A record that was loaded into such a module put the statistics of both into the one place.
    pub fn shared_statistics(&self) -> bool {
        self.shared_statistics
    }

    fn replace<T>(&self, module: &mut M, change: impl FnOnce(M) -> (M, T)) -> T {
        let whole = std::mem::replace(module, self.skeleton.hollow().clone());
        let (changed, result) = change(whole);
        *module = changed;
        result
    }

    /// Whether a value at `path` belongs to a network of a pair.
    fn covers(&self, path: &str) -> bool {
        let networks = self
            .pairs
            .iter()
            .flat_map(|pair| [&pair.source, &pair.twin]);
        networks
            .into_iter()
            .any(|network| within(path, network).is_some())
    }

    /// The entry of the next value, which is at `path`, if it belongs to a network of a pair.
    fn locate(&self, locator: &mut Locator, path: &str) -> Option<usize> {
        // Those that do not belong would be searched for among all that do.
        match self.covers(path) {
            true => locator.locate(&self.entries, path, |entry| &entry.path),
            false => None,
        }
    }
}

/// The path of a value within the network at `network`, if it belongs to that.
fn within<'a>(path: &'a str, network: &str) -> Option<&'a str> {
    path.strip_prefix(network)?.strip_prefix('.')
}

/// Whether `path` is that of the network at `network`, or leads into it.
pub fn is_at_or_within(path: &str, network: &str) -> bool {
    path == network || within(path, network).is_some()
}
