use burn_ema_tests::real::{adapters, check};

#[test]
fn lora() {
    check(&adapters::lora());
}

#[test]
fn lora_bf16() {
    check(&adapters::lora_bf16());
}

#[test]
fn bf16() {
    check(&adapters::bf16());
}

#[test]
fn qlora() {
    check(&adapters::qlora());
}
