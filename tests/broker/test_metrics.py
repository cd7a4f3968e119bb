"""What `/metrics` says of a core that a script has led somewhere."""

from __future__ import annotations

import math
import time
from collections import Counter

import pytest
from broker_peers import POOL, Bench, PoolSettings, id128
from hypothesis import given
from hypothesis import strategies as st
from metrics_page import OPEN_METRICS, Page, read
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from maitred.broker.core.effects import Side
from maitred.broker.core.meters import Histogram
from maitred.broker.metrics import FAMILIES, Metrics, Outside, build
from maitred.protocol import frames, messages

LABELS = {"pool", "code", "reason", "cause", "state", "level", "event", "means", "version", "python", "trio", "zmq"}
UNITS = {"seconds", "bytes", "ratio"}


def scripted() -> Bench:
    """One of everything: an answer, an error, an end in the queue, a refusal, a death, a session, a worker with a GPU."""
    bench = Bench(pools=[PoolSettings(POOL, max_queue=3), PoolSettings("neural", memory_limit_bytes=10_000)])
    client, agent = bench.client(), bench.agent(least=1, most=4, size=2)
    worker = bench.worker(prefetch=0)
    bench.tell(agent, messages.Spawned(id128(100), 1))
    bench.tell(agent, messages.Spawned(id128(101), 2))
    for n in range(5):
        bench.tell(client, messages.Request(n, POOL, "echo"), b"\x80")
    bench.advance(0.2)
    bench.tell(worker, messages.WorkerReply(id128(7), 0, 1), b"\xc0")
    bench.tell(worker, messages.WorkerError(id128(7), 1, 1, "application_error", "no"), b"\x80")
    bench.tell(agent, messages.Died(id128(100), messages.Certificate("oom"), [(id128(7), 2)]))
    other = bench.worker(110, 2, pool="neural")
    neural = bench.agent(600, pool="neural")
    bench.tell(neural, messages.Spawned(id128(110), 3))
    seen = messages.WorkerState(id128(110), rss=5_000, gpu="GPU-1", gpu_bytes=700, gpu_use=0.4)
    bench.tell(neural, messages.Report([seen]))
    bench.tell(client, messages.Open(20, id128(40), "neural"), b"\x80")
    bench.tell(other, messages.Heartbeat())
    bench.raw(other, [b"nonsense"])
    bench.core.observe(descriptors=20, descriptors_limit=1024, connections=4, memory=30_000, memory_limit=100_000)
    return bench


def page(bench: Bench, accept: str = "") -> Page:
    events = Counter(note.event for note in bench.notes)
    lag = Histogram()
    lag.observe(0.003)
    return read(bench.core, bench.now, accept, events=events, lag=lag, rescues=lambda: 0, refused={}, build=build())


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_every_family_is_there_and_parses(accept: str) -> None:
    found = page(scripted(), accept)
    for family in FAMILIES:
        name = family.name.removesuffix("_info") if accept and family.kind == "info" else family.name
        name = name.removesuffix("_total")
        at = found.families[name] if name in found.families else found.families[family.name]
        assert at.samples, f"{family.name} has no sample in a scenario that should give it one"
        kind = "gauge" if family.kind == "info" and not accept else family.kind
        assert at.type == kind
        assert at.documentation
        for sample in at.samples:
            assert set(sample.labels) - {"le"} == set(family.labels)
        if accept:
            assert at.unit == family.unit


def test_the_page_is_what_the_library_would_write() -> None:
    bench = scripted()
    counts = Counter(note.event for note in bench.notes)
    odd = {'a "quoted" \\ word\n': 1234567890, "": 10**15}
    outside = Outside(events=counts | odd, lag=bench.core.state.pools[POOL].meters.durations, build=build())
    metrics = Metrics(bench.core, lambda: bench.now, outside)
    for accept, write in (("", generate_latest), (OPEN_METRICS, openmetrics.generate_latest)):
        ours, theirs = (text.decode().splitlines() for text in (metrics.render(accept)[0], write(metrics)))
        assert [one for one in ours if "cpu_seconds" not in one] == [one for one in theirs if "cpu_seconds" not in one]


