//! Reads the handwritten digits that this example trains on and puts them into batches.
//!
//! Where the file comes from and what its columns mean is in `data/README.md`. There is no
//! augmentation: the example is about the weights, and the data should add nothing of its own to
//! the difference between the online weights and the EMA weights.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};
use flate2::read::GzDecoder;

/// Height and width of an image, in pixels.
pub const IMAGE_SIDE: usize = 8;

/// Number of digits to tell apart.
pub const NUM_CLASSES: usize = 10;

const NUM_PIXELS: usize = IMAGE_SIDE * IMAGE_SIDE;
const NUM_COLUMNS: usize = NUM_PIXELS + 1;
const MAX_PIXEL: u8 = 16;
const NUM_ITEMS: usize = 1797;
const NUM_TRAIN: usize = 1000;

/// Why the digits could not be loaded. Every message fits on a line and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file is not there or may not be read.
    #[error(
        "cannot read the digits from {path}: {source}. Give the path of `digits.csv.gz`, which is \
         in `examples/digits/data` of the repository"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// The file does not unpack to text.
    #[error(
        "{path} is damaged or no gzip file: {source}. Get it again, as `examples/digits/data/README.md` \
         shows"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decompression said.
        source: io::Error,
    },

    /// The file has more or fewer lines than the data set has images.
    #[error(
        "{path} has {found} lines instead of {expected}, so it is another file or was cut. Get it \
         again, as `examples/digits/data/README.md` shows"
    )]
    RowCount {
        /// The file.
        path: PathBuf,
        /// Number of images in the data set.
        expected: usize,
        /// Number of lines in the file.
        found: usize,
    },

    /// A line has more or fewer numbers than pixels and label.
    #[error(
        "{path}, line {line}: {found} columns instead of {expected} (64 pixels and the digit). Get \
         the file again, as `examples/digits/data/README.md` shows"
    )]
    ColumnCount {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// Number of pixels plus one for the label.
        expected: usize,
        /// Number of columns on the line.
        found: usize,
    },

    /// A pixel is not an integer of the grey scale.
    #[error(
        "{path}, line {line}, column {column}: a pixel is an integer from 0 to 16, found `{found}`. \
         Get the file again, as `examples/digits/data/README.md` shows"
    )]
    Pixel {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
        /// The text instead of the pixel.
        found: String,
    },

    /// A label is not a digit.
    #[error(
        "{path}, line {line}: the last column is a digit from 0 to 9, found `{found}`. Get the file \
         again, as `examples/digits/data/README.md` shows"
    )]
    Label {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The text instead of the label.
        found: String,
    },
}

/// One image and the digit that it shows.
#[derive(Clone, Debug, PartialEq)]
pub struct DigitItem {
    /// The pixels, row by row from the top left, from 0 (paper) to 1 (ink).
    pub image: [f32; IMAGE_SIDE * IMAGE_SIDE],
    /// The digit, from 0 to 9.
    pub label: u8,
}

/// All digits, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Digits {
    /// The images with their labels.
    pub items: Vec<DigitItem>,
}

/// The digits that come with the repository, found wherever the example is started from.
pub fn default_path() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/data/digits.csv.gz"))
}

impl Digits {
    /// Loads `digits.csv.gz`, e.g. from [`default_path`].
    ///
    /// # Errors
    ///
    /// If the file cannot be read or unpacked, or if its text is not that of the data set: the
    /// number of lines and columns and the range of every value are checked, so that a wrong file
    /// does not become a puzzling accuracy.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let packed = fs::read(path).map_err(|source| DataError::Unreadable {
            path: path.to_owned(),
            source,
        })?;

        let mut text = String::new();
        GzDecoder::new(packed.as_slice())
            .read_to_string(&mut text)
            .map_err(|source| DataError::Damaged {
                path: path.to_owned(),
                source,
            })?;

        let found = text.lines().count();
        if found != NUM_ITEMS {
            return Err(DataError::RowCount {
                path: path.to_owned(),
                expected: NUM_ITEMS,
                found,
            });
        }

        let items = text
            .lines()
            .enumerate()
            .map(|(index, text)| parse_line(path, index + 1, text))
            .collect::<Result<_, _>>()?;
        Ok(Self { items })
    }

    /// Splits into training and validation items: the first 1000 lines of the file and the other
    /// 797.
    ///
    /// Nothing is shuffled before the split. The file goes from one writer to the next, so most
    /// writers of the validation half are unknown to the training half (the form of one writer
    /// lies across the cut), and the accuracy speaks of new hands rather than of new digits by
    /// known ones. The cut is this example's own; its accuracies cannot be compared with published
    /// ones.
    pub fn split(self) -> (Vec<DigitItem>, Vec<DigitItem>) {
        let mut train = self.items;
        let validation = train.split_off(NUM_TRAIN.min(train.len()));
        (train, validation)
    }
}

