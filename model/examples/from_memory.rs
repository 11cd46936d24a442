//! A model from bytes, from readers and from a callback: `cargo run -p strix-model --features nano --example from_memory`.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use strix_model::{
    Error, FileContent, Files, GenerateOptions, Gpu, LoadOptions, Model, Source, nano_files, unwatched,
};

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shapes.png");

fn main() -> Result<(), Error> {
    let gpu = Gpu::new()?;

    // Bytes in memory: here those that are compiled into the library.
    let in_memory: HashMap<&str, FileContent> =
        nano_files().into_iter().map(|(name, bytes)| (name, FileContent::from_bytes(bytes))).collect();
    println!("from bytes: {}", describe(&gpu, &in_memory)?);

    // Readers, by a callback: weights are read tensor by tensor.
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/nano"));
    let opened = |name: &str| match File::open(folder.join(name)) {
        Ok(file) => Ok(Some(FileContent::from_reader(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    println!("from readers: {}", describe(&gpu, &opened)?);

    // What is not there is named.
    let nothing = |_: &str| Ok(None);
    println!("from nothing: {}", describe(&gpu, &nothing).expect_err("there is no config.json"));
    Ok(())
}

fn describe(gpu: &Gpu, files: &dyn Files) -> Result<String, Error> {
    let model = Model::load_on(gpu, Source::Provided(files), &LoadOptions::default(), &mut unwatched)?;
    let mut session = model.session()?;
    session.add_image(PICTURE)?;
    let answer = session.ask("Describe the image.", &GenerateOptions::default())?.finish()?;
    assert_eq!(answer.text, "A red circle to the left of a blue triangle.");
    Ok(answer.text)
}
