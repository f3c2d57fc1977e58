//! Draws the validation curves of the online and the averaged weights side by side.
//!
//! The picture needs nothing from the system: the font is linked into the program, and the PNG is
//! encoded by pure Rust code.

mod axis;
mod line;

use std::error::Error;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use axis::{Axis, Better, ticks, value_range};
use line::visible_lines;

const WIDTH: u32 = 1200;
const HEIGHT: u32 = 480;

/// Lines are drawn this many times too large and then averaged, since plotters smooths only those
/// of one pixel.
const SCALE: u32 = 3;

const FONT: &str = "burn-ema-digits";
const TITLE_SIZE: f64 = 26.0;
const TEXT_SIZE: f64 = 19.0;
const TICK_SIZE: f64 = 17.0;

/// plotters centers text on its line height, which puts the letters this far above the middle.
const TEXT_RISE: f64 = 2.5;

const ONLINE: RGBColor = RGBColor(240, 150, 70);
const EMA: RGBColor = RGBColor(25, 80, 200);
const INK: RGBColor = RGBColor(16, 18, 22);
const AXIS: RGBColor = RGBColor(130, 136, 145);
const GRID: RGBColor = RGBColor(228, 231, 235);

const ONLINE_WIDTH: f64 = 1.8;
const EMA_WIDTH: f64 = 2.6;

/// With more epochs than this, markers would hide the lines that they sit on.
const MAX_MARKERS: usize = 60;

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type DrawResult = Result<(), Box<dyn Error + Send + Sync>>;

/// Why the picture could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CurveError {
    /// There is no epoch to draw.
    #[error("there is nothing to draw: draw the curve after the first validation")]
    Empty,

    /// The four series do not go together.
    #[error(
        "the {series} has {found} epochs, but the online accuracy has {expected}: give one value \
         per epoch, and NaN where there is none"
    )]
    UnevenSeries {
        /// The series that is off, e.g. `EMA loss`.
        series: &'static str,
        /// Number of values of the online accuracy.
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

/// One metric of both sets of weights, with a value for each epoch. A value that is not finite
/// leaves a gap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Values of the weights that the optimizer steps.
    pub online: Vec<f64>,
    /// Values of their average.
    pub ema: Vec<f64>,
}

/// What a training has shown so far on the validation items.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Epoch of the first values; not 1 if training was resumed without the earlier ones.
    pub first_epoch: usize,
    /// Accuracy in per cent, from 0 to 100.
    pub accuracy: Series,
    /// Loss, zero or more.
    pub loss: Series,
}

impl Curve {
    /// Draws the curve into a PNG file of 1200x480 pixels at `path`.
    ///
    /// A picture that is already there is replaced as a whole or, after an error, left as it is.
    ///
    /// # Errors
    ///
    /// If there is no epoch, if the series differ in length, or if the file cannot be written.
    pub fn draw(&self, path: &Path) -> Result<(), CurveError> {
        self.check()?;
        let pixels = self
            .render()
            .map_err(|source| CurveError::Draw { source })?;
        write_whole(path, &pixels).map_err(|source| CurveError::Write {
            path: path.to_owned(),
            source,
        })
    }

    fn check(&self) -> Result<(), CurveError> {
        let expected = self.accuracy.online.len();
        if expected == 0 {
            return Err(CurveError::Empty);
        }
        for (series, values) in [
            ("EMA accuracy", &self.accuracy.ema),
            ("online loss", &self.loss.online),
            ("EMA loss", &self.loss.ema),
        ] {
            if values.len() != expected {
                return Err(CurveError::UnevenSeries {
                    series,
                    expected,
                    found: values.len(),
                });
            }
        }
        Ok(())
    }

    /// Returns the RGB pixels of the picture.
    fn render(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        // The error of plotters is opaque and says no more than this.
        register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
            .map_err(|_| "the bundled font is invalid")?;

        let mut large = vec![0; (3 * WIDTH * SCALE * HEIGHT * SCALE) as usize];
        {
            let size = (WIDTH * SCALE, HEIGHT * SCALE);
            let root = BitMapBackend::with_buffer(&mut large, size).into_drawing_area();
            root.fill(&WHITE)?;
            let (header, body) = root.split_vertically(px(60.0));
            let (left, right) = body.split_horizontally(px(f64::from(WIDTH) / 2.0));
            draw_header(&header)?;
            Panel {
                label: "validation accuracy (%)",
                series: &self.accuracy,
                first_epoch: self.first_epoch,
                better: Better::Higher,
                bounds: 0.0..100.0,
            }
            .draw(&left)?;
            Panel {
                label: "validation loss",
                series: &self.loss,
                first_epoch: self.first_epoch,
                better: Better::Lower,
                bounds: 0.0..f64::INFINITY,
            }
            .draw(&right)?;
            root.present()?;
        }
        Ok(shrink(&large))
    }
}

/// Lengths are written in pixels of the finished picture.
fn px(length: f64) -> i32 {
    (length * f64::from(SCALE)).round() as i32
}

fn text(size: f64) -> TextStyle<'static> {
    TextStyle::from((FONT, px(size)).into_font()).color(&INK)
}

fn stroke(color: RGBColor, width: f64) -> ShapeStyle {
    color.stroke_width(px(width) as u32)
}

/// Title on the left and, off the panels so that it hides nothing, the legend on the right.
fn draw_header(area: &Area<'_>) -> DrawResult {
    let middle = px(36.0);
    let centered = |size| text(size).pos(Pos::new(HPos::Left, VPos::Center));
    area.draw(&Text::new(
        "Validation of online and EMA weights",
        (px(28.0), middle),
        centered(TITLE_SIZE),
    ))?;

    let mut right = px(f64::from(WIDTH) - 28.0);
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

struct Panel<'a> {
    label: &'a str,
    series: &'a Series,
    first_epoch: usize,
    better: Better,
    /// The axis does not go beyond these for the sake of a margin.
    bounds: Range<f64>,
}

