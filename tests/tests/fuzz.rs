//! The corpora of the fuzz targets, run again: what was written by anyone is an error at worst, never a panic.

use std::path::Path;

use strix_tests::fuzz::TARGETS;

#[test]
fn every_file_of_the_corpora_is_read_without_a_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in TARGETS {
        let mut files = 0;
        for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            // The last one printed is the one that failed.
            println!("{}", path.display());
            target(&std::fs::read(&path).unwrap());
            files += 1;
        }
        assert!(files >= 3, "{name}: only {files} files");
    }
}
