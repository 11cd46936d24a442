//! What instructions are for.

use serde::{Deserialize, Serialize};

use super::{Instruction, Syntax};

/// What an instruction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A multiply-add of floats.
    Fma,
    /// A product of small matrices.
    Matrix,
    /// A dot product of packed integers.
    Dot,
    /// Exponentials, roots and the like, which are slower.
    Special,
    /// Any other arithmetic of all lanes.
    Vector,
    /// Two operations of all lanes in one instruction.
    Pair,
    /// Workgroup memory.
    Lds,
    /// Buffers and images.
    Vmem,
    /// Private memory: spills.
    Scratch,
    /// Loads of constants for all lanes together.
    Smem,
    /// Arithmetic for all lanes together.
    Scalar,
    /// Branches and barriers.
    Control,
    /// Waits for memory.
    Wait,
    /// Hints to the scheduler, and nothing.
    Hint,
}

/// Numbers of instructions by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mix {
    /// Multiply-adds of floats.
    pub fma: f64,
    /// Products of small matrices.
    pub matrix: f64,
    /// FLOPs of those, of a subgroup.
    pub matrix_flops: f64,
    /// Dot products of packed integers.
    pub dot: f64,
    /// Exponentials, roots and the like.
    pub special: f64,
    /// Other arithmetic of all lanes.
    pub vector: f64,
    /// Instructions that hold two of the above.
    pub pairs: f64,
    /// Accesses of workgroup memory.
    pub lds: f64,
    /// Accesses of buffers and images.
    pub vmem: f64,
    /// Bytes that those load for each lane.
    pub loaded_bytes: f64,
    /// Accesses of private memory.
    pub scratch: f64,
    /// Loads of constants for all lanes together.
    pub smem: f64,
    /// Arithmetic for all lanes together.
    pub scalar: f64,
    /// Branches and barriers.
    pub control: f64,
    /// Waits for memory.
    pub waits: f64,
    /// Hints to the scheduler, and nothing.
    pub hints: f64,
}

impl Mix {
    /// Counts an instruction that runs so many times.
    pub(super) fn add(&mut self, syntax: Syntax, instruction: &Instruction, times: f64) {
        let times = times * f64::from(instruction.times);
        let op = instruction.op.as_str();
        match kind(syntax, op) {
            Kind::Pair => {
                self.pairs += times;
                let second = instruction.args.split(":: ").nth(1).and_then(|s| s.split_whitespace().next());
                for half in [Some(op), second].into_iter().flatten() {
                    let of = if half.contains("_fma") { Kind::Fma } else { Kind::Vector };
                    *self.slot(of) += times;
                }
            }
            kind => {
                *self.slot(kind) += times;
                match kind {
                    Kind::Vmem => self.loaded_bytes += times * loaded(syntax, op),
                    Kind::Matrix => self.matrix_flops += times * matrix_flops(op),
                    _ => {}
                }
            }
        }
    }

    fn slot(&mut self, kind: Kind) -> &mut f64 {
        match kind {
            Kind::Fma => &mut self.fma,
            Kind::Matrix => &mut self.matrix,
            Kind::Dot => &mut self.dot,
            Kind::Special => &mut self.special,
            Kind::Vector => &mut self.vector,
            Kind::Pair => &mut self.pairs,
            Kind::Lds => &mut self.lds,
            Kind::Vmem => &mut self.vmem,
            Kind::Scratch => &mut self.scratch,
            Kind::Smem => &mut self.smem,
            Kind::Scalar => &mut self.scalar,
            Kind::Control => &mut self.control,
            Kind::Wait => &mut self.waits,
            Kind::Hint => &mut self.hints,
        }
    }

    /// Instructions, all together.
    pub fn total(&self) -> f64 {
        let vectors = self.fma + self.matrix + self.dot + self.special + self.vector - self.pairs;
        let memory = self.lds + self.vmem + self.scratch + self.smem;
        vectors + memory + self.scalar + self.control + self.waits + self.hints
    }

    /// Each kind in words, with its number.
    pub fn parts(&self) -> [(&'static str, f64); 13] {
        [
            ("FMA", self.fma),
            ("matrix", self.matrix),
            ("dot", self.dot),
            ("special", self.special),
            ("other vector", self.vector),
            ("workgroup memory", self.lds),
            ("buffer", self.vmem),
            ("scratch", self.scratch),
            ("constant", self.smem),
            ("scalar", self.scalar),
            ("control", self.control),
            ("wait", self.waits),
            ("hint", self.hints),
        ]
    }
}

fn kind(syntax: Syntax, op: &str) -> Kind {
    match syntax {
        Syntax::Amd => amd(op),
        Syntax::Nak => nak(op),
        Syntax::Ir3 => ir3(op),
    }
}

fn amd(op: &str) -> Kind {
    let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| op.starts_with(prefix));
    if is(&["v_wmma", "v_swmmac", "v_mfma"]) {
        Kind::Matrix
    } else if is(&["v_dual"]) {
        Kind::Pair
    } else if is(&["v_fma", "v_mad_f", "v_mad_mix", "v_mac_f", "v_pk_fma", "v_madak", "v_madmk"]) {
        Kind::Fma
    } else if is(&["v_dot"]) {
        Kind::Dot
    } else if is(&["v_exp", "v_rcp", "v_log", "v_sqrt", "v_rsq", "v_sin", "v_cos"]) {
        Kind::Special
    } else if is(&["v_nop"]) {
        Kind::Hint
    } else if is(&["v_"]) {
        Kind::Vector
    } else if is(&["ds_"]) {
        Kind::Lds
    } else if is(&["buffer_", "global_", "flat_", "image_", "tbuffer_"]) {
        Kind::Vmem
    } else if is(&["scratch_"]) {
        Kind::Scratch
    } else if is(&["s_load", "s_buffer"]) {
        Kind::Smem
    } else if is(&["s_wait"]) {
        Kind::Wait
    } else if is(&[
        "s_delay",
        "s_nop",
        "s_clause",
        "s_code_end",
        "s_inst_prefetch",
        "s_set_inst_prefetch",
        "s_setprio",
    ]) {
        Kind::Hint
    } else if is(&["s_branch", "s_cbranch", "s_barrier", "s_endpgm", "s_sendmsg"]) {
        Kind::Control
    } else {
        Kind::Scalar
    }
}

