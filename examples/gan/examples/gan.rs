//! `cargo run --example gan`, and `-- --help` for what can be set.

use std::process::ExitCode;

use burn_ema_gan::run;
use burn_ema_gan::settings::Flags;
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
