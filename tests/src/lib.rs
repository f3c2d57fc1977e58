//! Models and an independent reference for the tests of this workspace.

pub mod allocator;
pub mod backend;
pub mod compare;
pub mod counted;
pub mod folder;
pub mod large;
pub mod learner;
pub mod models;
pub mod random;
pub mod real;
pub mod reference;
pub mod runner;
pub mod snapshot;

/// The examples of the README, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Those of the page on the choice of a rule.
#[cfg(doctest)]
#[doc = include_str!("../../docs/choosing.md")]
struct Choosing;

/// Those of the page for users of other frameworks.
#[cfg(doctest)]
#[doc = include_str!("../../docs/migration.md")]
struct Migration;

/// Those of the page for users of mmagic.
#[cfg(doctest)]
#[doc = include_str!("../../docs/mmagic.md")]
struct Mmagic;
