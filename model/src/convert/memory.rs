//! Memory of this process.

/// Peaks of this process, as far as the system tells them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peak {
    /// Largest resident set so far, in bytes; mapped files count.
    pub resident_bytes: Option<u64>,
    /// Largest anonymous part of it at any [`Peak::sample`]; mapped files do not count.
    pub anonymous_bytes: Option<u64>,
}

impl Peak {
    /// Looks again. Linux only; elsewhere nothing is known.
    pub(super) fn sample(&mut self) {
        let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
        };
        self.resident_bytes = self.resident_bytes.max(field("VmHWM:"));
        self.anonymous_bytes = self.anonymous_bytes.max(field("RssAnon:"));
    }
}
