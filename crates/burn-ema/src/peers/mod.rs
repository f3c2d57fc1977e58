//! The recipes of other systems, under their names, with their arguments, defaults and counting.
//!
//! Each type in here holds the arguments of one class or function of another system. What it becomes is a
//! rule, `Decay::timm_v3(..)`, or a whole configuration, `EmaConfig::timm_v3(..)`, which also has start,
//! interval and what happens to buffers; [`Peer`] has both as fallible methods. Decays agree with the
//! system's own to the rounding of f64, at each of its updates.
//!
//! ```
//! use burn_ema::EmaConfig;
//! use burn_ema::peers::TimmV3;
//!
//! // ModelEmaV3(model, decay=0.9998, use_warmup=True)
//! let config = EmaConfig::timm_v3(TimmV3 { decay: 0.9998, use_warmup: true, ..TimmV3::default() });
//! ```
//!
//! | system | call | here |
//! |---|---|---|
//! | mmengine, mmagic | `EMAHook(ema_type='ExponentialMovingAverage')` | [`MmengineEma`] |
//! | mmengine | `MomentumAnnealingEMA` | [`MmengineAnnealing`] |
//! | mmengine | `StochasticWeightAverage` | [`MmengineSwa`] |
//! | mmagic | `RampUpEMA` | [`MmagicRampUp`] |
//! | mmagic | `ExponentialMovingAverageHook` | `burn_ema_train::hook::EmaHook` |
//! | torch | `AveragedModel(multi_avg_fn=get_ema_multi_avg_fn(..))` | [`TorchEma`] |
//! | torch | `AveragedModel` (SWA) | [`TorchSwa`] |
//! | torchvision | `--model-ema` of the reference scripts | [`Torchvision`] |
//! | Lightning | `EMAWeightAveraging` | [`Lightning`] |
//! | timm | `ModelEmaV2`, `ModelEmaV3` | [`TimmV2`], [`TimmV3`] |
//! | ema-pytorch | `EMA`, `KarrasEMA` | [`EmaPytorch`], [`KarrasEma`] |
//! | diffusers | `EMAModel` | [`Diffusers`] |
//! | StyleGAN 2, 3 | `ema_kimg`, `ema_rampup` | [`StyleGan`] |
//! | EDM2 | `PowerFunctionEMA`, `TraditionalEMA` | [`Edm2Power`], [`Edm2Traditional`] |
//! | Keras | `use_ema=True` | [`Keras`] |
//! | optax | `ema`, `incremental_update`, `periodic_update` | [`Optax`], [`OptaxIncremental`] |
//! | Composer | `EMA` | [`Composer`] |
//! | NeMo | `EMA` | [`Nemo`] |
//! | Ignite | `EMAHandler` | [`Ignite`] |
//! | YOLOv5, ultralytics | `ModelEMA` | [`Yolo`] |
//! | pytorch_ema | `ExponentialMovingAverage` | [`PytorchEma`] |
//! | d2go | `EMAUpdater` | [`D2go`] |
//!
//! What all of them get here and few have there: a copy of the source at each step before the start (but for
//! [`EmaPytorch`], whose copies are at its interval), integers copied exactly, f32 averages of half-precision models, an exact copy where the decay is 0, and counters in
//! the record.

mod composer;
mod d2go;
mod diffusers;
mod edm2;
mod ema_pytorch;
mod ignite;
mod keras;
mod lightning;
mod mmengine;
mod nemo;
mod optax;
mod pytorch_ema;
mod stylegan;
mod timm;
mod torch;
mod torchvision;
mod yolo;

pub use composer::Composer;
pub use d2go::D2go;
pub use diffusers::Diffusers;
pub use edm2::{Edm2Power, Edm2Traditional};
pub use ema_pytorch::{EmaPytorch, KarrasEma};
pub use ignite::{HandleBuffers, Ignite};
pub use keras::Keras;
pub use lightning::Lightning;
pub use mmengine::{MmagicRampUp, MmengineAnnealing, MmengineEma, MmengineSwa};
pub use nemo::Nemo;
pub use optax::{Optax, OptaxIncremental};
pub use pytorch_ema::PytorchEma;
pub use stylegan::StyleGan;
pub use timm::{TimmV2, TimmV3};
pub use torch::{TorchEma, TorchSwa};
pub use torchvision::Torchvision;
pub use yolo::Yolo;

use crate::{Action, Decay, EmaConfig, EmaError, Policy};

