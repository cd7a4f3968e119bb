"""The broker as one file (`make binary`): that it needs no Python, and that what is left out of it is not missed."""

from __future__ import annotations

import http.client
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from user_shell import ANY_PORT, Shell, ended, ready, wait_for

from maitred.client import Client

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
APP = f"{ROOT / 'tests' / 'system' / 'app.py'}:service"

LOADER = "/lib64/ld-linux-x86-64.so.2"
LIBRARIES = ("libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libz.so.1")
"""What the file takes from the system, on x86-64: the C library, and zlib to unpack itself."""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    (tmp_path / "maitred.toml").write_text(f'[pools.app]\nadapter = "{APP}"\nsize = 1\n')
    yield shell
    shell.end()


def serves(shell: Shell, broker: subprocess.Popen[str]) -> None:
    """A worker and a client come from outside; all that a broker does on its own is asked for once."""
    line = ready(broker)
    workers = line.partition(" workers ")[2].split(",")[0].split()[0]
    clients = line.partition(" clients ")[2].split(",")[0].split()[0]
    address = line.strip().rpartition("http://")[2]
    pool = shell.start("pool", "app", "--connect", workers, "--clients", clients)
    with Client(clients) as client:
        wait_for(lambda: client.pools()[0]["available"] == 1)
        assert client.execute("app", "echo", {"message": "hello"}) == {"message": "hello"}
        with client.session("app") as session:
            session.execute("pid")
    for path in (
        "/",
        "/page/maitred.js",
        "/healthz",
        "/readyz/app",
        "/metrics",
        "/api/v1/pools",
        "/api/v1/openapi.json",
    ):
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True), path
        connection.close()
    pool.send_signal(signal.SIGTERM)
    assert ended(pool)[0] == 0
    broker.send_signal(signal.SIGTERM)
    code, errors = ended(broker)
    assert code == 0, errors


def test_what_is_left_out_is_not_missed(shell: Shell) -> None:
    """Without building it: modules that are not to be had, in a broker that does everything once."""
    left_out = runpy.run_path(str(ROOT / "scripts" / "binary.py"))["LEFT_OUT"]
    hide = f"import sys; sys.modules.update(dict.fromkeys({left_out!r})); "
    command = [sys.executable, "-c", hide + "from maitred.cli.broker_main import main; main()"]
    broker = subprocess.Popen(
        [*command, *ANY_PORT], env=shell.environment, cwd=shell.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    shell.started.append(broker)
    serves(shell, broker)


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("PyInstaller", reason="`make binary` installs it")
    folder = tmp_path_factory.mktemp("binary")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "binary.py"), str(folder)], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return folder / "maitred-broker"


@pytest.fixture
def root(tmp_path: Path, binary: Path) -> Path:
    """A root directory that has the file, the C library, and nothing else."""
    if sys.platform != "linux" or os.uname().machine != "x86_64" or os.getuid() != 0:
        pytest.skip("only root can make another root directory, and this one is of Linux on x86-64")
    root = tmp_path / "root"
    for name in ("lib64", "lib", "tmp", "run", "dev", "proc", "etc"):
        (root / name).mkdir(parents=True)
    shutil.copy(binary, root / "maitred-broker")
    shutil.copy(LOADER, root / "lib64")
    system = [Path("/lib/x86_64-linux-gnu"), Path("/usr/lib64"), Path("/lib")]  # Debian's, Fedora's, others'
    for name in LIBRARIES:
        shutil.copy(next(folder / name for folder in system if (folder / name).exists()), root / "lib")
    for name, minor in (("null", 3), ("urandom", 9)):
        os.mknod(root / "dev" / name, 0o20666, os.makedev(1, minor))
    (root / "etc" / "maitred.toml").write_text("[pools.app]\n")
    return root


ENTER = """
mount -t proc proc "$0/proc"
exec env -i MAITRED_RUN_DIR=/run/maitred "$(command -v chroot)" "$0" /maitred-broker "$@"
"""


def inside(root: Path, *words: str) -> list[str]:
    return ["unshare", "--mount", "sh", "-ec", ENTER, str(root), *words]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_it_serves_where_there_is_no_python(shell: Shell, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [path for path in root.rglob("*") if "python" in path.name.lower() or path.suffix == ".py"]
    assert not found
    version = subprocess.run(inside(root, "--version"), capture_output=True, text=True, timeout=30)
    assert version.stdout.startswith("maitred "), version.stderr
    assert "--config" in subprocess.run(inside(root, "--help"), capture_output=True, text=True, timeout=30).stdout
    wrong = subprocess.run(inside(root, "--wrong"), capture_output=True, text=True, timeout=30)
    assert (wrong.returncode, "--wrong" in wrong.stderr, "Traceback" in wrong.stderr) == (2, True, False)
    broker = subprocess.Popen(
        inside(root, "-c", "/etc/maitred.toml", *ANY_PORT), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    shell.started.append(broker)
    shell.environment["MAITRED_RUN_DIR"] = str(root / "run" / "maitred")  # where the secret is, for who serves
    monkeypatch.setenv("MAITRED_RUN_DIR", shell.environment["MAITRED_RUN_DIR"])
    serves(shell, broker)
    assert not list((root / "tmp").iterdir()), "what was unpacked is gone with it"


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_its_keys_are_curve_and_ctrl_c_drains_it_once(shell: Shell, binary: Path) -> None:
    for name, role in (("w", "agent"), ("c", "client")):
        words = ["--serve", "app"] if role == "agent" else ["--call", "app"]
        assert shell.maitred("keys", "new", name, "--role", role, *words, "--directory", "keys").returncode == 0
    keys = shell.directory / "keys"
    broker = subprocess.Popen(
        [binary, *ANY_PORT, "--set", f"broker.key={keys / 'broker.key'}"],
        env=shell.environment, cwd=shell.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    shell.started.append(broker)
    line = ready(broker)
    clients, workers = (next(word for word in part.split() if "tcp://" in word) for part in line.split(", ")[:2])
    pool = shell.start("--key", str(keys / "w.key"), "pool", "app", "--connect", workers)
    with Client(clients, key=str(keys / "c.key")) as client:
        future = client.submit("app", "nap", {"seconds": 1.5}, timeout=20)
        wait_for(lambda: any(row["busy"] for row in shell.json("pools", "--json")))
        os.killpg(broker.pid, signal.SIGINT)  # as a terminal does: to everybody of the group, once
        future.result(20)
    assert ended(broker)[0] == 0
    pool.send_signal(signal.SIGTERM)
    assert ended(pool)[0] == 0
