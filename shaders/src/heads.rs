//! Heads of queries, keys and values: where they lie in tensors, and which keys a row sees.

use bytemuck::Pod;
use half::f16;
use strix_engine::{Graph, Tensor, TensorId};

use crate::cursors::{Cursors, PAGE};
use crate::generated::variants;

/// What keys and values can be stored as. Kernels compute in f32 with either.
pub trait KvElement: Pod + Into<f64> {
    /// Whether it is f16, which kernels read and write in pairs.
    const IS_F16: bool;
    /// Number of elements in 16 bytes.
    const PER_CHUNK: u32;
    /// No number.
    const NAN: Self;

    /// What a cache holds of `x`: of f16 the nearest, at most the largest.
    fn nearest(x: f32) -> Self;
}

impl KvElement for f32 {
    const IS_F16: bool = false;
    const PER_CHUNK: u32 = 4;
    const NAN: Self = Self::NAN;

    fn nearest(x: f32) -> Self {
        x
    }
}

impl KvElement for f16 {
    const IS_F16: bool = true;
    const PER_CHUNK: u32 = 8;
    const NAN: Self = Self::NAN;

    fn nearest(x: f32) -> Self {
        Self::from_f32(x.clamp(Self::MIN.to_f32(), Self::MAX.to_f32()))
    }
}

/// Which heads of keys and values a part has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvRange {
    /// The first of them.
    pub(crate) first: u32,
    /// Their number.
    pub(crate) count: u32,
}

/// Where the heads of a projection or of a cache lie in a tensor.
#[derive(Clone, Copy, Debug)]
pub struct Heads<T = f32> {
    /// All elements.
    pub(crate) elements: Tensor<T, 1>,
    /// Rows of each head.
    pub(crate) rows: u32,
    /// Elements from one row of a head to the next.
    pub(crate) row: u32,
    /// Element at which row 0 of head 0 begins.
    pub(crate) offset: u32,
    /// Elements from one head to the next.
    pub(crate) stride: u32,
    /// Where in a head elements lie that are read as keys.
    pub(crate) keys: KeyStrides,
}

/// Number of heads, and their size.
#[derive(Clone, Copy, Debug)]
pub struct HeadShape {
    /// Heads of the queries.
    pub num_heads: u32,
    /// Heads of the keys and values: head n attends to number n / (num_heads / num_kv_heads).
    pub num_kv_heads: u32,
    /// Dimensions of a head.
    pub head_dim: u32,
}

/// Which keys a row sees.
#[derive(Clone, Copy, Debug)]
pub enum Mask {
    /// All of the first n rows of `k`.
    Full {
        /// n.
        keys: u32,
    },
    /// Keys of the row's sequence at positions up to its own.
    Causal {
        /// Sequence and position of each row, and where the sequences' keys and values are. Read at run time.
        cursors: Cursors,
    },
}

impl<T: KvElement> Heads<T> {
    /// Heads side by side in the rows of a projection: the first begins at element `offset` of a row, each other
    /// `stride` after the one before.
    pub fn in_rows(tensor: Tensor<T, 2>, offset: u32, stride: u32) -> Self {
        let [rows, row] = tensor.shape();
        Self {
            elements: tensor.reshape([rows * row]),
            rows,
            row,
            offset,
            stride,
            keys: KeyStrides::rows::<T>(row),
        }
    }

    /// Heads one after the other, `[heads, rows, head_dim]`, as a cache has its values.
    pub fn by_head(tensor: Tensor<T, 3>) -> Self {
        let [heads, rows, row] = tensor.shape();
        let (elements, keys) = (tensor.reshape([heads * rows * row]), KeyStrides::rows::<T>(row));
        Self { elements, rows, row, offset: 0, stride: rows * row, keys }
    }

    /// The tensor they lie in.
    pub(crate) fn id(self) -> TensorId {
        self.elements.id()
    }

    /// Asserts that there are as many heads of that size.
    fn check(self, what: &str, num_heads: u32, head_dim: u32) {
        let (row, elements) = (self.row, self.elements.shape()[0]);
        let in_row =
            self.offset + head_dim + if self.stride < row { (num_heads - 1) * self.stride } else { 0 };
        let end = u64::from(self.offset)
            + u64::from(num_heads - 1) * u64::from(self.stride)
            + u64::from(self.rows - 1) * u64::from(row)
            + u64::from(head_dim);
        assert!(
            in_row <= row && end <= u64::from(elements),
            "{what}: {num_heads} heads of {head_dim} end at {end} of {elements}, in rows of {row}"
        );
    }

    /// Whether kernels can read it as texels, of which every head is some.
    pub(crate) fn has_texels(self, g: &Graph, head_dim: u32) -> bool {
        g.has_texels(self.id())
            && [self.row, self.offset, self.stride, head_dim].iter().all(|n| n.is_multiple_of(T::PER_CHUNK))
    }

    /// Whether every head begins at a multiple of 4 elements.
    fn aligned(self) -> bool {
        [self.row, self.offset, self.stride].iter().all(|n| n.is_multiple_of(4))
    }
}

