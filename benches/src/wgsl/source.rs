//! A kernel's text: its entry points, what they bind, and what they need of a device.

use std::path::{Path, PathBuf};

use naga::front::wgsl;
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{
    AddressSpace, ArraySize, Expression, GlobalVariable, Handle, ImageClass, ImageDimension, Module,
    ScalarKind, ShaderStage, SourceLocation, Span, StorageAccess, StorageFormat, Type, TypeInner,
};
use strix_engine::wgpu::Features;
use strix_model::read::read_file;

use super::expression::listed;
use crate::{Error, Result};

/// What a file of WGSL may be at most.
const MOST_BYTES: u64 = 16 << 20;

/// What kernels may use that not every device has, as naga and as wgpu know it.
const NEEDS: [(Capabilities, Features, &str); 13] = [
    (Capabilities::SHADER_FLOAT16, Features::SHADER_F16, "16-bit floats (enable f16)"),
    (Capabilities::SUBGROUP, Features::SUBGROUP, "operations of subgroups"),
    (Capabilities::SUBGROUP_BARRIER, Features::SUBGROUP_BARRIER, "barriers of subgroups"),
    (Capabilities::IMMEDIATES, Features::IMMEDIATES, "immediates (push constants)"),
    (Capabilities::FLOAT64, Features::SHADER_F64, "64-bit floats"),
    (Capabilities::SHADER_INT64, Features::SHADER_INT64, "64-bit integers"),
    (Capabilities::SHADER_INT64_ATOMIC_MIN_MAX, Features::SHADER_INT64_ATOMIC_MIN_MAX, "64-bit atomics"),
    (Capabilities::SHADER_INT64_ATOMIC_ALL_OPS, Features::SHADER_INT64_ATOMIC_ALL_OPS, "64-bit atomics"),
    (Capabilities::SHADER_FLOAT32_ATOMIC, Features::SHADER_FLOAT32_ATOMIC, "atomics of f32"),
    (Capabilities::TEXTURE_ATOMIC, Features::TEXTURE_ATOMIC, "atomics of textures"),
    (Capabilities::SHADER_INT16, Features::SHADER_I16, "16-bit integers"),
    (
        Capabilities::COOPERATIVE_MATRIX,
        Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
        "cooperative matrices (on some devices they need --family coop)",
    ),
    (
        Capabilities::STORAGE_TEXTURE_16BIT_NORM_FORMATS,
        Features::TEXTURE_FORMAT_16BIT_NORM,
        "storage textures of 16-bit norms",
    ),
];

/// Features that a device for kernels of others is opened with, where it has them.
pub const FEATURES: Features = Features::SUBGROUP_BARRIER
    .union(Features::IMMEDIATES)
    .union(Features::SHADER_F64)
    .union(Features::SHADER_INT64)
    .union(Features::SHADER_INT64_ATOMIC_MIN_MAX)
    .union(Features::SHADER_INT64_ATOMIC_ALL_OPS)
    .union(Features::SHADER_FLOAT32_ATOMIC)
    .union(Features::TEXTURE_ATOMIC)
    .union(Features::SHADER_I16)
    .union(Features::TEXTURE_FORMAT_16BIT_NORM)
    .union(Features::FLOAT32_FILTERABLE)
    .union(Features::TEXTURE_ADAPTER_SPECIFIC_FORMAT_FEATURES);

/// A file of WGSL that has been read and checked.
#[derive(Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    pub(super) module: Module,
    pub(super) info: ModuleInfo,
}

/// What a binding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A uniform buffer.
    Uniform,
    /// A storage buffer, and whether the kernel may write it.
    Storage {
        /// Whether it may be written.
        writes: bool,
    },
    /// A texture to load from or to sample.
    Texture {
        /// Dimensions of a texel's place.
        dimension: ImageDimension,
        /// What a texel gives.
        kind: ScalarKind,
    },
    /// A texture to store to, and maybe to load from.
    StorageTexture {
        /// Dimensions of a texel's place.
        dimension: ImageDimension,
        /// Its format.
        format: StorageFormat,
        /// What may be done.
        access: StorageAccess,
    },
    /// A sampler.
    Sampler,
    /// Immediate data: it is no binding, but has values as a uniform has.
    Immediate,
}

