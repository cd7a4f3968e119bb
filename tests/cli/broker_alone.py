"""A broker in a process of its own, as `maitred up` starts it: told by a line of JSON, answering with where it listens."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from maitred.broker.bound import Bound
from maitred.broker.settings import BrokerSettings
from maitred.config.authorized import Authorized, add_authorized
from maitred.config.key_file import KeyFile, write_key

START = "from maitred.broker.process import child; child()"


class Keys:
    """A directory with a broker's key and the file of those who may come."""

    def __init__(self, directory: Path, broker: KeyFile) -> None:
        self.broker = broker
        self.file, self.authorized = directory / "broker.key", directory / "authorized.toml"
        write_key(self.file, broker, "the broker's")

    def authorise(self, name: str, key: KeyFile, role: Any = "client") -> None:
        add_authorized(self.authorized, Authorized(name, key.public, role, call=("*",)))


class BrokerAlone:
    """Starts brokers one after the other in the same run directory; at most one at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.run_dir = directory / "run"
        self.log = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, before: str = "", **changes: Any) -> Bound:
        """Start it; `before` is code that runs first in its process."""
        line = self._begin(before, changes)
        assert line, self.log.read_text()
        return msgspec.json.decode(line, type=Bound)

    def refused(self, *, before: str = "", **changes: Any) -> str:
        """Start one that must not start; returns what it says."""
        assert self._begin(before, changes) == b""
        assert self.process is not None
        assert self.process.wait(20) == 1
        self.end()
        assert not (self.run_dir / "broker.json").exists()
        return self.log.read_text()

    def _begin(self, before: str, changes: dict[str, Any]) -> bytes:
        fields = {"clients": "tcp://127.0.0.1:0", "workers": "tcp://127.0.0.1:0", "pools": [], "routing": [], **changes}
        settings = BrokerSettings(run_dir=str(self.run_dir), **fields)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"{before}\n{START}"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(msgspec.json.encode(settings) + b"\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        """SIGTERM; it must end in good order."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        assert self.process.wait(20) == 0, self.log.read_text()
        self.end()

    def end(self) -> None:
        """Whatever its state."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        self.process = None
