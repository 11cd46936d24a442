//! `cargo xtask`: sets up what is missing and runs what the project is checked with.

mod build_times;
mod features;
mod install;
mod kernels;
mod public_api;
mod viewer;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

const HELP: &str = "\
cargo xtask TASK

  demo                  install a software Vulkan driver if there is none, build, run `strix demo`
  test [--yes]          the same, then every check: format, lints, docs, tests, golden, the GL backend, drivers of other
                        GPUs if they are here or --yes fetches them
  kernels               write what Rust needs of the kernels' WGSL: shaders/src/generated
  golden [--dev] ARGS   the engine against the original's tensors: [ROOT] [--together] [--dtype bf16|int8] [--group 32] [--kv f16] [--activations int8]
  nano [--dev] ARGS     the built-in model against its card: [--dtype f32|bf16|int8]
  schedules [--dev] ARGS conversations of one model in any order, against each alone: [--seeds 300] [--from 0]
  checkpoints [DIR]     what Strix says of every folder of a tree, against its `expected` line; no device is needed
  fuzz-folders ARGS     folders of models with one thing changed, loaded and asked: [--minutes 10] [--seed 1]
  pictures [--dev] [DIR] every picture of a folder against what Pillow makes of it: tests/cases
  examples              run the examples of the model's crate, which check what they print
  features              each library with none of its features, with each alone, and with all; a warning is an error
  full-size ARGS        the size of the 8.2B model on this machine: [--only N,..] [--dir DIR] [--keep] [--save DIR]
  bench ARGS            strix bench, as release: kernels|model ARGS; without either word the kernels
  capi ARGS             strix.h, its library, and programs in C and C++, plain, under valgrind and sanitizers: [--quick] [--bless]
  install ARGS          library, headers, pkg-config and CMake package: --prefix DIR [--release | --dev | --profile NAME]
  gpus ARGS             drivers and compilers of GPUs that are not here: [--quick] [--only navi31,..] [--yes] [--write]
  build-times ARGS      what an app pays that embeds Strix: [--quick] [--sizes] [--keep DIR]
  public-api [--bless]  the libraries' public items, beside the lists of them that are committed
  viewer [--frames DIR..] the window, used by a program on a display of its own, and its screenshots; or the times of its
                        frames while nano, and models in these folders, answer
  peers ARGS            Strix and other engines in turns: [--only PEER,..] [--rounds 3] [--full] [--save] [--json FILE]

--dev builds with the dev profile, as the tests do, instead of release.
";

/// Packages of Debian and Ubuntu with lavapipe, the software Vulkan driver.
const VULKAN: [&str; 2] = ["libvulkan1", "mesa-vulkan-drivers"];
/// The same for OpenGL, which one test run goes through.
const GL: [&str; 2] = ["libegl1", "libgl1-mesa-dri"];

/// Programs that the C interface is checked with, and their packages; the first three are for quick checks.
const NATIVE: [(&str, &str); 6] = [
    ("cmake", "cmake"),
    ("pkg-config", "pkg-config"),
    ("abidiff", "abigail-tools"),
    ("clang", "clang"),
    ("clang", "libclang-rt-14-dev"),
    ("valgrind", "valgrind"),
];

