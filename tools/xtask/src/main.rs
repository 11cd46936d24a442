//! tools/xtask

fn main() {}
