use half::f16;
use strix_engine::{Gpu, Graph, Program, Resident};
use strix_shaders::attention::{self, HeadShape, Heads, KvElement, Mask};
use strix_shaders::cursors::{PAGE, Run};
use strix_shaders::{Cursors, cached_attention};
use strix_tests::{assert_close, on_all, run_on, uniform};

use crate::sequences::{Several, cache_of};

/// Heads and sizes of one attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) num_heads: u32,
    pub(crate) num_kv_heads: u32,
    pub(crate) head_dim: u32,
    /// Rows of q.
    pub(crate) rows: u32,
    /// Rows of k and v; of a causal one whole pages, which the sequence has from the last to the first.
    pub(crate) keys: u32,
    /// First position and live rows of a causal one.
    pub(crate) span: Option<[u32; 2]>,
}

impl Case {
    pub(crate) fn full(num_heads: u32, head_dim: u32, rows: u32, keys: u32) -> Self {
        Self { num_heads, num_kv_heads: num_heads, head_dim, rows, keys, span: None }
    }

    /// As many rows as are live, and a cache with 40 rows more than are filled, and what fills a page.
    pub(crate) fn causal(num_heads: u32, num_kv_heads: u32, head_dim: u32, start: u32, live: u32) -> Self {
        let keys = (start + live + 40).next_multiple_of(PAGE);
        Self { num_heads, num_kv_heads, head_dim, rows: live, keys, span: Some([start, live]) }
    }

    pub(crate) fn shape(&self) -> HeadShape {
        let Self { num_heads, num_kv_heads, head_dim, .. } = *self;
        HeadShape { num_heads, num_kv_heads, head_dim }
    }

    fn row(&self) -> u32 {
        self.num_heads * self.head_dim
    }

    fn kv_row(&self) -> u32 {
        self.num_kv_heads * self.head_dim
    }

    /// Rows whose result is defined.
    pub(crate) fn live(&self) -> u32 {
        self.span.map_or(self.rows, |[_, live]| live.min(self.rows))
    }

    pub(crate) fn pages(&self) -> Vec<u32> {
        (0..self.keys / PAGE).rev().collect()
    }

    /// The one run of a causal one.
    pub(crate) fn run(&self) -> Run {
        let [start, rows] = self.span.unwrap_or_default();
        Run { start, rows }
    }

    /// Row of k and v of a position.
    fn slot(&self, position: u32) -> u32 {
        match self.span {
            Some(_) => self.keys - PAGE - position / PAGE * PAGE + position % PAGE,
            None => position,
        }
    }

    /// q, k and v. Rows that no row sees are NaN. Scores reach ±10, so that the maximum matters.
    pub(crate) fn data(&self) -> [Vec<f32>; 3] {
        let visible = self.span.map_or(self.keys, |[start, _]| start + self.live());
        let kv_row = self.kv_row() as usize;
        let mut q = uniform(1, (self.rows * self.row()) as usize);
        q.iter_mut().for_each(|v| *v *= 5.0);
        let [k, v] = [2, 3].map(|seed| {
            let mut data = uniform(seed, (self.keys * self.kv_row()) as usize);
            for position in visible..self.keys {
                data[self.slot(position) as usize * kv_row..][..kv_row].fill(f32::NAN);
            }
            data
        });
        [q, k, v]
    }

    /// The tensors as heads of plain rows.
    pub(crate) fn bind(&self, g: &mut Graph, [q, k, v]: &[Vec<f32>; 3]) -> [Heads; 3] {
        let [k, v] = self.bind_kv(g, [k, v]);
        [self.bind_q(g, q), k, v]
    }

    pub(crate) fn bind_q(&self, g: &mut Graph, q: &[f32]) -> Heads {
        let tensor = g.bind(&Resident::from_slice("q", [self.rows, self.row()], q));
        Heads::in_rows(tensor, 0, self.head_dim)
    }

    pub(crate) fn bind_kv<T: KvElement>(&self, g: &mut Graph, kv: [&[T]; 2]) -> [Heads<T>; 2] {
        kv.map(|data| {
            let tensor = g.bind(&Resident::from_slice("kv", [self.keys, self.kv_row()], data));
            Heads::in_rows(tensor, 0, self.head_dim)
        })
    }

