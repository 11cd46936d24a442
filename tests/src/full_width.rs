//! The layers at the width of the 8.2B model, on the device and on the CPU: what small shapes cannot show, such as
//! loops that end early, indices past 32 bits, tensors cut over bindings and offsets that are not aligned.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use strix_engine::Gpu;
use strix_model::tokenizer::PromptId;
use strix_model::weights::FileDtype;
use strix_model::{Config, Dtype, LoadOptions, Model, Source, Weights, unwatched};

use crate::golden::{Run, distance};
use crate::reference::{Cache, Points, Reference, Rows};
use crate::uniform;

/// Largest error, relative to the tensor's largest value: that of f32 sums over 11,008 columns.
pub const BOUND: f32 = 1e-5;

/// Positions of the long context.
pub const CTX: usize = 4096;

/// The 8.2B model's config with fewer layers.
///
/// # Panics
///
/// If the file in the repository is not what it should be.
pub fn config(decoder_layers: usize, vision_layers: usize, abstractor_layers: usize) -> Config {
    let mut config = Config::from_json(include_bytes!("../spec/config_8b.json")).expect("config_8b.json");
    config.text.num_hidden_layers = decoder_layers;
    config.vision.num_hidden_layers = vision_layers;
    config.abstractor.num_hidden_layers = abstractor_layers;
    config
}

/// The errors of some weights' rounding.
#[derive(Clone, Debug)]
pub struct Report {
    /// What they are rounded to.
    pub dtype: Dtype,
    /// Error of each tensor, relative to its largest value.
    pub errors: BTreeMap<String, f32>,
    /// Seconds on the device and on the CPU.
    pub seconds: [f64; 2],
}

impl Report {
    /// The tensor with the largest error, and the error.
    pub fn worst(&self) -> (&str, f32) {
        let worst = self.errors.iter().max_by(|a, b| a.1.total_cmp(b.1));
        worst.map_or(("no tensor", f32::INFINITY), |(name, error)| (name, *error))
    }

    /// Whether all are within [`BOUND`].
    pub fn good(&self) -> bool {
        self.worst().1 <= BOUND
    }

    fn note(&mut self, name: &str, got: &[f32], want: &[f32]) -> Result<()> {
        let error = distance(got, want).with_context(|| format!("{}: {name}", self.dtype))?.relative;
        let worst = self.errors.entry(name.to_owned()).or_default();
        *worst = worst.max(error);
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, worst) = self.worst();
        write!(f, "{}: {} tensors, worst {worst:.1e} in {name}", self.dtype, self.errors.len())?;
        write!(f, "; {:.0} s on the device, {:.0} s on the CPU", self.seconds[0], self.seconds[1])
    }
}

/// A model of full width with seeded weights.
#[derive(Debug)]
pub struct FullWidth {
    model: Model,
    config: Config,
    weights: Arc<Weights>,
    options: LoadOptions,
    report: Report,
}

impl FullWidth {
    /// Makes the weights, stored as `stored`, and loads them as `options` say.
    ///
    /// # Errors
    ///
    /// If the device has no room for them.
    pub fn new(gpu: &Gpu, config: Config, stored: FileDtype, options: &LoadOptions) -> Result<Self> {
        let start = Instant::now();
        let weights = Arc::new(Weights::synthetic(&config, stored, 1));
        let source = Source::Weights { config: &config, weights: &weights, tokenizer: None };
        let model = Model::load_on(gpu, source, options, &mut unwatched)?;
        let dtype = options.dtype;
        let report = Report { dtype, errors: BTreeMap::new(), seconds: [start.elapsed().as_secs_f64(), 0.0] };
        Ok(Self { model, config, weights, options: options.clone(), report })
    }

