//! `cargo xtask build-times`: what an app pays that embeds Strix: seconds of its first build and of the next, crates, and
//! with `--sizes` the size of its binary, feature by feature.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::features::{DEFAULT, listed};
use crate::{Result, cargo};

const HELP: &str = "\
cargo xtask build-times [--quick] [--sizes] [--keep DIR]

Makes an app of ten lines in an empty folder, builds it and prints what took how long.

  --quick     only the first build with the default features and nano, and the one after a change of the app
  --sizes     builds releases too, for the size of the binary: minutes for each feature
  --keep DIR  the app's folder, which is kept; it must not exist

The first build must spend less than 10 s in build scripts of Strix: more is an error.
";

/// Seconds that build scripts of ours may take.
const MOST_SCRIPTS: f64 = 10.0;

const MAIN: &str = "\
use strix_model::{GenerateOptions, LoadOptions, Model};

fn main() -> strix_model::Result<()> {
    let model = Model::load(\"model\", &LoadOptions::default())?;
    let mut session = model.session()?;
    session.add_image(\"owl.jpg\")?;
    for token in session.ask(\"What is in the picture?\", &GenerateOptions::default())? {
        print!(\"{}\", token?.text);
    }
    Ok(())
}
";

pub(crate) fn run(args: &[String]) -> Result {
    let (mut quick, mut sizes, mut keep) = (false, false, None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match (arg.as_str(), &keep) {
            ("--quick", _) => quick = true,
            ("--sizes", _) => sizes = true,
            ("--keep", None) => {
                keep = Some(PathBuf::from(args.next().ok_or_else(|| usage("--keep wants a folder"))?));
            }
            ("-h" | "--help", _) => {
                print!("{HELP}");
                return Ok(());
            }
            (other, _) => return Err(usage(&format!("takes no {other:?}"))),
        }
    }
    let kept = keep.is_some();
    let folder =
        keep.unwrap_or_else(|| env::temp_dir().join(format!("strix-build-times-{}", std::process::id())));
    let done = App::make(&folder).and_then(|app| report(&app, quick, sizes));
    if !kept {
        fs::remove_dir_all(&folder).ok();
    }
    match done {
        Ok(true) => Ok(()),
        Ok(false) => Err(1),
        Err(error) => {
            eprintln!("error: {}: {error}", folder.display());
            Err(1)
        }
    }
}

fn usage(what: &str) -> u8 {
    eprint!("error: build-times: {what}\n\n{HELP}");
    2
}

/// Prints all of it; whether build scripts of ours took as little as they may.
fn report(app: &App, quick: bool, sizes: bool) -> io::Result<bool> {
    let first = app.build(&Wanted { default: true, features: &["nano"], release: false })?;
    let scripts = first.scripts();
    let crates = app.crates(true, &["nano"])?;
    println!("A debug build of an app of ten lines, default features and nano, from nothing:\n");
    println!("| | |\n|---|---|");
    println!("| in all | {:.1} s |", first.wall.as_secs_f64());
    println!("| of it in build scripts of Strix | {scripts:.1} s (at most {MOST_SCRIPTS} s) |");
    println!("| crates, Strix's three among them | {} |", crates.len());
    fs::write(app.folder.join("src/main.rs"), format!("{MAIN}// changed\n"))?;
    let again = app.build(&Wanted { default: true, features: &["nano"], release: false })?;
    println!("| again after a change of the app | {:.1} s |", again.wall.as_secs_f64());
    println!("\nThe crates that took longest, each on one core:\n\n| crate | seconds |\n|---|---|");
    for (name, seconds) in first.by_crate().iter().take(12) {
        println!("| {name} | {seconds:.1} |");
    }
    if !quick {
        by_feature(app, sizes, first)?;
    }
    Ok(scripts <= MOST_SCRIPTS)
}

/// What each feature adds to a build without any.
fn by_feature(app: &App, sizes: bool, mut first: Built) -> io::Result<()> {
    let features = features()?;
    let all: Vec<&str> = features.iter().map(String::as_str).collect();
    // What the first build made is not made again.
    first.units.extend(app.build(&Wanted { default: true, features: &all, release: false })?.units);
    let whole = first.by_crate();
    let bare = app.crates(false, &[])?;
    let size = |features: &[&str]| -> io::Result<Option<f64>> {
        let wanted = Wanted { default: false, features, release: true };
        sizes.then(|| app.build(&wanted).and_then(|_| app.size())).transpose()
    };
    let least = size(&[])?;
    let cell = |size: Option<f64>| size.map_or(String::new(), |size| format!(" {size:.2} |"));
    let (title, line) = if sizes { (" MB of a release |", "---|") } else { ("", "") };
    println!("\nWhat each feature adds to a build that leaves out all:\n");
    println!("| feature | crates | seconds of them, debug |{title}\n|---|---|---|{line}");
    let seconds = |names: &BTreeSet<String>| -> f64 {
        whole.iter().filter(|(name, _)| names.contains(name)).fold(0.0, |sum, (_, seconds)| sum + seconds)
    };
    println!("| none of them | {} | {:.1} |{}", bare.len(), seconds(&bare), cell(least));
    for feature in &all {
        let more: BTreeSet<_> = app.crates(false, &[feature])?.difference(&bare).cloned().collect();
        let added = size(&[feature])?.zip(least).map(|(with, without)| with - without);
        println!("| `{feature}` | {} | {:.1} |{}", more.len(), seconds(&more), cell(added));
    }
    Ok(())
}

/// The features of the model's crate but for `default`, as its manifest lists them.
fn features() -> io::Result<Vec<String>> {
    let mut features = listed("model").map_err(|_| io::Error::other("features are not read"))?;
    features.retain(|feature| feature != DEFAULT);
    Ok(features)
}

fn crates_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// An app in a folder of its own.
struct App {
    folder: PathBuf,
}

/// A build to be done.
struct Wanted<'a> {
    default: bool,
    features: &'a [&'a str],
    release: bool,
}

impl App {
    fn make(folder: &Path) -> io::Result<Self> {
        fs::create_dir(folder)?;
        fs::create_dir(folder.join("src"))?;
        fs::write(folder.join("src/main.rs"), MAIN)?;
        // The versions that Strix is tested with.
        fs::copy(crates_folder().join("Cargo.lock"), folder.join("Cargo.lock"))?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn manifest(&self, default: bool, features: &[&str]) -> io::Result<()> {
        let path = fs::canonicalize(crates_folder().join("model"))?;
        let manifest = format!(
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
             strix-model = {{ path = {path:?}, default-features = {default}, features = {features:?} }}\n"
        );
        fs::write(self.folder.join("Cargo.toml"), manifest)
    }

    fn build(&self, wanted: &Wanted<'_>) -> io::Result<Built> {
        self.manifest(wanted.default, wanted.features)?;
        let start = Instant::now();
        let mut command = self.cargo(&["build", "--timings", "--quiet"]);
        command.args(wanted.release.then_some("--release"));
        let status = command.stderr(Stdio::inherit()).status()?;
        let wall = start.elapsed();
        if !status.success() {
            return Err(io::Error::other(format!("cargo build with {:?}: {status}", wanted.features)));
        }
        let page = fs::read_to_string(self.folder.join("target/cargo-timings/cargo-timing.html"))?;
        Ok(Built { wall, units: units(&page) })
    }

    /// Names of all crates that are built for the app.
    fn crates(&self, default: bool, features: &[&str]) -> io::Result<BTreeSet<String>> {
        self.manifest(default, features)?;
        let output = self
            .cargo(&["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(io::Error::other(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr))));
        }
        let names = text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
        Ok(names.filter(|name| name != "app").collect())
    }

    /// Megabytes of the release's binary without its symbols.
    fn size(&self) -> io::Result<f64> {
        let binary = self.folder.join("target/release").join(format!("app{}", env::consts::EXE_SUFFIX));
        let stripped = binary.with_extension("stripped");
        let status = Command::new("strip").arg("-o").args([&stripped, &binary]).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("strip {}: {status}", binary.display())));
        }
        Ok(fs::metadata(stripped)?.len() as f64 / 1e6)
    }

    fn cargo(&self, args: &[&str]) -> Command {
        let mut command = cargo();
        command.args(args).current_dir(&self.folder).env_remove("CARGO_TARGET_DIR");
        command
    }
}

