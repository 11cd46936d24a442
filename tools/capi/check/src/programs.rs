//! Programs in C and C++, by every compiler that is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::Done;
use crate::place::{Place, has, output, run};

const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// A language that programs are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    C,
    Cpp,
}

impl Language {
    /// The compilers of it that are there, and those that are not.
    fn compilers(self) -> (Vec<&'static str>, Vec<&'static str>) {
        let all = match self {
            Self::C => ["gcc", "clang"],
            Self::Cpp => ["g++", "clang++"],
        };
        all.into_iter().partition(|compiler| has(compiler))
    }

    fn standard(self) -> &'static str {
        match self {
            Self::C => "-std=c99",
            Self::Cpp => "-std=c++17",
        }
    }

    /// The sources of the program that uses everything.
    fn sources(self, place: &Place) -> Result<Vec<PathBuf>> {
        let (folder, ending) = match self {
            Self::C => ("c", "c"),
            Self::Cpp => ("cpp", "cpp"),
        };
        let files = fs::read_dir(place.capi.join("check").join(folder))?;
        let mut files: Vec<_> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
        files.retain(|file| file.extension().is_some_and(|found| found == ending));
        files.sort();
        Ok(files)
    }
}

/// What some compilers that are not here leave unchecked.
fn done(mut missing: Vec<&str>) -> Done {
    missing.dedup();
    if missing.is_empty() {
        Done::Ok
    } else {
        Done::Skipped(format!("no {}: the rest is ok", missing.join(", ")))
    }
}

/// The headers give no warning, in any standard.
pub(crate) fn compilers(place: &Place) -> Result<Done> {
    let (c, no_c) = Language::C.compilers();
    let (cpp, no_cpp) = Language::Cpp.compilers();
    let source = |ending: &str, header: &str| -> Result<PathBuf> {
        let path = place.work.join(format!("include_{}.{ending}", header.replace('.', "_")));
        fs::write(&path, format!("#include <{header}>\n#include <{header}>\n"))?;
        Ok(path)
    };
    let compile = |compiler: &str, standard: &str, source: &Path| {
        let standard = format!("-std={standard}");
        run(Command::new(compiler)
            .args(STRICT)
            .args(
                [&standard, "-fsyntax-only", "-Wstrict-prototypes"]
                    .iter()
                    .filter(|flag| !(flag.starts_with("-Wstrict") && compiler.ends_with("++"))),
            )
            .arg("-I")
            .arg(place.include())
            .arg(source))?;
        println!("{compiler} {standard}: no warning");
        Ok::<_, anyhow::Error>(())
    };
    for compiler in &c {
        for standard in ["c99", "c11", "c17", "c2x"] {
            compile(compiler, standard, &source("c", "strix.h")?)?;
        }
    }
    for compiler in &cpp {
        for standard in ["c++11", "c++17", "c++20"] {
            compile(compiler, standard, &source("cpp", "strix.h")?)?;
        }
        for standard in ["c++17", "c++20"] {
            compile(compiler, standard, &source("cpp", "strix.hpp")?)?;
        }
    }
    Ok(done([no_c, no_cpp].concat()))
}

/// How a program is built and run.
struct Build<'a> {
    compiler: &'a str,
    language: Language,
    is_static: bool,
    sanitizer: Option<&'a str>,
}

impl Build<'_> {
    /// Builds sources; the program's path.
    fn build(&self, place: &Place, name: &str, sources: &[PathBuf]) -> Result<PathBuf> {
        let Self { compiler, language, is_static, sanitizer } = self;
        let binary = place.work.join(name);
        let mut command = Command::new(compiler);
        command.args(STRICT).args([language.standard(), "-D_POSIX_C_SOURCE=200809L", "-g", "-O1", "-I"]);
        command.arg(place.include());
        if let Some(sanitizer) = sanitizer {
            command.args([
                &format!("-fsanitize={sanitizer}"),
                "-fno-sanitize-recover=all",
                "-fno-omit-frame-pointer",
            ]);
        }
        command.args(sources).arg("-o").arg(&binary);
        if *is_static {
            command.arg(place.lib().join("libstrix.a")).args(["-lgcc_s", "-lrt", "-ldl"]);
        } else {
            let lib = place.lib().display().to_string();
            command.args([&format!("-L{lib}"), "-lstrix", &format!("-Wl,-rpath,{lib}")]);
        }
        run(command.args(["-lpthread", "-lm"]))?;
        Ok(binary)
    }
}

/// Runs the program that uses everything.
fn check(place: &Place, mut command: Command, quick: bool) -> Result<()> {
    command.arg(place.picture()).arg(place.empty("written")?).arg(place.root.join("model/nano"));
    if quick {
        command.arg("quick");
    }
    run(&mut command)
}

/// The examples are built, and the first is run.
pub(crate) fn examples(place: &Place) -> Result<Done> {
    let mut missing = vec![];
    for (language, name) in [
        (Language::C, "ask.c"),
        (Language::C, "cancel.c"),
        (Language::C, "schema.c"),
        (Language::Cpp, "chat.cpp"),
    ] {
        let (compilers, absent) = language.compilers();
        missing.extend(absent);
        for compiler in compilers {
            let build = Build { compiler, language, is_static: false, sanitizer: None };
            let binary =
                build.build(place, &name.replace('.', "_"), &[place.capi.join("examples").join(name)])?;
            if name == "chat.cpp" {
                continue;
            }
            let said = output(Command::new(binary).arg(place.picture()).arg("What is in the picture?"))?;
            println!("{name} by {compiler}: {}", said.trim());
        }
    }
    Ok(done(missing))
}

