//! The committed pictures against Pillow's.

use strix_tests::pictures::{Verdict, cases, check};

#[test]
fn pictures_are_pillows_or_refused_by_what_they_are() {
    let report = check(&cases()).unwrap();
    println!("{report}");
    assert!(report.good(), "{report}");
    let equal = report.verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Equal).count();
    assert!(equal > 280, "{report}");
}
