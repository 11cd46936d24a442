//! Where weights live changes nothing but memory and time: the same bits come out.

use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use strix_engine::{Gpu, GpuOptions, Graph, HostBytes, Program, Resident, Stream};
use strix_model::convert::{Synthesis, WriteOptions, preset, synthesize};
use strix_model::{
    Config, Dtype, Home, LoadOptions, MemoryPlan, Model, Progress, Room, Rounding, Source, Weights,
    unwatched, weights,
};
use strix_shaders::attention::HeadShape;
use strix_shaders::cursors::PAGE;
use strix_shaders::rope_append::RopeTables;
use strix_shaders::{Cursors, KvCache, add, decode_attention, take_rows};
use strix_tests::{gpu, prompt_ids};

/// A file of `count` floats, mapped; its numbers begin at `first`.
#[expect(unsafe_code, reason = "a map is what is tested")]
fn mapped(first: f32, count: usize) -> HostBytes {
    let mut file = tempfile::tempfile().unwrap();
    let values: Vec<f32> = (0..count).map(|i| first + i as f32).collect();
    file.write_all(bytemuck::cast_slice(&values)).unwrap();
    let map = map(&file);
    // SAFETY: it is the mapping of a file.
    unsafe { HostBytes::mapped(map, 0..count * 4) }
}

#[expect(unsafe_code, reason = "a map is what is tested")]
fn map(file: &File) -> Arc<memmap2::Mmap> {
    // SAFETY: nobody else has the file.
    Arc::new(unsafe { memmap2::Mmap::map(file) }.unwrap())
}

/// The device as it is, without imports, and as one whose memory is its own.
fn devices() -> [Gpu; 3] {
    let with = |no_import, separate_memory| {
        Gpu::with(&GpuOptions { no_import, separate_memory, ..GpuOptions::from_env() }).unwrap()
    };
    [gpu().clone(), with(true, false), with(false, true)]
}

/// `x + table`, the table from the host.
fn sum(gpu: &Gpu, table: &Resident<f32, 2>, x: f32) -> Vec<f32> {
    let mut g = Graph::new(gpu.target());
    let rows = table.shape();
    let input = g.input::<f32, 2>("x", rows);
    let y = add(&mut g, "y", input, table);
    let y = g.output(y);
    let mut program = Program::compile(gpu, g).unwrap();
    program.write(input, &vec![x; input.len()]);
    program.run(&[y.id()]).unwrap();
    program.read(y).unwrap()
}

#[test]
fn a_mapped_file_is_read_where_it_is_or_copied_with_the_same_result() {
    const SHAPE: [u32; 2] = [300, 1000];
    let want: Vec<f32> = (0..300_000).map(|i| 2.0 + i as f32).collect();
    for gpu in devices() {
        let before = gpu.created();
        let table = Resident::from_host("table", SHAPE, mapped(1.0, 300_000));
        assert_eq!(sum(&gpu, &table, 1.0), want);
        let after = gpu.created();
        let imported = after.imported_bytes - before.imported_bytes;
        assert_eq!(imported, if gpu.imports() { table.bytes() } else { 0 });
        // The bytes are still there when nothing else holds the map.
        assert_eq!(table.download(&gpu).unwrap()[299_999], 300_000.0);
        // More than the staging ring holds, and no whole number of its buffers.
        let long = Resident::from_host("long", [7000, 1001], mapped(3.0, 7_007_000));
        assert_eq!(sum(&gpu, &long, -3.0), (0..7_007_000).map(|i| i as f32).collect::<Vec<_>>());
        // Offsets that no device can bind are copied, not misread.
        let odd = mapped(0.0, 300_001).slice(4..1_200_004);
        assert_eq!(sum(&gpu, &Resident::from_host("odd", SHAPE, odd), 1.0), want);
    }
}

#[test]
fn imported_memory_goes_when_the_tensor_does() {
    let gpu = gpu();
    for _ in 0..20 {
        let table = Resident::from_host("table", [300, 1000], mapped(1.0, 300_000));
        assert_eq!(sum(gpu, &table, 0.0)[5], 6.0);
    }
}

