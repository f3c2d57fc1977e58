//! What an axis shows: its range, and where its ticks are.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// Values below this are drawn as if they were this, where they have a logarithm.
const SMALLEST: f64 = 1e-12;

/// An axis with ticks of our choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    label: &'static str,
    scale: Scale,
    range: Range<f64>,
    ticks: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    Logarithmic,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.max(SMALLEST).log10(),
        }
    }
}

impl Axis {
    /// A linear axis with ticks at the values given.
    pub fn linear(label: &'static str, range: Range<f64>, ticks: Vec<f64>) -> Self {
        Self {
            label,
            scale: Scale::Linear,
            range,
            ticks,
        }
    }

    /// A logarithmic axis of positive values with ticks at the powers of ten.
    pub fn logarithmic(label: &'static str, range: Range<f64>) -> Self {
        let scale = Scale::Logarithmic;
        // The ends of the range may be powers of ten themselves.
        let first = (scale.place(range.start) - 1e-9).ceil() as i32;
        let last = (scale.place(range.end) + 1e-9).floor() as i32;
        Self {
            label,
            scale,
            range,
            ticks: (first..=last).map(|power| 10_f64.powi(power)).collect(),
        }
    }

    /// What the axis is of.
    pub fn label(&self) -> &'static str {
        self.label
    }

    /// The values that it shows.
    pub fn range(&self) -> Range<f64> {
        self.range.clone()
    }

    /// How a tick is labelled.
    pub(super) fn tick_label(&self, tick: f64) -> String {
        match self.scale {
            Scale::Linear => format!("{tick:.1}"),
            Scale::Logarithmic if tick >= 1.0 => grouped(tick.round() as u64),
            Scale::Logarithmic => {
                let decimals = -tick.log10().round() as usize;
                format!("{tick:.decimals$}")
            }
        }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let start = self.scale.place(self.range.start);
        let end = self.scale.place(self.range.end);
        let share = (self.scale.place(*value) - start) / (end - start);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// A number with a space before each group of three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithmic_ticks_are_powers_of_ten() {
        let axis = Axis::logarithmic("y", 0.0001..1000.0);
        let labels: Vec<_> = axis
            .ticks
            .iter()
            .map(|&tick| axis.tick_label(tick))
            .collect();

        assert_eq!(
            labels,
            ["0.0001", "0.001", "0.01", "0.1", "1", "10", "100", "1 000"]
        );
        assert_eq!(Axis::logarithmic("y", 0.02..30.0).ticks.len(), 3);
    }

    #[test]
    fn powers_of_ten_are_at_equal_distances() {
        let axis = Axis::logarithmic("y", 0.01..100.0);
        let places = [0.01, 0.1, 1.0, 10.0, 100.0].map(|value| axis.map(&value, (400, 0)));

        assert_eq!(places, [400, 300, 200, 100, 0]);
        assert!(axis.map(&0.0, (400, 0)) > 400);
    }

    #[test]
    fn linear_ticks_have_one_decimal() {
        let axis = Axis::linear("x", 0.0..1.0, vec![0.0, 0.3, 1.0]);

        assert_eq!(axis.tick_label(0.30000000000000004), "0.3");
        assert_eq!(axis.map(&0.25, (100, 500)), 200);
    }

    #[test]
    fn digits_are_in_groups_of_three() {
        let numbers = [0, 999, 1_000, 12_345, 1_000_000];

        assert_eq!(
            numbers.map(grouped),
            ["0", "999", "1 000", "12 345", "1 000 000"]
        );
    }
}
