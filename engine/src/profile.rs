//! Time of each step by timestamp query, and loop counts of each step by instrumented kernels.

/// Device time of one step.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// The step's name, e.g. `decoder.3.q_proj`.
    pub label: String,
    /// The kernel's specialisation.
    pub kernel: String,
    /// Nanoseconds on the device's own clock.
    pub ns: f64,
}

/// The kernel's text with every loop counting its iterations; the largest count of any invocation ends in
/// `audit_worst`. Loops are the lines after a `//~ trips:` annotation, which `strix-shaders` requires of
/// every loop.
pub(crate) fn audited(wgsl: &str) -> String {
    let mut text = String::with_capacity(wgsl.len() + 512);
    let mut in_header = false;
    for line in wgsl.lines() {
        text.push_str(line);
        text.push('\n');
        in_header |= line.trim_start().starts_with("//~ trips:");
        if in_header && line.trim_end().ends_with('{') {
            text.push_str("audit_trip();\n");
            in_header = false;
        }
    }
    text.push_str(
        "@group(1) @binding(0) var<storage, read_write> audit_worst: atomic<u32>;\n\
         var<private> audit_trips: u32;\n\
         fn audit_trip() { audit_trips += 1u; atomicMax(&audit_worst, audit_trips); }\n",
    );
    text
}