/// `Err` is the exit code.
type Result<T = ()> = std::result::Result<T, u8>;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let (task, rest) = args.split_first().map_or(("", &[][..]), |(task, rest)| (task.as_str(), rest));
    let asks_help = rest.iter().any(|arg| ["-h", "--help"].contains(&arg.as_str()));
    let done = match task {
        // Others have a help of their own.
        "test" | "kernels" | "examples" | "features" | "public-api" | "capi" | "install" | "viewer"
            if asks_help =>
        {
            help()
        }
        "kernels" | "examples" | "features" if !rest.is_empty() => {
            eprintln!("error: {task} takes nothing, not {:?}", rest.join(" "));
            Err(2)
        }
        "demo" => driver(&VULKAN).and_then(|()| {
            run(cargo().args(["run", "--release", "-p", "strix-cli", "--", "demo"]).args(rest))
        }),
        "test" if rest.iter().all(|arg| arg == "--yes") => test(rest),
        "kernels" => kernels::write().map_err(|error| {
            eprintln!("error: {error}");
            2
        }),
        "build-times" => build_times::run(rest),
        "golden" | "nano" | "schedules" => check(task, rest),
        "fuzz-folders" => check("fuzz_folders", rest),
        "checkpoints" | "pictures" => checking(task, rest),
        "full-size" => build_strix(rest).and_then(|()| check("full_size", rest)),
        "examples" => examples(),
        "features" => features::features(),
        "public-api" => public_api::public_api(rest),
        "gpus" => gpus(rest),
        "bench" => bench(rest),
        "capi" => capi(rest),
        "install" => install::install(rest),
        "viewer" => viewer::viewer(rest),
        "peers" => driver(&VULKAN)
            .and_then(|()| build_strix(&[]))
            .and_then(|()| run(cargo().args(["run", "--release", "-p", "strix-peers", "--"]).args(rest))),
        "" | "help" | "-h" | "--help" => help(),
        "test" => {
            eprintln!("error: test takes --yes, not {:?}\n\n{HELP}", rest.join(" "));
            Err(2)
        }
        _ => {
            eprintln!("error: no task {task:?}\n\n{HELP}");
            Err(2)
        }
    };
    done.map_or_else(ExitCode::from, |()| ExitCode::SUCCESS)
}

fn help() -> Result {
    print!("{HELP}");
    Ok(())
}

/// `strix bench`, of the kernels unless something else is named.
fn bench(args: &[String]) -> Result {
    driver(&VULKAN)?;
    let named = args.first().is_some_and(|word| ["kernels", "model", "help"].contains(&word.as_str()));
    let kind = (!named).then_some("kernels");
    run(cargo().args(["run", "--release", "-p", "strix-cli", "--", "bench"]).args(kind).args(args))
}

/// Runs the examples of the model's crate: each asserts what it prints.
fn examples() -> Result {
    driver(&VULKAN)?;
    run(cargo().args(["build", "--workspace", "--examples"]))?;
    let built = sibling("x").with_file_name("examples");
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../../model/examples");
    let listed = fs::read_dir(sources).map_err(|error| {
        eprintln!("error: {sources}: {error}");
        1
    })?;
    let mut names: Vec<_> = listed.flatten().map(|entry| entry.path()).collect();
    names.retain(|path| path.extension() == Some(OsStr::new("rs")));
    names.sort();
    for name in names.iter().filter_map(|path| path.file_stem()) {
        println!("── {}", name.display());
        run(&mut Command::new(built.join(name).with_extension(env::consts::EXE_EXTENSION)))?;
    }
    Ok(())
}

/// `--yes` fetches what is missing of the drivers of other GPUs.
fn test(args: &[String]) -> Result {
    let mut phases = Phases::default();
    let done = all_checks(&mut phases, args);
    phases.print(done.is_ok());
    done
}