    pub(crate) fn mask(&self, g: &mut Graph) -> Mask {
        match self.span {
            Some(_) => Mask::Causal { cursors: Cursors::of(g, self.rows, &[self.run()], &self.pages()) },
            None => Mask::Full { keys: self.keys },
        }
    }

    fn params<T: KvElement>(&self) -> attention::Params {
        attention::Params {
            rows: self.rows,
            keys: self.keys,
            sequences: 1,
            sequence_pages: self.keys / PAGE,
            num_heads: self.num_heads,
            heads_per_kv: self.num_heads / self.num_kv_heads,
            first_kv_head: 0,
            part_kv_heads: self.num_kv_heads,
            head_dim: self.head_dim,
            q_row: self.row(),
            q_offset: 0,
            q_stride: self.head_dim,
            k_row: self.kv_row(),
            k_key: self.kv_row(),
            k_chunk: T::PER_CHUNK,
            k_offset: 0,
            k_stride: self.head_dim,
            v_row: self.kv_row(),
            v_offset: 0,
            v_stride: self.head_dim,
        }
    }

    /// [`attention::reference`] of the live rows.
    pub(crate) fn want(&self, [q, k, v]: &[Vec<f32>; 3]) -> Vec<f32> {
        self.want_over(q, [k, v])
    }

    /// The same over keys and values of any type.
    pub(crate) fn want_over<T: KvElement>(&self, q: &[f32], [k, v]: [&[T]; 2]) -> Vec<f32> {
        let mut want = vec![0.0; (self.live() * self.row()) as usize];
        let p = self.params::<T>();
        match self.span {
            // Rows that are not live are past its end.
            Some([start, live]) => {
                let p = attention::Params { rows: self.live(), ..p };
                attention::reference(&p, q, k, v, &[0, start, live, 0], &self.pages(), &mut want);
            }
            None => attention::reference(&p, q, k, v, &[], &[], &mut want),
        }
        want
    }
}

/// Keys and values as a cache of f16 has them.
pub(crate) fn as_f16([_, k, v]: &[Vec<f32>; 3]) -> [Vec<f16>; 2] {
    [k, v].map(|data| data.iter().map(|&v| f16::from_f32(v)).collect())
}

fn check(case: Case) {
    let data = case.data();
    let want = case.want(&data);
    on_all(|gpu| {
        let record = |g: &mut Graph| {
            let [q, k, v] = case.bind(g, &data);
            let mask = case.mask(g);
            strix_shaders::attention(g, "y", q, k, v, case.shape(), case.rows, mask)
        };
        let got = run_on(gpu, record, |_| ());
        assert_close(&format!("{case:?}"), &got[..want.len()], &want, 1e-5);
    });
}

/// The keys and values are f16 to both sides, so what they were rounded from is no part of the error.
fn check_f16(case: Case) {
    let data = case.data();
    let [k, v] = as_f16(&data);
    let want = case.want_over(&data[0], [&k, &v]);
    on_all(|gpu| {
        let record = |g: &mut Graph| {
            let (q, [k, v]) = (case.bind_q(g, &data[0]), case.bind_kv(g, [&k, &v]));
            let mask = case.mask(g);
            strix_shaders::attention(g, "y", q, k, v, case.shape(), case.rows, mask)
        };
        let got = run_on(gpu, record, |_| ());
        assert_close(&format!("f16 {case:?}"), &got[..want.len()], &want, 1e-5);
    });
}

#[test]
fn attention_over_a_cache_of_f16() {
    check_f16(Case::causal(32, 32, 128, 0, 70));
    check_f16(Case::causal(32, 8, 128, 300, 70));
    check_f16(Case::causal(32, 32, 128, 4053, 3));
    for head_dim in [4, 12, 20, 36, 100, 256] {
        for rows in [1, 9] {
            check_f16(Case::causal(6, 2, head_dim, 45, rows));
        }
        check_f16(Case::full(1, head_dim, 9, 67));
    }
    check_f16(Case { rows: 20, ..Case::causal(3, 3, 24, 7, 13) });
    check_f16(Case::causal(1, 1, 4, 0, 1));
}

