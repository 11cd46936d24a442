use half::f16;
use strix_engine::{Gpu, Graph, Program, Resident};
use strix_shaders::attention::{self, HeadShape, KvElement};
use strix_shaders::cursors::{PAGE, Run};
use strix_shaders::rope_append::{self, RopeTables};
use strix_shaders::{Cursors, KvCache, decode_attention};
use strix_tests::{assert_close, constant, gpu, on_all, run_graph, run_on, uniform};

use crate::sequences::{Several, cache_of, held, turned, with_texels};

/// A decode step over a cache.
#[derive(Clone, Copy, Debug)]
struct Case {
    shape: HeadShape,
    /// Positions of the sequence: whole pages, which it has from the last to the first.
    context: u32,
    position: u32,
    /// Whether the cache can be read as texels.
    texels: bool,
}

/// The step's row, and keys and values of the cache.
struct Data<T> {
    qkv: Vec<f32>,
    cache: [Vec<T>; 2],
}

fn case(num_heads: u32, num_kv_heads: u32, head_dim: u32, position: u32) -> Case {
    let shape = HeadShape { num_heads, num_kv_heads, head_dim };
    Case { shape, context: (position + 40).next_multiple_of(PAGE), position, texels: false }
}

impl Case {
    /// From its position on the cache is NaN. Scores reach ±10, so that the maximum matters.
    fn data<T: KvElement>(self) -> Data<T> {
        let HeadShape { num_heads, num_kv_heads, head_dim } = self.shape;
        let mut qkv = uniform(1, ((num_heads + 2 * num_kv_heads) * head_dim) as usize);
        qkv[..(num_heads * head_dim) as usize].iter_mut().for_each(|v| *v *= 5.0);
        let head = (self.context * head_dim) as usize;
        let cache = [2, 3].map(|seed| {
            let values = uniform(seed, head * num_kv_heads as usize);
            let mut cache: Vec<T> = values.into_iter().map(T::nearest).collect();
            for head in cache.chunks_exact_mut(head) {
                head[(self.position * head_dim) as usize..].fill(T::NAN);
            }
            cache
        });
        Data { qkv, cache }
    }

    fn cos_sin(self) -> [Vec<f32>; 2] {
        let dim = self.shape.head_dim;
        let angle = |p: u32, j: u32| f64::from(p) * 1e4_f64.powf(-2.0 * f64::from(j) / f64::from(dim));
        let angles = (0..self.context).flat_map(|p| (0..dim / 2).map(move |j| angle(p, j)));
        [angles.clone().map(|a| a.cos() as f32).collect(), angles.map(|a| a.sin() as f32).collect()]
    }

    fn tables(self) -> RopeTables {
        let [cos, sin] = self.cos_sin();
        RopeTables::new("tables", self.context, self.shape.head_dim, &cos, &sin)
    }

    fn cache<T: KvElement + Send + Sync>(self, data: &Data<T>) -> KvCache<T> {
        let HeadShape { num_kv_heads, head_dim, .. } = self.shape;
        let [k, v] = data.cache.each_ref().map(|x| turned(x, num_kv_heads, head_dim));
        let cache = cache_of(num_kv_heads, head_dim, &k, &v);
        if self.texels { with_texels(cache) } else { cache }
    }

    fn pages(self) -> Vec<u32> {
        (0..self.context / PAGE).rev().collect()
    }

    fn cursors(self, g: &mut Graph) -> Cursors {
        Cursors::of(g, 1, &[Run { start: self.position, rows: 1 }], &self.pages())
    }

    /// Result of the step, and the cache after it.
    fn run<T: KvElement + Send + Sync>(self, gpu: &Gpu, data: &Data<T>) -> (Vec<f32>, [Vec<T>; 2]) {
        let (cache, mut g) = (self.cache(data), Graph::new(gpu.target()));
        let qkv = constant(&mut g, [1, data.qkv.len() as u32], &data.qkv);
        let cursors = self.cursors(&mut g);
        let y = decode_attention(&mut g, "y", qkv, &self.tables(), &cache, self.shape, cursors);
        let y = g.output(y);
        let program = run_graph(gpu, g, &[y.id()], |_| ());
        let HeadShape { num_kv_heads, head_dim, .. } = self.shape;
        let held = held(gpu, &cache).map(|x| turned(&x, num_kv_heads, head_dim));
        (program.read(y).unwrap(), held)
    }

