//! What of a model will live where, decided before anything is allocated.

use strix_engine::{Gpu, Graph, Stream, Target, Usage};

use crate::abstractor::Abstractor;
use crate::config::Config;
use crate::decoder::{Decoder, Rows, Tap};
use crate::kv_cache::{KvDtype, LayerCache};
use crate::loader::{Loader, Rounding, Streaming};
use crate::model::{LoadOptions, record_vision};
use crate::vision::Vision;
use crate::weights::Weights;
use crate::{Error, Result, kv_cache};

/// Rows of a prefill chunk where layers are streamed, if there is room: every chunk brings all of them.
const STREAMED_CHUNKS: [u32; 4] = [512, 256, 128, 64];

/// Part of a budget that was not given but found which is left to others.
const SPARE: u64 = 10;

/// Bytes of one part of a model, and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPart {
    /// E.g. `KV cache`.
    pub name: &'static str,
    /// Bytes it takes in all.
    pub bytes: u64,
    /// Bytes of it that take up device memory.
    pub device_bytes: u64,
    /// What they are there as.
    pub home: Home,
}

/// How a part of a model is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Home {
    /// In buffers of the device.
    Resident,
    /// In the mapped file, which the device reads where it is.
    Mapped,
    /// In the file; it comes to the device while it is used.
    Streamed,
}

/// What will live where.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    /// The parts, largest matters first: weights, KV cache, activations, staging.
    pub parts: Vec<MemoryPart>,
    /// Device bytes that may be used; `None` where it is not known.
    pub budget_bytes: Option<u64>,
    /// Layers of the decoder that stay on the device, and how many there are.
    pub resident_layers: [usize; 2],
    /// Bytes that come to the device for each decoded token.
    pub streamed_bytes: u64,
    /// Rows of a prefill chunk.
    pub chunk: u32,
}

impl MemoryPlan {
    /// Device bytes of all parts.
    pub fn device_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.device_bytes).sum()
    }

    /// Whether some layers are streamed.
    pub fn streams(&self) -> bool {
        self.resident_layers[0] < self.resident_layers[1]
    }

    /// Which layers of the decoder are streamed: evenly spread, so that one comes while others are computed.
    pub(crate) fn streaming(&self) -> Streaming {
        let [resident, all] = self.resident_layers;
        let streamed = all - resident;
        let decoder = (0..all).map(|i| (i + 1) * streamed / all > i * streamed / all).collect();
        Streaming { vision: streamed > 0, decoder }
    }
}

/// What the device offers; by default nobody knows, and nothing is shared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    /// Bytes that may be used; `None`: nobody knows.
    pub budget_bytes: Option<u64>,
    /// Whether mapped files are used where they are, and do not count.
    pub imports: bool,
    /// Whether the host writes into the device's buffers, without staging.
    pub shares_memory: bool,
}

impl Room {
    /// What a device offers: the bytes asked for, or those that were free when it was opened.
    pub fn of(gpu: &Gpu, device_memory: Option<u64>) -> Self {
        let found = || gpu.memory_bytes().map(|bytes| bytes - bytes / SPARE);
        Self {
            budget_bytes: device_memory.or_else(found),
            // A limit that was asked for holds for mapped memory as well: it stands for a smaller device.
            imports: gpu.imports() && device_memory.is_none(),
            shares_memory: gpu.shares_memory(),
        }
    }
}

/// A model whose tensors are declared and not read.
pub(crate) struct Declared {
    pub vision: Vision,
    pub abstractor: Abstractor,
    pub decoder: Decoder,
    pub kv: Vec<LayerCache>,
}

impl Declared {
    /// `weights` tell what dtypes are stored; without them the published ones are assumed.
    pub(crate) fn new(
        config: &Config,
        rounding: Rounding,
        kv: KvDtype,
        target: &Target,
        weights: Option<&Weights>,
        ctx: u32,
    ) -> Result<Self> {
        let mut loader = Loader::declare(*target, rounding, weights);
        Ok(Self {
            vision: Vision::load(&mut loader, &config.vision)?,
            abstractor: Abstractor::load(&mut loader, config)?,
            decoder: Decoder::load(&mut loader, &config.text, ctx as usize)?,
            kv: kv_cache::allocate(&config.text, kv, ctx),
        })
    }

