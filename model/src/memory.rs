//! Plans where each part of a model lives, before anything is allocated.

use std::sync::Arc;

use strix_engine::{Decision, Gpu, Graph, MAX_GROUPS, MAX_TRIPS, Resident, Shader, Stream, Target, Usage};
use strix_shaders::cursors::PAGE;

use crate::abstractor::Abstractor;
use crate::config::Config;
use crate::context::{Refused, TooLong};
use crate::decoder::{Decoder, RecordedRun, Regime, Rows, Tap};
use crate::encoder::RecordedEncoder;
use crate::error::{ContextLimit, MemoryShort};
use crate::held::{Component, Held};
use crate::kv_cache::{KvDtype, LayerCache};
use crate::options::LoadOptions;
use crate::packed;
use crate::parts::{Declaring, Part, Parts};
use crate::place::Streaming;
use crate::vision::Vision;
use crate::weights::Weights;
use crate::{Error, Result, kv_cache, pictures};

/// Rows of a prefill chunk where layers are streamed, if there is room: every chunk brings all of them.
const STREAMED_CHUNKS: [u32; 4] = [512, 256, 128, 64];

/// Part of the free memory that is left to other programs, as one over this. It applies where no budget was given.
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
    /// Its home.
    pub home: Home,
}

/// Where a part of a model is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Home {
    /// In buffers of the device.
    Resident,
    /// In the mapped file. The device reads it there.
    Mapped,
    /// In the file; it comes to the device while it is used.
    Streamed,
}

/// Where each part of a model lives.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    /// The parts, largest matters first: weights, KV cache, activations, staging.
    pub parts: Vec<MemoryPart>,
    /// Device bytes that may be used; `None` if unknown.
    pub budget_bytes: Option<u64>,
    /// Number of decoder layers that stay on the device, and of all.
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

    /// The layers of the decoder that are streamed. They are spread evenly, so that one comes while others are
    /// computed.
    pub(crate) fn streaming(&self) -> Streaming {
        let [resident, all] = self.resident_layers;
        let streamed = all - resident;
        let decoder = (0..all).map(|i| (i + 1) * streamed / all > i * streamed / all).collect();
        Streaming { vision: streamed > 0, decoder }
    }
}

/// Memory of the device. By default its size is unknown, and nothing is shared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    /// Bytes that may be used; `None` if unknown.
    pub budget_bytes: Option<u64>,
    /// Whether the caller set the budget. Else it is the free memory.
    pub asked: bool,
    /// Whether the device reads mapped files in place. They do not count then.
    pub imports: bool,
    /// Whether the host writes into the device's buffers, without staging.
    pub maps_storage: bool,
}

impl Room {
    /// Memory that a device offers to a checkpoint: the bytes asked for, or those that were free when it was opened.
    pub fn of(gpu: &Gpu, device_memory: Option<u64>, weights: Option<&Weights>) -> Self {
        let found = || gpu.memory_bytes().map(|bytes| bytes - bytes / SPARE);
        // Only what lies in a file as it does on the device can stay there, and whether the driver takes a file's
        // mapping shows when it is tried.
        let packed = weights.filter(|weights| weights.is_packed());
        let largest = packed.and_then(|weights| {
            let size = |name: &&str| weights.get(name).map_or(0, |view| view.byte_len());
            weights.host_bytes(weights.names().filter(|name| packed::is_weight(name)).max_by_key(size)?)
        });
        Self {
            budget_bytes: device_memory.or_else(found),
            asked: device_memory.is_some(),
            // A limit that was asked for holds for mapped memory as well: it stands for a smaller device.
            imports: device_memory.is_none() && largest.is_some_and(|bytes| gpu.can_import(&bytes)),
            maps_storage: gpu.maps_storage(),
        }
    }
}

