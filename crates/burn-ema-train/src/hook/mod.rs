//! Hooks for training loops that are written by hand, and mmagic's EMA hook as one of them.
//!
//! | to | see |
//! |---|---|
//! | let a loop of your own run hooks | [`Runner`], [`Hooks`] |
//! | write a hook | [`Hook`] |
//! | keep averaged twins of networks | [`EmaHook`], [`EmaHookConfig`] |
//! | average in a way of your own | [`Interpolation`] |

mod config;
mod ema;
mod error;
mod hooks;
mod interpolation;

pub use config::{Counting, EmaHookConfig, InterpConfig, ModuleKeys};
pub use ema::EmaHook;
pub use error::HookError;
pub use hooks::{Hook, HookResult, Hooks, Priority, Runner};
pub use interpolation::{Interpolation, Moment};
