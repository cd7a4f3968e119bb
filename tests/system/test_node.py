"""The client for Node.js (`examples/node`): the vectors, a real house, and handshakes that are refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from user_shell import ANY_PORT, Shell, ready

from maitred.config.key_file import KeyFile, write_key

FOLDER = Path(__file__).parents[2] / "examples" / "node"
OLDEST_NODE = 20
PATIENCE_S = 50


def _missing() -> str:
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            return f"there is no {name} on this machine"
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    found = int(said.strip().lstrip("v").partition(".")[0])
    return "" if found >= OLDEST_NODE else f"Node.js {said.strip()} is older than {OLDEST_NODE}"


MISSING = _missing()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING)]


@pytest.fixture(scope="module")
def packages() -> None:
    """What the client needs from npm, if it was not installed."""
    if not (FOLDER / "node_modules" / ".package-lock.json").exists():
        done = subprocess.run(["sh", str(FOLDER.parents[1] / "scripts" / "node.sh")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def node(directory: Path, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAITRED_")}
    return subprocess.run(
        ["node", str(FOLDER / script), *words],
        env=environment | {"MAITRED_RUN_DIR": str(directory / "run")},
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path) -> Generator[Shell]:
    user = Shell(tmp_path)
    yield user
    user.end()


def counts(report: str, section: str) -> list[int]:
    """The figures of a section's line in the report."""
    line = next(line for line in report.splitlines() if line.startswith(f"{section}: "))
    return [int(digits) for digits in re.findall(r"\d+", line)]


# --- the vectors ---


def test_the_vectors_mean_to_it_what_they_say(packages: None, tmp_path: Path) -> None:
    done = node(tmp_path, "conformance.mjs", "--no-live")
    assert done.returncode == 0, done.stdout
    for section, least in (("messages", 45), ("bodies", 21), ("accepted_bodies", 10), ("invalid_bodies", 28)):
        checked, failed, _ = counts(done.stdout, section)
        assert checked >= least
        assert failed == 0
    assert len(re.findall("^known: ", done.stdout, re.MULTILINE)) == 2


def test_a_vector_that_is_wrong_is_found(packages: None, tmp_path: Path) -> None:
    text = (FOLDER.parents[1] / "docs" / "protocol-vectors.json").read_text()
    wrong = text.replace('"about": "two references to one buffer", "value": [', '"about": "…", "value": [1, ')
    assert wrong != text
    (tmp_path / "vectors.json").write_text(wrong)
    done = node(tmp_path, "conformance.mjs", "--no-live", "--vectors", str(tmp_path / "vectors.json"))
    assert done.returncode == 1
    assert counts(done.stdout, "accepted_bodies")[1] == 1


# --- a house ---