/// Device bytes of the sections of a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sizes {
    pub vision: u64,
    pub abstractor: u64,
    pub embedding: u64,
    /// Each layer of the decoder.
    pub layers: Vec<u64>,
    /// Bytes of each that a decoded token reads.
    pub decoded: Vec<u64>,
    /// What follows the layers, and the rotations.
    pub head: u64,
}

impl Sizes {
    fn of(parts: &Parts, num_layers: usize) -> Self {
        let mut sizes = Self { layers: vec![0; num_layers], decoded: vec![0; num_layers], ..Self::default() };
        for part in parts.iter() {
            let bytes = part.bytes();
            match (part.section, part.layer) {
                (Component::Vision, _) => sizes.vision += bytes,
                (Component::Abstractor, _) => sizes.abstractor += bytes,
                (Component::Embedding, _) => sizes.embedding += bytes,
                (Component::Decoder, Some(layer)) => {
                    sizes.layers[layer] += bytes;
                    sizes.decoded[layer] += part.text_bytes();
                }
                (Component::Decoder | Component::Head, _) => sizes.head += bytes,
            }
        }
        sizes
    }

    /// Bytes of all weights.
    pub(crate) fn weights(&self) -> u64 {
        let layers: u64 = self.layers.iter().sum();
        self.vision + self.abstractor + self.embedding + layers + self.head
    }

    /// Bytes of the weights that a decoded token reads.
    pub(crate) fn decode(&self) -> u64 {
        self.decoded.iter().sum::<u64>() + self.head
    }
}

/// A model whose parts are declared. They have no content before they are placed.
pub(crate) struct Declared {
    pub vision: Vision,
    pub abstractor: Abstractor,
    pub decoder: Decoder,
    pub parts: Parts,
    pub sizes: Sizes,
    pub kv: Vec<LayerCache>,
    /// Pages of the KV cache.
    pub pages: u32,
    /// Rows of encoded pictures.
    pub pictures: Resident<f32, 2>,
    ctx: u32,
}

/// The programs of a session, each recorded once: they are planned, and then compiled.
#[derive(Debug)]
pub(crate) struct Programs {
    pub encode: RecordedEncoder,
    pub prefill: RecordedRun,
    pub decode: RecordedRun,
}

/// Programs that are recorded and not compiled yet.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    pub encode: Option<RecordedEncoder>,
    /// For one sequence each.
    pub prefill: Option<RecordedRun>,
    pub decode: Option<RecordedRun>,
}

impl From<Programs> for Planned {
    fn from(programs: Programs) -> Self {
        let Programs { encode, prefill, decode } = programs;
        Self { encode: Some(encode), prefill: Some(prefill), decode: Some(decode) }
    }
}

impl Programs {
    /// Their kernels, each once, in the order of decoding, prefill and vision.
    pub(crate) fn shaders(&self) -> Vec<Arc<Shader>> {
        let mut shaders: Vec<Arc<Shader>> = vec![];
        for step in self.graphs().flat_map(Graph::steps) {
            if !shaders.iter().any(|other| other.label == step.shader.label) {
                shaders.push(step.shader.clone());
            }
        }
        shaders
    }

    /// The choices that were made while they were recorded, each once.
    pub(crate) fn decisions(&self) -> Vec<Decision> {
        let mut decisions: Vec<Decision> = vec![];
        for decision in self.graphs().flat_map(Graph::decisions) {
            if !decisions.contains(decision) {
                decisions.push(decision.clone());
            }
        }
        decisions
    }

    fn graphs(&self) -> impl Iterator<Item = &Graph> {
        [&self.decode.graph, &self.prefill.graph, &self.encode.graph].into_iter()
    }

    /// Memory that they take, and the rows of the prefill.
    fn usages(&self, chunk: u32) -> Usages {
        let [vision, prefill, decode] =
            [&self.encode.graph, &self.prefill.graph, &self.decode.graph].map(|graph| graph.plan().usage);
        Usages { chunk, vision, prefill, decode }
    }
}

