//! Draws curves of the online and the EMA weights side by side.

mod axis;
mod line;

use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub use axis::Better;
use axis::{Axis, ticks, value_range};
use line::visible_lines;

use crate::canvas::{self, AXIS, Area, DrawError, DrawResult, GRID, TEXT_RISE, px, stroke, text};
use crate::png_file::{Pixels, write_whole};

const PANEL_WIDTH: u32 = 600;
const HEIGHT: u32 = 480;

const TITLE_SIZE: f64 = 26.0;
const TEXT_SIZE: f64 = 19.0;
const TICK_SIZE: f64 = 17.0;

const ONLINE: RGBColor = RGBColor(240, 150, 70);
const EMA: RGBColor = RGBColor(25, 80, 200);

const ONLINE_WIDTH: f64 = 1.8;
const EMA_WIDTH: f64 = 2.6;

/// With more points than this, markers would hide the lines that they sit on.
const MAX_MARKERS: usize = 60;

/// Why the picture could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChartError {
    /// There is no point to draw, or no panel to draw it in.
    #[error("there is nothing to draw: draw the curve after the first validation")]
    Empty,

    /// A series does not go with the points of the horizontal axis.
    #[error(
        "the {series} has {found} values, but there are {expected} points: give one value per point, \
         and NaN where there is none"
    )]
    UnevenSeries {
        /// The series that is off, e.g. `validation loss (EMA)`.
        series: String,
        /// Number of points.
        expected: usize,
        /// Number of values of the series.
        found: usize,
    },

    /// The drawing itself went wrong.
    #[error("cannot draw the curve: {source}")]
    Draw {
        /// What plotters said.
        source: Box<dyn Error + Send + Sync>,
    },

    /// The picture could not be stored.
    #[error(
        "cannot write the curve to {path}: {source}. Choose a folder that exists and may be written \
         to"
    )]
    Write {
        /// The picture.
        path: PathBuf,
        /// What the encoder or the operating system said.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// One quantity of both sets of weights, with a value for each point. A value that is not finite
/// leaves a gap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Values of the weights that the optimizer steps.
    pub online: Vec<f64>,
    /// Values of the EMA weights.
    pub ema: Vec<f64>,
}

/// One quantity over the course of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What it is, with its unit.
    pub label: &'static str,
    /// Its values.
    pub series: Series,
    /// Its good end.
    pub better: Better,
    /// The axis does not go beyond these for the sake of a margin.
    pub bounds: Range<f64>,
}

/// What a run has shown so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What the picture is about.
    pub title: &'static str,
    /// What the horizontal axes count, e.g. `epoch`.
    pub x_label: &'static str,
    /// The points of the horizontal axes: whole numbers at equal distances.
    pub x: Vec<usize>,
    /// Side by side.
    pub panels: Vec<Panel>,
}

impl Chart {
    /// Draws the panels into a PNG file at `path`, each 600x480 pixels.
    ///
    /// A picture that is already there is replaced as a whole or, after an error, left as it is.
    ///
    /// # Errors
    ///
    /// If there is no point, if the series differ in length, or if the file cannot be written.
    pub fn draw(&self, path: &Path) -> Result<(), ChartError> {
        self.check()?;
        let pixels = self
            .render()
            .map_err(|source| ChartError::Draw { source })?;
        let size = (self.width(), HEIGHT);
        write_whole(path, Pixels::Rgb(&pixels), size).map_err(|source| ChartError::Write {
            path: path.to_owned(),
            source: source.into(),
        })
    }

    fn width(&self) -> u32 {
        PANEL_WIDTH * self.panels.len() as u32
    }

