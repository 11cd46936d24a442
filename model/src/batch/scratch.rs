//! What passes gave, for the samplers.

use crate::Result;
use crate::request::Scores;
use crate::runner::Pass;

/// What is used again for every token, so that none allocates.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) ready: Vec<usize>,
    ids: Vec<u32>,
    values: Vec<f32>,
    logits: Vec<f32>,
    candidates: Vec<(u32, f32)>,
}

impl Scratch {
    /// Takes what a pass read.
    pub(super) fn read(&mut self, pass: &Pass, wants: impl Iterator<Item = Option<u32>>) -> Result<()> {
        let (mut some, mut all) = (false, false);
        wants.for_each(|want| if want.is_some() { some = true } else { all = true });
        if some {
            pass.program.read_into(pass.out.ids, &mut self.ids)?;
            pass.program.read_into(pass.out.values, &mut self.values)?;
        }
        if all {
            pass.program.read_into(pass.out.logits, &mut self.logits)?;
        }
        Ok(())
    }

    /// Of it what a sequence wants, by `size` candidates and logits each.
    pub(super) fn scores(
        &mut self,
        row: usize,
        [candidates, vocab]: [usize; 2],
        wanted: Option<u32>,
    ) -> Scores<'_> {
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
