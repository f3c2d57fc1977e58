//! `cargo run --example digits`, and `-- --help` for what can be set.

use std::process::ExitCode;

use burn_ema_digits::settings::Flags;
use burn_ema_digits::train;
use clap::Parser;

fn main() -> ExitCode {
    match train::run(&Flags::parse()) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
