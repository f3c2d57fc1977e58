//! `cargo bench -p burn-ema-benches --bench frozen`: what a frozen bf16 base costs beside its adapters, as in LoRA. The same
//! update with the base and without it, alternating; and the memory of both EMAs.

use std::time::Instant;

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};
use burn_ema::plan::PlanAction;
use burn_ema::policy::Action;
use burn_ema::{Decay, EmaConfig, EmaModel, Policy};
use burn_ema_benches::arguments;
use clap::Parser;

/// Times updates, and prints a Markdown table.
#[derive(Debug, Parser)]
#[command(name = "frozen")]
struct Flags {
    /// Layers of the base
    #[arg(long, default_value_t = 32)]
    layers: usize,
    /// Rows and columns of a layer
    #[arg(long, default_value_t = 4096)]
    width: usize,
    /// Rank of the adapters
    #[arg(long, default_value_t = 16)]
    rank: usize,
    /// Updates of each
    #[arg(long, default_value_t = 40)]
    runs: usize,
}

#[derive(Module, Debug)]
struct Adapted {
    base: Vec<Param<Tensor<2>>>,
    down: Vec<Param<Tensor<2>>>,
    up: Vec<Param<Tensor<2>>>,
}

impl Adapted {
    fn new(base: usize, flags: &Flags, device: &Device) -> Self {
        let Flags {
            layers,
            width,
            rank,
            ..
        } = *flags;
        let half = |rows: usize, columns: usize| {
            Param::from_tensor(Tensor::<2>::ones([rows, columns], device).cast(DType::BF16))
        };
        Self {
            base: (0..base)
                .map(|_| half(width, width).set_require_grad(false))
                .collect(),
            down: (0..layers).map(|_| half(width, rank)).collect(),
            up: (0..layers).map(|_| half(rank, width)).collect(),
        }
    }
}

/// Milliseconds of each update.
struct Contender {
    model: Adapted,
    ema: EmaModel<Adapted>,
    times: Vec<f64>,
}

impl Contender {
    fn new(model: Adapted, policy: Policy) -> Self {
        let config = EmaConfig::new()
            .with_decay(Decay::constant(0.999))
            .with_policy(policy);
        let ema = config.init(&model);
        Self {
            model,
            ema,
            times: Vec::new(),
        }
    }

    fn update(&mut self, device: &Device) {
        let start = Instant::now();
        self.ema.update(&self.model).expect("the model fits");
        device.sync().expect("the device works");
        self.times.push(start.elapsed().as_secs_f64() * 1e3);
    }

    fn median(&self) -> f64 {
        let mut times = self.times[2..].to_vec();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    fn megabytes(&self) -> f64 {
        self.ema.plan().bytes(PlanAction::Average) as f64 / 1e6
    }
}

fn main() {
    let flags = Flags::parse_from(arguments());
    // As in training.
    let device = Device::default().autodiff();
    let model = |base| Adapted::new(base, &flags, &device);
    let ignored = Policy::default().with_frozen(Action::Ignore);
    let mut contenders = [
        ("adapters", Contender::new(model(0), Policy::default())),
        (
            "base and adapters",
            Contender::new(model(flags.layers), Policy::default()),
        ),
        (
            "the same, base ignored",
            Contender::new(model(flags.layers), ignored),
        ),
    ];
    // The first two are warm-up.
    for _ in 0..flags.runs + 2 {
        for (_, contender) in &mut contenders {
            contender.update(&device);
        }
    }
    let adapters = contenders[0].1.median();
    println!("{device:?}");
    println!("| EMA of | update, ms | ratio | averaged, MB |");
    println!("|---|---:|---:|---:|");
    for (who, contender) in &contenders {
        let (time, memory) = (contender.median(), contender.megabytes());
        println!(
            "| {who} | {time:.3} | {:.3} | {memory:.2} |",
            time / adapters
        );
    }
}