    fn check(&self) -> Result<(), ChartError> {
        let expected = self.x.len();
        if expected == 0 || self.panels.is_empty() {
            return Err(ChartError::Empty);
        }
        for panel in &self.panels {
            for (name, values) in [("online", &panel.series.online), ("EMA", &panel.series.ema)] {
                if values.len() != expected {
                    return Err(ChartError::UnevenSeries {
                        series: format!("{} ({name})", panel.label),
                        expected,
                        found: values.len(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Returns the RGB pixels of the picture.
    fn render(&self) -> Result<Vec<u8>, DrawError> {
        let width = self.width();
        canvas::picture((width, HEIGHT), |root| {
            let (header, body) = root.split_vertically(px(60.0));
            draw_header(&header, self.title, width)?;
            let areas = body.split_evenly((1, self.panels.len()));
            for (panel, area) in self.panels.iter().zip(&areas) {
                panel.draw(area, self.x_label, &self.x)?;
            }
            Ok(())
        })
    }
}

/// Title on the left and, off the panels so that it hides nothing, the legend on the right.
fn draw_header(area: &Area<'_>, title: &str, width: u32) -> DrawResult {
    let middle = px(36.0);
    let centered = |size| text(size).pos(Pos::new(HPos::Left, VPos::Center));
    area.draw(&Text::new(title, (px(28.0), middle), centered(TITLE_SIZE)))?;

    let mut right = px(f64::from(width) - 28.0);
    for (name, color, width) in [
        ("EMA weights", EMA, EMA_WIDTH),
        ("online weights", ONLINE, ONLINE_WIDTH),
    ] {
        let style = centered(TEXT_SIZE);
        let (name_width, _) = area.estimate_text_size(name, &style)?;
        let name_left = right - name_width as i32;
        let (start, end) = (name_left - px(48.0), name_left - px(10.0));
        area.draw(&Text::new(name, (name_left, middle), style))?;
        let line = middle - px(TEXT_RISE);
        area.draw(&PathElement::new(
            vec![(start, line), (end, line)],
            stroke(color, width),
        ))?;
        area.draw(&marker(((start + end) / 2, line), color, width))?;
        right = start - px(28.0);
    }
    Ok(())
}

fn marker<C>(center: C, color: RGBColor, line_width: f64) -> Circle<C, i32> {
    Circle::new(center, px(line_width * 0.6 + 1.8), color.filled())
}

impl Panel {
    fn draw(&self, area: &Area<'_>, x_label: &str, points: &[usize]) -> DrawResult {
        let (first, last) = (points[0] as f64, points[points.len() - 1] as f64);
        let margin = match points.len() {
            1 => 0.5,
            number => (last - first) / (number - 1) as f64 / 2.0,
        };
        let x_range = first - margin..last + margin;
        let values = value_range(&self.series, self.better, &self.bounds);
        let (x_ticks, _) = ticks(&x_range, 12.0, 1.0);
        let (value_ticks, decimals) = ticks(&values, 8.0, 0.0);
        let x_range = Axis {
            range: x_range,
            ticks: x_ticks,
        };
        let axis = Axis {
            range: values.clone(),
            ticks: value_ticks,
        };

        let mut chart = ChartBuilder::on(area)
            .margin_left(px(22.0))
            .margin_right(px(28.0))
            .margin_top(px(12.0))
            .margin_bottom(px(10.0))
            .x_label_area_size(px(52.0))
            .y_label_area_size(px(70.0))
            .build_cartesian_2d(x_range, axis)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(stroke(GRID, 1.0))
            .light_line_style(TRANSPARENT)
            .axis_style(stroke(AXIS, 1.0))
            .set_all_tick_mark_size(px(5.0))
            .y_label_offset(px(TEXT_RISE))
            .label_style(text(TICK_SIZE))
            .axis_desc_style(text(TEXT_SIZE))
            .x_desc(x_label)
            .y_desc(self.label)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|value| format!("{value:.decimals$}"))
            .draw()?;

        for (series, color, width) in [
            (&self.series.online, ONLINE, ONLINE_WIDTH),
            (&self.series.ema, EMA, EMA_WIDTH),
        ] {
            let points: Vec<(f64, f64)> = points
                .iter()
                .zip(series)
                .map(|(&x, &value)| (x as f64, value))
                .collect();
            chart.draw_series(
                visible_lines(&points, &values)
                    .into_iter()
                    .map(|line| PathElement::new(line, stroke(color, width))),
            )?;
            if points.len() <= MAX_MARKERS {
                chart.draw_series(
                    points
                        .into_iter()
                        .filter(|(_, value)| (values.start..=values.end).contains(value))
                        .map(|point| marker(point, color, width)),
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn chart(accuracy: Series, loss: Series) -> Chart {
        Chart {
            title: "Validation of online and EMA weights",
            x_label: "epoch",
            x: (1..=accuracy.online.len()).collect(),
            panels: vec![
                Panel {
                    label: "validation accuracy (%)",
                    series: accuracy,
                    better: Better::Higher,
                    bounds: 0.0..100.0,
                },
                Panel {
                    label: "validation loss",
                    series: loss,
                    better: Better::Lower,
                    bounds: 0.0..f64::INFINITY,
                },
            ],
        }
    }

    fn curve(num_epochs: usize) -> Chart {
        let series = |online: fn(f64) -> f64, ema: fn(f64) -> f64| Series {
            online: (0..num_epochs).map(|epoch| online(epoch as f64)).collect(),
            ema: (0..num_epochs).map(|epoch| ema(epoch as f64)).collect(),
        };
        chart(
            series(
                |e| 97.0 - 20.0 * (-e).exp() + (3.0 * e).sin(),
                |e| 98.5 - 60.0 * (-0.7 * e).exp(),
            ),
            series(
                |e| 0.12 + 0.7 * (-e).exp() + 0.02 * (3.0 * e).sin(),
                |e| 0.06 + 1.9 * (-0.7 * e).exp(),
            ),
        )
    }

    /// Width and height in the header of a PNG file.
    fn png_size(path: &Path) -> (u32, u32) {
        let bytes = fs::read(path).unwrap();
        assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!(&bytes[12..16], b"IHDR");
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        (number(16), number(20))
    }

    fn draws(curve: &Chart) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("curve.png");

        curve.draw(&path).unwrap();

        assert_eq!(png_size(&path), (1200, 480));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn curve_is_a_png_of_its_size() {
        draws(&curve(20));
    }

    #[test]
    fn one_epoch_is_enough() {
        draws(&curve(1));
    }

    #[test]
    fn perfect_and_constant_values_are_drawn() {
        let constant = |value| Series {
            online: vec![value; 3],
            ema: vec![value; 3],
        };
        draws(&chart(constant(100.0), constant(0.0)));
    }

    #[test]
    fn values_out_of_bounds_are_drawn() {
        let constant = |value| Series {
            online: vec![value; 3],
            ema: vec![value; 3],
        };
        draws(&chart(constant(250.0), constant(-1.0)));
    }

    #[test]
    fn diverged_training_is_drawn() {
        let mut curve = curve(4);
        curve.panels[1].series.online = vec![0.5, f64::INFINITY, f64::NAN, f64::NAN];
        draws(&curve);
        curve.panels[1].series.online[0] = f64::NAN;
        curve.panels[1].series.ema = vec![f64::NAN; 4];
        draws(&curve);
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        let error = curve(0).draw(Path::new("curve.png")).unwrap_err();

        assert!(matches!(error, ChartError::Empty), "{error:?}");
    }

    #[test]
    fn uneven_series_is_named() {
        let mut curve = curve(3);
        curve.panels[1].series.ema.pop();

        let error = curve.draw(Path::new("curve.png")).unwrap_err();

        assert!(
            error.to_string().contains("validation loss (EMA) has 2"),
            "{error}"
        );
    }

    #[test]
    fn missing_folder_is_named() {
        let error = curve(3).draw(Path::new("no/such/curve.png")).unwrap_err();

        assert!(error.to_string().contains("no/such/curve.png"), "{error}");
    }

    #[test]
    fn older_picture_is_replaced_as_a_whole() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("curve.png");
        fs::write(&path, "an older picture").unwrap();

        assert!(curve(0).draw(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"an older picture");
        curve(2).draw(&path).unwrap();
        assert_eq!(png_size(&path), (1200, 480));
    }

    #[test]
    fn failed_write_leaves_nothing_behind() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("curve.png");
        fs::create_dir(&path).unwrap();

        assert!(curve(2).draw(&path).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
