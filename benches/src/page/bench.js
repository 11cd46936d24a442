// Checks and times kernels by WebGPU. `strixBench(gpu, data, say)` takes navigator.gpu, what `strix bench --page` wrote, and
// a function that is told what is done; it returns a run as `strix bench` stores it. It needs no page: Node has it as well.

globalThis.strixBench = async function (gpu, data, say) {
  const SHORTEST_RUN_MS = 50;
  const MOST_REPEATS = 256;
  const COLD_BYTES = 128 << 20;

  const adapter = await gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("this browser shows no WebGPU adapter: try another, or its flags for WebGPU");
  const wanted = ["timestamp-query", "shader-f16", "subgroups"].filter((f) => adapter.features.has(f));
  const limits = {};
  for (const name of [
    "maxStorageBufferBindingSize", "maxBufferSize", "maxStorageBuffersPerShaderStage", "maxComputeWorkgroupStorageSize",
    "maxComputeInvocationsPerWorkgroup", "maxComputeWorkgroupSizeX", "maxComputeWorkgroupSizeY", "maxComputeWorkgroupSizeZ",
  ]) limits[name] = adapter.limits[name];
  const device = await adapter.requestDevice({ requiredFeatures: wanted, requiredLimits: limits });
  const stamped = wanted.includes("timestamp-query");
  const info = adapter.info ?? {};

  // The operands' numbers, bit for bit those of the program (benches/src/wgsl/operand.rs).
  const hash = (i, seed) => {
    let x = (i + seed) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0xd35a2d97);
    return (x ^ (x >>> 15)) >>> 0;
  };
  const KINDS = { f32: Float32Array, i32: Int32Array, u32: Uint32Array, i8: Int8Array, u8: Uint8Array };
  function content(b) {
    if (b.data !== undefined) return Uint8Array.from(atob(b.data), (c) => c.charCodeAt(0));
    const bytes = new Uint8Array(b.bytes);
    const values = new KINDS[b.element](bytes.buffer, 0, b.len);
    const { fill, value, from, to, mean, deviation } = b.content;
    const integer = b.element !== "f32";
    for (let i = 0; i < b.len; i++) {
      if (fill === "value") values[i] = value;
      else if (fill === "index") values[i] = i;
      else if (fill === "uniform") {
        const v = from + (to - from) * (hash(i, b.seed) / 4294967296);
        values[i] = integer ? Math.floor(v) : v;
      } else {
        const [p, q] = [hash(i, b.seed), hash(i, (b.seed ^ 0x5bd1e995) >>> 0)];
        const sum = (p & 0xffff) + (p >>> 16) + (q & 0xffff) + (q >>> 16);
        values[i] = mean + deviation * ((sum - 131070) / 37837.2);
      }
    }
    return bytes;
  }
  function half(h) {
    const [s, e, m] = [h >> 15 ? -1 : 1, (h >> 10) & 31, h & 1023];
    return e === 0 ? s * m * 2 ** -24 : e === 31 ? (m ? NaN : s * Infinity) : s * (1 + m / 1024) * 2 ** (e - 15);
  }
  function reader(bytes, element) {
    if (element === "f16" || element === "bf16") {
      const words = new Uint16Array(bytes);
      const one = new Float32Array(1);
      const bits = new Uint32Array(one.buffer);
      return (i) => (element === "f16" ? half(words[i]) : ((bits[0] = words[i] << 16), one[0]));
    }
    const values = new KINDS[element](bytes);
    return (i) => values[i];
  }

  const median = (sorted, at = 0.5) => {
    const rank = at * (sorted.length - 1);
    const [low, high] = [sorted[Math.floor(rank)], sorted[Math.ceil(rank)]];
    return low + (high - low) * (rank % 1);
  };
  function summary(runs) {
    if (!runs.length) return null;
    const sorted = [...runs].sort((a, b) => a - b);
    const [p10, q1, mid, q3, p90] = [0.1, 0.25, 0.5, 0.75, 0.9].map((at) => median(sorted, at));
    const fence = 1.5 * (q3 - q1);
    const outliers = runs.filter((r) => r < q1 - fence || r > q3 + fence).length;
    return { runs: runs.length, median: mid, min: sorted[0], max: sorted.at(-1), p10, p90, outliers };
  }

  async function scoped(make) {
    device.pushErrorScope("out-of-memory");
    device.pushErrorScope("validation");
    let [made, failed] = [null, null];
    try {
      made = await make();
    } catch (error) {
      failed = error;
    }
    const [validation, memory] = [await device.popErrorScope(), await device.popErrorScope()];
    const error = failed ?? validation ?? memory;
    if (error) throw new Error(error.message);
    return made;
  }

  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  function hold(job, contents, pipeline) {
    const groups = new Map();
    const buffers = job.bindings.map((b, i) => {
      const uniform = b.kind === "uniform";
      const size = uniform ? Math.ceil(contents[i].length / 16) * 16 : contents[i].length;
      const buffer = device.createBuffer({ size, usage: uniform ? GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST : usage });
      device.queue.writeBuffer(buffer, 0, contents[i]);
      const entries = groups.get(b.group) ?? [];
      entries.push({ binding: b.binding, resource: { buffer } });
      groups.set(b.group, entries);
      return buffer;
    });
    const bound = [...groups].map(([group, entries]) => [
      group, device.createBindGroup({ layout: pipeline.getBindGroupLayout(group), entries }),
    ]);
    return { buffers, bound };
  }

  async function prepare(job) {
    const lacks = job.features.find((f) => !device.features.has(f));
    if (lacks) throw new Error(`it needs ${lacks}, which this browser's device has not`);
    const started = performance.now();
    const pipeline = await scoped(async () => {
      const module = device.createShaderModule({ code: job.wgsl });
      const said = (await module.getCompilationInfo()).messages.find((m) => m.type === "error");
      if (said) throw new Error(`line ${said.lineNum}: ${said.message}`);
      // Bindings are laid out as the program does it, since the text may not use all of them.
      const layouts = [];
      for (const b of job.bindings) {
        layouts[b.group] ??= [];
        const type = { uniform: "uniform", read: "read-only-storage", write: "storage" }[b.kind];
        layouts[b.group].push({ binding: b.binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } });
      }
      const bindGroupLayouts = Array.from(layouts, (entries) => device.createBindGroupLayout({ entries: entries ?? [] }));
      const layout = device.createPipelineLayout({ bindGroupLayouts });
      const compute = { module, entryPoint: job.entry, constants: job.constants };
      return device.createComputePipelineAsync({ layout, compute });
    });
    const compile_ns = (performance.now() - started) * 1e6;
    const contents = job.bindings.map(content);
    const first = await scoped(() => hold(job, contents, pipeline));
    return { job, pipeline, compile_ns, contents, first };
  }

  function encode(p, copies, passes, stamps) {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass(stamps && { timestampWrites: stamps.writes });
    pass.setPipeline(p.pipeline);
    for (let i = 0; i < passes; i++) {
      for (const [group, bound] of copies[i % copies.length].bound) pass.setBindGroup(group, bound);
      pass.dispatchWorkgroups(...p.job.grid);
    }
    pass.end();
    if (stamps) {
      encoder.resolveQuerySet(stamps.set, 0, 2, stamps.device, 0);
      encoder.copyBufferToBuffer(stamps.device, 0, stamps.host, 0, 16);
    }
    return encoder.finish();
  }
  async function wall(p, copies, passes) {
    const commands = encode(p, copies, passes);
    const start = performance.now();
    device.queue.submit([commands]);
    await device.queue.onSubmittedWorkDone();
    return (performance.now() - start) * 1e6;
  }

  async function read(buffer) {
    const host = device.createBuffer({ size: buffer.size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, host, 0, buffer.size);
    device.queue.submit([encoder.finish()]);
    await host.mapAsync(GPUMapMode.READ);
    const bytes = host.getMappedRange().slice(0);
    host.destroy();
    return bytes;
  }

  async function check(p) {
    await wall(p, [p.first], 1);
    let result = { result: "unchecked" };
    const remarks = [];
    for (const [i, b] of p.job.bindings.entries()) {
      if (!b.expected) continue;
      const at = reader(await read(p.first.buffers[i]), b.element);
      const { places, values, scale } = b.expected;
      let [worst, squares, expected, where] = [0, 0, 0, 0];
      for (let n = 0; n < values.length; n++) {
        const [got, want] = [at(places[n]), values[n] ?? NaN];
        const same = got === want || (Number.isNaN(got) && Number.isNaN(want));
        const error = same ? 0 : Number.isFinite(got - want) ? Math.abs(got - want) : Infinity;
        if (error > worst) [worst, where] = [error, n];
        squares += error * error;
        expected += want * want;
      }
      const max = worst === 0 ? 0 : worst / scale;
      const rms = squares === 0 ? 0 : Math.sqrt(squares / expected);
      const wrong = b.expected.integer ? worst > 0 : !(max <= p.job.tolerance);
      const number = (v) => (Number.isFinite(v) ? v : null);
      if (wrong) {
        remarks.push(`${b.name}: element ${places[where]} is ${at(places[where])}, and ${values[where]} is expected`);
        result = { result: "wrong", max: number(max), rms: number(rms) };
      } else if (result.result !== "wrong") {
        result = { result: "right", max: Math.max(max, result.max ?? 0), rms: Math.max(rms, result.rms ?? 0) };
      }
    }
    return [result, remarks];
  }

  // Puts the operands on the device often enough, and finds how many passes make a run.
  async function ready(p) {
    const bytes = p.contents.reduce((sum, c) => sum + c.length, 0);
    const copies = p.job.cold ? Math.min(16, Math.max(1, Math.ceil(COLD_BYTES / bytes))) : 1;
    const held = [p.first];
    await scoped(() => {
      while (held.length < copies) held.push(hold(p.job, p.contents, p.pipeline));
    });
    const once = (await wall(p, held, 1)) / 1e6;
    const repeats = Math.min(MOST_REPEATS, Math.max(1, Math.ceil(SHORTEST_RUN_MS / once)));
    const until = performance.now() + data.warm_up_ms;
    do await wall(p, held, repeats);
    while (performance.now() < until);
    let stamps = null;
    if (stamped) {
      const set = device.createQuerySet({ type: "timestamp", count: 2 });
      const buffer = (usage) => device.createBuffer({ size: 16, usage });
      stamps = {
        set,
        device: buffer(GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC),
        host: buffer(GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ),
        writes: { querySet: set, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 },
      };
    }
    Object.assign(p, { held, repeats, stamps, spent: 0, times: { device_ns: [], wall_ns: [], idle_ns: [] } });
  }
  async function take(p) {
    const start = performance.now();
    const ns = await wall(p, p.held, p.repeats);
    p.times.wall_ns.push(ns / p.repeats);
    if (p.stamps) {
      device.queue.submit([encode(p, p.held, p.repeats, p.stamps)]);
      await p.stamps.host.mapAsync(GPUMapMode.READ);
      const [from, to] = new BigUint64Array(p.stamps.host.getMappedRange());
      const device_ns = Number(to - from);
      p.stamps.host.unmap();
      if (device_ns > 0 && device_ns <= 1.2 * ns) p.times.device_ns.push(device_ns / p.repeats);
      else [p.stamps, p.times.device_ns] = [null, []];
    }
    p.spent += performance.now() - start;
  }
  const least = (p) => Math.min(...(p.times.device_ns.length ? p.times.device_ns : p.times.wall_ns));
  const free = (p) => (p.held ?? [p.first]).forEach((copy) => copy.buffers.forEach((b) => b.destroy()));

  // The device's limits: the best of several ways to do nothing else.
  const roofline = {};
  for (const probe of data.probes) {
    say(`roofline: ${probe.name}`);
    try {
      const p = await prepare(probe);
      await ready(p);
      for (let run = 0; run < 3; run++) await take(p);
      const rate = (1e9 * (probe.work.flops || probe.work.bytes)) / least(p);
      roofline[probe.roof] = Math.max(roofline[probe.roof] ?? 0, rate);
      free(p);
    } catch (error) {
      say(`roofline: ${probe.name}: ${error.message}`);
    }
  }

  const rows = [];
  const notes = ["Measured in a browser or another program with WebGPU, by the page that strix bench --page wrote."];
  const turns = [];
  for (const job of data.benches) {
    say(`preparing ${job.name}`);
    const row = {
      name: job.name, kernel: job.entry, dispatches: 1, work: job.work, arithmetic: job.arithmetic, settings: job.settings,
      check: { result: "unchecked" }, repeats: 1, times: { device_ns: [], wall_ns: [], idle_ns: [] }, figures: null, pipelines: 1,
    };
    try {
      const p = await prepare(job);
      [row.check, row.remarks] = await check(p);
      row.compile_ns = p.compile_ns;
      if (row.check.result === "wrong") free(p);
      else {
        await ready(p);
        turns.push([row, p]);
      }
      rows.push(row);
    } catch (error) {
      notes.push(`${job.name} is left out: ${error.message.replace(/\s+/g, " ")}`);
    }
  }
  const [fewest, most] = data.runs;
  for (let round = 0; round < most; round++) {
    for (const [row, p] of turns) {
      if (round >= fewest && p.spent > data.each_ms) continue;
      say(`run ${round + 1} of ${row.name}`);
      await take(p);
    }
  }
  for (const [row, p] of turns) {
    row.times = p.times;
    row.repeats = p.repeats;
    const [device_, wall_] = [summary(p.times.device_ns), summary(p.times.wall_ns)];
    const rate = device_ ?? wall_;
    const peaks = { f32: roofline.flops_per_s, f16: roofline.f16_flops_per_s, dot4: roofline.dot4_ops_per_s };
    const peak = peaks[row.arithmetic] ?? roofline.flops_per_s;
    const [memory, arithmetic] = [(row.work.bytes / roofline.bytes_per_s) * 1e9, (row.work.flops / peak) * 1e9];
    const counted = row.work.bytes > 0 && Number.isFinite(memory);
    row.figures = {
      source: device_ ? "timestamp" : "wall", rate, device: device_, wall: wall_, idle: null,
      gb_per_s: row.work.bytes / rate.median, gflop_per_s: row.work.flops / rate.median,
      roof_percent: counted ? (100 * Math.max(memory, arithmetic || 0)) / rate.median : null,
      bound: counted ? (memory >= (arithmetic || 0) ? "memory" : "arithmetic") : null,
    };
    free(p);
  }
  const words = [info.description, info.device, info.architecture, info.vendor].filter(Boolean);
  const agent = globalThis.navigator?.userAgent ?? "";
  return {
    schema: data.schema, kind: "wgsl", date: new Date().toISOString().slice(0, 19) + "Z",
    device: {
      adapter: words[0] ?? "an adapter without a name", backend: "WebGPU", driver: agent, kind: "WebGPU",
      subgroup: info.subgroupMinSize && info.subgroupMinSize === info.subgroupMaxSize ? info.subgroupMinSize : null,
      family: "", family_forced: false, max_binding_bytes: device.limits.maxStorageBufferBindingSize, shares_memory: false,
      cores: globalThis.navigator?.hardwareConcurrency ?? 0, host: (globalThis.navigator?.platform ?? "").toLowerCase(),
    },
    versions: { strix: data.strix, wgpu: "none", naga: "none", build: "page" },
    roofline, rows, notes,
  };
};
