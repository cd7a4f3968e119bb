"""What every subject offers: an echo behind whatever it is, started and stopped by the harness.

The task is the same for all: give the payload back, after sleeping `task_s` where that is not 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.streams import StreamFlow, StreamLoad

__all__ = ["Caller", "Payload", "Running", "Setup", "StartError", "Streaming", "Subject", "Transport", "has_streams"]

Transport: TypeAlias = Literal["tcp", "ipc"]

Payload: TypeAlias = Any
"""`bytes`; subjects that say so in `carries_arrays` take numpy arrays too, and give one back."""


class StartError(Exception):
    """A subject did not start; the text says why."""


class Setup(Struct, frozen=True):
    """How a subject is started.

    Attributes:
        transport: between caller and what is in the middle. Subjects with one way only say so in `transports`.
        workers: processes that do the task.
    """

    transport: Transport = "tcp"
    workers: int = 1


class Caller(Protocol):
    """One connection of one caller. Used by the thread that made it."""

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        """One request: wait for its answer and return it. Raises what the subject raises."""
        ...

    def drive(self, load: Load) -> Flow:
        """Put a load on the subject, in the way that its users would, and return what was measured."""
        ...

    def close(self) -> None:
        """End the connection. Repeatable."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """An ability that a caller may have besides: answers in parts."""

    def drive_streams(self, load: StreamLoad) -> StreamFlow:
        """Ask for streams and read them, in the way that the subject's users would."""
        ...


class Running(Protocol):
    """A subject that runs and is ready: the first request needs no further start."""

    def caller(self) -> Caller:
        """A new connection; whoever asks closes it."""
        ...

    @property
    def processes(self) -> Mapping[str, int]:
        """Process ids of what was started, by role ("broker", "worker 1", …), as far as they are known."""
        ...


class Subject(Protocol):
    """Something to measure.

    Attributes:
        name: short, as typed after `--peers`.
        description: what stands between caller and worker, in half a sentence, with settings that matter.
        transports: what it can be started with.
        carries_arrays: whether a payload may be a numpy array.
    """

    @property
    def name(self) -> str:
        """See above."""
        ...

    @property
    def description(self) -> str:
        """See above."""
        ...

    @property
    def transports(self) -> tuple[Transport, ...]:
        """See above."""
        ...

    @property
    def carries_arrays(self) -> bool:
        """See above."""
        ...

    def skip_reason(self) -> str | None:
        """Why it cannot be measured here, with what would have to be installed; None where it can. Quick."""
        ...

    def versions(self) -> dict[str, str]:
        """Of its parts, by name. Asked only where there is no reason to skip it."""
        ...

    def start(self, setup: Setup) -> AbstractContextManager[Running]:
        """Start it, ready when entered, ended with all its processes when left.

        Raises:
            StartError: it did not start; the text says why, and the scenario records it as skipped.
        """
        ...


def has_streams(subject: Subject) -> bool:
    """Whether its callers are `Streaming`: said by an attribute of this name, before anything is started."""
    return bool(getattr(subject, "has_streams", False))