fn all_checks(phases: &mut Phases, args: &[String]) -> Result {
    phases.run("driver", || driver(&[VULKAN, GL].concat()).and_then(|()| viewer::display()))?;
    phases.run("format", || run(cargo().args(["fmt", "--all", "--check"])))?;
    phases.run("lints", || {
        run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    phases.run("docs", || {
        run(cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    let nextest = quiet(cargo().args(["nextest", "--version"]));
    let tests = || {
        let mut command = cargo();
        command.args(if nextest { &["nextest", "run"][..] } else { &["test"] }).arg("--workspace");
        command
    };
    phases.run("tests", || run(&mut tests()))?;
    if nextest {
        phases.run("doctests", || run(cargo().args(["test", "--workspace", "--doc"])))?;
    }
    phases.run("examples", examples)?;
    phases.run("features", features::libraries)?;
    // Built with the tests, and with their features: no second build of the dependencies.
    phases.run("golden", || run(&mut Command::new(sibling("golden"))))?;
    // `strix` asks the software driver for them where the processor can.
    if quiet(Command::new(sibling("strix")).arg("devices").env("STRIX_ADAPTER", "512 bits")) {
        // Each width has its own cache: Mesa 22 would take one's kernels for the other's.
        let cache = sibling("mesa-512");
        let width = |command: &mut Command| {
            run(command.env("LP_NATIVE_VECTOR_WIDTH", "512").env("MESA_SHADER_CACHE_DIR", &cache))
        };
        phases.run("kernels on wide vectors", || width(tests().args(["--test", "kernels"])))?;
    }
    if quiet(Command::new(sibling("strix")).arg("devices").env("STRIX_ADAPTER", "(gl)")) {
        phases
            .run("kernels on GL", || run(tests().args(["--test", "kernels"]).env("STRIX_ADAPTER", "(gl)")))?;
    } else {
        println!("\nno GL adapter here: the kernels are not run through GL");
    }
    phases.run("build times", || build_times::run(&["--quick".into()]))?;
    if cfg!(target_os = "linux") {
        phases.run("C interface", || capi(&["--quick".into()]))?;
        let quick = ["--quick", "--or-skip"];
        phases.run("other GPUs", || run(Command::new(sibling("gpus")).args(quick).args(args)))?;
    }
    Ok(())
}

/// Nothing of it depends on how fast Strix is on the host: the dev profile, with the features that the tests are built with.
fn gpus(args: &[String]) -> Result {
    run(cargo().args(["build", "--workspace", "--bins"]))?;
    run(Command::new(sibling("gpus")).args(args))
}

/// Checks the C interface. It is built as the tests are: nothing of it depends on how fast Strix is.
fn capi(args: &[String]) -> Result {
    driver(&VULKAN)?;
    programs(&NATIVE[..if args.iter().any(|arg| arg == "--quick") { 3 } else { NATIVE.len() }])?;
    run(cargo().args(["run", "--quiet", "-p", "strix-capi-check", "--"]).args(args))
}

/// Builds the binary that full-size starts, beside it.
fn build_strix(args: &[String]) -> Result {
    run(cargo().args(["build", "--profile", profile(args), "-p", "strix-cli"]))
}

fn profile(args: &[String]) -> &'static str {
    if args.iter().any(|arg| arg == "--dev") { "dev" } else { "release" }
}

/// Runs a checking binary of strix-tests that opens a device.
fn check(name: &str, args: &[String]) -> Result {
    driver(&VULKAN)?;
    checking(name, args)
}

/// Runs a checking binary of strix-tests.
fn checking(name: &str, args: &[String]) -> Result {
    let profile = profile(args);
    let args = args.iter().filter(|arg| *arg != "--dev");
    run(cargo().args(["run", "--profile", profile, "-p", "strix-tests", "--bin", name, "--"]).args(args))
}

/// Phases that were run, with their time.
#[derive(Default)]
struct Phases(Vec<(&'static str, Duration)>);

impl Phases {
    fn run(&mut self, name: &'static str, phase: impl FnOnce() -> Result) -> Result {
        println!("\n── {name}");
        let start = Instant::now();
        let done = phase();
        println!("── {name}: {:.1} s", start.elapsed().as_secs_f64());
        self.0.push((name, start.elapsed()));
        done
    }

    fn print(&self, good: bool) {
        println!();
        for (i, (name, time)) in self.0.iter().enumerate() {
            let failed = !good && i + 1 == self.0.len();
            println!("{name:<16}{:>8.1} s  {}", time.as_secs_f64(), if failed { "FAILED" } else { "ok" });
        }
        println!("{:<16}{:>8.1} s", "all", self.0.iter().map(|p| p.1.as_secs_f64()).sum::<f64>());
    }
}

/// Installs packages whose program is missing, on Debian and Ubuntu. Elsewhere what needs one says so and is skipped.
fn programs(needed: &[(&str, &str)]) -> Result {
    let is_missing = |(program, _): &&(&str, &str)| !quiet(Command::new("which").arg(program));
    let missing: Vec<&str> = needed.iter().filter(is_missing).map(|(_, package)| *package).collect();
    if missing.is_empty() || !cfg!(target_os = "linux") || !Path::new("/usr/bin/apt-get").exists() {
        return Ok(());
    }
    install(&missing)
}

/// Sees to it that there is a Vulkan driver; where there is none, installs `packages`.
fn driver(packages: &[&str]) -> Result {
    let needs_gl = packages.contains(&GL[0]);
    if !cfg!(target_os = "linux") || has_vulkan() && (!needs_gl || has_library("libEGL.so.1")) {
        return Ok(()); // Metal and Direct3D come with the system.
    }
    if has_vulkan() {
        println!("no libEGL: the tests through OpenGL need {}", packages.join(", "));
    } else {
        println!("no Vulkan driver: lavapipe, Mesa's software one, will do");
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        if has_vulkan() {
            return Ok(());
        }
        eprintln!(
            "error: install your GPU's Vulkan driver, or lavapipe, then try again:\n  \
             Fedora    dnf install mesa-vulkan-drivers vulkan-loader\n  \
             Arch      pacman -S vulkan-swrast vulkan-icd-loader\n  \
             openSUSE  zypper install libvulkan_lvp libvulkan1\n  \
             Alpine    apk add mesa-vulkan-swrast vulkan-loader\n\
             A driver elsewhere is named by VK_DRIVER_FILES."
        );
        return Err(2);
    }
    install(packages)
}

/// Installs packages, where there is apt-get.
fn install(packages: &[&str]) -> Result {
    let install = ["apt-get", "install", "-y", "--no-install-recommends"];
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    let sudo = (!root).then_some("sudo");
    if !root && !quiet(Command::new("sudo").arg("--version")) {
        eprintln!("error: as root, run: apt-get update && {} {}", install.join(" "), packages.join(" "));
        return Err(2);
    }
    println!("installing {}", packages.join(" "));
    let as_root = |args: &[&str]| {
        let mut words =
            sudo.into_iter().chain(["env", "DEBIAN_FRONTEND=noninteractive"]).chain(args.iter().copied());
        let mut command = Command::new(words.next().unwrap_or_default());
        run(command.args(words))
    };
    as_root(&["apt-get", "update"])?;
    as_root(&[&install[..], packages].concat())
}

/// The loader, and a description of a driver for it.
fn has_vulkan() -> bool {
    let listed = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"];
    let listed =
        listed.iter().filter_map(env::var_os).flat_map(|paths| env::split_paths(&paths).collect::<Vec<_>>());
    let mut folders: Vec<PathBuf> =
        ["/usr/share", "/usr/local/share", "/etc", "/run/opengl-driver/share"].map(PathBuf::from).into();
    for name in ["XDG_DATA_DIRS", "XDG_CONFIG_DIRS", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
        folders.extend(env::var_os(name).iter().flat_map(env::split_paths));
    }
    folders.extend(env::home_dir().map(|home| home.join(".local/share")));
    let described = listed.chain(folders.iter().map(|f| f.join("vulkan/icd.d"))).any(|place| {
        let json = |path: &Path| path.extension() == Some(OsStr::new("json")) && path.exists();
        json(&place) || fs::read_dir(&place).is_ok_and(|dir| dir.flatten().any(|entry| json(&entry.path())))
    });
    described && has_library("libvulkan.so.1")
}

/// Whether the dynamic linker has `name`.
fn has_library(name: &str) -> bool {
    let cache = ["/sbin/ldconfig", "/usr/sbin/ldconfig"]
        .iter()
        .find_map(|path| Command::new(path).arg("-p").output().ok());
    let cached = cache.is_some_and(|out| String::from_utf8_lossy(&out.stdout).contains(name));
    let paths = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/run/opengl-driver/lib"].map(PathBuf::from);
    cached || env::split_paths(&paths).chain(folders).any(|folder| folder.join(name).exists())
}

/// Another binary of this target folder.
fn sibling(name: &str) -> PathBuf {
    let own = env::current_exe().unwrap_or_default();
    own.with_file_name(format!("{name}{}", env::consts::EXE_SUFFIX))
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Mesa's EGL complains where there is no XDG_RUNTIME_DIR.
fn prepare(command: &mut Command) -> &mut Command {
    if env::var_os("XDG_RUNTIME_DIR").is_none() {
        command.env("XDG_RUNTIME_DIR", env::temp_dir());
    }
    command
}

fn run(command: &mut Command) -> Result {
    match prepare(command).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            if status.code().is_none() {
                eprintln!("error: {}: {status}", command.get_program().display());
            }
            Err(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
        }
        Err(error) => {
            eprintln!("error: {}: {error}", command.get_program().display());
            Err(1)
        }
    }
}

/// Whether it succeeds. Its output is dropped.
fn quiet(command: &mut Command) -> bool {
    prepare(command).output().is_ok_and(|out| out.status.success())
}
