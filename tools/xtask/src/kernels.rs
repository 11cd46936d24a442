//! `cargo xtask kernels`: writes out what the kernels' Rust halves need of every `shaders/src/*.wgsl`: its text with its
//! imports, its `Params` and its `Variants`.
//!
//! What is written is checked in, so that an app which depends on Strix builds nothing for it. A test here refuses what
//! is not as the kernels are; `tests/tests/portability.rs` validates every specialisation and compares it with what is
//! declared here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

type Result<T> = std::result::Result<T, String>;

/// Where the kernels are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shaders/src");

/// Writes the files anew.
pub(crate) fn write() -> Result<()> {
    let files = files()?;
    let folder = Path::new(FOLDER).join("generated");
    let known = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for left in known.filter(|path| !files.iter().any(|file| file.0 == *path)) {
        fs::remove_file(&left).map_err(|e| format!("{}: {e}", left.display()))?;
        println!("removed {}", left.display());
    }
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for (path, code) in files {
        if fs::read_to_string(&path).is_ok_and(|old| old == code) {
            continue;
        }
        let part = path.with_extension("part");
        fs::write(&part, code)
            .and_then(|()| fs::rename(&part, &path))
            .map_err(|e| format!("{}: {e}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// The files, each with what it should hold.
fn files() -> Result<Vec<(PathBuf, String)>> {
    let folder = Path::new(FOLDER);
    let listed = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut paths: Vec<_> = listed.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "wgsl"));
    paths.sort();
    let kernels = paths.iter().map(|path| Kernel::read(path)).collect::<Result<Vec<_>>>()?;
    let out = |name: &str| folder.join("generated").join(name).with_extension("rs");
    let mut files = vec![(folder.join("generated.rs"), list(&kernels)), (out("variants"), words(&kernels))];
    files.extend(kernels.iter().map(|kernel| (out(&kernel.name), kernel.code())));
    files.into_iter().map(|(path, code)| Ok((path, formatted(&code)?))).collect()
}

/// As rustfmt has it, by the house's settings.
fn formatted(code: &str) -> Result<String> {
    let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path", settings])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("rustfmt: {e}; `rustup component add rustfmt` installs it"))?;
    let mut input = child.stdin.take().ok_or("rustfmt takes no input")?;
    input.write_all(code.as_bytes()).map_err(|e| format!("rustfmt: {e}"))?;
    drop(input);
    let output = child.wait_with_output().map_err(|e| format!("rustfmt: {e}"))?;
    match output.status.success() {
        true => String::from_utf8(output.stdout).map_err(|e| e.to_string()),
        false => Err(format!("rustfmt refuses:\n{code}")),
    }
}

/// What a WGSL file says of its kernel.
struct Kernel {
    name: String,
    /// Files of `common` that are joined on, in order.
    imports: Vec<String>,
    variants: Vec<Variant>,
    fields: Vec<Field>,
}

/// Something a kernel can be specialised by.
struct Variant {
    name: String,
    values: Vec<String>,
}

/// A field of `Params`.
struct Field {
    name: String,
    /// Lines, with their slashes.
    docs: Vec<String>,
    /// `u32` or `f32`.
    ty: String,
}

/// Rust type of the values of a variant.
enum Kind {
    /// `no yes`: a bool.
    Flag,
    /// Numbers: a u32.
    Numbers,
    /// Words, or words and numbers: an enum, the same for all kernels with a variant of that name.
    Words,
}

impl Kernel {
    fn read(path: &Path) -> Result<Self> {
        let read = |path: &Path| fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
        let own = read(path)?;
        let name = path.file_stem().and_then(|name| name.to_str()).ok_or("a kernel's name is not UTF-8")?;
        let named = |begin: &str| -> Vec<String> {
            own.lines().filter_map(|line| Some(line.strip_prefix(begin)?.trim().to_owned())).collect()
        };
        let imports = named("#import ");
        let common = Path::new(FOLDER).join("common");
        let mut text = own.clone();
        for import in &imports {
            text += &read(&common.join(import).with_extension("wgsl"))?;
        }
        let variant = |line: &String| -> Result<Variant> {
            let (name, values) = line.split_once('=').ok_or_else(|| {
                format!("{}: `//~ variants: {line}`: write `name = values`", path.display())
            })?;
            let values = values.split_whitespace().map(str::to_owned).collect();
            Ok(Variant { name: name.trim().to_owned(), values })
        };
        // Those of imports count too: they stand in the same text.
        let variants =
            text.lines().filter_map(|line| Some(line.strip_prefix("//~ variants: ")?.trim().to_owned()));
        Ok(Self {
            name: name.to_owned(),
            imports,
            variants: variants.map(|line| variant(&line)).collect::<Result<_>>()?,
            fields: fields(&text).map_err(|e| format!("{}: {e}", path.display()))?,
        })
    }

    fn code(&self) -> String {
        let Self { name, imports, variants, fields } = self;
        let texts: String =
            imports.iter().map(|import| format!(", include_str!(\"../common/{import}.wgsl\")")).collect();
        let own = format!("include_str!(\"../{name}.wgsl\")");
        let template = if texts.is_empty() { own } else { format!("concat!({own}{texts})") };
        let listed = |v: &Variant| {
            let values: Vec<_> = v.values.iter().map(|v| value(v)).collect();
            format!("({:?}, &[{}])", v.name, values.join(", "))
        };
        let listed: Vec<_> = variants.iter().map(listed).collect();
        let ty = |v: &Variant| match v.kind() {
            Kind::Flag => "bool".into(),
            Kind::Numbers => "u32".into(),
            Kind::Words => format!("super::variants::{}", camel(&v.name)),
        };
        let typed: String = variants.iter().map(|v| format!("pub {}: {},", v.name, ty(v))).collect();
        let values: Vec<_> = variants.iter().map(|v| format!("self.{}.into()", v.name)).collect();
        let params: String = fields
            .iter()
            .map(|Field { name, docs, ty }| format!("{}\npub {name}: {ty},\n", docs.join("\n")))
            .collect();
        let named: Vec<_> = fields.iter().map(|f| format!("({:?}, {})", f.name, f.ty == "u32")).collect();
        format!(
            "//! Written by `cargo xtask kernels` from `{name}.wgsl`.\n\n\
             use crate::{{Kernel, Value}};\n\n\
             /// The kernel's parameters, as its WGSL declares them.\n#[repr(C)]\n\
             #[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]\n\
             pub struct Params {{ {params} }}\n\n\
             /// What the kernel can be specialised by.\n#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]\n\
             pub struct Variants {{ {typed} }}\n\n\
             impl crate::Variants for Variants {{ const KERNEL: &'static Kernel = &KERNEL;\n\n\
             fn values(&self) -> Vec<Value> {{ vec![{}] }} }}\n\n\
             pub static KERNEL: Kernel = Kernel {{ name: {name:?}, \
             template: {template}, \
             variants: &[{}], fields: &[{}] }};\n",
            values.join(", "),
            listed.join(", "),
            named.join(", ")
        )
    }
}

/// The fields of `struct Params` in a composed text, where each stands on a line of its own after its doc comment.
fn fields(text: &str) -> Result<Vec<Field>> {
    let mut lines = text.lines().skip_while(|line| *line != "struct Params {").skip(1).map(str::trim);
    let (mut fields, mut docs) = (vec![], vec![]);
    loop {
        let line = lines.next().ok_or("no `struct Params {` that ends")?;
        if line == "}" {
            return Ok(fields);
        }
        if line.starts_with("///") {
            docs.push(line.to_owned());
            continue;
        }
        let field = line.strip_suffix(',').and_then(|line| line.split_once(": "));
        let Some((name, ty @ ("u32" | "f32"))) = field else {
            return Err(format!("`{line}` in Params: write `name: u32,` or `name: f32,`"));
        };
        if docs.is_empty() {
            return Err(format!("Params::{name} has no doc comment"));
        }
        fields.push(Field { name: name.to_owned(), docs: std::mem::take(&mut docs), ty: ty.to_owned() });
    }
}

impl Variant {
    fn kind(&self) -> Kind {
        if self.values == ["no", "yes"] {
            Kind::Flag
        } else if self.values.iter().all(|value| number(value).is_some()) {
            Kind::Numbers
        } else {
            Kind::Words
        }
    }
}

fn number(value: &str) -> Option<u32> {
    value.parse().ok()
}

/// A value as an expression of type `Value`.
fn value(value: &str) -> String {
    match number(value) {
        Some(number) => format!("Value::Number({number})"),
        None => format!("Value::Word({value:?})"),
    }
}

/// `quick_gelu` as `QuickGelu`.
fn camel(word: &str) -> String {
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    word.split('_').map(capital).collect()
}

/// `generated.rs`: the modules, and the list of kernels.
fn list(kernels: &[Kernel]) -> String {
    let modules: String = kernels.iter().map(|kernel| format!("pub mod {};\n", kernel.name)).collect();
    let all: Vec<_> = kernels.iter().map(|kernel| format!("&{}::KERNEL", kernel.name)).collect();
    format!(
        "//! What `cargo xtask kernels` read out of the WGSL: a `KERNEL`, a `Params` and a `Variants` for each kernel.\n\n\
         #![allow(missing_docs, reason = \"one module a kernel; the kernels' own modules are the documentation\")]\n\
         #![allow(rustdoc::broken_intra_doc_links, reason = \"WGSL comments name array elements: `wanted[0]`\")]\n\n\
         {modules}pub mod variants;\n\n/// Every kernel.\npub static KERNELS: &[&crate::Kernel] = &[{}];\n",
        all.join(", ")
    )
}

/// `variants.rs`: the types of variants whose values are words.
fn words(kernels: &[Kernel]) -> String {
    let mut words: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for variant in kernels.iter().flat_map(|kernel| &kernel.variants) {
        if let Kind::Words = variant.kind() {
            let all = words.entry(&variant.name).or_default();
            let new: Vec<_> =
                variant.values.iter().map(String::as_str).filter(|v| !all.contains(v)).collect();
            all.extend(new);
        }
    }
    let types: Vec<_> = words.iter().map(|(name, values)| words_type(name, values)).collect();
    format!(
        "//! Written by `cargo xtask kernels`: values of variants that are words; of those that several kernels have, what any \
         of\n//! them has.\n\nuse crate::Value;\n\n{}",
        types.join("\n\n") + "\n"
    )
}

/// The enum of a variant's words; its numbers, if it has some, are one case.
fn words_type(name: &str, values: &[&str]) -> String {
    let name = camel(name);
    let mut cases = vec![];
    let mut arms = vec![];
    for word in values.iter().filter(|value| number(value).is_none()) {
        let case = camel(word);
        arms.push(format!("{name}::{case} => Self::Word({word:?})"));
        cases.push(case);
    }
    if values.iter().any(|value| number(value).is_some()) {
        cases.push("Of(u32)".to_owned());
        arms.push(format!("{name}::Of(number) => Self::Number(number)"));
    }
    let mut code = format!(
        "#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]\npub enum {name} {{ {} }}\n\n",
        cases.join(", ")
    );
    write!(
        code,
        "impl From<{name}> for Value {{ fn from(value: {name}) -> Self {{ match value {{ {} }} }} }}",
        arms.join(", ")
    )
    .expect("a String");
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_as_the_kernels_are() {
        let files = files().unwrap();
        let folder = Path::new(FOLDER).join("generated");
        assert_eq!(fs::read_dir(folder).unwrap().count() + 1, files.len(), "run `cargo xtask kernels`");
        for (path, code) in files {
            // Git may have made Windows' ends of lines.
            let written = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
            assert!(written == code.replace("\r\n", "\n"), "{}: run `cargo xtask kernels`", path.display());
        }
    }

    #[test]
    fn params_that_are_not_declared_plainly_are_refused_with_their_line() {
        let error = |text: &str| fields(text).err().unwrap_or_default();
        assert!(error("struct Params {\n    dim: u32,\n}").contains("Params::dim has no doc comment"));
        assert!(error("struct Params {\n    /// A.\n    dim: i32,\n}").contains("`dim: i32,`"));
        assert!(error("struct Params {\n    /// A.\n    dim: u32,\n").contains("that ends"));
        assert!(error("fn params() {}").contains("no `struct Params {`"));
    }
}
