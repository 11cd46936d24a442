//! The targets, shared with the tests that replay the corpora.

#[path = "../../src/fuzz.rs"]
pub mod targets;
