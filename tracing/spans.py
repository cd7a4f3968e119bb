"""Spans of this process: of a call that it makes (CLIENT), and of a request that it serves (SERVER).

Whoever uses OpenTelemetry in a process has imported it: it is looked for among what is imported, and never imported from
here, so that all others pay one look into a dictionary for each call.

Names and attributes are those of the semantic conventions for RPC spans
(https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/): the system is "maitred", the method "POOL/COMMAND".
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from maitred.protocol.trace import Trace, checked, read
from maitred.protocol.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanContext, Tracer, TracerProvider

__all__ = ["MODE_VARIABLE", "CallSpan", "ServedSpan", "attributes_of", "here", "is_recording", "served"]

MODE_VARIABLE = "MAITRED_TRACING"
"""Environment: "on" has brokers and workers export spans, "off" has nobody make any; else who uses OpenTelemetry does."""

SYSTEM = "maitred"

OFF = os.environ.get(MODE_VARIABLE, "").lower() == "off"

_tracers: list[tuple[TracerProvider, Tracer]] = []
"""The last provider, and the tracer that came of it: making one for each call would take longer than the call's span."""


def is_recording() -> bool:
    """Whether the code that calls this runs in a span."""
    if OFF or "opentelemetry.trace" not in sys.modules:
        return False
    from opentelemetry import trace

    return trace.get_current_span().get_span_context().is_valid


def here(trace: str = "") -> Context | None:
    """Where in a trace the caller stands; None where OpenTelemetry is not used in this process.

    Args:
        trace: where it says it stands (`protocol.trace`); "": in its current span, if any.
    """
    if OFF or "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import context
    from opentelemetry import trace as otel

    said = read(trace) if trace else None
    if said is None:
        return context.get_current()
    return otel.set_span_in_context(otel.NonRecordingSpan(_remote(said)), context.get_current())


def attributes_of(pool: str | None, command: str) -> dict[str, Any]:
    """What says what is called."""
    return {"rpc.system.name": SYSTEM, "rpc.method": f"{pool or '*'}/{command}"}


class CallSpan:
    """A request that this process sends: from when it is sent to its answer.

    Args:
        context: where its caller stands (`here`).
        pool, command: what is called.
        endpoint: the broker's; "": it did not get that far.

    Attributes:
        trace: to send with the request; "" where it stands in no trace.
    """

    __slots__ = ("_span", "trace")

    def __init__(self, context: Context, pool: str | None, command: str, endpoint: str = "") -> None:
        from opentelemetry import trace

        attributes = attributes_of(pool, command) | _address(endpoint)
        name = str(attributes["rpc.method"])
        self._span = _tracer().start_span(name, context, kind=trace.SpanKind.CLIENT, attributes=attributes)
        self.trace = _position(self._span)

    def end(self, code: str, text: str = "") -> None:
        """It was answered: with an error of this code, or, for "", with a result."""
        _end(self._span, code, text)


class ServedSpan:
    """A request while this process runs its function.

    Attributes:
        trace: its position, for what the function calls; "" where it stands in no trace.
    """

    __slots__ = ("_span", "trace")

    def __init__(self, span: Span) -> None:
        self._span = span
        self.trace = _position(span)

    def end(self, code: str, text: str = "", details: Mapping[str, Any] | None = None) -> None:
        """It is answered. `details` of an error: those of its class and traceback are noted as an exception."""
        if details and "traceback" in details and self._span.is_recording():
            exception = {
                "exception.type": str(details.get("type", "")),
                "exception.message": text,
                "exception.stacktrace": str(details["traceback"]),
            }
            self._span.add_event("exception", exception)
        _end(self._span, code, text)


@contextlib.contextmanager
def served(
    traces: Sequence[str], pool: str, command: str, attributes: Sequence[Mapping[str, Any]]
) -> Generator[list[ServedSpan]]:
    """Spans of requests that are run as one, each under its own caller's; the first one is the function's current span.

    Whoever enters this ends each. Nothing is given where OpenTelemetry is not used in this process.

    Args:
        traces: the position of each: one or more.
        pool: the worker's.
        command: what runs.
        attributes: more of each.
    """
    if OFF or "opentelemetry.trace" not in sys.modules:
        yield []
        return
    from opentelemetry import trace

    spans: list[Span] = []
    for position, more in zip(traces, attributes, strict=True):
        said = attributes_of(pool, command) | dict(more)
        name, kind = str(said["rpc.method"]), trace.SpanKind.SERVER
        spans.append(_tracer().start_span(name, here(position), kind=kind, attributes=said))
    for other in spans[1:]:  # what runs with it: one call of the function, in several traces
        spans[0].add_link(other.get_span_context())
    with trace.use_span(spans[0], end_on_exit=False, record_exception=False, set_status_on_exception=False):
        yield [ServedSpan(span) for span in spans]


def _tracer() -> Tracer:
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    if not _tracers or _tracers[0][0] is not provider:
        _tracers[:] = [(provider, provider.get_tracer("maitred", VERSION))]
    return _tracers[0][1]


def _position(span: Span) -> str:
    context = span.get_span_context()
    if not context.is_valid:
        return ""
    trace = Trace(f"{context.trace_id:032x}", f"{context.span_id:016x}", context.trace_flags, _state(context))
    return checked(str(trace))


def _state(context: SpanContext) -> str:
    return context.trace_state.to_header() if context.trace_state else ""


def _remote(said: Trace) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags, TraceState

    state = TraceState.from_header([said.state]) if said.state else None
    return SpanContext(int(said.trace_id, 16), int(said.span_id, 16), True, TraceFlags(said.flags), state)


def _end(span: Span, code: str, text: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    if code and span.is_recording():
        span.set_attributes({"rpc.response.status_code": code, "error.type": code})
        span.set_status(Status(StatusCode.ERROR, text or code))
    span.end()


def _address(endpoint: str) -> dict[str, Any]:
    kind, _, where = endpoint.partition("://")
    if kind == "ipc":
        return {"server.address": where, "network.transport": "unix"}
    host, _, port = where.rpartition(":")
    return {"server.address": host, "server.port": int(port), "network.transport": "tcp"} if port.isdigit() else {}
