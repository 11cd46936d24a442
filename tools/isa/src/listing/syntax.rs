//! The languages of listings.

/// The language of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// RADV's, of AMD's GPUs.
    Amd,
    /// NVK's, of NVIDIA's.
    Nak,
    /// Turnip's, of Qualcomm's.
    Ir3,
}

/// An instruction of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its line, from 0.
    pub line: usize,
    /// Its operation: `v_fmac_f32_e32`.
    pub op: String,
    /// What follows it, without comments.
    pub args: String,
    /// Whether a condition stands before it.
    pub predicated: bool,
    /// How often it is issued: more than once where it repeats itself.
    pub times: u32,
    /// The label of the block that it is the first of.
    pub label: Option<String>,
    /// The label that it branches to.
    pub target: Option<String>,
}

impl Syntax {
    /// The language of a representation, by the name that its driver gives it.
    pub fn of(name: &str, text: &str) -> Option<Self> {
        match name.to_lowercase().as_str() {
            "assembly" if text.lines().any(|line| label(Self::Amd, line).is_some()) => Some(Self::Amd),
            "nak assembly" => Some(Self::Nak),
            "ir3 assembly" => Some(Self::Ir3),
            _ => None,
        }
    }

    /// The instructions of a text.
    pub(super) fn instructions(self, text: &str) -> Vec<Instruction> {
        let (mut all, mut block) = (vec![], None);
        for (at, line) in text.lines().enumerate() {
            if let Some(label) = label(self, line) {
                block = Some(label.to_owned());
                continue;
            }
            let Some((op, args, times)) = self.instruction(line) else { continue };
            let target = self.target(&op, &args);
            let predicated = line.starts_with('@');
            all.push(Instruction { predicated, line: at, op, args, times, label: block.take(), target });
        }
        all
    }

    fn instruction(self, line: &str) -> Option<(String, String, u32)> {
        match self {
            Self::Amd => {
                let code = line.strip_prefix('\t')?.split(" ; ").next()?.trim();
                let (op, args) = code.split_once(' ').unwrap_or((code, ""));
                op.starts_with(|c: char| c.is_ascii_lowercase())
                    .then(|| (op.to_owned(), args.trim().to_owned(), 1))
            }
            Self::Nak => {
                let code = line.split("//").next()?.trim();
                let code = code
                    .strip_prefix('@')
                    .map_or(code, |rest| rest.split_once(' ').map_or("", |(_, r)| r.trim()));
                // `r0  = ffma r1 r2 r3`; some have no result.
                let code = code.split_once(" = ").map_or(code, |(_, right)| right).trim();
                let (op, args) = code.split_once(' ').unwrap_or((code, ""));
                let is_op = op.starts_with(|c: char| c.is_ascii_lowercase());
                is_op.then(|| (op.to_owned(), args.trim().to_owned(), 1))
            }
            Self::Ir3 => {
                let (mut code, mut times) = (line.trim(), 1);
                while let Some(rest) = code.strip_prefix('(') {
                    let (flag, rest) = rest.split_once(')')?;
                    if let Some(repeats) = flag.strip_prefix("rpt") {
                        times = 1 + repeats.parse::<u32>().ok()?;
                    }
                    code = rest;
                }
                let (op, args) = code.split_once(' ').unwrap_or((code, ""));
                let is_op =
                    op.starts_with(|c: char| c.is_ascii_lowercase()) && !line.starts_with("Native code");
                is_op.then(|| (op.to_owned(), args.to_owned(), times))
            }
        }
    }

    /// Whether what stands after an instruction does not follow it.
    pub(super) fn ends(self, instruction: &Instruction) -> bool {
        let always = !instruction.predicated;
        match self {
            Self::Amd => matches!(instruction.op.as_str(), "s_branch" | "s_endpgm"),
            Self::Nak if instruction.op == "bra" => {
                always && !instruction.args.contains('!') && instruction.args.starts_with("pT")
            }
            Self::Nak => always && instruction.op == "exit",
            Self::Ir3 => matches!(instruction.op.as_str(), "jump" | "end"),
        }
    }

    fn target(self, op: &str, args: &str) -> Option<String> {
        let last = args.split_whitespace().last()?;
        let found = match self {
            Self::Amd if op == "s_branch" || op.starts_with("s_cbranch") => last,
            Self::Nak if op == "bra" => last,
            Self::Ir3 => last.strip_prefix('#').filter(|name| name.starts_with('l'))?,
            _ => return None,
        };
        Some(found.to_owned())
    }
}

/// The label that a line defines.
fn label(syntax: Syntax, line: &str) -> Option<&str> {
    let numbered = |name: &str, prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    match syntax {
        Syntax::Amd => line.strip_suffix(':').filter(|name| numbered(name, "BB")),
        Syntax::Nak if line.starts_with("block") => line.split_whitespace().find(|word| numbered(word, "L")),
        Syntax::Nak => None,
        Syntax::Ir3 => line.strip_suffix(':').filter(|name| numbered(name, "l")),
    }
}