#[test]
#[should_panic(expected = "f16 heads of 6")]
fn attention_refuses_f16_heads_that_are_not_in_fours() {
    check_f16(Case::causal(1, 1, 6, 0, 1));
}

#[test]
fn attention_of_the_decoder() {
    check(Case::causal(32, 32, 128, 0, 70));
    check(Case::causal(32, 32, 128, 300, 70));
    // A cache of 4,096 positions, near its end.
    check(Case::causal(32, 32, 128, 4053, 3));
}

#[test]
fn attention_at_golden_sizes() {
    for head_dim in [8, 10, 12, 16, 20, 32, 40, 64] {
        check(Case::causal(4, 4, head_dim, 3, 21));
    }
    check(Case::causal(6, 2, 16, 5, 17));
    check(Case::causal(4, 1, 12, 0, 30));
    check(Case::full(2, 20, 10, 10));
    check(Case::full(4, 16, 5, 15));
}

#[test]
fn attention_at_odd_sizes() {
    for head_dim in [1, 3, 7, 36, 100, 256] {
        for rows in [1, 3, 9] {
            check(Case::causal(2, 1, head_dim, 45, rows));
        }
        check(Case::full(2, head_dim, 3, 1));
        check(Case::full(1, head_dim, 9, 67));
    }
    check(Case::causal(1, 1, 4, 0, 1));
}

/// A run of fewer rows than were recorded leaves the rest alone, whatever their q and their cache rows hold.
#[test]
fn attention_skips_rows_that_are_not_live() {
    for live in [0, 1, 8, 13] {
        check(Case { rows: 20, ..Case::causal(3, 3, 24, 7, live) });
    }
}

/// One tensor of rows [head][q, k, v][dim], and of rows that nothing is aligned in.
#[test]
fn attention_of_one_tensor() {
    for (heads, dim, rows, before, between) in
        [(16, 64, 257, 0, 0), (2, 20, 17, 0, 0), (3, 8, 11, 1, 2), (2, 5, 9, 3, 1)]
    {
        let (stride, row) = (3 * dim + between, before + heads * (3 * dim + between));
        let x = uniform(4, (rows * row) as usize);
        let part = |i: u32| -> Vec<f32> {
            let at = |r: u32, h: u32| (r * row + before + h * stride + i * dim) as usize;
            let head = |(r, h)| &x[at(r, h)..][..dim as usize];
            (0..rows).flat_map(|r| (0..heads).map(move |h| (r, h))).flat_map(head).copied().collect()
        };
        let case = Case::full(heads, dim, rows, rows);
        let want = case.want(&[part(0), part(1), part(2)]);
        on_all(|gpu| {
            let record = |g: &mut Graph| {
                let tensor = g.bind(&Resident::from_slice("qkv", [rows, row], &x));
                let [q, k, v] = [0, 1, 2].map(|i| Heads::in_rows(tensor, before + i * dim, stride));
                strix_shaders::attention(g, "y", q, k, v, case.shape(), rows, Mask::Full { keys: rows })
            };
            assert_close(&format!("qkv {case:?}"), &run_on(gpu, record, |_| ()), &want, 1e-5);
        });
    }
}

/// A cache has its heads one after the other, with room for more positions than are used.
#[test]
fn attention_of_heads_apart_is_that_of_heads_in_rows() {
    for (heads, kv_heads, dim) in [(4, 2, 16), (3, 3, 20), (2, 1, 6)] {
        let case = Case::causal(heads, kv_heads, dim, 19, 11);
        let data = case.data();
        let want = case.want(&data);
        let apart = |x: &[f32]| -> Vec<f32> {
            let of = |head: u32, key: u32| &x[((key * kv_heads + head) * dim) as usize..][..dim as usize];
            let all = (0..kv_heads).flat_map(|head| (0..case.keys).map(move |key| (head, key)));
            all.flat_map(|(head, key)| of(head, key).to_vec()).collect()
        };
        on_all(|gpu| {
            let record = |g: &mut Graph| {
                let q = case.bind_q(g, &data[0]);
                let [k, v] = [1, 2].map(|i| {
                    let shape = [kv_heads, case.keys, dim];
                    Heads::by_head(g.bind(&Resident::from_slice("kv", shape, &apart(&data[i]))))
                });
                let mask = case.mask(g);
                strix_shaders::attention(g, "y", q, k, v, case.shape(), case.rows, mask)
            };
            assert_close(&format!("apart {case:?}"), &run_on(gpu, record, |_| ()), &want, 1e-5);
        });
    }
}

