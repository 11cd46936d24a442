//! A cache in several parts against the same in one: kernels run once a part.

use bytemuck::cast_slice;
use half::f16;
use strix_engine::{Gpu, Graph, Program, Tensor};
use strix_shaders::{
    Cursors, HeadShape, Heads, KvCache, KvElement, RopeTables, cached_attention, cached_attention_probs,
    decode_attention, rope_append,
};
use strix_tests::{constant, gpu, on_all, run_graph, uniform};

use crate::sequences::{Several, held, in_parts, with_texels};

/// Rows of several sequences, whose keys and values are in a cache.
struct Case<'a, T> {
    of: &'a Several,
    qkv: Vec<f32>,
    /// `[num_kv_heads, slots, head_dim]`.
    cache: [Vec<T>; 2],
}

/// What the kernels leave: their results, and the cache.
type Left = (Vec<Vec<f32>>, [Vec<u8>; 2]);

impl<T: KvElement + Send + Sync> Case<'_, T> {
    fn new(of: &Several) -> Case<'_, T> {
        let HeadShape { num_heads, num_kv_heads, head_dim } = of.shape;
        let qkv = uniform(1, (of.rows() * (num_heads + 2 * num_kv_heads) * head_dim) as usize);
        let cache = [2, 3].map(|seed| of.cache::<T>(seed, |run| run.start));
        Case { of, qkv, cache }
    }

    fn tables(&self) -> RopeTables {
        let (dim, positions) = (self.of.shape.head_dim, self.of.sequence_pages * 16);
        let [cos, sin] = [7, 8].map(|seed| uniform(seed, (positions * dim / 2) as usize));
        RopeTables::new("tables", positions, dim, &cos, &sin)
    }

    /// A cache in parts of so many heads.
    fn parts(&self, heads: u32) -> KvCache<T> {
        let HeadShape { num_kv_heads, head_dim, .. } = self.of.shape;
        let [k, v] = &self.cache;
        with_texels(in_parts(num_kv_heads, head_dim, k, v, heads))
    }

    /// Appends, attends, and writes probabilities out; or does all of it as a decode step.
    fn record(&self, g: &mut Graph, cache: &KvCache<T>, decodes: bool) -> Vec<Tensor<f32, 1>> {
        let Several { shape, runs, .. } = self.of;
        let (shape, rows) = (*shape, self.of.rows());
        let qkv = constant(g, [rows, self.qkv.len() as u32 / rows], &self.qkv);
        let cursors = Cursors::of(g, rows, runs, &self.of.pages());
        if decodes {
            let y = decode_attention(g, "y", qkv, &self.tables(), cache, shape, cursors);
            let y = g.output(y);
            return vec![y.reshape([y.len() as u32])];
        }
        let q = rope_append(g, "q", qkv, &self.tables(), cache, shape, cursors);
        let q = g.output(q);
        let heads = Heads::in_rows(q, 0, shape.head_dim);
        let y = cached_attention(g, "y", heads, cache, shape, rows, cursors);
        let y = g.output(y);
        let keys = self.of.sequence_pages * 16;
        let p = cached_attention_probs(g, "p", heads, cache, shape, rows, keys, cursors);
        let p = g.output(p);
        vec![q.reshape([q.len() as u32]), y.reshape([y.len() as u32]), p.reshape([p.len() as u32])]
    }

    fn run(&self, gpu: &Gpu, heads: u32, decodes: bool) -> Left {
        let (cache, mut g) = (self.parts(heads), Graph::new(gpu.target()));
        let outputs = self.record(&mut g, &cache, decodes);
        let ids: Vec<_> = outputs.iter().map(|output| output.id()).collect();
        let program = run_graph(gpu, g, &ids, |_| ());
        let results = outputs.iter().map(|&output| program.read(output).unwrap()).collect();
        (results, held(gpu, &cache).map(|kv| cast_slice(&kv).to_vec()))
    }

    /// Asserts that each step over parts of so many heads is as its reference.
    fn replay(&self, gpu: &Gpu, heads: u32, decodes: bool) {
        let (cache, mut g) = (self.parts(heads), Graph::new(gpu.target()));
        self.record(&mut g, &cache, decodes);
        let mut program = Program::compile(gpu, g).expect("the kernels compile");
        assert_eq!(program.replay(1e-5).expect("the kernels run"), None, "{:?}", self.of);
    }
}

fn check<T: KvElement + Send + Sync>(of: &Several) {
    let case = Case::<T>::new(of);
    let decodes = of.runs.iter().all(|run| run.rows == 1);
    on_all(|gpu| {
        let whole = case.run(gpu, of.shape.num_kv_heads, decodes);
        for heads in 1..of.shape.num_kv_heads {
            let what = format!("{}: parts of {heads} heads of {of:?}", gpu.target().family);
            let (results, cache) = case.run(gpu, heads, decodes);
            assert!(results == whole.0, "{what}: other results");
            assert!(cache == whole.1, "{what}: other keys or values");
        }
    });
}

const PREFILL: [[u32; 2]; 3] = [[0, 5], [31, 1], [15, 22]];
const DECODE: [[u32; 2]; 3] = [[0, 1], [70, 1], [16, 1]];

/// The parts are not of one size where heads do not divide.
#[test]
fn a_cache_in_parts_gives_the_bits_of_one_in_one() {
    for runs in [&PREFILL, &DECODE] {
        check::<f32>(&Several::new(6, 3, 32, runs));
        check::<f16>(&Several::new(3, 3, 16, runs));
        check::<f32>(&Several::new(4, 2, 10, runs));
    }
}

#[test]
fn kernels_over_a_part_replay_their_references() {
    for (runs, decodes) in [(&PREFILL, false), (&DECODE, true)] {
        let of = Several::new(6, 3, 32, runs);
        // Nothing is left that is no number: replays compare whole tensors.
        let zeros = Several { ..of.clone() }.cache::<f32>(4, |_| of.sequence_pages * 16);
        let zeros = zeros.iter().map(|&x| if x.is_nan() { 0.0 } else { x }).collect::<Vec<_>>();
        let case = Case { cache: [zeros.clone(), zeros], ..Case::<f32>::new(&of) };
        on_all(|gpu| {
            case.replay(gpu, 2, decodes);
        });
    }
    // Of the device as it is, f16 too.
    let of = Several::new(6, 3, 32, &DECODE);
    let case = Case {
        cache: [0, 1].map(|_| vec![f16::ZERO; Case::<f16>::new(&of).cache[0].len()]),
        ..Case::new(&of)
    };
    case.replay(gpu(), 2, true);
}