/// A variable that an entry point uses and the host provides.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Its name.
    pub name: String,
    /// Its group and number; zeros of immediates.
    pub place: [u32; 2],
    /// What it is.
    pub kind: Kind,
    /// Bytes of what has a fixed size.
    pub fixed_bytes: u64,
    /// Bytes of an element of the array at its end whose length is open.
    pub stride: Option<u64>,
    /// Kind and bytes of its numbers, if they are all the same.
    pub scalar: Option<(ScalarKind, u8)>,
    pub(super) ty: Handle<Type>,
    pub(super) variable: Handle<GlobalVariable>,
}

impl Source {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is no WGSL: naga's message, with the line.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = read_file(path, MOST_BYTES)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::Kernel { path: path.to_owned(), reason: "it is no text in UTF-8".into() })?;
        Self::parse(path, text)
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    ///
    /// If it is no WGSL: naga's message, with the line.
    pub fn parse(path: &Path, text: String) -> Result<Self> {
        let text = without_subgroups(text);
        let fail = |places: Vec<Span>, message: String| {
            // Of several places the narrowest is what is wrong.
            let narrowest = places
                .into_iter()
                .filter(Span::is_defined)
                .min_by_key(|s| s.to_range().map_or(0, |r| r.len()));
            Error::Wgsl { place: at(path, &text, narrowest.map(|span| span.location(&text))), message }
        };
        let module = wgsl::parse_str(&text)
            .map_err(|e| fail(e.labels().map(|(span, _)| span).collect(), e.message().to_owned()))?;
        let info = validated(&module, Capabilities::all())
            .map_err(|e| fail(e.spans().map(|(span, _)| *span).collect(), chain(e.as_inner())))?;
        Ok(Self { path: path.to_owned(), text, module, info })
    }

    /// Names of its compute kernels.
    pub fn entries(&self) -> Vec<&str> {
        let compute = self.module.entry_points.iter().filter(|entry| entry.stage == ShaderStage::Compute);
        compute.map(|entry| entry.name.as_str()).collect()
    }

    /// The kernel of that name, or the only one.
    ///
    /// # Errors
    ///
    /// If there is none, or it must be named.
    pub fn entry(&self, wanted: Option<&str>) -> Result<&str> {
        let entries = self.entries();
        let found = match (wanted, &*entries) {
            (Some(name), all) => all.iter().find(|entry| **entry == name).copied(),
            (None, [only]) => Some(*only),
            _ => None,
        };
        found.ok_or_else(|| {
            self.error(match (wanted, entries.is_empty()) {
                (_, true) => "it has no @compute function".into(),
                (Some(name), _) => format!("it has no kernel {name:?}; there are {}", listed(&entries)),
                (None, _) => format!("name one of its kernels with --entry: {}", listed(&entries)),
            })
        })
    }

    /// An error of this file.
    pub fn error(&self, reason: String) -> Error {
        Error::Kernel { path: self.path.clone(), reason }
    }

    /// What a kernel binds, by group and number; immediates come last.
    ///
    /// # Errors
    ///
    /// If it binds what cannot be given.
    pub fn bindings(&self, entry: &str) -> Result<Vec<Binding>> {
        let (module, at) = (&self.module, self.index(entry));
        let used = |h: &Handle<GlobalVariable>| !self.info.get_entry_point(at)[*h].is_empty();
        let variables = module.global_variables.iter().filter(|(handle, _)| used(handle));
        let mut bindings = vec![];
        for (variable, global) in variables {
            if global.binding.is_some() || global.space == AddressSpace::Immediate {
                bindings.push(self.binding(variable, global)?);
            }
        }
        bindings.sort_by_key(|b: &Binding| (b.kind == Kind::Immediate, b.place));
        Ok(bindings)
    }

    fn index(&self, entry: &str) -> usize {
        let is = |e: &naga::EntryPoint| e.name == entry && e.stage == ShaderStage::Compute;
        self.module.entry_points.iter().position(is).unwrap_or_default()
    }

