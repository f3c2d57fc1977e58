//! `cargo bench -p burn-ema-benches`: the time of an update beside that of the expression
//! `ema * decay + source * (1 - decay)` over the same tensors, and of a set of two averages beside that of two
//! averages one by one, in turn within one run.
//!
//! `BURN_DEVICE` chooses the backend among those compiled in.

use std::time::{Duration, Instant};

use burn::module::Param;
use burn::tensor::{Device, Distribution, Tensor};
use burn_ema::{Decay, EmaConfig, EmaSetConfig};

const RUNS: usize = 20;

fn main() {
    let device = Device::default();
    println!("device {device:?}, median of {RUNS} runs");
    for (name, tensors, length) in [
        ("large: 16 of 1 M values", 16, 1 << 20),
        ("small: 2 000 of 256 values", 2_000, 256),
    ] {
        compare(name, tensors, length, &device);
    }
}

fn compare(name: &str, tensors: usize, length: usize, device: &Device) {
    let random = || Tensor::<1>::random([length], Distribution::Default, device);
    let source: Vec<Param<Tensor<1>>> =
        (0..tensors).map(|_| Param::from_tensor(random())).collect();
    let mut ema = EmaConfig::new()
        .with_decay(Decay::constant(0.999))
        .init(&source);
    let mut naive: Vec<Tensor<1>> = source.iter().map(Param::val).collect();

    let slow = EmaConfig::new().with_decay(Decay::constant(0.9999));
    let mut set = EmaSetConfig::new()
        .with("fast", EmaConfig::new())
        .with("slow", slow.clone())
        .init(&source);
    let mut two = [EmaConfig::new().init(&source), slow.init(&source)];

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut together, mut apart) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        together.push(timed(device, || {
            set.update(&source).expect("the source does not change");
        }));
        apart.push(timed(device, || {
            for ema in &mut two {
                ema.update(&source).expect("the source does not change");
            }
        }));
        ours.push(timed(device, || {
            ema.update(&source).expect("the source does not change");
        }));
        theirs.push(timed(device, || {
            for (ema, source) in naive.iter_mut().zip(&source) {
                *ema = ema.clone() * 0.999 + source.val() * 0.001;
            }
        }));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "{name}: update {ours:.2?}, naive expression {theirs:.2?}, naive / update {:.2}",
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
    let (together, apart) = (median(together), median(apart));
    println!(
        "{name}: set of two {together:.2?}, two by themselves {apart:.2?}, apart / together {:.2}",
        apart.as_secs_f64() / together.as_secs_f64()
    );
}

fn timed(device: &Device, run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    device.sync().expect("the device works");
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