fn nak(op: &str) -> Kind {
    let name = op.split('.').next().unwrap_or_default();
    match name {
        "ffma" | "hfma2" | "dfma" => Kind::Fma,
        "hmma" | "imma" => Kind::Matrix,
        "idp4" => Kind::Dot,
        "mufu" | "transcendental" => Kind::Special,
        "ldsm" | "atoms" => Kind::Lds,
        "ld" | "st" | "atom" | "red" if op.contains(".shared") => Kind::Lds,
        "ld" | "st" if op.contains(".local") => Kind::Scratch,
        "ld" | "st" | "atom" | "red" | "suld" | "sust" | "tex" | "tld" => Kind::Vmem,
        "ldc" | "ldcu" => Kind::Smem,
        "bra" | "bssy" | "bsync" | "bclear" | "bmov" | "break" | "exit" | "bar" | "warpsync" | "membar"
        | "ccctl" => Kind::Control,
        "nop" => Kind::Hint,
        _ => Kind::Vector,
    }
}

fn ir3(op: &str) -> Kind {
    let name = op.split('.').next().unwrap_or_default();
    match name {
        "mad" if op.starts_with("mad.f") => Kind::Fma,
        "dp4acc" | "dp2acc" => Kind::Dot,
        "rcp" | "rsq" | "hrsq" | "log2" | "hlog2" | "exp2" | "hexp2" | "sin" | "cos" | "sqrt" => {
            Kind::Special
        }
        "ldl" | "stl" | "ldlw" | "stlw" => Kind::Lds,
        "ldp" | "stp" => Kind::Scratch,
        "ldc" | "stc" | "ldcu" => Kind::Smem,
        "isam" | "ldib" | "stib" | "ldg" | "stg" | "sam" | "atomic" => Kind::Vmem,
        "nop" => Kind::Hint,
        "br" | "brao" | "braa" | "brac" | "bany" | "ball" | "brax" | "jump" | "call" | "ret" | "end"
        | "shps" | "shpe" | "getone" | "getlast" | "bar" | "fence" | "kill" | "predt" | "predf" | "prede"
        | "scan" => Kind::Control,
        _ => Kind::Vector,
    }
}

/// Bytes that an access of memory loads for each lane.
fn loaded(syntax: Syntax, op: &str) -> f64 {
    let bits = [
        ("b128", 16.0),
        ("b96", 12.0),
        ("b64", 8.0),
        ("b32", 4.0),
        ("b16", 2.0),
        ("u16", 2.0),
        ("b8", 1.0),
        ("u8", 1.0),
        ("i8", 1.0),
    ];
    let words = [
        ("dwordx4", 16.0),
        ("dwordx3", 12.0),
        ("dwordx2", 8.0),
        ("dword", 4.0),
        ("ushort", 2.0),
        ("short", 2.0),
        ("byte", 1.0),
    ];
    let sized = |table: &[(&str, f64)]| {
        table.iter().find(|(name, _)| op.contains(name)).map_or(0.0, |(_, bytes)| *bytes)
    };
    match syntax {
        Syntax::Amd if op.contains("_load") => sized(&words).max(sized(&bits)),
        Syntax::Nak if op.starts_with("ld.") => sized(&bits),
        _ => 0.0,
    }
}

/// FLOPs of a product of matrices, of which the name says the shape.
fn matrix_flops(op: &str) -> f64 {
    // NVIDIA's: hmma.m16n8k16, or 16816 alone.
    let nvidia = [
        ("16816", 16 * 8 * 16),
        ("m16n8k16", 16 * 8 * 16),
        ("16832", 16 * 8 * 32),
        ("m16n8k32", 16 * 8 * 32),
        ("1688", 16 * 8 * 8),
        ("m16n8k8", 16 * 8 * 8),
    ];
    let amd = [("16x16x16", 16 * 16 * 16), ("16x16x32", 16 * 16 * 32), ("16x16x64", 16 * 16 * 64)];
    let found = nvidia.iter().chain(&amd).find(|(name, _)| op.contains(name));
    found.map_or(0.0, |(_, products)| 2.0 * f64::from(*products))
}
