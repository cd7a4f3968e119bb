"""What a service manager is told, by a real datagram socket in its place; and the units, as systemd reads them."""

from __future__ import annotations

import configparser
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from user_shell import ANY_PORT, Shell, ended, lives, ready, wait_for

from maitred.transport.systemd import notify, watchdog_s

pytestmark = pytest.mark.slow

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))
APP = f"{Path(__file__).with_name('app.py')}:service"
WATCHDOG_S = 0.4


class Manager:
    """Stands in for systemd: what it was told, in order, with when."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}

    def told(self, within_s: float = 0.0) -> list[str]:
        """What was told until now, or until that time is over, each datagram a string."""
        found: list[str] = []
        end = time.monotonic() + within_s
        while True:
            self._socket.settimeout(max(end - time.monotonic(), 0.001))
            try:
                found.append(self._socket.recv(4096).decode())
            except TimeoutError:
                return found

    def wait(self, line: str, within_s: float = 20.0) -> list[str]:
        """Until a datagram has this line; returns what came before."""
        before: list[str] = []
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            for one in self.told(0.05):
                if line in one.splitlines():
                    return before
                before.append(one)
        raise AssertionError(f"{line} was never told, but {before}")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def shell(tmp_path: Path, manager: Manager) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    shell.environment |= manager.environment
    yield shell
    shell.end()


@pytest.mark.parametrize("command", ["broker", "up"])
def test_it_is_told_when_it_serves_and_when_it_ends_and_fed_meanwhile(
    shell: Shell, manager: Manager, command: str
) -> None:
    (shell.directory / "maitred.toml").write_text(f'[pools.app]\nadapter = "{APP}"\nsize = 1\n')
    process = shell.start(*ANY_PORT, command)
    before = manager.wait("READY=1")
    assert not [one for one in before if one != "WATCHDOG=1"]
    assert shell.maitred("status").returncode == 0
    if command == "up":  # a library of a worker does not speak for the unit
        assert shell.maitred("call", "app", "environment", '{"name": "NOTIFY_SOCKET"}').stdout == "null\n"
    assert manager.told(3 * WATCHDOG_S).count("WATCHDOG=1") >= 4
    process.send_signal(signal.SIGTERM)
    manager.wait("STOPPING=1")
    assert ended(process)[0] == 0
    assert "READY=1" not in "\n".join(manager.told())


def test_a_loop_that_stands_still_is_not_fed(shell: Shell, manager: Manager) -> None:
    process = shell.start(*ANY_PORT, "broker")
    ready(process)
    manager.wait("WATCHDOG=1")
    process.send_signal(signal.SIGSTOP)
    manager.told()
    assert manager.told(3 * WATCHDOG_S) == []
    process.send_signal(signal.SIGCONT)
    manager.wait("WATCHDOG=1")


def test_an_agent_alone_speaks_for_its_unit(shell: Shell, manager: Manager) -> None:
    (shell.directory / "maitred.toml").write_text(f'[pools.app]\nadapter = "{APP}"\nsize = 1\n')
    broker = shell.start(*ANY_PORT, "broker")
    ready(broker)
    manager.wait("READY=1")
    broker.send_signal(signal.SIGSTOP)  # it is silent: what is said from here on, the agent says
    try:
        pool = shell.start("pool", "app")
        manager.wait("READY=1")
        assert manager.told(3 * WATCHDOG_S).count("WATCHDOG=1") >= 4
        (agent,) = psutil.Process(pool.pid).children()
        agent.suspend()
        manager.told()
        assert manager.told(3 * WATCHDOG_S) == []
        agent.resume()
        manager.wait("WATCHDOG=1")
    finally:
        broker.send_signal(signal.SIGCONT)
    wait_for(lambda: shell.json("workers", "--json"))
    assert shell.maitred("call", "app", "environment", '{"name": "NOTIFY_SOCKET"}').stdout == "null\n"
    pool.send_signal(signal.SIGTERM)
    manager.wait("STOPPING=1")
    assert ended(pool)[0] == 0


def test_it_is_fed_while_there_is_no_broker(shell: Shell, manager: Manager) -> None:
    (shell.directory / "maitred.toml").write_text(f'[pools.app]\nadapter = "{APP}"\nsize = 1\ndrain_timeout = "5s"\n')
    house = shell.start(*ANY_PORT, "up")
    manager.wait("READY=1")
    (worker,) = [row["pid"] for row in shell.json("workers", "--json")]
    broker = next(one for one in psutil.Process(house.pid).children() if "broker.process" in " ".join(one.cmdline()))
    os.kill(worker, signal.SIGSTOP)  # its agent waits for it, when the broker has ended
    house.send_signal(signal.SIGTERM)
    wait_for(lambda: not lives(broker))
    manager.told()
    assert manager.told(3 * WATCHDOG_S).count("WATCHDOG=1") >= 4
    assert house.poll() is None
    ended(house)


def test_who_asked_for_nothing_is_told_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for wrong in ("", "relative", str(tmp_path / "nobody")):
        monkeypatch.setenv("NOTIFY_SOCKET", wrong)
        assert not notify(READY="1")
    for wrong in ("", "0", "-1", "x"):
        monkeypatch.setenv("WATCHDOG_USEC", wrong)
        assert watchdog_s() is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract names")
def test_a_name_of_the_kernels_own_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"maitred-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert notify(READY="1", STATUS="fine")
        assert manager.recv(100) == b"READY=1\nSTATUS=fine"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_that_there_is_and_grants_it_time(unit: Path, tmp_path: Path) -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(unit)
    service = dict(parser["Service"])
    program, *words = service["ExecStart"].replace("%i", "general").replace("${MAITRED_BROKER}", "tcp://b:5751").split()
    assert Path(program).name == "maitred"
    file = tmp_path / "maitred.toml"
    file.write_text("")
    words = [str(file) if word.startswith("/etc") else word for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "maitred.cli", *words, "--help"], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    assert service["KillMode"] == "mixed"  # SIGTERM to the main process alone: it ends the others in order
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "all"  # a child speaks
    assert "WatchdogSec" in service


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(
        unit.read_text().replace("/opt/maitred/bin/maitred", "/bin/true").replace("User=maitred", "User=root")
    )
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=30)
    found = [line for line in done.stderr.splitlines() if unit.name in line]
    assert not found


EXPOSURE = {"maitred-broker.service": 25, "maitred.service": 55, "maitred-pool@.service": 55}
"""Tenths of what `systemd-analyze security` gives at most, of 10: an adapter needs more of its host than a broker."""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_has_little_of_its_host(unit: Path) -> None:
    limit = f"--threshold={EXPOSURE[unit.name]}"
    command = ["systemd-analyze", "security", "--offline=true", limit, str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd cannot look at a file (since 250)")
    assert done.returncode == 0, done.stdout[-300:]
