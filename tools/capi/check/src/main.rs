//! `cargo xtask capi`: checks `strix.h`, the libraries that are installed, and programs in C and C++ that use all of it.

mod abi;
mod header;
mod packages;
mod place;
mod programs;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::place::Place;

/// How a check ended that did not fail.
enum Done {
    /// It was done.
    Ok,
    /// Some or all of it was not, and why.
    Skipped(String),
}

/// What is asked for.
struct Options {
    /// What takes under two minutes: no valgrind, no races, one compiler.
    quick: bool,
    /// Writes what is compared with.
    bless: bool,
}

fn main() -> ExitCode {
    let mut options = Options { quick: false, bless: false };
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--quick" => options.quick = true,
            "--bless" => options.bless = true,
            other => {
                eprintln!("error: capi takes --quick and --bless, not {other:?}");
                return ExitCode::from(2);
            }
        }
    }
    let checked = Place::new().and_then(|place| all(&place, &options));
    match checked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

type Check<'a> = (&'static str, Box<dyn Fn() -> Result<Done> + 'a>);

/// Runs every check, also after one has failed.
fn all(place: &Place, options: &Options) -> Result<()> {
    let Options { quick, bless } = *options;
    let checks: Vec<Check<'_>> = vec![
        ("header", Box::new(move || abi::header(place, bless))),
        ("install", Box::new(|| packages::install(place))),
        ("symbols", Box::new(move || abi::symbols(place, bless))),
        ("layout", Box::new(move || abi::layout(place, bless))),
        ("abidiff", Box::new(move || abi::diff(place, bless))),
        ("compilers", Box::new(|| programs::compilers(place))),
        ("examples", Box::new(|| programs::examples(place))),
        ("clashes", Box::new(|| programs::clash(place))),
        ("C and C++", Box::new(move || programs::plain(place, quick))),
        ("ASan and UBSan", Box::new(move || programs::sanitized(place, "address,undefined", quick))),
        (
            "TSan",
            Box::new(move || if quick { not_quick() } else { programs::sanitized(place, "thread", quick) }),
        ),
        ("valgrind", Box::new(move || if quick { not_quick() } else { programs::valgrind(place) })),
        ("pkg-config", Box::new(|| packages::pkg_config(place))),
        ("CMake", Box::new(|| packages::cmake(place))),
    ];
    let mut rows = vec![];
    let mut failed = 0;
    for (name, check) in &checks {
        println!("\n── {name}");
        let start = Instant::now();
        let done = check();
        let is_over = done.is_err() && *name == "install";
        let said = match done {
            Ok(Done::Ok) => "ok".to_owned(),
            Ok(Done::Skipped(why)) => format!("skipped: {why}"),
            Err(error) => {
                failed += 1;
                format!("FAILED: {error:#}")
            }
        };
        println!("── {name}: {said}");
        rows.push(format!("{name:<16}{:>7.1} s  {said}", start.elapsed().as_secs_f64()));
        // Without libraries there is nothing to check further.
        if is_over {
            break;
        }
    }
    println!("\n{}", rows.join("\n"));
    if failed > 0 {
        bail!("{failed} of {} checks failed", checks.len());
    }
    Ok(())
}

fn not_quick() -> Result<Done> {
    Ok(Done::Skipped("not within --quick".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_header_is_that_of_the_sources() {
        let place = Place::new().unwrap();
        assert_eq!(
            place.header().unwrap().1,
            header::generate(&place.capi).unwrap(),
            "cargo xtask capi --bless"
        );
    }

    #[test]
    fn padding_is_found_between_fields_and_at_the_end() {
        let fits = "A 16\nA.size at 0, 8\nA.x at 8, 8\nB 8\nB.size at 0, 8\nSTRIX_ONE 1\nSTRIX_LESS -1\n";
        assert_eq!(abi::padding(fits), None);
        let between = fits.replace("A.x at 8, 8", "A.y at 8, 2\nA.x at 12, 4");
        assert_eq!(abi::padding(&between), Some("A.x at 12, 4"));
        assert_eq!(abi::padding(&fits.replace("A.x at 8, 8", "A.x at 8, 4")), Some("A 16"));
        assert_eq!(abi::padding(&fits.replace("B 8", "B 16")), Some("B 16"));
        assert_eq!(abi::padding("B 16\nB.size at 0, 8\n"), Some("B 16"));
    }

    #[test]
    fn declarations_are_found() {
        let text = "typedef struct A {\n  size_t size;\n  const char *name;\n} A;\nextern \"C\" {\n/** x */\nconst A *strix_a(void);\n\nStrixStatus strix_b(int x,\n    int y);\n";
        let names: Vec<_> = header::functions(text).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["strix_a", "strix_b"]);
        assert_eq!(header::functions(text)[1].0, "StrixStatus strix_b(int x, int y)");
        let found = header::structs(text);
        assert_eq!(
            (found[0].name.as_str(), found[0].fields.as_slice()),
            ("A", &["size".to_owned(), "name".to_owned()][..])
        );
    }
}