    /// What [`rope_append::reference`] makes of the row: q, and the cache.
    fn appended<T: KvElement>(self, data: &Data<T>) -> (Vec<f32>, [Vec<T>; 2]) {
        let HeadShape { num_heads, num_kv_heads, head_dim } = self.shape;
        let p = rope_append::Params {
            rows: 1,
            num_heads,
            num_kv_heads,
            heads_per_kv: num_heads / num_kv_heads,
            first_kv_head: 0,
            part_kv_heads: num_kv_heads,
            head_dim,
            slots: self.context,
            sequence_pages: self.context / PAGE,
            k_row: head_dim,
            k_key: head_dim,
            k_chunk: T::PER_CHUNK,
        };
        let [cos, sin] =
            self.cos_sin().map(|t| t.chunks(head_dim as usize / 2).map(<[f32]>::to_vec).collect());
        let (cos, sin): (Vec<Vec<f32>>, Vec<Vec<f32>>) = (cos, sin);
        let tables: Vec<f32> = cos.into_iter().zip(sin).flat_map(|(cos, sin)| [cos, sin].concat()).collect();
        let mut q = vec![0.0; (num_heads * head_dim) as usize];
        let [mut k, mut v] = data.cache.clone();
        let (cursors, pages) = ([0, self.position], self.in_order());
        rope_append::reference(&p, &data.qkv, &tables, &cursors, &pages, &mut q, &mut k, &mut v);
        (q, [k, v])
    }

    /// Attention of rotated q over a cache.
    fn attended<T: KvElement>(self, q: &[f32], [k, v]: &[Vec<T>; 2]) -> Vec<f32> {
        let HeadShape { num_heads, num_kv_heads, head_dim } = self.shape;
        let stride = self.context * head_dim;
        let p = attention::Params {
            rows: 1,
            keys: self.context,
            sequences: 1,
            sequence_pages: self.context / PAGE,
            num_heads,
            heads_per_kv: num_heads / num_kv_heads,
            first_kv_head: 0,
            part_kv_heads: num_kv_heads,
            head_dim,
            q_row: num_heads * head_dim,
            q_offset: 0,
            q_stride: head_dim,
            k_row: head_dim,
            k_key: head_dim,
            k_chunk: T::PER_CHUNK,
            k_offset: 0,
            k_stride: stride,
            v_row: head_dim,
            v_offset: 0,
            v_stride: stride,
        };
        let mut y = vec![0.0; q.len()];
        attention::reference(&p, q, k, v, &[0, self.position, 1, 0], &self.in_order(), &mut y);
        y
    }

    /// Pages of the references, which have the cache by position.
    fn in_order(self) -> Vec<u32> {
        (0..self.context / PAGE).collect()
    }
}

/// [`on_all`], with a cache that kernels can read as texels and one they cannot.
fn on_all_reads(case: Case, check: impl Fn(&Gpu, Case)) {
    on_all(|gpu| {
        for texels in [false, true] {
            check(gpu, Case { texels, ..case });
        }
    });
}

/// The result is that of attention over the cache as the step left it, so an f16 is the one that is read later.
fn check<T: KvElement + Send + Sync>(case: Case) {
    let data = case.data::<T>();
    let (q, want) = case.appended(&data);
    let (dim, context) = (case.shape.head_dim as usize, case.context as usize);
    on_all_reads(case, |gpu, case| {
        let (y, cache) = case.run(gpu, &data);
        let what = format!("decode{} {case:?}", if T::IS_F16 { " f16" } else { "" });
        assert_close(&what, &y, &case.attended(&q, &cache), 1e-5);
        for ((name, got), want) in ["k", "v"].iter().zip(&cache).zip(&want) {
            let rows = got.chunks_exact(dim).zip(want.chunks_exact(dim)).enumerate();
            for (row, (got, want)) in rows {
                if row % context != case.position as usize {
                    let [got, want]: [&[u8]; 2] = [got, want].map(bytemuck::cast_slice);
                    assert!(got == want, "{what}: row {row} of {name} changed");
                    continue;
                }
                // A rotation in f32 may be rounded to the neighbour of the one in f64.
                let step = if T::IS_F16 { f16::EPSILON.to_f32() } else { 5e-6 };
                let [got, want] = [got, want].map(|x| x.iter().map(|&x| x.into() as f32).collect::<Vec<_>>());
                assert_close(&format!("{what}: {name}"), &got, &want, if *name == "k" { step } else { 0.0 });
            }
        }
    });
}

