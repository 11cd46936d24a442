// Runs the benches of the page, shows them, and lets the reader take the JSON along.

(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const digits = (v) => (v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v >= 0.01 ? v.toFixed(2) : v.toExponential(1));
  const time = (ns) => {
    const [value, unit] = ns < 1e3 ? [ns, "ns"] : ns < 1e6 ? [ns / 1e3, "us"] : ns < 1e9 ? [ns / 1e6, "ms"] : [ns / 1e9, "s"];
    return `${digits(value)} ${unit}`;
  };
  const text = (tag, words, into) => into.appendChild(Object.assign(document.createElement(tag), { textContent: words }));

  function table(run) {
    const heads = ["bench", "median", "spread", "clock", "runs", "GB/s", "GFLOP/s", "% of roof", "error max", "rms"];
    const head = by("rows").createTHead().insertRow();
    heads.forEach((h) => text("th", h, head));
    const body = by("rows").createTBody();
    for (const row of run.rows) {
      const [line, f] = [body.insertRow(), row.figures];
      if (row.check.result === "wrong") line.className = "bad";
      const error = (v) => (row.check.result === "unchecked" ? "-" : v === null ? "no number" : v.toExponential(1));
      const cells = f
        ? [time(f.rate.median), `${((100 * (f.rate.p90 - f.rate.p10)) / f.rate.median).toFixed(0)}%`, f.source, f.rate.runs,
           digits(f.gb_per_s), row.work.flops ? digits(f.gflop_per_s) : "-",
           f.roof_percent === null ? "-" : `${f.roof_percent.toFixed(1)} ${f.bound === "memory" ? "M" : "A"}`]
        : [row.check.result === "wrong" ? "WRONG" : "-", "-", "-", "-", "-", "-", "-"];
      [row.name, ...cells, error(row.check.max), error(row.check.rms)].forEach((c) => text("td", c, line));
    }
  }

  function plot(run) {
    const roof = run.roofline;
    const rows = run.rows.filter((r) => r.figures && r.work.bytes && r.work.flops);
    if (!rows.length || !roof.bytes_per_s || !roof.flops_per_s) return;
    const points = rows.map((r) => [r.work.flops / r.work.bytes, r.figures.gflop_per_s]);
    const [slope, peak] = [roof.bytes_per_s / 1e9, roof.flops_per_s / 1e9];
    const ridge = peak / slope;
    const [W, H] = [940, 480];
    const range = (values) => [Math.min(...values) / 1.6, Math.max(...values) * 1.8];
    const [x0, x1] = range([...points.map((p) => p[0]), ridge / 4, ridge * 4]);
    const [y0, y1] = range([...points.map((p) => p[1]), peak, peak / 10]);
    const at = (v, from, to, a, b) => a + ((Math.log(v) - Math.log(from)) / (Math.log(to) - Math.log(from))) * (b - a);
    const X = (v) => at(v, x0, x1, 60, W - 20);
    const Y = (v) => at(v, y0, y1, H - 50, 30);
    const svg = by("roofline");
    const put = (tag, attributes, words) => {
      const node = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", tag));
      Object.entries(attributes).forEach(([k, v]) => node.setAttribute(k, v));
      if (words) node.textContent = words;
      return node;
    };
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    for (let e = Math.ceil(Math.log10(x0)); 10 ** e < x1; e++) {
      put("line", { class: "grid", x1: X(10 ** e), x2: X(10 ** e), y1: 30, y2: H - 50 });
      put("text", { class: "tick mid", x: X(10 ** e), y: H - 34 }, String(10 ** e));
    }
    for (let e = Math.ceil(Math.log10(y0)); 10 ** e < y1; e++) {
      put("line", { class: "grid", x1: 60, x2: W - 20, y1: Y(10 ** e), y2: Y(10 ** e) });
      put("text", { class: "tick end", x: 54, y: Y(10 ** e) + 4 }, String(10 ** e));
    }
    put("text", { class: "name end", x: W - 20, y: H - 12 }, "FLOP a byte");
    put("text", { class: "name", x: 20, y: 18 }, "GFLOP/s");
    const start = Math.max(x0, y0 / slope);
    const line = [[start, slope * start], [ridge, peak], [x1, peak]].map(([a, b]) => `${X(a)},${Y(b)}`).join(" ");
    put("polyline", { class: "roof", points: line });
    put("text", { class: "rooftext end", x: X(ridge) - 12, y: Y(peak) + 4 }, `reads ${digits(slope)} GB/s`);
    put("text", { class: "rooftext end", x: W - 26, y: Y(peak) - 6 }, `f32 multiply-adds ${digits(peak)} GFLOP/s`);
    rows.forEach((row, i) => {
      const [x, y] = [X(points[i][0]), Y(points[i][1])];
      const dot = put("circle", { class: `dot c${i % 5}`, cx: x, cy: y, r: 4.5 });
      text("title", row.name, dot);
      const left = x > W - 200;
      put("text", { class: `label${left ? " end" : ""}`, x: x + (left ? -7 : 7), y: y + 4 }, row.name);
    });
  }

  const say = (words) => (by("status").textContent = words);
  by("begin").onclick = async () => {
    by("begin").disabled = true;
    try {
      const run = await strixBench(navigator.gpu, data, say);
      const { device, roofline } = run;
      say(`Done: ${run.rows.filter((r) => r.check.result === "right").length} right, ` +
        `${run.rows.filter((r) => r.check.result === "wrong").length} wrong.`);
      const facts = [["adapter", `${device.adapter} (WebGPU)`], ["browser", device.driver],
        ["roofline", `reads ${digits((roofline.bytes_per_s ?? 0) / 1e9)} GB/s, multiply-adds ${digits((roofline.flops_per_s ?? 0) / 1e9)} GFLOP/s of f32`],
        ...run.notes.map((n) => ["note", n]), ...run.rows.flatMap((r) => (r.remarks ?? []).map((m) => [r.name, m]))];
      facts.forEach(([name, value]) => (text("dt", name, by("facts")), text("dd", value, by("facts"))));
      plot(run);
      table(run);
      by("json").value = JSON.stringify(run, null, 1);
      by("results").hidden = false;
      by("copy").onclick = () => {
        by("json").select();
        navigator.clipboard?.writeText(by("json").value) ?? document.execCommand("copy");
      };
      globalThis.strixRun = run;
    } catch (error) {
      say(`It failed: ${error.message}`);
      globalThis.strixRun = { error: error.message };
    }
  };
  // For scripts: page.html#run begins by itself.
  if (location.hash === "#run") by("begin").click();
})();
