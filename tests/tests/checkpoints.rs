//! Folders that are no plain checkpoint are told apart, and those that load do: `tests/cases/checkpoints`.

use strix_tests::checkpoints::{examine, make};

#[test]
fn every_folder_is_what_it_is_said_to_be() {
    let root = tempfile::tempdir().unwrap();
    make(root.path()).unwrap();
    let found = examine(root.path()).unwrap();
    let different: Vec<String> = found.iter().filter(|f| !f.good()).map(ToString::to_string).collect();
    assert!(different.is_empty(), "{} of {}:\n{}", different.len(), found.len(), different.join("\n"));
    assert!(found.len() == 229 && found.iter().all(|f| f.expected.is_some()), "{} folders", found.len());
}
