//! Loops of a listing: what can come back to where it began, and how often its turns run where a constant says so.

use std::collections::{BTreeMap, BTreeSet};

use super::{Instruction, Syntax};

/// A loop of a listing. Drivers put parts of others between its own, so it is a set of instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loop {
    /// Its instructions, by their places, in order.
    pub body: Vec<usize>,
    /// Turns, where they are a constant.
    pub trips: Option<u32>,
}

impl Loop {
    /// Whether another is inside, or the same.
    pub fn contains(&self, other: &Self) -> bool {
        other.body.len() <= self.body.len() && other.body.iter().all(|at| self.has(*at))
    }

    /// Whether an instruction is in it.
    pub fn has(&self, at: usize) -> bool {
        self.body.binary_search(&at).is_ok()
    }
}

/// A straight piece of code, with the pieces that may follow it.
struct Block {
    code: std::ops::Range<usize>,
    next: Vec<usize>,
}

/// The loops of a listing, larger ones first.
pub(super) fn find(syntax: Syntax, code: &[Instruction]) -> Vec<Loop> {
    let blocks = blocks(syntax, code);
    let mut before: Vec<Vec<usize>> = vec![vec![]; blocks.len()];
    for (at, block) in blocks.iter().enumerate() {
        block.next.iter().for_each(|&next| before[next].push(at));
    }
    // Ways back to one place are one loop: all that leads to them without passing it.
    let mut bodies: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (from, to) in back(&blocks) {
        let body = bodies.entry(to).or_insert_with(|| [to].into());
        let mut todo = vec![from];
        while let Some(at) = todo.pop() {
            if body.insert(at) {
                todo.extend(&before[at]);
            }
        }
    }
    let mut loops: Vec<Loop> = bodies
        .into_iter()
        .map(|(head, body)| {
            let entries: Vec<usize> = before[head].iter().copied().filter(|at| !body.contains(at)).collect();
            let body = body.into_iter().flat_map(|block| blocks[block].code.clone()).collect();
            let entry = entries.first().map(|&block| blocks[block].code.end);
            let mut found = Loop { body, trips: None };
            if let (Syntax::Amd, Some(entry)) = (syntax, entry) {
                found.trips = trips(code, &found, entry);
            }
            found
        })
        .collect();
    loops.sort_by_key(|l| std::cmp::Reverse(l.body.len()));
    loops
}

fn blocks(syntax: Syntax, code: &[Instruction]) -> Vec<Block> {
    let mut starts: BTreeSet<usize> = [0].into();
    let mut labels = BTreeMap::new();
    for (at, instruction) in code.iter().enumerate() {
        if let Some(label) = &instruction.label {
            starts.insert(at);
            labels.insert(label.as_str(), at);
        }
        if instruction.target.is_some() && at + 1 < code.len() {
            starts.insert(at + 1);
        }
    }
    let starts: Vec<usize> = starts.into_iter().collect();
    let number = |at: usize| starts.binary_search(&at).ok();
    let end = |index: usize| starts.get(index + 1).copied().unwrap_or(code.len());
    let block = |(index, &start): (usize, &usize)| {
        let last = code[start..end(index)].last();
        let target = last.and_then(|i| i.target.as_deref()).and_then(|label| labels.get(label));
        let goes_on = last.is_none_or(|i| !syntax.ends(i)) && index + 1 < starts.len();
        let next = goes_on.then_some(index + 1).into_iter().chain(target.and_then(|&at| number(at)));
        Block { code: start..end(index), next: next.collect() }
    };
    starts.iter().enumerate().map(block).collect()
}

/// Ways from a block to one that every path to it has been through: found by depth, as drivers' code has no others.
fn back(blocks: &[Block]) -> Vec<(usize, usize)> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut state = vec![State::New; blocks.len()];
    let (mut found, mut path) = (vec![], vec![(0, 0)]);
    if let Some(first) = state.first_mut() {
        *first = State::Open;
    } else {
        return found;
    }
    while let Some((at, turn)) = path.pop() {
        let Some(&next) = blocks[at].next.get(turn) else {
            state[at] = State::Done;
            continue;
        };
        path.push((at, turn + 1));
        match state[next] {
            State::New => {
                state[next] = State::Open;
                path.push((next, 0));
            }
            State::Open => found.push((at, next)),
            State::Done => {}
        }
    }
    found
}

/// Turns of a loop of AMD's that counts in a scalar register from a constant, by a constant, to a constant. `entry` is
/// where the code that leads into it ends.
fn trips(code: &[Instruction], l: &Loop, entry: usize) -> Option<u32> {
    let body = || l.body.iter().map(|&at| &code[at]);
    body().find_map(|compare| {
        let kind = compare.op.strip_prefix("s_cmp_").or_else(|| compare.op.strip_prefix("s_cmpk_"))?;
        let (register, bound) = compare.args.split_once(", ")?;
        let bound = number(bound)?;
        let ordered = ["lt", "ge", "lg", "eq"].iter().any(|name| kind.starts_with(name));
        if !register.starts_with('s') || register.starts_with("s[") || !ordered {
            return None;
        }
        let step = body().find_map(|i| {
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
        if body().filter(writes).count() != 1 {
            return None;
        }
        let set = code[..entry].iter().rev().find(writes)?;
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
    let reads = ["s_cmp", "s_bitcmp", "s_cbranch", "ds_store", "ds_write", "buffer_store", "global_store"];
    reads.iter().any(|prefix| op.starts_with(prefix))
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
