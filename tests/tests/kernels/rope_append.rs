use half::f16;
use strix_engine::{Gpu, Graph, Program};
use strix_shaders::cursors::{PAGE, Run};
use strix_shaders::rope_append::Params;
use strix_shaders::{Cursors, HeadShape, KvCache, KvElement, RopeTables, rope_append};
use strix_tests::{assert_close, constant, gpu, run_graph, uniform};

use crate::sequences::{self, Several, cursors_of, turned};

/// Positions of the tables, and of most caches: whole pages, which the sequence has from the last to the first.
const CONTEXT: u32 = 48;

fn heads(num_heads: u32, num_kv_heads: u32, head_dim: u32) -> HeadShape {
    HeadShape { num_heads, num_kv_heads, head_dim }
}

/// Tables of the first positions at the usual base.
fn tables(head_dim: u32) -> RopeTables {
    let frequencies: Vec<f32> =
        (0..head_dim / 2).map(|j| 10_000_f32.powf(-((2 * j) as f32) / head_dim as f32)).collect();
    let angles: Vec<f32> = (0..CONTEXT).flat_map(|p| frequencies.iter().map(move |f| p as f32 * f)).collect();
    let of = |f: fn(f32) -> f32| angles.iter().map(|&a| f(a)).collect::<Vec<_>>();
    RopeTables::new("tables", CONTEXT, head_dim, &of(f32::cos), &of(f32::sin))
}

fn filled(context: u32, heads: HeadShape) -> KvCache {
    let elements = heads.num_kv_heads * context * heads.head_dim;
    let [k, v] = [11, 12].map(|seed| uniform(seed, elements as usize));
    cache_of(heads, &k, &v)
}

/// A cache of these keys and values, `[num_kv_heads, context, head_dim]`.
fn cache_of<T: KvElement>(heads: HeadShape, k: &[T], v: &[T]) -> KvCache<T> {
    let HeadShape { num_kv_heads, head_dim, .. } = heads;
    let [k, v] = [k, v].map(|x| turned(x, num_kv_heads, head_dim));
    sequences::cache_of(num_kv_heads, head_dim, &k, &v)
}

/// Keys and values on the device, `[num_kv_heads, context, head_dim]`.
fn held<T: KvElement>(gpu: &Gpu, cache: &KvCache<T>) -> [Vec<T>; 2] {
    let [num_kv_heads, _, head_dim] = cache.parts[0].v.shape();
    sequences::held(gpu, cache).map(|x| turned(&x, num_kv_heads, head_dim))
}

/// Rows of q with their rows of k and v behind them.
fn joined(q: &[f32], kv: &[f32], rows: u32) -> Vec<f32> {
    let [q_dim, kv_dim] = [q, kv].map(|x| x.len() / rows as usize);
    q.chunks_exact(q_dim).zip(kv.chunks_exact(kv_dim)).flat_map(|(q, kv)| [q, kv].concat()).collect()
}

/// Rotated q, and k and v of the cache.
type Rows<T> = (Vec<f32>, [Vec<T>; 2]);

/// What one step of `rows` rows leaves, of which `span[1]` are live.
fn run(gpu: &Gpu, rows: u32, heads: HeadShape, span: [u32; 2], cache: &KvCache) -> [Vec<f32>; 3] {
    let kv = uniform(2, (rows * 2 * heads.num_kv_heads * heads.head_dim) as usize);
    let (q, [k, v]) = run_into(gpu, rows, heads, span, &kv, cache);
    [q, k, v]
}

fn run_into<T: KvElement>(
    gpu: &Gpu,
    rows: u32,
    heads: HeadShape,
    span: [u32; 2],
    kv: &[f32],
    cache: &KvCache<T>,
) -> Rows<T> {
    let tables = tables(heads.head_dim);
    let mut g = Graph::new(gpu.target());
    let (q_dim, kv_dim) = (heads.num_heads * heads.head_dim, 2 * heads.num_kv_heads * heads.head_dim);
    let qkv = joined(&uniform(1, (rows * q_dim) as usize), kv, rows);
    let qkv = constant(&mut g, [rows, q_dim + kv_dim], &qkv);
    let pages: Vec<_> = (0..cache.parts[0].v.shape()[1] / PAGE).rev().collect();
    let run = Run { start: span[0], rows: span[1] };
    let cursors = Cursors::of(&mut g, rows, &[run], &pages);
    let rotated = rope_append(&mut g, "rotated", qkv, &tables, cache, heads, cursors);
    let rotated = g.output(rotated);
    let program = run_graph(gpu, g, &[rotated.id()], |_| ());
    (program.read(rotated).unwrap(), held(gpu, cache))
}

