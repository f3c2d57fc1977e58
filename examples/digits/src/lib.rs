//! A small conv net on handwritten digits, trained with Burn's `Learner` and evaluated on its online
//! and its EMA weights side by side.
//!
//! A run reads its [`settings`], checks what could stop it ([`device`], [`data`], [`folder`]), then
//! [`train`]s the [`model`] and draws the [`chart`].

pub mod canvas;
pub mod chart;
pub mod data;
pub mod device;
pub mod error;
pub mod folder;
pub mod model;
pub mod png_file;
pub mod progress;
pub mod settings;
pub mod train;
