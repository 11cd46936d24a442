//! Loops of a listing: branches back, and how often their turns run where a constant says so.

use super::{Instruction, Syntax};

/// A loop of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop {
    /// Its first instruction, by its place.
    pub first: usize,
    /// The last branch back, by its place.
    pub last: usize,
    /// Turns, where they are a constant.
    pub trips: Option<u32>,
}

impl Loop {
    /// Whether another is inside, or the same.
    pub fn contains(&self, other: &Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

/// The loops of a listing, outer ones first.
pub(super) fn find(syntax: Syntax, code: &[Instruction]) -> Vec<Loop> {
    let mut loops: Vec<Loop> = vec![];
    for (at, instruction) in code.iter().enumerate() {
        let Some(target) = &instruction.target else { continue };
        let Some(first) = code[..=at].iter().position(|i| i.label.as_ref() == Some(target)) else { continue };
        // Two branches back to one place are one loop.
        match loops.iter_mut().find(|l| l.first == first) {
            Some(known) => known.last = at,
            None => loops.push(Loop { first, last: at, trips: None }),
        }
    }
    loops.sort_by_key(|l| (l.first, std::cmp::Reverse(l.last)));
    if syntax == Syntax::Amd {
        for l in &mut loops {
            l.trips = trips(code, *l);
        }
    }
    loops
}

/// Turns of a loop of AMD's that counts in a scalar register from a constant, by a constant, to a constant.
fn trips(code: &[Instruction], l: Loop) -> Option<u32> {
    let body = &code[l.first..=l.last];
    body.iter().find_map(|compare| {
        let kind = compare.op.strip_prefix("s_cmp_").or_else(|| compare.op.strip_prefix("s_cmpk_"))?;
        let (register, bound) = compare.args.split_once(", ")?;
        let bound = number(bound)?;
        if !register.starts_with('s')
            || register.starts_with("s[")
            || !["lt", "ge", "lg", "eq"].contains(&&kind[..2])
        {
            return None;
        }
        let step = body.iter().find_map(|i| {
            let args: Vec<_> = i.args.split(", ").collect();
            match (i.op.as_str(), &args[..]) {
                ("s_add_u32" | "s_add_i32" | "s_add_co_u32" | "s_add_co_i32", [to, a, b])
                    if *to == register =>
                {
                    number(if *a == register { b } else { a })
                }
                ("s_addk_i32" | "s_addk_co_i32", [to, by]) if *to == register => number(by),
                _ => None,
            }
        })?;
        // Nothing else may write it: the count would not be a constant.
        let writes = |i: &&Instruction| i.args.split(", ").next() == Some(register) && !is_read(&i.op);
        if body.iter().filter(writes).count() != 1 {
            return None;
        }
        let set = code[..l.first].iter().rev().find(writes)?;
        let start = match set.op.as_str() {
            "s_mov_b32" | "s_movk_i32" => number(set.args.split(", ").nth(1)?)?,
            _ => return None,
        };
        let turns = (bound.checked_sub(start)?).div_ceil(step.max(1));
        (turns > 0).then_some(turns)
    })
}

/// Whether an operation only reads its first argument.
fn is_read(op: &str) -> bool {
    ["s_cmp", "s_bitcmp", "s_cbranch", "ds_store", "ds_write", "buffer_store", "global_store"]
        .iter()
        .any(|p| op.starts_with(p))
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