fn expected(rows: u32, heads: HeadShape, span: [u32; 2], k: &[f32], v: &[f32]) -> [Vec<f32>; 3] {
    let kv = uniform(2, (rows * 2 * heads.num_kv_heads * heads.head_dim) as usize);
    let (q, [k, v]) = expected_in(rows, heads, span, &kv, [k, v]);
    [q, k, v]
}

fn expected_in<T: KvElement>(
    rows: u32,
    heads: HeadShape,
    span: [u32; 2],
    kv: &[f32],
    cache: [&[T]; 2],
) -> Rows<T> {
    let HeadShape { num_heads, num_kv_heads, head_dim } = heads;
    let q = uniform(1, (rows * num_heads * head_dim) as usize);
    let half = head_dim / 2;
    // In f64 from the definition, not from the tables under test.
    let angle = |p: u32, j: u32| f64::from(p) * 1e4_f64.powf(-2.0 * f64::from(j) / f64::from(head_dim));
    let row = |p| (0..half).map(move |j| angle(p, j).cos()).chain((0..half).map(move |j| angle(p, j).sin()));
    let tables: Vec<f32> = (0..CONTEXT).flat_map(row).map(|v| v as f32).collect();
    // The reference has its keys one after the other, and its pages in order.
    let p = Params {
        rows,
        num_heads,
        num_kv_heads,
        heads_per_kv: num_heads / num_kv_heads,
        first_kv_head: 0,
        part_kv_heads: num_kv_heads,
        head_dim,
        slots: CONTEXT,
        sequence_pages: CONTEXT / PAGE,
        k_row: head_dim,
        k_key: head_dim,
        k_chunk: T::PER_CHUNK,
    };
    let (cursors, pages) = (cursors_of(rows, span[0], span[1]), (0..CONTEXT / PAGE).collect::<Vec<_>>());
    let (mut rotated, [mut k, mut v]) = (vec![0.0; q.len()], cache.map(<[T]>::to_vec));
    let qkv = joined(&q, kv, rows);
    rope_append::reference(&p, &qkv, &tables, &cursors, &pages, &mut rotated, &mut k, &mut v);
    (rotated, [k, v])
}

#[test]
fn rope_append_matches_reference() {
    let shapes = [
        heads(32, 32, 128),
        heads(32, 8, 128),
        heads(16, 16, 64),
        heads(3, 3, 256),
        heads(4, 2, 6),
        heads(7, 1, 34),
        heads(1, 1, 2),
    ];
    for shape in shapes {
        for (rows, span) in [(1, [0, 1]), (1, [39, 1]), (7, [5, 7]), (20, [13, 20])] {
            let cache = KvCache::new("cache", CONTEXT / PAGE, shape, u64::MAX);
            let zeros = vec![0.0; cache.parts[0].v.shape().iter().product::<u32>() as usize];
            let want = expected(rows, shape, span, &zeros, &zeros);
            let got = run(gpu(), rows, shape, span, &cache);
            for (name, (got, want)) in ["q", "k", "v"].iter().zip(got.iter().zip(&want)) {
                // Angles of up to 39 in f32 are off by up to 2e-6 themselves.
                assert_close(&format!("{name} of {shape:?} at {span:?}"), got, want, 5e-6);
            }
        }
    }
}

#[test]
fn kv_cache_append_keeps_earlier_rows() {
    for shape in [heads(4, 2, 128), heads(3, 1, 6)] {
        let cache = filled(CONTEXT, shape);
        let (dim, elements) =
            (shape.head_dim as usize, cache.parts[0].v.shape().iter().product::<u32>() as usize);
        let mut before = [uniform(11, elements), uniform(12, elements)];
        for span in [[7, 5], [12, 5], [17, 1]] {
            let [_, k, v] = run(gpu(), span[1], shape, span, &cache);
            let live = span[0] as usize * dim..(span[0] + span[1]) as usize * dim;
            for ((name, now), before) in [("k", k), ("v", v)].into_iter().zip(&mut before) {
                let heads = now.chunks_exact(CONTEXT as usize * dim);
                for (now, before) in heads.zip(before.chunks_exact(CONTEXT as usize * dim)) {
                    assert!(
                        now[..live.start] == before[..live.start],
                        "{name}: an earlier row changed at {span:?}"
                    );
                    assert!(now[live.end..] == before[live.end..], "{name}: a later row changed at {span:?}");
                    assert!(
                        now[live.clone()] != before[live.clone()],
                        "{name}: nothing was appended at {span:?}"
                    );
                }
                *before = now;
            }
        }
    }
}

