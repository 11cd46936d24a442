//! Files of torch, whole, broken and hostile.

use std::io::Cursor;
use std::path::PathBuf;

use crate::weights::{FileDtype, Weights};
use crate::{Config, Result};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");

/// A zip file as torch writes it, with what a test wants to be wrong.
#[derive(Default)]
struct Zip {
    data: Vec<u8>,
    central: Vec<u8>,
    count: u64,
}

/// How an entry is written.
#[derive(Clone, Copy, Default)]
struct As {
    flags: u16,
    method: u16,
    /// What is said instead of the length.
    len: Option<u32>,
    /// Where it is said to be.
    local: Option<u32>,
    /// Whether its numbers are in the extra field.
    large: bool,
}

impl Zip {
    fn add(mut self, name: &str, bytes: &[u8], how: As) -> Self {
        let local = how.local.unwrap_or(self.data.len() as u32);
        let len = how.len.unwrap_or(bytes.len() as u32);
        let name_len = (name.len() as u16).to_le_bytes();
        self.data.extend(b"PK\x03\x04\0\0\x08\x08");
        self.data.extend([0; 18]);
        self.data.extend(name_len);
        self.data.extend(3u16.to_le_bytes());
        self.data.extend(name.as_bytes());
        self.data.extend(b"pad");
        self.data.extend(bytes);

        let numbers = if how.large { [u32::MAX; 3] } else { [bytes.len() as u32, len, local] };
        let extra = if how.large {
            let numbers = [len, bytes.len() as u32, local].map(|n| u64::from(n).to_le_bytes());
            [&[9, 0, 1, 0, 7, 1, 0, 24, 0][..], numbers.as_flattened()].concat()
        } else {
            vec![]
        };
        self.central.extend(b"PK\x01\x02\0\0\0\0");
        self.central.extend(how.flags.to_le_bytes());
        self.central.extend(how.method.to_le_bytes());
        self.central.extend([0; 8]);
        self.central.extend(numbers[..2].iter().flat_map(|n| n.to_le_bytes()));
        self.central.extend(name_len);
        self.central.extend((extra.len() as u16).to_le_bytes());
        self.central.extend([0; 10]);
        self.central.extend(numbers[2].to_le_bytes());
        self.central.extend(name.as_bytes());
        self.central.extend(extra);
        self.count += 1;
        self
    }

    fn stored(self, name: &str, bytes: &[u8]) -> Self {
        self.add(name, bytes, As::default())
    }

    fn finish(self) -> Vec<u8> {
        let (start, len, count) = (self.data.len() as u64, self.central.len() as u64, self.count);
        let end_64 = start + len;
        let mut file = [self.data, self.central].concat();
        file.extend(b"PK\x06\x06");
        file.extend(44u64.to_le_bytes());
        file.extend([0; 12]);
        file.extend([count, count, len, start].iter().flat_map(|n| n.to_le_bytes()));
        file.extend(b"PK\x06\x07\0\0\0\0");
        file.extend(end_64.to_le_bytes());
        file.extend([1, 0, 0, 0]);
        file.extend(b"PK\x05\x06\0\0\0\0");
        file.extend([0xff; 12]);
        file.extend([0; 2]);
        file
    }

    /// Without the records for large files.
    fn finish_small(self) -> Vec<u8> {
        let (start, len, count) = (self.data.len() as u32, self.central.len() as u32, self.count as u16);
        let mut file = [self.data, self.central].concat();
        file.extend(b"PK\x05\x06\0\0\0\0");
        file.extend([count, count].iter().flat_map(|n| n.to_le_bytes()));
        file.extend([len, start].iter().flat_map(|n| n.to_le_bytes()));
        file.extend(4u16.to_le_bytes());
        file.extend(b"note");
        file
    }
}

/// The code of a pickle.
#[derive(Clone, Default)]
struct Code(Vec<u8>);