/// Keys of a cache are in blocks of 16, the last of which is not full: what it holds past the keys is never used.
#[test]
fn attention_of_a_cache_is_that_of_heads_in_rows() {
    for (heads, kv_heads, dim, start, rows) in
        [(4, 2, 16, 19, 11), (2, 2, 128, 40, 9), (2, 1, 20, 0, 17), (2, 1, 6, 8, 5)]
    {
        let case = Case::causal(heads, kv_heads, dim, start, rows);
        let data = case.data();
        on_all(|gpu| over_a_cache(gpu, case, &data[0], [&data[1], &data[2]], &case.want(&data)));
        if dim.is_multiple_of(4) {
            let [k, v] = as_f16(&data);
            let want = case.want_over(&data[0], [&k, &v]);
            on_all(|gpu| over_a_cache(gpu, case, &data[0], [&k, &v], &want));
        }
    }
}

fn over_a_cache<T: KvElement + Send + Sync>(gpu: &Gpu, case: Case, q: &[f32], kv: [&[T]; 2], want: &[f32]) {
    let Case { num_kv_heads, keys, head_dim: dim, .. } = case;
    let by_head = |x: &[T]| -> Vec<T> {
        let of = |head: u32, key: u32| &x[((key * num_kv_heads + head) * dim) as usize..][..dim as usize];
        let all = (0..num_kv_heads).flat_map(|head| (0..keys).map(move |key| (head, key)));
        all.flat_map(|(head, key)| of(head, key).to_vec()).collect()
    };
    let [k, v] = kv.map(by_head);
    let record = |g: &mut Graph| {
        let cache = cache_of(num_kv_heads, dim, &k, &v);
        let (q, cursors) = (case.bind_q(g, q), Cursors::of(g, case.rows, &[case.run()], &case.pages()));
        cached_attention(g, "y", q, &cache, case.shape(), case.rows, cursors)
    };
    assert_close(&format!("cache {case:?}"), &run_on(gpu, record, |_| ()), want, 1e-5);
}

/// Rows of several sequences in one run: what each gives alone, to the bit, and no key of another is looked at.
fn check_several<T: KvElement + Send + Sync>(case: &Several) {
    let HeadShape { num_heads, head_dim, .. } = case.shape;
    let (row, rows) = (num_heads * head_dim, case.rows());
    let q: Vec<_> = uniform(1, (rows * row) as usize).iter().map(|q| q * 5.0).collect();
    let [k, v] = [2, 3].map(|seed| case.cache::<T>(seed, |run| run.start + run.rows));
    on_all(|gpu| {
        // Three rows more than are live.
        let run = |q: &[f32], runs: &[Run], pages: &[u32]| {
            let rows = q.len() as u32 / row + 3;
            let mut q = q.to_vec();
            q.resize((rows * row) as usize, f32::NAN);
            let record = |g: &mut Graph| {
                let cache = case.cache_of(&k, &v);
                let q = Heads::in_rows(g.bind(&Resident::from_slice("q", [rows, row], &q)), 0, head_dim);
                let cursors = Cursors::of(g, rows, runs, pages);
                cached_attention(g, "y", q, &cache, case.shape, rows, cursors)
            };
            let mut y = run_on(gpu, record, |_| ());
            let dead = y.split_off(((rows - 3) * row) as usize);
            assert_eq!(dead, vec![0.0; 3 * row as usize], "rows that are not live");
            y
        };
        let pages = case.pages();
        let together = run(&q, &case.runs, &pages);
        let mut at = 0;
        for (of, pages) in case.runs.iter().zip(pages.chunks(case.sequence_pages as usize)) {
            let range = at..at + (of.rows * row) as usize;
            let alone = run(&q[range.clone()], &[*of], pages);
            assert!(alone.iter().all(|y| y.is_finite()), "{case:?}: {of:?}");
            assert!(together[range.clone()] == alone, "{case:?}: {of:?} is another alone");
            at = range.end;
        }
    });
}

