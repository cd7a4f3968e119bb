"""`maitred keys`: files that only their owner reads, words that say what to do, and nothing half-done."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest
import zmq
from user_shell import Shell

from maitred.config.authorized import Authorized, read_authorized
from maitred.config.key_file import KeyFileError, read_key

pytestmark = pytest.mark.slow


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    it = Shell(tmp_path)
    it.environment["XDG_CONFIG_HOME"] = str(tmp_path / "home")
    return it


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "home" / "maitred" / "keys"


def fine(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_first_key_comes_with_the_brokers_and_all_that_is_to_be_done(shell: Shell, directory: Path) -> None:
    said = fine(
        shell.maitred(
            "keys", "new", "alice", "--role", "client", "--call", "general, neural:train_*",
            "--max-in-flight", "7", "--rate", "2.5", "--max-queued-bytes", "1GB",
        )
    )  # fmt: skip
    broker, alice = read_key(directory / "broker.key", needs_server=False), read_key(directory / "alice.key")
    assert alice.server == broker.public
    assert zmq.curve_public(alice.secret.encode()).decode() == alice.public
    assert read_authorized(directory / "authorized.toml") == [
        Authorized("alice", alice.public, "client", ("general", "neural:train_*"), (), 7, 2.5, 10**9)
    ]
    assert [mode(path) for path in (directory, *directory.glob("*.key"))] == [0o700, 0o600, 0o600]
    for words in (
        f'key = "{directory}/broker.key"', f'authorized = "{directory}/authorized.toml"', "maitred reload",
        "MAITRED_KEY=alice.key", "call general, neural:train_*", "max_queued_bytes 1GB",
    ):  # fmt: skip
        assert words in said
    assert broker.secret not in said
    assert alice.secret not in said
    again = fine(shell.maitred("keys", "new", "bob", "--role", "worker", "--serve", "general"))
    assert "broker.key (mode" not in again
    assert read_key(directory / "bob.key").server == broker.public


def test_the_brokers_own_key_is_told_apart_from_one_to_connect_with(shell: Shell, directory: Path) -> None:
    fine(shell.maitred("keys", "new", "broker"))
    with pytest.raises(KeyFileError, match=r"broker's own key: `maitred keys new NAME --role …` makes one"):
        read_key(directory / "broker.key")


def test_everything_that_is_wrong_is_said_at_once_and_nothing_is_written(shell: Shell, directory: Path) -> None:
    for words, accepted in (
        (["alice"], ["--role is missing"]),
        (["alice", "--role", "client"], ["--call is missing", "--call 'general,neural:train_*'"]),
        (["alice", "--role", "worker"], ["--serve is missing", "--serve general"]),
        (["alice", "--role", "agent"], ["--serve is missing"]),
        (["a/b", "--role", "operater"], ["NAME is 'a/b'", "did you mean operator?"]),
        (["..", "--role", "operator", "--serve", "x"], ["NAME is '..'", "clients and operators serve nothing"]),
        (["authorized", "--role", "operator"], ["NAME is 'authorized'"]),
        (["broker", "--role", "client"], ["the broker's own"]),
        (
            [
                "x",
                "--role",
                "client",
                "--call",
                "a,,b",
                "--rate",
                "0",
                "--max-in-flight",
                "0",
                "--max-queued-bytes",
                "1gb",
            ],
            ["--call is 'a,,b'", "--rate is 0", "--max-in-flight is 0", '"1GB"'],
        ),
    ):
        done = shell.maitred("keys", "new", *words)
        assert done.returncode == 2
        for each in accepted:
            assert each in done.stderr
    assert not directory.exists()


def test_the_brokers_own_alone_and_not_twice(shell: Shell, directory: Path) -> None:
    fine(shell.maitred("keys", "new", "broker"))
    assert [path.name for path in directory.iterdir()] == ["broker.key"]
    before = (directory / "broker.key").read_bytes()
    done = shell.maitred("keys", "new", "broker")
    assert done.returncode == 1
    assert "is there already" in done.stderr
    assert (directory / "broker.key").read_bytes() == before


def test_a_name_that_is_taken_changes_nothing(shell: Shell, directory: Path) -> None:
    fine(shell.maitred("keys", "new", "alice", "--role", "operator"))
    files = {path: path.read_bytes() for path in directory.iterdir()}
    assert "is there already" in shell.maitred("keys", "new", "alice", "--role", "operator").stderr
    (directory / "alice.key").rename(directory / "moved")
    done = shell.maitred("keys", "new", "alice", "--role", "operator")
    assert done.returncode == 1
    assert "that name is there" in done.stderr
    assert not (directory / "alice.key").exists(), "nobody would let it in"
    (directory / "moved").rename(directory / "alice.key")
    assert {path: path.read_bytes() for path in directory.iterdir()} == files


def test_list_and_revoke(shell: Shell, directory: Path) -> None:
    assert "nobody has a key" in fine(shell.maitred("keys", "list"))
    fine(shell.maitred("keys", "new", "alice", "--role", "client", "--call", "general", "--rate", "5"))
    before = (directory / "authorized.toml").read_bytes()
    fine(shell.maitred("keys", "new", "bob", "--role", "agent", "--serve", "gpu-*"))
    (directory / "alice.key").unlink()
    alice, bob = json.loads(fine(shell.maitred("keys", "list", "--json")))
    public = read_key(directory / "bob.key").public
    assert bob == {
        "name": "bob", "role": "agent", "call": [], "serve": ["gpu-*"], "limits": {}, "key": public[:8], "secret": True,
    }  # fmt: skip
    assert (alice["secret"], alice["limits"]) == (False, {"rate": 5.0})
    table = fine(shell.maitred("keys", "list"))
    assert "gpu-*" in table
    assert public[:8] in table
    assert public not in table
    said = fine(shell.maitred("keys", "revoke", "bob"))
    assert "maitred reload" in said
    assert "delete it" in said
    assert (directory / "authorized.toml").read_bytes() == before
    done = shell.maitred("keys", "revoke", "bob")
    assert (done.returncode, "there is no such key" in done.stderr) == (1, True)


def test_the_directory_is_the_configurations_or_what_is_said(shell: Shell, tmp_path: Path) -> None:
    keys = tmp_path / "elsewhere"
    (tmp_path / "maitred.toml").write_text(f'[broker]\nkey = "{keys}/main.key"\nauthorized = "{keys}/who.toml"\n')
    said = fine(shell.maitred("keys", "new", "alice", "--role", "operator"))
    assert {path.name for path in keys.iterdir()} == {"main.key", "alice.key", "who.toml"}
    assert "[broker]" not in said, "it is configured already"
    fine(shell.maitred("keys", "new", "alice", "--role", "operator", "--directory", "here"))
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"broker.key", "alice.key", "authorized.toml"}
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    done = shell.maitred("keys", "new", "alice", "--role", "operator", "--directory", "open")
    assert (done.returncode, "others may write" in done.stderr) == (1, True)


def test_a_key_that_others_may_read_is_not_used(shell: Shell, directory: Path) -> None:
    fine(shell.maitred("keys", "new", "alice", "--role", "operator"))
    (directory / "alice.key").chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        read_key(directory / "alice.key")
    done = shell.maitred("--key", str(directory / "alice.key"), "--endpoint", "tcp://127.0.0.1:1", "status")
    assert (done.returncode, "chmod 600" in done.stderr) == (2, True)


def test_doctor_looks_at_the_files(shell: Shell, directory: Path, tmp_path: Path) -> None:
    fine(shell.maitred("keys", "new", "alice", "--role", "operator"))
    (tmp_path / "maitred.toml").write_text(f'[broker]\nkey = "{directory}/broker.key"\n')
    shell.environment["MAITRED_KEY"] = str(directory / "alice.key")

    def found() -> dict[str, tuple[str, str]]:
        checks = json.loads(shell.maitred("doctor", "--json").stdout)["checks"]
        return {each["check"]: (each["state"], each["found"]) for each in checks}

    well = found()
    assert [well[check][0] for check in ("curve", "broker's key", "authorisation", "key")] == ["fine"] * 4
    assert ": 1 key" in well["authorisation"][1]
    (directory / "authorized.toml").chmod(0o666)
    text = (directory / "alice.key").read_text()
    other = zmq.curve_keypair()[0].decode()
    (directory / "alice.key").write_text(text.replace(read_key(directory / "alice.key").public, other))
    (directory / "broker.key").chmod(0o644)
    broken = found()
    assert "others may write" in broken["authorisation"][1]
    assert "two keys" in broken["key"][1]
    assert "others may read" in broken["broker's key"][1]
    assert {broken[check][0] for check in ("broker's key", "authorisation", "key")} == {"broken"}