@pytest.mark.timeout(150)
def test_it_does_all_that_a_client_does(packages: None, shell: Shell) -> None:
    house = shell.start("-c", str(FOLDER / "maitred.toml"), *ANY_PORT, "up")
    found = re.search(r"clients (tcp://\S+)", ready(house))
    assert found is not None
    for words in (["--endpoint", found[1]], ["--restart"]):  # TCP, then ipc:// as it finds it itself
        done = node(shell.directory, "conformance.mjs", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert counts(done.stdout, "live")[0] >= 20


def test_a_call_from_the_shell(packages: None, shell: Shell) -> None:
    ready(shell.start("-c", str(FOLDER / "maitred.toml"), *ANY_PORT, "up"))
    done = node(shell.directory, "call.mjs", "general", "count", '{"n": 3}', "--stream")
    assert (done.returncode, done.stdout.split()) == (0, ["0", "1", "2", "3"]), done.stderr
    done = node(shell.directory, "call.mjs", "genral", "count")
    assert done.returncode == 1
    assert done.stderr.startswith("unknown_pool: no pool 'genral'")


def test_the_example_of_its_page_runs(packages: None, shell: Shell) -> None:
    ready(shell.start("-c", str(FOLDER / "maitred.toml"), *ANY_PORT, "up"))
    found = re.search(r"^```js\n(.*?)^```", (FOLDER / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    script = shell.directory / "example.mjs"
    script.write_text(found[1].replace("./maitred.mjs", (FOLDER / "maitred.mjs").as_uri()))
    done = node(shell.directory, str(script))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-6:] == [
        "0", "1", "2", "result 3", "2 5", "cancelled { outcome: 'stopped' } undefined",
    ]  # fmt: skip


def test_without_a_broker_it_says_so(packages: None, tmp_path: Path) -> None:
    done = node(tmp_path, "call.mjs", "general", "echo")
    assert done.returncode == 1
    assert done.stderr.startswith("unavailable: no broker is known")


# --- handshakes ---


@contextmanager
def door(status: bytes, keys: tuple[bytes, bytes] | None) -> Generator[tuple[str, list[bytes]]]:
    """A ROUTER behind a handler of handshakes with one answer, and what it was told of who came. It never says WELCOME."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    handler, router = context.socket(zmq.REP), context.socket(zmq.ROUTER)
    handler.bind("inproc://zeromq.zap.01")
    router.setsockopt(zmq.ZAP_DOMAIN, b"clients")
    if keys is not None:
        router.curve_server, router.curve_secretkey = True, keys[1]
    asked: list[bytes] = []

    def answer() -> None:
        try:
            while True:
                request = handler.recv_multipart()
                asked.append(request[5])
                handler.send_multipart([b"1.0", request[1], status, b"", b"", b""])
        except zmq.ContextTerminated:
            handler.close(0)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}", asked
    finally:
        router.close(0)
        context.term()
        thread.join()


def key_file(directory: Path, server: bytes) -> str:
    public, secret = zmq.curve_keypair()
    write_key(directory / "me.key", KeyFile(public.decode(), secret.decode(), server.decode()), "a test's")
    return str(directory / "me.key")


def test_a_key_that_is_refused_is_no_absent_broker(packages: None, tmp_path: Path) -> None:
    keys = zmq.curve_keypair()
    with door(b"400", keys) as (endpoint, asked):
        words = ["--endpoint", endpoint, "--key", key_file(tmp_path, keys[0])]
        done = node(tmp_path, "call.mjs", "general", "echo", "{}", *words)
    assert done.stderr.startswith("unauthenticated: the broker refused this key"), done.stderr
    assert asked == [b"CURVE"]


def test_a_key_that_is_accepted_gets_through(packages: None, tmp_path: Path) -> None:
    keys = zmq.curve_keypair()
    with door(b"200", keys) as (endpoint, asked):
        words = ["--endpoint", endpoint, "--key", key_file(tmp_path, keys[0]), "--patience", "0.5"]
        done = node(tmp_path, "call.mjs", "general", "echo", "{}", *words)
    assert done.stderr.startswith("unavailable: no broker answers"), (
        done.stderr
    )  # there is a door, and nobody behind it
    assert asked == [b"CURVE"]


def test_no_key_where_one_is_asked_for(packages: None, tmp_path: Path) -> None:
    with door(b"200", zmq.curve_keypair()) as (endpoint, asked):
        done = node(tmp_path, "call.mjs", "general", "echo", "{}", "--endpoint", endpoint)
    assert done.stderr.startswith("unauthenticated: the broker asks for a key"), done.stderr
    assert asked == []


def test_a_key_where_there_are_none(packages: None, tmp_path: Path) -> None:
    with door(b"200", None) as (endpoint, _):
        words = ["--endpoint", endpoint, "--key", key_file(tmp_path, zmq.curve_keypair()[0])]
        done = node(tmp_path, "call.mjs", "general", "echo", "{}", *words)
    assert done.stderr.startswith("unauthenticated: the broker has no keys"), done.stderr


def test_a_key_file_that_others_may_read_is_not_used(packages: None, tmp_path: Path) -> None:
    path = Path(key_file(tmp_path, zmq.curve_keypair()[0]))
    path.chmod(0o644)
    done = node(tmp_path, "call.mjs", "general", "echo", "{}", "--endpoint", "tcp://127.0.0.1:9", "--key", str(path))
    assert done.returncode == 1
    assert f"others may read {path}" in done.stderr