def test_names_are_as_the_conventions_have_them() -> None:
    for family in FAMILIES:
        assert family.name.startswith("maitred_")
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.name.endswith("_info") == (family.kind == "info")
        assert set(family.labels) <= LABELS
        assert family.unit in UNITS | {""}
        assert family.unit in family.name.removesuffix("_total").rsplit("_", 1)[-1]
        assert family.text.endswith(".")
        assert family.text.count("`") % 2 == 0
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_the_numbers_are_those_of_the_tables() -> None:
    bench = scripted()
    found = page(bench)
    for row in bench.core.table("pools", bench.now):
        pool = row["name"]
        assert found("maitred_requests_total", pool=pool, code="ok") == row["completed"]
        assert found.sum("maitred_requests_shed_total", pool=pool) == row["refused"]
        assert found("maitred_queue_requests", pool=pool) == row["queued"]
        assert found("maitred_queue_limit_requests", pool=pool) == row["max_queue"]
        assert found("maitred_queue_bytes", pool=pool) == row["bytes"]
        assert found("maitred_queue_limit_bytes", pool=pool) == row["max_bytes"]
        assert found("maitred_pool_level", pool=pool, level=row["level"]) == 1
        assert found.sum("maitred_pool_level", pool=pool) == 1
        assert found("maitred_pool_ready", pool=pool) == row["ready"]
        assert found("maitred_workers", pool=pool, state="idle") == row["available"]
        assert found("maitred_workers", pool=pool, state="busy") == row["busy"]
        assert found("maitred_workers", pool=pool, state="starting") == row["starting"]
        assert found.sum("maitred_workers", pool=pool) == row["total"] + row["starting"] + row["spares"]
        assert found("maitred_workers_wanted", pool=pool) == row["size"]
        assert found("maitred_sessions", pool=pool) == row["sessions"]
        assert found.sum("maitred_worker_restarts_total", pool=pool) == row["restarts"]
        assert 0 <= found("maitred_pool_utilisation_ratio", pool=pool) <= 1
    rows = bench.core.table("workers", bench.now)
    assert found.sum("maitred_worker_memory_bytes") == sum(row["rss"] or 0 for row in rows)


def test_what_the_script_did_is_counted() -> None:
    found = page(scripted())
    assert found("maitred_requests_total", pool=POOL, code="ok") == 1
    assert found("maitred_requests_total", pool=POOL, code="application_error") == 1
    assert found("maitred_requests_total", pool=POOL, code="worker_lost") == 1
    assert found("maitred_requests_shed_total", pool=POOL, reason="queue_full") == 2
    assert found("maitred_request_duration_seconds_count", pool=POOL) == 3
    assert found("maitred_requests_accepted_total") == 3
    assert found("maitred_requests_unanswered") == 0
    assert found("maitred_worker_deaths_total", pool=POOL, cause="oom") == 1
    assert found("maitred_worker_deaths_total", pool=POOL, cause="exit") == 0
    assert found("maitred_worker_detection_seconds_count", means="agent") == 1
    assert found("maitred_session_events_total", pool="neural", event="opened") == 1
    assert found("maitred_worker_slots", pool="neural") == 2
    assert found("maitred_gpu_memory_bytes") == 700  # of one pool only: the other has no GPU
    assert found("maitred_gpu_utilisation_ratio") == 0.4
    assert found("maitred_worker_memory_most_bytes", pool="neural") == 5_000
    assert found("maitred_worker_memory_limit_bytes") == 10_000  # likewise
    assert found("maitred_protocol_errors_total", reason="unreadable") == 1
    assert found("maitred_events_total", event="worker.died") == 1
    assert found("maitred_memory_bytes") / found("maitred_memory_limit_bytes") == 0.3
    assert found("maitred_loop_lag_seconds_count") == 1
    assert found("maitred_fd_rescues_total") == 0
    assert found("maitred_build_info", version=build()["version"]) == 1


def test_a_request_for_a_pool_that_there_is_not_has_no_pool() -> None:
    bench = Bench()
    for n, name in enumerate(("nowhere", "elsewhere")):
        bench.tell(bench.client(n + 1), messages.Request(1, name, "echo"), b"\x80")
    assert page(bench)("maitred_requests_total", pool="", code="unknown_pool") == 2


