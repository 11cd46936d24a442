//! The files of nano, the small model that is compiled into the library.

/// Its `config.json`.
pub(crate) static CONFIG: &[u8] = include_bytes!("../nano/config.json");
/// Its `tokenizer.model`.
pub(crate) static TOKENIZER: &[u8] = include_bytes!("../nano/tokenizer.model");
/// Its `model.safetensors`.
pub(crate) static WEIGHTS: &[u8] = include_bytes!("../nano/model.safetensors");

/// Name and contents of each file of nano's checkpoint, for what reads folders. Of the feature `nano`.
pub fn nano_files() -> [(&'static str, &'static [u8]); 7] {
    [
        ("config.json", CONFIG),
        ("tokenizer.model", TOKENIZER),
        ("model.safetensors", WEIGHTS),
        ("generation_config.json", include_bytes!("../nano/generation_config.json")),
        ("preprocessor_config.json", include_bytes!("../nano/preprocessor_config.json")),
        ("special_tokens_map.json", include_bytes!("../nano/special_tokens_map.json")),
        ("tokenizer_config.json", include_bytes!("../nano/tokenizer_config.json")),
    ]
}