#[test]
fn decode_attention_of_the_decoder() {
    for position in [0, 64, 1022] {
        check::<f32>(case(32, 32, 128, position));
        check::<f16>(case(32, 32, 128, position));
    }
    let end = Case { context: 4096, ..case(32, 32, 128, 4095) };
    check::<f32>(end);
    check::<f16>(end);
}

#[test]
fn decode_attention_at_golden_sizes() {
    for head_dim in [8, 10, 12, 16, 20, 32, 40, 64] {
        check::<f32>(case(4, 4, head_dim, 33));
    }
    check::<f32>(case(6, 2, 16, 5));
    check::<f32>(case(4, 1, 12, 300));
}

#[test]
fn decode_attention_at_odd_sizes() {
    for head_dim in [2, 6, 14, 34, 36, 100, 250, 256] {
        for position in [0, 7, 270] {
            check::<f32>(case(2, 1, head_dim, position));
        }
    }
    for head_dim in [4, 12, 20, 36, 100, 256] {
        for position in [0, 7, 270] {
            check::<f16>(case(6, 2, head_dim, position));
        }
    }
    check::<f32>(Case { context: 16, ..case(1, 1, 4, 0) });
    check::<f16>(Case { context: 16, ..case(1, 1, 4, 0) });
}

/// Whether the device takes subnormal numbers of f32 for zero, as WGSL lets it (and Mesa 26 does, but not Mesa 22).
fn flushes_subnormals(gpu: &Gpu) -> bool {
    let zero = Resident::from_slice("zero", [1, 1], &[0.0_f32]);
    let sum = |g: &mut Graph| {
        let subnormal = constant(g, [1, 1], &[f32::MIN_POSITIVE / 4.0]);
        strix_shaders::add(g, "y", subnormal, &zero)
    };
    run_on(gpu, sum, |_| ()) == [0.0]
}

/// Subnormal numbers and the largest; a device may take the former for zero. The scores stay as they are.
#[test]
fn decode_attention_over_the_whole_range_of_f16() {
    let case = case(3, 3, 128, 70);
    for scale in [5e-5, 6e4] {
        let mut data = case.data::<f16>();
        let (q, kv) = data.qkv.split_at_mut(3 * 128);
        q.iter_mut().for_each(|q| *q /= scale);
        kv.fill(0.0);
        let cached = data.cache.iter_mut().flatten();
        cached.for_each(|kv| *kv = f16::from_f32(kv.to_f32() * scale));
        let (q, cache) = case.appended(&data);
        let in_scale = |y: Vec<f32>| y.into_iter().map(|y| y / scale).collect::<Vec<_>>();
        let want = in_scale(case.attended(&q, &cache));
        on_all_reads(case, |gpu, case| {
            let y = in_scale(case.run(gpu, &data).0);
            let flushed = scale < 1.0 && flushes_subnormals(gpu) && y.iter().all(|&y| y == 0.0);
            let want = if flushed { &y } else { &want };
            assert_close(&format!("decode f16 times {scale}"), &y, want, 1e-5);
        });
    }
}

/// The same program at later positions, as tokens flow: each attends to what those before it appended.
#[test]
fn decode_attention_reads_its_cursors_at_run_time() {
    let last = Case { context: 304, ..case(4, 2, 16, 0) };
    on_all_reads(last, |gpu, last| {
        let mut data = last.data::<f32>();
        let (cache, mut g) = (last.cache(&data), Graph::new(gpu.target()));
        let (qkv, cursors) = (g.input("qkv", [1, 8 * 16]), Cursors::input(&mut g, 1, 1, 304));
        let y = decode_attention(&mut g, "y", qkv, &last.tables(), &cache, last.shape, cursors);
        let y = g.output(y);
        let mut program = Program::compile(gpu, g).expect("the kernel compiles");
        let created = gpu.created();
        for position in 0..299 {
            data.qkv = uniform(u64::from(position) + 7, 8 * 16);
            program.write(qkv, &data.qkv);
            program.write(cursors.rows, &[0, position]);
            program.write(cursors.pages, &last.pages());
            program.run(&[y.id()]).expect("the kernel runs");
            let case = Case { position, ..last };
            let (q, appended) = case.appended(&data);
            data.cache = appended;
            assert_close(
                &format!("at {position}"),
                &program.read(y).unwrap(),
                &case.attended(&q, &data.cache),
                1e-5,
            );
        }
        assert_eq!(gpu.created(), created);
    });
}

