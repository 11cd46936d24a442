// Runs a page that `strix bench ... --page` wrote in Node, by Dawn (npm's `webgpu`), and prints the JSON that its reader would
// copy:
//
//     npm install webgpu && node benches/browser/node.mjs bench.html > dawn.json

import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [page, ...flags] = process.argv.slice(2);
if (!page) {
  console.error("usage: node node.mjs PAGE.html [Dawn's flags, such as adapter=llvmpipe]");
  process.exit(2);
}
// npm installs where it was called.
const found = createRequire(pathToFileURL(`${process.cwd()}/`)).resolve("webgpu");
const { create, globals } = await import(pathToFileURL(found));
Object.assign(globalThis, globals);
const html = readFileSync(page, "utf8");
const script = (id) => html.split(`id="${id}">`)[1].split("</script>")[0];
(0, eval)(script("bench"));
const data = JSON.parse(script("data"));
const run = await strixBench(create(flags), data, (words) => process.stderr.write(`${words}\n`));
run.device.driver = "Dawn in Node";
run.device.host = `${process.platform} ${process.arch}`;
run.device.cores = availableParallelism();
process.stdout.write(`${JSON.stringify(run, null, 1)}\n`, () => process.exit(0));
