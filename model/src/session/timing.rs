//! What it takes to time a session: a context of any length without a prompt, and single steps.

use strix_shaders::{KvCache, KvElement};

use super::{Row, Scores, Session, Want};
use crate::kv_cache::LayerCache;
use crate::{Error, Result};

/// Numbers that noise repeats; a prime, so that rows differ.
const NOISE: usize = 65_521;

impl Session {
    /// Lets the cache hold so many positions, whatever they are: a decode step over them takes as long as over a prompt.
    /// The first time, noise is written to the whole cache. [`Session::reset`] comes before the next question.
    ///
    /// # Errors
    ///
    /// If the context is shorter, or the device fails.
    pub fn fill(&mut self, positions: usize) -> Result<()> {
        let ctx = self.model.inner.ctx as usize;
        if positions > ctx {
            return Err(Error::Option(format!(
                "{positions} positions; the context holds {ctx}: raise --ctx"
            )));
        }
        // What no kernel wrote is zeros, which a driver may hold in one page.
        if !self.noise {
            for layer in &self.kv {
                match layer {
                    LayerCache::F32(kv) => self.write_noise(kv)?,
                    LayerCache::F16(kv) => self.write_noise(kv)?,
                }
            }
            self.noise = true;
        }
        self.cached.clear();
        self.cached.resize(positions, Row::Token(0));
        Ok(())
    }

    fn write_noise<T: KvElement>(&self, kv: &KvCache<T>) -> Result<()> {
        // Between -1 and 1, as keys and values are of which norms were taken.
        let value = |i: usize| T::nearest((i * 7919 % NOISE) as f32 / NOISE as f32 * 2.0 - 1.0);
        for kv in [&kv.k, &kv.v] {
            let elements = kv.shape().iter().map(|&n| n as usize).product();
            let noise: Vec<T> = (0..elements).map(value).collect();
            kv.write(&self.model.inner.gpu, &noise)?;
        }
        Ok(())
    }

    /// Runs one token behind those in the cache, as a decode step, and returns the likeliest next.
    ///
    /// # Errors
    ///
    /// If the context is full, there is no such token, or the device fails.
    pub fn step(&mut self, token: u32) -> Result<u32> {
        let ctx = self.model.inner.ctx as usize;
        if self.cached.len() >= ctx {
            return Err(Error::Option(format!("the context of {ctx} positions is full: raise --ctx")));
        }
        let vocab = self.model.inner.config.text.vocab_size;
        if token as usize >= vocab {
            return Err(Error::Prompt(format!("token {token} is not in the vocabulary of {vocab}")));
        }
        let scores = self.forward(&[Row::Token(token)], Want::Candidates(1), None)?;
        Ok(match scores {
            Some(Scores::Candidates(best)) => best.first().map_or(0, |&(id, _)| id),
            _ => 0,
        })
    }
}
