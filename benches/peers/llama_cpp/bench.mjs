// llama.cpp, from the binaries that the npm package node-llama-cpp ships: prefill and decode of a GGUF file.
// The one argument is the job as JSON; a line of JSON is printed for each figure. See ../README.md.

import { existsSync, mkdirSync, renameSync } from "node:fs";
import { basename, join } from "node:path";

const job = JSON.parse(process.argv[2]);
if (job.backend === "vulkan") {
    // Without this it passes over a software device.
    process.env.GGML_VK_VISIBLE_DEVICES ??= "0";
}
const { getLlama } = await import("node-llama-cpp");

const say = (line) => console.log(JSON.stringify(line));
const timed = async (work) => {
    const [start, before] = [performance.now(), process.cpuUsage()];
    await work();
    const { user, system } = process.cpuUsage(before);
    return { wall_s: (performance.now() - start) / 1e3, cpu_s: (user + system) / 1e6 };
};

const gpu = job.backend === "vulkan" ? "vulkan" : false;
const llama = await getLlama({ gpu, build: "never", logLevel: "error", maxThreads: job.threads });
const device = gpu ? (await llama.getGpuDeviceNames()).join(", ") : "the processor, native code";
say({ engine: { version: `llama.cpp ${llama.llamaCppRelease.release}`, device } });

let sequence;
const load = await timed(async () => {
    const model = await llama.loadModel({ modelPath: job.model, gpuLayers: gpu ? "max" : 0, useMmap: true });
    const context = await model.createContext({
        contextSize: 2 * job.context,
        batchSize: Math.max(job.context, ...job.prefill),
        threads: job.threads,
        flashAttention: true,
    });
    sequence = context.getSequence();
});
say({ load });

const prompt = (length) => Array.from({ length }, (_, i) => 300 + (i * 7919) % 31000);
const prefill = async (rows) => {
    await sequence.clearHistory();
    return await timed(() => sequence.evaluateWithoutGeneratingNewTokens(prompt(rows)));
};
// Random weights may well say the end.
const decode = async (tokens) => {
    let left = tokens;
    while (left > 0) {
        for await (const _ of sequence.evaluate([400], { temperature: 0, yieldEogToken: true })) {
            if (--left === 0) break;
        }
    }
};

// A full context is a matter of minutes on a software device. The native backend fills it once, and the state is
// kept in a file that either backend reads.
const state = join(job.scratch, `${basename(job.model)}-${job.context}.state`);
const fill = async () => {
    if (gpu && existsSync(state)) {
        await sequence.loadStateFromFile(state, { acceptRisk: true });
        return;
    }
    await prefill(job.context);
    if (!existsSync(state)) {
        mkdirSync(job.scratch, { recursive: true });
        await sequence.saveStateToFile(`${state}.part`);
        renameSync(`${state}.part`, state);
    }
};

if (job.tokens > 0) {
    await fill();
    // The first creates pipelines.
    await decode(1);
    const spent = await timed(() => decode(job.tokens));
    say({ decode: { context: job.context, tokens: job.tokens, ...spent } });
}
for (const rows of job.prefill) {
    if (rows === job.prefill[0]) {
        await prefill(rows);
    }
    say({ prefill: { rows, ...(await prefill(rows)) } });
}
say({ memory: { peak_mib: process.resourceUsage().maxRSS / 1024 } });
process.exit(0);
