//! Folders that are no plain checkpoint are told apart, and those that load do: `tests/cases/checkpoints`.

use strix_tests::checkpoints::{examine, root};

#[test]
fn every_folder_is_what_it_is_said_to_be() {
    let found = examine(&root()).unwrap();
    let different: Vec<String> = found.iter().filter(|f| !f.good()).map(ToString::to_string).collect();
    assert!(different.is_empty(), "{} of {}:\n{}", different.len(), found.len(), different.join("\n"));
    assert!(found.len() > 200 && found.iter().all(|f| f.expected.is_some()), "{} folders", found.len());
}
