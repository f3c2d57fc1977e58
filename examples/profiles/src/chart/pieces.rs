//! Lines on their way to the canvas: cut off at the edge, and broken into dashes.

use std::ops::Range;

/// Column and row.
pub(super) type Point = (f64, f64);

/// Cuts a line into the pieces whose rows lie in `rows`.
///
/// plotters moves points outside of a panel to its edge, which would bend the line.
pub(super) fn inside(line: &[Point], rows: &Range<f64>) -> Vec<Vec<Point>> {
    let mut pieces: Vec<Vec<Point>> = Vec::new();
    for ends in line.windows(2) {
        let (from, to) = (ends[0], ends[1]);
        let before = from.1 < rows.start && to.1 < rows.start;
        let behind = from.1 > rows.end && to.1 > rows.end;
        if before || behind {
            continue;
        }
        let cut = |point: Point| {
            let row = point.1.clamp(rows.start, rows.end);
            if row == point.1 {
                return point;
            }
            // The ends are in different rows, or both would be out of range.
            (towards(from, to, (row - from.1) / (to.1 - from.1)).0, row)
        };
        let (from, to) = (cut(from), cut(to));
        match pieces.last_mut() {
            Some(piece) if piece.last() == Some(&from) => piece.push(to),
            _ => pieces.push(vec![from, to]),
        }
    }
    pieces
}

/// Breaks a line into dashes, where `pattern` has the lengths of dash, gap, dash, gap, and so on, all of them
/// positive. Without a pattern the line is one dash.
pub(super) fn dashes(line: &[Point], pattern: &[f64]) -> Vec<Vec<Point>> {
    let Some((&first, rest)) = line.split_first() else {
        return Vec::new();
    };
    let mut lengths = pattern.iter().copied().cycle();
    let mut next_length = || lengths.next().unwrap_or(f64::INFINITY);

    let mut dashes = Vec::new();
    let mut dash = vec![first];
    let mut is_gap = false;
    let mut left = next_length();
    let mut from = first;
    for &to in rest {
        let mut length = (to.0 - from.0).hypot(to.1 - from.1);
        while length >= left {
            from = towards(from, to, left / length);
            length -= left;
            dash.push(from);
            let done = std::mem::replace(&mut dash, vec![from]);
            if !is_gap {
                dashes.push(done);
            }
            is_gap = !is_gap;
            left = next_length();
        }
        left -= length;
        dash.push(to);
        from = to;
    }
    if !is_gap && dash.len() > 1 {
        dashes.push(dash);
    }
    dashes
}

/// The point at a share of the way.
fn towards(from: Point, to: Point, share: f64) -> Point {
    (
        from.0 + share * (to.0 - from.0),
        from.1 + share * (to.1 - from.1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_cut_where_it_leaves_and_enters() {
        let line = [
            (1.0, 0.0),
            (2.0, 4.0),
            (3.0, 3.0),
            (4.0, 7.0),
            (5.0, 8.0),
            (6.0, 4.0),
        ];

        assert_eq!(
            inside(&line, &(2.0..5.0)),
            [
                vec![(1.5, 2.0), (2.0, 4.0), (3.0, 3.0), (3.5, 5.0)],
                vec![(5.75, 5.0), (6.0, 4.0)],
            ]
        );
        assert_eq!(inside(&[(0.0, 9.0), (1.0, 9.0)], &(2.0..5.0)).len(), 0);
    }

    #[test]
    fn line_that_crosses_all_rows_is_cut_on_both_sides() {
        assert_eq!(
            inside(&[(0.0, 10.0), (10.0, 0.0)], &(2.0..5.0)),
            [vec![(5.0, 5.0), (8.0, 2.0)]]
        );
    }

    #[test]
    fn dashes_go_around_corners() {
        let line = [(0.0, 0.0), (4.0, 0.0), (4.0, 10.0)];

        assert_eq!(
            dashes(&line, &[5.0, 2.0]),
            [
                vec![(0.0, 0.0), (4.0, 0.0), (4.0, 1.0)],
                vec![(4.0, 3.0), (4.0, 8.0)],
                vec![(4.0, 10.0), (4.0, 10.0)],
            ]
        );
    }

    #[test]
    fn solid_line_is_one_dash() {
        let line = [(0.0, 0.0), (4.0, 0.0), (4.0, 10.0)];

        assert_eq!(dashes(&line, &[]), [line.to_vec()]);
        assert!(dashes(&[], &[1.0]).is_empty());
        assert!(dashes(&line[..1], &[]).is_empty());
    }
}
