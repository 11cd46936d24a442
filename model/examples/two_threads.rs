//! Two conversations on two threads, on one model: `cargo run -p strix-model --features nano --example two_threads`.
//!
//! A `Model` is cloned, not loaded again; what both ask is computed together, step by step.

use std::thread;

use strix_model::{Error, GenerateOptions, LoadOptions, Model};

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shapes.png");

fn main() -> Result<(), Error> {
    let model = Model::nano(&LoadOptions::default())?;
    let talk = |questions: [&'static str; 2]| {
        let model = model.clone();
        thread::spawn(move || -> Result<Vec<String>, Error> {
            let mut session = model.session()?;
            // The picture is encoded once for both.
            session.add_image(PICTURE)?;
            let ask = |question| Ok(session.ask(question, &GenerateOptions::default())?.finish()?.text);
            questions.into_iter().map(ask).collect()
        })
    };
    let [one, two] = [
        talk(["Describe the image.", "Is there a blue triangle in the image?"]),
        talk(["Is there a red triangle in the image?", "Hello!"]),
    ];
    let [one, two] = [one, two].map(|thread| thread.join().expect("it does not panic"));
    let (one, two) = (one?, two?);
    println!("one: {one:?}\ntwo: {two:?}");
    assert_eq!(one, ["A red circle to the left of a blue triangle.", "yes"]);
    assert_eq!(two[0], "no");
    assert_eq!(model.activity().encoded_pictures, 1);
    Ok(())
}
