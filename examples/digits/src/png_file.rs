//! Pictures as PNG files.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;

use png::{BitDepth, ColorType, Encoder, EncodingError};

/// What the bytes of a picture are, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pixels<'a> {
    /// Red, green and blue.
    Rgb(&'a [u8]),
    /// From 0, black, to 255, white.
    Grey(&'a [u8]),
}

/// Writes a picture of `width` and `height` pixels.
///
/// It is written next to `path` first and renamed then, so that no half of a picture is ever at `path`.
///
/// # Errors
///
/// If the file cannot be written. What was at `path` is still there then.
pub fn write_whole(
    path: &Path,
    pixels: Pixels<'_>,
    (width, height): (u32, u32),
) -> Result<(), EncodingError> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let unfinished = path.with_file_name(format!(
        ".{}.{}.png",
        name.to_string_lossy(),
        std::process::id()
    ));
    let result = encode(&unfinished, pixels, (width, height))
        .and_then(|()| fs::rename(&unfinished, path).map_err(Into::into));
    if result.is_err() {
        // The first error says what is wrong; that nothing was there to remove adds nothing.
        let _ = fs::remove_file(&unfinished);
    }
    result
}

fn encode(
    path: &Path,
    pixels: Pixels<'_>,
    (width, height): (u32, u32),
) -> Result<(), EncodingError> {
    let (color, bytes) = match pixels {
        Pixels::Rgb(bytes) => (ColorType::Rgb, bytes),
        Pixels::Grey(bytes) => (ColorType::Grayscale, bytes),
    };
    let mut encoder = Encoder::new(BufWriter::new(File::create(path)?), width, height);
    encoder.set_color(color);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(bytes)?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(path: &Path) -> (Vec<u8>, png::OutputInfo) {
        let file = io::BufReader::new(File::open(path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        (bytes, info)
    }

    #[test]
    fn pixels_come_back_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let rgb = [255, 0, 0, 0, 255, 0, 0, 0, 255, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        write_whole(&path, Pixels::Rgb(&rgb), (3, 2)).unwrap();
        let (bytes, info) = decoded(&path);
        assert_eq!(bytes, rgb);
        assert_eq!(
            (info.width, info.height, info.color_type),
            (3, 2, ColorType::Rgb)
        );

        write_whole(&path, Pixels::Grey(&[7, 8]), (1, 2)).unwrap();
        let (bytes, info) = decoded(&path);
        assert_eq!(bytes, [7, 8]);
        assert_eq!(
            (info.width, info.height, info.color_type),
            (1, 2, ColorType::Grayscale)
        );
    }

    #[test]
    fn what_was_there_stays_if_a_picture_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write_whole(&path, Pixels::Grey(&[7]), (1, 1)).unwrap();
        assert!(write_whole(&path, Pixels::Grey(&[1, 2, 3]), (1, 1)).is_err());
        assert_eq!(decoded(&path).0, [7]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
