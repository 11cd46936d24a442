//! A cache of any content: noise to time a context of any length without a prompt, numbers that are none to find who
//! reads what is not theirs.

use std::sync::atomic::Ordering;

use strix_shaders::{KvCache, KvElement, KvPart};

use super::Inspect;
use crate::kv_cache::LayerCache;
use crate::rows::Row;
use crate::{Error, Result};

/// Numbers that noise repeats; a prime, so that rows differ.
const NOISE: usize = 65_521;

impl Inspect<'_> {
    /// Lets the cache hold so many positions, whatever they are: a decode step over them takes as long as over a prompt.
    /// The first time, noise is written to the whole cache. [`Session::reset`](crate::Session::reset) comes before the next question.
    ///
    /// # Errors
    ///
    /// If the context is shorter, the cache has no room, others run when noise is written, or the device fails.
    pub fn fill(&mut self, positions: usize) -> Result<()> {
        let inner = self.inner();
        let ctx = inner.ctx as usize;
        if positions > ctx {
            return Err(Error::ContextFull { needed: positions, limit: ctx });
        }
        self.end();
        // What no kernel wrote is zeros, which a driver may hold in one page.
        if !inner.has_noise.load(Ordering::Relaxed) {
            self.write_noise()?;
        }
        let sequence = self.begin(positions)?;
        let mut pages = inner.pages();
        pages.grow(sequence, positions);
        pages.extend(sequence, &vec![Row::Token(0); positions]);
        Ok(())
    }

    fn write_noise(&self) -> Result<()> {
        // Between -1 and 1, as keys and values are of which norms were taken.
        self.write_cache(|i| (i * 7919 % NOISE) as f32 / NOISE as f32 * 2.0 - 1.0)?;
        self.inner().has_noise.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Spoils the model's cache: nothing of it is known any more, all of it is NaN, and its pages are given out in an order
    /// that depends on `seed`. What is answered then must not change.
    ///
    /// # Errors
    ///
    /// If an answer is under way, or the device fails.
    pub fn spoil_cache(&mut self, seed: u64) -> Result<()> {
        self.end();
        self.write_cache(|_| f32::NAN)?;
        self.inner().has_noise.store(false, Ordering::Relaxed);
        self.inner().pages().shuffle(seed);
        Ok(())
    }

    /// Writes `value` of each element's number to all of the cache, of which nothing is known then.
    fn write_cache(&self, value: impl Fn(usize) -> f32 + Copy) -> Result<()> {
        self.session.model.wait_for_cancelled();
        let inner = self.inner();
        {
            let mut pages = inner.pages();
            pages.clear();
            if pages.left() < pages.total() {
                let reason =
                    "the whole cache is written to, of which others have pages: end their answers first";
                return Err(Error::Option(reason.into()));
            }
        }
        for layer in &inner.kv {
            match layer {
                LayerCache::F32(kv) => self.write_layer(kv, value)?,
                LayerCache::F16(kv) => self.write_layer(kv, value)?,
            }
        }
        Ok(())
    }

    fn write_layer<T: KvElement>(&self, kv: &KvCache<T>, value: impl Fn(usize) -> f32) -> Result<()> {
        // A number that is none stays none.
        let element = |i| if value(i).is_nan() { T::NAN } else { T::nearest(value(i)) };
        for KvPart { k, v } in &kv.parts {
            let elements = k.shape().iter().map(|&n| n as usize).product();
            let values: Vec<T> = (0..elements).map(element).collect();
            k.write(&self.inner().gpu, &values)?;
            v.write(&self.inner().gpu, &values)?;
        }
        Ok(())
    }
}
