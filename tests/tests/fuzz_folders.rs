//! A few changed folders of models; `cargo xtask fuzz-folders` runs as many as there is time for.

use strix_tests::fuzz_folders::{Counts, Folders};

#[test]
fn changed_folders_are_refused_or_answer_as_they_may() {
    let at = tempfile::tempdir().unwrap();
    let folders = Folders::make(at.path()).unwrap();
    let mut counts = Counts::default();
    for seed in 1000..1040 {
        let change = folders.change(seed).unwrap();
        let outcome = folders.run(&change).unwrap();
        assert!(!outcome.is_fault(), "seed {seed}, {change}: {outcome:?}");
        counts.add(outcome);
    }
    println!("{counts}");
}
