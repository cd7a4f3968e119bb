"""Applications that are slow, or odd, while they are loaded or ended."""

from __future__ import annotations

import os
import threading
import time

import trio

from maitred.worker import Service

slow_async = Service()


@slow_async.startup
async def load() -> None:
    print("loading", flush=True)
    await trio.sleep(30)


@slow_async.command
async def never() -> None:
    await trio.lowlevel.checkpoint()


lingering = Service()


@lingering.startup
def leave_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(60,)).start()


@lingering.command
def pid() -> int:
    return os.getpid()


threaded_import = Service()
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


@threaded_import.command("pid")
def threaded_pid() -> int:
    return os.getpid()
