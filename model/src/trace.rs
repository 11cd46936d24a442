//! The tensors of a run, and the files that `STRIX_TRACE` has them written to.

use std::path::PathBuf;

use strix_engine::{Program, StepTime};

use crate::kv_cache;
use crate::loaded::Loaded;
use crate::{Error, Result};

/// Label and content of every tensor that a traced run wrote, in order.
pub type Trace = Vec<(String, Vec<f32>)>;

/// Every float tensor a program writes in one run.
pub(crate) fn trace(program: &mut Program) -> Result<Trace> {
    let mut trace = vec![];
    program.trace(|step| {
        for (label, bytes) in step.written {
            trace.push((label.to_owned(), bytemuck::pod_collect_to_vec(&bytes)));
        }
    })?;
    Ok(trace)
}

/// Times a program that has run before: a driver may compile a kernel at its first dispatch.
pub(crate) fn profile(program: &mut Program) -> Result<Vec<StepTime>> {
    program.run(&[])?;
    Ok(program.profile()?)
}

/// `STRIX_TRACE=decoder.3`: the labels whose tensors are dumped.
pub(crate) fn trace_prefix() -> Option<String> {
    std::env::var("STRIX_TRACE").ok().filter(|v| !v.is_empty())
}

/// Refuses a `STRIX_TRACE` that names no tensor of any program, before one is run.
pub(crate) fn check_prefix<'a>(prefix: &str, labels: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut names: Vec<String> = vec![];
    for label in labels {
        if is_named(label, prefix) {
            return Ok(());
        }
        let name = label.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Err(Error::Option(format!(
        "STRIX_TRACE={prefix} names no tensor of this model; there are {}",
        ranges(&names)
    )))
}

/// `decoder.0 to decoder.31, lm_head` of each layer's name and the others'.
fn ranges(names: &[String]) -> String {
    let kind = |name: &str| {
        name.split_once('.').filter(|(_, n)| n.parse::<usize>().is_ok()).map(|(kind, _)| kind.to_owned())
    };
    let mut runs: Vec<[&str; 2]> = vec![];
    for name in names {
        match runs.last_mut() {
            Some([_, last]) if kind(name).is_some() && kind(last) == kind(name) => *last = name,
            _ => runs.push([name, name]),
        }
    }
    let words = |[first, last]: &[&str; 2]| {
        if first == last { (*first).to_owned() } else { format!("{first} to {last}") }
    };
    runs.iter().map(words).collect::<Vec<_>>().join(", ")
}

/// Whether a label begins with `prefix`; that of layer 1 is none of layer 10's.
fn is_named(label: &str, prefix: &str) -> bool {
    let rest = label.strip_prefix(prefix);
    rest.is_some_and(|rest| !(prefix.ends_with(char::is_numeric) && rest.starts_with(char::is_numeric)))
}

/// A trace of a pass of a sequence on these pages, its keys and values in the order of positions.
pub(crate) fn in_order(program: &mut Program, loaded: &Loaded, pages: &[u32]) -> Result<Trace> {
    let mut trace = trace(program)?;
    kv_cache::by_position(&mut trace, &loaded.config.text, loaded.options.kv, pages);
    Ok(trace)
}

/// The folder that the tensors which `STRIX_TRACE` names are written to, `STRIX_TRACE_DIR` or else `strix-trace` here;
/// `None` if it names none.
pub fn trace_dir() -> Option<PathBuf> {
    trace_prefix().map(|_| dir())
}

fn dir() -> PathBuf {
    let named = std::env::var_os("STRIX_TRACE_DIR").filter(|dir| !dir.is_empty());
    PathBuf::from(named.unwrap_or_else(|| "strix-trace".into()))
}

/// Writes the tensors of the steps named by `prefix` to `strix-trace/`, in files whose names begin with `position`, and
/// says on the log which step first differs from its CPU reference.
pub(crate) fn dump(
    program: &mut Program,
    loaded: &Loaded,
    pages: &[u32],
    prefix: &str,
    position: &str,
) -> Result<()> {
    let dir = dir();
    let io = |path: &PathBuf| {
        let path = path.clone();
        move |source| Error::Io { path, source }
    };
    std::fs::create_dir_all(&dir).map_err(io(&dir))?;
    for (i, (label, values)) in
        in_order(program, loaded, pages)?.into_iter().enumerate().filter(|(_, (l, _))| is_named(l, prefix))
    {
        let path = dir.join(format!("{position}-{i:04}-{label}.f32"));
        std::fs::write(&path, bytemuck::cast_slice::<f32, u8>(&values)).map_err(io(&path))?;
    }
    match program.replay(1e-3)? {
        None => tracing::info!(position, "every step agrees with its CPU reference"),
        Some(d) => tracing::error!(
            position,
            "step {} ({}, {}) is the first that differs: {}[{}] is {} where the reference has {}",
            d.step,
            d.label,
            d.kernel,
            d.tensor,
            d.element,
            d.got,
            d.want
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_not_traced_for_another_that_begins_like_it() {
        assert!(is_named("decoder.1.q_proj", "decoder.1"));
        assert!(is_named("decoder.1.q_proj", "decoder.1.q"));
        assert!(is_named("decoder.1.q_proj", "decoder"));
        assert!(!is_named("decoder.10.q_proj", "decoder.1"));
        assert!(!is_named("vision.1.query_key_value", "decoder.1"));
    }

    #[test]
    fn what_names_nothing_is_refused_with_the_names_there_are() {
        let labels = ["embedding", "decoder.0.q", "decoder.0.k", "decoder.1.q", "decoder.2.q", "lm_head"];
        assert!(check_prefix("decoder.2", labels).is_ok());
        let error = check_prefix("decodr", labels).unwrap_err().to_string();
        assert!(error.contains("STRIX_TRACE=decodr"), "{error}");
        assert!(error.ends_with("there are embedding, decoder.0 to decoder.2, lm_head"), "{error}");
    }
}
