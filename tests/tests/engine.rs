//! Plans, programs and devices: what is shared, what is created and when, and what a run can tell of itself.

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use strix_engine::{
    Access, Arg, Binding, Gpu, Graph, Program, ReferenceArgs, Resident, Shader, Step, Tensor, TensorId, wgpu,
};
use strix_model::{GenerateOptions, LoadOptions, Model, Room, SamplingParams, Session, Source, unwatched};
use strix_tests::golden::root;
use strix_tests::{gpu, nano, on_both, plain_gpu, prompt_ids};

// A kernel of our own: exact, of two inputs of any length.

const MIX: &str = "
struct Params { len: u32, a_len: u32, b_len: u32, salt: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<u32>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(64)
fn mix(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if i < params.len {
        y[i] = (a[i % params.a_len] * 1664525u) ^ (b[(i + 7u) % params.b_len] + i * params.salt);
    }
}
";

const BINDINGS: [Binding; 4] = [
    Binding { number: 0, name: "params", access: Access::Uniform },
    Binding { number: 1, name: "a", access: Access::Read },
    Binding { number: 2, name: "b", access: Access::Read },
    Binding { number: 3, name: "y", access: Access::ReadWrite },
];

type Words = Tensor<u32, 1>;

fn mix_of(params: [u32; 4], a: &[u32], b: &[u32]) -> Vec<u32> {
    let [len, a_len, b_len, salt] = params;
    let one = |i: u32| {
        let (a, b) = (a[(i % a_len) as usize], b[((i + 7) % b_len) as usize]);
        a.wrapping_mul(1_664_525) ^ b.wrapping_add(i.wrapping_mul(salt))
    };
    (0..len).map(one).collect()
}

fn mix_reference(args: &mut ReferenceArgs<'_>) {
    let params: [u32; 4] = bytemuck::pod_read_unaligned(args.params);
    let [a, b, y] = args.tensors else { panic!("three tensors") };
    let mixed = mix_of(params, bytemuck::cast_slice(a), bytemuck::cast_slice(b));
    bytemuck::cast_slice_mut(y)[..mixed.len()].copy_from_slice(&mixed);
}

/// A reference that is wrong in one element.
fn broken_reference(args: &mut ReferenceArgs<'_>) {
    mix_reference(args);
    bytemuck::cast_slice_mut::<u64, u32>(&mut args.tensors[2])[5] ^= 1;
}

fn mix(g: &mut Graph, a: Words, b: Words, y: Words, salt: u32, reference: strix_engine::Reference) {
    let params = [y.shape()[0], a.shape()[0], b.shape()[0], salt];
    let shader = Shader {
        name: "mix",
        label: "mix".into(),
        variants: vec![],
        wgsl: MIX.into(),
        bindings: BINDINGS.to_vec(),
    };
    g.push(Step {
        label: String::new(),
        shader: Arc::new(shader),
        params: bytemuck::bytes_of(&params).to_vec(),
        args: [(a, Access::Read), (b, Access::Read), (y, Access::ReadWrite)]
            .map(|(t, access)| Arg { id: t.id(), access })
            .to_vec(),
        groups: [y.shape()[0].div_ceil(64), 1, 1],
        trips: 0,
        reference: Some(reference),
    });
}

/// Numbers that are the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// A random graph: some inputs, a weight, steps that read any two tensors that exist and write a new one or,
/// now and then, an old one.
struct RandomGraph {
    graph: Graph,
    inputs: Vec<Words>,
    weight: Resident<u32, 1>,
    weight_here: Words,
    activations: Vec<Words>,
    outputs: Vec<Words>,
    /// The steps' tensors and salts.
    steps: Vec<(Words, Words, Words, u32)>,
}

fn random_graph(seed: u64, target: strix_engine::Target) -> RandomGraph {
    let mut r = Random(seed);
    let mut g = Graph::new(target);
    let inputs: Vec<Words> =
        (0..1 + r.below(3)).map(|i| g.input(&format!("input {i}"), [1 + r.below(200) as u32])).collect();
    let words: Vec<u32> = (0..1 + r.below(100)).map(|_| r.below(1 << 30) as u32).collect();
    let weight = Resident::from_slice("weight", [words.len() as u32], &words);
    let weight_here = g.bind(&weight);
    let mut activations: Vec<Words> = vec![];
    let mut steps = vec![];
    for i in 0..3 + r.below(40) {
        let known: Vec<Words> = inputs.iter().chain(&activations).copied().chain([weight_here]).collect();
        // Mostly what was written lately, as in a model.
        let mut pick = || known[known.len() - 1 - r.below(known.len().min(6))];
        let (a, b) = (pick(), pick());
        let old: Vec<_> =
            activations.iter().copied().filter(|t| ![a.id(), b.id()].contains(&t.id())).collect();
        let y = if old.is_empty() || r.below(6) > 0 {
            let y = g.activation(&format!("y{i}"), [1 + r.below(300) as u32]);
            activations.push(y);
            y
        } else {
            old[r.below(old.len())]
        };
        let salt = r.below(1 << 20) as u32;
        mix(&mut g, a, b, y, salt, mix_reference);
        steps.push((a, b, y, salt));
    }
    let last = steps.last().expect("three steps or more").2;
    let mut outputs: Vec<Words> =
        activations.iter().copied().filter(|t| t.id() == last.id() || r.below(6) == 0).collect();
    outputs.iter_mut().for_each(|t| *t = g.output(*t));
    RandomGraph { graph: g, inputs, weight, weight_here, activations, outputs, steps }
}

#[test]
fn no_step_has_an_input_and_an_output_in_the_same_memory() {
    let (mut shared, mut unshared) = (0, 0);
    for seed in 0..500 {
        let RandomGraph { graph, activations, outputs, .. } = random_graph(seed, gpu().target());
        let plan = graph.plan();
        for step in graph.steps() {
            let slots = |access| {
                let args = step.args.iter().filter(move |arg| arg.access == access);
                args.filter_map(|arg| plan.slot(arg.id)).collect::<Vec<_>>()
            };
            for slot in slots(Access::ReadWrite) {
                assert!(!slots(Access::Read).contains(&slot), "seed {seed}: {} in slot {slot}", step.label);
            }
        }
        for output in &outputs {
            let slot = plan.slot(output.id()).expect("an output is written");
            let users = activations.iter().filter(|t| plan.slot(t.id()) == Some(slot)).count();
            assert_eq!(users, 1, "seed {seed}: {} tensors in an output's slot", users);
        }
        for tensor in &activations {
            let slot = plan.slot(tensor.id()).expect("it is written");
            assert!(plan.slots[slot] >= 4 * tensor.len() as u64, "seed {seed}: slot {slot} is too small");
        }
        let usage = plan.usage;
        assert_eq!(usage.activation_bytes, plan.slots.iter().sum::<u64>(), "seed {seed}");
        assert!(usage.activation_bytes <= usage.unshared_bytes, "seed {seed}: {usage:?}");
        shared += usage.activation_bytes;
        unshared += usage.unshared_bytes;
    }
    assert!(4 * shared < 3 * unshared, "{shared} bytes shared, {unshared} without sharing");
}

#[test]
fn memory_that_is_shared_holds_what_each_step_expects() {
    for seed in 0..40 {
        let RandomGraph { graph, inputs, weight, weight_here, outputs, steps, .. } =
            random_graph(seed, gpu().target());
        let mut program = Program::compile(gpu(), graph).unwrap();
        for run in 0..2 {
            let mut r = Random(1000 * seed + run);
            let mut values: HashMap<TensorId, Vec<u32>> = HashMap::new();
            for &input in &inputs {
                let words: Vec<u32> = (0..input.len()).map(|_| r.below(1 << 30) as u32).collect();
                program.write(input, &words);
                values.insert(input.id(), words);
            }
            values.insert(weight_here.id(), weight.download(gpu()).unwrap());
            for &(a, b, y, salt) in &steps {
                let params = [y.shape()[0], a.shape()[0], b.shape()[0], salt];
                values.insert(y.id(), mix_of(params, &values[&a.id()], &values[&b.id()]));
            }
            program.run(&outputs.iter().map(|t| t.id()).collect::<Vec<_>>()).unwrap();
            for (i, &output) in outputs.iter().enumerate() {
                assert_eq!(
                    program.read(output).unwrap(),
                    values[&output.id()],
                    "seed {seed}, run {run}, output {i}"
                );
            }
        }
        assert_eq!(program.replay(0.0).unwrap(), None, "seed {seed}");
    }
}

#[test]
fn the_bytes_of_a_plan_are_the_bytes_allocated() {
    let gpu = Gpu::new().unwrap();
    for seed in 0..20 {
        let graph = random_graph(seed, gpu.target()).graph;
        let planned = graph.plan().usage;
        let before = gpu.created();
        let program = Program::compile(&gpu, graph).unwrap();
        let allocated = gpu.created().storage_bytes - before.storage_bytes;
        let known = planned.activation_bytes + planned.input_bytes + planned.resident_bytes;
        assert_eq!(allocated, known, "seed {seed}: allocated and planned, {planned:?}");
        assert_eq!(program.usage(), planned, "seed {seed}");
    }
}

#[test]
fn the_bytes_of_programs_and_cache_are_known_before_they_are_made_and_sessions_share_them() {
    let gpu = Gpu::new().unwrap();
    for name in ["tiny", "medium"] {
        let dir = root().join(name);
        let options = LoadOptions { ctx: Some(100), chunk: 32, ..LoadOptions::default() };
        let config = strix_model::Config::load(&dir.join("hf")).unwrap();
        let plan = strix_model::plan(&config, &options, &gpu.target(), None, Room::default()).unwrap();
        let source =
            strix_model::Source::Files { config: &dir.join("hf"), weights: &dir.join("model.safetensors") };
        let model = Model::load_on(&gpu, source, &options, &mut unwatched).unwrap();
        let created = || gpu.created().storage_bytes;
        let before = created();
        let _first = model.session().unwrap();
        let allocated = created() - before;
        let decoder = plan.programs.iter().filter(|(name, _)| name != "vision");
        let programs: u64 = decoder.map(|(_, usage)| usage.activation_bytes + usage.input_bytes).sum();
        let pictures = plan.memory.parts.iter().find(|part| part.name == "encoded pictures").unwrap();
        let known = plan.kv_cache_bytes + pictures.device_bytes + programs;
        // Beside them each program has some constants of a few words.
        assert!(
            (known..known + 1024).contains(&allocated),
            "{name}: {allocated} bytes allocated, {known} planned: {plan:?}"
        );
        let _second = model.session().unwrap();
        assert_eq!(created() - before, allocated, "a second session takes nothing");
        for (name, usage) in &plan.programs {
            assert!(usage.activation_bytes < usage.unshared_bytes, "{name}: {usage:?}");
        }
    }
}

/// Live objects by wgpu's own count.
fn alive(gpu: &Gpu) -> [isize; 7] {
    let hal = gpu.device().get_internal_counters().hal;
    [
        hal.buffers.read(),
        hal.bind_groups.read(),
        hal.bind_group_layouts.read(),
        hal.compute_pipelines.read(),
        hal.pipeline_layouts.read(),
        hal.shader_modules.read(),
        hal.buffer_memory.read(),
    ]
}

#[test]
fn nothing_is_created_while_tokens_flow_and_each_is_one_submit() {
    let gpu = Gpu::new().unwrap();
    // A step of nano is far shorter than the usual slice, but not on a machine that does much else.
    let options = LoadOptions { ctx: Some(400), slice: Duration::MAX, ..LoadOptions::default() };
    let model = Model::load_on(&gpu, Source::Nano, &options, &mut unwatched).unwrap();
    let mut session = model.session().unwrap();
    let (caption, rainbow) = (nano::sample("caption"), nano::sample("rainbow"));
    // The first picture compiles the vision tower.
    caption.run(&mut session, &GenerateOptions::default());

    let mut sampled = GenerateOptions { max_tokens: 100, ..GenerateOptions::default() };
    sampled.sampling =
        SamplingParams { temperature: 1.0, top_k: 0, min_new_tokens: 100, ..SamplingParams::default() };
    let (before, alive_before) = (gpu.created(), alive(&gpu));
    // Not every backend counts bytes, the last.
    assert!(alive_before[..6].iter().all(|&n| n > 0), "wgpu counts nothing: {alive_before:?}");
    for (sample, options) in
        [(&caption, GenerateOptions::default()), (&rainbow, GenerateOptions::default()), (&rainbow, sampled)]
    {
        session.reset();
        sample.add_pictures(&mut session);
        let submits = gpu.submits();
        let mut answer = session.complete(&sample.prompt, &options).unwrap();
        for (i, token) in answer.by_ref().enumerate() {
            token.unwrap();
            assert_eq!(gpu.created(), before, "created after {} tokens of {}", i + 1, sample.name);
        }
        // The prompts fit one chunk: one submit for it, and the first token with it. The picture is encoded already.
        assert_eq!(gpu.submits() - submits, answer.ids().len() as u64, "submits of {}", sample.name);
        assert!(answer.ids().len() >= 12, "{}: {:?}", sample.name, answer.ids());
    }
    assert_eq!(alive(&gpu), alive_before, "what is alive by wgpu's own count");
}

#[test]
fn a_run_ends_between_two_submits_when_it_is_told_to() {
    let mut g = Graph::new(gpu().target());
    let x = g.input("x", [64]);
    let mut y = x;
    for i in 0..20 {
        let next = g.activation(&format!("y{i}"), [64]);
        mix(&mut g, y, x, next, i, mix_reference);
        y = next;
    }
    let y = g.output(y);
    let mut program = Program::compile(gpu(), g).unwrap();
    let words: Vec<u32> = (0..64).collect();
    program.write(x, &words);
    program.run(&[y.id()]).unwrap();
    let want = program.read(y).unwrap();

    let asked = std::cell::Cell::new(0);
    for most in [0, 1, 2, 3, 19, 20] {
        program.write(x, &vec![most; 64]);
        asked.set(0);
        let go_on = || asked.replace(asked.get() + 1) < most;
        // Each step is longer than that, and a submit of its own; it is asked before each.
        let whole = program.run_while(&[y.id()], Duration::ZERO, &go_on).unwrap();
        assert_eq!((whole, asked.get()), (most == 20, most + u32::from(most < 20)));
        // What comes after one that was ended is as if it had not been.
        program.write(x, &words);
        assert!(program.run_while(&[y.id()], Duration::ZERO, &|| true).unwrap());
        assert_eq!(program.read(y).unwrap(), want, "ended after {most}");
    }
}

#[test]
fn a_lost_device_is_an_error_everywhere() {
    let is_lost = |error: strix_model::Error| {
        assert!(matches!(error, strix_model::Error::Engine(strix_engine::Error::Lost(_))), "{error}");
        assert!(error.to_string().contains("the device stopped answering"), "{error}");
    };
    let gpu = Gpu::new().unwrap();
    let model = nano::load(&gpu, 400, 64);
    let sample = nano::sample("caption");
    let mut session = model.session().unwrap();
    let mut fresh = model.session().unwrap();
    let pixels = model.pixels(&sample.pictures()[0]).unwrap();
    sample.add_pictures(&mut session);
    sample.add_pictures(&mut fresh);
    let options = GenerateOptions::default();
    let mut answer = session.ask(sample.question(), &options).unwrap();
    for _ in 0..3 {
        answer.next().unwrap().unwrap();
    }
    gpu.device().destroy();
    is_lost(answer.next().unwrap().unwrap_err());
    assert!(answer.next().is_none());
    drop(answer);
    assert!(session.turns()[0].reply.is_some(), "what was said is kept");
    for _ in 0..2 {
        is_lost(fresh.ask(sample.question(), &options).unwrap().next().unwrap().unwrap_err());
        assert_eq!(fresh.turns(), []);
        is_lost(model.encode(&pixels).unwrap_err());
        is_lost(model.trace_encode(&pixels).unwrap_err());
        is_lost(model.profile_encode().unwrap_err());
        is_lost(fresh.inspect().trace(&prompt_ids([1, 2, 3])).unwrap_err());
        is_lost(fresh.inspect().profile().unwrap_err());
        is_lost(fresh.inspect().fill(4).unwrap_err());
        is_lost(model.session().unwrap_err());
        let loaded = Model::load_on(&gpu, strix_model::Source::Nano, &LoadOptions::default(), &mut unwatched);
        is_lost(loaded.unwrap_err());
    }

    // Lost after a run, before its result is read; and the caller's own device.
    let (device, queue) = plain_device(wgpu::Limits::default());
    let gpu = Gpu::from_wgpu(device.clone(), queue).unwrap();
    let mut g = Graph::new(gpu.target());
    let x = g.input("x", [64]);
    let y = g.activation("y", [64]);
    mix(&mut g, x, x, y, 1, mix_reference);
    let y = g.output(y);
    let mut program = Program::compile(&gpu, g).unwrap();
    program.run(&[y.id()]).unwrap();
    device.destroy();
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    // What was mapped may still be there.
    drop(program.read(y));
    for _ in 0..2 {
        assert!(matches!(program.run(&[y.id()]), Err(strix_engine::Error::Lost(_))));
        assert!(matches!(program.replay(0.0), Err(strix_engine::Error::Lost(_))));
    }
}

/// A device made by plain wgpu with its default limits, on the adapter under test.
fn plain_device(limits: wgpu::Limits) -> (wgpu::Device, wgpu::Queue) {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let ours = gpu().info();
    let same =
        |a: &wgpu::Adapter| (a.get_info().backend, a.get_info().name) == (ours.backend, ours.name.clone());
    let adapter = adapters.into_iter().find(same).expect("the adapter under test");
    let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    pollster::block_on(adapter.request_device(&descriptor)).unwrap()
}

#[test]
fn a_device_of_the_callers_runs_the_model_and_stays_the_callers() {
    let (device, queue) = plain_device(wgpu::Limits::default());
    let gpu = Gpu::from_wgpu(device.clone(), queue.clone()).unwrap();
    assert_eq!(gpu.target().subgroup, None, "the device was made without subgroups");
    let profile = gpu.can_profile().unwrap_err().to_string();
    assert!(profile.contains("has no timestamp queries"), "{profile}");
    let model = nano::load(&gpu, 256, 64);
    let mut session = model.session().unwrap();
    let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    let buffer = |usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 16,
            usage,
            mapped_at_creation: false,
        })
    };
    let (source, read) = (buffer(usage), buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST));
    for round in 0..2_u8 {
        let sample = nano::sample("caption");
        let (ids, text) = sample.run(&mut session, &GenerateOptions::default());
        assert_eq!(ids, sample.output_ids, "round {round}: {text}");

        let bytes = [round + 1; 16];
        queue.write_buffer(&source, 0, &bytes);
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&source, 0, &read, 0, 16);
        queue.submit([encoder.finish()]);
        read.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        assert_eq!(read.get_mapped_range(..).unwrap().to_vec(), bytes, "round {round}");
        read.unmap();
    }
    // It outlives ours.
    drop((session, model, gpu));
    queue.write_buffer(&source, 0, &[9; 16]);
    queue.submit([]);
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
}

