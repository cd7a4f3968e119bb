"""Makes the pictures of `docs/dashboard.md`: pools under load, one too small for it, a worker that was killed.

python scripts/screenshots.py [SECONDS]

Needs Chromium (make browser) and the extra `test`.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sys
import threading
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from maitred.client import Client
from maitred.client.errors import MaitredError
from maitred.testing import House, Pool, running
from maitred.worker import Context, Service

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SETTLE_S = 2.5

service = Service()


@service.command
def work(seconds: float, *, context: Context) -> None:
    """Take so long."""
    time.sleep(seconds)


@service.command
def crash() -> None:
    """Write a few words, and die as by the kernel's hand."""
    import os
    import signal

    print("CUDA error: an illegal memory access was encountered", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def calls(house: House, pool: str, task_s: float, pause_s: float, stop: threading.Event) -> None:
    """Calls by turns, in waves."""
    with Client(house.clients) as client:
        for number in itertools.count():
            if stop.is_set():
                return
            with contextlib.suppress(MaitredError):
                client.submit(pool, "work", {"seconds": task_s})
            time.sleep(pause_s * (1.6 if number // 200 % 2 else 0.7))


def main(seconds: float) -> None:
    """Run the load for so long, then take the pictures."""
    pools = {"optimizer": Pool(service, size=2, max_queue=12), "neural": Pool(service, size=1)}
    with running(Pool(service, size=4), **pools, broker={"http": "127.0.0.1:0"}) as house:
        stop = threading.Event()
        loads = [("general", 0.03, 0.015), ("optimizer", 0.8, 0.25), ("neural", 0.4, 0.7)]
        threads = [threading.Thread(target=calls, args=(house, *load, stop)) for load in loads]
        for thread in threads:
            thread.start()
        with house.client.session("neural", metadata={"model": "digits"}) as session:
            session.execute("work", {"seconds": 0.1})
            with contextlib.suppress(MaitredError):
                house.client.execute("general", "crash")
            time.sleep(seconds)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                shoot(browser, house, "light", 1200, 1080)
                shoot(browser, house, "dark", 1200, 1080)
                shoot(browser, house, "dark", 390, 800, "phone")
                browser.close()
        stop.set()
        for thread in threads:
            thread.join()


def shoot(browser: Browser, house: House, scheme: str, width: int, height: int, name: str = "") -> None:
    """One picture."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})  # pyright: ignore
    page = context.new_page()
    page.goto(f"http://{house.http}/#token={house.secret}")
    time.sleep(SETTLE_S)
    page.screenshot(path=IMAGES / f"dashboard-{name or scheme}.png")
    context.close()


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 120.0)
