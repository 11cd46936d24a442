use half::bf16;
use strix_engine::{Graph, Resident};
use strix_shaders::embedding::Visual;
use strix_shaders::{EmbeddingStrip, Table, embedding};
use strix_tests::{constant, gpu, run_on, uniform};

/// `table` of `vocab` rows in parts of at most `most` rows, and its values as the parts hold them.
fn parts(table: &[f32], vocab: u32, dim: u32, most: u32, in_bf16: bool) -> (Vec<EmbeddingStrip>, Vec<f32>) {
    let n = dim as usize;
    let bf16s: Vec<bf16> = table.iter().map(|&v| bf16::from_f32(v)).collect();
    let part = |(first, count): (u32, u32)| {
        let range = first as usize * n..(first + count) as usize * n;
        let table = if in_bf16 {
            let row = |row: &[bf16]| -> Vec<u32> {
                let high = |pair: &[bf16]| pair.get(1).map_or(0xdead, |v| v.to_bits());
                row.chunks(2).map(|p| u32::from(high(p)) << 16 | u32::from(p[0].to_bits())).collect()
            };
            let words: Vec<u32> = bf16s[range].chunks(n).flat_map(row).collect();
            Table::Bf16(Resident::from_slice("part", [count, dim.div_ceil(2)], &words))
        } else {
            Table::F32(Resident::from_slice("part", [count, dim], &table[range]))
        };
        EmbeddingStrip { table, first, count }
    };
    let parts = EmbeddingStrip::split(vocab, 1, u64::from(most)).into_iter().map(part).collect();
    let kept = if in_bf16 { bf16s.iter().map(|v| v.to_f32()).collect() } else { table.to_vec() };
    (parts, kept)
}

/// Rows of the images that are encoded.
const IMAGE_ROWS: usize = 12;

fn check(vocab: u32, dim: u32, most: u32, tokens: &[u32], modality: &[u32]) {
    let (n, rows) = (dim as usize, tokens.len() as u32);
    let (table, visual) = (uniform(1, vocab as usize * n), uniform(2, IMAGE_ROWS * n));
    for in_bf16 in [false, true] {
        let (parts, table) = parts(&table, vocab, dim, most, in_bf16);
        let row = |(&token, &m): (&u32, &u32)| {
            if m == 1 { &visual[token as usize * n..][..n] } else { &table[token as usize * n..][..n] }
        };
        let want: Vec<f32> = tokens.iter().zip(modality).flat_map(row).copied().collect();
        let record = |g: &mut Graph| {
            let tokens = constant(g, [rows], tokens);
            let visual = modality.contains(&1).then(|| Visual {
                modality: constant(g, [rows], modality),
                rows: constant(g, [IMAGE_ROWS as u32, dim], &visual),
            });
            embedding(g, "x", &parts, tokens, visual, dim)
        };
        let got = run_on(gpu(), record, |_| ());
        assert!(got == want, "embedding of {tokens:?} x {dim}, bf16 {in_bf16}, {} parts", parts.len());
    }
}

#[test]
fn embedding_takes_the_row_of_each_token() {
    for dim in [4096, 1024, 1000, 33, 7, 1] {
        check(100, dim, 100, &[0, 99, 5, 5, 42], &[0; 5]);
        check(100, dim, 100, &[17], &[0]);
    }
}

#[test]
fn embedding_takes_rows_from_every_part() {
    for dim in [4096, 33] {
        check(100, dim, 34, &[0, 33, 34, 67, 68, 99], &[0; 6]);
        check(7, dim, 1, &[6, 0, 3, 2, 1, 5, 4], &[0; 7]);
    }
}

#[test]
fn embedding_puts_the_image_where_the_modality_says() {
    for dim in [4096, 33] {
        check(10, dim, 4, &[1, 11, 0, 9, 3], &[0, 1, 1, 0, 1]);
        check(10, dim, 10, &[4, 4, 4], &[1, 0, 1]);
        check(10, dim, 10, &[0], &[1]);
    }
}

/// The references that replay uses, against the rows written out by `check` above.
#[test]
fn embedding_replays_without_a_difference() {
    let (table, dim) = (uniform(1, 10 * 33), 33);
    for in_bf16 in [false, true] {
        let (parts, _) = parts(&table, 10, dim, 4, in_bf16);
        let mut g = Graph::new(gpu().target());
        let tokens = constant(&mut g, [3], &[9_u32, 1, 2]);
        let modality = constant(&mut g, [3], &[0_u32, 1, 0]);
        let visual = constant(&mut g, [2, dim], &uniform(2, 66));
        let x = embedding(&mut g, "x", &parts, tokens, Some(Visual { modality, rows: visual }), dim);
        g.output(x);
        let mut program = strix_engine::Program::compile(gpu(), g).expect("it compiles");
        assert_eq!(program.replay(0.0).expect("it runs"), None);
    }
}

#[test]
fn embedding_parts_cover_the_table_and_fit_their_binding() {
    // embed_tokens of the 8.2B model in bf16 and f32, within 128 MiB.
    assert_eq!(EmbeddingStrip::split(32_000, 8192, 128 << 20), [(0, 16_000), (16_000, 16_000)]);
    assert_eq!(EmbeddingStrip::split(32_000, 16_384, 128 << 20).len(), 4);
    for (rows, bytes, most) in
        [(7, 3, 3), (7, 3, 8), (10, 4, 12), (1, 100, 100), (1000, 1, 33), (5, 1, u64::MAX)]
    {
        let parts = EmbeddingStrip::split(rows, bytes, most);
        let mut next = 0;
        for (first, count) in parts {
            assert!(first == next && count > 0 && u64::from(count) * bytes <= most, "{rows} {bytes} {most}");
            next = first + count;
        }
        assert_eq!(next, rows);
    }
}
