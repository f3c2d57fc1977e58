//! EMA copies of submodules inside one model, as GAN code has them.
//!
//! There the EMA is often a field beside the network that is trained, for example `generator_ema`
//! beside `generator`, and travels, runs and is saved with the module that holds both. [`EmaSubmodules`] finds
//! such pairs by path and moves each EMA copy towards its source, in batches, touching nothing else. When
//! and how far is for the caller to say; the hook of `burn-ema-train` says it as mmagic does.
//!
//! For an EMA that is *not* a field of the model, see [`EmaModel`](crate::EmaModel).

mod prepare;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use burn::module::Module;
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Float, Shape, Tensor};

pub use crate::plan::pair::SubmodulePair;
pub use crate::walk::path::is_at_or_within;

use crate::burn_facts::rank;
use crate::engine::batch::Rounding;
use crate::engine::guard::NonFinite;
use crate::engine::run::{Change, Member, run};
use crate::error::EmaError;
use crate::model::update::Update;
use crate::plan::PlanAction;
use crate::plan::pair::{Link, links};
use crate::policy::Class;
use crate::store::inside::{put_back, take_out};
use crate::store::slot::Slot;
use crate::walk::frame::buffers;
use crate::walk::path::within;
use crate::walk::places::Places;
use crate::walk::read::{Kind, Reading, Shown, again, first};
use crate::walk::write::replace;

/// How a tensor of an EMA copy follows its source.
#[non_exhaustive]
pub enum Blend<'a> {
    /// It becomes the source, exactly.
    Copy,
    /// It moves towards the source by this share of the way, in `[0, 1]`.
    Lerp(f64),
    /// It becomes what this makes of source and EMA copy, given in that order and as rows
    /// of numbers, in the dtype and on the device of the EMA copy. The result must be as long.
    With(&'a dyn Fn(Tensor<1>, Tensor<1>) -> Tensor<1>),
}

impl Blend<'_> {
    fn copies(&self) -> bool {
        matches!(self, Self::Copy | Self::Lerp(1.0))
    }
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

/// Submodules of a module and their EMA copies in the same module.
///
/// Tensors of source and EMA copy are paired by their path within the submodule. Shapes must be equal, and
/// dtypes may differ among floats: a source in half precision is best followed by an EMA copy in f32.
///
/// # Example
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn_ema::config::NonFinite;
/// use burn_ema::policy::Class;
/// use burn_ema::submodule::{Blend, EmaSubmodules, SubmodulePair};
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
/// let pair = SubmodulePair { source: "generator".into(), ema: "generator_ema".into() };
/// let mut emas = EmaSubmodules::new(&mut gan, vec![pair])?;
/// // After each training step:
/// emas.update(&mut gan, NonFinite::Propagate, |class| match class {
///     Class::Trainable => Blend::Lerp(0.001),
///     _ => Blend::Copy,
/// })?;
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
#[derive(Debug)]
pub struct EmaSubmodules<M> {
    pairs: Vec<SubmodulePair>,
    places: Places,
    links: Vec<Link>,
    /// Kind and shape of each place, as when the submodules were paired.
    known: Vec<Known>,
    /// What is in the place of the module while its tensors are replaced.
    placeholder: M,
    shared_statistics: bool,
    has_buffers: bool,
    is_interrupted: bool,
}

#[derive(Clone, Debug)]
struct Known {
    kind: Kind,
    shape: Shape,
    is_buffer: bool,
    is_paired: bool,
}

