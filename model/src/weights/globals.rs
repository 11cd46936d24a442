//! The globals of Python that a checkpoint may name, and what each is here: a kind of value, never a function.
//!
//! These are the ones that `torch.load(weights_only=True)` allows by itself (`torch/_weights_only_unpickler.py`,
//! PyTorch 2.14), so that what it loads is read here too. What is not a plain tensor is kept as something opaque: it does
//! no harm beside the tensors that a model needs.

use super::FileDtype;
use super::cursor::shown;
use super::kinds;

/// Meaning of a global.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    /// A class of dicts.
    Dict,
    /// `torch.Size`, a tuple.
    Size,
    /// A function: `(storage, offset, size, stride, requires_grad, hooks, metadata)`.
    RebuildTensor,
    /// The same with a dtype before the metadata, of a storage of bytes.
    RebuildTensorAs,
    /// A class or function that returns its first argument, as far as matters here.
    First,
    /// `(data, dtype, device, requires_grad)`: its data as that dtype.
    FirstAs,
    /// `(function, class, arguments, state)`: the call of that function.
    RebuildFromType,
    /// A class of storages of that dtype.
    Storage(FileDtype),
    /// A class of storages of a dtype that cannot be read.
    OtherStorage(&'static str),
    Dtype(FileDtype),
    OtherDtype(&'static str),
    /// `_codecs.encode`: bytes.
    Encode,
    /// A function of a kind of tensor that is not read, named.
    Unread(&'static str),
    /// A function of something that is no tensor, named.
    Opaque(&'static str),
}

use Global::{
    Dict, Encode, First, FirstAs, Opaque, OtherDtype, OtherStorage, RebuildFromType, RebuildTensor,
    RebuildTensorAs, Size, Storage, Unread,
};

const PYTHON: [&str; 2] = ["builtins", "__builtin__"];

/// Module, name, and what it is. Those of Python's own are below [`PYTHON`] in protocol 2 and 3.
const GLOBALS: [(&str, &str, Global); 46] = [
    ("collections", "OrderedDict", Dict),
    ("collections", "Counter", Dict),
    ("_codecs", "encode", Encode),
    ("torch", "Size", Size),
    ("torch", "Tensor", Unread("tensor of an old layout")),
    ("torch", "device", Opaque("device")),
    ("torch.nn.parameter", "Parameter", First),
    ("torch.serialization", "_get_layout", Opaque("layout")),
    ("torch._utils", "_rebuild_tensor", RebuildTensor),
    ("torch._utils", "_rebuild_tensor_v2", RebuildTensor),
    ("torch._utils", "_rebuild_tensor_v3", RebuildTensorAs),
    ("torch._utils", "_rebuild_parameter", First),
    ("torch._utils", "_rebuild_parameter_with_state", First),
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor", FirstAs),
    ("torch._utils", "_rebuild_device_tensor_from_numpy", Unread("tensor made of a NumPy array")),
    ("torch._utils", "_rebuild_qtensor", Unread("quantised tensor")),
    ("torch._utils", "_rebuild_sparse_tensor", Unread("sparse tensor")),
    ("torch._utils", "_rebuild_nested_tensor", Unread("nested tensor")),
    ("torch._utils", "_rebuild_meta_tensor_no_storage", Unread("tensor of the meta device, without data")),
    ("torch._utils", "_rebuild_wrapper_subclass", Unread("tensor that wraps others")),
    ("torch._tensor", "_rebuild_from_type_v2", RebuildFromType),
    ("torch", "FloatStorage", Storage(FileDtype::F32)),
    ("torch", "HalfStorage", Storage(FileDtype::F16)),
    ("torch", "BFloat16Storage", Storage(FileDtype::BF16)),
    ("torch", "DoubleStorage", Storage(FileDtype::F64)),
    ("torch", "LongStorage", Storage(FileDtype::I64)),
    ("torch", "IntStorage", Storage(FileDtype::I32)),
    ("torch", "ShortStorage", Storage(FileDtype::I16)),
    ("torch", "CharStorage", Storage(FileDtype::I8)),
    ("torch", "ByteStorage", Storage(FileDtype::U8)),
    ("torch", "BoolStorage", Storage(FileDtype::BOOL)),
    ("torch", "ComplexFloatStorage", Storage(FileDtype::C64)),
    ("torch", "ComplexDoubleStorage", OtherStorage("complex128")),
    ("torch", "QInt8Storage", OtherStorage("qint8")),
    ("torch", "QUInt8Storage", OtherStorage("quint8")),
    ("torch", "QInt32Storage", OtherStorage("qint32")),
    ("torch", "QUInt4x2Storage", OtherStorage("quint4x2")),
    ("torch", "QUInt2x4Storage", OtherStorage("quint2x4")),
    ("torch.storage", "UntypedStorage", Storage(FileDtype::U8)),
    ("torch.storage", "TypedStorage", OtherStorage("a storage of any type")),
    ("torch", "per_tensor_affine", Opaque("quantisation scheme")),
    ("torch", "per_tensor_symmetric", Opaque("quantisation scheme")),
    ("torch", "per_channel_affine", Opaque("quantisation scheme")),
    ("torch", "per_channel_symmetric", Opaque("quantisation scheme")),
    ("torch", "per_channel_affine_float_qparams", Opaque("quantisation scheme")),
    ("torch.sparse", "FloatTensor", Unread("sparse tensor")),
];

/// The classes of Python itself.
const BUILTINS: [(&str, Global); 3] =
    [("set", Opaque("set")), ("bytearray", Opaque("bytearray")), ("complex", Opaque("complex"))];

/// The dtypes, in module `torch`.
const DTYPES: [(&str, Global); 36] = [
    ("float32", Global::Dtype(FileDtype::F32)),
    ("float16", Global::Dtype(FileDtype::F16)),
    ("bfloat16", Global::Dtype(FileDtype::BF16)),
    ("float64", Global::Dtype(FileDtype::F64)),
    ("int64", Global::Dtype(FileDtype::I64)),
    ("int32", Global::Dtype(FileDtype::I32)),
    ("int16", Global::Dtype(FileDtype::I16)),
    ("int8", Global::Dtype(FileDtype::I8)),
    ("uint8", Global::Dtype(FileDtype::U8)),
    ("uint16", Global::Dtype(FileDtype::U16)),
    ("uint32", Global::Dtype(FileDtype::U32)),
    ("uint64", Global::Dtype(FileDtype::U64)),
    ("bool", Global::Dtype(FileDtype::BOOL)),
    ("complex64", Global::Dtype(FileDtype::C64)),
    ("float8_e4m3fn", Global::Dtype(FileDtype::F8_E4M3)),
    ("float8_e5m2", Global::Dtype(FileDtype::F8_E5M2)),
    ("float8_e4m3fnuz", Global::Dtype(FileDtype::F8_E4M3FNUZ)),
    ("float8_e5m2fnuz", Global::Dtype(FileDtype::F8_E5M2FNUZ)),
    ("float8_e8m0fnu", Global::Dtype(FileDtype::F8_E8M0)),
    ("float4_e2m1fn_x2", OtherDtype("float4_e2m1fn_x2")),
    ("complex32", OtherDtype("complex32")),
    ("bcomplex32", OtherDtype("bcomplex32")),
    ("complex128", OtherDtype("complex128")),
    ("qint8", OtherDtype("qint8")),
    ("quint8", OtherDtype("quint8")),
    ("qint32", OtherDtype("qint32")),
    ("quint4x2", OtherDtype("quint4x2")),
    ("quint2x4", OtherDtype("quint2x4")),
    ("bits8", OtherDtype("bits8")),
    ("bits16", OtherDtype("bits16")),
    ("bits1x8", OtherDtype("bits1x8")),
    ("bits2x4", OtherDtype("bits2x4")),
    ("bits4x2", OtherDtype("bits4x2")),
    ("half", Global::Dtype(FileDtype::F16)),
    ("float", Global::Dtype(FileDtype::F32)),
    ("double", Global::Dtype(FileDtype::F64)),
];

/// Integers of 1 to 7 bits.
const NARROW: &str = "an integer of fewer than 8 bits";

/// The meaning of a global.
///
/// # Errors
///
/// If it is none of those that a checkpoint may name: what was asked for, and what to do.
pub(super) fn global(module: &str, name: &str) -> Result<Global, String> {
    let listed = || GLOBALS.iter().find(|(m, n, _)| (*m, *n) == (module, name)).map(|(.., global)| *global);
    let builtin = || BUILTINS.iter().find(|(n, _)| *n == name).map(|(_, global)| *global);
    let dtype = || DTYPES.iter().find(|(n, _)| *n == name).map(|(_, global)| *global);
    let narrow = || {
        let bits = name.strip_prefix("uint").or_else(|| name.strip_prefix("int"))?;
        ["1", "2", "3", "4", "5", "6", "7"].contains(&bits).then_some(OtherDtype(NARROW))
    };
    // Tensors of a type and of a device's, `torch.cuda.FloatTensor`, and sparse ones.
    let class = || {
        let of_torch = ["torch", "torch.cuda", "torch.sparse", "torch.cuda.sparse"].contains(&module);
        let kinds = ["Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool"];
        let kind = name.strip_suffix("Tensor").is_some_and(|kind| kinds.contains(&kind));
        (of_torch && kind).then_some(Unread("tensor of an old layout"))
    };
    let found = match module {
        _ if PYTHON.contains(&module) => builtin(),
        "torch" => listed().or_else(dtype).or_else(narrow).or_else(class),
        // The classes of a device's storages have the names of the CPU's.
        "torch.cuda" if name.ends_with("Storage") => global("torch", name).ok(),
        _ => listed().or_else(class),
    };
    found.ok_or_else(|| refused(module, name))
}

/// Why a global is refused, and what to do.
pub(super) fn refused(module: &str, name: &str) -> String {
    let whole = module;
    let of = |(root, _): &&(&str, kinds::FileKind)| {
        whole.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let (module, name) = (shown(module), shown(name));
    let asks =
        format!("refused: it asks for {module}.{name}, which no state dict needs; nothing of it was run");
    match kinds::MODULES.iter().find(of) {
        Some((_, kind)) => format!("{asks}. It is of {}: {}", kind.what, kind.todo),
        None => format!("{asks}. If you trust the file, load it in Python and save its state_dict() alone"),
    }
}
