//! Composes every `src/*.wgsl`, validates each specialisation that can be asked for, and writes out what the
//! kernels' Rust halves need of it: the template, its bindings, its `Params` and its `Variants`.
//!
//! A kernel whose text is as it was when it was last validated by this very program is not validated again.

// Serves the library as well, as does `template.rs`.
#[path = "src/bound.rs"]
mod bound;
#[path = "build/rust.rs"]
mod rust;
#[path = "src/template.rs"]
mod template;

use naga::front::wgsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, Block, Module, Statement, StorageAccess, TypeInner};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process, thread};

use bound::Bound;
use rust::{Variant, value};

type Result<T> = std::result::Result<T, String>;

/// What kernels may use: subgroups in some variants, and WGSL's own packing of f16 into words, which needs no
/// feature of the device.
const CAPABILITIES: Capabilities = Capabilities::SUBGROUP.union(Capabilities::SHADER_FLOAT16_IN_FLOAT32);

/// What kernels that say `//~ requires: cooperative_matrix` may use as well.
const COOPERATIVE_MATRIX: Capabilities = Capabilities::COOPERATIVE_MATRIX.union(Capabilities::SHADER_FLOAT16);

fn main() {
    for path in ["src", "build", "build.rs"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    match generate(&out) {
        Ok(code) => fs::write(out.join("generated.rs"), code).expect("OUT_DIR is writable"),
        Err(message) => {
            eprintln!("{message}");
            process::exit(1);
        }
    }
}

fn generate(out: &Path) -> Result<String> {
    let mut files: Vec<_> =
        fs::read_dir("src").map_err(|e| e.to_string())?.flatten().map(|e| e.path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "wgsl"));
    files.sort();
    let mut code = String::new();
    let mut kernels = vec![];
    for file in files {
        let name = file.file_stem().and_then(|n| n.to_str()).ok_or("a kernel's name is not UTF-8")?;
        let text = compose(&file)?;
        let variants = variants(&text);
        code += &validated(&text, name, &file, &variants, out)?;
        kernels.push((name.to_owned(), variants));
    }
    Ok(code + &rust::shared(&kernels))
}

/// The kernel in Rust, of an earlier run where that can be: where it is of the same text by the same program.
fn validated(text: &str, name: &str, file: &Path, variants: &[Variant], out: &Path) -> Result<String> {
    let [text_of, code_of] = ["wgsl", "rs"].map(|end| out.join(name).with_extension(end));
    let built = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let program = env::current_exe().ok().and_then(|path| built(&path));
    if program.is_some() && built(&code_of) > program && fs::read_to_string(&text_of).is_ok_and(|t| t == text)
    {
        return fs::read_to_string(&code_of).map_err(|e| e.to_string());
    }
    let code = kernel(text, name, file, variants)?;
    // The text last: what was broken off before is not taken for whole.
    let written = fs::remove_file(&text_of).or(Ok(())).and_then(|()| fs::write(&code_of, &code));
    written.and_then(|()| fs::write(&text_of, text)).map_err(|e: std::io::Error| e.to_string())?;
    Ok(code)
}

/// The kernel's own text first, imports after it: WGSL does not mind the order, and an error in a kernel
/// without unrolled lines then names the line the author sees.
fn compose(file: &Path) -> Result<String> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let own = read(file)?;
    let mut text = own.clone();
    for name in imports(&own) {
        text += &read(&Path::new("src/common").join(name).with_extension("wgsl"))?;
    }
    Ok(text)
}

