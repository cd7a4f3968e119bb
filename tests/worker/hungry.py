"""A process that takes memory as it is told, for tests of who keeps it from it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")

MIB = 1 << 20
PATIENCE_S = 30.0

SCRIPT = """
import mmap, os, sys, time
kept, MIB = [], 1 << 20

def say(word):  # at once: several say it, and PYTHONUNBUFFERED would cut a print in two
    os.write(1, (word + chr(10)).encode())

def fork(then):
    pid = os.fork()
    if pid == 0:
        then()
        say("done")
        time.sleep(600)
    return pid

def take(mib):
    block = mmap.mmap(-1, mib * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, len(block), 4096):
        block[at] = 1
    kept.append(block)

def share(mib):
    block = mmap.mmap(-1, mib * MIB)
    for at in range(0, len(block), 4096):
        block[at] = 1
    kept.append(block)

def file(mib, path):
    with open(path, "wb") as out:
        for _ in range(mib):
            out.write(os.urandom(MIB))
    with open(path, "rb") as source:
        block = mmap.mmap(source.fileno(), 0, prot=mmap.PROT_READ)
    sum(block[at] for at in range(0, len(block), 4096))
    kept.append(block)

def stray(mib):  # a grandchild that has left its session and lost its parent
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            take(mib)
            say(f"done {os.getpid()}")
            time.sleep(600)
        os._exit(0)
    os.wait()

for line in sys.stdin:
    verb, *rest = line.split()
    numbers = [int(word) if word.isdecimal() else word for word in rest]
    if verb == "child":
        fork(lambda: take(*numbers))
    elif verb == "look-alikes":
        for _ in range(numbers[0]):
            fork(lambda: None)
    elif verb == "stray":
        stray(*numbers)
    else:
        {"take": take, "share": share, "file": file}[verb](*numbers)
        say("done")
"""


class Hungry:
    """The process. `pid` is its id."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
        )
        self.pid = self.process.pid

    def say(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()

    def heard(self) -> str:
        """The next line that it says; empty at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def do(self, order: str, answers: int = 1) -> str:
        self.say(order)
        lines = [self.heard() for _ in range(answers)]
        assert all(line.startswith("done") for line in lines), lines
        return lines[-1]


@contextmanager
def hungry() -> Iterator[Hungry]:
    one = Hungry()
    try:
        yield one
    finally:
        with suppress(ProcessLookupError):
            os.killpg(one.pid, 9)
        with one.process:  # closes the pipes
            one.process.wait(PATIENCE_S)


def until(condition: Callable[[], T]) -> T:
    """The first true value of a condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)
    return value


def is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