/// What a trace compares with: the references behind `dispatch!`.
#[test]
fn decode_attention_replays_its_references() {
    fn replay<T: KvElement + Send + Sync>(case: Case) {
        on_all_reads(case, |gpu, case| {
            let data = Data {
                cache: case.data::<T>().cache.map(|c| vec![T::nearest(0.25); c.len()]),
                ..case.data()
            };
            let (cache, mut g) = (case.cache(&data), Graph::new(gpu.target()));
            let qkv = constant(&mut g, [1, data.qkv.len() as u32], &data.qkv);
            let cursors = case.cursors(&mut g);
            let y = decode_attention(&mut g, "y", qkv, &case.tables(), &cache, case.shape, cursors);
            g.output(y);
            let mut program = Program::compile(gpu, g).expect("the kernel compiles");
            assert_eq!(program.replay(1e-5).expect("the kernel runs"), None);
        });
    }
    replay::<f32>(case(4, 2, 32, 40));
    replay::<f16>(case(4, 2, 32, 40));
}

/// A position for which the sequence has no page, which only a broken caller asks for, leaves all of the cache alone.
#[test]
fn decode_attention_writes_nothing_past_its_pages() {
    let case = case(2, 2, 8, 30);
    let mut g = Graph::new(gpu().target());
    let cache: KvCache = KvCache::new("cache", 3, case.shape, u64::MAX);
    let qkv = constant(&mut g, [1, 6 * 8], &uniform(1, 6 * 8));
    let cursors = Cursors::of(&mut g, 1, &[Run { start: 32, rows: 1 }], &[2, 1]);
    let y = decode_attention(&mut g, "y", qkv, &case.tables(), &cache, case.shape, cursors);
    let y = g.output(y);
    run_graph(gpu(), g, &[y.id()], |_| ());
    assert_eq!(held(gpu(), &cache), [vec![0.0; 2 * 48 * 8], vec![0.0; 2 * 48 * 8]]);
}

/// Rows of several sequences in one run: what each gives alone, to the bit, and no key of another is looked at.
fn check_several<T: KvElement + Send + Sync>(case: &Several) {
    let HeadShape { num_heads, num_kv_heads, head_dim } = case.shape;
    let width = ((num_heads + 2 * num_kv_heads) * head_dim) as usize;
    let row = (num_heads * head_dim) as usize;
    let (rows, dead) = (case.runs.len(), 2);
    let mut qkv = uniform(1, rows * width);
    qkv.resize((rows + dead) * width, f32::NAN);
    let [k, v] = [2, 3].map(|seed| case.cache::<T>(seed, |run| run.start));
    on_all(|gpu| {
        let tables = self::case(num_heads, num_kv_heads, head_dim, case.sequence_pages * PAGE).tables();
        let run = |cache: &KvCache<T>, qkv: &[f32], runs: &[Run], pages: &[u32]| {
            let record = |g: &mut Graph| {
                let rows = (qkv.len() / width) as u32;
                let qkv = constant(g, [rows, width as u32], qkv);
                let cursors = Cursors::of(g, rows, runs, pages);
                decode_attention(g, "y", qkv, &tables, cache, case.shape, cursors)
            };
            run_on(gpu, record, |_| ())
        };
        let [together, alone] = [0, 1].map(|_| case.cache_of(&k, &v));
        let y = run(&together, &qkv, &case.runs, &case.pages());
        assert_eq!(y[rows * row..], vec![0.0; dead * row], "rows that are not live");
        for (s, (of, pages)) in
            case.runs.iter().zip(case.pages().chunks(case.sequence_pages as usize)).enumerate()
        {
            let own = run(&alone, &qkv[s * width..][..width], &[*of], pages);
            assert!(own.iter().all(|y| y.is_finite()), "{case:?}: {of:?}");
            assert!(y[s * row..][..row] == own, "{case:?}: {of:?} is another alone");
        }
        let bytes = |cache| held::<T>(gpu, cache).map(|kv| bytemuck::cast_slice::<T, u8>(&kv).to_vec());
        assert!(bytes(&together) == bytes(&alone));
    });
}

#[test]
fn decode_attention_of_several_sequences_is_that_of_each_alone() {
    let runs: [&[[u32; 2]]; 2] =
        [&[[30, 1], [0, 1], [100, 1], [15, 1], [16, 1], [270, 1]], &[[47, 1], [48, 1]]];
    for runs in runs {
        check_several::<f32>(&Several::new(4, 2, 32, runs));
        check_several::<f16>(&Several::new(4, 2, 32, runs));
        check_several::<f32>(&Several::new(2, 1, 10, runs));
        check_several::<f16>(&Several::new(3, 3, 128, runs));
    }
}
