"""One trace across the processes of a call: the caller's, the broker, workers; each exports to a real collector."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from collector import Collector, Span

from maitred.testing import House, Pool, running

HERE = Path(__file__).parent
APP = f"{HERE / 'traced_app.py'}"

pytestmark = pytest.mark.slow


class Scene(NamedTuple):
    """What was exported, and the trace of each of the application's calls by its name."""

    collector: Collector
    traces: dict[str, str]
    house: House

    def spans(self, name: str, count: int) -> list[Span]:
        """The `count` spans of a call, without the application's own."""
        trace = self.traces[name]
        found = self.collector.wait_for(lambda spans: len(spans) >= count + 1, trace)
        assert len(found) == count + 1, found
        root = next(span for span in found if not span.parent)
        assert root.name == name
        return [span for span in found if span is not root]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    collector = Collector()
    environment = {
        "MAITRED_TRACING": "on",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    pools = {
        "outer": Pool(f"{APP}:outer", size=2),
        "inner": Pool(f"{APP}:inner", concurrency=4),
        "batches": Pool(f"{APP}:batches"),
    }
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            house = stack.enter_context(running(**pools))
            command = [sys.executable, str(HERE / "traced_calls.py"), house.clients]
            patch.setenv("OTEL_SERVICE_NAME", "application")
            called = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
        assert called.returncode == 0, called.stderr
        yield Scene(collector, json.loads(called.stdout), house)
    collector.close()


def chain(spans: list[Span]) -> list[tuple[str, str, str]]:
    """Service, kind and name of each, from the caller's on: each is the child of the one before."""
    by_parent = {span.parent: span for span in spans}
    assert len(by_parent) == len(spans), spans
    (first,) = [span for span in spans if span.parent not in {other.id for other in spans}]
    found = [first]
    while found[-1].id in by_parent:
        found.append(by_parent[found[-1].id])
    assert len(found) == len(spans)
    return [(span.service, span.kind, span.name) for span in found]


def hop(caller: str, pool: str, command: str) -> list[tuple[str, str, str]]:
    name = f"{pool}/{command}"
    return [
        (caller, "client", name),
        ("maitred-broker", "server", name),
        ("maitred-broker", "client", name),
        (f"maitred-worker-{pool}", "server", name),
    ]


def test_a_call_and_the_call_that_its_function_makes_are_one_trace(scene: Scene) -> None:
    spans = scene.spans("nested", 8)
    assert chain(spans) == hop("application", "outer", "relay") + hop("maitred-worker-outer", "inner", "shout")
    assert all(span.error is None for span in spans)
    for outer, inner in pairwise(spans):  # one machine, one clock
        assert outer.began <= inner.began
        assert inner.ended <= outer.ended or outer.parent == inner.parent
    worker = spans[3]
    assert worker.said["rpc.system.name"] == "maitred"
    assert worker.said["maitred.attempt"] == 1
    assert 0 <= worker.said["maitred.waited"] < 10
    events = dict(spans[1].events)
    assert events["dispatched"]["maitred.worker"] == worker.said["maitred.worker.id"]


def test_async_functions_and_clients_take_part(scene: Scene) -> None:
    spans = scene.spans("async", 8)
    assert chain(spans) == hop("application", "inner", "arelay") + hop("maitred-worker-inner", "inner", "shout")


def test_a_request_that_is_run_again_has_two_attempts(scene: Scene) -> None:
    spans = scene.spans("retried", 5)  # the killed worker's own span died with it
    request = next(span for span in spans if (span.service, span.kind) == ("maitred-broker", "server"))
    attempts = [span for span in spans if span.parent == request.id]
    assert [(span.said["maitred.attempt"], span.said.get("error.type")) for span in attempts] == [
        (1, "worker_lost"),
        (2, None),
    ]
    assert attempts[0].ended <= attempts[1].began
    assert [name for name, _ in request.events] == ["dispatched", "requeued", "dispatched"]
    assert request.error is None
    assert spans[-1].parent == attempts[1].id


@pytest.mark.parametrize(
    ("name", "code", "spans"),
    [("refused", "unknown_pool", 2), ("failed", "application_error", 4), ("late", "deadline_exceeded", 4)],
)
def test_an_error_is_told_in_each_span_that_it_passed(scene: Scene, name: str, code: str, spans: int) -> None:
    for span in scene.spans(name, spans):
        assert span.said["error.type"] == code
        assert span.error


def test_an_exception_is_told_with_its_traceback(scene: Scene) -> None:
    (event,) = scene.spans("failed", 4)[-1].events
    assert event[0] == "exception"
    assert event[1]["exception.type"] == "ValueError"
    assert "no such row" in event[1]["exception.stacktrace"]


def test_a_cancelled_call(scene: Scene) -> None:
    spans = scene.spans("cancelled", 4)
    assert [span.said["error.type"] for span in spans] == ["cancelled"] * 4


def test_a_stream_is_one_span_in_each_process(scene: Scene) -> None:
    assert chain(scene.spans("stream", 4)) == hop("application", "outer", "count")


def test_each_request_of_a_batch_has_its_own_spans(scene: Scene) -> None:
    spans = scene.spans("map", 16)
    served = [span for span in spans if span.service == "maitred-worker-batches"]
    assert len(served) == 4
    together = [span for span in served if "maitred.batch.size" in span.said]
    assert together
    assert {span.said["maitred.batch.size"] for span in together} == {len(together)}
    assert sum(len(span.links) for span in together) == len(together) - 1  # the one that is current names the others
    assert len({span.parent for span in served}) == 4


@pytest.mark.parametrize("name", ["nobody", "nobody_submit", "nobody_async"])
def test_a_call_that_finds_no_broker_is_seen(scene: Scene, name: str) -> None:
    (span,) = scene.spans(name, 1)
    assert (span.kind, span.said["error.type"]) == ("client", "unavailable")


# --- without OpenTelemetry in the caller ---

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_position_that_is_passed_by_hand_is_that_of_the_call(scene: Scene) -> None:
    traceparent, tracestate, nested = scene.house.client.execute(
        "outer", "stand", traceparent=f"{PARENT} vendor=1", timeout=10
    )
    assert (traceparent[:36], tracestate) == (PARENT[:36], "vendor=1")
    spans = scene.collector.wait_for(lambda spans: len(spans) >= 7, PARENT[3:35])
    assert chain(spans) == hop("", "outer", "stand")[1:] + hop("maitred-worker-outer", "inner", "stand")
    assert spans[0].parent == PARENT[36:52]
    assert [traceparent, nested] == [f"{PARENT[:36]}{span.id}-01" for span in (spans[2], spans[6])]


@pytest.mark.parametrize("malformed", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", PARENT[:-1]])
def test_one_that_is_malformed_is_ignored(scene: Scene, malformed: str) -> None:
    assert scene.house.client.execute("inner", "stand", traceparent=malformed) == ["", ""]


def test_one_that_is_not_sampled_makes_no_spans_and_is_passed_on(scene: Scene) -> None:
    quiet = PARENT[:-1] + "0"
    (traceparent, _) = scene.house.client.execute("inner", "stand", traceparent=quiet)
    assert traceparent[:36] == quiet[:36]
    assert traceparent.endswith("-00")


@pytest.fixture(scope="module")
def untraced() -> Iterator[House]:
    with running(outer=Pool(f"{APP}:outer"), inner=Pool(f"{APP}:inner")) as house:
        yield house


def test_without_opentelemetry_anywhere_it_is_passed_on(untraced: House) -> None:
    said = untraced.client.execute("outer", "stand", traceparent=f"{PARENT} vendor=1")
    assert said == [PARENT, "vendor=1", PARENT]


def test_what_is_no_text_is_refused(untraced: House) -> None:
    with pytest.raises(ValueError, match="traceparent is 3; accepted: a str"):
        untraced.client.execute("outer", "stand", traceparent=3)  # pyright: ignore[reportArgumentType]


def test_it_says_what_to_install(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['opentelemetry.sdk'] = None; from maitred.cli.broker_main import main; main()"
    environment = os.environ | {"MAITRED_TRACING": "on", "MAITRED_RUN_DIR": str(tmp_path / "run")}
    command = [sys.executable, "-c", hidden]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    assert ended.returncode != 0
    assert 'pip install "maitred[otel]"' in ended.stderr
    assert "Traceback" not in ended.stderr