#[test]
fn groups_take_turns_with_the_result_of_all_at_once() {
    for gpu in devices() {
        for count in [1, 2, 3, 6] {
            let table = |i: usize| Resident::from_host("table", [100, 1000], mapped(i as f32, 100_000));
            let tables: Vec<Resident<f32, 2>> = (0..count).map(table).collect();
            let stream =
                Stream::new(&gpu, &tables.iter().map(|t| vec![t.untyped()]).collect::<Vec<_>>()).unwrap();
            let mut g = Graph::new(gpu.target());
            let x = g.input::<f32, 2>("x", [100, 1000]);
            let mut y = x;
            for (i, table) in tables.iter().enumerate() {
                y = add(&mut g, &format!("y{i}"), y, table);
            }
            let y = g.output(y);
            let mut program = Program::compile(&gpu, g).unwrap();
            let (n, starts) = (count as f32, (count * (count - 1) / 2) as f32);
            for run in 0..3 {
                program.write(x, &vec![run as f32; 100_000]);
                program.run(&[y.id()]).unwrap();
                let want: Vec<f32> = (0..100_000).map(|i| run as f32 + starts + n * i as f32).collect();
                assert_eq!(program.read(y).unwrap(), want, "{count} groups, run {run}");
            }
            // Two groups are never moved again; of more, each comes once a run, the first once ahead.
            let moved = stream.moved().bytes / 400_000;
            let ahead = u64::from(count % 2 == 0);
            let want = if count <= 2 { count as u64 } else { 3 * count as u64 + ahead };
            assert!(moved <= want, "{count} groups: {moved} moved");
            let steps = program.profile().unwrap_or_default();
            assert!(steps.is_empty() || steps.len() == count);
            assert_eq!(program.replay(1e-6).unwrap(), None, "{count} groups");
        }
    }
}