fn parse_line(path: &Path, line: usize, text: &str) -> Result<DigitItem, DataError> {
    let columns: Vec<&str> = text.split(',').collect();
    let Ok(columns) = <[&str; NUM_COLUMNS]>::try_from(columns.as_slice()) else {
        return Err(DataError::ColumnCount {
            path: path.to_owned(),
            line,
            expected: NUM_COLUMNS,
            found: columns.len(),
        });
    };

    let mut image = [0.0; NUM_PIXELS];
    for (index, (pixel, &text)) in image.iter_mut().zip(&columns).enumerate() {
        let value = parse_up_to(text, MAX_PIXEL).ok_or_else(|| DataError::Pixel {
            path: path.to_owned(),
            line,
            column: index + 1,
            found: text.to_owned(),
        })?;
        *pixel = f32::from(value) / f32::from(MAX_PIXEL);
    }

    let text = columns[NUM_PIXELS];
    let label = parse_up_to(text, NUM_CLASSES as u8 - 1).ok_or_else(|| DataError::Label {
        path: path.to_owned(),
        line,
        found: text.to_owned(),
    })?;
    Ok(DigitItem { image, label })
}

fn parse_up_to(text: &str, max: u8) -> Option<u8> {
    text.parse().ok().filter(|&value| value <= max)
}

/// Images and labels that go through the model together.
#[derive(Clone, Debug)]
pub struct DigitBatch {
    /// The images, `[batch, 1, 8, 8]`, from 0 to 1.
    pub images: Tensor<4>,
    /// The digits, `[batch]`, from 0 to 9.
    pub labels: Tensor<1, Int>,
}

/// Puts items into a [`DigitBatch`].
#[derive(Clone, Copy, Debug, Default)]
pub struct DigitBatcher;

