"""A way out for the spans of processes that are maitred's own, as OpenTelemetry's environment variables describe it.

A process of an application sets OpenTelemetry up for itself; a broker has nobody who would, and neither has a worker whose
service does not. With `MAITRED_TRACING=on` they do so: by OTLP over HTTP, in batches, from a thread. Its queue is bounded
(OTEL_BSP_MAX_QUEUE_SIZE, 2048 spans): where the collector is slow or gone, spans are lost, and nothing waits for them.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from maitred.tracing.spans import MODE_VARIABLE

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["NEEDED", "NotInstalled", "end", "is_wanted", "make_processor", "resource", "set_up"]

NEEDED = "opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http"

LAST_SPANS_S = 1.0
"""How long a process that ends waits for its last spans to leave."""


class NotInstalled(Exception):
    """It was asked for, and what it needs is not installed; the text says what to do."""


def is_wanted() -> bool:
    """Whether this process is to export spans."""
    return os.environ.get(MODE_VARIABLE, "").lower() == "on"


def make_processor() -> SpanProcessor:
    """Where spans go: "otlp" (the default) or "console" (standard error), by OTEL_TRACES_EXPORTER.

    Raises:
        NotInstalled: what it needs is not there, or the exporter is none of these.
    """
    try:
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        return BatchSpanProcessor(_exporter(os.environ.get("OTEL_TRACES_EXPORTER", "") or "otlp"))
    except ImportError as error:
        text = f'{MODE_VARIABLE}=on needs {NEEDED}: pip install "maitred[otel]" ({error})'
        raise NotInstalled(text) from None


def set_up(service: str) -> TracerProvider | None:
    """Have all spans of this process exported; None where somebody has set OpenTelemetry up already.

    Args:
        service: its `service.name`, where OTEL_SERVICE_NAME does not say another.

    Raises:
        NotInstalled: as `make_processor`.
    """
    processor = make_processor()
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    if isinstance(trace.get_tracer_provider(), TracerProvider):
        processor.shutdown()
        return None
    provider = TracerProvider(resource=resource(service), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    return provider


def resource(service: str) -> Resource:
    """What is said of the process with each span."""
    from opentelemetry.sdk.resources import Resource

    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
    return Resource.create(named)


def end(exported: SpanProcessor | TracerProvider) -> None:
    """Let the last spans leave, for LAST_SPANS_S at most: a collector that is gone must not hold up the end."""
    ending = threading.Thread(target=exported.shutdown, daemon=True)
    ending.start()
    ending.join(LAST_SPANS_S)


def _exporter(name: str) -> SpanExporter:
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    if name == "console":
        return ConsoleSpanExporter(out=sys.stderr)
    if name == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    raise NotInstalled(f'OTEL_TRACES_EXPORTER is {name!r}; accepted: "otlp" or "console"')
