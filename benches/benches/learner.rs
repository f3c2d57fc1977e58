//! `cargo bench -p burn-ema-benches --bench learner`: what an EMA adds to a training step of Burn's learner:
//! forward, backward, AdamW.
//!
//! Two learners train the same network on the same batch, one of them with an EMA. They take blocks of steps in
//! turn, and each pair of blocks gives one overhead. That is as noisy as the machine; so the time of an update is taken
//! by itself too.

use burn::data::dataloader::batcher::Batcher;
use burn::optim::AdamWConfig;
use burn::tensor::Device;
use burn::train::{Learner, LearnerModel, TrainStep};
use burn_ema::EmaConfig;
use burn_ema_benches::arguments;
use burn_ema_benches::timing::{quartiles, seconds_on};
use burn_ema_benches::vit::{ImageBatch, SmallVit};
use burn_ema_digits::data::{self, DigitBatcher, Digits};
use burn_ema_digits::model::DigitsNet;
use burn_ema_train::EmaExt;
use clap::Parser;

const BATCH_SIZE: usize = 16;
const LEARNING_RATE: f64 = 1e-3;

/// Time that a block of steps takes at least, in seconds.
const BLOCK: f64 = 0.25;

/// Times training steps with and without an EMA, and prints a Markdown table.
#[derive(Debug, Parser)]
#[command(name = "learner")]
struct Flags {
    /// Pairs of blocks of steps, of which the median is shown
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

fn main() {
    let flags = Flags::parse_from(arguments());
    let device = Device::default().autodiff();
    println!(
        "{:?}, {} threads, batches of {BATCH_SIZE}, median of {} pairs",
        Device::default(),
        rayon::current_num_threads(),
        flags.runs
    );
    println!("| model | parameters | step | with an EMA | quartiles | update alone |");
    println!("|---|---:|---:|---:|---:|---:|");

    let mut digits =
        Digits::load(data::default_path()).expect("the digits come with the repository");
    digits.items.truncate(BATCH_SIZE);
    let batch = DigitBatcher.batch(digits.items, &device);
    compare("digits", || DigitsNet::new(&device), &batch, flags.runs);

    let batch = ImageBatch::random(BATCH_SIZE, &device);
    compare("small ViT", || SmallVit::new(&device), &batch, flags.runs);
}

fn compare<M: LearnerModel>(
    name: &str,
    // Not cloned: clones share the running statistics of BatchNorm.
    make: impl Fn() -> M,
    batch: &<M as TrainStep>::Input,
    runs: u32,
) where
    <M as TrainStep>::Input: Clone,
{
    let mut online = learner(make());
    let mut with_ema = learner(make().with_ema(EmaConfig::new()));
    let mut ema = EmaConfig::new().init(&online.model());

    // The first steps make what later ones reuse.
    train(&mut online, batch, 3);
    train(&mut with_ema, batch, 3);
    let steps = (3.0 * BLOCK / train(&mut online, batch, 3)).ceil();

    let (mut times, mut overheads, mut updates) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        // The second of the two has the warmer, or the more throttled, machine.
        let (without, with) = if run % 2 == 0 {
            let without = train(&mut online, batch, steps as usize);
            (without, train(&mut with_ema, batch, steps as usize))
        } else {
            let with = train(&mut with_ema, batch, steps as usize);
            (train(&mut online, batch, steps as usize), with)
        };
        let model = online.model();
        let update = seconds_on(&Device::default(), || {
            ema.update(&model)
                .expect("the model does not change its structure");
        });
        times.push(without / steps);
        overheads.push(100.0 * (with / without - 1.0));
        updates.push(100.0 * update / (without / steps));
    }
    let [lower, overhead, upper] = quartiles(overheads);
    println!(
        "| {name} | {} | {:.2} ms | {overhead:+.2} % | {lower:+.2} to {upper:+.2} % | {:.2} % |",
        online.model().num_params(),
        1e3 * quartiles(times)[1],
        quartiles(updates)[1]
    );
}

fn learner<M: LearnerModel>(model: M) -> Learner<M> {
    Learner::new(model, AdamWConfig::new().init(), LEARNING_RATE)
}

/// The time of `steps` training steps, each as Burn's single-device strategy takes it.
fn train<M: LearnerModel>(
    learner: &mut Learner<M>,
    batch: &<M as TrainStep>::Input,
    steps: usize,
) -> f64
where
    <M as TrainStep>::Input: Clone,
{
    seconds_on(&Device::default(), || {
        for _ in 0..steps {
            let output = learner.train_step(batch.clone());
            learner.lr_step();
            learner.optimizer_step(output.grads);
        }
    })
}