#[test]
fn a_device_made_with_too_little_is_refused_with_both_numbers() {
    for (limits, words) in [
        (
            wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..wgpu::Limits::default() },
            "4 storage buffers a stage, 8 are needed",
        ),
        (
            wgpu::Limits {
                max_compute_invocations_per_workgroup: 128,
                max_compute_workgroup_size_x: 128,
                max_compute_workgroup_size_y: 128,
                ..wgpu::Limits::default()
            },
            "128 invocations a workgroup, 256 are needed",
        ),
        (
            wgpu::Limits { max_compute_workgroup_storage_size: 8192, ..wgpu::Limits::default() },
            "8192 bytes of workgroup memory, 16384 are needed",
        ),
    ] {
        let (device, queue) = plain_device(limits);
        let error = Gpu::from_wgpu(device, queue).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("is too small"), "{error}");
        assert!(error.contains(&gpu().info().name), "{error}");
    }
}

#[test]
fn nanos_steps_agree_with_their_cpu_references() {
    on_both(|gpu| {
        let model = nano::load(gpu, 128, 32);
        let sample = nano::sample("two_turns");
        let pixels = model.pixels(&sample.pictures()[0]).unwrap();
        assert_eq!(model.replay_encode(&pixels, 1e-4).unwrap(), None, "encode");
        let mut session = model.session().unwrap();
        session.add_embeds(model.encode(&pixels).unwrap().into());
        // 42 positions: a full chunk, one of 10, and a decode step.
        assert_eq!(session.inspect().replay(&sample.prompt_ids, 1e-4).unwrap(), None, "prefill and decode");
        assert_eq!(session.inspect().greedy(&sample.prompt_ids, 1).unwrap().len(), 1, "the session goes on");
    });
}

