"""Workers and agents that come before their key counts, or whose key is taken back: they say so, and come in later."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from user_shell import ANY_PORT, Shell, ended, ready, wait_for

from maitred.client import Client
from maitred.config.rundir import Connection, read_connection

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

HERE = Path(__file__).parent
REFUSED = "the broker refused this {who}: "


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    (tmp_path / "maitred.toml").write_text(
        f'[pools.app]\nadapter = "{HERE / "app.py"}:service"\nsize = 1\n[broker]\nkey = "{tmp_path}/keys/broker.key"\n'
    )
    keys(shell, "new", "broker")
    yield shell
    shell.end()


def keys(shell: Shell, *words: str) -> None:
    done = shell.maitred("keys", *words)
    assert done.returncode == 0, done.stderr


def reload(shell: Shell) -> None:
    done = shell.maitred("reload")
    assert done.returncode == 0, done.stderr


def start_broker(shell: Shell) -> Connection:
    ready(shell.start(*ANY_PORT, "broker"))
    found = read_connection(shell.directory / "run")
    assert found is not None
    return found


def wait_for_workers(broker: Connection, count: int) -> None:
    with Client(broker.clients[0]) as client:
        wait_for(lambda: client.pools()[0]["total"] == count, 40.0)


def set_aside(shell: Shell, *words: str) -> Path:
    """Make a key, and have the authorisation file not know it yet; returns where it is kept."""
    file = shell.directory / "keys" / "authorized.toml"
    keys(shell, "new", *words)
    kept = shell.directory / "kept.toml"
    file.rename(kept)
    file.write_text("")
    file.chmod(0o600)
    return kept


def let_in(shell: Shell, kept: Path) -> None:
    (shell.directory / "keys" / "authorized.toml").write_text(kept.read_text())
    reload(shell)


def test_an_agent_and_its_workers_come_in_after_a_reload_go_with_their_key_and_come_back(shell: Shell) -> None:
    kept = set_aside(shell, "gpu", "--role", "agent", "--serve", "app")
    broker = start_broker(shell)
    agent = shell.start("pool", "app", "--key", "keys/gpu.key", "--connect", broker.workers[-1])
    assert agent.stderr is not None
    said = [agent.stderr.readline()]
    assert "refused this key" in said[0]
    let_in(shell, kept)
    wait_for_workers(broker, 1)
    keys(shell, "revoke", "gpu")
    reload(shell)
    wait_for_workers(broker, 0)
    let_in(shell, kept)
    wait_for_workers(broker, 1)
    agent.terminate()
    code, errors = ended(agent)
    assert code == 0
    lines = [*said, *errors.splitlines()]
    assert sum(REFUSED.format(who="agent") in line for line in lines) == 2, lines
    assert any(REFUSED.format(who="worker") in line for line in lines), lines


def test_an_agent_that_finds_no_broker_says_so_once_and_comes_in_when_there_is_one(shell: Shell) -> None:
    broker = start_broker(shell)
    stopped = shell.started.pop()
    stopped.terminate()
    ended(stopped)
    agent = shell.start("pool", "app", "--connect", broker.workers[0])
    assert agent.stderr is not None
    assert agent.stderr.readline() == f"[app] no broker answered at {broker.workers[0]} within 5 s; it goes on trying\n"
    wait_for_workers(start_broker(shell), 1)
    agent.terminate()
    code, errors = ended(agent)
    assert code == 0
    assert "no broker answered" not in errors


def test_a_worker_alone_that_may_not_serve_yet_waits_and_says_so_once(shell: Shell) -> None:
    keys(shell, "new", "lone", "--role", "worker", "--serve", "other")
    broker = start_broker(shell)
    worker = subprocess.Popen(
        [sys.executable, "-m", "maitred.worker", "--pool", "app", "--key", "keys/lone.key",
         "--connect", broker.workers[-1], f"{HERE / 'app.py'}:service"],
        env=shell.environment, cwd=shell.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    shell.started.append(worker)
    assert worker.stderr is not None
    line = worker.stderr.readline()
    assert REFUSED.format(who="worker") in line
    assert "serve" in line
    file = shell.directory / "keys" / "authorized.toml"
    file.write_text(file.read_text().replace('["other"]', '["app"]'))
    reload(shell)
    wait_for_workers(broker, 1)
    worker.terminate()
    code, errors = ended(worker)
    assert (code, errors) == (0, "")
