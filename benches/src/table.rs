//! Results, as rows of JSON and as a table.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::contenders::{LIMITS, OURS};
use crate::timing::quartiles;

/// The time of one contender, here or in `peers.py`, on one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The workload.
    pub case: String,
    /// The contender.
    pub who: String,
    /// Number of tensors that are averaged.
    pub tensors: usize,
    /// Bytes that have to be read and written.
    pub bytes: usize,
    /// Median time of a run.
    pub seconds: f64,
    /// Whether nothing else was run in between, so that what the processor's caches hold of it stays there.
    #[serde(default)]
    pub is_alone: bool,
}

impl Row {
    fn gigabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds / 1e9
    }
}

/// Writes rows as JSON.
///
/// # Errors
///
/// If the file cannot be written.
pub fn save(rows: &[Row], path: &Path) -> Result<(), Box<dyn Error>> {
    Ok(fs::write(path, serde_json::to_string_pretty(rows)?)?)
}

/// Reads rows that [`save`] or `peers.py` wrote.
///
/// # Errors
///
/// If the file cannot be read, or holds something else.
pub fn load(path: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    let failed = |problem: String| format!("{}: {problem}", path.display());
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    Ok(serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?)
}

/// A Markdown table of rows, workload by workload. Where there are several rows of a contender, from several rounds, it
/// shows the median of their times.
pub fn markdown(rows: &[Row]) -> String {
    let rows = medians(rows);
    let mut table = String::from(
        "| case | what | time | ns per tensor | GB/s | limit's GB/s / GB/s | time / burn-ema's |\n\
         |---|---|---:|---:|---:|---:|---:|\n",
    );
    let mut cases: Vec<&str> = Vec::new();
    for row in &rows {
        if !cases.contains(&row.case.as_str()) {
            cases.push(&row.case);
        }
    }
    for case in cases {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.case == case).collect();
        let limit = rows.iter().find(|row| LIMITS.contains(&row.who.as_str()));
        for row in &rows {
            let is_ours = |other: &&&Row| other.who == OURS && other.is_alone == row.is_alone;
            let ours = rows.iter().find(is_ours);
            let speed = row.gigabytes_per_second();
            let of_limit = limit.map(|limit| limit.gigabytes_per_second() / speed);
            let of_ours = ours.map(|ours| row.seconds / ours.seconds);
            let time = Duration::from_secs_f64(row.seconds);
            let per_tensor = 1e9 * row.seconds / row.tensors as f64;
            let alone = if row.is_alone { ", alone" } else { "" };
            let (of_limit, of_ours) = (ratio(of_limit), ratio(of_ours));
            // Writing to a string cannot fail.
            let _ = writeln!(
                table,
                "| {case} | {}{alone} | {time:.2?} | {per_tensor:.0} | {speed:.1} | {of_limit} | {of_ours} |",
                row.who
            );
        }
    }
    table
}

fn ratio(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.2}"))
}

/// One row for each workload and contender.
fn medians(rows: &[Row]) -> Vec<Row> {
    let mut merged: Vec<(Row, Vec<f64>)> = Vec::new();
    for row in rows {
        let name = |row: &Row| (row.case.clone(), row.who.clone(), row.is_alone);
        let is_known = |known: &Row| name(known) == name(row);
        match merged.iter_mut().find(|(known, _)| is_known(known)) {
            Some((_, times)) => times.push(row.seconds),
            None => merged.push((row.clone(), vec![row.seconds])),
        }
    }
    let merged = merged.into_iter();
    merged
        .map(|(row, times)| Row {
            seconds: quartiles(times)[1],
            ..row
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(case: &str, who: &str, seconds: f64) -> Row {
        Row {
            case: case.into(),
            who: who.into(),
            tensors: 2,
            bytes: 12_000_000,
            seconds,
            is_alone: false,
        }
    }

    fn alone(row: Row) -> Row {
        Row {
            is_alone: true,
            ..row
        }
    }

    #[test]
    fn table_has_medians_of_rounds_beside_ours_and_the_limit() {
        let rows = [
            row("a", OURS, 0.002),
            row("a", LIMITS[0], 0.001),
            row("b", "peer", 0.5),
            alone(row("a", "peer", 0.009)),
            alone(row("a", OURS, 0.0015)),
            row("a", OURS, 0.004),
            row("a", OURS, 0.003),
        ];
        let lines = markdown(&rows);
        let lines: Vec<&str> = lines.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| a | burn-ema | 3.00ms | 1500000 | 4.0 | 3.00 | 1.00 |",
                "| a | flat loop | 1.00ms | 500000 | 12.0 | 1.00 | 0.33 |",
                "| a | peer, alone | 9.00ms | 4500000 | 1.3 | 9.00 | 6.00 |",
                "| a | burn-ema, alone | 1.50ms | 750000 | 8.0 | 1.50 | 1.00 |",
                "| b | peer | 500.00ms | 250000000 | 0.0 |  |  |",
            ]
        );
    }
}
