//! What an average costs in memory: once, and not more with every step.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::Linear;
use burn::optim::AdamConfig;
use burn::tensor::{DType, FloatDType, Tensor};
use burn_ema::config::NonFinite;
use burn_ema::{Decay, EmaConfig, EmaModel, EmaSetConfig};
use burn_ema_tests::allocator::{alone, live, peak, sees_tensors};
use burn_ema_tests::backend::{autodiff_device, has_dtype};
use burn_ema_tests::large::{TEMPORARIES, TENSOR, layers};
use burn_ema_tests::models::Net;

/// A node of Burn's autodiff graph takes hundreds of bytes, so one left behind at each step would be seen in any
/// thousand steps. The drivers of GPUs keep some memory of their own, now and then.
#[test]
fn thousands_of_training_steps_leave_nothing_behind() {
    let _alone = alone();
    let allowed_per_step = match sees_tensors("the tight bound of thousands_of_training_steps") {
        true => 3,
        false => 150,
    };
    let device = autodiff_device();
    let mut optim = AdamConfig::new().init();
    let mut net = Net::new(&device);
    let mut ema = EmaConfig::new().with_start(10).init(&net);
    let mut train = |steps: std::ops::Range<u32>| {
        for step in steps {
            net = net.clone().trained(step, &mut optim, &device);
            ema.update(&net).unwrap();
            // Evaluated every now and then.
            if step.is_multiple_of(100) {
                drop(ema.model().clone());
                ema.relative_distance(&net).unwrap();
            }
        }
        live()
    };
    let after = [0, 1, 2, 3].map(|thousand| train(1_000 * thousand..1_000 * (thousand + 1)));
    let grown = after.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    let grown: Vec<usize> = grown.collect();
    println!(
        "live after 1 000 steps: {} bytes, and in each thousand after: {grown:?} more",
        after[0]
    );
    let least = grown.into_iter().min().unwrap_or(usize::MAX);
    assert!(
        least < 1_000 * allowed_per_step,
        "{least} bytes more after 1 000 steps"
    );
    assert_eq!(ema.num_updates(), 3_990);
}

fn average(layers: &Vec<Linear>) -> EmaModel<Vec<Linear>> {
    EmaConfig::new()
        .with_decay(Decay::constant(0.9))
        .init(layers)
}

#[test]
fn new_ema_shares_the_memory_of_its_source() {
    let _alone = alone();
    if !sees_tensors("new_ema_shares_the_memory_of_its_source") {
        return;
    }
    let layers = layers();
    let made = peak(|| drop(average(&layers)));
    // Handles, places and names, which grow with the number of backends compiled in.
    assert!(made < 0.1 * TENSOR, "{made} bytes");
}

#[test]
fn updates_happen_in_place_once_the_ema_has_memory_of_its_own() {
    let _alone = alone();
    if !sees_tensors("updates_happen_in_place_once_the_ema_has_memory_of_its_own") {
        return;
    }
    let layers = layers();
    let mut ema = average(&layers);
    let before = live();
    ema.update(&layers).unwrap();
    let own = (live() - before) as f64;
    assert!((4.0 * TENSOR..4.1 * TENSOR).contains(&own), "{own} bytes");

    let update = peak(|| assert!(ema.update(&layers).is_ok()));
    assert!(update < TEMPORARIES, "{update} bytes");
}

#[test]
fn half_precision_is_averaged_without_a_wide_copy() {
    let _alone = alone();
    let test = "half_precision_is_averaged_without_a_wide_copy";
    if !sees_tensors(test) || !has_dtype(DType::BF16, test) {
        return;
    }
    let layers = layers().map(&mut ToHalf);
    let mut ema = average(&layers);
    ema.update(&layers).unwrap();
    let update = peak(|| assert!(ema.update(&layers).is_ok()));
    assert!(update < TEMPORARIES, "{update} bytes");
    let weight = &ema.full_precision_model()[0].weight;
    assert_eq!(weight.dtype(), DType::F32);
}

struct ToHalf;

impl ModuleMapper for ToHalf {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(FloatDType::BF16))
    }
}

#[test]
fn several_emas_and_the_guard_need_no_more() {
    let _alone = alone();
    if !sees_tensors("several_emas_and_the_guard_need_no_more") {
        return;
    }
    let layers = layers();
    let config = EmaConfig::new().with_non_finite(NonFinite::Skip);
    let mut set = EmaSetConfig::new()
        .with("fast", config.clone().with_decay(Decay::constant(0.9)))
        .with("slow", config.with_decay(Decay::constant(0.99)))
        .init(&layers);
    set.update(&layers).unwrap();
    let update = peak(|| assert!(set.update(&layers).is_ok()));
    let averages = 2.0;
    assert!(update < averages * TEMPORARIES, "{update} bytes");
}

#[test]
fn model_costs_nothing_until_it_is_kept_over_an_update() {
    let _alone = alone();
    if !sees_tensors("model_costs_nothing_until_it_is_kept_over_an_update") {
        return;
    }
    let layers = layers();
    let mut ema = average(&layers);
    ema.update(&layers).unwrap();
    let read = peak(|| {
        ema.model();
    });
    assert!(read < 0.05 * TENSOR, "{read} bytes");
    let update = peak(|| assert!(ema.update(&layers).is_ok()));
    assert!(update < TEMPORARIES, "{update} bytes");

    let kept = ema.model().clone();
    let update = peak(|| assert!(ema.update(&layers).is_ok()));
    assert!(update > 4.0 * TENSOR, "{update} bytes");
    drop(kept);
    let update = peak(|| assert!(ema.update(&layers).is_ok()));
    assert!(update < TEMPORARIES, "{update} bytes");
}

#[test]
fn copying_shares_the_memory_of_the_source() {
    let _alone = alone();
    if !sees_tensors("copying_shares_the_memory_of_the_source") {
        return;
    }
    let layers = layers();
    let mut ema = average(&layers);
    ema.update(&layers).unwrap();
    let before = live();
    ema.copy_from(&layers).unwrap();
    let freed = before as f64 - live() as f64;
    assert!(freed > 3.9 * TENSOR, "{freed} bytes");
}