impl<M: Module> EmaSubmodules<M> {
    /// Finds the pairs in `module` and makes the EMA copies ready to follow:
    ///
    /// - An EMA copy is not trained: its parameters no longer require gradients.
    /// - An EMA copy that was made by `clone()` shares ids with the original, so that an optimizer would give one
    ///   of the two the gradients of the other, and BatchNorm's running statistics. It gets its own ids and
    ///   statistics.
    ///
    /// No value changes.
    ///
    /// # Errors
    ///
    /// If a path leads to no submodule, two submodules cannot be a pair, or they differ in structure. `module` is as it was
    /// then.
    pub fn new(module: &mut M, pairs: Vec<SubmodulePair>) -> Result<Self, EmaError> {
        let found = first(module);
        let links = links(&pairs, &found)?;
        let is_paired = |path: &str| {
            let mut pairs = pairs.iter();
            pairs.any(|pair| {
                within(path, &pair.source)
                    .or(within(path, &pair.ema))
                    .is_some()
            })
        };
        let places = found.places.clone();
        let placeholder = placeholder(module, &places, |place| found.shown[place].rank);
        let is_buffer = buffers(&placeholder, &places);
        let known = found.shown.iter().zip(&places.paths).zip(&is_buffer);
        let known = known.map(|((shown, path), is_buffer)| Known {
            kind: shown.kind(),
            shape: shown.tensor.shape(),
            is_buffer: *is_buffer,
            is_paired: is_paired(path),
        });
        let known = known.collect();
        let shared_statistics = prepare::prepare(module, &placeholder, &pairs, &found);
        Ok(Self {
            pairs,
            has_buffers: is_buffer.contains(&true),
            places,
            links,
            known,
            placeholder,
            shared_statistics,
            is_interrupted: false,
        })
    }

