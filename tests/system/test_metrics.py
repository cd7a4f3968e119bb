"""`/metrics` of a running broker, while it works and when it is at rest."""

from __future__ import annotations

import http.client
import threading
import time
from pathlib import Path

import pytest
from metrics_page import OPEN_METRICS, Page

from maitred.client.errors import RemoteError, UnknownCommand, WorkerLost
from maitred.testing import House, Pool, running

pytestmark = pytest.mark.slow

APP = f"{Path(__file__).parent / 'app.py'}:service"
HTTP = {"http": "127.0.0.1:0"}

CALLERS, CALLS = 4, 60


def get(
    house: House, path: str = "/metrics", accept: str = "", method: str = "GET", token: str = ""
) -> tuple[int, http.client.HTTPMessage, str]:
    connection = http.client.HTTPConnection(house.http, timeout=10)
    headers = {"Accept": accept} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def scrape(house: House, accept: str = "") -> Page:
    status, _, text = get(house, accept=accept)
    assert status == 200
    return Page(text, open_metrics=bool(accept))


def test_counts_add_up_while_calls_run_and_are_exact_at_rest() -> None:
    with running(Pool(APP, size=2), broker=HTTP) as house:
        done = threading.Event()

        def call() -> None:
            for n in range(CALLS):
                house.client.execute("general", "echo", {"message": str(n)})

        callers = [threading.Thread(target=call) for _ in range(CALLERS)]
        watcher_found: list[Page] = []

        def watch() -> None:
            while not done.is_set():
                watcher_found.append(scrape(house))

        watcher = threading.Thread(target=watch)
        for thread in (watcher, *callers):
            thread.start()
        for thread in callers:
            thread.join()
        with pytest.raises(RemoteError):
            house.client.execute("general", "fail", {"text": "no"})
        with pytest.raises(UnknownCommand):
            house.client.execute("general", "ecco", {})
        done.set()
        watcher.join()
        at_rest = scrape(house)
    for page in watcher_found:
        accepted = page("maitred_requests_accepted_total")
        unanswered = page("maitred_requests_unanswered")
        assert page("maitred_request_duration_seconds_count", pool="general") == accepted - unanswered
        assert 0 <= page("maitred_pool_utilisation_ratio", pool="general") <= 1
        assert page("maitred_worker_slots_taken", pool="general") <= page("maitred_worker_slots", pool="general") == 2
        assert unanswered == page("maitred_queue_requests") + page("maitred_held_requests")
    counts = [page("maitred_requests_accepted_total") for page in watcher_found]
    assert counts == sorted(counts)
    assert at_rest("maitred_requests_total", code="ok") == CALLERS * CALLS
    assert at_rest("maitred_requests_total", code="application_error") == 1
    assert at_rest("maitred_requests_total", code="unknown_command") == 1
    assert at_rest.sum("maitred_requests_total") == CALLERS * CALLS + 2
    assert at_rest("maitred_requests_accepted_total") == CALLERS * CALLS + 1
    assert at_rest("maitred_queue_wait_seconds_count") == CALLERS * CALLS + 1
    assert at_rest("maitred_requests_unanswered") == 0


def test_the_process_and_a_death_are_told() -> None:
    with running(APP, broker=HTTP) as house:
        (worker,) = house.client.workers()
        with pytest.raises(WorkerLost):
            house.client.execute("general", "kill_itself", {})
        house.wait_ready()
        deadline = time.monotonic() + 10
        while (found := scrape(house, OPEN_METRICS))("maitred_loop_lag_seconds_count") == 0:
            assert time.monotonic() < deadline
        assert worker["pid"] != house.client.workers()[0]["pid"]
    assert found.sum("maitred_worker_restarts_total", pool="general") == 1
    assert found("maitred_worker_detection_seconds_count", means="agent") == 1
    assert found("maitred_worker_detection_seconds_sum", means="agent") < 5
    assert found("maitred_requests_total", code="worker_lost") == 1
    assert 0 < found("maitred_memory_bytes") < found("maitred_memory_limit_bytes")
    assert 0 < found("maitred_descriptors") < found("maitred_descriptors_limit")
    assert found("maitred_connections") >= 2  # the client and the agent; the worker may just be new
    assert found("maitred_clients") == 1
    assert found("maitred_loop_lag_seconds_sum") < 10
    assert found("maitred_events_total", event="worker.died") == 1
    assert found("maitred_cpu_seconds_total") > 0


def test_the_path_is_exact_and_asks_for_the_token(tmp_path: Path) -> None:
    token = "0123456789abcdef0123"
    path = tmp_path / "token"
    path.write_text(token)
    path.chmod(0o600)
    with running(APP, broker={**HTTP, "http_token_file": str(path)}) as house:
        status, headers, _ = get(house)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        status, headers, text = get(house, token=token)
        assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert len(text.encode()) == int(headers["Content-Length"])
        status, headers, text = get(house, accept=OPEN_METRICS, token=token)
        assert headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert text.endswith("# EOF\n")
        for other in ("/metrics/", "/metrics/x", "//metrics", "/Metrics", "/readyz/"):
            assert get(house, other, token=token)[0] == 404
        assert get(house, "/metrics?name=x", token=token)[0] == 200
        assert get(house, method="POST", token=token)[0] == 405
        assert get(house, method="HEAD", token=token)[2] == ""
