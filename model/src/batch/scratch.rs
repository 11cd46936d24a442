//! What passes gave, for the samplers.

use crate::Result;
use crate::request::Scores;
use crate::runner::{Pass, Wanted};

/// What is used again for every token, so that none allocates.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) ready: Vec<usize>,
    ids: Vec<u32>,
    values: Vec<f32>,
    logits: Vec<f32>,
    candidates: Vec<(u32, f32)>,
    /// Candidates and logits of each sequence.
    size: [usize; 2],
}

impl Scratch {
    /// Takes what a pass read.
    pub(super) fn read(&mut self, pass: &Pass, wanted: Wanted) -> Result<()> {
        if wanted.candidates {
            pass.program.read_into(pass.out.ids, &mut self.ids)?;
            pass.program.read_into(pass.out.values, &mut self.values)?;
        }
        if wanted.logits {
            pass.program.read_into(pass.out.logits, &mut self.logits)?;
        }
        self.size = [pass.out.ids.shape()[1], pass.out.logits.shape()[1]].map(|n| n as usize);
        Ok(())
    }

    /// What a sequence wants of it: so many candidates, or all logits.
    pub(super) fn scores(&mut self, row: usize, wanted: Option<u32>) -> Scores<'_> {
        let [candidates, vocab] = self.size;
        match wanted {
            None => Scores::Full(&self.logits[row * vocab..][..vocab]),
            Some(wanted) => {
                let of = row * candidates..row * candidates + (wanted as usize).min(candidates);
                let pairs = self.ids[of.clone()].iter().copied().zip(self.values[of].iter().copied());
                self.candidates.clear();
                self.candidates.extend(pairs);
                Scores::Candidates(&self.candidates)
            }
        }
    }
}
