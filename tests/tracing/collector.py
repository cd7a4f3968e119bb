"""An OpenTelemetry collector: takes spans by OTLP over HTTP, as any does, and keeps them in memory."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

WITHIN_S = 20.0

KINDS = {2: "server", 3: "client"}


class Span(NamedTuple):
    """One span. `error`: the status's text, None where it is not an error; times in nanoseconds."""

    trace: str
    id: str
    parent: str
    service: str
    name: str
    kind: str
    said: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    links: list[str]
    error: str | None
    began: int
    ended: int


class Collector:
    """Listens at `endpoint` until it is closed."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        taken = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    raw = gzip.decompress(raw)
                taken.extend(spans_of(ExportTraceServiceRequest.FromString(raw)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_for(self, condition: Callable[[list[Span]], bool], trace: str) -> list[Span]:
        """The spans of a trace, once they fulfil the condition; in the order in which they began."""
        give_up = time.monotonic() + WITHIN_S
        while True:
            found = sorted((span for span in self.spans if span.trace == trace), key=lambda span: span.began)
            if condition(found):
                return found
            assert time.monotonic() < give_up, f"it did not come to pass; there is: {found}"
            time.sleep(0.02)


def spans_of(request: ExportTraceServiceRequest) -> list[Span]:
    return [
        Span(
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            read(resource.resource.attributes)["service.name"],
            span.name,
            KINDS.get(span.kind, str(span.kind)),
            read(span.attributes),
            [(event.name, read(event.attributes)) for event in span.events],
            [link.trace_id.hex() for link in span.links],
            span.status.message if span.status.code == 2 else None,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def read(attributes: Any) -> dict[str, Any]:
    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, pair.value.WhichOneof("value") or "string_value")

    return {pair.key: value(pair) for pair in attributes}
