"""A user at a shell: the commands as they are typed, each a real process, and a run directory that nobody else has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

ANY_PORT = [
    word
    for key, address in (("clients", "tcp://127.0.0.1:0"), ("workers", "tcp://127.0.0.1:0"), ("http", "127.0.0.1:0"))
    for word in ("--set", f"broker.{key}={address}")
]


class Shell:
    """A user with a run directory of his own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[subprocess.Popen[str]] = []
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("MAITRED_")}
        self.environment["MAITRED_RUN_DIR"] = str(directory / "run")
        self.environment["XDG_CONFIG_HOME"] = str(
            directory / "config"
        )  # keys are kept there, and never in the real one

    def maitred(self, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "maitred.cli", *words],
            env=self.environment, cwd=self.directory, input=text, capture_output=True, text=True, timeout=50,
        )  # fmt: skip

    def start(self, *words: str, stdin: int | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "maitred.cli", *words],
            env=self.environment, cwd=self.directory, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, preexec_fn=_hears_ctrl_c,
        )  # fmt: skip
        self.started.append(process)
        return process

    def end(self) -> None:
        """A test that failed leaves nobody behind."""
        for process in self.started:
            process.kill()
            process.wait()
            for stream in filter(None, (process.stdin, process.stdout, process.stderr)):
                stream.close()

    def json(self, *words: str) -> Any:
        done = self.maitred(*words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def _hears_ctrl_c() -> None:
    """As at a terminal, also where these tests run in the background of a shell, which has SIGINT ignored there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return line


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=40)
    return process.returncode, errors


def left(family: list[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """Who lives on; one that is dead and that its new parent has not asked for yet does not."""
    give_up_at = time.monotonic() + patience_s
    while (alive := [each for each in family if lives(each)]) and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return alive


def lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Any, patience_s: float = 20.0) -> Any:
    began = time.monotonic()
    while not (found := condition()):
        assert time.monotonic() - began < patience_s, "it never came true"
    return found