/// The arguments of another system, to become a rule or a configuration of ours.
pub trait Peer {
    /// The rule, for averages that begin after the [start](EmaConfig::start) of [`config`](Self::config). Where that is
    /// not 0, the system's first call is a copy, and is among the steps before the start here.
    ///
    /// # Errors
    ///
    /// If an argument is out of its range.
    fn decay(&self) -> Result<Decay, EmaError>;

    /// The rule with the start, the interval and the treatment of buffers that go with it.
    ///
    /// # Errors
    ///
    /// If an argument is out of its range.
    fn config(&self) -> Result<EmaConfig, EmaError>;
}

/// `Decay::timm_v3` and `EmaConfig::timm_v3` and so on.
macro_rules! constructors {
    ($($name:ident: $Peer:ident, $of:literal;)*) => {
        impl Decay {
            $(
                #[doc = concat!("The rule of ", $of, ": see [`", stringify!($Peer), "`](crate::peers::", stringify!($Peer), ").")]
                ///
                /// # Panics
                ///
                /// If an argument is out of its range. [`Peer::decay`] returns an error instead.
                pub fn $name(arguments: $Peer) -> Self {
                    arguments.decay().unwrap_or_else(|error| panic!("{error}"))
                }
            )*
        }

        impl EmaConfig {
            $(
                #[doc = concat!("The configuration of ", $of, ": see [`", stringify!($Peer), "`](crate::peers::", stringify!($Peer), ").")]
                ///
                /// # Panics
                ///
                /// If an argument is out of its range. [`Peer::config`] returns an error instead.
                pub fn $name(arguments: $Peer) -> Self {
                    arguments.config().unwrap_or_else(|error| panic!("{error}"))
                }
            )*
        }
    };
}

constructors! {
    mmengine_ema: MmengineEma, "mmengine's `ExponentialMovingAverage`";
    mmengine_annealing: MmengineAnnealing, "mmengine's `MomentumAnnealingEMA`";
    mmengine_swa: MmengineSwa, "mmengine's `StochasticWeightAverage`";
    mmagic_ramp_up: MmagicRampUp, "mmagic's `RampUpEMA`";
    torch_ema: TorchEma, "torch's `AveragedModel` with `get_ema_multi_avg_fn`";
    torch_swa: TorchSwa, "torch's `AveragedModel`";
    torchvision: Torchvision, "torchvision's reference scripts";
    lightning: Lightning, "Lightning's `EMAWeightAveraging`";
    timm_v2: TimmV2, "timm's `ModelEmaV2`";
    timm_v3: TimmV3, "timm's `ModelEmaV3`";
    ema_pytorch: EmaPytorch, "ema-pytorch's `EMA`";
    karras_ema: KarrasEma, "ema-pytorch's `KarrasEMA`, as it was meant";
    diffusers: Diffusers, "diffusers' `EMAModel`";
    stylegan: StyleGan, "StyleGAN 2 and 3";
    edm2_power: Edm2Power, "EDM2's `PowerFunctionEMA`";
    edm2_traditional: Edm2Traditional, "EDM2's `TraditionalEMA`";
    keras: Keras, "Keras' optimizers with `use_ema`";
    optax: Optax, "optax's `ema` with `debias`";
    optax_incremental: OptaxIncremental, "optax's `incremental_update`";
    composer: Composer, "Composer's `EMA`";
    nemo: Nemo, "NeMo's `EMA`";
    ignite: Ignite, "Ignite's `EMAHandler`";
    yolo: Yolo, "YOLOv5's and ultralytics' `ModelEMA`";
    pytorch_ema: PytorchEma, "pytorch_ema's `ExponentialMovingAverage`";
    d2go: D2go, "d2go's `EMAUpdater`";
}

/// `config`, if it is valid.
fn checked(config: EmaConfig) -> Result<EmaConfig, EmaError> {
    config.validate().map(|()| config)
}

/// A constant decay: 0, which is a copy each time, or one that is not a weight by mistake.
fn constant(decay: f64) -> Result<Decay, EmaError> {
    match decay {
        0.0 => Decay::try_weight(1.0),
        _ => Decay::try_constant(decay),
    }
}

/// Frozen parameters are averaged as all others, and float buffers as well or copied.
fn all_floats(average_buffers: bool) -> Policy {
    Policy::new()
        .with_non_trainable(Action::Average)
        .with_buffers(average_or_copy(average_buffers))
}

fn average_or_copy(average: bool) -> Action {
    match average {
        true => Action::Average,
        false => Action::Copy,
    }
}

/// An offset of a [`Clock`](crate::Clock) that delays a curve by `updates`.
fn delay(updates: u64) -> i64 {
    -i64::try_from(updates).unwrap_or(i64::MAX)
}
