//! `cargo run --example profiles`, and `-- --help` for what can be set.

use std::process::ExitCode;

use burn_ema_profiles::run;
use burn_ema_profiles::settings::Flags;
use clap::Parser;

fn main() -> ExitCode {
    match run::run(&Flags::parse()) {
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
