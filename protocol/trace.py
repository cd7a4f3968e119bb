"""What is passed on of a W3C Trace Context, and its form on the wire. Nothing here knows OpenTelemetry.

    trace = traceparent [" " tracestate]        as in "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 vendor=1"

What is malformed is ignored, as the recommendation asks for: tracing must not make a request fail. Baggage is not carried.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["MAX_TRACESTATE_CHARS", "TRACEPARENT_CHARS", "Trace", "checked", "read"]

TRACEPARENT_CHARS = 55
"""Of version 00. Of a later version these come first, and mean the same; what follows is not known here and not kept."""

MAX_TRACESTATE_CHARS = 512
"""What the recommendation asks everybody to pass on, at least; a longer one is left out."""

SAMPLED = 1
"""The flag that says that whoever asked records this."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACESTATE = re.compile(r"[\x20-\x7e]*")


class Trace(NamedTuple):
    """One position in a trace.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16, of whoever asks.
        flags: a byte; see SAMPLED.
        state: the tracestate; "": none.
    """

    trace_id: str
    span_id: str
    flags: int
    state: str = ""

    @property
    def sampled(self) -> bool:
        """Whether whoever asked records this."""
        return bool(self.flags & SAMPLED)

    @property
    def traceparent(self) -> str:
        """As the header of that name."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def __str__(self) -> str:
        return f"{self.traceparent} {self.state}" if self.state else self.traceparent


def read(trace: str) -> Trace | None:
    """Read what came; None where it says nothing, or nothing that makes sense."""
    traceparent, _, state = trace.partition(" ")
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (more and version == "00") or not int(trace_id, 16) or not int(span_id, 16):
        return None
    state = state.strip(" ")
    fits = len(state) <= MAX_TRACESTATE_CHARS and _TRACESTATE.fullmatch(state) is not None
    return Trace(trace_id, span_id, int(flags, 16), state if fits else "")


def checked(trace: str) -> str:
    """What may be passed on of it, in its shortest form; "" where nothing may."""
    found = read(trace)
    return "" if found is None else str(found)