/// Where elements of keys lie, seen from the first of their head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyStrides {
    /// Elements of a block, divided by [`PAGE`].
    pub(crate) row: u32,
    /// Elements from one key to the next in a block.
    pub(crate) key: u32,
    /// Elements from one 16 bytes of a key to its next.
    pub(crate) chunk: u32,
}

impl KeyStrides {
    /// Of keys one after the other, `row` elements from one to the next.
    pub(crate) fn rows<T: KvElement>(row: u32) -> Self {
        Self { row, key: row, chunk: T::PER_CHUNK }
    }

    /// Of the keys of a cache.
    pub(crate) fn blocks<T: KvElement>(head_dim: u32) -> Self {
        if !head_dim.is_multiple_of(T::PER_CHUNK) {
            return Self::rows::<T>(head_dim);
        }
        Self { row: head_dim, key: T::PER_CHUNK, chunk: PAGE * T::PER_CHUNK }
    }

    /// Where dimension `d` of key `j` lies.
    pub(crate) fn at<T: KvElement>(self, j: usize, d: usize) -> usize {
        let (block, per) = (PAGE as usize, T::PER_CHUNK as usize);
        let [row, key, chunk] = [self.row, self.key, self.chunk].map(|n| n as usize);
        j / block * (block * row) + j % block * key + d / per * chunk + d % per
    }

    /// Key `j` of a head that begins with `keys`.
    pub(crate) fn get<T: KvElement>(self, keys: &[T], j: usize, head_dim: usize) -> Vec<T> {
        (0..head_dim).map(|d| keys[self.at::<T>(j, d)]).collect()
    }

    /// Replaces it.
    pub(crate) fn set<T: KvElement>(self, keys: &mut [T], j: usize, key: &[T]) {
        for (d, &x) in key.iter().enumerate() {
            keys[self.at::<T>(j, d)] = x;
        }
    }
}

impl HeadShape {
    /// The heads of keys and values of a part of a cache, and those of q that attend to them.
    pub(crate) fn of_part(self, KvRange { count, .. }: KvRange) -> Self {
        Self { num_heads: count * (self.num_heads / self.num_kv_heads), num_kv_heads: count, ..self }
    }

    /// All heads of keys and values.
    pub(crate) fn all(self) -> KvRange {
        KvRange { first: 0, count: self.num_kv_heads }
    }

    /// Asserts that `q` holds such heads, `k` and `v` those of a part, and returns how they lie.
    pub(crate) fn alignment<T: KvElement>(
        self,
        kernel: &str,
        q: Heads,
        (range, [k, v]): (KvRange, [Heads<T>; 2]),
    ) -> variants::Heads {
        let Self { num_heads, num_kv_heads, head_dim } = self;
        assert!(
            num_kv_heads > 0 && num_heads.is_multiple_of(num_kv_heads),
            "{kernel}: {num_heads} heads over {num_kv_heads} of keys"
        );
        assert!((1..=256).contains(&head_dim), "{kernel}: heads of {head_dim}, from 1 to 256 is possible");
        q.check(&format!("{kernel}: q"), num_heads, head_dim);
        k.check(&format!("{kernel}: k"), range.count, head_dim);
        v.check(&format!("{kernel}: v"), range.count, head_dim);
        assert!(k.rows >= v.rows, "{kernel}: {} rows of k against {} of v", k.rows, v.rows);
        assert_eq!(v.keys, KeyStrides::rows::<T>(v.row), "{kernel}: values in blocks");
        let aligned = head_dim.is_multiple_of(4) && q.aligned() && k.aligned() && v.aligned();
        assert!(
            aligned || !T::IS_F16,
            "{kernel}: f16 heads of {head_dim} are not in multiples of 4 elements"
        );
        match (T::IS_F16, aligned) {
            (true, _) => variants::Heads::F16,
            (_, true) => variants::Heads::Vec4,
            _ => variants::Heads::Scalar,
        }
    }
}

impl Mask {
    /// Value of the variant `mask`.
    pub(crate) fn kind(self) -> variants::Mask {
        match self {
            Self::Full { .. } => variants::Mask::Full,
            Self::Causal { .. } => variants::Mask::Causal,
        }
    }

    /// First rows and pages of sequences, if there are some.
    pub(crate) fn cursors(self) -> Option<Cursors> {
        match self {
            Self::Full { .. } => None,
            Self::Causal { cursors } => Some(cursors),
        }
    }

    /// Tiles that hold `rows` rows, `queries` each: sequences do not share one.
    pub(crate) fn tiles(self, rows: u32, queries: u32) -> u32 {
        let others = match self {
            Self::Full { .. } => 0,
            Self::Causal { cursors } => cursors.pages.shape()[0] - 1,
        };
        rows.div_ceil(queries) + others
    }

    /// Most keys that one of `rows` rows may see of a tensor's `kv_rows`, how many sequences there are, and pages of
    /// each.
    pub(crate) fn sizes(self, kernel: &str, rows: u32, kv_rows: u32) -> [u32; 3] {
        match self {
            Self::Full { keys } => {
                assert!((1..=kv_rows).contains(&keys), "{kernel}: {keys} keys of {kv_rows}");
                [keys, 0, 0]
            }
            Self::Causal { cursors } => {
                let [sequences, pages] = cursors.check(kernel, rows);
                [pages * PAGE, sequences, pages]
            }
        }
    }
}