    fn binding(&self, variable: Handle<GlobalVariable>, global: &GlobalVariable) -> Result<Binding> {
        let name = global.name.clone().unwrap_or_default();
        let place = global.binding.as_ref().map_or([0, 0], |b| [b.group, b.binding]);
        let inner = &self.module.types[global.ty].inner;
        let unknown = |what: &str| self.error(format!("{name} is {what}, which cannot be given here"));
        let kind = match (global.space, inner) {
            (AddressSpace::Uniform, _) => Kind::Uniform,
            (AddressSpace::Immediate, _) => Kind::Immediate,
            (AddressSpace::Storage { access }, TypeInner::Array { .. } | TypeInner::Struct { .. })
            | (AddressSpace::Storage { access }, TypeInner::Scalar(_) | TypeInner::Vector { .. })
            | (AddressSpace::Storage { access }, TypeInner::Matrix { .. } | TypeInner::Atomic(_)) => {
                Kind::Storage { writes: access.contains(StorageAccess::STORE) }
            }
            (_, TypeInner::Sampler { comparison: false }) => Kind::Sampler,
            (_, TypeInner::Image { dim, arrayed: false, class }) if *dim != ImageDimension::Cube => {
                match *class {
                    ImageClass::Sampled { kind, multi: false } => Kind::Texture { dimension: *dim, kind },
                    ImageClass::Storage { format, access } => {
                        Kind::StorageTexture { dimension: *dim, format, access }
                    }
                    ImageClass::Depth { .. } => return Err(unknown("a texture of depths")),
                    ImageClass::External => return Err(unknown("an external texture")),
                    ImageClass::Sampled { .. } => return Err(unknown("a multisampled texture")),
                }
            }
            (_, TypeInner::Image { .. }) => return Err(unknown("an array of textures or a cube")),
            (_, TypeInner::Sampler { .. }) => return Err(unknown("a sampler that compares")),
            (_, TypeInner::BindingArray { .. }) => return Err(unknown("an array of bindings")),
            _ => return Err(unknown("of a type")),
        };
        let (fixed_bytes, stride) = self.size(global.ty);
        let scalar = self.scalar(global.ty);
        Ok(Binding { name, place, kind, fixed_bytes, stride, scalar, ty: global.ty, variable })
    }

    /// Fixed bytes of a type, and the stride of an open array at its end.
    fn size(&self, ty: Handle<Type>) -> (u64, Option<u64>) {
        let types = &self.module.types;
        match &types[ty].inner {
            TypeInner::Array { size: ArraySize::Dynamic, stride, .. } => (0, Some(u64::from(*stride))),
            TypeInner::Struct { members, span } => match members.last().map(|m| (m, &types[m.ty].inner)) {
                Some((last, TypeInner::Array { size: ArraySize::Dynamic, stride, .. })) => {
                    (u64::from(last.offset), Some(u64::from(*stride)))
                }
                _ => (u64::from(*span), None),
            },
            TypeInner::Array { size: ArraySize::Constant(len), stride, .. } => {
                (u64::from(len.get()) * u64::from(*stride), None)
            }
            inner => (u64::from(inner.size(self.module.to_ctx())), None),
        }
    }

    /// The numbers that a type is made of, if they are all the same.
    fn scalar(&self, ty: Handle<Type>) -> Option<(ScalarKind, u8)> {
        match &self.module.types[ty].inner {
            TypeInner::Scalar(s) | TypeInner::Atomic(s) => Some((s.kind, s.width)),
            TypeInner::Vector { scalar, .. } | TypeInner::Matrix { scalar, .. } => {
                Some((scalar.kind, scalar.width))
            }
            TypeInner::Array { base, .. } => self.scalar(*base),
            TypeInner::Struct { members, .. } => {
                let mut all = members.iter().map(|member| self.scalar(member.ty));
                let first = all.next()??;
                all.all(|other| other == Some(first)).then_some(first)
            }
            _ => None,
        }
    }

