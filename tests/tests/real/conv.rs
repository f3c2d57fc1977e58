use burn_ema_tests::real::{check, conv};

#[test]
fn net_1d() {
    check(&conv::net_1d());
}

#[test]
fn net_2d() {
    check(&conv::net_2d());
}

#[test]
fn net_3d() {
    check(&conv::net_3d());
}

#[test]
fn norms() {
    check(&conv::norms());
}
