//! The figures of a kernel, each with what is better: what tables show and comparisons compare.

use crate::run::Report;
use crate::statistics::Statistics;

/// A figure of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Vector registers of an invocation.
    Registers,
    /// Scalar registers of a subgroup.
    Scalar,
    /// Values written to memory for want of registers.
    Spills,
    /// Bytes of private memory.
    Scratch,
    /// Bytes of workgroup memory.
    Workgroup,
    /// Subgroups or invocations that fit.
    Occupancy,
    /// Bytes of machine code.
    Code,
    /// Instructions.
    Instructions,
    /// The driver's estimate of time, of those it makes the one for many subgroups at once.
    Cycles,
    /// Percent of the vector unit's time, or of NVIDIA's issue, that are FMAs, in a turn of the hot loop.
    Fma,
    /// The same of products of matrices.
    Matrix,
    /// FLOPs of f32 a clock and unit there.
    Flops,
    /// The same if FMAs go two at a time.
    DualFlops,
    /// Percent of the FLOPs of the data sheet that these are.
    Peak,
    /// Bytes from buffers a clock and unit there.
    Bytes,
}

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Less is.
    Less,
    /// More is.
    More,
    /// Neither is, by itself.
    Neither,
}

impl Metric {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 15] = [
        Self::Registers,
        Self::Scalar,
        Self::Spills,
        Self::Scratch,
        Self::Workgroup,
        Self::Occupancy,
        Self::Code,
        Self::Instructions,
        Self::Cycles,
        Self::Fma,
        Self::Matrix,
        Self::Flops,
        Self::DualFlops,
        Self::Peak,
        Self::Bytes,
    ];

    /// Head of its column.
    pub fn head(self) -> &'static str {
        match self {
            Self::Registers => "regs",
            Self::Scalar => "scalar",
            Self::Spills => "spills",
            Self::Scratch => "scratch",
            Self::Workgroup => "wg mem",
            Self::Occupancy => "occup.",
            Self::Code => "code",
            Self::Instructions => "instr.",
            Self::Cycles => "cycles",
            Self::Fma => "FMA %",
            Self::Matrix => "matrix %",
            Self::Flops => "FLOP/clk",
            Self::DualFlops => "dual",
            Self::Peak => "peak %",
            Self::Bytes => "B/clk",
        }
    }

    /// Its name in tables that are stored.
    pub fn key(self) -> &'static str {
        match self {
            Self::Registers => "registers",
            Self::Scalar => "scalar_registers",
            Self::Spills => "spills",
            Self::Scratch => "scratch_bytes",
            Self::Workgroup => "workgroup_bytes",
            Self::Occupancy => "occupancy",
            Self::Code => "code_bytes",
            Self::Instructions => "instructions",
            Self::Cycles => "cycles",
            Self::Fma => "fma_percent",
            Self::Matrix => "matrix_percent",
            Self::Flops => "flop_per_clock",
            Self::DualFlops => "dual_flop_per_clock",
            Self::Peak => "peak_percent",
            Self::Bytes => "bytes_per_clock",
        }
    }

    /// What it is, in words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Registers => "vector registers of an invocation",
            Self::Scalar => "scalar or uniform registers of a subgroup",
            Self::Spills => "values written to memory because registers had run out",
            Self::Scratch => "bytes of private memory (AMD: of a subgroup)",
            Self::Workgroup => "bytes of workgroup memory",
            Self::Occupancy => "what fits at once, as the driver counts it",
            Self::Code => "bytes of machine code",
            Self::Instructions => "instructions",
            Self::Cycles => {
                "the driver's estimate: inverse throughput (AMD), static cycles (NVIDIA), stalls (Adreno), FSCIB (Apple)"
            }
            Self::Fma => {
                "FMAs among what is issued in a turn of the hot loop, by time; 100 is the peak of one FMA at a time"
            }
            Self::Matrix => "products of matrices among the same",
            Self::Flops => "FLOPs of f32 a clock and compute unit there, if issue alone limits it",
            Self::DualFlops => "the same if FMAs of one subgroup go two at a time (RDNA 3 and later)",
            Self::Peak => {
                "percent of the data sheet's FLOPs of f32 that this is, the one of two at a time where there is one"
            }
            Self::Bytes => "bytes loaded from buffers a clock and compute unit there, by issue alone",
        }
    }

    /// Its value for a kernel, if it is known.
    pub fn of(self, report: &Report) -> Option<f64> {
        let told = report.statistics.as_ref();
        let count = |of: fn(&Statistics) -> Option<u32>| told.and_then(of).map(f64::from);
        let bound = || report.hot.as_ref()?.bound;
        match self {
            Self::Registers => count(|s| s.registers),
            Self::Scalar => count(|s| s.scalar_registers),
            Self::Spills => count(|s| s.spills),
            Self::Scratch => count(|s| s.scratch_bytes),
            Self::Workgroup => {
                let declared = (report.invocations > 0).then(|| f64::from(report.declared_bytes));
                count(|s| s.workgroup_bytes).or(declared)
            }
            Self::Occupancy => told?.occupancy.map(|o| o.fit),
            Self::Code => count(|s| s.code_bytes),
            Self::Instructions => count(|s| s.instructions),
            Self::Cycles => {
                let cycles = &told?.raw;
                let stalls = ["Estimated cycles stalled on SS", "Estimated cycles stalled on SY"];
                let one = ["Inverse Throughput", "Static cycle count", "FSCIB"];
                let one = one.iter().find_map(|name| cycles.get(*name).copied());
                one.or_else(|| {
                    stalls.iter().filter_map(|name| cycles.get(*name).copied()).reduce(|a, b| a + b)
                })
            }
            Self::Fma => Some(100.0 * bound()?.fma_share),
            Self::Matrix => Some(100.0 * bound()?.matrix_share?),
            Self::Flops => bound()?.flop_per_clock,
            Self::DualFlops => bound()?.dual_flop_per_clock,
            Self::Peak => Some(100.0 * report.hot.as_ref()?.peak_share?),
            Self::Bytes => bound()?.bytes_per_clock,
        }
    }

    /// Which way it is better.
    pub fn better(self) -> Better {
        match self {
            // Fewer mean nothing where as many subgroups fit.
            Self::Registers | Self::Scalar | Self::Workgroup => Better::Neither,
            Self::Spills | Self::Scratch | Self::Code | Self::Instructions | Self::Cycles => Better::Less,
            Self::Occupancy
            | Self::Fma
            | Self::Matrix
            | Self::Flops
            | Self::DualFlops
            | Self::Peak
            | Self::Bytes => Better::More,
        }
    }

    /// Whether `new` is worse than `old`, beyond what a change of the kernel may cost by the way.
    pub fn is_worse(self, old: f64, new: f64) -> bool {
        match self {
            Self::Spills | Self::Scratch => new > old,
            Self::Occupancy => new < old,
            Self::Code | Self::Instructions | Self::Cycles => new > old * 1.05,
            Self::Fma | Self::Matrix | Self::Peak => new < old - 2.0,
            Self::Flops | Self::DualFlops | Self::Bytes => new < old * 0.95,
            Self::Registers | Self::Scalar | Self::Workgroup => false,
        }
    }

    /// Its value as it is shown.
    pub fn shown(self, value: f64) -> String {
        match self {
            Self::Fma | Self::Matrix | Self::Peak | Self::Bytes => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        }
    }
}