#[test]
fn rope_append_writes_the_live_rows_of_its_span() {
    for shape in [heads(4, 2, 128), heads(3, 1, 6)] {
        let cache = filled(CONTEXT, shape);
        let span = [30, 4];
        let [k, v] = held(gpu(), &cache);
        let want = expected(8, shape, span, &k, &v);
        let got = run(gpu(), 8, shape, span, &cache);
        for (name, (got, want)) in ["q", "k", "v"].iter().zip(got.iter().zip(&want)) {
            assert_close(&format!("{name} of {shape:?}"), got, want, 5e-6);
        }
    }
}

#[test]
fn rope_append_writes_nothing_past_the_cache() {
    // The tables reach further than the cache.
    let (shape, context) = (heads(2, 2, 8), CONTEXT - PAGE);
    let cache = filled(context, shape);
    let [q, k, _] = run(gpu(), 4, shape, [context - 2, 4], &cache);
    assert!(q[..2 * 16].iter().all(|&v| v != 0.0));
    assert_eq!(q[2 * 16..], [0.0; 32]);
    let before = uniform(11, context as usize * 16);
    let (kept, head) = ((context as usize - 2) * 8, context as usize * 8);
    for (k, before) in k.chunks_exact(head).zip(before.chunks_exact(head)) {
        assert_eq!(k[..kept], before[..kept]);
    }
}

/// Keys are rotated in f32 here and in f64 there, by angles that are themselves off by up to 2e-6, so a rounding
/// may fall to either side: one step of f16, 2^-10 of the number at most. Values are rounded from the same f32,
/// and equal. What is too small for a normal f16 is rounded as the device likes, or flushed to zero.
#[test]
fn rope_append_to_a_cache_of_f16_matches_reference() {
    let shapes = [
        heads(32, 32, 128),
        heads(32, 8, 128),
        heads(6, 2, 12),
        heads(4, 4, 20),
        heads(3, 3, 256),
        heads(7, 1, 36),
        heads(1, 1, 4),
    ];
    for shape in shapes {
        for (rows, span) in [(1, [0, 1]), (1, [39, 1]), (7, [5, 7]), (8, [30, 4])] {
            let kv = uniform(2, (rows * 2 * shape.num_kv_heads * shape.head_dim) as usize);
            let before = [11, 12].map(|seed| -> Vec<f16> {
                let elements = CONTEXT * shape.num_kv_heads * shape.head_dim;
                uniform(seed, elements as usize).into_iter().map(f16::from_f32).collect()
            });
            let cache = cache_of(shape, &before[0], &before[1]);
            let (want_q, want) = expected_in(rows, shape, span, &kv, before.each_ref().map(Vec::as_slice));
            let (q, got) = run_into(gpu(), rows, shape, span, &kv, &cache);
            assert_close(&format!("q of {shape:?} at {span:?}"), &q, &want_q, 5e-6);
            for ((name, bound), (got, want)) in [("k", 5e-6), ("v", 0.0)].iter().zip(got.iter().zip(&want)) {
                for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
                    let [got, want] = [got, want].map(f16::to_f32);
                    let step = if *bound > 0.0 { want.abs() * f16::EPSILON.to_f32() } else { 0.0 };
                    let small = got.abs().max(want.abs()) <= f16::MIN_POSITIVE.to_f32();
                    assert!(
                        small || (got - want).abs() <= bound + step,
                        "{name}[{i}] of {shape:?} at {span:?}: {got}, want {want}"
                    );
                }
            }
        }
    }
}

/// So many keys that some are rounded to the other side than by the reference: a step of f16 is no difference.
#[test]
fn rope_append_to_a_cache_of_f16_replays_its_reference() {
    let (shape, rows) = (heads(32, 32, 128), CONTEXT);
    let row = shape.num_heads * shape.head_dim;
    let mut g = Graph::new(gpu().target());
    let qkv = constant(&mut g, [rows, 3 * row], &uniform(1, (rows * 3 * row) as usize));
    let cursors = Cursors::in_order(&mut g, rows, 0, rows, CONTEXT / PAGE);
    let cache = KvCache::<f16>::new("cache", CONTEXT / PAGE, shape, u64::MAX);
    rope_append(&mut g, "rotated", qkv, &tables(shape.head_dim), &cache, shape, cursors);
    let mut program = Program::compile(gpu(), g).expect("the kernel compiles");
    assert_eq!(program.replay(1e-6).expect("the kernel runs"), None);
}