impl Declared {
    /// `weights` tell what dtypes are stored; without them the published ones are assumed.
    pub(crate) fn new(
        config: &Config,
        options: &LoadOptions,
        target: &Target,
        weights: Option<&Weights>,
        ctx: u32,
    ) -> Result<Self> {
        let is_limited = options.device_memory.is_some();
        let limit = target.max_binding_bytes;
        let pages =
            kv_cache::pool_pages(&config.text, options.kv, options.kv_memory, is_limited, ctx, limit)?;
        let (rounding, held) = (options.rounding(), Held::of(weights));
        let mut declaring = Declaring::new(target.clone(), rounding, options.activations, held);
        let vision = Vision::declare(&mut declaring, &config.vision)?;
        let abstractor = Abstractor::declare(&mut declaring, config)?;
        let decoder = Decoder::declare(&mut declaring, &config.text, ctx as usize)?;
        let parts = declaring.finish();
        Ok(Self {
            vision,
            abstractor,
            decoder,
            sizes: Sizes::of(&parts, config.text.num_hidden_layers),
            parts,
            kv: kv_cache::allocate(&config.text, options.kv, pages, limit),
            pages,
            pictures: pictures::declare(config, options, limit),
            ctx,
        })
    }

    /// Bytes of the KV cache.
    pub(crate) fn kv_bytes(&self) -> u64 {
        self.kv.iter().map(LayerCache::bytes).sum()
    }

    /// The programs of a session whose prompts come in chunks of so many rows.
    pub(crate) fn programs(&self, config: &Config, target: &Target, chunk: u32) -> Programs {
        let run = |regime, rows| self.record_run(config, target, regime, rows);
        Programs {
            encode: RecordedEncoder::new(target.clone(), config, &self.vision, &self.abstractor),
            prefill: run(Regime::Prefill, chunk),
            decode: run(Regime::Decode, 1),
        }
    }

    /// The decoder's program for so many rows of one sequence.
    pub(crate) fn record_run(
        &self,
        config: &Config,
        target: &Target,
        regime: Regime,
        rows: u32,
    ) -> RecordedRun {
        let mut g = Graph::for_planning(target.clone());
        let rows = Rows::declare(&mut g, regime, rows, 1, self.ctx, &self.pictures);
        let tap = &mut Tap::default();
        let out = self.decoder.record(&mut g, &config.text, &self.kv, rows, false, tap);
        RecordedRun { graph: g, rows, out }
    }

