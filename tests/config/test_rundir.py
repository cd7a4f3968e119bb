"""The run directory: who may have it, what it says, and what is left of it when a broker dies."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maitred.config.rundir import (
    BrokerRunning,
    Connection,
    RunDirError,
    claim,
    discover_endpoint,
    discover_workers_endpoint,
    read_connection,
    run_dir,
    write_connection,
)

OTHER_BROKER = """
import os, sys, time
from pathlib import Path
from maitred.config.rundir import Connection, claim
with claim(Path(sys.argv[1])) as claimed:
    claimed.publish(Connection(os.getpid(), [claimed.clients_ipc], [claimed.workers_ipc], time.time(), "1"))
    print("ready", flush=True)
    sys.stdin.read()
"""


def _connection() -> Connection:
    return Connection(os.getpid(), ["ipc:///x/clients.ipc", "tcp://127.0.0.1:1"], ["ipc:///x/workers.ipc"], 1.5, "0.1")


@contextmanager
def _other_broker(directory: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", OTHER_BROKER, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "run"
    monkeypatch.setenv("MAITRED_RUN_DIR", str(directory))
    monkeypatch.delenv("MAITRED_ENDPOINT", raising=False)
    monkeypatch.delenv("MAITRED_WORKERS_ENDPOINT", raising=False)
    return directory


def test_it_is_chosen_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAITRED_RUN_DIR", "relative")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert run_dir() == Path.cwd() / "relative"
    monkeypatch.setenv("MAITRED_RUN_DIR", "")
    assert run_dir() == tmp_path / "maitred"


@pytest.mark.parametrize("runtime", ["", "relative", "/nowhere/at/all"])
def test_without_a_runtime_directory_it_is_in_tmp(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAITRED_RUN_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    assert run_dir() == Path(f"/tmp/maitred-{os.getuid()}")


def test_anothers_runtime_directory_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAITRED_RUN_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    assert run_dir() == Path("/tmp/maitred-4242")


def test_it_is_made_private_and_keeps_its_sockets_inside(directory: Path) -> None:
    with claim(directory / "deeper") as claimed:
        assert stat.S_IMODE((directory / "deeper").stat().st_mode) == 0o700
        assert claimed.clients_ipc == f"ipc://{directory}/deeper/clients.ipc"
        assert claimed.workers_ipc == f"ipc://{directory}/deeper/workers.ipc"


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_one_that_others_may_enter_is_refused_and_left_alone(mode: int, directory: Path) -> None:
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(RunDirError, match=f"mode {mode:04o}.*chmod 700"), claim(directory):
        pass
    assert list(directory.iterdir()) == []
    assert read_connection(directory) is None


def test_anothers_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    with (
        pytest.raises(RunDirError, match=r"belongs to user \d+, this process runs as 4242; set MAITRED_RUN_DIR"),
        claim(directory),
    ):
        pass
    assert read_connection(directory) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a link away")
def test_a_link_that_another_made_is_refused(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    directory.symlink_to(tmp_path / "private")
    with claim(directory):
        pass
    os.lchown(directory, 4242, 4242)
    with pytest.raises(RunDirError, match="belongs to user 4242"), claim(directory):
        pass


def test_a_file_in_its_place_is_refused(directory: Path) -> None:
    directory.touch(mode=0o600)
    with pytest.raises(RunDirError, match="no directory"), claim(directory):
        pass
    with pytest.raises(RunDirError, match="MAITRED_RUN_DIR"), claim(directory / "below"):
        pass


def test_a_path_too_long_for_sockets_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 100)
    with pytest.raises(RunDirError, match=r"too long.*set MAITRED_RUN_DIR to a shorter one"), claim(directory):
        pass
    assert not directory.exists()


def test_the_second_broker_is_told_of_the_first(directory: Path) -> None:
    with claim(directory):
        with pytest.raises(BrokerRunning, match=rf"pid {os.getpid()}\).*MAITRED_RUN_DIR") as caught, claim(directory):
            pass
        assert caught.value.pid == os.getpid()
    with claim(directory):
        pass


def test_a_lock_file_deleted_under_its_owner_is_not_taken_for_the_lock(directory: Path) -> None:
    with claim(directory):
        (directory / "broker.lock").unlink()
        # Nothing is left that could tell; but the new lock is a real one.
        with claim(directory), pytest.raises(BrokerRunning), claim(directory):
            pass


def test_one_who_looks_does_not_keep_a_broker_from_starting(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl
    import time

    directory.mkdir(mode=0o700)
    looking = os.open(directory / "broker.lock", os.O_RDONLY | os.O_CREAT, 0o600)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _: os.close(looking))
    with claim(directory):
        pass


def test_the_connection_file_lives_as_long_as_the_claim(directory: Path) -> None:
    with claim(directory) as claimed:
        assert read_connection() is None
        claimed.publish(_connection())
        assert read_connection() == read_connection(directory) == _connection()
        assert stat.S_IMODE((directory / "broker.json").stat().st_mode) == 0o600
        assert sorted(path.name for path in directory.iterdir()) == ["broker.json", "broker.lock"]
    assert not (directory / "broker.json").exists()
    assert read_connection() is None


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff", b'"' + b"x" * 100_000])
def test_a_broken_connection_file_is_none(text: bytes, directory: Path) -> None:
    with claim(directory):
        (directory / "broker.json").write_bytes(text)
        assert read_connection() is None


def test_no_directory_is_no_connection(directory: Path) -> None:
    assert read_connection(directory / "nowhere") is None
    assert discover_endpoint() is None
    assert discover_workers_endpoint(None) is None


def test_an_endpoint_is_found_in_order(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with claim(directory) as claimed:
        claimed.publish(_connection())
        assert discover_endpoint(None) == "ipc:///x/clients.ipc"
        assert discover_workers_endpoint(None) == "ipc:///x/workers.ipc"
        monkeypatch.setenv("MAITRED_ENDPOINT", "tcp://far:1")
        monkeypatch.setenv("MAITRED_WORKERS_ENDPOINT", "tcp://far:2")
        assert discover_endpoint(None) == "tcp://far:1"
        assert discover_workers_endpoint(None) == "tcp://far:2"
        assert discover_endpoint("tcp://given:1") == "tcp://given:1"
        assert discover_workers_endpoint("tcp://given:2") == "tcp://given:2"


@pytest.mark.slow
def test_a_killed_broker_is_gone_at_once_and_its_place_free(directory: Path) -> None:
    with _other_broker(directory) as process:
        found = read_connection()
        assert found is not None
        assert found.pid == process.pid
        with pytest.raises(BrokerRunning, match=f"kill {process.pid}"), claim(directory):
            pass
        process.kill()
        process.wait()
        assert (directory / "broker.json").exists()
        assert read_connection() is None
    with claim(directory) as claimed:
        assert not (directory / "broker.json").exists()
        write_connection(claimed.directory, _connection())
        assert read_connection() == _connection()


@pytest.mark.slow
def test_a_broker_that_ends_takes_its_connection_file_along(directory: Path) -> None:
    with _other_broker(directory) as process:
        process.communicate("")
        assert process.returncode == 0
        assert not (directory / "broker.json").exists()


def test_the_secret_is_made_once_and_is_its_owners(directory: Path) -> None:
    with claim(directory) as claimed:
        secret = claimed.secret
        assert re.fullmatch("[0-9a-f]{64}", secret)
        assert stat.S_IMODE((directory / "secret").stat().st_mode) == 0o600
    with claim(directory) as claimed:
        assert claimed.secret == secret
    with claim(directory.with_name("other")) as claimed:
        assert claimed.secret != secret


@pytest.mark.parametrize(("text", "mode", "why"), [
    ("a" * 64, 0o640, "others may read"),
    ("a" * 63, 0o600, "is damaged: delete it"),
    ("A" * 64, 0o600, "is damaged: delete it"),
    ("", 0o600, "is damaged: delete it"),
])  # fmt: skip
def test_a_secret_that_others_know_or_that_is_none_is_refused(directory: Path, text: str, mode: int, why: str) -> None:
    with claim(directory) as claimed:
        (directory / "secret").write_text(text)
        (directory / "secret").chmod(mode)
        with pytest.raises(RunDirError, match=why):
            _ = claimed.secret


def test_a_connection_is_shown_without_its_secret() -> None:
    shown = repr(Connection(1, ["ipc:///c"], ["ipc:///w"], 1.5, "0.1", "f" * 64))
    assert "f" * 8 not in shown
    assert "ipc:///c" in shown