    /// Moves every EMA copy towards its source, as `blend` says for each class of tensor of the source.
    /// Integers, booleans and quantized tensors are copied whatever it says.
    ///
    /// All EMA copies are moved towards what their sources are before the call, in place where nobody else holds the
    /// memory (on Burn's CubeCL backends, whose records are read late, into new memory).
    ///
    /// # Errors
    ///
    /// If the structure of a submodule has changed, a weight is not in `[0, 1]`, a function returns another number of values,
    /// or a float of a source that is trained or averaged holds NaN or infinity and `non_finite` makes that an error. Nothing
    /// has changed then.
    ///
    /// # Panics
    ///
    /// If the backend or a function of [`Blend::With`] does. The module is whole then: after a panic of the backend, EMA
    /// weights that were lost are those of the source, and further updates return [`EmaError::Interrupted`].
    pub fn update<'a>(
        &mut self,
        module: &mut M,
        non_finite: NonFinite,
        mut blend: impl FnMut(Class) -> Blend<'a>,
    ) -> Result<Update, EmaError> {
        if self.is_interrupted {
            return Err(EmaError::Interrupted);
        }
        let mut reading = again(module, &self.places, self.has_buffers);
        self.check(&reading)?;
        let blends: Vec<Blend<'a>> = self
            .links
            .iter()
            .map(|link| self.blend(link, &reading, &mut blend))
            .collect();
        self.check_weights(&blends)?;
        if !self.accepts(&reading, &blends, non_finite)? {
            return Ok(Update::Skipped);
        }
        let steps = self.steps(&mut reading, blends)?;
        let counted = count(&steps);
        drop(reading);
        self.carry_out(module, steps);
        Ok(counted)
    }

    /// Whether an EMA copy shared BatchNorm's running statistics with another submodule when this was created.
    ///
    /// A record that was loaded into such a module put the statistics of both into the one place.
    pub fn shared_statistics(&self) -> bool {
        self.shared_statistics
    }

    /// Whether the module has running statistics.
    pub fn has_buffers(&self) -> bool {
        self.has_buffers
    }

    fn check(&self, reading: &Reading) -> Result<(), EmaError> {
        let changed = |path: &str, change: String| {
            Err(EmaError::SubmoduleChanged {
                path: path.to_string(),
                change,
            })
        };
        let is_paired = |path: &str| {
            let mut pairs = self.pairs.iter();
            pairs.any(|pair| {
                within(path, &pair.source)
                    .or(within(path, &pair.ema))
                    .is_some()
            })
        };
        if let Some((path, _)) = reading.others.iter().find(|(path, _)| is_paired(path)) {
            return changed(path, "appeared".into());
        }
        for ((known, shown), path) in self
            .known
            .iter()
            .zip(&reading.shown)
            .zip(&self.places.paths)
        {
            match shown {
                _ if !known.is_paired => {}
                None => return changed(path, "disappeared".into()),
                Some(shown) if shown.kind() != known.kind => {
                    return changed(path, "changed its kind".into());
                }
                Some(shown) if shown.tensor.shape() != known.shape => {
                    let found = shown.tensor.shape();
                    return changed(
                        path,
                        format!("changed its shape from {} to {found}", known.shape),
                    );
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn blend<'a>(
        &self,
        link: &Link,
        reading: &Reading,
        blend: &mut impl FnMut(Class) -> Blend<'a>,
    ) -> Blend<'a> {
        let known = &self.known[link.source];
        match known.kind {
            Kind::Int | Kind::Bool | Kind::Quantized => Blend::Copy,
            Kind::Float if known.is_buffer => blend(Class::Buffer),
            Kind::Float if shown_at(reading, link.source).is_trainable => blend(Class::Trainable),
            Kind::Float => blend(Class::Frozen),
        }
    }

    fn check_weights(&self, blends: &[Blend<'_>]) -> Result<(), EmaError> {
        for blend in blends {
            if let Blend::Lerp(found) = blend
                && !(0.0..=1.0).contains(found)
            {
                return Err(EmaError::Weight { found: *found });
            }
        }
        Ok(())
    }

    fn accepts(
        &self,
        reading: &Reading,
        blends: &[Blend<'_>],
        non_finite: NonFinite,
    ) -> Result<bool, EmaError> {
        // What is trained and copied now will be averaged some day.
        let is_averaged = |(shown, blend): &(&Shown, &Blend<'_>)| {
            shown.kind() == Kind::Float && (shown.is_trainable || !blend.copies())
        };
        let averaged = || {
            let links = self.links.iter().zip(blends);
            let shown = links.map(|(link, blend)| (link, (shown_at(reading, link.source), blend)));
            let shown = shown.filter(move |(_, shown)| is_averaged(shown));
            shown.map(|(link, (shown, _))| (link.source, &shown.tensor))
        };
        let is_finite = || burn_ema_kernels::all_finite(averaged().map(|(_, tensor)| tensor));
        non_finite.accepts(averaged(), &self.places.paths, is_finite)
    }

    /// What is to be done, with the sources on the devices of the EMA copies. Functions are called here, before anything
    /// changes.
    fn steps(&self, reading: &mut Reading, blends: Vec<Blend<'_>>) -> Result<Vec<Step>, EmaError> {
        let mut steps = Vec::with_capacity(self.links.len());
        for (link, blend) in self.links.iter().zip(blends) {
            let source = shown_at(reading, link.source);
            let ema = shown_at(reading, link.ema);
            let (device, dtype) = (rank::device(&ema.tensor), ema.tensor.dtype());
            let tensor = rank::on_device(source.tensor.clone(), &device);
            let source = Shown {
                tensor,
                ..source.clone()
            };
            let nearest = || Rounding::Nearest;
            let change =
                |action, weight| Action::Change(Change::of(action, weight, dtype, nearest));
            let action = match blend {
                Blend::Copy => change(PlanAction::Copy, 1.0),
                Blend::Lerp(weight) => change(PlanAction::Average, weight),
                Blend::With(function) => {
                    let path = &self.places.paths[link.ema];
                    Action::Put(blended(path, &source.tensor, &ema.tensor, function)?.into())
                }
            };
            steps.push(Step {
                ema: link.ema,
                source,
                action,
            });
        }
        Ok(steps)
    }

    fn carry_out(&mut self, module: &mut M, steps: Vec<Step>) {
        let mut tensors: Vec<Option<BridgeTensor>> =
            self.places.paths.iter().map(|_| None).collect();
        let mut moving = Vec::new();
        for step in steps {
            match step.action {
                Action::Put(tensor) => tensors[step.ema] = Some(*tensor),
                Action::Change(Change::Nothing) => {}
                Action::Change(change) => moving.push((step.ema, step.source, change)),
            }
        }
        let mut is_moving = vec![false; self.places.len()];
        for (ema, ..) in &moving {
            is_moving[*ema] = true;
        }
        let paths = &self.places.paths;
        let mut taken = take_out(module, &self.placeholder, paths, |place| is_moving[place]);
        let mut slots: Vec<Slot> = moving
            .iter()
            .filter_map(|(ema, ..)| taken[*ema].take())
            .map(Slot::new)
            .collect();
        let sources: Vec<Shown> = moving.iter().map(|(_, source, _)| source.clone()).collect();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let member = Member {
                slots: &mut slots,
                device: None,
                has_moved: false,
            };
            let sources = sources.into_iter().map(Some).collect();
            let change = |_, place: usize, _: &Shown| moving[place].2;
            run(&mut [member], sources, change, |_, _, _| {});
        }));
        for ((ema, source, _), slot) in moving.into_iter().zip(slots) {
            tensors[ema] = Some(match slot.is_whole() {
                true => slot.into_tensor(),
                // The backend panicked while it had this tensor.
                false => source.tensor,
            });
        }
        put_back(module, &self.placeholder, paths, tensors);
        if let Err(panic) = outcome {
            self.is_interrupted = true;
            resume_unwind(panic);
        }
    }
}

