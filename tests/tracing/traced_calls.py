"""An application with OpenTelemetry: makes each call below a span of its own, and prints the spans' traces as JSON."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any

import anyio
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from maitred.client import AsyncClient, Client
from maitred.client.errors import MaitredError

NOBODY = "tcp://127.0.0.1:1"


def main(endpoint: str) -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("application")
    traces: dict[str, str] = {}
    with Client(endpoint) as client, Client(NOBODY, connect_timeout=0.1) as nobody:
        for name, call in calls(client, nobody, endpoint).items():
            with tracer.start_as_current_span(name) as span:
                traces[name] = f"{span.get_span_context().trace_id:032x}"
                with contextlib.suppress(MaitredError, concurrent.futures.CancelledError):
                    call()
    provider.shutdown()
    print(json.dumps(traces))


def calls(client: Client, nobody: Client, endpoint: str) -> dict[str, Callable[[], Any]]:
    return {
        "nested": lambda: client.execute("outer", "relay", {"text": "a"}),
        "async": lambda: anyio.run(asynchronously, endpoint),
        "retried": lambda: client.execute("outer", "die_once"),
        "refused": lambda: client.execute("outr", "relay"),
        "failed": lambda: client.execute("outer", "fail"),
        "late": lambda: client.execute("outer", "nap", {"seconds": 30.0}, timeout=0.1),
        "cancelled": lambda: cancelled(client),
        "stream": lambda: list(client.stream("outer", "count", {"n": 3})),
        "map": lambda: list(client.map("batches", "double", [{"n": n} for n in range(4)])),
        "nobody": lambda: nobody.execute("outer", "relay"),
        "nobody_submit": lambda: nobody.submit("outer", "relay").result(),
        "nobody_async": lambda: anyio.run(asynchronously, NOBODY),
    }


def cancelled(client: Client) -> None:
    future = client.submit("outer", "nap", {"seconds": 30.0})
    while not any(row["state"] == "busy" for row in client.workers() if row["pool"] == "outer"):
        pass
    future.cancel()
    future.wait_cancelled()


async def asynchronously(endpoint: str) -> Any:
    async with AsyncClient(endpoint, connect_timeout=0.1 if endpoint == NOBODY else 5.0) as client:
        return await client.execute("inner", "arelay", {"text": "a"})


if __name__ == "__main__":
    main(sys.argv[1])
