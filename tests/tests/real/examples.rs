use burn::module::Module;
use burn::optim::GradientsParams;
use burn_ema_tests::compare::{assert_near, numbers};
use burn_ema_tests::real::{Recursion, api, check, examples};

#[test]
fn mnist() {
    check(&examples::mnist());
}

#[test]
fn text_classification() {
    check(&examples::text_classification());
}

#[test]
fn modern_lstm() {
    check(&examples::modern_lstm());
}

#[test]
fn modern_lstm_forward() {
    check(&examples::modern_lstm_forward());
}

#[test]
fn generator() {
    check(&examples::generator());
}

#[test]
fn discriminator() {
    check(&examples::discriminator());
}

#[test]
fn agent() {
    check(&examples::agent());
}

/// The agent of `dqn-agent` learns from its own target network, which is the EMA.
#[test]
fn agent_with_its_target() {
    let case = examples::agent();
    let device = case.device();
    let mut agent = (case.make)(&device);
    let mut optimizer = (case.optimizer)();
    let mut target = api::new_ema(&agent, case.decay).unwrap();
    let mut expected = Recursion::new(&agent, case.decay);
    let mut target_by_hand = agent.valid();
    for step in 1..=20 {
        let loss = agent.temporal_difference(api::model(&target), step, &device);
        let by_hand = agent.temporal_difference(&target_by_hand, step, &device);
        assert_near(&numbers(&loss), &numbers(&by_hand), 1e-5);
        let gradients = GradientsParams::from_grads(loss.backward(), &agent);
        agent = optimizer.step(case.learning_rate, agent, gradients);
        api::update(&mut target, &agent).unwrap();
        expected.update(&agent);
        target_by_hand = expected.written_into(target_by_hand);
    }
    expected
        .compare(&api::full_precision_model(&target), 1e-5)
        .unwrap();
}