/// A build that was done.
struct Built {
    wall: Duration,
    units: Vec<Unit>,
}

/// Something that cargo compiled or ran.
#[derive(Debug, PartialEq)]
struct Unit {
    name: String,
    is_script: bool,
    seconds: f64,
}

impl Built {
    /// Seconds in build scripts of ours, their compilation among them.
    fn scripts(&self) -> f64 {
        let ours = self.units.iter().filter(|unit| unit.name.starts_with("strix") && unit.is_script);
        ours.map(|unit| unit.seconds).sum()
    }

    /// Seconds of each crate, the longest first.
    fn by_crate(&self) -> Vec<(String, f64)> {
        let mut all: Vec<(String, f64)> = vec![];
        for unit in &self.units {
            match all.iter_mut().find(|(name, _)| *name == unit.name) {
                Some((_, seconds)) => *seconds += unit.seconds,
                None => all.push((unit.name.clone(), unit.seconds)),
            }
        }
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }
}

/// The units of cargo's page of timings, which has them as JSON, a field a line.
fn units(page: &str) -> Vec<Unit> {
    let field = |unit: &str, name: &str| -> Option<String> {
        let (_, rest) = unit.split_once(&format!("\"{name}\": "))?;
        let value = rest.lines().next()?.trim_end_matches(',');
        Some(value.trim_matches('"').to_owned())
    };
    let unit = |text: &str| {
        let target = field(text, "target").unwrap_or_default();
        Some(Unit {
            name: field(text, "name")?,
            is_script: target.contains("build") || field(text, "mode")? == "run-custom-build",
            seconds: field(text, "duration")?.parse().ok()?,
        })
    };
    let (_, data) = page.split_once("UNIT_DATA = [").unwrap_or_default();
    let (data, _) = data.split_once("];").unwrap_or_default();
    data.split("\n  }").filter_map(unit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_from_cargos_page() {
        let page = "const UNIT_DATA = [\n  {\n    \"i\": 0,\n    \"name\": \"strix-shaders\",\n    \"version\": \"0.1.0\",\n    \
                    \"mode\": \"run-custom-build\",\n    \"target\": \" build-script (run)\",\n    \"start\": 1.0,\n    \
                    \"duration\": 2.5,\n    \"rmeta_time\": null\n  },\n  {\n    \"i\": 1,\n    \"name\": \"wgpu\",\n    \
                    \"mode\": \"todo\",\n    \"target\": \"\",\n    \"duration\": 4.25\n  }\n];\nconst X = [];";
        let unit = |name: &str, is_script, seconds| Unit { name: name.into(), is_script, seconds };
        assert_eq!(units(page), [unit("strix-shaders", true, 2.5), unit("wgpu", false, 4.25)]);
        let built = Built { wall: Duration::ZERO, units: units(page) };
        assert_eq!(built.scripts(), 2.5);
        assert_eq!(built.by_crate()[0], ("wgpu".into(), 4.25));
    }

    #[test]
    fn the_models_features_are_found() {
        let features = features().unwrap();
        assert!(features.iter().any(|name| name == "nano") && !features.iter().any(|name| name == "default"));
    }
}
