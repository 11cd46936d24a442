//! How the tokens of an answer are chosen, and when it ends: options that commands share.

use strix_model::{GenerateOptions, SamplingParams};

use crate::constrain::Constrain;
use crate::terminal::whisper;
use crate::{Usage, load};

#[derive(clap::Args)]
pub(crate) struct Sampling {
    /// Randomness; 0 takes the likeliest token each time
    #[arg(long, value_name = "T", default_value_t = 0.0, help_heading = "Sampling")]
    temperature: f32,
    /// Draw only from the K likeliest tokens; 0 from all
    #[arg(long, value_name = "K", help_heading = "Sampling", value_parser = load::whole::<usize>)]
    top_k: Option<usize>,
    /// Draw only from the likeliest tokens that together reach this probability
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    top_p: Option<f32>,
    /// Draw only from tokens at least this fraction as likely as the likeliest
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    min_p: Option<f32>,
    /// Make tokens that were there before less likely; 1 does not
    #[arg(long, value_name = "F", help_heading = "Sampling")]
    repetition_penalty: Option<f32>,
    /// Make tokens that the answer has less likely, by so much once; from -2 to 2
    #[arg(long, value_name = "F", allow_negative_numbers = true, help_heading = "Sampling")]
    presence_penalty: Option<f32>,
    /// The same for each time that it has them
    #[arg(long, value_name = "F", allow_negative_numbers = true, help_heading = "Sampling")]
    frequency_penalty: Option<f32>,
    /// Add to the logit of a token, or rule it out with -inf; again for more
    #[arg(long, value_name = "ID:BIAS", help_heading = "Sampling", value_parser = bias)]
    logit_bias: Vec<(u32, f32)>,
    /// The same seed gives the same answer [default: 0]
    #[arg(long, value_name = "N", help_heading = "Sampling", value_parser = load::whole::<u64>)]
    seed: Option<u64>,
    /// Longest answer, in tokens
    #[arg(long, value_name = "N", default_value_t = 512, help_heading = "Sampling", value_parser = load::whole::<u32>)]
    max_tokens: u32,
    /// Shortest answer, in tokens
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Sampling", value_parser = load::whole::<usize>)]
    min_tokens: usize,
    /// End the answer before this text; again for more
    #[arg(long, value_name = "TEXT", help_heading = "Sampling")]
    stop: Vec<String>,
    #[command(flatten)]
    constrain: Constrain,
}

impl Sampling {
    /// The same as options of an answer, checked.
    pub(crate) fn options(&self) -> anyhow::Result<GenerateOptions> {
        let default = SamplingParams::default();
        let sampling = SamplingParams {
            temperature: self.temperature,
            top_k: self.top_k.unwrap_or(default.top_k),
            top_p: self.top_p.unwrap_or(default.top_p),
            min_p: self.min_p.unwrap_or(default.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(default.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(default.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(default.frequency_penalty),
            logit_bias: self.logit_bias.clone(),
            seed: self.seed.unwrap_or(default.seed),
            min_new_tokens: self.min_tokens,
        };
        if self.min_tokens > self.max_tokens as usize {
            let (least, most) = (self.min_tokens, self.max_tokens);
            return Err(Usage(format!("--min-tokens {least} is above --max-tokens {most}")).into());
        }
        let options = GenerateOptions {
            sampling,
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            constraint: self.constrain.read()?,
            ..GenerateOptions::default()
        };
        options.validate()?;
        Ok(options)
    }

    /// Says which options do nothing because no token is drawn.
    pub(crate) fn mention_idle(&self, sampling: &SamplingParams) {
        let given = [
            ("--top-k", self.top_k.is_some()),
            ("--top-p", self.top_p.is_some()),
            ("--min-p", self.min_p.is_some()),
            ("--seed", self.seed.is_some()),
        ];
        let idle: Vec<_> = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
        if sampling.is_greedy() && !idle.is_empty() {
            whisper(&format!(
                "{} without effect: at a temperature of {} the likeliest token is taken each time; add --temperature 0.7 \
                 to draw",
                idle.join(", "),
                sampling.temperature
            ));
        }
    }
}

/// Reads `ID:BIAS`.
fn bias(text: &str) -> Result<(u32, f32), String> {
    let read = text.split_once(':').and_then(|(id, bias)| Some((id.parse().ok()?, bias.parse().ok()?)));
    read.ok_or_else(|| "it is no token's id and a number, such as 42:-1.5 or 42:-inf".into())
}
