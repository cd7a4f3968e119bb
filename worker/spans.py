"""The span of a request that a worker runs; of each, where several are run as one call (`tracing.spans`)."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Sequence
from typing import Any, cast

from maitred.protocol.body import decode_body
from maitred.protocol.errors import Code, MaitredError
from maitred.protocol.frames import Frames, from_worker
from maitred.protocol.messages import WorkerError
from maitred.tracing.spans import ServedSpan, served
from maitred.worker.running import Run

__all__ = ["Spans", "spans_of"]


class Spans:
    """Those of the requests that run just now."""

    def __init__(self, spans: dict[Run, ServedSpan]) -> None:
        self._spans = spans

    def end(self, answered: Iterable[tuple[Run, Frames]]) -> None:
        """They are answered; how, the answers say."""
        for run, answer in answered:
            span = self._spans.pop(run, None)
            if span is not None:
                span.end(*_error_of(answer))

    def give_up(self) -> None:
        """Whatever is left is not answered: this worker ends."""
        for span in self._spans.values():
            span.end(Code.CANCELLED)
        self._spans.clear()


@contextlib.contextmanager
def spans_of(runs: Sequence[Run]) -> Generator[Spans]:
    """While the requests run: the first one's span is the current one, and each knows its own position.

    Whoever enters this ends them. What is not traced has none.
    """
    traced = [(run, run.order.trace) for run in runs if run.order.trace is not None]
    if not traced:
        yield Spans({})
        return
    attributes: list[dict[str, Any]] = []
    for run, position in traced:
        _stand(run, position.trace)
        attributes.append(
            {
                "maitred.request.id": run.context.request_id,
                "maitred.attempt": run.order.attempt,
                "maitred.worker.id": run.context.worker_id,
                "maitred.waited": position.waited,
            }
            | ({"maitred.batch.size": len(runs)} if len(runs) > 1 else {})
        )
    context = traced[0][0].context
    with served([position.trace for _, position in traced], context.pool, context.command, attributes) as spans:
        began = dict(zip([run for run, _ in traced], spans, strict=False))
        for run, span in began.items():
            if span.trace:
                _stand(run, span.trace)
        open_spans = Spans(began)
        try:
            yield open_spans
        finally:
            open_spans.give_up()


def _stand(run: Run, trace: str) -> None:
    run.context.traceparent, _, run.context.tracestate = trace.partition(" ")


def _error_of(answer: Frames) -> tuple[str, str, dict[str, Any]]:
    """Code, text and details of an answer that is an error."""
    message, body = from_worker.decode(answer)
    if not isinstance(message, WorkerError):
        return "", "", {}
    try:
        details = decode_body(body)
    except MaitredError:
        details = None
    return message.code, message.message, cast("dict[str, Any]", details) if isinstance(details, dict) else {}
