"""`maitred up` as a user types it, from the start of its process to its end, by the clock of the measurements."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from msgspec import Struct

from maitred.benchmarks.method.recorder import now_ns
from maitred.benchmarks.scenarios.killing import Kill, kill_worker
from maitred.benchmarks.subjects.protocol import StartError, Transport
from maitred.client import Client
from maitred.config.rundir import Connection, read_connection

__all__ = ["ColdStart", "cold_start"]

LOOK_INTERVAL_S = 0.001
"""How often it is looked whether the broker listens: what is measured takes some hundred times as long."""

LISTEN_TIMEOUT_S = 60.0
"""Within this `maitred up` has to listen; it imports the adapter before, to see whether it can be."""

END_TIMEOUT_S = 30.0
"""Within this it has to end when it is told to; then it is killed."""

MAX_WORDS_CHARS = 400
"""Of what it said, where it did not start: the reason stands at the end."""

POOL = "general"

CONFIGURATION = """
[broker]
clients = "tcp://127.0.0.1:0"
workers = "tcp://127.0.0.1:0"
http = ""
run_dir = "{run_dir}"

[pools.general]
adapter = "{adapter}"
size = {workers}
start_method = "{start_method}"

[routing]
"*" = "general"
"""


class ColdStart(Struct, frozen=True):
    """Nanoseconds, the first three from the start of the process.

    Attributes:
        listens_ns: until clients can connect.
        replied_ns: until a call was answered that was made as soon as they could.
        replaced_ns: from each kill of an idle worker until there were as many as before.
        ended_ns: from SIGTERM to the end of the process.
    """

    listens_ns: int
    replied_ns: int
    replaced_ns: list[int]
    ended_ns: int


def cold_start(
    adapter: str, *, workers: int = 1, start_method: str = "forkserver", transport: Transport = "ipc", kills: int = 1
) -> ColdStart:
    """Start `maitred up`, call it, kill workers, and end it.

    Args:
        adapter: with a command `echo`, as `maitred.benchmarks.subjects.echo`.
        workers: the pool's size.
        start_method: the pool's.
        transport: of the client that calls.
        kills: how often a worker is killed, each when the one before was replaced.

    Raises:
        StartError: it did not come to listen.
        MaitredError: the call failed.
        RuntimeError: a worker was not replaced.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        run_dir, file = Path(directory, "run"), Path(directory, "maitred.toml")
        text = CONFIGURATION.format(run_dir=run_dir, adapter=adapter, workers=workers, start_method=start_method)
        file.write_text(text, encoding="utf-8")
        began_ns = now_ns()
        with _process(file, Path(directory, "stderr")) as process:
            listening = _wait_listening(process, run_dir)
            listens_ns = now_ns()
            with Client(listening.clients[0 if transport == "ipc" else -1]) as client:
                client.execute(POOL, "echo", {"payload": b""})
                replied_ns = now_ns()
                killed = [_kill(client) for _ in range(kills)]
            told_ns = now_ns()
            process.send_signal(signal.SIGTERM)
            process.wait(END_TIMEOUT_S)
            ended_ns = now_ns() - told_ns
    replaced_ns = [it.replaced_ns - it.killed_ns for it in killed]
    return ColdStart(listens_ns - began_ns, replied_ns - began_ns, replaced_ns, ended_ns)


def _kill(client: Client) -> Kill:
    client.execute(POOL, "echo", {"payload": b""})  # a worker that dies before it has served is replaced after a pause
    return kill_worker(client)


@contextlib.contextmanager
def _process(file: Path, said: Path) -> Generator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "maitred.cli", "--config", str(file), "--log-level", "error", "up"]
    with said.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        yield process
    except StartError as error:
        raise StartError(f"{error}: {said.read_text(errors='replace').strip()[-MAX_WORDS_CHARS:]}") from None
    finally:
        process.kill()  # all its own end with it; nothing happens where it has ended
        process.wait()


def _wait_listening(process: subprocess.Popen[bytes], run_dir: Path) -> Connection:
    give_up = time.monotonic() + LISTEN_TIMEOUT_S
    while process.poll() is None and time.monotonic() < give_up:
        found = read_connection(run_dir)
        if found is not None:
            return found
        time.sleep(LOOK_INTERVAL_S)
    raise StartError(f"`maitred up` ended, or did not listen within {LISTEN_TIMEOUT_S:g} s")