impl Panel<'_> {
    fn draw(&self, area: &Area<'_>) -> DrawResult {
        let last_epoch = self.first_epoch + self.series.online.len() - 1;
        let epochs = self.first_epoch as f64 - 0.5..last_epoch as f64 + 0.5;
        let values = value_range(self.series, self.better, &self.bounds);
        let (epoch_ticks, _) = ticks(&epochs, 12.0, 1.0);
        let (value_ticks, decimals) = ticks(&values, 8.0, 0.0);
        let epochs = Axis {
            range: epochs,
            ticks: epoch_ticks,
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
            .build_cartesian_2d(epochs, axis)?;
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
            .x_desc("epoch")
            .y_desc(self.label)
            .x_label_formatter(&|epoch| format!("{epoch:.0}"))
            .y_label_formatter(&|value| format!("{value:.decimals$}"))
            .draw()?;

        for (series, color, width) in [
            (&self.series.online, ONLINE, ONLINE_WIDTH),
            (&self.series.ema, EMA, EMA_WIDTH),
        ] {
            let points: Vec<(f64, f64)> = (self.first_epoch..)
                .zip(series)
                .map(|(epoch, &value)| (epoch as f64, value))
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

/// Averages squares of `SCALE` times `SCALE` pixels.
fn shrink(large: &[u8]) -> Vec<u8> {
    let (width, scale) = (WIDTH as usize, SCALE as usize);
    let mut pixels = Vec::with_capacity(large.len() / (scale * scale));
    for rows in large.chunks_exact(3 * width * scale * scale) {
        for x in 0..width {
            for channel in 0..3 {
                let sum: u32 = rows
                    .chunks_exact(3 * width * scale)
                    .flat_map(|row| (0..scale).map(move |i| row[3 * (x * scale + i) + channel]))
                    .map(u32::from)
                    .sum();
                pixels.push((sum / (SCALE * SCALE)) as u8);
            }
        }
    }
    pixels
}

/// Writes next to `path` first and renames then, so that no half of a picture is ever at `path`.
fn write_whole(path: &Path, pixels: &[u8]) -> DrawResult {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    // The encoder goes by the extension.
    let unfinished = path.with_file_name(format!(
        ".{}.{}.png",
        name.to_string_lossy(),
        std::process::id()
    ));
    let result = encode(&unfinished, pixels)
        .and_then(|()| fs::rename(&unfinished, path).map_err(Into::into));
    if result.is_err() {
        // The first error says what is wrong; that nothing was there to remove adds nothing.
        let _ = fs::remove_file(&unfinished);
    }
    result
}

fn encode(path: &Path, pixels: &[u8]) -> DrawResult {
    // A file that cannot be created is the usual failure, and plotters would report it in debug form.
    fs::File::create(path)?;
    let mut backend = BitMapBackend::new(path, (WIDTH, HEIGHT));
    backend.blit_bitmap((0, 0), (WIDTH, HEIGHT), pixels)?;
    backend.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn curve(num_epochs: usize) -> Curve {
        let series = |online: fn(f64) -> f64, ema: fn(f64) -> f64| Series {
            online: (0..num_epochs).map(|epoch| online(epoch as f64)).collect(),
            ema: (0..num_epochs).map(|epoch| ema(epoch as f64)).collect(),
        };
        Curve {
            first_epoch: 1,
            accuracy: series(
                |e| 97.0 - 20.0 * (-e).exp() + (3.0 * e).sin(),
                |e| 98.5 - 60.0 * (-0.7 * e).exp(),
            ),
            loss: series(
                |e| 0.12 + 0.7 * (-e).exp() + 0.02 * (3.0 * e).sin(),
                |e| 0.06 + 1.9 * (-0.7 * e).exp(),
            ),
        }
    }

    /// Width and height in the header of a PNG file.
    fn png_size(path: &Path) -> (u32, u32) {
        let bytes = fs::read(path).unwrap();
        assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!(&bytes[12..16], b"IHDR");
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        (number(16), number(20))
    }

    fn draws(curve: &Curve) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("curve.png");

        curve.draw(&path).unwrap();

        assert_eq!(png_size(&path), (WIDTH, HEIGHT));
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
        draws(&Curve {
            first_epoch: 7,
            accuracy: constant(100.0),
            loss: constant(0.0),
        });
    }

    #[test]
    fn values_out_of_bounds_are_drawn() {
        let constant = |value| Series {
            online: vec![value; 3],
            ema: vec![value; 3],
        };
        draws(&Curve {
            first_epoch: 0,
            accuracy: constant(250.0),
            loss: constant(-1.0),
        });
    }

    #[test]
    fn diverged_training_is_drawn() {
        let mut curve = curve(4);
        curve.loss.online = vec![0.5, f64::INFINITY, f64::NAN, f64::NAN];
        draws(&curve);
        curve.loss.online[0] = f64::NAN;
        curve.loss.ema = vec![f64::NAN; 4];
        draws(&curve);
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        let error = Curve::default().draw(Path::new("curve.png")).unwrap_err();

        assert!(matches!(error, CurveError::Empty), "{error:?}");
    }

    #[test]
    fn uneven_series_is_named() {
        let mut curve = curve(3);
        curve.loss.ema.pop();

        let error = curve.draw(Path::new("curve.png")).unwrap_err();

        assert!(error.to_string().contains("EMA loss has 2"), "{error}");
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

        assert!(Curve::default().draw(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"an older picture");
        curve(2).draw(&path).unwrap();
        assert_eq!(png_size(&path), (WIDTH, HEIGHT));
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