def test_retry_after_of_a_full_pool_is_what_the_refused_are_told() -> None:
    bench = Bench(pools=[PoolSettings(POOL, max_queue=2)])
    client, worker = bench.client(), bench.worker(prefetch=0)
    for n in range(4):
        bench.tell(client, messages.Request(n, POOL, "echo"), b"\x80")
        if n == 0:
            bench.advance(0.5)
            bench.tell(worker, messages.WorkerReply(id128(7), 0, 1), b"\xc0")
    found = page(bench)
    assert found("maitred_pool_level", pool=POOL, level="full") == 1
    assert found("maitred_pool_retry_after_seconds", pool=POOL) == bench.row("pools")["retry_after"] > 0


@given(st.lists(st.tuples(st.floats(0.0, 20.0), st.sampled_from(["ok", "error", "death"])), max_size=12))
def test_histograms_are_sound_after_whatever_happened(requests: list[tuple[float, str]]) -> None:
    bench = Bench()
    client, times = bench.client(), []
    for n, (seconds, end) in enumerate(requests):
        worker = bench.worker(100 + 2 * n)
        bench.tell(client, messages.Request(n, POOL, "echo"), b"\x80")
        since = bench.now
        bench.now += seconds
        if end == "ok":
            bench.tell(worker, messages.WorkerReply(id128(7), n, 1), b"\xc0")
        elif end == "error":
            bench.tell(worker, messages.WorkerError(id128(7), n, 1, "application_error", "no"), b"\x80")
        else:
            bench.perform(bench.core.undeliverable(worker, messages.Heartbeat(), bench.now))
        times.append(bench.now - since)
        bench.tell(worker, messages.Bye())
    found = page(bench)
    buckets = found.buckets("maitred_request_duration_seconds", pool=POOL)
    assert buckets == sorted(buckets)
    assert buckets[-1] == (math.inf, len(times))
    assert [count for _, count in buckets] == [sum(taken <= bound for taken in times) for bound, _ in buckets]
    assert found("maitred_request_duration_seconds_count", pool=POOL) == len(times)
    assert found("maitred_request_duration_seconds_sum", pool=POOL) == pytest.approx(sum(times))
    assert found.sum("maitred_requests_total") == len(times)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4"),
        ("text/html, */*;q=0.1", "text/plain; version=0.0.4"),
        (OPEN_METRICS, "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text; version=nonsense", "application/openmetrics-text; version=1.0.0"),
        ("text/plain; version=", "text/plain; version=0.0.4"),
        ("text/html," * 1000 + "application/openmetrics-text", "text/plain; version=0.0.4"),
    ],
)
def test_a_header_is_answered_in_a_format_that_it_names(accept: str, content_type: str) -> None:
    text, found = Metrics(Bench().core, lambda: 1000.0).render(accept)
    assert found.startswith(content_type)
    assert b"maitred_uptime_seconds" in text
    assert text.endswith(b"# EOF\n") == found.startswith("application/openmetrics-text")


@given(st.text(st.characters(codec="latin-1"), max_size=80))
def test_no_header_breaks_a_scrape(words: str) -> None:
    metrics = Metrics(Bench().core, lambda: 1000.0)
    for accept in (words, f"application/openmetrics-text;{words}", f"text/plain; version={words}; escaping={words}"):
        _, content_type = metrics.render(accept)
        assert content_type.isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_a_scrape_of_many_workers_takes_a_moment(accept: str) -> None:
    bench = Bench(pools=[PoolSettings(f"pool{n}") for n in range(20)])
    for n in range(1_000):
        worker = messages.Register(id128(1000 + n), id128(1), f"pool{n % 20}", 1, [messages.CommandInfo("echo")])
        bench.core.receive(bench.peer(Side.WORKERS), frames.encode(worker), bench.now)
    metrics = Metrics(bench.core, lambda: bench.now, Outside())
    took = []
    for _ in range(20):
        began = time.perf_counter()
        text, _ = metrics.render(accept)
        took.append(time.perf_counter() - began)
    assert Page(text.decode(), open_metrics=bool(accept)).sum("maitred_workers") == 1_000
    print(f"{len(text)} bytes in {1000 * min(took):.1f} ms")
    assert min(took) < 0.020
