//! Machine code as drivers print it: its loops, which of them is hot, and what that is made of.

mod loops;
mod mix;
mod syntax;

pub use loops::Loop;
pub use mix::{Kind, Mix};
pub use syntax::{Instruction, Syntax};

/// A listing, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// Its language.
    pub syntax: Syntax,
    /// Its instructions, in order.
    pub instructions: Vec<Instruction>,
    /// Its loops, outer ones before those within.
    pub loops: Vec<Loop>,
}

/// The hot loop of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Hot {
    /// The innermost loop with most FMAs, products of matrices and dot products; where there are none, most arithmetic.
    pub inner: Loop,
    /// What a turn of that is made of.
    pub inner_mix: Mix,
    /// The loop around it whose count of turns only the data says: all that is in there, loads and unpacking included,
    /// is what a turn costs. The innermost itself, if its count is not a constant.
    pub turn: Loop,
    /// What one turn of it is made of, with loops inside counted as often as they run.
    pub mix: Mix,
}

impl Listing {
    /// Reads a listing that a driver gave under a name; `None` if it is of no language known here.
    pub fn parse(name: &str, text: &str) -> Option<Self> {
        let syntax = Syntax::of(name, text)?;
        let instructions = syntax.instructions(text);
        let loops = loops::find(syntax, &instructions);
        Some(Self { syntax, instructions, loops })
    }

    /// The hot loop, if there is any loop that computes.
    pub fn hot(&self) -> Option<Hot> {
        let is_inner = |l: &&Loop| !self.loops.iter().any(|other| other != *l && l.contains(other));
        let rank = |l: &Loop| {
            let mix = self.mix_of(l);
            (mix.fma + mix.dot + mix.matrix, mix.vector)
        };
        let best = self.loops.iter().filter(is_inner).map(|l| (rank(l), l));
        let (_, inner) =
            best.max_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))?;
        let mut turn = inner;
        // From the inside out, until one has no count.
        for outer in self.loops.iter().rev().filter(|l| *l != inner && l.contains(inner)) {
            if turn.trips.is_none() {
                break;
            }
            turn = outer;
        }
        let (inner_mix, mix) = (self.mix_of(inner), self.mix_of(turn));
        Some(Hot { inner: inner.clone(), inner_mix, turn: turn.clone(), mix })
    }

    /// A turn of a loop, with loops inside counted as often as they run, or once where that is not known.
    fn mix_of(&self, around: &Loop) -> Mix {
        let mut mix = Mix::default();
        let inside: Vec<&Loop> = self.loops.iter().filter(|l| *l != around && around.contains(l)).collect();
        for &at in &around.body {
            let times: u32 = inside.iter().filter(|l| l.has(at)).filter_map(|l| l.trips).product();
            mix.add(self.syntax, &self.instructions[at], f64::from(times));
        }
        mix
    }

    /// The lines of a loop, from 1: the first and the last of each piece.
    pub fn lines(&self, l: &Loop) -> Vec<[usize; 2]> {
        let mut pieces: Vec<[usize; 2]> = vec![];
        let mut last = None;
        for &at in &l.body {
            let line = self.instructions[at].line + 1;
            match pieces.last_mut() {
                Some(piece) if last == Some(at.wrapping_sub(1)) => piece[1] = line,
                _ => pieces.push([line, line]),
            }
            last = Some(at);
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMD: &str = include_str!("../samples/amd.txt");
    const NAK: &str = include_str!("../samples/nak.txt");
    const IR3: &str = include_str!("../samples/ir3.txt");

    #[test]
    fn the_language_is_known_by_the_name_of_the_representation() {
        let syntax = |name, text| Listing::parse(name, text).map(|l| l.syntax);
        assert_eq!(syntax("Assembly", AMD), Some(Syntax::Amd));
        assert_eq!(syntax("NAK assembly", NAK), Some(Syntax::Nak));
        assert_eq!(syntax("IR3 Assembly", IR3), Some(Syntax::Ir3));
        assert_eq!(syntax("Final NIR", IR3), None);
        assert_eq!(syntax("Assembly", "nothing of the kind"), None);
    }

    #[test]
    fn a_turn_of_amds_hot_loop_holds_the_inner_one_as_often_as_it_runs() {
        let hot = Listing::parse("Assembly", AMD).unwrap().hot().unwrap();
        // The inner loop runs 4 times, which its compare says: 2 FMAs, a pair of which one is an FMA, a load of
        // workgroup memory and an address.
        assert_eq!(hot.inner.trips, Some(4));
        assert_eq!((hot.inner_mix.fma, hot.inner_mix.pairs, hot.inner_mix.lds), (3.0, 1.0, 1.0));
        assert_eq!(hot.turn.trips, None);
        assert_eq!((hot.mix.fma, hot.mix.vmem, hot.mix.loaded_bytes), (12.0, 1.0, 16.0));
        assert_eq!((hot.mix.vector, hot.mix.waits), (4.0 * 2.0 + 3.0, 1.0));
        assert!(hot.turn.contains(&hot.inner) && !hot.inner.contains(&hot.turn));
    }

    #[test]
    fn nvidias_blocks_are_loops_where_one_branches_back() {
        let hot = Listing::parse("NAK assembly", NAK).unwrap().hot().unwrap();
        assert_eq!(hot.inner, hot.turn);
        assert_eq!((hot.mix.fma, hot.mix.lds, hot.mix.vmem, hot.mix.loaded_bytes), (3.0, 1.0, 1.0, 16.0));
        assert_eq!((hot.mix.matrix, hot.mix.matrix_flops), (1.0, 4096.0));
    }

    #[test]
    fn what_lies_between_the_parts_of_a_loop_is_not_of_it() {
        let text = "block.u 0 L3 [] -> {\n  bra pT L4\n} -> [1]\nblock.u 1 L4 [0, 3] -> {\n  p0 = isetp.lt r1 r2\n\
                    @p0 bra pT L6\n} -> [3, 2]\nblock.u 2 L5 [1] -> {\n  r9 = ffma r1 r2 r3\n  exit\n} -> []\n\
                    block.u 3 L6 [1] -> {\n  r8 = ffma r1 r2 r8\n  bra pT L4\n} -> [1]\n";
        let listing = Listing::parse("NAK assembly", text).unwrap();
        let hot = listing.hot().unwrap();
        assert_eq!((hot.mix.fma, hot.mix.control), (1.0, 2.0));
        assert_eq!(listing.lines(&hot.turn), [[5, 6], [13, 14]]);
    }

    #[test]
    fn what_qualcomm_repeats_counts_as_often() {
        let hot = Listing::parse("IR3 Assembly", IR3).unwrap().hot().unwrap();
        assert_eq!((hot.mix.fma, hot.mix.vmem, hot.mix.hints), (5.0, 1.0, 3.0));
    }

    #[test]
    fn without_a_loop_nothing_is_hot() {
        let listing = Listing::parse(
            "Assembly",
            "BB0:\n\tv_add_f32_e32 v0, v0, v1 ; 06000300\n\ts_endpgm ; bfb00000\n",
        );
        assert_eq!(listing.unwrap().hot(), None);
    }
}
