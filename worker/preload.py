"""What the fork server imports before any worker is forked from it: the worker's own code, and the adapter's.

It is imported there by name, with the agent's environment, because `multiprocessing` gives its preloaded modules neither
arguments nor `sys.path`, and swallows their `ImportError`. What goes wrong with the adapter is left to each worker, which
imports it again and says so on its own output.

Nothing may start a thread or open a GPU here: neither survives a fork. Where the adapter's import does, the first worker
finds it out and ends with EXIT_UNFORKABLE, and the agent spawns this pool's workers instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import maitred.worker.process as process
from maitred.transport.lifeline import die_with_parent
from maitred.worker.loading import extend_path, load_service
from maitred.worker.options import WorkerOptions
from maitred.worker.reloading import stamps

__all__ = ["ENVIRONMENT_KEY", "EXIT_UNFORKABLE", "start_worker"]

ENVIRONMENT_KEY = "MAITRED_PRELOAD"
"""JSON: [agent's process id, adapter, [path…], file for the `stamps` of what was imported, or ""]."""

EXIT_UNFORKABLE = 114
"""Exit code of a worker that should have been spawned rather than forked."""

_imported_by = os.getpid()
_unforkable = ""


def start_worker(options: WorkerOptions) -> None:
    """Be a worker: in a process forked from the server that imported this module, or in one that was spawned.

    It has a session of its own, and so a process group: its agent ends that, with all that the worker started and that
    stayed in it. A terminal's Ctrl-C does not reach it; the agent decides.
    """
    os.setsid()
    if _imported_by != os.getpid():
        if _unforkable:
            print(f"the adapter cannot be forked: {_unforkable}", file=sys.stderr)
            sys.exit(EXIT_UNFORKABLE)
        options.parent = _imported_by  # the fork server is the parent of its workers, not the agent
    process.main(options)


def _preload(told: str) -> str:
    agent, adapter, path, imported = json.loads(told)
    die_with_parent(agent)
    extend_path(path)
    with contextlib.suppress(Exception):  # each worker finds it out for itself, and says so
        for function in load_service(adapter).preloads:
            _run(function)
    if imported:
        with contextlib.suppress(OSError), open(imported, "w") as file:  # the agent is gone, and we are about to be
            json.dump(stamps(getattr(module, "__file__", None) for module in list(sys.modules.values())), file)
    return _why_unforkable()


def _run(function: Callable[[], object]) -> None:
    try:
        function()
    except Exception as error:
        print(f"maitred: preload: {error}", file=sys.stderr, flush=True)


def _why_unforkable() -> str:
    """Linux only; elsewhere the fork server is not the default of Python's either."""
    if not sys.platform.startswith("linux"):
        return ""
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        return f"importing it started {threads - 1} threads, which a fork would lose"
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(entry).startswith("/dev/nvidia"):
                return "importing it opened a GPU, which a fork cannot share"
    return ""


if ENVIRONMENT_KEY in os.environ:
    _unforkable = _preload(os.environ.pop(ENVIRONMENT_KEY))