    /// What the text needs and a device with these features lacks.
    pub fn missing(&self, features: Features) -> Option<&'static str> {
        let lacks = NEEDS.iter().filter(|(_, feature, _)| !features.contains(*feature));
        let mut needed = lacks.filter(|(capability, ..)| {
            validated(&self.module, Capabilities::all().difference(*capability)).is_err()
        });
        needed.next().map(|(.., words)| *words)
    }

    /// What of a browser's features the text needs; an error names one that no browser has.
    ///
    /// # Errors
    ///
    /// What a browser lacks.
    pub(super) fn web_features(&self) -> Result<Vec<&'static str>, &'static str> {
        let mut features = vec![];
        for (capability, feature, words) in NEEDS {
            if validated(&self.module, Capabilities::all().difference(capability)).is_err() {
                match feature {
                    Features::SHADER_F16 => features.push("shader-f16"),
                    Features::SUBGROUP => features.push("subgroups"),
                    _ => return Err(words),
                }
            }
        }
        Ok(features)
    }

    /// Names of its overrides.
    pub fn overrides(&self) -> Vec<String> {
        let name = |o: &naga::Override| o.name.clone().unwrap_or_else(|| o.id.unwrap_or(0).to_string());
        self.module.overrides.iter().map(|(_, o)| name(o)).collect()
    }

    /// What a pipeline knows an override by: its number, if it has one.
    pub(super) fn key(&self, name: &str) -> String {
        let is = |o: &&naga::Override| o.name.as_deref() == Some(name);
        let id = self.module.overrides.iter().map(|(_, o)| o).find(is).and_then(|o| o.id);
        id.map_or_else(|| name.to_owned(), |id| id.to_string())
    }

    /// The text with each `arrayLength` of these variables as the number that it is; `None` if it is not known which
    /// variable's it is, as in a function that is given a pointer.
    pub(super) fn with_lengths(&self, lengths: &[(Handle<GlobalVariable>, u64)]) -> Option<String> {
        let functions = self.module.functions.iter().map(|(_, f)| f);
        let functions = functions.chain(self.module.entry_points.iter().map(|e| &e.function));
        let mut places = vec![];
        for function in functions {
            for (handle, expression) in function.expressions.iter() {
                let Expression::ArrayLength(of) = expression else { continue };
                let mut of = *of;
                let variable = loop {
                    match &function.expressions[of] {
                        Expression::GlobalVariable(variable) => break *variable,
                        Expression::AccessIndex { base, .. } | Expression::Access { base, .. } => of = *base,
                        _ => return None,
                    }
                };
                if let Some((_, len)) = lengths.iter().find(|(v, _)| *v == variable) {
                    places.push((function.expressions.get_span(handle).to_range()?, *len));
                }
            }
        }
        places.sort_by_key(|(range, _)| range.start);
        let mut text = self.text.clone();
        for (range, len) in places.into_iter().rev() {
            // The span may end before the bracket that closes.
            let end = self.text[range.start..].find(')').map(|at| range.start + at + 1)?;
            text.replace_range(range.start..end, &format!("{len}u"));
        }
        Some(text)
    }
}

/// The text without `enable subgroups`, which naga does not know: it takes their operations without. Lines and columns stay.
fn without_subgroups(mut text: String) -> String {
    const WORD: &str = "subgroups";
    let mut from = 0;
    while let Some(start) = text[from..].find("enable ").map(|at| from + at) {
        let Some(end) = text[start..].find(';').map(|at| start + at) else { break };
        from = end;
        let words: Vec<_> = text[start + 7..end].split(',').map(|word| word.trim().to_owned()).collect();
        if !words.iter().any(|word| word == WORD) {
            continue;
        }
        let others: Vec<_> = words.into_iter().filter(|word| word != WORD).collect();
        let left = if others.is_empty() { String::new() } else { format!("enable {};", others.join(", ")) };
        text.replace_range(start..=end, &format!("{left:<width$}", width = end + 1 - start));
    }
    text
}

#[expect(clippy::result_large_err, reason = "naga's own error")]
fn validated(
    module: &Module,
    capabilities: Capabilities,
) -> Result<ModuleInfo, naga::WithSpan<naga::valid::ValidationError>> {
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    validator.validate(module)
}

/// An error and its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words += &format!(": {error}");
        cause = error.source();
    }
    words
}

