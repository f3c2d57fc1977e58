//! The flags of the program.

use std::path::PathBuf;

use clap::Parser;

/// Shows how much each past step contributes to an EMA under different decay schedules.
///
/// Writes `weight-profiles.png` into the output folder, and prints a table that ends with one line:
/// picture.
#[derive(Clone, Debug, Parser)]
#[command(name = "profiles", version)]
pub struct Flags {
    /// Folder for the picture
    #[arg(long, value_name = "FOLDER", default_value = "out/profiles")]
    pub out: PathBuf,

    /// Number of optimizer steps of the run, each with an update
    #[arg(
        long,
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(10..=1_000_000)
    )]
    pub steps: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Result<Flags, clap::Error> {
        Flags::try_parse_from(std::iter::once("profiles").chain(line.split_whitespace()))
    }

    #[test]
    fn flags_have_defaults_and_limits() {
        let defaults = flags("").unwrap();
        assert_eq!(defaults.steps, 10_000);
        assert_eq!(defaults.out, PathBuf::from("out/profiles"));
        assert_eq!(flags("--steps 10 --out docs").unwrap().steps, 10);
        for line in ["--steps 9", "--steps 1000001", "--steps x", "--unknown"] {
            assert!(flags(line).is_err(), "{line}");
        }
    }
}
