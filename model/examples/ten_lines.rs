//! A question about a picture, in ten lines: `cargo run -p strix-model --features nano --example ten_lines`.

use strix_model::{GenerateOptions, LoadOptions, Model};

fn main() -> Result<(), strix_model::Error> {
    // `Model::load("mplug-owl2-int8", ..)` loads a folder.
    let model = Model::nano(&LoadOptions::default())?;
    let mut session = model.session()?;
    session.add_image(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shapes.png"))?;
    let mut answer = session.ask("Describe the image.", &GenerateOptions::default())?;
    for token in answer.by_ref() {
        print!("{}", token?.text);
    }
    println!();
    assert_eq!(answer.text(), "A red circle to the left of a blue triangle.");
    Ok(())
}
