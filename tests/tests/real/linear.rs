use burn_ema_tests::real::{check, linear};

#[test]
fn columns() {
    check(&linear::columns());
}

#[test]
fn lazy() {
    check(&linear::lazy());
}
