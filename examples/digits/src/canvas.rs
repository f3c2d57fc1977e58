//! What the pictures of the examples are drawn on.
//!
//! A picture needs nothing from the system: the font is linked into the program.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;

/// Lines are drawn this many times too large and then averaged, since plotters smooths only those
/// of one pixel.
pub const SCALE: u32 = 3;

/// plotters centers text on its line height, which puts the letters this far above the middle.
pub const TEXT_RISE: f64 = 2.5;

/// Of text.
pub const INK: RGBColor = RGBColor(16, 18, 22);
/// Of axes.
pub const AXIS: RGBColor = RGBColor(130, 136, 145);
/// Of the lines behind everything.
pub const GRID: RGBColor = RGBColor(228, 231, 235);

const FONT: &str = "burn-ema-examples";

/// A part of a picture.
pub type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
/// What plotters said.
pub type DrawError = Box<dyn Error + Send + Sync>;
/// Of drawing.
pub type DrawResult = Result<(), DrawError>;

/// The RGB pixels of a picture of `width` and `height` pixels.
///
/// # Errors
///
/// Those of `draw`, or of plotters.
pub fn picture(
    (width, height): (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> DrawResult,
) -> Result<Vec<u8>, DrawError> {
    // The error of plotters is opaque and says no more than this.
    register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| "the bundled font is invalid")?;

    let size = (width * SCALE, height * SCALE);
    let mut large = vec![0_u8; (3 * size.0 * size.1) as usize];
    {
        let root = BitMapBackend::with_buffer(&mut large, size).into_drawing_area();
        root.fill(&WHITE)?;
        draw(&root)?;
        root.present()?;
    }
    Ok(shrink(&large, width))
}

/// Lengths are written in pixels of the finished picture.
pub fn px(length: f64) -> i32 {
    (length * f64::from(SCALE)).round() as i32
}

/// Text of a size.
pub fn text(size: f64) -> TextStyle<'static> {
    TextStyle::from((FONT, px(size)).into_font()).color(&INK)
}

/// A line of a width.
pub fn stroke(color: RGBColor, width: f64) -> ShapeStyle {
    color.stroke_width(px(width) as u32)
}

/// Averages squares of `SCALE` times `SCALE` pixels.
fn shrink(large: &[u8], width: u32) -> Vec<u8> {
    let (width, scale) = (3 * width as usize, SCALE as usize);
    let mut pixels = Vec::with_capacity(large.len() / (scale * scale));
    for rows in large.chunks_exact(width * scale * scale) {
        let mut sums = vec![[0_u32; 3]; width / 3];
        for row in rows.chunks_exact(width * scale) {
            for (sums, square) in sums.iter_mut().zip(row.chunks_exact(3 * scale)) {
                for pixel in square.chunks_exact(3) {
                    sums[0] += u32::from(pixel[0]);
                    sums[1] += u32::from(pixel[1]);
                    sums[2] += u32::from(pixel[2]);
                }
            }
        }
        pixels.extend(
            sums.iter()
                .flatten()
                .map(|sum| (sum / (SCALE * SCALE)) as u8),
        );
    }
    pixels
}
