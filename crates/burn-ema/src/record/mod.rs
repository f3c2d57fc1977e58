//! What a record of an EMA holds: its weights, its progress and the version of the format.
//!
//! | path | holds |
//! |---|---|
//! | `ema_weights.*` | the tensors, by module path, in the dtypes that the EMA keeps them in |
//! | `ema_compensations.*` | with [`EmaPrecision::Compensated`](crate::config::EmaPrecision::Compensated): what the last roundings of each averaged tensor have lost, in its dtype |
//! | `ema_progress` | `i32[10]`: version of the format; steps, updates and skipped steps, each as two numbers of 31 bits, low one first; and the bits of the sum of the updates' weights, an f64, as three, with whether a weight was not 1 as bit 2 of the last |
//! | `ema_trained` | `i32[n]`: which tensors were trained so far, one bit for each in the order of their paths, 31 bits in each number |
//!
//! An EMA that is a field of a module has these below the path of the field, the EMAs of a set below their names. What
//! an average of a set keeps beside its EMA is below its name and `first` (BEMA), `of_ema` (double EMA) or `before` (window).

pub(crate) mod content;
pub(crate) mod ids;
pub(crate) mod progress;
pub(crate) mod traverse;
pub(crate) mod walk;

pub use content::{Content, group_in};
pub use traverse::{Plain, Recorded, Traverse};

pub use crate::burn_facts::records::caught;