#[test]
fn a_replay_names_the_first_step_that_differs() {
    let chain = |broken: &[usize]| {
        let mut g = Graph::new(gpu().target());
        let mut x: Words = g.input("x", [100]);
        for i in 0..6 {
            x = g.scoped(&format!("layer.{i}"), |g| {
                let y = g.activation("mixed", [100]);
                let reference = if broken.contains(&i) { broken_reference } else { mix_reference };
                mix(g, x, x, y, i as u32, reference);
                y
            });
        }
        g.output(x);
        let mut program = Program::compile(gpu(), g).unwrap();
        program.replay(0.0).unwrap()
    };
    assert_eq!(chain(&[]), None);
    for broken in [&[2][..], &[0, 4], &[5]] {
        let found = chain(broken).unwrap_or_else(|| panic!("{broken:?} was not found"));
        let label = format!("layer.{}.mixed", broken[0]);
        assert_eq!((found.step, &found.label, &found.tensor), (broken[0], &label, &label), "{found:?}");
        assert_eq!((found.kernel.as_str(), found.element), ("mix", 5), "{found:?}");
        assert_ne!(found.got.to_bits(), found.want.to_bits(), "{found:?}");
    }
}

fn session_of_nano(gpu: &Gpu) -> Session {
    let model = nano::load(gpu, 128, 32);
    let mut session = model.session().unwrap();
    let (ids, _) = nano::sample("rainbow").run(&mut session, &GenerateOptions::default());
    assert!(!ids.is_empty());
    session
}

