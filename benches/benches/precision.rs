//! `cargo bench -p burn-ema-benches --bench precision`: the time of an update in each precision beside a loop over flat arrays
//! that has the same traffic and nothing to compute, in turn within one run.

use std::error::Error;
use std::time::Duration;

use burn::tensor::{Device, FloatDType};
use burn_ema::EmaConfig;
use burn_ema::config::EmaPrecision;
use burn_ema_benches::arguments;
use burn_ema_benches::case::Case;
use burn_ema_benches::limit::Traffic;
use burn_ema_benches::timing::{Contender, in_turn};
use clap::Parser;

/// Times updates of EMAs in each precision, and prints a Markdown table.
#[derive(Debug, Parser)]
#[command(name = "precision")]
struct Flags {
    /// The workloads
    #[arg(
        long,
        value_name = "CASE,...",
        value_delimiter = ',',
        default_value = "vit-b,vit-b-bf16"
    )]
    cases: Vec<Case>,

    /// Runs of each contender, of which the median is shown
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

const PRECISIONS: [(&str, EmaPrecision); 4] = [
    ("AtLeastF32", EmaPrecision::AtLeastF32),
    ("F64", EmaPrecision::F64),
    ("Compensated", EmaPrecision::Compensated),
    ("StochasticBf16", EmaPrecision::StochasticBf16 { seed: 0 }),
];

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse_from(arguments());
    let device = Device::default();
    let threads = rayon::current_num_threads();
    println!(
        "{device:?}, {threads} threads, median of {} runs",
        flags.runs
    );
    println!("| case | precision | bytes per element | time | flat loop | ratio |");
    println!("|---|---|---:|---:|---:|---:|");
    for &case in &flags.cases {
        measure(case, flags.runs as usize, &device)?;
    }
    Ok(())
}

fn measure(case: Case, runs: usize, device: &Device) -> Result<(), Box<dyn Error>> {
    let Some(source) = case.weights(device) else {
        return Ok(());
    };
    let values = case.shapes().num_values();
    let mut contenders = Vec::new();
    for (name, precision) in PRECISIONS {
        let dtypes = match precision {
            EmaPrecision::F64 => Some(FloatDType::F64),
            EmaPrecision::StochasticBf16 { .. } => Some(FloatDType::BF16),
            _ => None,
        };
        if dtypes.is_some_and(|dtype| !device.supports_dtype(dtype)) {
            println!("SKIPPED {name}: {device:?} has no such dtype");
            continue;
        }
        let mut ema = EmaConfig::new()
            .with_precision(precision)
            .try_init(&source)?;
        let mut traffic = Traffic::of(precision, values, case.dtype());
        let bytes = traffic.bytes();
        let source = &source;
        contenders.extend([
            Contender::new(name, bytes, move || {
                ema.update(source).expect("the source does not change");
            }),
            Contender::new("flat loop", bytes, move || traffic.run()),
        ]);
    }
    let times = in_turn(&mut contenders, runs, 1, device);
    for (pair, times) in contenders.chunks(2).zip(times.chunks(2)) {
        let [update, limit] = [times[0], times[1]].map(Duration::from_secs_f64);
        println!(
            "| {} | {} | {} | {update:.2?} | {limit:.2?} | {:.2} |",
            case.name(),
            pair[0].who,
            pair[0].bytes / values,
            times[0] / times[1]
        );
    }
    Ok(())
}