/// What is done to one tensor of an EMA copy.
struct Step {
    ema: usize,
    source: Shown,
    action: Action,
}

enum Action {
    Change(Change),
    Put(Box<BridgeTensor>),
}

fn count(steps: &[Step]) -> Update {
    let number =
        |is_it: fn(&Action) -> bool| steps.iter().filter(|step| is_it(&step.action)).count();
    let averaged =
        number(|action| matches!(action, Action::Change(Change::Move { .. }) | Action::Put(_)));
    let copied = number(|action| matches!(action, Action::Change(Change::Copy { .. })));
    let weight = steps.iter().find_map(|step| match step.action {
        Action::Change(Change::Move(to)) => Some(to.weight),
        _ => None,
    });
    match (averaged, weight) {
        (0, _) => Update::Copied { copied },
        (_, weight) => Update::Averaged {
            decay: 1.0 - weight.unwrap_or(1.0),
            averaged,
            copied,
        },
    }
}

fn shown_at(reading: &Reading, place: usize) -> &Shown {
    let shown = reading.shown[place].as_ref();
    shown.expect("the structure of the submodules was checked")
}

/// The next value of a tensor of an EMA copy by a function of the user.
fn blended(
    path: &str,
    source: &BridgeTensor,
    ema: &BridgeTensor,
    function: &dyn Fn(Tensor<1>, Tensor<1>) -> Tensor<1>,
) -> Result<BridgeTensor, EmaError> {
    let (shape, dtype) = (ema.shape(), ema.dtype());
    let row = |tensor: BridgeTensor| -> Tensor<1> {
        let length = tensor.shape().num_elements();
        rank::any::<Float>(tensor).reshape([length])
    };
    let source = rank::cast(source.clone(), dtype);
    let result = function(row(source), row(ema.clone()));
    let (expected, found) = (shape.num_elements(), result.shape().num_elements());
    if expected != found {
        return Err(EmaError::BlendLength {
            path: path.to_string(),
            expected,
            found,
        });
    }
    let result = rank::cast(result.into_bridge(), dtype);
    Ok(rank::reshaped(result, shape))
}

/// A module that holds no weights, to stand in for `module` for a moment.
fn placeholder<M: Module>(module: &M, places: &Places, rank_of: impl Fn(usize) -> usize) -> M {
    let is_supported = |place: usize| (1..=rank::MAX_RANK).contains(&rank_of(place));
    let single = |_: usize, old: BridgeTensor| rank::single(&old);
    replace(module.valid(), &places.paths, is_supported, single).0
}
