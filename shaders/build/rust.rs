//! A kernel in Rust: what of it is written into `generated.rs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::Field;

/// Something a kernel can be specialised by.
pub(crate) struct Variant {
    pub(crate) name: String,
    pub(crate) values: Vec<String>,
}

/// What the values of a variant are in Rust.
enum Kind {
    /// `no yes`: a bool.
    Flag,
    /// Numbers: a u32.
    Numbers,
    /// Words, or words and numbers: an enum, the same for all kernels with a variant of that name.
    Words,
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

/// A value as an expression of type `crate::Value`.
pub(crate) fn value(value: &str) -> String {
    match number(value) {
        Some(number) => format!("crate::Value::Number({number})"),
        None => format!("crate::Value::Word({value:?})"),
    }
}

/// `quick_gelu` as `QuickGelu`.
fn camel(word: &str) -> String {
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    word.split('_').map(capital).collect()
}

/// `struct Params` and its fields.
pub(crate) fn params(fields: &[Field]) -> String {
    let mut s = String::from(
        "/// The kernel's parameters, as its WGSL declares them.\n#[repr(C)] \
         #[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)] pub struct Params {\n",
    );
    for Field { name, docs, is_u32 } in fields {
        let ty = if *is_u32 { "u32" } else { "f32" };
        writeln!(s, "{}\npub {name}: {ty},", docs.join("\n")).expect("a String");
    }
    let listed: String = fields.iter().map(|f| format!("({:?}, {}),", f.name, f.is_u32)).collect();
    format!("{s}}} static FIELDS: &[(&str, bool)] = &[{listed}];")
}

/// `struct Variants` of a kernel.
pub(crate) fn variants(variants: &[Variant]) -> String {
    let ty = |v: &Variant| match v.kind() {
        Kind::Flag => "bool".into(),
        Kind::Numbers => "u32".into(),
        Kind::Words => format!("super::variants::{}", camel(&v.name)),
    };
    let fields: String = variants.iter().map(|v| format!("pub {}: {},", v.name, ty(v))).collect();
    let values: String = variants.iter().map(|v| format!("self.{}.into(),", v.name)).collect();
    format!(
        "/// What the kernel can be specialised by.\n#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)] \
         pub struct Variants {{ {fields} }} impl crate::Variants for Variants {{ \
         const KERNEL: &'static crate::Kernel = &KERNEL; \
         fn values(&self) -> Vec<crate::Value> {{ vec![{values}] }} }}"
    )
}

/// What is not one kernel's: the list of all, and the types of variants.
pub(crate) fn shared(kernels: &[(String, Vec<Variant>)]) -> String {
    let mut words: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for variant in kernels.iter().flat_map(|(_, variants)| variants) {
        if let Kind::Words = variant.kind() {
            let all = words.entry(&variant.name).or_default();
            let new: Vec<_> =
                variant.values.iter().map(String::as_str).filter(|v| !all.contains(v)).collect();
            all.extend(new);
        }
    }
    let types: String = words.iter().map(|(name, values)| words_type(name, values)).collect();
    let all: String = kernels.iter().map(|(name, _)| format!("&{name}::KERNEL,")).collect();
    format!(
        "/// Values of variants that are words; of those that several kernels have, what any of them has.\n\
         pub mod variants {{ {types} }}\n/// Every kernel.\npub static KERNELS: &[&crate::Kernel] = &[{all}];"
    )
}

/// The enum of a variant's words; its numbers, if it has some, are one case.
fn words_type(name: &str, values: &[&str]) -> String {
    let name = camel(name);
    let mut cases = String::new();
    let mut arms = String::new();
    for word in values.iter().filter(|value| number(value).is_none()) {
        let case = camel(word);
        write!(cases, "{case},").expect("a String");
        write!(arms, "{name}::{case} => Self::Word({word:?}),").expect("a String");
    }
    if values.iter().any(|value| number(value).is_some()) {
        cases += "Of(u32),";
        write!(arms, "{name}::Of(number) => Self::Number(number),").expect("a String");
    }
    format!(
        "#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)] pub enum {name} {{ {cases} }} \
         impl From<{name}> for crate::Value {{ fn from(value: {name}) -> Self {{ match value {{ {arms} }} }} }}"
    )
}
