"""What the core tells of traced requests (`core.journey`), as spans: one of the request, and below it one of each attempt.

    caller's CLIENT span → the request's SERVER span → an attempt's CLIENT span → the worker's SERVER span

as a proxy's are. They are made when the request has ended, and exported by a thread (`tracing.exporting`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Status, StatusCode

from maitred.broker.core.journey import Journey
from maitred.tracing.exporting import end, resource
from maitred.tracing.spans import attributes_of, here

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

__all__ = ["Tracing"]

SERVICE = "maitred-broker"


class Tracing:
    """Makes the spans and has them exported.

    Args:
        version: the broker's.
        ahead_s: by how much `time.monotonic` is ahead of the core's clock.
        processor: where they go.
    """

    def __init__(self, version: str, ahead_s: float, processor: SpanProcessor) -> None:
        self._ahead_s = ahead_s
        self._names = _Names()
        self._processor = processor
        # Who is recorded was decided by the caller; of others there are no journeys.
        provider = TracerProvider(ALWAYS_ON, resource(SERVICE), shutdown_on_exit=False, id_generator=self._names)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("maitred.broker", version)

    def export(self, journey: Journey) -> None:
        """Have its spans exported. Does not wait; where the queue is full they are lost."""
        beginning_ns = time.time_ns() - round((time.monotonic() - self._ahead_s) * 1e9)

        def at(moment: float) -> int:
            return beginning_ns + round(moment * 1e9)

        attributes = attributes_of(journey.pool, journey.command)
        name = str(attributes["rpc.method"])
        self._names.next = int(journey.span_id, 16)
        span = self._tracer.start_span(
            name, here(str(journey.parent)), SpanKind.SERVER, attributes, start_time=at(journey.began)
        )
        for event in journey.events:
            span.add_event(event.name, {f"maitred.{key}": value for key, value in event.fields.items()}, at(event.at))
        span.set_attributes(_failed(journey.code))
        span.set_status(_status(journey.code))
        span.end(at(journey.ended))
        below = here(str(journey.parent._replace(span_id=journey.span_id)))
        for attempt in journey.attempts:
            self._names.next = int(attempt.span_id, 16)
            said = attributes | {"maitred.attempt": attempt.number, "maitred.worker.id": attempt.worker}
            span = self._tracer.start_span(name, below, SpanKind.CLIENT, said, start_time=at(attempt.began))
            span.set_attributes(_failed(attempt.code))
            span.set_status(_status(attempt.code))
            span.end(at(attempt.ended))

    def close(self) -> None:
        """Let the last ones leave; at most `LAST_SPANS_S`."""
        end(self._processor)


class _Names(IdGenerator):
    """Gives spans the names that the core has told workers."""

    next = 0

    def generate_span_id(self) -> int:
        return self.next

    def generate_trace_id(self) -> int:  # each has its caller's
        raise AssertionError("a span without a parent")


def _failed(code: str) -> dict[str, Any]:
    return {"rpc.response.status_code": code, "error.type": code} if code else {}


def _status(code: str) -> Status:
    return Status(StatusCode.ERROR, code) if code else Status(StatusCode.UNSET)
