"""What the workers of `process_peers` run. They tell what they do by lines in a file, as nobody is in their process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import trio

from maitred.protocol.errors import Unavailable
from maitred.worker import Context, Service

NOTES = Path(os.environ["PROCESS_APP_NOTES"])


def note(text: str) -> None:
    with NOTES.open("a") as file:
        file.write(f"{text}\n")


note(f"imported with GPU {os.environ.get('CUDA_VISIBLE_DEVICES')}")


def made(is_async: bool) -> Service:
    """The same for both loops."""
    service = Service()
    commands: list[Any] = []

    def startup() -> None:
        note("startup")

    def embed(text: str, times: int = 1, *, context: Context) -> str:
        assert context.remaining is None or context.request_id
        here = threading.current_thread() is threading.main_thread()
        note(f"embed {text} {times} {context.pool} {'here' if here else 'in a thread'}")
        return text * times

    def several(text: list[str]) -> list[Any]:
        note(f"several {text}")
        return [KeyError(each) if each == "bad" else each for each in text]

    def fails(how: str) -> None:
        note(f"fails {how}")
        raise SystemExit(5) if how == "exit" else LookupError(how)

    def parts(count: int) -> Iterator[int]:
        for number in range(count):
            note(f"part {number}")
            yield number

    def hang(seconds: float) -> str:
        note("hang")
        time.sleep(seconds)
        return "done"

    async def aembed(text: str, times: int = 1, *, context: Context) -> str:
        await trio.lowlevel.checkpoint()
        return embed(text, times, context=context)

    async def aparts(count: int) -> AsyncIterator[int]:
        for number in parts(count):
            await trio.lowlevel.checkpoint()
            yield number

    async def ahang(seconds: float) -> str:
        note("hang")
        await trio.sleep(seconds)
        return "done"

    service.startup(startup)
    commands += [("embed", aembed if is_async else embed), ("parts", aparts if is_async else parts)]
    commands += [("hang", ahang if is_async else hang), ("fails", fails)]
    for name, function in commands:
        service.command(name)(function)
    service.command("several", batch=4)(several)
    return service


plain, under_trio = made(is_async=False), made(is_async=True)

refusing = Service()


@refusing.startup
def refuse() -> None:
    raise Unavailable("no broker for the startup's own call")
