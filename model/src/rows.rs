//! From a prompt to the positions of the sequence.

use crate::config::Config;
use crate::error::PromptLength;
use crate::pictures::PictureId;
use crate::prompt::Prompt;
use crate::tokenizer::{PromptId, Tokenizer};
use crate::{Error, Result};

/// One position of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// A token of the vocabulary.
    Token(u32),
    /// A row of a picture.
    Image { picture: PictureId, row: u32 },
}

/// Number of rows that both begin with.
pub(crate) fn common(a: &[Row], b: &[Row]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The positions of a prompt with these pictures, if the context holds them. Nothing is asked of a device: this is
/// where a prompt is refused before a picture is encoded.
pub(crate) fn of_prompt(
    tokenizer: &Tokenizer,
    config: &Config,
    ctx: u32,
    prompt: &Prompt,
    pictures: &[PictureId],
) -> Result<Vec<Row>> {
    let num_pictures = pictures.len();
    prompt.check_images(num_pictures)?;
    let ids = prompt.encode(tokenizer);
    let rows = of_ids(config, &ids, pictures)?;
    check_length(config, ctx, &rows, num_pictures)?;
    Ok(rows)
}

/// Refuses a prompt that has no position, or more than the context holds.
pub(crate) fn check_length(config: &Config, ctx: u32, rows: &[Row], num_pictures: usize) -> Result<()> {
    let (positions, limit) = (rows.len(), ctx as usize);
    if positions > limit {
        let picture_positions = num_pictures * config.num_image_tokens();
        let length = PromptLength { positions, picture_positions, pictures: num_pictures, limit };
        return Err(Error::PromptTooLong(length));
    }
    if rows.is_empty() { Err(Error::EmptyPrompt) } else { Ok(()) }
}

/// Number of positions of a prompt, whether a context holds them or not.
pub(crate) fn count(tokenizer: &Tokenizer, config: &Config, prompt: &Prompt) -> usize {
    let of = |id| match id {
        PromptId::Token(_) => 1,
        PromptId::Picture => config.num_image_tokens(),
    };
    prompt.encode(tokenizer).into_iter().map(of).sum()
}

/// Puts the rows of the pictures where they go.
pub(crate) fn of_ids(config: &Config, ids: &[PromptId], pictures: &[PictureId]) -> Result<Vec<Row>> {
    let vocab = config.text.vocab_size;
    let mut left = pictures.iter();
    let mut rows = vec![];
    for &id in ids {
        match id {
            PromptId::Picture => {
                let Some(&picture) = left.next() else {
                    let places = ids.iter().filter(|&&id| id == PromptId::Picture).count();
                    return Err(Error::PictureMismatch { places, pictures: pictures.len() });
                };
                rows.extend((0..config.num_image_tokens() as u32).map(|row| Row::Image { picture, row }));
            }
            PromptId::Token(token) if token as usize >= vocab => {
                return Err(Error::UnknownToken { token, vocab });
            }
            PromptId::Token(token) => rows.push(Row::Token(token)),
        }
    }
    Ok(rows)
}
