"""A new user with the README alone, and with the page for starters: what they show is typed into one shell, as it stands.

Here the install is what runs this test; the long run makes a real clone and a real install, and has five minutes.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import pytest
from page_blocks import ROOT, Block, blocks
from page_runners import loosely
from user_shell import ANY_PORT, left

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PATIENCE_S = 30.0
END_TIMEOUT_S = 20.0
FIVE_MINUTES_S = 300.0
TEN_LINES = 10

DONE = "typed-and-done"
INSTALLS = re.compile(r"(python3 -m venv|pip install)\b")


class Terminal:
    """A shell that is typed into, with a home of its own, and what has been printed so far."""

    def __init__(self, home: Path, directory: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAITRED_", "PYTEST"))}
        environment |= {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "MAITRED_RUN_DIR": str(home / "run"),
            "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        }
        for key, _, value in (word.partition("=") for word in ANY_PORT if word != "--set"):
            environment["MAITRED_" + key.upper().replace(".", "__")] = value
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], env=environment, cwd=directory, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def type(self, line: str, patience_s: float = PATIENCE_S) -> tuple[int, str]:
        """The exit code of a line, and what it printed until it had ended."""
        self._say(f"{line}\necho {DONE} $?")
        said = self.read_until(re.compile(rf"{DONE} (\d+)\n"), patience_s)
        text, code = re.split(rf"{DONE} (\d+)\n", said)[:2]
        return int(code), text

    def read_until(self, pattern: re.Pattern[str], patience_s: float = PATIENCE_S) -> str:
        assert self.process.stdout is not None
        give_up_at, said = time.monotonic() + patience_s, ""
        while not pattern.search(said):
            rest_s = give_up_at - time.monotonic()
            assert select.select([self.process.stdout], [], [], max(0.0, rest_s))[0], f"no more than: {said}"
            more = os.read(self.process.stdout.fileno(), 65536)
            assert more, f"the shell has ended: {said}"
            said += more.decode()
        return said

    def _say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        family = psutil.Process(self.process.pid).children(recursive=True)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        remaining = left(family, END_TIMEOUT_S if error is None else 0.0)
        for each in (*remaining, self.process):
            each.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        assert error is not None or not remaining, remaining


def lines(block: Block) -> Iterator[tuple[str, str]]:
    for typed in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        line, _, expected = typed.partition("\n")
        yield line, expected.strip()


def follow(page: Path, home: Path, directory: Path, *, installs: bool) -> None:
    with Terminal(home, directory) as terminal:
        for block in blocks(page):
            if block.file in FILES:
                (home / "hello" / block.file).write_text(block.text)
            if block.language != "console" or Path(__file__).name not in block.run_by:
                continue
            for line, expected in lines(block):
                if installs or not INSTALLS.match(line):
                    check(terminal, block, line, expected)


FILES = ("hello.py", "ask.py", "maitred.toml", "test_hello.py")


def check(terminal: Terminal, block: Block, line: str, expected: str) -> None:
    code, said = terminal.type(line, FIVE_MINUTES_S if INSTALLS.match(line) else PATIENCE_S)
    assert code == block.exit_code, f"{block}: {line}\n{said}"
    if line.endswith("&"):
        terminal.read_until(re.compile(loosely(expected)))
    elif expected:
        assert re.fullmatch(loosely(expected), said.strip(), re.S), f"{block}: {line}\n{said}"


PAGES = [ROOT / "README.md", ROOT / "docs" / "getting-started.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_it_shows_can_be_typed(page: Path, tmp_path: Path) -> None:
    follow(page, tmp_path, tmp_path, installs=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_it_takes_ten_lines_of_ones_own(page: Path) -> None:
    files = {block.file: block.text for block in blocks(page) if block.file in FILES[:3]}
    assert sorted(files) == sorted(FILES[:3])
    written = [line for text in files.values() for line in text.splitlines() if line and not line.startswith("#")]
    assert len(written) <= TEN_LINES, written


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_from_a_clone_within_five_minutes(tmp_path: Path) -> None:
    began = time.monotonic()
    clone = tmp_path / "maitred"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    follow(clone / "README.md", tmp_path, clone, installs=True)
    took_s = time.monotonic() - began
    print(f"from clone to call: {took_s:.0f} s")
    assert took_s < FIVE_MINUTES_S
