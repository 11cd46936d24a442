//! tools

fn main() {}
