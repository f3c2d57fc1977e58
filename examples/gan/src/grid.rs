//! Samples as a picture.

use std::path::Path;

use burn::tensor::Tensor;
use burn_ema_digits::data::IMAGE_SIDE;
use burn_ema_digits::png_file::{Pixels, write_whole};
use png::EncodingError;

/// Images in a row of a block.
const COLUMNS: usize = 8;

/// Pixels of the picture for one of an image.
const SCALE: usize = 5;

/// Pixels between images, and between blocks.
const GAP: usize = 3;
const BLOCK_GAP: usize = 18;

const PAPER: u8 = 235;

/// Writes blocks of images side by side into a PNG file: each `[number, 1, 8, 8]`, from 0 (paper) to
/// 1 (ink), eight in a row.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write(blocks: &[Tensor<4>], path: &Path) -> Result<(), EncodingError> {
    let cell = IMAGE_SIDE * SCALE + GAP;
    let rows = blocks.iter().map(|block| block.dims()[0].div_ceil(COLUMNS));
    let height = rows.max().unwrap_or(0) * cell + GAP;
    let block_width = COLUMNS * cell + GAP;
    let width = blocks.len() * (block_width + BLOCK_GAP) - BLOCK_GAP;
    let mut picture = Picture {
        width,
        pixels: vec![PAPER; width * height],
    };
    for (index, block) in blocks.iter().enumerate() {
        let left = index * (block_width + BLOCK_GAP) + GAP;
        let pixels: Vec<f32> = block.clone().into_data().iter::<f32>().collect();
        for (number, image) in pixels.chunks(IMAGE_SIDE * IMAGE_SIDE).enumerate() {
            let (row, column) = (number / COLUMNS, number % COLUMNS);
            picture.paint(image, left + column * cell, GAP + row * cell);
        }
    }
    let size = (width as u32, height as u32);
    write_whole(path, Pixels::Grey(&picture.pixels), size)
}

struct Picture {
    width: usize,
    pixels: Vec<u8>,
}

impl Picture {
    fn paint(&mut self, image: &[f32], left: usize, top: usize) {
        for (index, ink) in image.iter().enumerate() {
            let (y, x) = (index / IMAGE_SIDE, index % IMAGE_SIDE);
            let grey = (255.0 * (1.0 - ink.clamp(0.0, 1.0))).round() as u8;
            for dy in 0..SCALE {
                let start = (top + y * SCALE + dy) * self.width + left + x * SCALE;
                self.pixels[start..start + SCALE].fill(grey);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid.png");
        let device = Default::default();
        let block = |ink: f32| Tensor::full([10, 1, 8, 8], ink, &device);
        write(&[block(0.0), block(1.0)], &path).unwrap();

        let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        // Two rows of 8 images of 40 pixels.
        let width = 2 * (8 * 43 + 3) + 18;
        assert_eq!((info.width, info.height), (width, 2 * 43 + 3));
        let pixel = |x: u32, y: u32| pixels[(y * width + x) as usize];
        assert_eq!(pixel(4, 4), 255);
        assert_eq!(pixel(8 * 43 + 3 + 18 + 4, 4), 0);
        // The second row has two images.
        assert_eq!(pixel(2 * 43 + 4, 43 + 4), PAPER);
    }
}
