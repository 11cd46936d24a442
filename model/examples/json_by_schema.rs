//! Answers that are JSON of a schema, whatever the model would say:
//! `cargo run -p strix-model --features nano,constraint --example json_by_schema`. An app needs `serde_json` beside
//! `strix-model`.

use serde_json::{Value, json};
use strix_model::{Constraint, GenerateOptions, LoadOptions, Model};

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shapes.png");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut session = Model::nano(&LoadOptions::default())?.session()?;
    session.add_image(PICTURE)?;
    for (question, schema, expected) in [
        ("Is there a blue triangle in the image?", json!({"enum": ["yes", "no"]}), json!("yes")),
        ("What is 3 + 4?", json!({"type": "integer", "minimum": 0}), json!(7)),
    ] {
        let constraint = Constraint::JsonSchema(schema.to_string());
        // What of a schema cannot be kept to is an error here, before anything is asked.
        constraint.validate()?;
        let options = GenerateOptions { constraint: Some(constraint), ..GenerateOptions::default() };
        let answer = session.ask(question, &options)?.finish()?;
        let value: Value = serde_json::from_str(&answer.text)?;
        println!("{question} {value}");
        assert_eq!(value, expected);
    }
    Ok(())
}
