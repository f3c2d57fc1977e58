//! The part of a line that a panel shows.

use std::ops::Range;

/// Cuts a line through `points` into the pieces whose values lie in `range`.
///
/// plotters moves points outside of a panel to its edge, which would bend the line.
pub(super) fn visible_lines(points: &[(f64, f64)], range: &Range<f64>) -> Vec<Vec<(f64, f64)>> {
    let mut lines: Vec<Vec<(f64, f64)>> = Vec::new();
    for pair in points.windows(2) {
        let Some((from, to)) = visible_segment(pair[0], pair[1], range) else {
            continue;
        };
        match lines.last_mut() {
            Some(line) if line.last() == Some(&from) => line.push(to),
            _ => lines.push(vec![from, to]),
        }
    }
    lines
}

fn visible_segment(
    from: (f64, f64),
    to: (f64, f64),
    range: &Range<f64>,
) -> Option<((f64, f64), (f64, f64))> {
    let finite = from.1.is_finite() && to.1.is_finite();
    let below = from.1 < range.start && to.1 < range.start;
    let above = from.1 > range.end && to.1 > range.end;
    if !finite || below || above {
        return None;
    }
    let cut = |point: (f64, f64)| {
        let value = point.1.clamp(range.start, range.end);
        if value == point.1 {
            return point;
        }
        let share = (value - from.1) / (to.1 - from.1);
        (from.0 + share * (to.0 - from.0), value)
    };
    Some((cut(from), cut(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_cut_at_the_edge_and_at_gaps() {
        let points = [
            (1.0, 0.0),
            (2.0, 4.0),
            (3.0, 3.0),
            (4.0, f64::NAN),
            (5.0, 3.0),
            (6.0, 7.0),
            (7.0, 8.0),
        ];

        assert_eq!(
            visible_lines(&points, &(2.0..5.0)),
            [
                vec![(1.5, 2.0), (2.0, 4.0), (3.0, 3.0)],
                vec![(5.0, 3.0), (5.5, 5.0)],
            ]
        );
    }
}
