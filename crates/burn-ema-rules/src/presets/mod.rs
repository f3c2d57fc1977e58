//! Presets: the EMA of other frameworks, with the names, arguments, defaults and counting of those frameworks.
//!
//! Each type holds the arguments of one class or function of another framework. [`Preset::settings`] converts them into
//! [`Settings`], and [`Preset::decay`] into the decay schedule alone. At each update of the framework the decay agrees
//! with the framework's own decay up to the rounding of f64. A preset accepts each decay in `[0, 1]`, and logs a warning
//! below 0.5, which is probably the weight of the new weights.
//!
//! ```
//! use burn_ema_rules::presets::{Preset, TimmV3};
//!
//! // ModelEmaV3(model, decay=0.9998, use_warmup=True)
//! let arguments = TimmV3 { decay: 0.9998, use_warmup: true, ..TimmV3::default() };
//! let settings = arguments.settings()?;
//! let profile = settings.schedule().profile(&settings.decay, 10_000)?;
//! assert!(profile.weights()[0] < 1e-12, "no trace of the initial weights is left");
//! # Ok::<(), burn_ema_rules::RulesError>(())
//! ```
//!
//! | framework | class or function | preset |
//! |---|---|---|
//! | mmengine, mmagic | `EMAHook(ema_type='ExponentialMovingAverage')` | [`MmengineEma`] |
//! | mmengine | `MomentumAnnealingEMA` | [`MmengineAnnealing`] |
//! | mmengine | `StochasticWeightAverage` | [`MmengineSwa`] |
//! | mmagic | `RampUpEMA` | [`MmagicRampUp`] |
//! | mmpretrain | `CosineEMA` | [`MmpretrainCosine`] |
//! | mmdetection, mmyolo | `ExpMomentumEMA` | [`MmdetExpMomentum`] |
//! | mmdetection | `MeanTeacherHook` | [`MmdetMeanTeacher`] |
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
//! | BYOL | target network | [`Byol`] |
//! | MoCo v3 | momentum encoder | [`MocoV3`] |
//! | DINO, DINOv2, DINOv3 | teacher | [`Dino`] |
//! | lightly | `cosine_schedule`, `update_momentum` | [`Lightly`] |
//! | I-JEPA, V-JEPA | target encoder | [`Jepa`] |
//! | data2vec (fairseq) | teacher | [`Data2vec`] |
//! | Levanter | `EmaModelAveragingConfig`, `EmaDecaySqrtConfig` | [`LevanterEma`], [`LevanterDecaySqrt`] |
//! | icefall | `update_averaged_model` | [`Icefall`] |
//! | Marian | `--exponential-smoothing` | [`Marian`] |
//! | timm, optax | `Lookahead`, `lookahead` | [`Lookahead`] |
//! | TRL | `SyncRefModelCallback` | [`TrlSyncRef`] |
//!
//! Differences that all presets have in common: each step before the start copies the online weights (except
//! [`EmaPytorch`], whose copies are at its interval), and integers are copied exactly.

pub(crate) mod composer;
mod convert;
pub(crate) mod d2go;
pub(crate) mod diffusers;
pub(crate) mod edm2;
pub(crate) mod ema_pytorch;
pub(crate) mod icefall;
pub(crate) mod ignite;
pub(crate) mod keras;
pub(crate) mod levanter;
pub(crate) mod lightning;
pub(crate) mod lookahead;
pub(crate) mod marian;
pub(crate) mod mmdet;
pub(crate) mod mmengine;
pub(crate) mod mmpretrain;
pub(crate) mod nemo;
pub(crate) mod optax;
pub(crate) mod preset;
pub(crate) mod pytorch_ema;
pub(crate) mod settings;
pub(crate) mod stylegan;
pub(crate) mod teachers;
pub(crate) mod timm;
pub(crate) mod torch;
pub(crate) mod torchvision;
pub(crate) mod trl;
pub(crate) mod yolo;

pub use composer::Composer;
pub use d2go::D2go;
pub use diffusers::Diffusers;
pub use edm2::{Edm2Power, Edm2Traditional};
pub use ema_pytorch::{EmaPytorch, KarrasEma};
pub use icefall::Icefall;
pub use ignite::{HandleBuffers, Ignite};
pub use keras::Keras;
pub use levanter::{LevanterDecaySqrt, LevanterEma};
pub use lightning::Lightning;
pub use lookahead::Lookahead;
pub use marian::Marian;
pub use mmdet::{MmdetExpMomentum, MmdetMeanTeacher};
pub use mmengine::{MmagicRampUp, MmengineAnnealing, MmengineEma, MmengineSwa};
pub use mmpretrain::MmpretrainCosine;
pub use nemo::Nemo;
pub use optax::{Optax, OptaxIncremental};
pub use preset::Preset;
pub use pytorch_ema::PytorchEma;
pub use settings::{Buffers, Settings, WriteBackSettings};
pub use stylegan::StyleGan;
pub use teachers::{Byol, Data2vec, Dino, Jepa, Lightly, MocoV3};
pub use timm::{TimmV2, TimmV3};
pub use torch::{TorchEma, TorchSwa};
pub use torchvision::Torchvision;
pub use trl::TrlSyncRef;
pub use yolo::Yolo;