#[test]
fn a_profile_has_a_time_for_every_step_under_its_label() {
    for gpu in [gpu(), plain_gpu()] {
        let mut session = session_of_nano(gpu);
        if !gpu.device().features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            let error = session.inspect().profile().unwrap_err().to_string();
            assert!(error.contains("timestamp"), "{error}");
            continue;
        }
        let options = LoadOptions { ctx: Some(128), chunk: 32, ..LoadOptions::default() };
        let config = session.model().config().clone();
        let plan = strix_model::plan(&config, &options, &gpu.target(), None, Room::default()).unwrap();
        let dispatches = |name: &str| plan.programs.iter().find(|(n, _)| n == name).unwrap().1.dispatches;
        for (name, times) in [
            ("decode", session.inspect().profile().unwrap()),
            ("prefill 32", session.inspect().profile_prefill().unwrap()),
        ] {
            assert_eq!(times.len(), dispatches(name), "{name}: {times:?}");
            assert!(times.iter().all(|t| t.ns.is_finite() && t.ns >= 0.0), "{name}: {times:?}");
            assert!(times.iter().map(|t| t.ns).sum::<f64>() > 0.0, "{name}: {times:?}");
            let labels: HashSet<&str> = times.iter().map(|t| t.label.as_str()).collect();
            for layer in 0..config.text.num_hidden_layers {
                for step in ["qkv_proj", "rope", "attention", "o_proj", "gate_up_proj", "down_proj"] {
                    let label = format!("decoder.{layer}.{step}");
                    // A single row is rotated by its attention.
                    let found = labels.contains(label.as_str());
                    assert_eq!(found, (name, step) != ("decode", "rope"), "{name}: {label} in {labels:?}");
                }
            }
            for label in ["embed_tokens", "lm_head", "candidates"] {
                assert!(labels.contains(label), "{name} has no {label}: {labels:?}");
            }
            let qkv_proj = times.iter().find(|t| t.label == "decoder.3.qkv_proj").unwrap();
            assert!(qkv_proj.kernel.starts_with("gem"), "{qkv_proj:?}");
        }
        // Profiling disturbs nothing.
        let sample = nano::sample("rainbow");
        let (ids, text) = sample.run(&mut session, &GenerateOptions::default());
        assert_eq!(ids, sample.output_ids, "{text}");
    }
}

