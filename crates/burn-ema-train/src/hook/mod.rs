//! Hooks for your own training loops, and mmagic's EMA hook as one of them.
//!
//! | task | see |
//! |---|---|
//! | let your own loop run hooks | [`Runner`], [`Hooks`] |
//! | write a hook | [`Hook`] |
//! | keep EMA copies of submodules | [`EmaHook`], [`EmaHookConfig`] |
//! | average in your own way | [`Interpolation`] |

pub(crate) mod config;
pub(crate) mod ema_hook;
pub(crate) mod error;
pub(crate) mod hooks;
pub(crate) mod interpolation;

pub use config::{Counting, EmaHookConfig, InterpConfig, ModuleKeys};
pub use ema_hook::EmaHook;
pub use error::HookError;
pub use hooks::{Hook, HookResult, Hooks, Priority, Runner};
pub use interpolation::{At, Interpolation};