/// Of tensors that take turns, what a graph binds is all that comes to the device; a graph that binds more brings more.
#[test]
fn a_part_of_a_tensor_is_all_that_is_moved_of_it() {
    const ROW: u32 = 256;
    for gpu in devices() {
        for streamed in [false, true] {
            let table = |i: usize| {
                Resident::<f32, 1>::from_host("table", [40 * ROW], mapped(i as f32 * 1e5, 40 * 256))
            };
            let tables: Vec<_> = (0..3).map(table).collect();
            let groups = || tables.iter().map(|t| vec![t.untyped()]).collect::<Vec<_>>();
            let stream = streamed.then(|| Stream::new(&gpu, &groups()).unwrap());
            let moved = || stream.as_ref().map_or(0, |stream| stream.moved().bytes);
            let program = |rows: std::ops::Range<u32>| {
                let mut g = Graph::new(gpu.target());
                let index: Vec<_> = (0..rows.len() as u32).rev().collect();
                let index = g.bind(&Resident::from_slice("index", [rows.len() as u32], &index));
                let mut taken = vec![];
                for table in &tables {
                    let part = g.bind_range(table, rows.start * ROW..rows.end * ROW);
                    let part = part.reshape([rows.len() as u32, ROW]);
                    let y = take_rows(&mut g, "y", part, index);
                    taken.push(g.output(y));
                }
                (Program::compile(&gpu, g).unwrap(), taken)
            };
            for (rows, most) in [(3..7, 4), (30..31, 4), (0..40, 4), (3..7, 4)] {
                let (mut program, taken) = program(rows.clone());
                let before = moved();
                program.run(&taken.iter().map(|y| y.id()).collect::<Vec<_>>()).unwrap();
                for (i, y) in taken.into_iter().enumerate() {
                    let row =
                        |row: u32| (row * ROW..(row + 1) * ROW).map(move |at| i as f32 * 1e5 + at as f32);
                    let want: Vec<f32> = rows.clone().rev().flat_map(row).collect();
                    assert!(
                        program.read(y).unwrap() == want,
                        "streamed {streamed}, rows {rows:?} of table {i}"
                    );
                }
                let bytes = rows.len() as u64 * u64::from(ROW) * 4;
                let moved = moved() - before;
                assert!(
                    moved <= most * bytes && moved.is_multiple_of(bytes),
                    "{moved} moved, of {bytes} each"
                );
                assert_eq!(moved > 0, streamed, "rows {rows:?}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "begins at byte 64")]
fn a_part_begins_where_every_device_can_bind_it() {
    let table = Resident::<f32, 1>::zeros("table", [100]);
    Graph::new(gpu().target()).bind_range(&table, 16..32);
}

#[test]
fn groups_of_different_tensors_take_turns() {
    for gpu in devices() {
        let mut groups = vec![];
        let mut tables = vec![];
        for i in 0..5_u32 {
            // One or two tensors, of different sizes.
            let rows = [[60 + 10 * i, 1000]].repeat(1 + i as usize % 2);
            let make = |(j, shape): (usize, [u32; 2])| {
                let count = (shape[0] * shape[1]) as usize;
                Resident::from_host("table", shape, mapped((10 * i) as f32 + j as f32, count))
            };
            let group: Vec<Resident<f32, 2>> = rows.into_iter().enumerate().map(make).collect();
            groups.push(group.iter().map(Resident::untyped).collect());
            tables.extend(group);
        }
        assert_eq!(Stream::slot_bytes(&groups), 4 * 1000 * (100 + 90));
        let _stream = Stream::new(&gpu, &groups).unwrap();
        let mut g = Graph::new(gpu.target());
        let mut sums = vec![];
        for table in &tables {
            let x = g.input::<f32, 2>("x", table.shape());
            let y = add(&mut g, "y", x, table);
            sums.push(g.output(y));
        }
        let mut program = Program::compile(&gpu, g).unwrap();
        for _ in 0..2 {
            program.run(&sums.iter().map(|y| y.id()).collect::<Vec<_>>()).unwrap();
            let firsts: Vec<f32> = sums.iter().map(|y| program.read(*y).unwrap()[0]).collect();
            assert_eq!(firsts, [0.0, 10.0, 11.0, 20.0, 30.0, 31.0, 40.0]);
        }
    }
}

#[test]
fn only_a_converted_checkpoint_is_planned_where_it_is_mapped() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/nano").as_ref();
    let room = |gpu: &Gpu, weights: &Weights| Room::of(gpu, None, Some(weights));
    let converted = converted(Dtype::Bf16);
    let (plain, packed) = (Weights::open(dir).unwrap(), Weights::open(converted.path()).unwrap());
    assert!(!room(gpu(), &plain).imports);
    assert_eq!(room(gpu(), &packed).imports, gpu().imports());
    // A limit stands for a smaller device, where everything counts.
    assert!(!Room::of(gpu(), Some(1 << 30), Some(&packed)).imports);
    for (gpu, dir, mapped) in [(gpu(), dir, false), (gpu(), converted.path(), gpu().imports())] {
        let model = Model::load_on(gpu, Source::Dir(dir), &LoadOptions::default(), &mut unwatched).unwrap();
        let (memory, weights) = (model.memory(), model.weight_bytes());
        assert_eq!(memory.parts[0].home == Home::Mapped, mapped, "{memory:?}");
        assert!(mapped || memory.device_bytes() > weights, "{memory:?}");
        assert!(memory.parts.iter().map(|part| part.bytes).sum::<u64>() > weights, "{memory:?}");
    }
}

/// Logits of a few greedy steps after a picture and a question.
fn logits(model: &Model) -> Vec<Vec<f32>> {
    let c = model.config();
    let size = c.vision.image_size;
    let pixels: Vec<f32> =
        (0..c.vision.num_channels * size * size).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect();
    let mut session = model.session().unwrap();
    session.add_embeds(model.encode(&pixels).unwrap().into());
    session.inspect().greedy(&prompt_ids([1, 40, -200, 41, 42, 43]), 5).unwrap()
}

fn nano(gpu: &Gpu, device_memory: Option<u64>) -> strix_model::Result<Model> {
    let options = LoadOptions { ctx: Some(160), device_memory, ..LoadOptions::default() };
    Model::load_on(gpu, Source::Nano, &options, &mut unwatched)
}

#[test]
fn a_model_larger_than_the_device_gives_the_same_bits() {
    for gpu in devices() {
        let whole = nano(&gpu, None).unwrap();
        let all = planned(&gpu, u64::MAX);
        let (want, layers) = (logits(&whole), all.resident_layers[1]);
        let least = least(&gpu);
        let mut seen = vec![];
        for budget in [all.device_bytes() - 1, (all.device_bytes() + least) / 2, least] {
            let model = nano(&gpu, Some(budget)).unwrap();
            let memory = model.memory();
            assert!(memory.device_bytes() <= budget, "{memory:?}");
            assert!(memory.streams(), "{memory:?}");
            assert_eq!(logits(&model), want, "{} of {layers} layers", memory.resident_layers[0]);
            assert!(model.streamed().bytes > 0);
            seen.push(memory.resident_layers[0]);
        }
        assert_eq!(seen.last(), Some(&0), "with the least memory every layer is streamed: {seen:?}");
        let refused = nano(&gpu, Some(least - 1)).unwrap_err().to_string();
        assert!(refused.contains("device_memory"), "{refused}");
    }
}

/// What nano would take with so much memory.
fn planned(gpu: &Gpu, budget: u64) -> MemoryPlan {
    try_plan(gpu, budget).unwrap()
}

fn try_plan(gpu: &Gpu, budget: u64) -> strix_model::Result<MemoryPlan> {
    let options = LoadOptions { ctx: Some(160), device_memory: Some(budget), ..LoadOptions::default() };
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/nano").as_ref();
    let config = Config::load(dir)?;
    let room = Room { budget_bytes: Some(budget), ..Room::of(gpu, Some(budget), None) };
    let weights = Weights::open(dir)?;
    Ok(strix_model::plan(&config, &options, &gpu.target(), Some(&weights), room)?.memory)
}

/// The least memory that nano runs in.
fn least(gpu: &Gpu) -> u64 {
    let (mut no, mut yes) = (0, planned(gpu, u64::MAX).device_bytes());
    while yes - no > 1 {
        let budget = no.midpoint(yes);
        if try_plan(gpu, budget).is_ok() { yes = budget } else { no = budget }
    }
    yes
}

/// A converted checkpoint of made-up values.
fn converted(dtype: Dtype) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let synthesis = Synthesis {
        config: preset("8m").unwrap().into(),
        dtype: weights::FileDtype::BF16,
        seed: 7,
        rounding: Some(Rounding { dtype, vision: false }),
    };
    let go_on: &mut dyn FnMut(&Progress) -> ControlFlow<()> = &mut |_| ControlFlow::Continue(());
    synthesize(&synthesis, dir.path(), &WriteOptions::default(), go_on).unwrap();
    dir
}

#[test]
fn a_converted_folder_gives_the_same_bits_wherever_its_weights_live() {
    let small = |webgpu_limits, max_binding_bytes| {
        Gpu::with(&GpuOptions { webgpu_limits, max_binding_bytes, ..GpuOptions::from_env() }).unwrap()
    };
    for dtype in [Dtype::Int8 { group: None }, Dtype::Int8 { group: Some(32) }, Dtype::Bf16] {
        let dir = converted(dtype);
        let load = |gpu: &Gpu, device_memory| {
            let options = LoadOptions { ctx: Some(160), device_memory, ..LoadOptions::default() };
            Model::load_on(gpu, Source::Dir(dir.path()), &options, &mut unwatched)
        };
        let before = gpu().created().imported_bytes;
        let want = logits(&load(gpu(), None).unwrap());
        assert_eq!(gpu().imports(), gpu().created().imported_bytes > before);
        // Others than the first: the test's own are cut into many parts.
        let [_, copied, separate] = devices();
        for gpu in [copied, separate, small(true, None), small(false, Some(200_000))] {
            let whole = load(&gpu, None).unwrap();
            assert_eq!(logits(&whole), want, "{dtype} on {:?}", gpu.target());
            let streamed = (1..100).find_map(|mib| load(&gpu, Some(mib << 20)).ok()).unwrap();
            assert!(streamed.memory().streams(), "{:?}", streamed.memory());
            assert_eq!(logits(&streamed), want, "{dtype} streamed on {:?}", gpu.target());
            assert_decoding_brings_text_alone(&streamed);
        }
    }
}

/// Each decoded token brings the layers without their image sets, which a picture's prompt had brought before.
fn assert_decoding_brings_text_alone(model: &Model) {
    let mut session = model.session().unwrap();
    let mut brought = vec![];
    for tokens in [1, 2, 4, 6] {
        let before = model.streamed().bytes;
        session.inspect().greedy(&prompt_ids([1, 40, 41, 42]), tokens).unwrap();
        brought.push(model.streamed().bytes - before);
    }
    let a_token = model.memory().streamed_bytes;
    let layer = model.memory().parts.iter().find(|part| part.name.contains("take turns")).unwrap();
    assert!(a_token < layer.bytes * 9 / 10, "{a_token} of {}", layer.bytes);
    // Tensors are planned in whole 16 bytes, and brought as long as they are.
    let two = brought[3] - brought[2];
    assert!((2 * a_token).abs_diff(two) * 1000 < a_token, "{brought:?}, planned {a_token}");
}

/// What a conversation costs is what it has, not what it might come to.
#[cfg(target_os = "linux")]
#[test]
fn a_kv_cache_takes_memory_as_it_fills() {
    const CONTEXT: u32 = 4096;
    let shape = HeadShape { num_heads: 8, num_kv_heads: 8, head_dim: 128 };
    let huge_pages = || {
        let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("AnonHugePages:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let zeros = vec![0.0; (CONTEXT * shape.head_dim / 2) as usize];
    let tables = RopeTables::new("tables", CONTEXT, shape.head_dim, &zeros, &zeros);
    let cache = KvCache::<f32>::new("cache", CONTEXT / PAGE, shape, u64::MAX);
    let mut g = Graph::new(gpu().target());
    let qkv = g.input("qkv", [1, 3 * 8 * 128]);
    let cursors = Cursors::in_order(&mut g, 1, 0, 1, CONTEXT / PAGE);
    let y = decode_attention(&mut g, "y", qkv, &tables, &cache, shape, cursors);
    let y = g.output(y);
    let mut program = Program::compile(gpu(), g).unwrap();
    let before = huge_pages();
    program.write(qkv, &vec![1.0; qkv.len()]);
    program.run(&[y.id()]).unwrap();
    assert_eq!(program.read(y).unwrap(), vec![1.0; 8 * 128]);
    // Each head's keys and values are 2 MiB, a huge page.
    let taken = huge_pages() - before;
    assert!(taken < 4096, "{taken} KiB of huge pages for one position of {} bytes", cache.parts[0].k.bytes());
}
