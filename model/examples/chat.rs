//! A conversation: `cargo run -p strix-model --features nano --example chat [PICTURE QUESTION..]`.
//!
//! A later question runs its own tokens only: what was said before is in the model's KV cache.

use std::env;
use std::io::{self, Write};

use strix_model::{GenerateOptions, LoadOptions, Model};

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shapes.png");
const QUESTIONS: [(&str, &str); 3] = [
    ("Describe the image.", "A red circle to the left of a blue triangle."),
    ("Is there a green star in the image?", "no"),
    ("What is 3 + 4?", "7"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::nano(&LoadOptions::default())?;
    let mut session = model.session()?;
    let args: Vec<String> = env::args().skip(1).collect();
    match args.split_first() {
        Some((picture, questions)) => {
            session.add_image(picture)?;
            for question in questions {
                ask(&mut session, question)?;
            }
        }
        None => {
            session.add_image(PICTURE)?;
            for (question, expected) in QUESTIONS {
                assert_eq!(ask(&mut session, question)?, expected);
            }
            assert_eq!(session.turns().len(), QUESTIONS.len());
        }
    }
    Ok(())
}

/// Prints the answer as it comes.
fn ask(session: &mut strix_model::Session, question: &str) -> Result<String, Box<dyn std::error::Error>> {
    print!("USER: {question}\nASSISTANT: ");
    let mut answer = session.ask(question, &GenerateOptions::default())?;
    while let Some(token) = answer.advance() {
        print!("{}", token?.1);
        io::stdout().flush()?;
    }
    let timing = answer.timing();
    println!("\n  ({} positions run, {} reused)", timing.prefill_tokens, timing.reused_tokens);
    Ok(answer.text().to_owned())
}