impl Batcher<DigitItem, DigitBatch> for DigitBatcher {
    fn batch(&self, items: Vec<DigitItem>, device: &Device) -> DigitBatch {
        let num_items = items.len();
        let images: Vec<f32> = items.iter().flat_map(|item| item.image).collect();
        let labels: Vec<i64> = items.iter().map(|item| i64::from(item.label)).collect();

        DigitBatch {
            images: Tensor::from_data(
                TensorData::new(images, [num_items, 1, IMAGE_SIDE, IMAGE_SIDE]),
                device,
            ),
            labels: Tensor::from_data(TensorData::new(labels, [num_items]), device),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tempfile::TempDir;

    use super::*;

    fn digits() -> Digits {
        Digits::load(default_path()).expect("the digits of the repository load")
    }

    fn digits_text() -> String {
        let mut text = String::new();
        GzDecoder::new(File::open(default_path()).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    /// Packs `text` into a file and loads it. The folder goes with the error's path.
    fn load_text(text: &str) -> Result<Digits, DataError> {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("digits.csv.gz");
        let mut file = GzEncoder::new(File::create(&path).unwrap(), Compression::fast());
        file.write_all(text.as_bytes()).unwrap();
        file.finish().unwrap();
        Digits::load(&path)
    }

    /// Replaces one column (counted from 1) of one line (counted from 1).
    fn with_value(line: usize, column: usize, value: &str) -> String {
        let mut lines: Vec<String> = digits_text().lines().map(str::to_owned).collect();
        let mut columns: Vec<&str> = lines[line - 1].split(',').collect();
        columns[column - 1] = value;
        lines[line - 1] = columns.join(",");
        lines.join("\n")
    }

    fn count_classes(items: &[DigitItem]) -> [usize; NUM_CLASSES] {
        let mut counts = [0; NUM_CLASSES];
        for item in items {
            counts[usize::from(item.label)] += 1;
        }
        counts
    }

    // Counted with Python's csv module.
    #[test]
    fn classes_have_the_known_counts() {
        let digits = digits();

        assert_eq!(digits.items.len(), 1797);
        assert_eq!(
            count_classes(&digits.items),
            [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
        );
    }

    #[test]
    fn split_keeps_the_order_of_the_file() {
        let digits = digits();
        let (train, validation) = digits.clone().split();

        assert_eq!(
            count_classes(&train),
            [99, 102, 100, 104, 98, 100, 101, 99, 98, 99]
        );
        assert_eq!(
            count_classes(&validation),
            [79, 80, 77, 79, 83, 82, 80, 80, 76, 81]
        );
        assert_eq!([train, validation].concat(), digits.items);
    }

    #[test]
    fn first_image_is_the_first_line_of_the_file() {
        let digits = digits();
        let first = &digits.items[0];

        // The first line begins with 0,0,5,13,9,1,0,0,0,0,13 and ends with 6,13,10,0,0,0,0.
        let sixteenths = |pixels: &[f32]| pixels.iter().map(|p| p * 16.0).collect::<Vec<_>>();
        assert_eq!(
            sixteenths(&first.image[..11]),
            [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0, 0.0, 0.0, 13.0]
        );
        assert_eq!(
            sixteenths(&first.image[58..]),
            [6.0, 13.0, 10.0, 0.0, 0.0, 0.0]
        );
        assert_eq!(first.label, 0);
    }

    #[test]
    fn pixels_lie_between_0_and_1() {
        let pixels: Vec<f32> = digits().items.iter().flat_map(|item| item.image).collect();

        assert_eq!(pixels.iter().copied().fold(f32::INFINITY, f32::min), 0.0);
        assert_eq!(
            pixels.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            1.0
        );
    }

    #[test]
    fn missing_file_is_unreadable() {
        let error = Digits::load(Path::new("no/such/digits.csv.gz")).unwrap_err();

        assert!(matches!(error, DataError::Unreadable { .. }), "{error:?}");
        assert!(error.to_string().contains("no/such/digits.csv.gz"));
    }

    #[test]
    fn truncated_file_is_damaged() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("digits.csv.gz");
        let packed = fs::read(default_path()).unwrap();
        fs::write(&path, &packed[..packed.len() / 2]).unwrap();

        let error = Digits::load(&path).unwrap_err();

        assert!(matches!(error, DataError::Damaged { .. }), "{error:?}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }

    #[test]
    fn flipped_byte_is_damaged() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("digits.csv.gz");
        let mut packed = fs::read(default_path()).unwrap();
        let checksum = packed.len() - 8;
        packed[checksum] ^= 1;
        fs::write(&path, packed).unwrap();

        let error = Digits::load(&path).unwrap_err();

        assert!(matches!(error, DataError::Damaged { .. }), "{error:?}");
    }

    #[test]
    fn plain_text_is_damaged() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("digits.csv");
        fs::write(&path, digits_text()).unwrap();

        let error = Digits::load(&path).unwrap_err();

        assert!(matches!(error, DataError::Damaged { .. }), "{error:?}");
    }

    #[test]
    fn missing_line_is_a_wrong_row_count() {
        let text = digits_text();
        let (text, _) = text.trim_end().rsplit_once('\n').unwrap();

        let error = load_text(text).unwrap_err();

        assert!(
            matches!(error, DataError::RowCount { found: 1796, .. }),
            "{error:?}"
        );
    }

    #[test]
    fn missing_column_names_the_line() {
        let text = digits_text().replacen("\n0,", "\n", 1);

        let error = load_text(&text).unwrap_err();

        assert!(
            matches!(
                error,
                DataError::ColumnCount {
                    line: 2,
                    found: 64,
                    ..
                }
            ),
            "{error:?}"
        );
    }

    #[test]
    fn pixel_out_of_range_names_line_and_column() {
        for value in ["17", "-1", "0.5", ""] {
            let error = load_text(&with_value(1001, 12, value)).unwrap_err();

            assert!(matches!(error, DataError::Pixel { .. }), "{error:?}");
            assert!(
                error.to_string().contains("line 1001, column 12:"),
                "{error}"
            );
            assert!(error.to_string().contains(&format!("`{value}`")), "{error}");
        }
    }

    #[test]
    fn label_out_of_range_names_the_line() {
        let error = load_text(&with_value(1797, 65, "10")).unwrap_err();

        assert!(
            matches!(error, DataError::Label { line: 1797, .. }),
            "{error:?}"
        );
    }

    #[test]
    fn batch_keeps_the_order_of_its_items() {
        let items = digits().items[..3].to_vec();

        let batch = DigitBatcher.batch(items.clone(), &Device::default());

        assert_eq!(batch.images.dims(), [3, 1, 8, 8]);
        assert_eq!(batch.labels.dims(), [3]);
        assert_eq!(
            batch.images.into_data().iter::<f32>().collect::<Vec<_>>(),
            items.iter().flat_map(|item| item.image).collect::<Vec<_>>()
        );
        assert_eq!(
            batch.labels.into_data().iter::<i64>().collect::<Vec<_>>(),
            [0, 1, 2]
        );
    }
}
