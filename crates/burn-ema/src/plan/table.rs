//! The plan as a user sees it.

use std::fmt;

use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use crate::policy::Class;

/// What an update does to a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PlanAction {
    /// Moves towards the model's.
    Average,
    /// Becomes the model's.
    Copy,
    /// Stays.
    Ignore,
    /// Becomes the model's until [`EmaModel::reestimate`](crate::EmaModel::reestimate) computes it from data.
    Reestimate,
}

/// What happens to one tensor of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlanEntry {
    /// Module path.
    pub path: String,
    /// Class by which the policy chooses.
    pub class: Class,
    /// What an update does to it.
    pub action: PlanAction,
    /// Shape in the model.
    pub shape: Vec<usize>,
    /// Dtype in the model.
    pub dtype: DType,
    /// Dtype in the EMA.
    pub ema_dtype: DType,
    /// Device that the EMA keeps it on, as `Debug` prints it.
    pub device: String,
    /// Size in the EMA, in bytes. What is copied on the model's device shares the model's memory.
    pub bytes: u64,
}

/// What an EMA does to each tensor of its model. Prints as a table, and serializes.
///
/// Made by [`EmaConfig::plan`](crate::EmaConfig::plan) before training, and by [`EmaModel::plan`](crate::EmaModel::plan).
///
/// # Example
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn_ema::EmaConfig;
/// use burn_ema::plan::PlanAction;
///
/// let model = LinearConfig::new(4, 2).init(&Default::default());
/// let plan = EmaConfig::new().plan(&model)?;
/// println!("{plan}");
/// assert_eq!(plan.entries[0].path, "weight");
/// assert_eq!(plan.entries[0].action, PlanAction::Average);
/// assert_eq!(plan.bytes(PlanAction::Average), 4 * (4 * 2 + 2));
/// # Ok::<(), burn_ema::EmaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EmaPlan {
    /// One entry for each tensor, in the order in which the model shows them.
    pub entries: Vec<PlanEntry>,
}

impl EmaPlan {
    /// Size in the EMA of everything to which `action` happens, in bytes.
    pub fn bytes(&self, action: PlanAction) -> u64 {
        let entries = self.entries.iter();
        entries
            .filter(|entry| entry.action == action)
            .map(|entry| entry.bytes)
            .sum()
    }

    /// The entry at a module path.
    pub fn get(&self, path: &str) -> Option<&PlanEntry> {
        self.entries.iter().find(|entry| entry.path == path)
    }
}

impl fmt::Display for EmaPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "path", "class", "action", "shape", "dtype", "bytes", "device",
        ];
        let mut rows = vec![head.map(str::to_string)];
        rows.extend(self.entries.iter().map(PlanEntry::cells));
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for row in &rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line += &format!("{cell:width$}  ");
            }
            writeln!(formatter, "{}", line.trim_end())?;
        }
        let averaged = self.entries.iter();
        let averaged = averaged.filter(|entry| entry.action == PlanAction::Average);
        write!(
            formatter,
            "{} of {} tensors are averaged, in {} bytes",
            averaged.count(),
            self.entries.len(),
            self.bytes(PlanAction::Average)
        )
    }
}

impl PlanEntry {
    fn cells(&self) -> [String; 7] {
        let dtype = match self.dtype == self.ema_dtype {
            true => format!("{:?}", self.dtype),
            false => format!("{:?} as {:?}", self.dtype, self.ema_dtype),
        };
        [
            self.path.clone(),
            format!("{:?}", self.class).to_lowercase(),
            format!("{:?}", self.action).to_lowercase(),
            format!("{:?}", self.shape),
            dtype,
            self.bytes.to_string(),
            self.device.clone(),
        ]
    }
}
