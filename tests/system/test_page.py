"""The page in a real browser: values move under load, what is wrong is seen as such, and an operator can act."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium, needs_browser
from playwright.sync_api import Browser, Page, expect

from maitred.client import Client
from maitred.client.errors import PoolSaturated, WorkerLost
from maitred.testing import House, Pool, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), needs_browser]

APP = f"{Path(__file__).with_name('app.py')}:service"
NOTHING = "\N{EN DASH}"
HOSTILE = "<img src=x onerror=document.title='hacked'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    small = Pool(APP, size=1, max_queue=3)
    hostile = Pool(APP.replace("app.py", "hostile_app.py"), size=1)
    with running(Pool(APP, size=2), small=small, hostile=hostile, broker={"http": "127.0.0.1:0"}) as house:
        yield house


class Seen:
    """A page that is open, and what went wrong in it."""

    def __init__(self, browser: Browser, house: House, token: str = "", **context: object) -> None:
        self.context = browser.new_context(**context)  # pyright: ignore
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda it: self.errors.append(it.text) if it.type == "error" else None)
        self.page.goto(f"http://{house.http}/" + (f"#token={token}" if token else ""))
        expect(self.page.locator("#link")).to_have_text("live")

    def card(self, pool: str):
        return self.page.locator(f"[data-pool={pool}]")

    def fact(self, pool: str, title: str) -> str:
        dt = self.card(pool).locator("dt", has_text=re.compile(f"^{title}$"))
        return dt.locator("xpath=following-sibling::dd").inner_text()


@pytest.fixture
def seen(browser: Browser, house: House) -> Iterator[Seen]:
    seen = Seen(browser, house, house.secret)
    yield seen
    assert seen.errors == []
    seen.context.close()


def within(seconds: float, condition: object) -> None:
    began = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() - began < seconds, "it was never seen"
        time.sleep(0.1)


def test_values_move_under_load(seen: Seen, house: House) -> None:
    assert seen.fact("general", "arrivals") in ("0/s", NOTHING)
    stop = threading.Event()

    def load() -> None:
        with Client(house.clients) as client:
            while not stop.is_set():
                client.execute("general", "nap", {"seconds": 0.01})

    thread = threading.Thread(target=load)
    thread.start()
    try:
        within(15, lambda: float(seen.fact("general", "arrivals").removesuffix("/s")) > 5)
        assert seen.fact("general", "p99").endswith("ms")
        drawn = seen.card("general").locator("path").first
        before = drawn.get_attribute("d")
        within(15, lambda: drawn.get_attribute("d") != before)
    finally:
        stop.set()
        thread.join()
    within(15, lambda: seen.fact("general", "arrivals") == "0/s")


def test_a_pool_that_is_full_is_seen_as_such_and_so_is_its_end(seen: Seen, house: House) -> None:
    for _ in range(3):  # what a request takes is known then, and so is when to come back
        house.client.execute("small", "nap", {"seconds": 0.05})
    futures = [house.client.submit("small", "nap", {"seconds": 30}, timeout=60) for _ in range(6)]
    within(10, lambda: sum(future.done() for future in futures) == 3)
    assert all(isinstance(future.exception(), PoolSaturated) for future in futures if future.done())
    expect(seen.card("small").locator(".chip").first).to_have_text("full", timeout=5000)
    expect(seen.card("small")).to_contain_text("2 waiting · bound 3")
    assert seen.fact("small", "retry after") != NOTHING
    for future in futures:
        future.cancel()
    expect(seen.card("small").locator(".chip").first).to_have_text("ready", timeout=15000)


def test_a_killed_worker_appears_with_its_cause_and_has_a_page(seen: Seen, house: House) -> None:
    with pytest.raises(WorkerLost):
        house.client.execute("general", "kill_itself")
    row = seen.page.locator("#deaths tbody tr", has_text="SIGKILL").first
    expect(row).to_contain_text("signal", timeout=5000)
    expect(seen.card("general")).to_contain_text("last: signal (SIGKILL)", timeout=5000)
    expect(seen.page.locator("#events")).to_contain_text("worker.died")
    row.locator("a").click()
    expect(seen.page.locator("#worker")).to_contain_text("Death certificate")
    expect(seen.page.locator("#worker")).to_contain_text("It wrote nothing to standard error.")
    seen.page.get_by_text("← all pools").click()
    expect(seen.card("general")).to_be_visible()


def test_an_operator_can_act_and_is_asked_before_what_cannot_be_undone(seen: Seen, house: House) -> None:
    card = seen.card("general")
    card.get_by_role("button", name="Pause").click()
    expect(card.locator(".chip").first).to_have_text("paused")
    assert house.client.pools()[0]["paused"]
    card.get_by_role("button", name="Resume").click()
    expect(card.locator(".chip").first).to_have_text("ready")
    card.get_by_role("button", name="Drain").click()
    seen.page.get_by_role("button", name="Leave it").click()
    assert not house.client.pools()[0]["draining"]
    card.get_by_role("button", name="Scale").click()
    seen.page.locator("#ask-number").fill("3")
    seen.page.locator("#ask-yes").click()
    expect(seen.page.locator("#notice")).to_have_text("scale general: done")
    expect(card).to_contain_text("3 idle", timeout=10000)
    card.get_by_role("button", name="Scale").click()
    seen.page.locator("#ask-number").fill("2")
    seen.page.locator("#ask-yes").click()
    expect(card).to_contain_text("2 idle", timeout=10000)


def test_what_others_write_stays_text(seen: Seen, house: House) -> None:
    """What a worker writes is drawn, and so is the name of a command; neither makes an element."""
    with pytest.raises(WorkerLost):
        house.client.execute("hostile", "die_saying", {"text": HOSTILE})
    (death,) = [row for row in house.client.deaths() if row["pool"] == "hostile"]
    seen.page.goto(f"http://{house.http}/#/workers/{death['worker']}")
    expect(seen.page.locator("#worker pre")).to_contain_text(HOSTILE)
    assert seen.page.locator("main img").count() == 0
    assert seen.page.title() == "maitred"


def test_the_page_of_a_worker_moves(seen: Seen, house: House) -> None:
    worker = next(row["id"] for row in house.client.workers() if row["pool"] == "small")
    seen.page.goto(f"http://{house.http}/#/workers/{worker}")
    up = seen.page.locator("#worker dt", has_text="up").locator("xpath=following-sibling::dd")
    before = up.inner_text()
    expect(up).not_to_have_text(before, timeout=5000)
    future = house.client.submit("small", "nap", {"seconds": 20})
    expect(seen.page.locator("#worker")).to_contain_text("nap ", timeout=5000)
    future.cancel()


def test_without_a_token_it_shows_and_does_nothing(browser: Browser, house: House) -> None:
    seen = Seen(browser, house)
    expect(seen.card("general")).to_be_visible()
    assert seen.page.get_by_role("button", name="Pause").count() == 0
    seen.page.get_by_role("button", name="Token").click()
    seen.page.locator("#token-value").fill(house.secret)
    seen.page.get_by_role("button", name="Use it").click()
    expect(seen.page.get_by_role("button", name="Operator")).to_be_visible()
    expect(seen.card("general").get_by_role("button", name="Pause")).to_be_visible()
    assert house.secret not in seen.page.url
    assert seen.errors == []
    seen.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_a_wide_screen_in_light_and_dark(browser: Browser, house: House, scheme: str) -> None:
    seen = Seen(browser, house, house.secret, color_scheme=scheme)
    for width in (360, 768, 1600):
        seen.page.set_viewport_size({"width": width, "height": 900})
        expect(seen.card("small")).to_be_visible()
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    dark = seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 23, 26)"
    assert dark == (scheme == "dark")
    seen.page.get_by_role("button", name="Theme").click()
    seen.page.get_by_role("button", name="Theme").click()
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 23, 26)"
    assert seen.errors == []
    seen.context.close()


def test_a_broker_that_is_gone_is_seen_at_once(browser: Browser) -> None:
    with running(APP, broker={"http": "127.0.0.1:0"}) as house:
        seen = Seen(browser, house)
        house.broker.kill()
        expect(seen.page.locator("#link")).to_have_text("no connection, trying again", timeout=5000)
        assert "stale" in (seen.page.locator("body").get_attribute("class") or "")
        seen.context.close()
