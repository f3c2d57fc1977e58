//! What an axis shows: its range, and where its ticks are.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use super::Series;

/// The good end of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// As in an accuracy.
    Higher,
    /// As in a loss.
    Lower,
}

/// A linear axis with ticks of our choice; those of plotters may lie between two epochs.
pub(super) struct Axis {
    pub(super) range: Range<f64>,
    pub(super) ticks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// The values that the axis shows.
///
/// The first epochs are far worse than the last ones, and an axis with room for all of them would
/// press the last ones, which matter, into one line. So the bad end of the axis is at most twice
/// as far from the good end as the worst value of the later half of the epochs; a line from
/// a worse value enters the panel at its edge.
pub(super) fn value_range(series: &Series, better: Better, bounds: &Range<f64>) -> Range<f64> {
    let middle = series.online.len() / 2;
    let all = series.online.iter().chain(&series.ema);
    let late = series.online[middle..].iter().chain(&series.ema[middle..]);
    let Some(Range {
        start: mut low,
        end: mut high,
    }) = extent(all)
    else {
        // All values are NaN or infinite: training has diverged, and an empty panel says so.
        return 0.0..1.0;
    };
    if let Some(late) = extent(late) {
        match better {
            Better::Higher => low = low.max(2.0 * late.start - high),
            Better::Lower => high = high.min(2.0 * late.end - low),
        }
    }

    let span = high - low;
    let padding = if span > 1e-6 * high.abs() {
        0.06 * span
    } else {
        (0.01 * high.abs()).max(1e-3)
    };
    (low - padding).max(bounds.start.min(low))..(high + padding).min(bounds.end.max(high))
}

/// Lowest and highest of the finite values.
fn extent<'a>(values: impl Iterator<Item = &'a f64>) -> Option<Range<f64>> {
    values
        .filter(|value| value.is_finite())
        .fold(None, |extent, &value| {
            let Range { start, end } = extent.unwrap_or(value..value);
            Some(start.min(value)..end.max(value))
        })
}

/// Places about `max_count` ticks at most on multiples of 1, 2 or 5 times a power of ten, and says
/// how many decimals tell them apart.
pub(super) fn ticks(range: &Range<f64>, max_count: f64, min_step: f64) -> (Vec<f64>, usize) {
    let rough = (range.end - range.start) / max_count;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|&step| step >= rough)
        .unwrap_or(10.0 * power)
        .max(min_step);
    let first = (range.start / step).ceil() as i64;
    let last = (range.end / step).floor() as i64;
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let ticks = (first..=last).map(|index| index as f64 * step).collect();
    (ticks, decimals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_first_epochs_do_not_stretch_the_axis() {
        let series = Series {
            online: vec![10.0, 90.0, 95.0, 96.0],
            ema: vec![5.0, 80.0, 97.0, 98.0],
        };

        // The later half goes from 95 to 98: 3 more below it, and 6 % of 6 around.
        let range = value_range(&series, Better::Higher, &(0.0..100.0));
        assert!((range.start - (92.0 - 0.36)).abs() < 1e-9, "{range:?}");
        assert!((range.end - (98.0 + 0.36)).abs() < 1e-9, "{range:?}");
    }

    #[test]
    fn axis_ends_where_values_end() {
        let series = Series {
            online: vec![100.0],
            ema: vec![100.0],
        };

        assert_eq!(
            value_range(&series, Better::Higher, &(0.0..100.0)),
            99.0..100.0
        );
    }

    #[test]
    fn epoch_ticks_are_whole() {
        assert_eq!(ticks(&(0.5..3.5), 12.0, 1.0), (vec![1.0, 2.0, 3.0], 0));
        assert_eq!(
            ticks(&(0.5..20.5), 12.0, 1.0),
            ((1..=10).map(|i| f64::from(2 * i)).collect(), 0)
        );
    }

    #[test]
    fn value_ticks_have_as_many_decimals_as_needed() {
        assert_eq!(
            ticks(&(0.9..3.1), 5.0, 0.0),
            (vec![1.0, 1.5, 2.0, 2.5, 3.0], 1)
        );
        assert_eq!(ticks(&(0.0..1.0), 4.0, 0.0).1, 1);
        assert_eq!(ticks(&(0.0..0.1), 5.0, 0.0).1, 2);
    }
}
