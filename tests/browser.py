"""Opening a page in headless Chromium, where it is installed."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# What the browser asks for on its own account, whatever the page.
OWN_HOSTS = re.compile(r"^https?://([a-z0-9-]+\.)*(google|googleapis|gvt1|gstatic|chromium)\.(com|org)/")


@dataclass(frozen=True)
class Visit:
    """What a browser said of a page: its document, the lines on its console, the addresses it asked for."""

    document: str
    console: list[str]
    requests: list[str]


@cache
def browser():
    """Return the path of a browser that runs, or None. Some systems have a command that only says where to get one."""
    for name in NAMES:
        path = shutil.which(name)
        if path and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return path
    return None


def browser_or_skip():
    """Return the browser's command, or skip the test."""
    return browser() or pytest.skip("Chromium is not installed; the page is not opened")


def visit(page, folder, width=1280):
    """Open a file in headless Chromium and return what happened."""
    log = folder / "network.json"
    command = [
        browser_or_skip(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--no-first-run", "--disable-dev-shm-usage", f"--window-size={width},900",
        f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", f"--log-net-log={log}",
        "--net-log-capture-mode=IncludeSensitive", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom",
        page.as_uri(),
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in ran.stderr.splitlines() if ":CONSOLE:" in line]
    urls = set(re.findall(r'"url":("(?:[^"\\]|\\.)*")', log.read_text(encoding="utf-8", errors="replace")))
    asked = sorted(json.loads(url) for url in urls)
    requests = [url for url in asked if url.startswith("http") and not OWN_HOSTS.match(url)]
    return Visit(ran.stdout, console, requests)
