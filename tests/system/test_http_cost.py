"""What HTTP costs the routing: an echo beside an open page and a scraper, by the same without them."""

from __future__ import annotations

import http.client
import statistics
import threading
import time
from pathlib import Path

import pytest

from maitred.testing import House, running

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

APP = f"{Path(__file__).with_name('app.py')}:service"
BLOCKS = 15
BLOCK_S = 4.0
PAUSE_S = 0.002


def block(house: House) -> float:
    """p99 of calls, one after another, for a while."""
    took: list[float] = []
    end = time.monotonic() + BLOCK_S
    while time.monotonic() < end:
        began = time.perf_counter()
        house.client.execute("general", "echo", {"message": "x"})
        took.append(time.perf_counter() - began)
        time.sleep(PAUSE_S)
    return statistics.quantiles(took, n=100)[98]


class Looking:
    """A page that is open and a scraper, each in a thread of its own, for as long as wanted."""

    def __init__(self, house: House) -> None:
        self._address = house.http
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=it) for it in (self._listen, self._scrape)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _listen(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=10)
        connection.request("GET", "/api/v1/live")
        answer = connection.getresponse()
        while not self._stop.is_set():
            assert answer.readline()
        connection.close()

    def _scrape(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=10)
        while not self._stop.wait(1.0):
            connection.request("GET", "/metrics")
            assert b"maitred_requests_total" in connection.getresponse().read()
        connection.close()


def test_a_page_and_a_scraper_cost_less_than_a_tenth_of_the_p99() -> None:
    with running(APP) as without, running(APP, broker={"http": "127.0.0.1:0"}) as with_http:
        for house in (without, with_http):
            block(house)
        pairs: list[tuple[float, float]] = []
        with Looking(with_http):
            for number in range(BLOCKS):
                order = (without, with_http) if number % 2 else (with_http, without)
                found = {house: block(house) for house in order}
                pairs.append((found[without], found[with_http]))
    ratios = sorted(looked / alone for alone, looked in pairs)
    medians = [1e3 * statistics.median(each) for each in zip(*pairs, strict=True)]
    print(f"p99 {medians[0]:.2f} ms without HTTP, {medians[1]:.2f} ms with a page and a scraper; ratios of {BLOCKS} pairs: "
          f"median {statistics.median(ratios):.2f} ({ratios[2]:.2f} … {ratios[-3]:.2f})")  # fmt: skip
    assert statistics.median(ratios) <= 1.1