fn kernel(text: &str, name: &str, file: &Path, variants: &[Variant]) -> Result<String> {
    let chosen = product(variants);
    // Most of the build's time is naga's, and no specialisation needs another.
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let described = thread::scope(|scope| -> Result<Vec<Described>> {
        let shares = chosen.chunks(chosen.len().div_ceil(workers));
        let work = |share| describe(text, name, file, share);
        let workers: Vec<_> = shares.map(|share| scope.spawn(move || work(share))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker panics only by a bug")).collect()
    })?;
    let all = described
        .into_iter()
        .try_fold(Described::default(), |all, more| all.and(more, &file.display().to_string()))?;
    let params = all.params.as_ref().ok_or_else(|| format!("{}: no variant is legal", file.display()))?;
    let told = |(chosen, bindings): (Chosen<'_>, &str)| {
        let chosen: String = chosen.iter().map(|(n, v)| format!("({n:?}, {}),", value(v))).collect();
        format!("(&[{chosen}], {bindings}),")
    };
    let bindings: String = all.by_variants().into_iter().map(told).collect();
    let listed = |v: &Variant| {
        let values: String = v.values.iter().map(|v| value(v) + ",").collect();
        format!("({:?}, &[{values}]),", v.name)
    };
    let listed: String = variants.iter().map(listed).collect();
    Ok(format!(
        "pub mod {name} {{ static BINDINGS: &[crate::kernel::Bindings] = &[{bindings}]; {params} {} \
         pub static KERNEL: crate::Kernel = crate::Kernel {{ name: {name:?}, template: {text:?}, variants: &[{listed}], \
         bindings: BINDINGS, fields: FIELDS }}; }}\n",
        rust::variants(variants)
    ))
}

/// Values of a kernel's variants.
type Chosen<'a> = Vec<(&'a str, &'a str)>;

/// `Params` of a kernel, and the bindings of each choice.
#[derive(Default)]
struct Described<'a> {
    params: Option<String>,
    bindings: Vec<(Chosen<'a>, String)>,
}

impl<'a> Described<'a> {
    /// Both, whose `Params` must not differ.
    fn and(mut self, more: Self, path: &str) -> Result<Self> {
        if let (Some(a), Some(b)) = (&self.params, &more.params)
            && a != b
        {
            return Err(format!("{path}: Params differ by variant"));
        }
        self.params = self.params.or(more.params);
        self.bindings.extend(more.bindings);
        Ok(self)
    }

    /// The bindings, by the fewest variants that tell them.
    fn by_variants(&self) -> Vec<(Chosen<'a>, &str)> {
        let mut names: Vec<&str> =
            self.bindings.first().map_or(vec![], |(c, _)| c.iter().map(|v| v.0).collect());
        let of = |names: &[&str]| -> Option<Vec<(Chosen<'a>, &str)>> {
            let mut told: Vec<(Chosen<'a>, &str)> = vec![];
            for (chosen, bindings) in &self.bindings {
                let some: Chosen<'a> = chosen.iter().filter(|v| names.contains(&v.0)).copied().collect();
                match told.iter().find(|(same, _)| *same == some) {
                    Some((_, others)) if others != bindings => return None,
                    Some(_) => {}
                    None => told.push((some, bindings)),
                }
            }
            Some(told)
        };
        for name in names.clone() {
            let fewer: Vec<_> = names.iter().copied().filter(|n| *n != name).collect();
            if of(&fewer).is_some() {
                names = fewer;
            }
        }
        of(&names).expect("all variants tell")
    }
}

/// Renders and validates some specialisations of a kernel.
fn describe<'a>(text: &str, name: &str, file: &Path, all: &[Chosen<'a>]) -> Result<Described<'a>> {
    let mut described = Described::default();
    for chosen in all {
        let path = format!("{}{chosen:?}", file.display());
        if !template::is_legal(text, chosen).map_err(|e| format!("{path}: {e}"))? {
            continue;
        }
        let source = template::render(text, chosen).map_err(|e| format!("{path}: {e}"))?;
        let module = validate(&source, &path)?;
        let fields = fields(&module, &path)?;
        check_loops(&source, &module, &fields, &path)?;
        let bindings = vec![(chosen.clone(), bindings(&module, name, &path)?)];
        described = described.and(Described { params: Some(rust::params(&fields)), bindings }, &path)?;
    }
    Ok(described)
}

/// Names of the imports of a kernel's text, in order.
fn imports(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| Some(line.strip_prefix("#import ")?.trim()))
}

/// What a kernel can be specialised by.
fn variants(text: &str) -> Vec<Variant> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("//~ variants: "));
    lines
        .map(|line| {
            let (name, values) = line.split_once('=').expect("a variants line reads `name = values`");
            let values = values.split_whitespace().map(str::to_owned).collect();
            Variant { name: name.trim().to_owned(), values }
        })
        .collect()
}

