//! An app's own choice of the next token: `cargo run -p strix-model --features nano --example custom_sampler`.

use strix_model::{CustomSampler, Error, GenerateOptions, LoadOptions, Model};

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shapes.png");

fn main() -> Result<(), Error> {
    let model = Model::nano(&LoadOptions::default())?;
    let ask = |sampler: Option<CustomSampler>| {
        let mut session = model.session()?;
        session.add_image(PICTURE)?;
        let options = GenerateOptions { sampler, max_tokens: 32, ..GenerateOptions::default() };
        session.ask("Describe the image.", &options)?.finish()
    };
    let greedy = ask(None)?;

    // The likeliest of all tokens is what greedy takes.
    let largest = |tokens: &[(u32, f32)]| {
        tokens.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(id, _)| *id)
    };
    assert_eq!(ask(Some(CustomSampler::of_all(largest)))?.ids, greedy.ids);

    // The second likeliest to begin with: what the model would have said otherwise. Each answer has a clone of the closure.
    let mut is_first = true;
    let otherwise = CustomSampler::of_candidates(2, move |tokens| match tokens {
        [_, (second, _)] if std::mem::take(&mut is_first) => *second,
        _ => tokens[0].0,
    });
    let [once, again] = [ask(Some(otherwise.clone()))?, ask(Some(otherwise))?];
    println!("greedy: {}\notherwise: {}", greedy.text, once.text);
    assert_ne!(once.ids[0], greedy.ids[0]);
    assert_eq!(once.ids, again.ids);
    Ok(())
}
