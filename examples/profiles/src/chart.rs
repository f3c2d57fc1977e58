//! Draws lines in panels below each other, each with its legend on the right.

mod axis;
mod pieces;

use std::error::Error;
use std::path::{Path, PathBuf};

use burn_ema_digits::canvas::{
    self, AXIS, Area, DrawError, DrawResult, GRID, SCALE, TEXT_RISE, px, stroke, text,
};
use burn_ema_digits::png_file::{Pixels, write_whole};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub use axis::{Axis, grouped};
use pieces::{Point, dashes, inside};

const WIDTH: u32 = 1200;
const HEIGHT: u32 = 1000;

/// Of a panel: the title above, the plot, and the legend in the rest of the width.
const TITLE_HEIGHT: f64 = 52.0;
const PLOT_WIDTH: f64 = 860.0;
const LEGEND_TOP: f64 = 22.0;
const LEGEND_STEP: f64 = 32.0;

const TITLE_SIZE: f64 = 25.0;
const TEXT_SIZE: f64 = 19.0;
const TICK_SIZE: f64 = 17.0;

const LINE_WIDTH: f64 = 2.4;
const COLORS: [RGBColor; 8] = [
    RGBColor(85, 90, 100),
    RGBColor(25, 80, 200),
    RGBColor(0, 150, 130),
    RGBColor(145, 65, 185),
    RGBColor(215, 55, 45),
    RGBColor(240, 145, 50),
    RGBColor(125, 85, 50),
    RGBColor(225, 95, 165),
];

/// Lengths of dash, gap, dash, gap, and so on; none for a solid line.
const PATTERNS: [&[f64]; 4] = [&[], &[14.0, 6.0], &[4.0, 5.0], &[14.0, 5.0, 4.0, 5.0]];

/// Why the picture could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChartError {
    /// The drawing itself went wrong.
    #[error("cannot draw the picture: {source}")]
    Draw {
        /// What plotters said.
        source: Box<dyn Error + Send + Sync>,
    },

    /// The picture could not be stored.
    #[error(
        "cannot write the picture to {path}: {source}. Choose a folder that exists and may be written to"
    )]
    Write {
        /// The picture.
        path: PathBuf,
        /// What the encoder or the operating system said.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// One line of a panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    /// Its points, in values of the two axes.
    pub points: Vec<(f64, f64)>,
}

/// Lines over the same axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What it is about.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis. What is beyond its range is cut off.
    pub y: Axis,
    /// The lines, each drawn over those before.
    pub lines: Vec<Line>,
}

/// Draws the panels into a PNG file of 1200x1000 pixels at `path`.
///
/// A picture that is already there is replaced as a whole or, after an error, left as it is.
///
/// # Errors
///
/// If the drawing goes wrong, or the file cannot be written.
pub fn draw(panels: &[Panel], path: &Path) -> Result<(), ChartError> {
    let pixels = render(panels).map_err(|source| ChartError::Draw { source })?;
    write_whole(path, Pixels::Rgb(&pixels), (WIDTH, HEIGHT)).map_err(|source| ChartError::Write {
        path: path.to_owned(),
        source: source.into(),
    })
}

/// Returns the RGB pixels of the picture.
fn render(panels: &[Panel]) -> Result<Vec<u8>, DrawError> {
    canvas::picture((WIDTH, HEIGHT), |root| {
        let areas = root.split_evenly((panels.len(), 1));
        panels
            .iter()
            .zip(&areas)
            .try_for_each(|(panel, area)| panel.draw(area))
    })
}

fn centered(size: f64) -> TextStyle<'static> {
    text(size).pos(Pos::new(HPos::Left, VPos::Center))
}

impl Panel {
    fn draw(&self, area: &Area<'_>) -> DrawResult {
        let (header, body) = area.split_vertically(px(TITLE_HEIGHT));
        let title = self.title.as_str();
        let place = (px(28.0), px(32.0));
        header.draw(&Text::new(title, place, centered(TITLE_SIZE)))?;
        let (plot, legend) = body.split_horizontally(px(PLOT_WIDTH));
        self.draw_plot(&plot)?;
        self.draw_legend(&legend)
    }