#[test]
fn a_cache_of_f16_holds_the_nearest_f16_and_no_infinity() {
    for (x, want) in [
        (1.0, 1.0),
        (-0.0, -0.0),
        (0.1, 0.099_975_586),
        // Halfway between two: to the even one.
        (2_049.0, 2_048.0),
        (2_051.0, 2_052.0),
        (-2_049.0, -2_048.0),
        // A bit more and less than halfway.
        (2_049.000_2, 2_050.0),
        (2_050.999_8, 2_050.0),
        (4_095.0, 4_096.0),
        (6.103_515_6e-5, 6.103_515_6e-5),
        (65_504.0, 65_504.0),
        (65_519.0, 65_504.0),
        (65_520.0, 65_504.0),
        (-65_520.0, -65_504.0),
        (1e30, 65_504.0),
        (f32::MIN, -65_504.0),
        (f32::INFINITY, 65_504.0),
    ] {
        for shape in [heads(1, 1, 8), heads(1, 1, 4)] {
            let dim = shape.head_dim as usize;
            // At position 0 keys are not turned, but an infinite one would be multiplied by a sine of 0.
            let k = if x.is_finite() { x } else { 0.0 };
            let kv: Vec<f32> = [vec![k; dim], vec![x; dim]].concat();
            let cache = KvCache::<f16>::new("cache", CONTEXT / PAGE, shape, u64::MAX);
            let (_, [got_k, got_v]) = run_into(gpu(), 1, shape, [0, 1], &kv, &cache);
            assert_eq!(got_v[..dim], vec![f16::from_f32(want); dim], "{x} as a value of {shape:?}");
            if x.is_finite() {
                assert_eq!(got_k[..dim], vec![f16::from_f32(want); dim], "{x} as a key of {shape:?}");
            }
        }
    }
}

/// Each row goes to its own sequence, at its own position; what is between them stays.
#[test]
fn rope_append_of_several_sequences_is_that_of_each_alone() {
    for shape in [heads(4, 2, 32), heads(3, 1, 6)] {
        let HeadShape { num_heads, num_kv_heads, head_dim } = shape;
        let case = Several::new(num_heads, num_kv_heads, head_dim, &[[0, 5], [31, 1], [15, 2], [16, 3]]);
        let width = ((num_heads + 2 * num_kv_heads) * head_dim) as usize;
        let (rows, dead) = (case.rows(), 2);
        let mut qkv = uniform(1, rows as usize * width);
        qkv.resize((rows as usize + dead) * width, f32::NAN);
        let run = |cache: &KvCache, qkv: &[f32], runs: &[Run], pages: &[u32]| {
            let mut g = Graph::new(gpu().target());
            let rows = (qkv.len() / width) as u32;
            let x = constant(&mut g, [rows, width as u32], qkv);
            let cursors = Cursors::of(&mut g, rows, runs, pages);
            let rotated = rope_append(&mut g, "rotated", x, &tables(head_dim), cache, shape, cursors);
            let rotated = g.output(rotated);
            run_graph(gpu(), g, &[rotated.id()], |_| ()).read(rotated).unwrap()
        };
        let empty = || case.cache_of::<f32>(&case.cache(7, |_| 48), &case.cache(8, |_| 48));
        let (together, alone) = (empty(), empty());
        let rotated = run(&together, &qkv, &case.runs, &case.pages());
        let mut expected = vec![];
        let mut at = 0;
        for (of, pages) in case.runs.iter().zip(case.pages().chunks(case.sequence_pages as usize)) {
            let end = at + of.rows as usize * width;
            expected.extend(run(&alone, &qkv[at..end], &[*of], pages));
            at = end;
        }
        expected.resize(rotated.len(), 0.0);
        assert_eq!(rotated, expected);
        let bits = |cache: &KvCache| {
            sequences::held(gpu(), cache).map(|kv| kv.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        };
        assert!(bits(&together) == bits(&alone));
        assert!(bits(&together) != bits(&empty()), "something was appended");
    }
}
