//! Every developer verb of sluice.
fn main() {}
