//! Ids and texts of tokenizers, for `tests/tokenizers/compare.py`, which holds them against the sentencepiece package.
//!
//! Reads lines of JSON on stdin, `{"model": PATH, "legacy": BOOL, "texts": [TEXT], "ids": [[ID]]}`, and answers each with
//! `{"ids": [[ID]], "texts": [TEXT]}` or `{"refused": MESSAGE}`.

use std::io::{self, BufRead, Write};

use serde::Deserialize;
use serde_json::{Value, json};
use strix_model::tokenizer::Tokenizer;

#[derive(Deserialize)]
struct Asked {
    model: String,
    legacy: bool,
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
}

fn main() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        writeln!(out, "{}", answer(&serde_json::from_str(&line?)?)?)?;
    }
    Ok(())
}

fn answer(asked: &Asked) -> anyhow::Result<Value> {
    let bytes = std::fs::read(&asked.model)?;
    Ok(match Tokenizer::from_sentencepiece(&bytes, asked.legacy) {
        Ok(tokenizer) => json!({
            "ids": asked.texts.iter().map(|text| tokenizer.encode(text, false)).collect::<Vec<_>>(),
            "texts": asked.ids.iter().map(|ids| tokenizer.decode(ids, true)).collect::<Vec<_>>(),
        }),
        Err(error) => json!({ "refused": error.to_string() }),
    })
}