    /// Bytes of the weights.
    pub(crate) fn weight_bytes(&self) -> u64 {
        self.vision.bytes() + self.abstractor.bytes() + self.decoder.bytes()
    }

    /// Bytes of the KV cache.
    pub(crate) fn kv_bytes(&self) -> u64 {
        self.kv.iter().map(LayerCache::bytes).sum()
    }

    /// The program that encodes a picture.
    pub(crate) fn vision_usage(&self, config: &Config, target: &Target) -> Usage {
        let mut g = Graph::new(*target);
        record_vision(&mut g, config, &self.vision, &self.abstractor);
        g.plan().usage
    }

    /// The decoder's program for so many rows, and its dispatches a layer.
    pub(crate) fn decoder_usage(&self, config: &Config, target: &Target, rows: u32) -> (Usage, usize) {
        let mut g = Graph::new(*target);
        let inputs = Rows::declare(&mut g, &config.text, rows);
        self.decoder.record(&mut g, &config.text, &self.kv, inputs, false, &mut Tap::default());
        let layer = g.steps().iter().filter(|s| s.label.starts_with("decoder.0.")).count();
        (g.plan().usage, layer)
    }

    /// Decides what lives where.
    ///
    /// # Errors
    ///
    /// If it does not fit even with every layer streamed, or the context does not fit a binding: what is needed, and
    /// which options need less.
    pub(crate) fn plan(
        &self,
        config: &Config,
        options: &LoadOptions,
        target: &Target,
        ctx: u32,
        room: Room,
    ) -> Result<MemoryPlan> {
        kv_cache::fits_binding(&self.kv, options.kv, ctx, target.max_binding_bytes)?;
        let whole = self.arrange(config, target, ctx, options.chunk, room, None);
        let Some(budget) = room.budget_bytes.filter(|&budget| whole.device_bytes() > budget) else {
            return Ok(whole);
        };
        let layers = self.decoder.layer_bytes();
        let possible = |rows: &u32| {
            let usage = || self.decoder_usage(config, target, (*rows).min(ctx.max(2))).0;
            *rows > options.chunk && usage().largest_bytes <= target.max_binding_bytes
        };
        let mut chunks: Vec<u32> = STREAMED_CHUNKS.into_iter().filter(possible).collect();
        chunks.push(options.chunk);
        let least = |&chunk: &u32| self.arrange(config, target, ctx, chunk, room, Some(0));
        let fits = |plan: &MemoryPlan| plan.device_bytes() <= budget;
        let Some(least) = chunks.iter().map(least).find(fits) else {
            let least = self.arrange(config, target, ctx, options.chunk, room, Some(0));
            return Err(Error::Option(self.does_not_fit(options, ctx, &least, budget)));
        };
        let (chunk, spare) = (least.chunk, budget - least.device_bytes());
        // Each layer that stays takes its own bytes; an even number of streamed layers lets the next token's first
        // come while this token's last is computed.
        let largest = layers.iter().copied().max().unwrap_or(1).max(1);
        let fit = usize::try_from(spare / largest).unwrap_or(usize::MAX).min(layers.len().saturating_sub(1));
        let odd = (layers.len() - fit) % 2;
        let plan = self.arrange(config, target, ctx, chunk, room, Some(fit.saturating_sub(odd)));
        debug_assert!(plan.device_bytes() <= budget);
        Ok(plan)
    }