/// An app has functions of the names that are within the libraries.
pub(crate) fn clash(place: &Place) -> Result<Done> {
    let pictures = fs::read_dir(place.root.join("tests/cases/jpeg"))?;
    let mut jpegs: Vec<PathBuf> = pictures.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    jpegs.retain(|path| path.extension().is_some_and(|found| found == "jpg"));
    jpegs.sort();
    let (Some(jpeg), true) = (jpegs.first(), has("gcc")) else { bail!("no JPEG, or no gcc") };
    for is_static in [true, false] {
        let build = Build { compiler: "gcc", language: Language::C, is_static, sanitizer: None };
        let binary = build.build(place, "clash", &[place.capi.join("check/clash/clash.c")])?;
        run(Command::new(binary).arg(jpeg))?;
    }
    Ok(Done::Ok)
}

/// Built by each compiler, with the shared library and with the static one.
pub(crate) fn plain(place: &Place, quick: bool) -> Result<Done> {
    let mut missing = vec![];
    for language in [Language::C, Language::Cpp] {
        let (compilers, absent) = language.compilers();
        missing.extend(absent);
        for (i, compiler) in compilers.into_iter().enumerate() {
            // One links the shared library, the other the static one; without hurry each does both.
            for is_static in [false, true].into_iter().filter(|&is_static| !quick || is_static == (i == 1)) {
                println!("\n{compiler}, {}", if is_static { "libstrix.a" } else { "libstrix.so" });
                let build = Build { compiler, language, is_static, sanitizer: None };
                let binary = build.build(place, "check", &language.sources(place)?)?;
                check(place, Command::new(binary), false)?;
            }
        }
    }
    Ok(done(missing))
}

/// Built with a sanitizer on the side of C and C++. Rust's side is not built with it; what it is called with, and what it
/// gives, is looked at.
pub(crate) fn sanitized(place: &Place, sanitizer: &str, quick: bool) -> Result<Done> {
    let suppressions = place.capi.join("check/suppressions");
    let lsan = format!("suppressions={}:print_suppressions=0", suppressions.join("lsan.txt").display());
    // Locks of Rust are not seen from outside: what code that is not built so does is not judged.
    let tsan = "ignore_noninstrumented_modules=1:halt_on_error=1:second_deadlock_stack=1".to_owned();
    let mut missing = vec![];
    for language in [Language::C, Language::Cpp] {
        let (compilers, absent) = language.compilers();
        missing.extend(absent);
        for compiler in compilers.into_iter().take(if quick { 1 } else { 2 }) {
            println!("\n{compiler} -fsanitize={sanitizer}");
            let build = Build { compiler, language, is_static: false, sanitizer: Some(sanitizer) };
            let flag = format!("-fsanitize={sanitizer}");
            let empty = place.work.join("empty.c");
            fs::write(&empty, "int main(void) { return 0; }\n")?;
            let mut tries = Command::new(compiler);
            tries.args(["-x", "c", &flag]).arg(&empty).arg("-o").arg(place.work.join("empty"));
            if !tries.output()?.status.success() {
                missing.push(if compiler.starts_with("clang") { "libclang-rt" } else { "libsanitizer" });
                continue;
            }
            let binary = build.build(place, "check_sanitized", &language.sources(place)?)?;
            let mut command = Command::new(binary);
            command
                .env("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1")
                .env("UBSAN_OPTIONS", "print_stacktrace=1")
                .env("LSAN_OPTIONS", &lsan)
                .env("TSAN_OPTIONS", &tsan);
            // Drivers load slowly under it.
            check(place, command, sanitizer == "thread")?;
        }
    }
    Ok(done(missing))
}

/// Under valgrind, which sees both sides.
pub(crate) fn valgrind(place: &Place) -> Result<Done> {
    if !has("valgrind") {
        return Ok(Done::Skipped("there is no valgrind".into()));
    }
    let suppressions = place.capi.join("check/suppressions/valgrind.supp");
    for (language, compiler) in [(Language::C, "gcc"), (Language::Cpp, "g++")] {
        println!("\n{compiler}, valgrind");
        let build = Build { compiler, language, is_static: false, sanitizer: None };
        let binary = build.build(place, "check_valgrind", &language.sources(place)?)?;
        let mut command = Command::new("valgrind");
        command
            .args(["--quiet", "--fair-sched=yes", "--leak-check=full", "--show-leak-kinds=definite,indirect"])
            .args(["--errors-for-leak-kinds=definite,indirect", "--error-exitcode=9"])
            .arg(format!("--suppressions={}", suppressions.display()))
            .arg(binary);
        check(place, command, true)?;
    }
    println!("valgrind: no error, nothing lost");
    Ok(Done::Ok)
}

/// Whether a built program prints what is expected.
pub(crate) fn answers(place: &Place, binary: &Path) -> Result<()> {
    let said = output(Command::new(binary).arg(place.picture()).arg("What is in the picture?"))?;
    println!("{}: {}", binary.display(), said.trim());
    if !said.contains("circle") {
        bail!("{} says {said:?}", binary.display());
    }
    Ok(())
}