impl Code {
    fn op(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn str(self, text: &str) -> Self {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    fn int(self, n: i128) -> Self {
        self.op(&[0x8a, 16]).op(&n.to_le_bytes())
    }

    fn ints(self, numbers: &[i128]) -> Self {
        numbers.iter().fold(self.op(b"("), |code, &n| code.int(n)).op(b"t")
    }

    fn global(self, module: &str, name: &str) -> Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    fn storage(self, class: &str, key: &str, numel: i128) -> Self {
        self.op(b"(").str("storage").global("torch", class).str(key).str("cpu").int(numel).op(b"tQ")
    }

    /// A tensor of storage 0.
    fn tensor(self, class: &str, numel: i128, offset: i128, size: &[i128], stride: &[i128]) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .op(b"(")
            .storage(class, "0", numel)
            .int(offset)
            .ints(size)
            .ints(stride)
            .op(b"\x89")
            .global("collections", "OrderedDict")
            .op(b")RtR")
    }
}

/// A dict of one item.
fn dict(name: &str, value: impl Fn(Code) -> Code) -> Vec<u8> {
    value(Code::default().op(b"\x80\x02}").str(name)).op(b"s.").0
}

/// A file of that pickle and a storage of bytes 0, 1, 2, …
fn file(pickle: &[u8], storage_bytes: u8) -> Vec<u8> {
    let storage: Vec<u8> = (0..storage_bytes).collect();
    Zip::default().stored("top/data.pkl", pickle).stored("top/data/0", &storage).finish()
}

fn open(pickle: &[u8], storage_bytes: u8) -> Result<Weights> {
    read_both(file(pickle, storage_bytes))
}

/// Reads a file in memory, and again through a reader, which must be the same.
#[track_caller]
fn read_both(bytes: impl Into<Vec<u8>>) -> Result<Weights> {
    let bytes = bytes.into();
    let through = Weights::from_reader("checkpoint in memory", Cursor::new(bytes.clone()));
    let held = Weights::from_bytes(bytes);
    match (&held, &through) {
        (Ok(held), Ok(through)) => {
            assert!(held.names().eq(through.names()) && held.unread().eq(through.unread()));
            for name in held.names() {
                assert!(through.get(name).unwrap().same(&held.get(name).unwrap()).unwrap(), "{name}");
            }
        }
        (Err(held), Err(through)) => assert_eq!(held.to_string(), through.to_string()),
        _ => panic!("in memory {held:?}, through a reader {through:?}"),
    }
    held
}

#[track_caller]
fn refused(result: Result<Weights>, words: &str) {
    match result {
        Ok(weights) => panic!("{words}: was read, {:?}", weights.names().collect::<Vec<_>>()),
        Err(error) => assert!(error.to_string().contains(words), "{words}: {error}"),
    }
}

#[test]
fn golden_bin_checkpoints_hold_what_their_safetensors_hold() {
    for set in ["tiny", "f16", "release"] {
        let dir = PathBuf::from(format!("{GOLDEN}/{set}"));
        let (bin, safetensors) = (Weights::open(&dir.join("hf")).unwrap(), Weights::open(&dir).unwrap());
        bin.check(&Config::load(&dir.join("hf")).unwrap()).unwrap();
        let mut strided = 0;
        for name in safetensors.names() {
            let (a, b) = (bin.get(name).unwrap(), safetensors.get(name).unwrap());
            assert!(a.same(&b).unwrap(), "{set}: {a:?} against {b:?}");
            strided += usize::from(a.contiguous().is_none());
        }
        for name in bin.names().filter(|name| !name.ends_with("inv_freq")) {
            assert!(safetensors.get(name).is_some(), "{set}: {name}");
        }
        // The transposed o_proj of layer 0.
        assert_eq!(strided, usize::from(set == "release"), "{set}");
    }
}

#[test]
fn views_of_one_storage_are_read_by_offset_and_stride() {
    // 3 x 4 bytes: 0 1 2 3, 4 5 6 7, 8 9 10 11.
    for (offset, size, stride, want) in [
        (0, &[3, 4][..], &[4, 1][..], vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (4, &[2, 4], &[4, 1], vec![4, 5, 6, 7, 8, 9, 10, 11]),
        (0, &[4, 3], &[1, 4], vec![0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]),
        (1, &[3, 2], &[4, 1], vec![1, 2, 5, 6, 9, 10]),
        (1, &[3], &[4], vec![1, 5, 9]),
        (11, &[], &[], vec![11]),
        (11, &[1, 1], &[0, 99], vec![11]),
        (0, &[2, 2, 3], &[1, 2, 4], vec![0, 4, 8, 2, 6, 10, 1, 5, 9, 3, 7, 11]),
        (0, &[3, 2, 2], &[4, 1, 2], vec![0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11]),
        (12, &[0, 3], &[3, 1], vec![]),
    ] {
        let pickle = dict("x", |code| code.tensor("ByteStorage", 12, offset, size, stride));
        let weights = open(&pickle, 12).unwrap();
        let view = weights.get("x").unwrap();
        assert_eq!(view.byte_len(), want.len(), "{size:?} {stride:?}");
        for start in 0..=want.len() {
            for end in start..=want.len() {
                let mut got = vec![0xaa; end - start];
                view.read_bytes(start, &mut got).unwrap();
                assert_eq!(got, want[start..end], "{start}..{end} of {size:?} {stride:?}");
            }
        }
        assert_eq!(view.contiguous().map(<[u8]>::to_vec).unwrap_or(want.clone()), want);
        assert_eq!(weights.shared("x").is_some(), view.contiguous().is_some());
    }
}

#[test]
fn repeated_elements_are_read_and_bounded() {
    for (size, stride, want) in [
        (&[4][..], &[0][..], vec![2, 2, 2, 2]),
        (&[2, 3], &[0, 1], vec![2, 3, 4, 2, 3, 4]),
        (&[3, 2], &[1, 0], vec![2, 2, 3, 3, 4, 4]),
        (&[2, 2, 2], &[0, 0, 0], vec![2; 8]),
        (&[3, 3], &[1, 1], vec![2, 3, 4, 3, 4, 5, 4, 5, 6]),
        (&[2, 1, 2], &[1, 0, 0], vec![2, 2, 3, 3]),
    ] {
        let weights = open(&dict("x", |code| code.tensor("ByteStorage", 7, 2, size, stride)), 7).unwrap();
        let view = weights.get("x").unwrap();
        for start in 0..=want.len() {
            for end in start..=want.len() {
                let mut got = vec![0xaa; end - start];
                view.read_bytes(start, &mut got).unwrap();
                assert_eq!(got, want[start..end], "{start}..{end} of {size:?} {stride:?}");
            }
        }
        assert!(view.same(&view).unwrap() && weights.shared("x").is_none());
    }
    // A small file cannot unfold into much.
    for size in [1 << 62, (1 << 28) + 1] {
        let weights = open(&dict("x", |code| code.tensor("ByteStorage", 7, 2, &[size], &[0])), 7).unwrap();
        assert_eq!(weights.names().len(), 0);
        assert!(
            weights.unread().next().unwrap().1.contains("it repeats elements to more than 268435456 bytes")
        );
    }
}

/// Wide enough for every way of reading: tiles of rows, and parts of rows before and after.
#[test]
fn a_transposed_matrix_reads_as_its_transpose() {
    let (rows, columns) = (70, 19);
    let values: Vec<u8> =
        (0..rows * columns).flat_map(|i| half::bf16::from_f32(i as f32).to_le_bytes()).collect();
    let pickle = dict("x", |code| code.tensor("BFloat16Storage", 1330, 0, &[70, 19], &[1, 70]));
    let file = Zip::default().stored("a/data.pkl", &pickle).stored("a/data/0", &values).finish();
    let weights = read_both(file).unwrap();
    let view = weights.get("x").unwrap();
    let want: Vec<f32> = (0..rows).flat_map(|r| (0..columns).map(move |c| (c * rows + r) as f32)).collect();
    let want: Vec<f32> = want.into_iter().map(|v| half::bf16::from_f32(v).to_f32()).collect();
    assert_eq!(view.to_f32().unwrap(), want);
    for (start, len) in [(3, 1320), (19, 1300), (0, 800), (1329, 1), (7, 2)] {
        let mut part = vec![f32::NAN; len];
        view.read_f32(start, &mut part).unwrap();
        assert_eq!(part, want[start..start + len], "{len} from {start}");
    }
    assert_eq!(view.first_non_finite().unwrap(), None);
}

/// Of each, behind a reader, bytes are kept that the other has not.
#[test]
fn two_transposed_matrices_are_read_in_turns() {
    let tensor = |code: Code, offset| code.tensor("ByteStorage", 17, offset, &[4, 4], &[1, 4]);
    let code = tensor(Code::default().op(b"\x80\x02}(").str("a"), 0);
    let pickle = tensor(code.str("b"), 1).op(b"u.").0;
    let weights = Weights::from_reader("x", Cursor::new(file(&pickle, 17))).unwrap();
    for row in 0..4 {
        for (name, offset) in [("a", 0), ("b", 1)] {
            let mut got = [0; 4];
            weights.get(name).unwrap().read_bytes(row * 4, &mut got).unwrap();
            let want = [0, 4, 8, 12].map(|column| (column + row + offset) as u8);
            assert_eq!(got, want, "row {row} of {name}");
        }
    }
}

#[test]
fn views_that_differ_anywhere_are_not_the_same() {
    let matrix = |class, offset, stride: &[i128]| {
        open(&dict("x", |code| code.tensor(class, 17, offset, &[4, 4], stride)), 17).unwrap()
    };
    let all = [
        matrix("ByteStorage", 0, &[4, 1]),
        matrix("ByteStorage", 1, &[4, 1]),
        matrix("CharStorage", 0, &[4, 1]),
        matrix("ByteStorage", 0, &[1, 4]),
        matrix("ByteStorage", 1, &[1, 4]),
    ];
    for (i, a) in all.iter().enumerate() {
        for (j, b) in all.iter().enumerate() {
            let same = a.get("x").unwrap().same(&b.get("x").unwrap()).unwrap();
            assert_eq!(same, i == j, "{i} and {j}");
        }
    }
}

#[test]
fn what_torch_writes_in_other_ways_is_read() {
    let tensor = |code: Code| code.tensor("ByteStorage", 2, 0, &[2], &[1]);
    // A parameter, in an OrderedDict with attributes.
    let parameter = Code::default()
        .op(b"\x80\x02")
        .global("collections", "OrderedDict")
        .op(b")Rq\x00(")
        .str("x")
        .global("torch._utils", "_rebuild_parameter")
        .op(b"(");
    let parameter = tensor(parameter)
        .op(b"\x88")
        .global("collections", "OrderedDict")
        .op(b")RtRu}")
        .str("_metadata")
        .global("collections", "OrderedDict")
        .op(b")R}")
        .str("version")
        .op(b"K\x01s0sb.")
        .0;
    assert_eq!(open(&parameter, 2).unwrap().names().collect::<Vec<_>>(), ["x"]);

    // Protocol 4: frames, short texts, memo without numbers, globals from the stack.
    let names = Code::default().op(b"\x80\x04\x95").op(&[9; 8]).op(b"}\x94\x8c\x01x\x94");
    let protocol_4 = names
        .op(b"\x8c\x0ctorch._utils\x8c\x12_rebuild_tensor_v2\x93(")
        .storage("ByteStorage", "0", 2)
        .op(b"K\x00K\x02\x85K\x01\x85\x89)tRs.")
        .0;
    assert_eq!(open(&protocol_4, 2).unwrap().get("x").unwrap().contiguous(), Some(&[0, 1][..]));

    // What is beside the tensors; a memo's value used twice.
    let beside = Code::default().op(b"\x80\x02}(").str("epoch").op(b"K\x07").str("rate").op(b"G").op(&[0; 8]);
    let beside = tensor(beside.str("a")).op(b"r\xff\xff\xff\xff").str("b").op(b"j\xff\xff\xff\xffu.").0;
    assert_eq!(open(&beside, 2).unwrap().names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(open(b"\x80\x02}.", 0).unwrap().names().len(), 0);

    // Other storage classes are listed, and refused only where floats are needed.
    for (class, dtype, bytes) in [
        ("LongStorage", FileDtype::I64, 8),
        ("DoubleStorage", FileDtype::F64, 8),
        ("ComplexFloatStorage", FileDtype::C64, 8),
        ("IntStorage", FileDtype::I32, 4),
        ("ShortStorage", FileDtype::I16, 2),
        ("CharStorage", FileDtype::I8, 1),
        ("BoolStorage", FileDtype::BOOL, 1),
    ] {
        let weights = open(&dict("x", |code| code.tensor(class, 2, 1, &[1], &[1])), 2 * bytes).unwrap();
        let view = weights.get("x").unwrap();
        assert_eq!((view.dtype, view.byte_len()), (dtype, usize::from(bytes)));
        assert!(view.to_f32().unwrap_err().to_string().contains("only F32, F16 and BF16 are read"));
    }
}

#[test]
fn zip_files_large_and_small_are_read() {
    let pickle = dict("x", |code| code.tensor("ByteStorage", 2, 0, &[2], &[1]));
    let large = As { large: true, ..As::default() };
    for file in [
        Zip::default().add("archive/data.pkl", &pickle, large).add("archive/data/0", &[7, 8], large).finish(),
        Zip::default().stored("data.pkl", &pickle).stored("data/0", &[7, 8]).finish_small(),
        Zip::default()
            .stored("a b/c/data/0", &[7, 8])
            .stored("a b/c/byteorder", b"little")
            .stored("a b/c/data.pkl", &pickle)
            .finish(),
    ] {
        let weights = read_both(file).unwrap();
        assert_eq!(weights.get("x").unwrap().contiguous(), Some(&[7, 8][..]));
    }
}

#[test]
fn zip_files_that_lie_are_errors() {
    let pickle = dict("x", |code| code.tensor("ByteStorage", 2, 0, &[2], &[1]));
    let with =
        |how| read_both(Zip::default().stored("t/data.pkl", &pickle).add("t/data/0", &[7, 8], how).finish());
    let plain = As::default();
    // A bomb: what it would unfold to is never asked for.
    let bomb = As { method: 8, len: Some(u32::MAX - 1), ..plain };
    refused(with(bomb), "zip entry t/data/0 is compressed (method 8, 4294967294 bytes from 2)");
    refused(with(As { len: Some(3), ..plain }), "is compressed (method 0, 3 bytes from 2)");
    refused(with(As { flags: 1, ..plain }), "zip entry t/data/0 is encrypted");
    refused(with(As { local: Some(0), ..plain }), "zip entry t/data/0 is not at byte 0");
    refused(with(As { local: Some(u32::MAX - 1), ..plain }), "is not at byte 4294967294");
    refused(with(As { local: Some(u32::MAX), large: true, ..plain }), "is not at byte 4294967295");

    let twice = Zip::default().stored("t/data.pkl", &pickle).stored("t/data.pkl", &pickle).finish();
    refused(read_both(twice), "zip entry t/data.pkl is listed twice");
    let none = Zip::default().stored("t/other.pkl", &pickle).finish();
    refused(read_both(none), "a zip file without data.pkl");
    let two = Zip::default().stored("t/data.pkl", &pickle).stored("u/data.pkl", &pickle).finish();
    refused(read_both(two), "holds two pickles, t/data.pkl and u/data.pkl");
    let big = Zip::default().stored("t/data.pkl", &pickle).stored("t/byteorder", b"big").finish();
    refused(read_both(big), "its byteorder is big");

    // An entry around another: its own header, and in its data the other's.
    let inner = Zip::default().stored("t/data/0", &[7, 8]).data;
    let outer = Zip::default().stored("t/data.pkl", &pickle);
    let at = outer.data.len() as u32;
    let outer = outer.add("t/data/1", &inner, plain);
    let at = at + 30 + "t/data/1".len() as u32 + 3;
    let end = outer.data.len();
    let mut overlapping = outer.add("t/data/0", &[7, 8], As { local: Some(at), ..plain });
    overlapping.data.truncate(end);
    refused(read_both(overlapping.finish()), "zip entries t/data/1 and t/data/0 share bytes");

    let whole = file(&pickle, 2);
    let spoiled = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        let at = bytes.len() - at;
        bytes[at] = byte;
        read_both(bytes)
    };
    // From the end: end record 22, locator 20, record for large files 56.
    refused(spoiled(22 + 20 + 1, 1), "its zip directory would be");
    refused(spoiled(22 + 20 + 8, 1), "its zip directory is cut short");
    refused(spoiled(22 + 20 + 16, 99), "its zip directory");
    refused(spoiled(22 + 20 + 32, 3), "is not a whole zip file");
    refused(spoiled(22 + 20 + 40, 1), "several disks");
    refused(spoiled(2, 1), "is not a whole zip file");
}

#[test]
fn files_that_are_no_checkpoint_say_what_they_are() {
    let refused_as = |bytes: &'static [u8], words| {
        let dir = std::env::temp_dir().join(format!("strix-torch-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("pytorch_model.bin");
        std::fs::write(&path, bytes).unwrap();
        refused(Weights::open(&dir), words);
        refused(Weights::open(&path), words);
        std::fs::remove_dir_all(dir).unwrap();
    };
    refused_as(b"", "holds 0 bytes and does not begin like a torch checkpoint");
    refused_as(b"<html>", "is a page of HTML");
    refused_as(b"GGUF", "is a GGUF file of llama.cpp");
    refused_as(b"PK\x03\x04", "is not a whole zip file");
    refused_as(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.more", "before PyTorch 1.6");
    refused_as(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull");
    refused(read_both(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.more"), "before PyTorch 1.6");
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let whole = std::fs::read(format!("{GOLDEN}/release/hf/pytorch_model-1-of-4.bin")).unwrap();
    for end in (0..whole.len()).step_by(997).chain(whole.len() - 100..whole.len()) {
        let cut = whole[..end].to_vec();
        assert!(read_both(cut).is_err(), "{end} bytes of {}", whole.len());
    }
}

#[test]
fn nothing_but_tensors_is_asked_for() {
    let system = "refused: it asks for os.system, which no state dict needs; nothing of it was run";
    let path = std::env::temp_dir().join(format!("strix-pickle-{}", std::process::id()));
    let command = format!("touch {}", path.display());
    let reduce = dict("x", |code| code.global("os", "system").op(b"(").str(&command).op(b"tR"));
    let object = dict("x", |code| code.op(b"(").global("os", "system").str(&command).op(b"o"));
    let instance = dict("x", |code| code.op(b"(").str(&command).op(b"ios\nsystem\n"));
    let new = dict("x", |code| code.global("os", "system").op(b"(").str(&command).op(b"t\x81"));
    let stack = dict("x", |code| code.str("os").str("system").op(b"\x93(").str(&command).op(b"tR"));
    let nested = dict("x", |code| {
        let code = code.global("torch._utils", "_rebuild_parameter").op(b"(");
        code.global("os", "system").op(b"(").str(&command).op(b"tRtR")
    });
    let state = dict("x", |code| code.op(b"}").global("os", "system").op(b"(").str(&command).op(b"tRb"));
    for pickle in [reduce, object, instance, new, stack, nested, state] {
        refused(open(&pickle, 0), system);
    }
    assert!(!path.exists());
    for (module, name) in [
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("torch", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("torch", "hub"),
        ("torch", "nn.functional"),
        ("collections", "ChainMap"),
        ("builtins", "getattr"),
        ("torch.float32", "__class__"),
    ] {
        refused(
            open(&dict("x", |c| c.global(module, name).op(b")R")), 0),
            &format!("it asks for {module}.{name},"),
        );
    }
    // A name cannot write to the terminal, nor fill it.
    let long = format!("\x1b[2J{}", "y".repeat(10_000));
    let error = open(&dict("x", |c| c.global(&long, "z")), 0).unwrap_err().to_string();
    assert!(error.len() < 400 && !error.contains('\x1b') && error.contains("\\x1b[2Jyyy"), "{error}");
    // What is allowed cannot be called with anything else.
    for code in [
        dict("x", |c| c.global("collections", "OrderedDict").op(b"(").str("a").op(b"tR")),
        dict("x", |c| c.global("torch._utils", "_rebuild_tensor_v2").op(b")R")),
        dict("x", |c| c.global("torch._utils", "_rebuild_parameter").op(b"(").str("a").op(b"tR")),
        dict("x", |c| c.global("torch", "FloatStorage").op(b")R")),
        dict("x", |c| c.op(b"K\x01)R")),
    ] {
        refused(open(&code, 0), "it calls a ");
    }
}

#[test]
fn pickles_that_lie_are_errors() {
    let bytes = |code: &[u8]| open(code, 0);
    for (code, words) in [
        (&b""[..], "byte 0: it ends too early"),
        (b"\x80\x02}", "byte 3: it ends too early"),
        (b"\x80\x01}.", "it is of protocol 1"),
        (b"\x80\x02.", "its stack is empty"),
        (b"\x80\x02h\x05.", "its memo has no 5"),
        (b"\x80\x02j\xff\xff\xff\xff.", "its memo has no 4294967295"),
        (b"\x80\x02q\x05.", "its stack is empty"),
        (b"\x80\x02t.", "its stack has no mark"),
        (b"\x80\x02}(K\x01u.", "a dict has a key without a value"),
        (b"\x80\x02K\x01(K\x01K\x01u.", "it puts items into a int"),
        (b"\x80\x02]K\x01K\x01s.", "it puts items into a list"),
        (b"\x80\x02}K\x01a.", "it puts items into a dict"),
        (b"\x80\x02K\x01}b.", "it sets the state of a int"),
        (b"\x80\x02K\x01(\x85.", "its stack is empty"),
        (b"\x80\x02X\xff\xff\xff\xffabc", "it ends too early"),
        (b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc", "it ends too early"),
        (b"\x80\x02X\x01\0\0\0\xff.", "a name is not UTF-8"),
        (b"\x80\x02\x8a\x11aaaaaaaaaaaaaaaaa.", "holds a large int, not a dict"),
        (b"\x80\x02](K\x01\x90.", "it puts items into a list"),
        (b"\x80\x02\x90.", "its stack has no mark"),
        (b"\x80\x02cos", "it ends too early"),
        (b"\x80\x02K\x01Q.", "a persistent id is not"),
        (b"\x80\x02)Q.", "a persistent id is not"),
        (b"\x80\x02Pid\n.", "instruction 0x50 (P)"),
        (b"\x80\x02\x82\x01.", "instruction 0x82"),
        (b"\x80\x02K\x01.", "holds a int, not a dict of tensors"),
        (b"\x80\x02].", "holds a list, not a dict of tensors"),
        (b"\x80\x02}X\x05\0\0\0model}s.", "holds no tensors but model (dict)"),
    ] {
        refused(bytes(code), words);
    }
    let tensor = |code: Code| code.tensor("ByteStorage", 2, 0, &[2], &[1]);
    refused(open(&tensor(Code::default().op(b"}K\x01")).op(b"s.").0, 2), "a tensor's name is a int");
    let once = tensor(Code::default().op(b"}").str("x")).op(b"s").str("x");
    refused(open(&tensor(once).op(b"s.").0, 2), "x is listed twice");
    let many = vec![b'N'; super::super::pickle::MAX_PICKLE_BYTES + 1];
    refused(open(&many, 0), "bytes long, above 4194304");
}

/// Few bytes that name the same tuples again and again describe much; a large checkpoint does not.
#[test]
fn a_pickle_cannot_grow_into_more_than_a_checkpoint() {
    // A list with the call and its arguments in the memo, then calls of 5 bytes each.
    let begin = Code::default()
        .op(b"\x80\x02](")
        .global("torch._utils", "_rebuild_tensor_v2")
        .op(b"q\x00(")
        .storage("ByteStorage", "0", 2)
        .int(0)
        .ints(&[1; 8])
        .ints(&[1; 8])
        .op(b"tq\x01")
        .0;
    for repeated in [&b"h\x00h\x01R"[..], b"]", b"N", b"N\x94", b"]\x94"] {
        let times = (super::super::pickle::MAX_PICKLE_BYTES - begin.len()) / repeated.len();
        refused(
            open(&[&begin[..], &repeated.repeat(times)].concat(), 2),
            "describes more than 67108864 bytes",
        );
    }

    // 20,000 tensors, as torch writes them, each with a name.
    let tensors = (0..20_000).fold(Code::default().op(b"\x80\x02}"), |code, i| {
        let code = code.str(&format!("layers.{i}")).op(if i == 0 { b"" } else { b"h\x00" });
        match i {
            0 => code.global("torch._utils", "_rebuild_tensor_v2").op(b"q\x00"),
            _ => code,
        }
        .op(b"(")
        .storage("FloatStorage", "0", 16)
        .op(b"K\x00K\x04K\x04\x86K\x04K\x01\x86\x89)tRs")
    });
    assert_eq!(open(&tensors.op(b".").0, 64).unwrap().names().len(), 20_000);
}

/// Neither reading nor dropping it takes a step of the stack for each.
#[test]
fn deep_nesting_costs_no_stack() {
    let depth = 1_000_000;
    let lists = [&b"\x80\x02}X\x01\0\0\0x"[..], &b"]".repeat(depth), &b"a".repeat(depth - 1), b"s."].concat();
    let tuples = [&b"\x80\x02}X\x01\0\0\0x)"[..], &b"\x85".repeat(depth), b"s."].concat();
    for code in [lists, tuples, b"(".repeat(depth), b")2\x86".repeat(depth)] {
        let thread = std::thread::Builder::new().stack_size(64 << 10);
        thread.spawn(move || assert!(open(&code, 0).is_err())).unwrap().join().unwrap();
    }
    // A list within itself.
    refused(open(b"\x80\x02]q\x00h\x00a.", 0), "holds a list");
}

#[test]
fn tensors_outside_of_their_storage_are_errors() {
    let max = i128::from(u64::MAX);
    for (numel, offset, size, stride, words) in [
        (
            12,
            0,
            &[13][..],
            &[1][..],
            "x: is [13] of U8 at 0, strides [1], of a storage of 12 elements: that does not",
        ),
        (12, 1, &[12], &[1], "that does not fit"),
        (12, 13, &[0], &[1], "that does not fit"),
        (12, 12, &[1], &[1], "that does not fit"),
        (12, 0, &[3, 4], &[5, 1], "that does not fit"),
        (12, 0, &[3, 4], &[4], "that does not fit"),
        (12, -1, &[1], &[1], "that does not fit"),
        (12, 11, &[12], &[-1], "that does not fit"),
        (12, 0, &[-1], &[1], "that does not fit"),
        (12, max, &[2], &[max], "that does not fit"),
        (12, i128::MAX, &[2], &[i128::MIN], "that does not fit"),
        (12, 0, &[2, 2], &[max, max], "that does not fit"),
        (12, 0, &[1 << 63], &[1], "x: is [9223372036854775808] of U8 at 0, strides [1], of a storage of 12"),
        (12, 0, &[1 << 32, 1 << 31], &[1 << 31, 1], "x: is [4294967296, 2147483648] of U8"),
        (12, 0, &[1 << 32, 1 << 32, 0], &[0, 0, 0], "that does not fit"),
        (13, 0, &[1], &[1], "x: its storage 0 is to hold 13 elements of U8, the file has 12 bytes of it"),
        (-1, 0, &[1], &[1], "is to hold -1 elements"),
        (i128::MAX, 0, &[1], &[1], "is to hold 170141183460469231731687303715884105727 elements"),
    ] {
        refused(open(&dict("x", |code| code.tensor("ByteStorage", numel, offset, size, stride)), 12), words);
    }
    let wide = |numel| open(&dict("x", |code| code.tensor("DoubleStorage", numel, 0, &[1], &[1])), 12);
    wide(1).unwrap();
    refused(wide(2), "is to hold 2 elements of F64, the file has 12 bytes");
    refused(wide(1 << 61), "is to hold 2305843009213693952 elements");
    let elsewhere = dict("x", |code| {
        let code = code.global("torch._utils", "_rebuild_tensor_v2").op(b"(");
        code.storage("ByteStorage", "../0", 1).op(b"K\0K\x01\x85K\x01\x85\x89)tR")
    });
    refused(open(&elsewhere, 1), "x: its storage ../0 is not in the file");
    let flat = dict("x", |code| code.tensor("ByteStorage", 12, 0, &[1; 9], &[1; 9]));
    refused(open(&flat, 12), "a tensor of 9 axes, above 8");
    open(&dict("x", |code| code.tensor("ByteStorage", 12, 0, &[1; 8], &[1; 8])), 12).unwrap();
}

#[test]
fn a_mutated_file_is_an_error_or_reads_within_itself() {
    let whole = file(&dict("x", |code| code.tensor("HalfStorage", 6, 1, &[2, 2], &[1, 2])), 12);
    let mut read = 0;
    for at in 0..whole.len() {
        for byte in [0, 1, b'(', b't', b'R', b'\n', b'.', 0x8a, whole[at] ^ 1, whole[at] ^ 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            let Ok(weights) = read_both(bytes) else { continue };
            for name in weights.names() {
                let view = weights.get(name).unwrap();
                let mut bytes = vec![0; view.byte_len()];
                view.read_bytes(0, &mut bytes).unwrap();
                let _ = view.to_f32();
                read += 1;
            }
        }
    }
    assert!(read > 100, "only {read} were read: the file is not what the test means");
}
