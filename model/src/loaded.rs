//! A loaded checkpoint, which the programs of a model share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strix_engine::{Gpu, Resident, Stream, Streamed};

use crate::abstractor::Abstractor;
use crate::checkpoint::present;
use crate::config::{Config, PreprocessorConfig};
use crate::constraint::Vocabulary;
use crate::decoder::Decoder;
use crate::kv_cache::{self, LayerCache};
use crate::kv_pool::{Full, Pages, Sequence, Stamp};
use crate::memory::{MemoryPlan, Planned, Sizes};
use crate::options::LoadOptions;
use crate::pictures::Pictures;
use crate::rows::Row;
use crate::tokenizer::Tokenizer;
use crate::vision::Vision;
use crate::{Error, Result};

/// A checkpoint on a device: weights, cache and pictures, without the programs that run them.
pub(crate) struct Loaded {
    pub(crate) gpu: Gpu,
    pub(crate) config: Config,
    pub(crate) preprocessor: PreprocessorConfig,
    pub(crate) eos: Vec<u32>,
    pub(crate) tokenizer: Option<Arc<Tokenizer>>,
    /// Of the tokenizer, once an answer is constrained.
    pub(crate) vocabulary: Vocabulary,
    pub(crate) options: LoadOptions,
    pub(crate) ctx: u32,
    pub(crate) notes: Vec<String>,
    /// Of its weights and its config.
    pub(crate) fingerprint: String,
    pub(crate) memory: MemoryPlan,
    /// Bytes of its weights.
    pub(crate) sizes: Sizes,
    pub(crate) streams: Vec<Stream>,
    pub(crate) vision: Vision,
    pub(crate) abstractor: Abstractor,
    pub(crate) decoder: Decoder,
    /// Keys and values of all conversations.
    pub(crate) kv: Vec<LayerCache>,
    pub(crate) pages: Mutex<Pages>,
    /// Rows of encoded pictures.
    pub(crate) visual: Resident<f32, 2>,
    /// Whether noise was written to all of the cache once, for timing.
    pub(crate) has_noise: AtomicBool,
    pub(crate) pictures: Mutex<Pictures>,
    pub(crate) planned: Mutex<Planned>,
    /// The row that ends every image.
    pub(crate) vit_eos: Vec<f32>,
}

impl Loaded {
    /// Programs that were recorded with the plan and are not compiled yet.
    pub(crate) fn planned(&self) -> MutexGuard<'_, Planned> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is on which page of the cache.
    pub(crate) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a sequence as [`Pages::start`] does, with what its last page is to be a copy of.
    pub(crate) fn start<'a>(
        &self,
        rows: &[Row],
        most: usize,
        own: &[Stamp],
        others: impl Iterator<Item = &'a Sequence>,
    ) -> std::result::Result<Sequence, NotBegun> {
        let mut pages = self.pages();
        let mut sequence = pages.start(rows, most, own, others).map_err(NotBegun::Full)?;
        // As long as the pool is locked, nobody writes over the page.
        if let Some(copied) = sequence.copied()
            && let Err(error) = kv_cache::copy_page(&self.gpu, &self.kv, copied)
        {
            pages.abandon(sequence);
            return Err(NotBegun::Failed(error));
        }
        Ok(sequence)
    }

    /// Encoded pictures.
    pub(crate) fn pictures(&self) -> MutexGuard<'_, Pictures> {
        self.pictures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tokenizer, for what cannot do without.
    pub(crate) fn tokenizer(&self) -> Result<&Tokenizer> {
        present(self.tokenizer.as_deref())
    }

    /// What was streamed to the device so far.
    pub(crate) fn streamed(&self) -> Streamed {
        self.streams.iter().map(Stream::moved).fold(Streamed::default(), Streamed::and)
    }
}

/// Why a sequence is not begun.
#[derive(Debug)]
pub(crate) enum NotBegun {
    /// The pool has no room.
    Full(Full),
    /// The device.
    Failed(Error),
}

impl NotBegun {
    /// The error of a sequence that may come to so many positions.
    pub(crate) fn error(self, positions: usize) -> Error {
        match self {
            Self::Full(full) => full.error(positions),
            Self::Failed(error) => error,
        }
    }
}
