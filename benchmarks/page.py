"""First paint of the approval page in headless Chromium, beside an almost empty page, in alternation.

Run: ``python -m benchmarks.page``. Writes ``benchmarks/results/page.json``. The goal: under 300 ms locally, with 10
and with 1,000 proven files.
"""

import json
import os
import platform
import shutil
import statistics
import tempfile
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.pageserver import PageServer
from remote_gpu_trainer.clock import SystemClock
from tests.browser.plans import a_full_plan

ROUNDS = 15
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


class Plain(BaseHTTPRequestHandler):
    """The peer: one paragraph."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>x</title><p>Nothing to see.</p>")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def first_paint_ms(browser: Browser, address: str) -> float:
    """Milliseconds from the start of the navigation, redirect included, in a context of its own."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(address)
    painted = page.wait_for_function(PAINTED).json_value()
    context.close()
    return float(painted)


def main() -> None:
    """Measure and write."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    times: dict[str, list[float]] = {"plain": [], "files_10": [], "files_1000": []}
    plain = ThreadingHTTPServer(("127.0.0.1", 0), Plain)
    threading.Thread(target=plain.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        version = browser.version
        with (
            SqliteApprovalBook(Path(folder, "journal.db"), clock=SystemClock()) as book,
            PageServer(book) as server,
        ):
            for number in range(ROUNDS + 1):
                found = {"plain": first_paint_ms(browser, f"http://localhost:{plain.server_port}/")}
                for files in (10, 1000):
                    request = book.request(a_full_plan(Path(folder, "results"), files=files), ttl_s=900)
                    found[f"files_{files}"] = first_paint_ms(browser, server.link(request.id))
                if number:  # the first round warms up
                    for name, value in found.items():
                        times[name].append(value)
        browser.close()
    plain.shutdown()
    medians = {name: round(statistics.median(values), 1) for name, values in times.items()}
    result = {
        "what": "first contentful paint of the approval page, from the one-time link, redirect included, 1440 x 900",
        "median_ms": medians,
        "worst_ms": {name: round(max(values), 1) for name, values in times.items()},
        "ratio_10_files_to_plain": round(medians["files_10"] / medians["plain"], 2),
        "goal_ms": 300,
        "rounds": ROUNDS,
        "browser": version,
        "machine": {"system": platform.system(), "arch": platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "at": datetime.now(UTC).date().isoformat(),
    }
    target = Path(__file__).parent / "results" / "page.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
