//! The Vulkan validation layer, with synchronisation validation, on lavapipe: what it says of weights that are imported,
//! copied and streamed, and of conversations at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use strix_isa::environment;
use strix_isa::gpus::Fake;

use super::{Findings, question};

/// Findings that are not ours, each with a part of its text, and why.
const EXPLAINED: &[(&str, &str, &str)] = &[(
    "VUID-StandaloneSpirv-None-10684",
    "explicit layout",
    "naga 30 decorates the types of workgroup and function variables with the offsets of buffers; drivers ignore these \
     (the rule is newer than naga 30, which has one type for both)",
)];

/// Settings of the layer: all that costs no answer.
const SETTINGS: &str = "\
khronos_validation.validate_sync = true
khronos_validation.syncval_shader_accesses_heuristic = true
khronos_validation.report_flags = error,warn,info
khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG
khronos_validation.enable_message_limit = false
";

/// A message of the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    /// `VUID-…`, `SYNC-…`.
    id: String,
    /// `Error`, `Warning`, `Information`.
    severity: String,
    text: String,
}

/// Runs programs under the layer. `schedules` is the checking binary of that name.
///
/// # Errors
///
/// If the layer or the driver is not there, or the layer does not say that it checks synchronisation: its silence would
/// then mean nothing.
pub fn check(fake: &Fake, drivers: &Path, strix: &Path, schedules: &Path, root: &Path) -> Result<Findings> {
    let ask = |more: &[&str]| question(root, more);
    let sessions = ["--seeds", "1"].map(str::to_owned).to_vec();
    let runs: [(&str, &Path, Vec<String>); 4] = [
        ("weights imported", strix, ask(&[])),
        ("weights copied", strix, ask(&["--no-import"])),
        ("layers streamed", strix, ask(&["--no-import", "--device-memory", "24MiB"])),
        ("conversations at once", schedules, sessions),
    ];
    let mut findings = vec![];
    let mut explained: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (what, program, args) in runs {
        let (mut command, own) = environment::command(drivers, fake, program)?;
        let log = under_layer(&mut command, drivers, own.path())?;
        let out = command.args(args).output()?;
        ensure!(
            out.status.success(),
            "{what}: {}: {}",
            out.status,
            String::from_utf8_lossy(&out.stderr).trim()
        );
        let messages =
            read(&fs::read_to_string(&log).with_context(|| format!("{what}: the layer wrote nothing"))?);
        let is_on =
            messages.iter().any(|m| m.severity == "Information" && m.text.contains("Synchronization"));
        ensure!(is_on, "{what}: the layer does not say that it checks synchronisation");
        let bad = messages.iter().filter(|message| message.severity != "Information");
        let mut fresh: BTreeMap<&str, (usize, &Message)> = BTreeMap::new();
        for message in bad {
            let known =
                EXPLAINED.iter().find(|(id, text, _)| message.id == *id && message.text.contains(text));
            match known {
                Some((id, _, why)) => explained.entry(id).or_insert((0, why)).0 += 1,
                None => fresh.entry(&message.id).or_insert((0, message)).0 += 1,
            }
        }
        println!("{what}: {} kinds of findings of ours", fresh.len());
        findings.extend(fresh.into_iter().map(|(id, (n, m))| {
            format!("{what}: {n} x {id}: {}", m.text.lines().next().unwrap_or_default())
        }));
    }
    for (id, (number, why)) in explained {
        println!("{number} x {id}, explained: {why}");
    }
    Ok(findings)
}

/// Puts the layer before a program; where it writes what it finds.
fn under_layer(command: &mut Command, drivers: &Path, own: &Path) -> Result<PathBuf> {
    let layer =
        environment::newest(drivers, "usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json")?;
    let (settings, log) = (own.join("vk_layer_settings.txt"), own.join("layer.log"));
    fs::write(&settings, format!("{SETTINGS}khronos_validation.log_filename = {}\n", log.display()))?;
    command
        .env("VK_LAYER_PATH", fs::canonicalize(&layer)?.parent().context("the folder of the layer")?)
        .env("VK_INSTANCE_LAYERS", "VK_LAYER_KHRONOS_validation")
        .env("VK_LAYER_SETTINGS_PATH", settings);
    Ok(log)
}

/// The messages of a log: `Validation Error: [ ID ] | MessageID = …`, then their text.
fn read(log: &str) -> Vec<Message> {
    let mut messages: Vec<Message> = vec![];
    for line in log.lines() {
        let head = line.strip_prefix("Validation ").and_then(|rest| {
            let (severity, rest) = rest.split_once(": [ ")?;
            let (id, _) = rest.split_once(" ]")?;
            Some(Message { id: id.into(), severity: severity.into(), text: String::new() })
        });
        match (head, messages.last_mut()) {
            (Some(message), _) => messages.push(message),
            (None, Some(last)) if !line.trim().is_empty() => {
                last.text.push_str(line);
                last.text.push('\n');
            }
            _ => {}
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_layer_are_read_with_their_text() {
        let log = "Validation Information: [ CURRENT-VALIDATION-ENABLED ] | MessageID = 0xfd7b2292\n\
                   vkCreateInstance(): Current Validation Enabled:\n  - Synchronization\n\n\
                   Validation Error: [ SYNC-HAZARD-WRITE-AFTER-READ ] | MessageID = 0x1\nvkCmdDispatch(): a hazard\n";
        let messages = read(log);
        assert_eq!(messages.len(), 2);
        assert!(messages[0].severity == "Information" && messages[0].text.contains("Synchronization"));
        assert_eq!(
            (messages[1].id.as_str(), messages[1].severity.as_str()),
            ("SYNC-HAZARD-WRITE-AFTER-READ", "Error")
        );
        assert_eq!(messages[1].text.trim(), "vkCmdDispatch(): a hazard");
    }
}