    fn draw_plot(&self, area: &Area<'_>) -> DrawResult {
        let mut chart = ChartBuilder::on(area)
            .margin_left(px(22.0))
            .margin_right(px(44.0))
            .margin_top(px(6.0))
            .margin_bottom(px(12.0))
            .x_label_area_size(px(52.0))
            .y_label_area_size(px(96.0))
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        chart
            .configure_mesh()
            .bold_line_style(stroke(GRID, 1.0))
            .light_line_style(TRANSPARENT)
            .axis_style(stroke(AXIS, 1.0))
            .set_all_tick_mark_size(px(5.0))
            .y_label_offset(px(TEXT_RISE))
            .label_style(text(TICK_SIZE))
            .axis_desc_style(text(TEXT_SIZE))
            .x_desc(self.x.label())
            .y_desc(self.y.label())
            .x_label_formatter(&|x: &f64| self.x.tick_label(*x))
            .y_label_formatter(&|y: &f64| self.y.tick_label(*y))
            .draw()?;

        let plot = chart.plotting_area().use_screen_coord();
        let (_, rows) = plot.get_pixel_range();
        let rows = f64::from(rows.start)..f64::from(rows.end);
        for (index, line) in self.lines.iter().enumerate() {
            let points: Vec<Point> = line
                .points
                .iter()
                .map(|point| {
                    let (x, y) = chart.backend_coord(point);
                    (f64::from(x), f64::from(y))
                })
                .collect();
            for piece in inside(&points, &rows) {
                draw_line(&plot, &piece, index)?;
            }
        }
        Ok(())
    }

    fn draw_legend(&self, area: &Area<'_>) -> DrawResult {
        for (index, line) in self.lines.iter().enumerate() {
            let middle = LEGEND_TOP + LEGEND_STEP * index as f64;
            let row = f64::from(px(middle - TEXT_RISE));
            let sample = [8.0, 66.0].map(|x| (f64::from(px(x)), row));
            draw_line(area, &sample, index)?;
            let name = line.name.as_str();
            let place = (px(78.0), px(middle));
            area.draw(&Text::new(name, place, centered(TICK_SIZE)))?;
        }
        Ok(())
    }
}

/// Draws a line through `points`, which are pixels, in the color and pattern of the line number `index`.
fn draw_line(area: &Area<'_>, points: &[Point], index: usize) -> DrawResult {
    let style = stroke(COLORS[index % COLORS.len()], LINE_WIDTH);
    let pattern = PATTERNS[index % PATTERNS.len()].iter();
    let pattern: Vec<f64> = pattern.map(|length| length * f64::from(SCALE)).collect();
    for dash in dashes(points, &pattern) {
        let pixels: Vec<(i32, i32)> = dash
            .into_iter()
            .map(|(x, y)| (x.round() as i32, y.round() as i32))
            .collect();
        area.draw(&PathElement::new(pixels, style))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn panel(points: Vec<(f64, f64)>) -> Panel {
        Panel {
            title: "A panel".to_string(),
            x: Axis::linear("x", 0.0..1.0, vec![0.0, 0.5, 1.0]),
            y: Axis::logarithmic("y", 0.01..10.0),
            lines: vec![Line {
                name: "a line".to_string(),
                points,
            }],
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

    /// Number of pixels in the color of the first line, left of the legend.
    fn inked(pixels: &[u8]) -> usize {
        let RGBColor(r, g, b) = COLORS[0];
        pixels
            .chunks_exact(3)
            .enumerate()
            .filter(|(index, pixel)| {
                index % (WIDTH as usize) < PLOT_WIDTH as usize && *pixel == [r, g, b]
            })
            .count()
    }

    #[test]
    fn picture_has_its_size_and_replaces_an_older_one() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("picture.png");
        fs::write(&path, "an older picture").unwrap();

        draw(&[panel(vec![(0.0, 1.0), (1.0, 5.0)])], &path).unwrap();

        assert_eq!(png_size(&path), (WIDTH, HEIGHT));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_beyond_the_axis_is_not_drawn() {
        let visible = panel(vec![(0.0, 1.0), (1.0, 1.0)]);
        let invisible = panel(vec![(0.0, 0.0), (1.0, 0.001), (1.0, 0.0)]);

        assert!(inked(&render(&[visible]).unwrap()) > 500);
        assert_eq!(inked(&render(&[invisible]).unwrap()), 0);
    }

    #[test]
    fn no_points_and_no_panels_are_drawn() {
        render(&[panel(Vec::new()), panel(vec![(0.5, 1.0)])]).unwrap();
        render(&[]).unwrap();
    }

    #[test]
    fn missing_folder_is_named_and_nothing_is_left_behind() {
        let error = draw(&[], Path::new("no/such/picture.png")).unwrap_err();
        assert!(error.to_string().contains("no/such/picture.png"), "{error}");

        let dir = TempDir::new().unwrap();
        let path = dir.path().join("picture.png");
        fs::create_dir(&path).unwrap();
        assert!(draw(&[], &path).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
