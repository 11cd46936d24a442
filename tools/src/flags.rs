//! Errors of the library in the words of the command line: where it names a field, a flag stands here.

use strix_benches::Error as Bench;
use strix_engine::Error as Engine;
use strix_model::{Error, Remedy, shown, shown_list};

/// Fields that have flags.
const FLAGS: &[(&str, &str)] = &[
    ("chunk", "--chunk"),
    ("ctx", "--ctx"),
    ("frequency_penalty", "--frequency-penalty"),
    ("group", "--group"),
    ("kv_memory", "--kv-memory"),
    ("logit_bias", "--logit-bias"),
    ("max_tokens", "--max-tokens"),
    ("min_new_tokens", "--min-tokens"),
    ("min_p", "--min-p"),
    ("presence_penalty", "--presence-penalty"),
    ("repetition_penalty", "--repetition-penalty"),
    ("shard_bytes", "--shard-size"),
    ("temperature", "--temperature"),
    ("template", "--template"),
    ("top_p", "--top-p"),
];

/// A cause of an error as text.
pub(crate) fn words(cause: &(dyn std::error::Error + 'static)) -> String {
    let known = if let Some(error) = cause.downcast_ref::<Error>() {
        of_model(error)
    } else if let Some(error) = cause.downcast_ref::<Engine>() {
        of_engine(error)
    } else {
        match cause.downcast_ref::<Bench>() {
            Some(Bench::Model(error)) => of_model(error),
            Some(Bench::Engine(error)) => of_engine(error),
            _ => None,
        }
    };
    known.unwrap_or_else(|| cause.to_string())
}

/// `None` where the error names nothing that is a flag here.
fn of_model(error: &Error) -> Option<String> {
    Some(match error {
        Error::Engine(error) => return of_engine(error),
        Error::Shared(error) => return of_model(error),
        Error::PromptTooLong(length) => format!("{length}: shorten it, use fewer pictures, or raise --ctx"),
        Error::ContextFull { needed, limit } => {
            format!("the context of {limit} positions is full, and {needed} are needed: raise --ctx")
        }
        Error::PoolFull { positions, needed, left, total } => format!(
            "{positions} positions take {needed} pages of the KV cache, and {left} of {total} are left: lower \
             --max-tokens or raise --kv-memory"
        ),
        Error::ContextTooLong { ctx, limit, .. } => {
            format!("a context of {ctx} positions: {limit}: it fits with {}", remedies(error))
        }
        Error::DeviceMemory(short) => format!("{short}: it fits with {}", remedies(error)),
        Error::KvHeads { head_dim } => {
            format!("--kv f16 with head_dim {head_dim}: it is stored in units of 4 elements; use --kv f32")
        }
        Error::Exists { path, reason } => {
            let (path, reason) = (shown(path.display()), shown_list(reason));
            format!("{path}: {reason}: name another folder, or give --force to begin anew")
        }
        Error::OutOfRange { name, value, range } => {
            let (_, flag) = FLAGS.iter().find(|(field, _)| field == name)?;
            let range = range.replace("max_tokens", "--max-tokens");
            format!("{flag} is {}; it can be {range}", shown(value))
        }
        _ => return None,
    })
}

fn of_engine(error: &Engine) -> Option<String> {
    match error {
        Engine::NoAdapter(found) => Some(format!("{found}: {}", found.advice("--adapter"))),
        _ => None,
    }
}

fn remedies(error: &Error) -> String {
    let words = |remedy: &Remedy| match remedy {
        Remedy::Ctx(positions) => format!("--ctx {positions}"),
        Remedy::KvF16 => "--kv f16".into(),
        Remedy::DeviceMemory(bytes) => format!("--device-memory {}MiB", bytes.div_ceil(1 << 20)),
        other => other.to_string(),
    };
    error.remedies().iter().map(words).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use strix_model::{GenerateOptions, SamplingParams};

    use super::*;

    #[test]
    fn a_field_is_named_as_its_flag() {
        let sampling = SamplingParams { top_p: 2.0, ..SamplingParams::default() };
        let error = sampling.validate().unwrap_err();
        assert_eq!(words(&error), "--top-p is 2; it can be more than 0 and at most 1");
        // Also where the benches hand it on.
        assert_eq!(words(&Bench::from(error)), "--top-p is 2; it can be more than 0 and at most 1");
        let sampling = SamplingParams { min_new_tokens: 9, ..SamplingParams::default() };
        let options = GenerateOptions { sampling, max_tokens: 3, ..GenerateOptions::default() };
        let error = options.validate().unwrap_err();
        assert_eq!(words(&error), "--min-tokens is 9; it can be at most --max-tokens, 3");
    }

    #[test]
    fn what_would_do_is_named_as_its_flag() {
        let full = Error::ContextFull { needed: 9, limit: 8 };
        assert!(words(&full).ends_with("raise --ctx") && !full.to_string().contains("--"), "{full}");
        let shared = Error::Shared(std::sync::Arc::new(full));
        assert!(words(&shared).ends_with("raise --ctx"), "{shared}");
        let exists = Error::Exists { path: "out".into(), reason: "is damaged".into() };
        assert!(words(&exists).contains("give --force") && !exists.to_string().contains("--"), "{exists}");
    }
}
