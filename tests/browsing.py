"""Headless Chromium, a web server for the site, and JupyterLab, for tests of pages in a browser."""

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
SITE = ROOT / "build" / "docs"
SCREENSHOTS = ROOT / "build" / "screenshots"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)


def site_is_built():
    """Return whether the site was built after the last change of a notebook."""
    stamp = SITE / ".built"
    newest = max(path.stat().st_mtime for path in (ROOT / "notebooks").glob("*.ipynb"))
    return stamp.exists() and stamp.stat().st_mtime >= newest


@contextmanager
def chromium():
    """Yield a browser without a sandbox, which most containers do not allow."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A request handler that logs nothing."""

    def log_message(self, *arguments):
        pass


@contextmanager
def serve(folder):
    """Yield the address of a web server that serves a folder."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def jupyter_lab(folder, scratch):
    """Start a JupyterLab on a folder, and yield a function from a notebook's name to its address there."""
    settings = {f"JUPYTER_{name}_DIR": str(scratch / name.lower()) for name in ("CONFIG", "RUNTIME", "DATA")}
    settings |= {
        "JUPYTERLAB_SETTINGS_DIR": str(scratch / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(scratch / "spaces"),
    }
    options = ["--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root", "--LabApp.expose_app_in_browser=True"]
    options += [f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None", "--LabApp.check_for_updates_class="
                "jupyterlab.NeverCheckForUpdate"]  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", *options]
    notification = scratch / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    notification.parent.mkdir(parents=True)
    notification.write_text('{"fetchNews": "false"}')  # without this, a dialog covers the notebook
    with (
        open(scratch / "lab.log", "wb") as log,
        subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            # in Python's development mode, asyncio would write into the notebook whatever is slow
            env={**os.environ, **settings, "OMP_NUM_THREADS": "1", "PYTHONDEVMODE": ""},
            start_new_session=True,
        ) as server,
    ):
        try:
            found = _server_file(scratch / "runtime", server)
            yield lambda name: f"{found['url']}lab/tree/{name}?token={found['token']}&reset"
        finally:
            server.terminate()
            server.wait(30)


def _server_file(folder, server):
    """Return what a starting JupyterLab writes about itself: its address and token."""
    for _ in range(240):
        for path in folder.glob("jpserver-*.json"):
            try:
                return json.loads(path.read_text())
            except json.JSONDecodeError:  # still being written
                continue
        if server.poll() is not None:
            break
        time.sleep(0.25)
    raise RuntimeError(f"JupyterLab did not start: {(folder.parent / 'lab.log').read_text()[-2000:]}")