    /// Decides what lives where, and records the programs.
    ///
    /// # Errors
    ///
    /// If it does not fit even with every layer streamed, or a binding does not hold the context or a chunk: what is
    /// needed, and which options need less.
    pub(crate) fn plan(
        &self,
        config: &Config,
        options: &LoadOptions,
        target: &Target,
        room: Room,
    ) -> std::result::Result<(MemoryPlan, Programs), Refused> {
        let (ctx, limit) = (self.ctx, target.max_binding_bytes);
        let rows = |rows: u32| rows.min(ctx.max(2));
        let chunk = rows(options.chunk);
        let mut programs = self.programs(config, target, chunk);
        let steps = programs.decode.graph.steps().iter().chain(programs.prefill.graph.steps());
        let attention = steps.filter(|step| step.label.contains("attention"));
        fits_loops(attention.map(|step| step.trips).max().unwrap_or(0), ctx)?;
        kv_cache::fits_binding(&config.text, &self.kv, ctx, limit)?;
        let asked = programs.usages(chunk);
        let largest = asked.prefill.largest_bytes;
        let most = u64::from(chunk) * limit / largest.max(1);
        if largest > limit && most >= 2 {
            let (bytes, largest) = (largest, most as u32);
            return Err(Refused::Other(Error::ChunkTooLarge { chunk, bytes, limit, largest }));
        }
        let graphs = [&programs.encode.graph, &programs.decode.graph, &programs.prefill.graph];
        graphs.into_iter().try_for_each(|g| fits_kernels(g, limit))?;
        let whole = self.arrange(&asked, room, None);
        let Some(budget) = room.budget_bytes.filter(|&budget| whole.device_bytes() > budget) else {
            return Ok((whole, programs));
        };
        // The largest chunk that leaves room for the model; it need not be larger than was asked for.
        let least = |usages: &Usages| self.arrange(usages, room, Some(0)).device_bytes();
        let larger = STREAMED_CHUNKS.into_iter().filter(|&rows| rows > options.chunk).map(rows);
        let recorded = larger.map(|chunk| {
            let prefill = self.record_run(config, target, Regime::Prefill, chunk);
            (Usages { chunk, prefill: prefill.graph.plan().usage, ..asked }, prefill)
        });
        let mut larger =
            recorded.filter(|(usages, _)| usages.prefill.largest_bytes <= limit && least(usages) <= budget);
        let usages = match larger.next() {
            Some((usages, prefill)) => {
                programs.prefill = prefill;
                usages
            }
            None if least(&asked) <= budget => asked,
            None => return Err(self.does_not_fit(options, &self.arrange(&asked, room, Some(0)), room)),
        };
        // Each layer that stays takes its own bytes; an even number of streamed layers lets the next token's first
        // come while this token's last is computed.
        let layers = &self.sizes.layers;
        let (largest, spare) = (layers.iter().max(), budget - least(&usages));
        let fit = usize::try_from(spare / largest.copied().unwrap_or(1).max(1)).unwrap_or(usize::MAX);
        let fit = fit.min(layers.len().saturating_sub(1));
        let odd = (layers.len() - fit) % 2;
        Ok((self.arrange(&usages, room, Some(fit.saturating_sub(odd))), programs))
    }

    /// The plan with so many resident layers; `None`: nothing is streamed.
    fn arrange(&self, usages: &Usages, room: Room, resident: Option<usize>) -> MemoryPlan {
        let layers = &self.sizes.layers;
        let mut plan = MemoryPlan {
            parts: vec![],
            budget_bytes: room.budget_bytes,
            resident_layers: [resident.unwrap_or(layers.len()), layers.len()],
            streamed_bytes: 0,
            chunk: usages.chunk,
        };
        let streaming = plan.streaming();
        let total = |bytes: &[u64], turn: bool| -> u64 {
            (0..bytes.len()).filter(|&i| streaming.decoder[i] == turn).map(|i| bytes[i]).sum()
        };
        plan.streamed_bytes = total(&self.sizes.decoded, true);

        let weights = |name, bytes| match room.imports {
            true => MemoryPart { name, bytes, device_bytes: 0, home: Home::Mapped },
            false => MemoryPart { name, bytes, device_bytes: bytes, home: Home::Resident },
        };
        let on_device = |name, bytes| MemoryPart { name, bytes, device_bytes: bytes, home: Home::Resident };
        let mut staging = strix_engine::STAGING_BYTES;
        // Layers that take turns have two slots, and staging where the host cannot write into them.
        let mut in_turns = |name, section, bytes| {
            let slot = Stream::slot_bytes(&streaming.groups(&self.parts, section));
            staging += if room.maps_storage { 0 } else { slot };
            let others: u64 =
                self.parts.of(section).filter(|part| part.layer.is_none()).map(Part::bytes).sum();
            MemoryPart { name, bytes, device_bytes: others + 2 * slot, home: Home::Streamed }
        };
        let mut parts = vec![weights("decoder layers on the device", total(layers, false))];
        if plan.streams() {
            parts.push(in_turns("decoder layers that take turns", Component::Decoder, total(layers, true)));
        }
        parts.push(weights("embed_tokens", self.sizes.embedding));
        parts.push(weights("norm, lm_head, rope", self.sizes.head));
        if plan.streams() {
            parts.push(in_turns("vision tower", Component::Vision, self.sizes.vision));
            parts.push(in_turns("visual abstractor", Component::Abstractor, self.sizes.abstractor));
        } else {
            parts.push(weights("vision tower", self.sizes.vision));
            parts.push(weights("visual abstractor", self.sizes.abstractor));
        }
        parts.push(on_device("KV cache", self.kv_bytes()));
        parts.push(on_device("encoded pictures", self.pictures.bytes()));
        let usages = [usages.vision, usages.prefill, usages.decode];
        parts.push(on_device("activations", usages.iter().map(|u| u.activation_bytes).sum()));
        // Inputs are there twice: as the host writes and as kernels read them.
        let inputs: u64 = usages.iter().map(|u| 2 * u.input_bytes).sum();
        parts.push(on_device("inputs and staging", inputs + staging));
        MemoryPlan { parts, ..plan }
    }

