"""Whether adapters import here: each in a process of its own, as an application's code may do anything when imported."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from itertools import islice
from pathlib import Path

import msgspec

from maitred.config.hardware import cpus
from maitred.config.problems import Problem, shown
from maitred.config.schema import Config
from maitred.config.toml_text import dotted

__all__ = ["Imported", "check_adapters", "import_adapters", "import_path"]

IMPORT_TIMEOUT_S = 60.0
"""An import that loads numerical libraries from a cold disk takes some ten seconds."""

MAX_REASON_CHARS = 300
MAX_OUTPUT_BYTES = 64 * 1024

# What the child is told: adapter, path, and the file for its verdict: "" or what is wrong, and the time that it took.
# Loaded as a worker would.
_CHILD = """
import json, os, sys, time, traceback
began = time.perf_counter()
adapter, path, verdict = json.loads(sys.argv[1])
del sys.argv[1:]
from maitred.worker.loading import AdapterError, extend_path, load_service
extend_path(path)
try:
    load_service(adapter)
    said = ""
except AdapterError as error:
    said = str(error)
except BaseException as error:
    said = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    if isinstance(error, SyntaxError):
        where = error.filename, error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        near = [frame for frame in frames if any(frame.filename.startswith(place) for place in path)]
        where = (near[-1].filename, near[-1].lineno) if near else None
    if where:
        said = f"{said} ({where[0]}:{where[1]})"
with open(verdict, "w", encoding="utf-8", errors="replace") as file:
    json.dump([said, time.perf_counter() - began], file)
os._exit(0)
"""


class Imported(msgspec.Struct, frozen=True):
    """How the import of an adapter went.

    Attributes:
        adapter: its name.
        reason: what is wrong; "" where nothing is.
        took_s: how long it took; None where it did not come to its end.
    """

    adapter: str
    reason: str
    took_s: float | None


def import_path(config: Config) -> list[str]:
    """Where adapters are imported from before anything else: the configuration file's directory, then the working one."""
    directories = [str(config.source.absolute().parent)] if config.source else []
    return list(dict.fromkeys([*directories, os.getcwd()]))


def check_adapters(
    config: Config,
    python: str = sys.executable,
    *,
    pools: Iterable[str] | None = None,
    timeout_s: float = IMPORT_TIMEOUT_S,
) -> list[Problem]:
    """Import the adapters, several at a time, and say which of them a worker could not serve.

    Args:
        config: whose adapters.
        python: the interpreter that workers will run.
        pools: only the adapters of these; None: of all.
        timeout_s: how long an import may take; it is killed after that.
    """
    names = list(config.pools) if pools is None else list(pools)
    imported = {it.adapter: it.reason for it in import_adapters(config, python, pools=names, timeout_s=timeout_s)}
    path = import_path(config)
    return [
        _problem(config, name, imported[a], path) for name in names if (a := config.pools[name].adapter) and imported[a]
    ]


def import_adapters(
    config: Config, python: str = sys.executable, *, pools: Iterable[str], timeout_s: float = IMPORT_TIMEOUT_S
) -> list[Imported]:
    """Import the adapters of these pools, several at a time, each once. Arguments as of `check_adapters`."""
    adapters = list(dict.fromkeys(adapter for name in pools if (adapter := config.pools[name].adapter) is not None))
    path = import_path(config)
    done: list[Imported] = []
    waiting = iter(adapters)
    while batch := list(islice(waiting, max(4, cpus()))):
        with _importing(batch, path, python) as imports:
            deadline = time.monotonic() + timeout_s
            done += [each.outcome(deadline, timeout_s) for each in imports]
    return done


def _problem(config: Config, pool: str, reason: str, path: list[str]) -> Problem:
    key = dotted(("pools", pool, "adapter"))
    source = config.origins.get(key, str(config.source or "the configuration"))
    accepted = f"a maitred.worker.Service that imports here (looked for in {', '.join(path)}, then as Python does)"
    return Problem(source, key, shown(config.pools[pool].adapter), f"does not import: {reason}", accepted)


class _Import:
    """One adapter being imported."""

    def __init__(self, adapter: str, path: list[str], python: str, directory: Path) -> None:
        self.adapter = adapter
        self._verdict, self._errors = directory / "verdict", directory / "stderr"
        directory.mkdir()
        told = json.dumps([adapter, path, str(self._verdict)])
        with open(self._errors, "wb") as errors:
            self._process = subprocess.Popen(
                [python, "-c", _CHILD, told],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    def outcome(self, deadline: float, timeout_s: float) -> Imported:
        """Wait for its end; returns how it went."""
        try:
            code = self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return Imported(self.adapter, f"it took longer than {timeout_s:g} s", None)
        with contextlib.suppress(OSError, ValueError):
            reason, took_s = json.loads(self._verdict.read_text(encoding="utf-8"))
            return Imported(self.adapter, reason[:MAX_REASON_CHARS], took_s)
        last = self._last_words()
        ended = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"
        reason = f"importing it ended the process with {ended}" + (f": {last}" if last else "")
        return Imported(self.adapter, reason, None)

    def end(self) -> None:
        """Kill it, and what it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _last_words(self) -> str:
        lines = self._errors.read_bytes()[-MAX_OUTPUT_BYTES:].decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:MAX_REASON_CHARS] if lines else ""


@contextlib.contextmanager
def _importing(adapters: list[str], path: list[str], python: str) -> Generator[list[_Import]]:
    imports: list[_Import] = []
    with tempfile.TemporaryDirectory(prefix="maitred-check-") as directory:
        try:
            for number, adapter in enumerate(adapters):
                imports.append(_Import(adapter, path, python, Path(directory, str(number))))
            yield imports
        finally:
            for each in imports:
                each.end()
