//! A whole run, from the flags to the closing line.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use burn_ema::profile::Profile;
use burn_ema::{EmaConfig, EmaError};

use crate::chart::{self, Axis, Line, Panel};
use crate::curves::{LAST_UPDATE, decay_curve, density_curve};
use crate::error::ProfilesError;
use crate::schedules::{self, NamedSchedule};
use crate::settings::Flags;
use crate::table::{Row, Table};

/// The name of the picture.
pub const PICTURE: &str = "weight-profiles.png";

/// What a run ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The numbers of all schedules.
    pub table: Table,
    /// The picture.
    pub picture: PathBuf,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, picture } = self;
        write!(formatter, "{table}\npicture={}", picture.display())
    }
}

/// Computes the profiles and draws them.
///
/// # Errors
///
/// If the picture cannot be drawn or written.
pub fn run(flags: &Flags) -> Result<Report, ProfilesError> {
    let mut table = Table::default();
    let mut weights = Vec::new();
    for schedule in schedules::averages() {
        let profile = profile(&schedule, flags.steps)?;
        table.rows.push(Row::new(schedule.name, &profile));
        weights.push(line(&schedule, density_curve(&profile)));
    }
    let mut decays = Vec::new();
    for schedule in schedules::warmups() {
        let profile = profile(&schedule, flags.steps)?;
        table.rows.push(Row::new(schedule.name, &profile));
        decays.push(line(&schedule, decay_curve(&schedule.decay)?));
    }

    fs::create_dir_all(&flags.out).map_err(|source| ProfilesError::Output {
        path: flags.out.clone(),
        source,
    })?;
    let picture = flags.out.join(PICTURE);
    let panels = [weight_panel(weights, flags.steps), decay_panel(decays)];
    chart::draw(&panels, &picture)?;
    Ok(Report { table, picture })
}

fn profile(schedule: &NamedSchedule, steps: u64) -> Result<Profile, EmaError> {
    let config = EmaConfig::new().with_decay(schedule.decay.clone());
    config.profile(steps)
}

fn line(schedule: &NamedSchedule, points: Vec<(f64, f64)>) -> Line {
    Line {
        name: schedule.name.to_string(),
        points,
    }
}

fn weight_panel(lines: Vec<Line>, steps: u64) -> Panel {
    let points = lines.iter().flat_map(|line| &line.points);
    let highest = points.map(|point| point.1).fold(10.0, f64::max);
    let tenths = (0..=10).map(|tenth| f64::from(tenth) / 10.0).collect();
    Panel {
        title: format!(
            "How much each of {} steps counts in the average at the end",
            chart::grouped(steps)
        ),
        x: Axis::linear("position in the training", 0.0..1.0, tenths),
        y: Axis::logarithmic("weight × number of steps", 0.01..1.6 * highest),
        lines,
    }
}

fn decay_panel(lines: Vec<Line>) -> Panel {
    Panel {
        title: "How much an update takes of the new weights".to_string(),
        x: Axis::logarithmic("number of the update", 1.0..LAST_UPDATE as f64),
        y: Axis::logarithmic("1 - decay", 0.00006..1.5),
        lines,
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn flags(out: PathBuf) -> Flags {
        Flags { out, steps: 300 }
    }

    #[test]
    fn run_draws_one_picture_and_names_it_last() {
        let dir = TempDir::new().unwrap();
        let out = dir.path().join("new/folder");

        let report = run(&flags(out.clone())).unwrap();

        let files: Vec<_> = fs::read_dir(&out).unwrap().collect();
        assert_eq!(files.len(), 1);
        let picture = fs::read(out.join(PICTURE)).unwrap();
        assert_eq!(&picture[..8], b"\x89PNG\r\n\x1a\n");
        let text = report.to_string();
        let last = format!("picture={}", out.join(PICTURE).display());
        assert_eq!(text.lines().next_back(), Some(last.as_str()));
        // A header, each schedule, the picture.
        let schedules = schedules::averages().len() + schedules::warmups().len();
        assert_eq!(text.lines().count(), schedules + 2);
    }

    #[test]
    fn folder_that_cannot_be_made_is_named() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();

        let error = run(&flags(file.join("folder"))).unwrap_err();

        assert!(matches!(error, ProfilesError::Output { .. }), "{error:?}");
        assert!(error.to_string().contains("--out"), "{error}");
    }

    #[test]
    fn every_density_fits_below_the_top_of_its_axis() {
        let line = |top: f64| Line {
            name: String::new(),
            points: vec![(0.0, 0.5), (1.0, top)],
        };
        for top in [0.7, 10.0, 700.0] {
            let panel = weight_panel(vec![line(top)], 10);
            assert!(panel.y.range().end > top);
        }
    }
}
