//! The cache of Hugging Face's client, in which a model's folder is a snapshot.

use std::path::Path;

use super::listing::{has, listed, names};

/// The message about a folder of the hub's cache, above, below or within a snapshot, with the folder that holds a
/// model.
pub(super) fn cache_of(dir: &Path) -> Option<String> {
    let dir = std::path::absolute(dir).ok()?;
    let is_repository =
        |dir: &&Path| dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("models--"));
    let Some(repository) = dir.ancestors().take(4).find(is_repository) else {
        let names: Vec<_> = names(&dir).into_iter().filter(|name| name.starts_with("models--")).collect();
        if names.is_empty() {
            return None;
        }
        let snapshots: Vec<String> = names.iter().flat_map(|name| snapshots(&dir.join(name))).collect();
        return Some(match snapshots.is_empty() {
            true => format!(
                "is a cache of Hugging Face, and of none of {} a config.json is there: download it again",
                listed(&names)
            ),
            false => {
                format!("is a cache of Hugging Face with {}: name {}", listed(&names), listed(&snapshots))
            }
        });
    };
    // A snapshot that holds a config is a model's folder as any other.
    let snapshots: Vec<String> = snapshots(repository);
    if snapshots.iter().any(|snapshot| Path::new(snapshot) == dir) {
        return None;
    }
    Some(match &snapshots[..] {
        [] => "is of the cache of Hugging Face, and no snapshot there holds a config.json: download the model again".into(),
        [one] => format!("is of the cache of Hugging Face; the model's folder is a snapshot in it: name {one}"),
        _ => format!("is of the cache of Hugging Face; a model's folder is one of its snapshots: name {}", listed(&snapshots)),
    })
}

/// Paths of the snapshots of a repository in the hub's cache that hold a config.
fn snapshots(repository: &Path) -> Vec<String> {
    let dir = repository.join("snapshots");
    let whole = |name: &String| has(&dir.join(name), "config.json");
    names(&dir).into_iter().filter(whole).map(|name| dir.join(name).display().to_string()).collect()
}
