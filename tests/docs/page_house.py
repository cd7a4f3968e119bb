"""One running house for all pages: the built-in pools, and those that the pages speak of. A user's shell around it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from page_blocks import ROOT, blocks
from user_shell import ANY_PORT, Shell, ended, ready, wait_for

from maitred.client import Client
from maitred.client.errors import InvalidArgument

HERE = Path(__file__).parent
CONFIGURATION = HERE / "page_pools.toml"

SERVED = ("sentiment.py", "counter.py")
"""Files that pages show, and pools of this house serve."""


class PageHouse:
    """What pages find: a directory with the README's files, a broker, pools, and ids that stand for the pages' own.

    Attributes:
        shell: the user, with a home and a run directory that nobody else has.
        client: connected to the broker.
    """

    def __init__(self, directory: Path) -> None:
        self.shell = Shell(directory)
        self.shell.environment |= {"HOME": str(directory / "home"), "COLUMNS": "200"}
        (directory / "home").mkdir()
        for page in (ROOT / "README.md", ROOT / "docs" / "coming-from.md"):
            for block in blocks(page):
                if block.file in SERVED:
                    (directory / block.file).write_text(block.text)
        (directory / "page_app.py").write_text((HERE / "page_app.py").read_text())
        (directory / "maitred.toml").write_text(CONFIGURATION.read_text())
        majordomo = f"tcp://127.0.0.1:{_free_port()}"
        self.up = self.shell.start(*ANY_PORT, "--set", f"broker.majordomo={majordomo}", "up")
        self.addresses = _addresses(ready(self.up)) | {"5755": majordomo}
        self.client = Client(self.addresses["5750"])
        self._functions = self._start_commands()
        self._on: list[subprocess.Popen[str]] = []

    def real(self, text: str) -> str:
        """The text, with addresses and ids of this house where the page has the default ones, or its own."""
        for port, address in self.addresses.items():
            text = text.replace(f"tcp://127.0.0.1:{port}", address).replace(f"127.0.0.1:{port}", _bare(address))
        for example, make in EXAMPLES.items():
            if re.search(rf"\b{example}\b", text):
                text = text.replace(example, make(self))
        return text

    def type(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line as it stands on a page."""
        return subprocess.run(
            ["bash", "-c", self._functions + self.real(line)],
            env=self.shell.environment, cwd=self.shell.directory, capture_output=True, text=True, timeout=50,
        )  # fmt: skip

    def _start_commands(self) -> str:
        """The shell's functions that stand for the programs: this Python, and `maitred` without its start."""
        path = self.shell.directory / "typed"
        program = shlex.quote(str(HERE / "page_commands.py"))
        process = subprocess.Popen(
            [sys.executable, str(HERE / "page_commands.py"), str(path)], stdout=subprocess.PIPE, text=True
        )
        self.shell.started.append(process)
        ready(process)
        python = shlex.quote(sys.executable)
        return f'maitred() {{ {python} -I -S {program} {path} "$@"; }}; python() {{ {python} "$@"; }}; '

    def go_on(self, code: str) -> None:
        """Run Python code beside what comes, to the end of the page."""
        command = [sys.executable, "-c", self.real(code)]
        self._on.append(subprocess.Popen(command, env=self.shell.environment, cwd=self.shell.directory, text=True))

    def begin_page(self, name: str) -> None:
        """Keys are kept in a place of the page's own."""
        keys = re.sub(r"\W+", "-", name)
        self.shell.environment["XDG_CONFIG_HOME"] = str(self.shell.directory / "config" / keys)

    def end_page(self) -> None:
        """End what went on, and open what was closed."""
        for process in self._on:
            process.kill()
            process.wait()
        self._on.clear()
        self.client.operate("resume", "")
        for request in self.client.requests():
            with contextlib.suppress(InvalidArgument):  # it may have ended by itself
                self.client.cancel_request(request["id"])
        for session in self.client.sessions():
            with contextlib.suppress(InvalidArgument):
                self.client.close_session(session["id"])

    def close(self) -> None:
        self.client.close()
        self.up.send_signal(signal.SIGTERM)
        try:
            code, errors = ended(self.up)
        finally:
            self.shell.end()
        assert code == 0, errors


def _addresses(line: str) -> dict[str, str]:
    """Of the default ports, what this house has instead, from its ready line."""
    found = re.search(r"clients (\S+) \S+, workers (\S+?),", line)
    http = re.search(r"http://([^,\s]+)", line)
    assert found is not None, line
    assert http is not None, line
    return {"5750": found[1], "5751": found[2], "5752": "http://" + http[1]}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _bare(address: str) -> str:
    return address.partition("://")[2]


def _worker(house: PageHouse) -> str:
    return wait_for(lambda: [row["id"] for row in house.client.workers() if row["pool"] == "general"])[0]


def _session(house: PageHouse) -> str:
    return house.client.session("general", ttl=60).id


def _request(house: PageHouse) -> str:
    house.client.submit("general", "sleep", {"seconds": 50}).add_done_callback(lambda _: None)
    return wait_for(lambda: [row["id"] for row in house.client.requests() if row["command"] == "sleep"])[0]


def _fingerprint(house: PageHouse) -> str:
    while not (found := house.client.quarantine()):
        with contextlib.suppress(Exception):
            house.client.execute("crashing", "crash", timeout=20)
    return found[0]["fingerprint"]


def _dead(house: PageHouse) -> str:
    pid, worker = next((row["pid"], row["id"]) for row in house.client.workers() if row["pool"] == "general")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: [row for row in house.client.deaths() if row["worker"] == worker])
    return worker


EXAMPLES: dict[str, Callable[[PageHouse], str]] = {
    "4ad5546d": _worker,
    "dead5546": _dead,
    "5e551071": _session,
    "0a0b0c0d-7": _request,
    "f00d1105": _fingerprint,
}
"""Ids of the pages' own, and how this house comes to one that stands for it."""
