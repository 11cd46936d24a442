//! `cargo xtask install`: library, headers, pkg-config and CMake package of the C interface, in a folder of their own.

use std::env::consts::{ARCH, OS};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, cargo, run};

/// Number of the binary interface, which the shared library is named by: `STRIX_ABI_VERSION` of `strix.h`.
const ABI: &str = "0";

/// What is to be installed where.
struct Install {
    prefix: PathBuf,
    profile: String,
}

/// Names of the libraries on this system.
struct Names {
    shared: String,
    /// What links are made of the shared library's name.
    links: Vec<String>,
    soname: String,
    statics: &'static str,
    /// The import library of a DLL.
    implib: &'static str,
    /// What the static one is linked with beside.
    libs: &'static [&'static str],
}

pub(crate) fn install(args: &[String]) -> Result {
    let Install { prefix, profile } = parse(args)?;
    // A folder that cannot be made is told before anything is built.
    let [lib, include] = ["lib", "include"].map(|name| prefix.join(name));
    let doc = prefix.join("share/doc/strix");
    let [pkgconfig, cmake] = [lib.join("pkgconfig"), lib.join("cmake/Strix")];
    for folder in [&lib, &include, &doc, &pkgconfig, &cmake] {
        done(folder, fs::create_dir_all(folder))?;
    }
    run(cargo().args(["build", "--profile", &profile, "-p", "strix-capi"]))?;
    let root = root();
    let capi = root.join("tools/capi");
    let folder = if profile == "dev" { "debug" } else { &profile };
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from).join(folder);
    let version = version(&capi.join("../../Cargo.toml"))?;
    let names = Names::of(OS, &version);

    for header in ["strix.h", "strix.hpp"] {
        copy(&capi.join("include").join(header), &include.join(header))?;
    }
    copy(&capi.join("README.md"), &doc.join("README.md"))?;
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&root.join(licence), &doc.join(licence))?;
    }

    let (built, statics) = match OS {
        "windows" => ("strix_capi.dll", "strix_capi.lib"),
        "macos" => ("libstrix_capi.dylib", "libstrix_capi.a"),
        _ => ("libstrix_capi.so", "libstrix_capi.a"),
    };
    // An app that runs keeps the file it has.
    let shared = lib.join(&names.shared);
    let _ = fs::remove_file(&shared);
    copy(&target.join(built), &shared)?;
    for link in &names.links {
        let link = lib.join(link);
        let _ = fs::remove_file(&link);
        done(&link, symlink(Path::new(&names.shared), &link))?;
    }
    if !names.implib.is_empty() {
        copy(&target.join("strix_capi.dll.lib"), &lib.join(names.implib))?;
    }
    if OS == "linux" {
        closed(&target.join(statics), &lib.join(names.statics))?;
    } else {
        copy(&target.join(statics), &lib.join(names.statics))?;
        println!(
            "{}: its symbols are not closed on this system: beside strix_ they include those of Rust and libjpeg",
            names.statics
        );
    }

    let mut numbers = version.split('.');
    let [major, minor] = [(); 2].map(|()| numbers.next().unwrap_or("0"));
    let pointer = size_of::<usize>().to_string();
    let shared = format!("lib/{}", names.shared);
    let implib = if names.implib.is_empty() { String::new() } else { format!("lib/{}", names.implib) };
    let fill = |libs: String| {
        let (version, statics) = (version.clone(), format!("lib/{}", names.statics));
        let with = [
            ("@VERSION@", version),
            ("@MAJOR@", major.into()),
            ("@MINOR@", minor.into()),
            ("@POINTER@", pointer.clone()),
            ("@SHARED@", shared.clone()),
            ("@SONAME@", names.soname.clone()),
            ("@IMPLIB@", implib.clone()),
            ("@STATIC@", statics),
            ("@STATICFILE@", names.statics.into()),
            ("@LIBS@", libs),
        ];
        move |text: String| with.iter().fold(text, |text, (word, with)| text.replace(word, with))
    };
    let templates = capi.join("install");
    for name in ["strix.pc", "strix-static.pc"] {
        write(&templates.join(format!("{name}.in")), &pkgconfig.join(name), fill(names.flags()))?;
    }
    for name in ["StrixConfig.cmake", "StrixConfigVersion.cmake"] {
        write(&templates.join(format!("{name}.in")), &cmake.join(name), fill(names.libs.join(";")))?;
    }
    println!("installed Strix {version} ({ARCH} {OS}, profile {profile}) in {}", prefix.display());
    Ok(())
}

