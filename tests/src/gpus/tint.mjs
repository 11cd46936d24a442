// node tint.mjs < LIST: Dawn's Tint, which Chrome has, over many files. stdin: a file a line; stdout: for each its file,
// `ok` or `refused`, and the first message, between tabs.
import { readFileSync } from 'node:fs';
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);
const gpu = create(['backend=vulkan', 'enable-dawn-features=allow_unsafe_apis']);
const adapter = await gpu.requestAdapter();
if (!adapter) {
  console.error('Dawn finds no adapter');
  process.exit(2);
}
const features = ['subgroups', 'shader-f16'].filter((feature) => adapter.features.has(feature));
const limits = ['maxStorageBuffersPerShaderStage', 'maxComputeWorkgroupStorageSize', 'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupSizeX'];
const requiredLimits = Object.fromEntries(limits.map((limit) => [limit, adapter.limits[limit]]));
const device = await adapter.requestDevice({ requiredFeatures: features, requiredLimits });
for (const file of readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
  let code = readFileSync(file, 'utf8');
  // naga takes subgroups for granted.
  if (/subgroup/.test(code)) code = 'enable subgroups;\n' + code;
  device.pushErrorScope('validation');
  const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
  const scope = await device.popErrorScope();
  const error = messages.find((message) => message.type === 'error')?.message ?? scope?.message ?? '';
  console.log([file, error ? 'refused' : 'ok', error.replace(/\s+/g, ' ').slice(0, 300)].join('\t'));
}
process.exit(0);
