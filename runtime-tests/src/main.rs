//! The conformance suite follows.
fn main() {}