fn parse(args: &[String]) -> Result<Install> {
    let mut install = Install { prefix: PathBuf::new(), profile: "release".into() };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--prefix" => install.prefix = args.next().map(PathBuf::from).unwrap_or_default(),
            "--profile" => install.profile = args.next().cloned().unwrap_or_default(),
            "--release" => install.profile = "release".into(),
            "--dev" => install.profile = "dev".into(),
            other => {
                eprintln!(
                    "error: install takes --prefix DIR and --release, --dev or --profile NAME, not {other:?}"
                );
                return Err(2);
            }
        }
    }
    if install.prefix.as_os_str().is_empty() || install.profile.is_empty() {
        eprintln!(
            "error: name a folder: cargo xtask install --prefix DIR [--release | --dev | --profile NAME]"
        );
        return Err(2);
    }
    Ok(install)
}

impl Names {
    fn of(system: &str, version: &str) -> Self {
        match system {
            "windows" => Self {
                shared: "strix.dll".into(),
                links: vec![],
                soname: String::new(),
                statics: "strix_static.lib",
                implib: "strix.lib",
                libs: &[
                    "bcrypt", "kernel32", "ntdll", "userenv", "ws2_32", "user32", "gdi32", "opengl32",
                    "ole32", "oleaut32",
                ],
            },
            "macos" => Self {
                shared: format!("libstrix.{version}.dylib"),
                links: vec![format!("libstrix.{ABI}.dylib"), "libstrix.dylib".into()],
                soname: format!("@rpath/libstrix.{ABI}.dylib"),
                statics: "libstrix.a",
                implib: "",
                libs: &[
                    "-framework Metal",
                    "-framework QuartzCore",
                    "-framework CoreGraphics",
                    "-framework Foundation",
                    "objc",
                    "iconv",
                    "m",
                ],
            },
            _ => Self {
                shared: format!("libstrix.so.{version}"),
                links: vec![format!("libstrix.so.{ABI}"), "libstrix.so".into()],
                soname: format!("libstrix.so.{ABI}"),
                statics: "libstrix.a",
                implib: "",
                libs: &["gcc_s", "rt", "pthread", "m", "dl", "c"],
            },
        }
    }

    /// The libraries as a linker takes them.
    fn flags(&self) -> String {
        let flag = |lib: &&str| if lib.starts_with('-') { (*lib).to_owned() } else { format!("-l{lib}") };
        self.libs.iter().map(flag).collect::<Vec<_>>().join(" ")
    }
}

/// The static library as one object in which only `strix_` can be seen: an app may link a libjpeg, a Rust library or another
/// copy of anything beside it.
fn closed(archive: &Path, out: &Path) -> Result {
    let mut symbols = vec![];
    for name in functions(&root().join("tools/capi/include/strix.h"))? {
        symbols.extend(["-u".to_owned(), name]);
    }
    let [whole, object] = ["whole.o", "strix.o"].map(|name| out.with_file_name(name));
    let linked = run(Command::new("ld")
        .args(["-r", "--gc-sections", "--whole-archive"])
        .args(symbols)
        .arg(archive)
        .arg("-o")
        .arg(&whole));
    // Bitcode of Rust's own library is of no use to a linker, and older tools stumble over it.
    let closed = linked.and_then(|()| {
        run(Command::new("objcopy")
            .args(["--wildcard", "--keep-global-symbol=strix_*", "-R", ".llvmbc", "-R", ".llvmcmd"])
            .args([&whole, &object]))
    });
    let _ = fs::remove_file(out);
    let packed = closed.and_then(|()| run(Command::new("ar").arg("rcs").args([out, &object])));
    let _ = [fs::remove_file(whole), fs::remove_file(object)];
    packed
}

/// Names of the functions that a header declares.
fn functions(header: &Path) -> Result<Vec<String>> {
    let text = done(header, fs::read_to_string(header))?;
    let name = |line: &str| {
        let declares = !line.starts_with([' ', '/', '#']);
        let head = line.split('(').next().filter(|_| declares && line.contains('('))?;
        head.rsplit([' ', '*']).next().filter(|name| name.starts_with("strix_")).map(ToOwned::to_owned)
    };
    Ok(text.lines().filter_map(name).collect())
}

/// The version of the workspace.
fn version(manifest: &Path) -> Result<String> {
    let text = done(manifest, fs::read_to_string(manifest))?;
    let line = text.lines().find_map(|line| line.strip_prefix("version = \""));
    line.and_then(|rest| rest.strip_suffix('"')).map(ToOwned::to_owned).ok_or_else(|| {
        eprintln!("error: {}: no version", manifest.display());
        1
    })
}

fn write(template: &Path, out: &Path, fill: impl Fn(String) -> String) -> Result {
    let text = done(template, fs::read_to_string(template))?;
    done(out, fs::write(out, fill(text)))
}

fn copy(from: &Path, to: &Path) -> Result {
    done(from, fs::copy(from, to).map(drop))
}

#[cfg(unix)]
fn symlink(to: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, link)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Ok(())
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}

fn done<T>(path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|error| {
        eprintln!("error: {}: {error}", path.display());
        1
    })
}
