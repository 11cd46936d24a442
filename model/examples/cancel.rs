//! Loading and answering that are broken off: `cargo run -p strix-model --features nano --example cancel`.

use std::ops::ControlFlow;
use std::thread;

use strix_model::{Error, FinishReason, GenerateOptions, Gpu, LoadOptions, Model, Source, unwatched};

fn main() -> Result<(), Error> {
    // Loading is broken off by its progress, or by `LoadOptions::cancel` from another thread.
    let (gpu, options) = (Gpu::new()?, LoadOptions::default());
    let loaded = Model::load_on(&gpu, Source::Nano, &options, &mut |progress| {
        let percent = 100 * progress.done_bytes / progress.total_bytes;
        if percent < 50 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert!(matches!(loaded, Err(Error::Interrupted)));
    println!("loading: broken off in the middle");

    // An answer is cancelled from any thread, while the device computes.
    let model = Model::load_on(&gpu, Source::Nano, &options, &mut unwatched)?;
    let mut session = model.session()?;
    let mut answer = session.ask("What are the seven colors of the rainbow?", &GenerateOptions::default())?;
    let first = answer.next().expect("it has a token")?;
    let canceller = answer.canceller();
    let button = thread::spawn(move || canceller.cancel());
    button.join().expect("it does not panic");
    let rest = answer.by_ref().count();
    println!("answer: {:?}, then {rest} tokens, ended by {:?}", first.text, answer.finish_reason());
    assert_eq!(answer.finish_reason(), Some(&FinishReason::Cancelled));
    drop(answer);

    // What was said is in the conversation, and can be gone on with.
    let whole = session.resume(100)?.finish()?;
    assert_eq!(session.turns().len(), 1);
    println!("gone on with: {}", whole.text);
    assert!(session.turns()[0].reply.as_deref().is_some_and(|reply| reply.ends_with("indigo and violet.")));

    // Dropping an answer cancels it too; one of which nothing was taken was never asked.
    drop(session.ask("Hello!", &GenerateOptions::default())?);
    assert_eq!(session.turns().len(), 1);
    Ok(())
}
