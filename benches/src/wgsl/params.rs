//! Numbers of uniforms and immediates, member by member.

use naga::{ArraySize, Handle, Module, ScalarKind, Type, TypeInner};

use super::element::{Element, scalar_name};
use super::expression::{Expression, Variables, listed};
use super::operand::{Given, Operand};
use super::source::{Binding, Source};
use crate::{Error, Result};

/// A number somewhere in a struct.
struct Leaf {
    /// Its member: `params.size`.
    member: String,
    offset: u64,
    scalar: (ScalarKind, u8),
}

/// Bytes of a binding of a fixed size. A member that is given no number takes the variable of its name; padding is 0.
///
/// # Errors
///
/// If a member has no value, or one that its type does not hold.
pub(super) fn bytes(
    source: &Source,
    binding: &Binding,
    given: &[Operand],
    variables: &Variables,
) -> Result<Vec<u8>> {
    let mut leaves = vec![];
    flatten(&source.module, binding.ty, &binding.name, 0, &mut leaves);
    let fail = |reason: String| Error::Option(format!("{}: {reason}", binding.name));
    let mut bytes = vec![0; binding.fixed_bytes as usize];
    let mut set = vec![false; leaves.len()];
    for operand in given {
        let inside = |leaf: &Leaf| {
            let rest = leaf.member.strip_prefix(operand.name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let places: Vec<_> = (0..leaves.len()).filter(|&i| inside(&leaves[i])).collect();
        let Given::Numbers(numbers) = &operand.given else {
            return Err(fail(format!(
                "it is given an array; numbers are needed, as in {}={}",
                operand.name,
                vec!["1"; places.len()].join(",")
            )));
        };
        if places.is_empty() {
            let members: Vec<_> = leaves.iter().map(|leaf| leaf.member.as_str()).collect();
            return Err(fail(format!("there is no {}; there are {}", operand.name, listed(&members))));
        }
        if numbers.len() != places.len() {
            return Err(fail(format!(
                "{} is of {} numbers, not {}",
                operand.name,
                places.len(),
                numbers.len()
            )));
        }
        for (&place, number) in places.iter().zip(numbers) {
            put(&mut bytes, &leaves[place], number, variables).map_err(&fail)?;
            set[place] = true;
        }
    }
    for (leaf, _) in leaves.iter().zip(set).filter(|(_, set)| !set) {
        let name = leaf.member.rsplit('.').next().unwrap_or("");
        if variables.contains_key(name) {
            put(&mut bytes, leaf, &Expression::parse(name).map_err(&fail)?, variables).map_err(&fail)?;
        } else if !name.trim_start_matches('_').starts_with("pad") && !name.starts_with('_') {
            return Err(fail(format!("{0} has no value: say {0}=4096, or --set {name}=4096", leaf.member)));
        }
    }
    Ok(bytes)
}

/// Whether an operand's name is this binding, or a member of it.
pub(super) fn is_of(operand: &Operand, binding: &Binding) -> bool {
    operand.name.strip_prefix(&binding.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn put(bytes: &mut [u8], leaf: &Leaf, number: &Expression, variables: &Variables) -> Result<(), String> {
    let value = number.value(variables)?;
    let element = match leaf.scalar {
        (ScalarKind::Float, 4) => Element::F32,
        (ScalarKind::Float, 2) => Element::F16,
        (ScalarKind::Sint, 4) => Element::I32,
        (ScalarKind::Uint, 4) => Element::U32,
        other => {
            return Err(format!("{} is {}, which cannot be given here", leaf.member, scalar_name(other)));
        }
    };
    let held = {
        let mut one = vec![];
        element.push(value, &mut one);
        one
    };
    if element.is_integer() && element.values(&held) != [value] {
        return Err(format!("{} is {value}, and {} does not hold that", leaf.member, element.name()));
    }
    bytes[leaf.offset as usize..][..held.len()].copy_from_slice(&held);
    Ok(())
}

fn flatten(module: &Module, ty: Handle<Type>, member: &str, offset: u64, leaves: &mut Vec<Leaf>) {
    let mut leaf = |offset: u64, scalar: naga::Scalar| {
        leaves.push(Leaf { member: member.to_owned(), offset, scalar: (scalar.kind, scalar.width) });
    };
    match &module.types[ty].inner {
        TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) => leaf(offset, *scalar),
        TypeInner::Vector { size, scalar } => {
            (0..*size as u64).for_each(|i| leaf(offset + i * u64::from(scalar.width), *scalar));
        }
        TypeInner::Matrix { columns, rows, scalar } => {
            let column = u64::from(scalar.width) * if *rows as u64 == 2 { 2 } else { 4 };
            for c in 0..*columns as u64 {
                (0..*rows as u64)
                    .for_each(|r| leaf(offset + c * column + r * u64::from(scalar.width), *scalar));
            }
        }
        TypeInner::Array { base, size: ArraySize::Constant(len), stride } => {
            for i in 0..u64::from(len.get()) {
                flatten(module, *base, member, offset + i * u64::from(*stride), leaves);
            }
        }
        TypeInner::Struct { members, .. } => {
            for (i, inner) in members.iter().enumerate() {
                let name = inner.name.clone().unwrap_or_else(|| i.to_string());
                flatten(
                    module,
                    inner.ty,
                    &format!("{member}.{name}"),
                    offset + u64::from(inner.offset),
                    leaves,
                );
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const WGSL: &str = "
        struct Inner { scale: vec2<f32>, k: i32 }
        struct Params { n: u32, inner: Inner, rows: array<vec4<u32>, 2>, _pad: u32 }
        @group(0) @binding(0) var<storage, read> params: Params;
        @group(0) @binding(1) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(1) fn f() { y[0] = params.n; }";

    fn made(given: &[&str]) -> Result<Vec<u8>> {
        let source = Source::parse(Path::new("a.wgsl"), WGSL.into())?;
        let given = given.iter().map(|text| Operand::parse(text)).collect::<Result<Vec<_>>>()?;
        let variables = [("n".to_owned(), 7.0)].into();
        bytes(&source, &source.bindings("f")?[0], &given, &variables)
    }

    #[test]
    fn members_lie_where_wgsl_has_them() {
        let made = made(&["params.inner.scale=0.5,n*2", "params.inner.k=-1", "params.rows=1,2,3,4,5,6,7,8"])
            .unwrap();
        let words: Vec<_> = made.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(words[..6], [7, 0, 0.5_f32.to_bits(), 14_f32.to_bits(), u32::MAX, 0]);
        assert_eq!(words[8..17], [1, 2, 3, 4, 5, 6, 7, 8, 0]);
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        for (given, part) in [
            (
                &["params.inner.k=1"] as &[&str],
                "params.inner.scale has no value: say params.inner.scale=4096, or --set scale",
            ),
            (&["params.m=1"], "there is no params.m; there are params.n, params.inner.scale"),
            (&["params.inner.scale=1"], "params.inner.scale is of 2 numbers, not 1"),
            (&["params.n=1.5"], "params.n is 1.5, and u32 does not hold that"),
            (&["params=f32[4]:normal"], "numbers are needed"),
        ] {
            let error = made(given).unwrap_err().to_string();
            assert!(error.contains(part), "{given:?}: {error}");
        }
    }
}
