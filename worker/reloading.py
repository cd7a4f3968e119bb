"""Whether an adapter's code has changed since it was loaded.

Looked at: what the fork server has imported, with the times that it found there, and the Python files around the adapter,
which count where it could not be imported, or is imported by each worker for itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from maitred.worker.agent_settings import AgentSettings

__all__ = ["POLL_S", "Sources", "stamps"]

POLL_S = 0.5
"""How often the files are looked at where a change is to replace the workers: a stat of each, a few µs."""

MAX_AROUND = 2000
"""Files of an adapter's package that are looked at; a larger one is known by what was imported."""

GONE = -1
"""Stamp of a file that is not there."""


def stamps(files: Iterable[object]) -> dict[str, int]:
    """When these Python files were last written, in nanoseconds; whatever is no name of one is left out."""
    return {file: _stamp(file) for file in files if isinstance(file, str) and file.endswith(".py")}


def _stamp(file: str) -> int:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return GONE


class Sources:
    """The files of one pool's adapter.

    Args:
        settings: whose `adapter` and `path` say where they are.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._stamps: dict[str, int] = {}
        self.note({})

    def note(self, imported: Mapping[str, int]) -> None:
        """This is what the workers run from now on: these files as they were then, the others as they are."""
        self._stamps = stamps(map(str, islice(_around(self._settings), MAX_AROUND))) | dict(imported)

    def changed(self) -> str | None:
        """A file that is not as it was; each change is told once."""
        now = stamps(self._stamps)
        found = next((file for file, stamp in now.items() if stamp != self._stamps[file]), None)
        self._stamps = now
        return found


def _around(settings: AgentSettings) -> Iterable[Path]:
    """The package that the adapter is in, or the directory of its file where it is in none."""
    module, _, _ = settings.adapter.rpartition(":")
    if module.endswith(".py"):
        return Path(module).resolve().parent.glob("*.py")
    top = module.partition(".")[0]
    for directory in map(Path, [*settings.path, *sys.path]):
        if (directory / top).is_dir():
            return (directory / top).rglob("*.py")
        if (directory / f"{top}.py").is_file():
            return directory.glob("*.py")
    return ()
