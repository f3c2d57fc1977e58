//! What the pictures of the examples are drawn on.
//!
//! A picture needs nothing from the system: the font is linked into the program, and the PNG is encoded by pure
//! Rust code.

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;

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
/// What plotters, the encoder or the operating system said.
pub type DrawError = Box<dyn Error + Send + Sync>;
/// Of drawing and writing.
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
    let (width, scale) = (width as usize, SCALE as usize);
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

/// Writes a picture as PNG.
///
/// It is written next to `path` first and renamed then, so that no half of a picture is ever at `path`.
///
/// # Errors
///
/// If the file cannot be written. What was at `path` is still there then.
pub fn write_whole(path: &Path, pixels: &[u8], size: (u32, u32)) -> DrawResult {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    // The encoder goes by the extension.
    let unfinished = path.with_file_name(format!(
        ".{}.{}.png",
        name.to_string_lossy(),
        std::process::id()
    ));
    let result = encode(&unfinished, pixels, size)
        .and_then(|()| fs::rename(&unfinished, path).map_err(Into::into));
    if result.is_err() {
        // The first error says what is wrong; that nothing was there to remove adds nothing.
        let _ = fs::remove_file(&unfinished);
    }
    result
}

fn encode(path: &Path, pixels: &[u8], size: (u32, u32)) -> DrawResult {
    // A file that cannot be created is the usual failure, and plotters would report it in debug form.
    fs::File::create(path)?;
    let mut backend = BitMapBackend::new(path, size);
    backend.blit_bitmap((0, 0), size, pixels)?;
    backend.present()?;
    Ok(())
}
