"""Runs a page that `strix bench ... --page` wrote in headless Chromium and prints the JSON that its reader would copy.

    python3 benches/browser/chromium.py bench.html > chromium.json
    python3 benches/browser/chromium.py bench.html --screenshot bench.png > chromium.json

Only Python's standard library and `chromium` are needed. Where there is no GPU, Chromium computes on SwiftShader.
"""

import argparse
import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading

# What the page does not have: it sends the run to whoever asked for it.
SENDER = """<script>
const began = Date.now();
const waiting = setInterval(() => {
  if (!globalThis.strixRun && Date.now() - began < LIMIT) return;
  clearInterval(waiting);
  const run = globalThis.strixRun ?? { error: `not done in time: ${document.getElementById("status").textContent}` };
  fetch("/run", { method: "POST", body: JSON.stringify(run) });
}, 200);
</script>"""
FLAGS = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]


def chromium(extra, url):
    profile = tempfile.mkdtemp(prefix="strix-chromium-")
    flags = ["--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    return ["chromium", *flags, f"--user-data-dir={profile}", *extra, url]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("--limit", type=int, default=600, help="seconds")
    parser.add_argument("--screenshot", type=pathlib.Path, help="where to store what the page looks like once it is done")
    parser.add_argument("flags", nargs="*", help="Chromium's, in place of those for SwiftShader")
    args = parser.parse_args()
    html = args.page.read_text(encoding="utf-8").replace("</body>", SENDER.replace("LIMIT", str(args.limit * 1000)) + "</body>")
    done, found = threading.Event(), {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, body, kind):
            self.send_response(200)
            self.send_header("content-type", kind)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            # The second picture is of the page as it was left: the run is in it already.
            body = found.get("page", html) if self.path.startswith("/done") else html
            self.answer(body.encode(), "text/html; charset=utf-8")

        def do_POST(self):
            found["run"] = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.answer(b"{}", "application/json")
            done.set()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    browser = subprocess.Popen(chromium(args.flags or FLAGS, f"{url}/page.html#run"), stderr=subprocess.DEVNULL)
    try:
        done.wait(args.limit + 30)
    finally:
        browser.terminate()
        browser.wait(20)
    run = found.get("run", {"error": "the browser never answered"})
    if "error" in run:
        sys.exit(f"{args.page}: {run['error']}")
    if args.screenshot:
        # The page shows a run that it is given in place of one of its own.
        given = "<script>globalThis.strixBench = async () => (" + json.dumps(run) + ");</script>"
        found["page"] = html.replace('<script id="page">', given + '<script id="page">')
        picture = ["--hide-scrollbars", "--window-size=1200,1500", f"--screenshot={args.screenshot.resolve()}", "--virtual-time-budget=5000"]
        subprocess.run(chromium(picture, f"{url}/done.html#run"), stderr=subprocess.DEVNULL, timeout=120, check=True)
    json.dump(run, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
