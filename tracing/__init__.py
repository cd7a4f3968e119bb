"""Spans by OpenTelemetry, where a process uses it (`pip install "maitred[otel]"`). docs/tracing.md tells which there are.

    spans      the span of a call, and of a request that is served, in whichever process
    exporting  a way out for them, in processes that are maitred's own: the broker, and workers

The position in a trace travels without any of this: see `protocol.trace`.
"""