/// Where in a file, with the line itself.
fn at(path: &Path, text: &str, place: Option<SourceLocation>) -> String {
    let file = path.display();
    let Some(place) = place else { return file.to_string() };
    let line = text.lines().nth(place.line_number as usize - 1).unwrap_or("").trim();
    format!("{file}:{}:{}: in `{line}`", place.line_number, place.line_position)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Result<Source> {
        Source::parse(Path::new("a.wgsl"), text.into())
    }

    const SAXPY: &str = "
        override WG: u32 = 64u;
        struct Params { n: u32, a: f32 }
        @group(0) @binding(2) var<uniform> params: Params;
        @group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
        @group(1) @binding(0) var<storage, read_write> y: array<f32>;
        @group(1) @binding(1) var<storage, read_write> unused: array<u32>;
        @compute @workgroup_size(WG)
        fn saxpy(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x < min(arrayLength(&y), params.n) { y[id.x] += params.a * x[id.x / 4u][id.x % 4u]; }
        }
        @compute @workgroup_size(1) fn nothing() {}";

    #[test]
    fn what_a_kernel_binds_is_found() {
        let source = source(SAXPY).unwrap();
        assert_eq!(source.entries(), ["saxpy", "nothing"]);
        assert_eq!(source.overrides(), ["WG"]);
        let found = source.bindings("saxpy").unwrap();
        let found: Vec<_> =
            found.iter().map(|b| (b.name.as_str(), b.place, b.kind, b.fixed_bytes, b.stride)).collect();
        let want = [
            ("x", [0, 0], Kind::Storage { writes: false }, 0, Some(16)),
            ("params", [0, 2], Kind::Uniform, 8, None),
            ("y", [1, 0], Kind::Storage { writes: true }, 0, Some(4)),
        ];
        assert_eq!(found, want);
        assert!(source.bindings("nothing").unwrap().is_empty());
    }

    #[test]
    fn errors_have_the_place_and_the_line() {
        let error = source("fn f() {\n    let x = y;\n}").unwrap_err().to_string();
        assert!(error.starts_with("a.wgsl:2:13: in `let x = y;`: ") && error.contains("`y`"), "{error}");
        let error =
            source("@compute @workgroup_size(1)\nfn f() -> i32 { return 1.5; }").unwrap_err().to_string();
        assert!(error.starts_with("a.wgsl:2:") && error.contains("return 1.5"), "{error}");
        let source = source(SAXPY).unwrap();
        let error = source.entry(None).unwrap_err().to_string();
        assert!(error.contains("--entry: saxpy, nothing"), "{error}");
        let error = source.entry(Some("sax")).unwrap_err().to_string();
        assert!(error.contains("no kernel \"sax\"; there are saxpy, nothing"), "{error}");
    }

    #[test]
    fn what_a_device_lacks_is_named() {
        let f16 = "enable f16; var<private> x: f16; @compute @workgroup_size(1) fn f() { x = 1h; }";
        assert_eq!(source(f16).unwrap().missing(Features::empty()), Some("16-bit floats (enable f16)"));
        assert_eq!(source(f16).unwrap().missing(Features::SHADER_F16), None);
        let subgroups = "enable subgroups; @group(0) @binding(0) var<storage, read_write> y: array<u32>;
            @compute @workgroup_size(32) fn f() { y[0] = subgroupAdd(1u); }";
        assert_eq!(source(subgroups).unwrap().missing(Features::empty()), Some("operations of subgroups"));
        let both = "enable f16, subgroups;\nfn f() { x }";
        assert_eq!(without_subgroups(both.into()), "enable f16;           \nfn f() { x }");
        let immediates =
            "var<immediate> n: u32; @group(0) @binding(0) var<storage, read_write> y: array<u32>;
            @compute @workgroup_size(1) fn f() { y[0] = n; }";
        assert_eq!(
            source(immediates).unwrap().missing(Features::empty()),
            Some("immediates (push constants)")
        );
        assert_eq!(source(SAXPY).unwrap().missing(Features::empty()), None);
    }

    #[test]
    fn lengths_of_arrays_become_numbers() {
        let source = source(SAXPY).unwrap();
        let y = source.bindings("saxpy").unwrap()[2].variable;
        let text = source.with_lengths(&[(y, 4096)]).unwrap();
        assert!(text.contains("min(4096u, params.n)") && !text.contains("arrayLength"), "{text}");
        assert_eq!(source.with_lengths(&[]).unwrap(), SAXPY);
    }
}
