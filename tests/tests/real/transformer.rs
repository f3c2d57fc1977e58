use burn_ema_tests::real::{check, transformer};

#[test]
fn encoder() {
    check(&transformer::encoder());
}

#[test]
fn encoder_norm_first() {
    check(&transformer::encoder_norm_first());
}

#[test]
fn decoder() {
    check(&transformer::decoder());
}

#[test]
fn rotary() {
    check(&transformer::rotary());
}

#[test]
fn rotary_checkpointing() {
    check(&transformer::rotary_checkpointing());
}

#[test]
fn positional() {
    check(&transformer::positional());
}

#[test]
fn positional_checkpointing() {
    check(&transformer::positional_checkpointing());
}