/// Every choice of one value a variant.
fn product(variants: &[Variant]) -> Vec<Chosen<'_>> {
    let mut all = vec![vec![]];
    for Variant { name, values } in variants {
        let with = |chosen: &Vec<_>| -> Vec<Vec<(&str, &str)>> {
            values.iter().map(|v| [chosen.as_slice(), &[(name.as_str(), v.as_str())]].concat()).collect()
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

fn validate(source: &str, path: &str) -> Result<Module> {
    let mut options = wgsl::Options::new();
    options.parse_doc_comments = true;
    let parsed = wgsl::Frontend::new_with_options(options).parse(source);
    let module = parsed.map_err(|e| e.emit_to_string_with_path(source, path))?;
    let requires = source.lines().filter_map(|line| line.strip_prefix("//~ requires:"));
    let capabilities = requires.map(str::trim).try_fold(CAPABILITIES, |all, name| match name {
        "cooperative_matrix" => Ok(all.union(COOPERATIVE_MATRIX)),
        _ => Err(format!("{path}: kernels cannot require {name:?}")),
    })?;
    let checked = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
    checked.map_err(|e| e.emit_to_string_with_path(source, path))?;
    Ok(module)
}

/// Every loop must state its bound, so that none can outrun the iterations a driver runs.
fn check_loops(source: &str, module: &Module, fields: &[Field], path: &str) -> Result<()> {
    let functions =
        module.functions.iter().map(|(_, f)| f).chain(module.entry_points.iter().map(|e| &e.function));
    let loops: usize = functions.map(|f| count_loops(&f.body)).sum();
    let names: Vec<_> = fields.iter().map(|field| (field.name.as_str(), field.is_u32)).collect();
    let counted = |text| match Bound::parse(text, &names)?.value(&vec![1; names.len()]) {
        count if count.is_finite() => Ok(()),
        count => Err(format!("trips `{text}`: {count} where all of Params is 1")),
    };
    let stated: Result<Vec<()>> = template::trips(source).map(counted).collect();
    let stated = stated.map_err(|e| format!("{path}: {e}"))?.len();
    if loops == stated {
        return Ok(());
    }
    Err(format!(
        "{path}: {loops} loops, {stated} of them bounded: put `//~ trips: …` on the line before each"
    ))
}

fn count_loops(block: &Block) -> usize {
    let inside = |statement: &Statement| match statement {
        Statement::Block(block) => count_loops(block),
        Statement::If { accept, reject, .. } => count_loops(accept) + count_loops(reject),
        Statement::Switch { cases, .. } => cases.iter().map(|c| count_loops(&c.body)).sum(),
        Statement::Loop { body, continuing, .. } => 1 + count_loops(body) + count_loops(continuing),
        _ => 0,
    };
    block.iter().map(inside).sum()
}

/// The bindings as Rust has them.
fn bindings(module: &Module, name: &str, path: &str) -> Result<String> {
    if !module.entry_points.iter().any(|e| e.name == name) {
        return Err(format!("{path}: no entry point named `{name}`"));
    }
    let mut bindings: Vec<_> = module
        .global_variables
        .iter()
        .filter_map(|(_, v)| Some((v.binding?.binding, v.name.clone()?, v.space)))
        .collect();
    bindings.sort_by_key(|b| b.0);
    if bindings.first().is_none_or(|b| b.2 != AddressSpace::Uniform || b.0 != 0) {
        return Err(format!("{path}: binding 0 is not that of `params`"));
    }
    let mut s = String::from("&[");
    for (number, name, space) in &bindings {
        let access = match space {
            AddressSpace::Uniform => "Uniform",
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => "ReadWrite",
            AddressSpace::Handle => "Texels",
            _ => "Read",
        };
        let access = format!("strix_engine::Access::{access}");
        write!(s, "strix_engine::Binding {{ number: {number}, name: {name:?}, access: {access} }},")
            .expect("a String");
    }
    s.push(']');
    Ok(s)
}

/// A field of `Params`.
struct Field {
    name: String,
    docs: Vec<String>,
    /// Else f32.
    is_u32: bool,
}

/// The fields of `struct Params` as it stands in the WGSL, doc comments included.
fn fields(module: &Module, path: &str) -> Result<Vec<Field>> {
    let found = module.types.iter().find(|(_, t)| t.name.as_deref() == Some("Params"));
    let Some((handle, TypeInner::Struct { members, .. })) = found.map(|(h, t)| (h, &t.inner)) else {
        return Err(format!("{path}: no struct Params"));
    };
    let field = |(i, member): (usize, &naga::StructMember)| {
        let name = member.name.clone().unwrap_or_default();
        let docs = module.doc_comments.as_ref().and_then(|d| d.struct_members.get(&(handle, i))).cloned();
        let docs = docs.ok_or_else(|| format!("{path}: Params::{name} has no doc comment"))?;
        let is_u32 = match module.types[member.ty].inner {
            TypeInner::Scalar(naga::Scalar::F32) => false,
            TypeInner::Scalar(naga::Scalar::U32) => true,
            _ => return Err(format!("{path}: Params::{name} is neither u32 nor f32")),
        };
        Ok(Field { name, docs, is_u32 })
    };
    members.iter().enumerate().map(field).collect()
}