    /// The errors so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    fn reference(&self) -> Result<Reference<'_>> {
        Reference::new(&self.config, &self.weights, &self.options)
    }

    /// Seeded ids of text.
    fn text(&self, seed: u64, n: usize) -> Vec<PromptId> {
        let vocab = self.config.text.vocab_size as f32;
        uniform(seed, n).into_iter().map(|u| PromptId::Token(((u + 1.0) / 2.0 * vocab) as u32)).collect()
    }

    /// Every tensor of encoding a picture and of the decoder over `text` tokens before it and as many after it.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn check_all(&mut self, text: usize, vision: bool) -> Result<()> {
        let side = self.config.vision.image_size;
        let pixels = uniform(2, self.config.vision.num_channels * side * side);
        let ids = [self.text(3, text), vec![PromptId::Picture], self.text(4, text)].concat();
        let start = Instant::now();
        let run = Run::with(&self.model, &[&pixels], &ids)?;
        self.report.seconds[0] += start.elapsed().as_secs_f64();

        let start = Instant::now();
        let reference = self.reference()?;
        let mut points = Points::default();
        if vision {
            let features = reference.vision(&pixels, &mut points)?;
            reference.abstractor(&features, &mut points)?;
        }
        // The device's own: an error of the decoder is not one of the vision tower.
        let embeds = Rows::from_f32(self.config.text.hidden_size, &run.embeds()[0]);
        reference.decoder(&ids, &[embeds], &mut points)?;
        self.report.seconds[1] += start.elapsed().as_secs_f64();
        for (name, want) in &points.0 {
            let got = run.point(name)?.with_context(|| format!("our run has no {name}"))?;
            self.report.note(name, &got, want)?;
        }
        Ok(())
    }

    /// The decoder layer's last chunk of a context of `positions`, and a decode step at its last position; two
    /// pictures are in it, one of them reaching into the last chunk. For a model of one decoder layer.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn check_end(&mut self, positions: usize) -> Result<()> {
        let width = self.config.text.hidden_size;
        let image = self.config.num_image_tokens();
        let chunk = self.options.chunk as usize;
        let last = (positions - 1) / chunk * chunk;
        // Rows of both kinds are in the last chunk, a token at its end.
        let after = (positions - last).div_ceil(2);
        let between = (positions - after).checked_sub(5 + 2 * image);
        let between = between.with_context(|| format!("{positions} positions hold no two pictures"))?;
        let ids = [
            self.text(5, 5),
            vec![PromptId::Picture],
            self.text(6, between),
            vec![PromptId::Picture],
            self.text(7, after),
        ]
        .concat();
        // As large as a token's embedding.
        let table = self.weights.get("model.embed_tokens.weight").context("embed_tokens")?;
        let mut row = vec![0.0; width];
        table.read_f32(0, &mut row)?;
        let size = row.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let images = [8, 9]
            .map(|seed| -> Vec<f32> { uniform(seed, image * width).into_iter().map(|u| u * size).collect() });

        let start = Instant::now();
        let mut session = self.model.session()?;
        for image in &images {
            session.add_embeds(image.as_slice().into());
        }
        let [chunk, step] =
            session.inspect().trace_end(&ids)?.map(|trace| trace.into_iter().collect::<BTreeMap<_, _>>());
        self.report.seconds[0] += start.elapsed().as_secs_f64();

        let start = Instant::now();
        let reference = self.reference()?;
        let images = images.map(|image| Rows::from_f32(width, &image));
        let (x, modality) = reference.embed(&ids, &images)?;
        let mut cache = Cache::default();
        reference.fill(0, &x.slice(0..last), &modality[..last], &mut cache)?;
        let mut points = Points::default();
        let y = reference.decoder_layer(
            0,
            &x.slice(last..positions),
            &modality[last..],
            &mut cache,
            &mut points,
        )?;
        reference.logits(&y.slice(y.len() - 1..y.len()), &mut points)?;
        self.report.seconds[1] += start.elapsed().as_secs_f64();

        let rows = positions - last;
        for (what, trace, rows) in [("last chunk", &chunk, rows), ("decode step", &step, 1)] {
            let qkv = trace.get("decoder.0.qkv_proj").context("our run has no decoder.0.qkv_proj")?;
            let q = qkv.chunks_exact(width + 2 * self.config.text.kv_dim()).take(rows);
            let q: Vec<f32> = q.flat_map(|row| row[..width].to_vec()).collect();
            let want = &points.0["dec.layer0.q"];
            let name = format!("{positions} positions, {what}: dec.layer0.q");
            self.report.note(&name, &q, &want[want.len() - q.len()..])?;
            for (label, point) in [
                ("decoder.0.attention", "dec.layer0.attn_ctx"),
                ("decoder.0.down_proj", "dec.layer0"),
                ("lm_head", "logits"),
            ] {
                let got = trace.get(label).with_context(|| format!("our run has no {label}"))?;
                let want = &points.0[point];
                let live = if point == "logits" { want.len() } else { rows * width };
                let name = format!("{positions} positions, {what}: {point}");
                self.report.note(&name, &got[..live], &want[want.len() - live..])?;
            }
            for (label, want) in [("decoder.0.k_cache", &cache.k), ("decoder.0.v_cache", &cache.v)] {
                let got = trace.get(label).with_context(|| format!("our run has no {label}"))?;
                let name = format!("{positions} positions, {what}: {}", &label["decoder.0.".len()..]);
                // Ours is by head.
                let (heads, dim) = (self.config.text.num_key_value_heads, self.config.text.head_dim());
                let of = |(row, head)| &got[head * (got.len() / heads) + row * dim..][..dim];
                let all = (0..want.len()).flat_map(|row| (0..heads).map(move |head| (row, head)));
                let got: Vec<f32> = all.flat_map(of).copied().collect();
                self.report.note(&name, &got, &want.to_f32())?;
            }
        }
        Ok(())
    }
}