#[test]
fn attention_of_several_sequences_is_that_of_each_alone() {
    let runs: [&[[u32; 2]]; 4] = [
        &[[0, 5], [7, 1], [40, 33], [3, 2]],
        &[[30, 1], [0, 1], [100, 1], [15, 1], [16, 1]],
        &[[0, 1]],
        &[[0, 31], [9, 0], [0, 32], [17, 1]],
    ];
    for runs in runs {
        check_several::<f32>(&Several::new(4, 2, 32, runs));
        check_several::<f16>(&Several::new(4, 2, 32, runs));
        check_several::<f32>(&Several::new(2, 1, 10, runs));
        check_several::<f16>(&Several::new(3, 3, 128, runs));
    }
}

/// The same program at other positions, on other pages: nothing is recorded or compiled for it.
#[test]
fn attention_reads_its_cursors_at_run_time() {
    let case = Case { keys: 64, ..Case::causal(2, 2, 16, 0, 12) };
    on_all(|gpu| {
        let mut g = Graph::new(gpu.target());
        let full = Case { span: Some([52, 12]), ..case };
        let data = full.data();
        let [q, k, v] = case.bind(&mut g, &data);
        let cursors = Cursors::input(&mut g, 12, 1, 64);
        let y = strix_shaders::attention(&mut g, "y", q, k, v, case.shape(), 12, Mask::Causal { cursors });
        let y = g.output(y);
        let mut program = Program::compile(gpu, g).expect("the kernel compiles");
        let created = gpu.created();
        for at in [[0, 12], [30, 5], [52, 12]] {
            let case = Case { span: Some(at), ..case };
            program.write(cursors.runs, &[0, at[0], at[1], 0]);
            program.write(cursors.pages, &case.pages());
            program.run(&[y.id()]).expect("the kernel runs");
            let want = case.want(&data);
            assert_close(&format!("rows at {at:?}"), &program.read(y).unwrap()[..want.len()], &want, 1e-5);
        }
        assert_eq!(gpu.created(), created);
    });
}

/// Scores far apart, largest last: exponentials must neither overflow nor vanish.
#[test]
fn attention_survives_large_scores() {
    let case = Case::full(1, 8, 10, 50);
    let mut data = case.data();
    data[0].fill(100.0);
    for (j, k) in data[1].chunks_exact_mut(8).enumerate() {
        k.fill(j as f32 / 10.0 - 2.0);
    }
    let want = case.want(&data);
    on_all(|gpu| {
        let record = |g: &mut Graph| {
            let [q, k, v] = case.bind(g, &data);
            strix_shaders::attention(g, "y", q, k, v, case.shape(), 10, Mask::Full { keys: 50 })
        };
        assert_close("large scores", &run_on(gpu, record, |_| ()), &want, 1e-5);
    });
}

/// What a trace compares with: the references behind `dispatch!`.
fn replay<T: KvElement>(case: Case, q: &[f32], kv: [&[T]; 2]) {
    on_all(|gpu| {
        let mut g = Graph::new(gpu.target());
        let (q, [k, v]) = (case.bind_q(&mut g, q), case.bind_kv(&mut g, kv));
        let mask = case.mask(&mut g);
        let rows = strix_shaders::attention(&mut g, "rows", q, k, v, case.shape(), 1, mask);
        let p = strix_shaders::attention_probs(&mut g, "p", q, k, case.shape(), 1, 96, mask);
        g.output(rows);
        g.output(p);
        let mut program = Program::compile(gpu, g).expect("the kernels compile");
        assert_eq!(program.replay(1e-5).expect("the kernels run"), None);
    });
}

#[test]
fn attention_replays_its_references() {
    let case = Case { keys: 96, ..Case::causal(4, 2, 32, 40, 1) };
    let data = case.data();
    replay(case, &data[0], [&data[1], &data[2]]);
    let [k, v] = as_f16(&data);
    replay(case, &data[0], [&k, &v]);
}
