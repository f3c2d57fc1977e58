use burn_ema_tests::real::{check, containers};

#[test]
fn tied() {
    check(&containers::tied());
}

#[test]
fn containers() {
    check(&containers::containers());
}

#[test]
fn containers_checkpointing() {
    check(&containers::containers_checkpointing());
}
