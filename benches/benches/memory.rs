//! `cargo bench -p burn-ema-benches --bench memory`: the memory that an update takes for itself, beside that of the
//! EMA. Exact, by an allocator that counts; which is why it is no part of `update`, where counting would cost time.

use burn::tensor::Device;
use burn_ema_benches::arguments;
use burn_ema_benches::case::{Case, USUAL};
use burn_ema_benches::contenders;
use burn_ema_tests::allocator::{Counting, peak, sees_tensors};
use clap::Parser;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts the memory that updates take, and prints a Markdown table.
#[derive(Debug, Parser)]
#[command(name = "memory")]
struct Flags {
    /// The workloads
    #[arg(long, value_name = "CASE,...", value_delimiter = ',', default_value = USUAL)]
    cases: Vec<Case>,
}

fn main() {
    let flags = Flags::parse_from(arguments());
    let device = Device::default();
    if !sees_tensors("memory") {
        return;
    }
    println!("{device:?}");
    println!("| case | what | memory of one EMA | peak beside it | in % |");
    println!("|---|---|---:|---:|---:|");
    for case in flags.cases {
        let Some(source) = case.weights(&device) else {
            continue;
        };
        let ema = 4.0 * case.shapes().num_values() as f64;
        for mut contender in contenders::updates(case, &source) {
            // In the first update an EMA gets its own memory.
            (contender.run)();
            let peak = peak(&mut contender.run);
            println!(
                "| {} | {} | {:.2} MB | {:.2} MB | {:.2} |",
                case.name(),
                contender.who,
                ema / 1e6,
                peak / 1e6,
                100.0 * peak / ema
            );
        }
    }
}
