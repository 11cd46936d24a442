//! Checks `strix.h` and what it stands for.

mod header;

fn main() {}