#[test]
fn the_vision_towers_steps_are_labelled_by_layer() {
    let model = nano::load(gpu(), 64, 32);
    let pixels = model.pixels(&nano::sample("dark").pictures()[0]).unwrap();
    let trace = model.trace_encode(&pixels).unwrap();
    let labels: HashSet<&str> = trace.iter().map(|(label, _)| label.as_str()).collect();
    for label in ["vision.0.query_key_value", "vision.3.fc2", "abstractor.1.value", "visual_fc"] {
        assert!(labels.contains(label), "no {label}: {labels:?}");
    }
}

/// Starts this test once more in a process of its own, where `STRIX_TRACE` is set.
#[test]
fn strix_trace_writes_the_tensors_of_the_steps_it_names() {
    let sample = nano::sample("rainbow");
    if std::env::var_os("STRIX_TEST_CHILD").is_some() {
        let model = nano::load(gpu(), 60, 32);
        let mut session = model.session().unwrap();
        let options = GenerateOptions { max_tokens: 3, ..GenerateOptions::default() };
        let (ids, _) = sample.run(&mut session, &options);
        assert_eq!(ids, sample.output_ids[..3], "a traced run answers as any other");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["strix_trace_writes_the_tensors_of_the_steps_it_names", "--exact"])
        .env("STRIX_TEST_CHILD", "1")
        .env("STRIX_TRACE", "decoder.3")
        .env("STRIX_TRACE_DIR", dir.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));

    let mut files = HashMap::new();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let [position, _, label] = name.splitn(3, '-').collect::<Vec<_>>()[..] else { panic!("{name}") };
        assert!(label.starts_with("decoder.3."), "{name} was not asked for");
        let position: usize = position.parse().unwrap();
        files.insert((position, label.trim_end_matches(".f32").to_owned()), entry.metadata().unwrap().len());
    }
    // The prompt's chunk at 0, then two tokens behind it.
    let prompt = sample.prompt_ids.len();
    let positions: HashSet<usize> = files.keys().map(|(position, _)| *position).collect();
    assert_eq!(positions, HashSet::from([0, prompt, prompt + 1]), "{files:?}");
    for position in positions {
        let rows = if position == 0 { 32 } else { 1 };
        for (step, columns) in [("qkv_proj", 384), ("attention", 128), ("down_proj", 128)] {
            let bytes = files.get(&(position, format!("decoder.3.{step}")));
            assert_eq!(bytes, Some(&(4 * rows * columns)), "{step} at {position}: {files:?}");
        }
        // Position by position, whatever the kernels read: of the pages that the sequence has by then.
        let keys = files.get(&(position, "decoder.3.k_cache".into()));
        let held = if position == 0 { prompt } else { position + 1 };
        let positions = held.next_multiple_of(16) as u64;
        assert_eq!(keys, Some(&(4 * positions * 128)), "keys at {position}: {files:?}");
    }
}
