//! The numbers of a schedule, in a table.

use std::fmt;

use burn_ema::profile::Profile;

/// The numbers of one schedule, in optimizer steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The schedule.
    pub schedule: &'static str,
    /// See [`Profile::mean_age`].
    pub mean_age: f64,
    /// See [`Profile::half_life`].
    pub half_life: f64,
    /// See [`Profile::effective_window`].
    pub effective_window: f64,
    /// The share that the weights have that averaging started from.
    pub initial: f64,
}

impl Row {
    /// The numbers of a profile.
    pub fn new(schedule: &'static str, profile: &Profile) -> Self {
        Self {
            schedule,
            mean_age: profile.mean_age(),
            half_life: profile.half_life(),
            effective_window: profile.effective_window(),
            // A profile begins with it, whatever the number of updates.
            initial: profile.weights()[0],
        }
    }
}

/// Schedules below each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The schedules.
    pub rows: Vec<Row>,
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.rows.iter().map(|row| row.schedule.len());
        let width = widths.max().unwrap_or_default().max("schedule".len());
        write!(
            formatter,
            "{:width$}  {:>9}  {:>9}  {:>16}  {:>15}",
            "schedule", "mean age", "half-life", "effective window", "initial weights"
        )?;
        for row in &self.rows {
            let Row {
                schedule,
                mean_age,
                half_life,
                effective_window,
                initial,
            } = row;
            let percent = 100.0 * initial;
            write!(
                formatter,
                "\n{schedule:width$}  {mean_age:>9.1}  {half_life:>9.1}  {effective_window:>16.1}  {percent:>13.2} %"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use burn_ema::{Decay, EmaConfig};

    use super::*;

    fn row(schedule: &'static str, decay: Decay, steps: u64) -> Row {
        let config = EmaConfig::new().with_decay(decay);
        Row::new(schedule, &config.profile(steps).unwrap())
    }

    #[test]
    fn half_life_is_in_the_table() {
        let rows = vec![row("by half-life", Decay::half_life(1000.0), 100_000)];

        let text = Table { rows }.to_string();

        let line = text.lines().nth(1).unwrap();
        let cells: Vec<_> = line.split_whitespace().collect();
        // A decay d = 2^-0.001: mean age d / (1 - d), window (1 + d) / (1 - d).
        assert_eq!(
            cells,
            ["by", "half-life", "1442.2", "1000.0", "2885.4", "0.00", "%"]
        );
    }

    #[test]
    fn columns_are_aligned() {
        let rows = vec![
            row("a", Decay::equal_weights(), 3),
            row(
                "a schedule with a long name",
                Decay::constant(0.9999),
                10_000,
            ),
        ];

        let text = Table { rows }.to_string();

        let lengths: Vec<_> = text.lines().map(str::len).collect();
        assert_eq!(lengths, [lengths[0]; 3], "{text}");
        assert!(text.ends_with("36.79 %"), "{text}");
    }

    #[test]
    fn empty_table_has_a_header() {
        assert!(Table::default().to_string().starts_with("schedule "));
    }
}
