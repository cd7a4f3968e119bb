"""The side of a worker process that `servers.House` has started: it is told its settings, reports, ends with its input."""

from __future__ import annotations

import os
import sys
from typing import TypeVar

import msgspec
from msgspec import Struct

from maitred.transport.lifeline import Lifeline

__all__ = ["report", "settings"]

T = TypeVar("T", bound=Struct)


def settings(kind: type[T]) -> T:
    """Read the first line of standard input; from now on this process ends with it."""
    told = msgspec.json.decode(sys.stdin.buffer.readline(), type=kind)
    Lifeline(os.dup(sys.stdin.fileno())).watch()
    return told


def report(told: Struct) -> None:
    """Say on standard output that it is ready, with the settings, of which some may have been filled in."""
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    sys.stdout.buffer.flush()
