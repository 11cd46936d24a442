//! The machine, in a line.

use std::env::consts::{ARCH, OS};
use std::fs;

/// Its processor, memory and system, as far as the system tells.
pub(crate) fn describe(cores: usize) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let release = read("/etc/os-release");
    let system = value(&release, "PRETTY_NAME", '=').map_or(OS.into(), |name| name.trim_matches('"').into());
    line(&read("/proc/cpuinfo"), &read("/proc/meminfo"), system, cores)
}

fn line(processor: &str, memory: &str, system: String, cores: usize) -> String {
    let processor = value(processor, "model name", ':').unwrap_or(ARCH);
    let kib =
        value(memory, "MemTotal", ':').and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
    let memory = kib.map_or(String::new(), |kib| format!(", {:.0} GiB", kib as f64 / f64::from(1 << 20)));
    format!("{cores} cores of {processor}{memory}, {system}")
}

/// What stands after `name` and `mark`.
fn value<'a>(text: &'a str, name: &str, mark: char) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(mark));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_described_by_what_the_system_tells() {
        let cpu = "processor\t: 0\nmodel name\t: AMD EPYC 9R14\nflags : fpu\n";
        let memory = "MemTotal:       24689328 kB\nMemFree: 1 kB\n";
        let line = |cpu, memory| super::line(cpu, memory, "Debian 12".into(), 2);
        assert_eq!(line(cpu, memory), "2 cores of AMD EPYC 9R14, 24 GiB, Debian 12");
        assert_eq!(line("", ""), format!("2 cores of {ARCH}, Debian 12"));
        assert_eq!(value("A=\"x y\"\nB=2", "A", '='), Some("\"x y\""));
    }
}
