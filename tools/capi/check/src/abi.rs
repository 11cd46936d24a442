//! What callers of an earlier library rely on: declarations, symbols, layouts.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::Done;
use crate::header::{self, Struct};
use crate::place::{Place, has, output, read, run, same};

/// The committed header is what cbindgen makes of the sources.
pub(crate) fn header(place: &Place, bless: bool) -> Result<Done> {
    let (path, _) = place.header()?;
    same(&path, &header::generate(&place.capi)?, bless)?;
    Ok(Done::Ok)
}

/// Both libraries show the functions of the header, those that were committed, and nothing else.
pub(crate) fn symbols(place: &Place, bless: bool) -> Result<Done> {
    let (_, text) = place.header()?;
    let mut declared: Vec<String> = header::functions(&text).into_iter().map(|(_, name)| name).collect();
    declared.sort();
    let list = declared.join("\n") + "\n";
    println!("{list}{} functions", declared.len());
    same(&place.capi.join("abi/symbols.txt"), &list, bless)?;
    for (library, flags) in [("libstrix.so", &["-D"][..]), ("libstrix.a", &["-g"])] {
        let seen =
            output(Command::new("nm").args(flags).arg("--defined-only").arg(place.lib().join(library)))?;
        let mut seen: Vec<String> =
            seen.lines().filter_map(|line| line.split_whitespace().nth(2)).map(ToOwned::to_owned).collect();
        seen.sort();
        let more: Vec<_> = seen.iter().filter(|name| !declared.contains(name)).collect();
        let less: Vec<_> = declared.iter().filter(|name| !seen.contains(name)).collect();
        if !more.is_empty() || !less.is_empty() {
            bail!("{library} shows {more:?} beyond the header, and lacks {less:?}");
        }
        println!("{library}: these {} and nothing else", seen.len());
    }
    Ok(Done::Ok)
}

/// Sizes, offsets and values are those that were committed, with no padding.
pub(crate) fn layout(place: &Place, bless: bool) -> Result<Done> {
    let (_, text) = place.header()?;
    let structs = header::structs(&text);
    if structs.is_empty() {
        bail!("strix.h: no struct is found");
    }
    let mut program =
        "#include <stddef.h>\n#include <stdio.h>\n#include <strix.h>\nint main(void) {\n".to_owned();
    for Struct { name, fields } in structs {
        writeln!(program, "printf(\"{name} %zu\\n\", sizeof({name}));")?;
        for field in fields {
            writeln!(
                program,
                "printf(\"{name}.{field} at %zu, %zu\\n\", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));"
            )?;
        }
    }
    for value in header::enums(&text) {
        writeln!(program, "printf(\"{value} %d\\n\", (int){value});")?;
    }
    program += "return 0;\n}\n";
    let (source, binary) = (place.work.join("layout.c"), place.work.join("layout"));
    fs::write(&source, program)?;
    run(Command::new("gcc").arg("-I").arg(place.include()).arg(&source).arg("-o").arg(&binary))?;
    let dump = output(&mut Command::new(&binary))?;
    if let Some(line) = padding(&dump) {
        bail!("{line}: there is padding before its end or before this field, which callers leave unset");
    }
    if !cfg!(all(target_os = "linux", target_pointer_width = "64")) {
        return Ok(Done::Skipped("what was committed is of 64-bit Linux".into()));
    }
    same(&place.capi.join("abi/layout.txt"), &dump, bless)?;
    println!("{} lines as committed", dump.lines().count());
    Ok(Done::Ok)
}

/// The first line of a dump of layouts that has padding: a field not where the one before ends, or a struct that does not end
/// with its last.
pub(crate) fn padding(dump: &str) -> Option<&str> {
    let mut whole: Option<(&str, usize)> = None;
    let mut at = 0;
    for line in dump.lines() {
        let mut numbers = line.split([' ', ',']).filter_map(|word| word.parse::<usize>().ok());
        let (first, size) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        if line.contains(" at ") {
            if first != at {
                return Some(line);
            }
            at += size;
        } else {
            // Behind the structs are values of enums.
            let next = (!line.starts_with("STRIX_")).then_some((line, first));
            if let Some((line, size)) = std::mem::replace(&mut whole, next)
                && size != at
            {
                return Some(line);
            }
            at = 0;
        }
    }
    whole.filter(|&(_, size)| size != at).map(|(line, _)| line)
}

/// abidiff finds no change of functions and types. It is shown a library with the header's declarations and their debug
/// information: Rust's own does not say what C sees.
pub(crate) fn diff(place: &Place, bless: bool) -> Result<Done> {
    if !has("abidw") || !has("abidiff") {
        return Ok(Done::Skipped("there is no abidiff: apt-get install abigail-tools".into()));
    }
    let (_, text) = place.header()?;
    let mut stub = "#include <strix.h>\n".to_owned();
    for (declared, _) in header::functions(&text) {
        writeln!(stub, "{declared} {{ __builtin_trap(); }}")?;
    }
    let (source, library) = (place.work.join("stub.c"), place.work.join("libstub.so"));
    fs::write(&source, stub)?;
    run(Command::new("gcc")
        .args(["-g", "-shared", "-fPIC", "-gno-as-loc-support", "-I"])
        .arg(place.include())
        .arg(&source)
        .arg("-o")
        .arg(&library))?;
    let (now, committed) = (place.work.join("strix.abi"), place.capi.join("abi/strix.abi"));
    run(Command::new("abidw")
        .args(["--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--type-id-style", "hash"])
        .arg(&library)
        .arg("--out-file")
        .arg(&now))?;
    if bless {
        fs::copy(&now, &committed)?;
        println!("written: {}", committed.display());
        return Ok(Done::Ok);
    }
    read(&committed)?;
    let said = Command::new("abidiff").arg(&committed).arg(&now).output()?;
    print!("{}", String::from_utf8_lossy(&said.stdout));
    if !said.status.success() {
        bail!("the interface has changed: see above, and `cargo xtask capi --bless`");
    }
    println!("abidiff finds no change");
    Ok(Done::Ok)
}
