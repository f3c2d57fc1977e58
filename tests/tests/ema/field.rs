//! An EMA as a field of a module that is trained.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::{Linear, LinearConfig, LinearLayout};
use burn::optim::{GradientsParams, LBFGSConfig, SgdConfig};
use burn::tensor::Tensor;
use burn_ema::{Decay, EmaConfig, EmaModel, EmaSet, EmaSetConfig};
use burn_ema_tests::backend::{autodiff_device, device};
use burn_ema_tests::compare::{assert_close, numbers};
use burn_ema_tests::models::Weights;
use burn_ema_tests::snapshot::{assert_same_values, numbers_at, values};

#[derive(Module, Debug)]
struct Trained {
    net: Linear,
    ema: EmaModel<Linear>,
    set: EmaSet<Linear>,
}

fn trained() -> Trained {
    let config = || EmaConfig::new().with_decay(Decay::weight(0.5));
    let net: Linear = LinearConfig::new(2, 3)
        .with_layout(LinearLayout::Col)
        .init(&autodiff_device());
    Trained {
        ema: config().init(&net),
        set: EmaSetConfig::new().with("one", config()).init(&net),
        net,
    }
}

fn loss(model: &Trained) -> Tensor<1> {
    let input = Tensor::<2>::ones([4, 2], &autodiff_device());
    model.net.forward(input).square().mean()
}

#[test]
fn optimizer_trains_the_model_and_leaves_the_ema_alone() {
    let mut model = trained();
    let before = values(&model.ema);
    let mut optim = SgdConfig::new().init();
    for _ in 0..3 {
        let gradients = GradientsParams::from_grads(loss(&model).backward(), &model);
        model = optim.step(0.1, model, gradients);
    }
    assert_eq!(values(&model.ema), before);
    assert_ne!(
        numbers_at(&model.net, "bias"),
        numbers_at(model.ema.model(), "bias")
    );
    let net = model.net.clone();
    model.ema.update(&net).unwrap();
    model.set.update(&net).unwrap();
    assert_same_values(model.ema.model(), model.set.ema("one").unwrap().model());
}

/// It expects a gradient for every float that it is shown.
#[test]
fn lbfgs_trains_a_model_with_an_ema_in_it() {
    let mut model = trained();
    let mut optim = LBFGSConfig::new().init();
    let before = numbers(&loss(&model).without_autodiff())[0];
    for _ in 0..3 {
        let closure = |model: Trained| {
            let loss = loss(&model);
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            (loss.without_autodiff().into_scalar::<f64>(), gradients)
        };
        (model, _) = optim.step(0.5, model, closure);
    }
    let after = numbers(&loss(&model).without_autodiff())[0];
    assert!(after < 0.1 * before, "{before} and {after}");
    assert_eq!(model.ema.num_updates(), 0);
}

struct Nothing;

impl ModuleMapper for Nothing {}

/// With mappers around mappers this needs a megabyte of stack and more.
#[test]
fn mapping_a_column_layout_many_times_does_not_nest() {
    let work = || {
        let mut ema = trained().ema;
        let before = values(&ema);
        for _ in 0..3_000 {
            ema = ema.map(&mut Nothing);
        }
        assert_eq!(values(&ema), before);
        let record = ema.clone().into_record();
        let loaded = trained().ema.load_record(record);
        assert_same_values(loaded.model(), ema.model());
    };
    let thread = std::thread::Builder::new().stack_size(1 << 19);
    thread.spawn(work).unwrap().join().unwrap();
}

#[derive(Default)]
struct Count(usize);

impl ModuleVisitor for Count {
    fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
        self.0 += 1;
    }
}

#[test]
fn everything_but_optimizers_sees_the_ema() {
    let mut count = Count::default();
    trained().visit(&mut count);
    assert_eq!(
        count.0,
        2 + 2 + 2,
        "weight and bias of the net and of both EMAs"
    );
}

#[test]
fn record_of_the_module_holds_the_ema_and_its_counters() {
    #[derive(Module, Debug)]
    struct Both {
        net: Weights,
        ema: EmaModel<Weights>,
    }
    let both = |x: f32| {
        let net = Weights::new(&[x], &device());
        let config = EmaConfig::new().with_decay(Decay::weight(0.5));
        let ema = config.init(&Weights::new(&[0.0], &device()));
        Both { net, ema }
    };
    let mut saved = both(4.0);
    saved.ema.update(&saved.net.clone()).unwrap();
    let loaded = both(-1.0).try_load_record(saved.into_record()).unwrap();
    assert_close(&loaded.ema.model().w.val(), &[2.0]);
    assert_eq!(loaded.ema.num_updates(), 1);
}

fn is_sync<T: Sync + Send>() {}

/// So that a module that holds one can be shared among threads, as Burn's own can.
#[test]
fn emas_are_sync() {
    is_sync::<EmaModel<Linear>>();
    is_sync::<EmaSet<Linear>>();
    is_sync::<Trained>();
}