    /// The memory that is missing, and the context for which none is.
    fn does_not_fit(&self, options: &LoadOptions, least: &MemoryPlan, room: Room) -> Refused {
        let (needed_bytes, budget_bytes) = (least.device_bytes(), room.budget_bytes.unwrap_or(0));
        let (kv_bytes, block) = (self.kv_bytes(), u64::from(PAGE));
        let (fixed, position) = (needed_bytes - kv_bytes, kv_bytes / (u64::from(self.pages) * block));
        let fewer = budget_bytes.saturating_sub(fixed) / position.max(1) / block * block;
        let f16_fits = options.kv == KvDtype::F32 && needed_bytes - kv_bytes / 2 <= budget_bytes;
        let short = MemoryShort { needed_bytes, kv_bytes, budget_bytes, is_limited: room.asked, f16_fits };
        match fewer {
            0 => Refused::Other(Error::DeviceMemory(short)),
            most => TooLong { ctx: self.ctx, most, limit: ContextLimit::Memory(short) }.into(),
        }
    }
}

/// Checks that attention over the context loops no more often than every driver does.
fn fits_loops(trips: u64, ctx: u32) -> std::result::Result<(), TooLong> {
    /// Bound of the iterations of a kernel that do not depend on the context.
    const OTHERS: u64 = 256;
    if trips <= MAX_TRIPS {
        return Ok(());
    }
    let most = u64::from(ctx) * (MAX_TRIPS - OTHERS) / trips;
    Err(TooLong { ctx, most, limit: ContextLimit::Loops { trips, limit: MAX_TRIPS } })
}

/// Checks that every step of a program is one that kernels and the device can run.
fn fits_kernels(g: &Graph, limit: u64) -> Result<()> {
    for step in g.steps() {
        let (label, [x, y, z]) = (&step.label, step.groups);
        if step.groups.iter().any(|&side| side > MAX_GROUPS) {
            return Err(Error::Config(format!(
                "{label} would be a grid of {x} x {y} x {z} workgroups, and devices take {MAX_GROUPS} a side: its sizes \
                 are too large"
            )));
        }
        if step.trips > MAX_TRIPS {
            return Err(Error::Config(format!(
                "{label} would loop {} times in one invocation, and drivers drop what exceeds {MAX_TRIPS}: its sizes \
                 are too large",
                step.trips
            )));
        }
        let bytes = step.args.iter().map(|arg| (g.bytes_of(arg.id), g.label_of(arg.id)));
        if let Some((bytes, label)) = bytes.filter(|(bytes, _)| *bytes > limit).max() {
            let label = label.to_owned();
            return Err(strix_engine::Error::BufferTooLarge { label, bytes, limit }.into());
        }
    }
    Ok(())
}

/// Memory that the programs of a session take.
#[derive(Clone, Copy)]
struct Usages {
    /// Rows of a prefill.
    chunk: u32,
    vision: Usage,
    prefill: Usage,
    decode: Usage,
}
