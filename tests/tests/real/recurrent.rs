use burn_ema_tests::real::{check, recurrent};

#[test]
fn lstm() {
    check(&recurrent::lstm());
}

#[test]
fn lstm_coupled() {
    check(&recurrent::lstm_coupled());
}

#[test]
fn bilstm() {
    check(&recurrent::bilstm());
}

#[test]
fn gru() {
    check(&recurrent::gru());
}

#[test]
fn bigru() {
    check(&recurrent::bigru());
}

#[test]
fn rnn() {
    check(&recurrent::rnn());
}

#[test]
fn birnn() {
    check(&recurrent::birnn());
}
