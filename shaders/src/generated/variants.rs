//! Written by `cargo xtask kernels`: values of variants that are words; of those that several kernels have, what any of
//! them has.

use crate::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    F32,
    F16,
}

impl From<Arithmetic> for Value {
    fn from(value: Arithmetic) -> Self {
        match value {
            Arithmetic::F32 => Self::Word("f32"),
            Arithmetic::F16 => Self::Word("f16"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Epilogue {
    None,
    Residual,
    QuickGelu,
    Swiglu,
}

impl From<Epilogue> for Value {
    fn from(value: Epilogue) -> Self {
        match value {
            Epilogue::None => Self::Word("none"),
            Epilogue::Residual => Self::Word("residual"),
            Epilogue::QuickGelu => Self::Word("quick_gelu"),
            Epilogue::Swiglu => Self::Word("swiglu"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Heads {
    Vec4,
    Scalar,
    F16,
}

impl From<Heads> for Value {
    fn from(value: Heads) -> Self {
        match value {
            Heads::Vec4 => Self::Word("vec4"),
            Heads::Scalar => Self::Word("scalar"),
            Heads::F16 => Self::Word("f16"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lanes {
    Plain,
    Team,
    Of(u32),
}

impl From<Lanes> for Value {
    fn from(value: Lanes) -> Self {
        match value {
            Lanes::Plain => Self::Word("plain"),
            Lanes::Team => Self::Word("team"),
            Lanes::Of(number) => Self::Number(number),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loads {
    Storage,
    Texels,
}

impl From<Loads> for Value {
    fn from(value: Loads) -> Self {
        match value {
            Loads::Storage => Self::Word("storage"),
            Loads::Texels => Self::Word("texels"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mask {
    Full,
    Causal,
}

impl From<Mask> for Value {
    fn from(value: Mask) -> Self {
        match value {
            Mask::Full => Self::Word("full"),
            Mask::Causal => Self::Word("causal"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matrix {
    F16x16,
    F16x8,
    F32x8,
}

impl From<Matrix> for Value {
    fn from(value: Matrix) -> Self {
        match value {
            Matrix::F16x16 => Self::Word("f16x16"),
            Matrix::F16x8 => Self::Word("f16x8"),
            Matrix::F32x8 => Self::Word("f32x8"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    Alike,
    Mixed,
}

impl From<Rows> for Value {
    fn from(value: Rows) -> Self {
        match value {
            Rows::Alike => Self::Word("alike"),
            Rows::Mixed => Self::Word("mixed"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stored {
    F32x1,
    F32x4,
    F16x2,
    F16x4,
}

impl From<Stored> for Value {
    fn from(value: Stored) -> Self {
        match value {
            Stored::F32x1 => Self::Word("f32x1"),
            Stored::F32x4 => Self::Word("f32x4"),
            Stored::F16x2 => Self::Word("f16x2"),
            Stored::F16x4 => Self::Word("f16x4"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    F32,
    Bf16,
}

impl From<Table> for Value {
    fn from(value: Table) -> Self {
        match value {
            Table::F32 => Self::Word("f32"),
            Table::Bf16 => Self::Word("bf16"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Teams {
    One,
    Many,
}

impl From<Teams> for Value {
    fn from(value: Teams) -> Self {
        match value {
            Teams::One => Self::Word("one"),
            Teams::Many => Self::Word("many"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unroll {
    All,
    Part,
}

impl From<Unroll> for Value {
    fn from(value: Unroll) -> Self {
        match value {
            Unroll::All => Self::Word("all"),
            Unroll::Part => Self::Word("part"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weights {
    F32,
    Bf16,
    Int8,
    Int8Group,
}

impl From<Weights> for Value {
    fn from(value: Weights) -> Self {
        match value {
            Weights::F32 => Self::Word("f32"),
            Weights::Bf16 => Self::Word("bf16"),
            Weights::Int8 => Self::Word("int8"),
            Weights::Int8Group => Self::Word("int8_group"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum X {
    Whole,
    Vec4,
    Scalar,
    Int8,
}

impl From<X> for Value {
    fn from(value: X) -> Self {
        match value {
            X::Whole => Self::Word("whole"),
            X::Vec4 => Self::Word("vec4"),
            X::Scalar => Self::Word("scalar"),
            X::Int8 => Self::Word("int8"),
        }
    }
}