    /// The plan with so many resident layers; `None`: nothing is streamed.
    fn arrange(
        &self,
        config: &Config,
        target: &Target,
        ctx: u32,
        chunk: u32,
        room: Room,
        resident: Option<usize>,
    ) -> MemoryPlan {
        let layers = self.decoder.layer_bytes();
        let largest = |bytes: &[u64]| bytes.iter().copied().max().unwrap_or(0);
        let [vision_blocks, abstractor_layers] = [self.vision.block_bytes(), self.abstractor.layer_bytes()];
        let kept = if room.imports { Home::Mapped } else { Home::Resident };
        let weights = |name, bytes| MemoryPart {
            name,
            bytes,
            device_bytes: if room.imports { 0 } else { bytes },
            home: kept,
        };
        let taking_turns = |name, bytes: u64, groups: &[u64]| match resident {
            None => weights(name, bytes),
            Some(_) => MemoryPart {
                name,
                bytes,
                device_bytes: bytes - groups.iter().sum::<u64>() + Stream::slot_bytes(largest(groups)),
                home: Home::Streamed,
            },
        };
        let on_device = |name, bytes| MemoryPart { name, bytes, device_bytes: bytes, home: Home::Resident };

        let resident = resident.unwrap_or(layers.len());
        let streamed = layers.len() - resident;
        let [embed_tokens, head] = [self.decoder.embed_bytes(), self.decoder.head_bytes()];
        let slots = if streamed > 0 { Stream::slot_bytes(largest(&layers)) } else { 0 };
        let of_layers = |part: usize| layers.iter().take(part).sum::<u64>();
        let mut parts = vec![weights("decoder layers on the device", of_layers(resident))];
        if streamed > 0 {
            parts.push(MemoryPart {
                name: "decoder layers that take turns",
                bytes: layers.iter().sum::<u64>() - of_layers(resident),
                device_bytes: slots,
                home: Home::Streamed,
            });
        }
        parts.extend([
            weights("embed_tokens", embed_tokens),
            weights("norm, lm_head, rope", head),
            taking_turns("vision tower", self.vision.bytes(), &vision_blocks),
            taking_turns("visual abstractor", self.abstractor.bytes(), &abstractor_layers),
            on_device("KV cache", self.kv_bytes()),
        ]);
        let chunk = chunk.min(ctx.max(2));
        let usages = [
            self.vision_usage(config, target),
            self.decoder_usage(config, target, chunk).0,
            self.decoder_usage(config, target, 1).0,
        ];
        parts.push(on_device("activations", usages.iter().map(|u| u.activation_bytes).sum()));
        // Inputs are there twice: as the host writes and as kernels read them.
        let staging = if room.imports { 0 } else { strix_engine::STAGING_BYTES };
        let group = if streamed > 0 && !room.shares_memory { largest(&layers) } else { 0 };
        let inputs: u64 = usages.iter().map(|u| 2 * u.input_bytes).sum();
        parts.push(on_device("inputs and staging", inputs + staging + group));
        let mut plan = MemoryPlan {
            parts,
            budget_bytes: room.budget_bytes,
            resident_layers: [resident, layers.len()],
            streamed_bytes: 0,
            chunk,
        };
        let decoded = self.decoder.decoded_bytes();
        plan.streamed_bytes = decoded
            .iter()
            .zip(plan.streaming().decoder)
            .filter(|(_, turns)| *turns)
            .map(|(bytes, _)| bytes)
            .sum();
        plan
    }

    /// Why nothing fits, and what would.
    fn does_not_fit(&self, options: &LoadOptions, ctx: u32, least: &MemoryPlan, budget: u64) -> String {
        let needed = least.device_bytes();
        let fixed = needed - self.kv_bytes();
        let position = self.kv_bytes() / u64::from(ctx.max(1));
        let mut ways = vec![format!("--device-memory {}", mib(needed))];
        if let Some(positions) =
            budget.checked_sub(fixed).map(|left| left / position.max(1)).filter(|&n| n > 0)
        {
            ways.push(format!("--ctx {positions}"));
        }
        if options.kv == KvDtype::F32 && needed - self.kv_bytes() / 2 <= budget {
            ways.push("--kv f16".into());
        }
        format!(
            "the model needs {} of device memory even with every layer streamed ({} of it for the KV cache of {ctx} \
             positions), and may use {}: it fits with {}",
            mib(needed),
            mib(self.kv_bytes()),
            mib(budget),
            ways.join(" or ")
        )
    }
}

fn mib(bytes: u64) -> String {
    format!("{}MiB", bytes.div_ceil(1 << 20))
}
