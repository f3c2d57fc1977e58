//! `cargo bench -p burn-ema-benches --bench update`: the time of an update beside the limit that memory sets and beside
//! the expression `ema * decay + model * (1 - decay)`, in turn within one run.
//!
//! On an NVIDIA GPU: `cargo bench -p burn-ema-benches --bench update --no-default-features --features cuda -- --cases
//! vit-b,vit-b-bf16,small,billion`.

use std::error::Error;
use std::path::PathBuf;

use burn::tensor::Device;
use burn_ema_benches::arguments;
use burn_ema_benches::case::{Case, USUAL};
use burn_ema_benches::contenders;
use burn_ema_benches::table::{self, Row};
use burn_ema_benches::timing::{Contender, in_turn};
use clap::Parser;

/// Times updates of EMAs, and prints a Markdown table.
#[derive(Debug, Parser)]
#[command(name = "update")]
struct Flags {
    /// The workloads
    #[arg(long, value_name = "CASE,...", value_delimiter = ',', default_value = USUAL)]
    cases: Vec<Case>,

    /// Runs of each contender, of which the median is shown
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    /// Updates of a run, which are waited for together
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    in_a_row: u32,

    /// Only updates of one EMA, for a profiler for example
    #[arg(long)]
    alone: bool,

    /// Write the results to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Show these results in the same table: of peers.py, or of --json; the median where there are several
    #[arg(long, value_name = "FILE", num_args = 1..)]
    peers: Vec<PathBuf>,

    /// Run nothing, only show what --peers has
    #[arg(long, requires = "peers", conflicts_with = "json")]
    no_run: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse_from(arguments());
    let mut rows = Vec::new();
    if !flags.no_run {
        let device = Device::default();
        let threads = rayon::current_num_threads();
        println!(
            "{device:?}, {threads} threads, median of {} runs",
            flags.runs
        );
        for &case in &flags.cases {
            rows.extend(measure(case, &flags, &device));
        }
    }
    if let Some(path) = &flags.json {
        table::save(&rows, path)?;
    }
    for path in &flags.peers {
        rows.extend(table::load(path)?);
    }
    println!("{}", table::markdown(&rows));
    Ok(())
}

fn measure(case: Case, flags: &Flags, device: &Device) -> Vec<Row> {
    let Some(source) = case.weights(device) else {
        return Vec::new();
    };
    let rows = |contenders: &mut [Contender<'_>], is_alone| {
        let times = in_turn(contenders, flags.runs as usize, flags.in_a_row, device);
        let results = contenders.iter().zip(times);
        let row = |(contender, seconds): (&Contender<'_>, f64)| Row {
            case: case.name(),
            who: contender.who.to_string(),
            tensors: case.shapes().num_tensors(),
            bytes: contender.bytes,
            seconds,
            is_alone,
        };
        results.map(row).collect::<Vec<_>>()
    };
    // First alone, as peers are in their own processes.
    let mut measured = rows(&mut [contenders::ours(case, &source)], true);
    if flags.alone {
        return measured;
    }
    let mut contenders = contenders::updates(case, &source);
    contenders.insert(1, contenders::limit(case, device));
    measured.extend(rows(&mut contenders, false));
    measured
}
