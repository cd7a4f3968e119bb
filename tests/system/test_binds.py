"""Which ports a broker opens, to whom, and what it says where it does not: real processes, sockets and signals."""

from __future__ import annotations

import fcntl
import http.client
import os
import pty
import signal
import stat
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker_alone import BrokerAlone, Keys
from handshakes import CUT, IN, new_key, outcome
from user_shell import ANY_PORT, Shell, ended, ready, wait_for

from maitred.config.rundir import Connection, read_connection

pytestmark = pytest.mark.slow

EVERYWHERE = "tcp://0.0.0.0:0"
NOBODY = 65534


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerAlone]:
    broker = BrokerAlone(tmp_path)
    yield broker
    broker.end()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path, new_key())


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.end()


def connection(broker: BrokerAlone) -> Connection:
    found = read_connection(broker.run_dir)
    assert found is not None
    return found


# --- what other hosts reach ---


@pytest.mark.parametrize("key", ["clients", "workers", "majordomo"])
def test_the_process_itself_opens_nothing_to_others_unasked(broker: BrokerAlone, key: str) -> None:
    said = broker.refused(**{key: EVERYWHERE})
    assert f"maitred: broker.{key} = {EVERYWHERE}: other hosts can reach it" in said
    assert "maitred keys new broker" in said
    assert "--insecure" in said


def test_nor_does_it_serve_http_to_others_without_a_token(broker: BrokerAlone, keys: Keys) -> None:
    said = broker.refused(http="0.0.0.0:0", key_file=str(keys.file))
    assert "broker.http = 0.0.0.0:0: other hosts can reach it" in said
    assert "http_token" in said


def test_the_configuration_is_refused_before_and_insecure_is_an_option(shell: Shell) -> None:
    open_to_all = [*ANY_PORT, "--set", f"broker.clients={EVERYWHERE}"]
    refused = shell.maitred(*open_to_all, "broker")
    assert refused.returncode == 2
    assert "maitred keys new broker" in refused.stderr
    assert "--insecure" in refused.stderr
    broker = shell.start(*open_to_all, "broker", "--insecure")
    assert "tcp://0.0.0.0:" in ready(broker)
    broker.send_signal(signal.SIGTERM)
    assert ended(broker)[0] == 0


def test_an_insecure_broker_lets_everybody_in(broker: BrokerAlone) -> None:
    bound = broker.start(clients=EVERYWHERE, insecure=True)
    assert outcome(bound.clients[-1].replace("0.0.0.0", "127.0.0.1")) == IN


# --- keys ---


def test_with_keys_who_is_authorised_comes_by_tcp_and_this_user_by_ipc(broker: BrokerAlone, keys: Keys) -> None:
    alice = new_key(keys.broker.public)
    keys.authorise("alice", alice)
    bound = broker.start(clients=EVERYWHERE, workers=EVERYWHERE, majordomo="tcp://127.0.0.1:0", key_file=str(keys.file))
    for endpoint in (bound.clients[-1], bound.majordomo):
        reached = endpoint.replace("0.0.0.0", "127.0.0.1")
        assert outcome(reached, alice) == IN
        assert outcome(reached, new_key(keys.broker.public)) == 400
        assert outcome(reached) == CUT
    assert outcome(bound.workers[-1].replace("0.0.0.0", "127.0.0.1")) == CUT
    assert outcome(bound.clients[0]) == outcome(bound.workers[0]) == IN
    broker.stop()
    assert keys.broker.secret not in broker.log.read_text()
    assert "auth.refused" in broker.log.read_text()


def test_an_endpoint_of_ones_own_over_ipc_needs_no_key_either(broker: BrokerAlone, keys: Keys, tmp_path: Path) -> None:
    bound = broker.start(clients=f"ipc://{tmp_path}/c", majordomo=f"ipc://{tmp_path}/m", key_file=str(keys.file))
    assert bound.clients[-1] == f"ipc://{tmp_path}/c"
    assert outcome(bound.clients[-1]) == outcome(bound.majordomo) == IN
    assert outcome(bound.workers[-1]) == CUT


def test_keys_without_anybody_authorised_are_worth_a_warning(broker: BrokerAlone, keys: Keys) -> None:
    bound = broker.start(key_file=str(keys.file))
    assert outcome(bound.clients[-1], new_key(keys.broker.public)) == 400
    assert "keys.none" in broker.log.read_text()
    assert "nobody can come by TCP" in broker.log.read_text()


def test_files_that_cannot_be_used_end_the_start(broker: BrokerAlone, keys: Keys) -> None:
    keys.file.chmod(0o644)
    assert f"maitred: others may read {keys.file} (mode 0644): chmod 600 it" in broker.refused(key_file=str(keys.file))
    keys.file.chmod(0o600)
    keys.authorized.write_text('[keys.alice]\npublic = "short"\nrole = "boss"\n')
    said = broker.refused(key_file=str(keys.file))
    assert "keys.alice.public" in said
    assert "keys.alice.role" in said


def test_a_process_with_a_key_leaves_no_core(broker: BrokerAlone, keys: Keys) -> None:
    bound = broker.start(key_file=str(keys.file))
    limits = Path(f"/proc/{bound.pid}/limits").read_text().splitlines()
    (core,) = [line.split() for line in limits if line.startswith("Max core file size")]
    assert core[4:6] == ["1", "1"]


# --- its own doors, tried ---

LETS_ALL_IN = """
from maitred.broker.doors import Doors
from maitred.transport.zap import Verdict
Doors.decide = lambda self, *_: Verdict(200, "key:" + "x" * 40)
"""

LETS_ALL_KEYS_IN = """
from maitred.broker.doors import Doors
from maitred.transport.zap import Verdict
decide = Doors.decide
def let_keys_in(self, *asked):
    return Verdict(200, "key:" + "x" * 40) if asked[2] == "CURVE" else decide(self, *asked)
Doors.decide = let_keys_in
"""

ASKS_NOBODY = """
import functools
from maitred.broker import ports
ports.router = functools.partial(ports.router, handled=False)
def elsewhere(context):
    socket = context.socket(__import__("zmq").ROUTER)
    socket.bind("inproc://elsewhere")
    return socket
ports.bind_zap = elsewhere
"""

FORGETS_THE_KEY = "from maitred.broker import ports; ports.secure = lambda *_: None"

REFUSES_ALL = """
from maitred.broker.doors import Doors
from maitred.transport.zap import Verdict
Doors.decide = lambda self, *_: Verdict(400)
"""


@pytest.mark.parametrize(
    ("mistake", "keyed", "words"),
    [
        (LETS_ALL_IN, True, "got in, and was not known to the broker"),
        (LETS_ALL_IN, False, "got in, and was not known to the broker"),
        (LETS_ALL_KEYS_IN, True, "a key that nobody has authorised was let in"),
        (ASKS_NOBODY, True, "got in, and was not known to the broker"),
        (ASKS_NOBODY, False, "got in, and was not known to the broker"),
        (FORGETS_THE_KEY, True, "a key that nobody has authorised"),
        (REFUSES_ALL, False, "the broker's own user was refused"),
    ],
)
def test_a_broker_whose_doors_are_wrong_does_not_start(
    broker: BrokerAlone, keys: Keys, mistake: str, keyed: bool, words: str
) -> None:
    hurry = "from maitred.broker import trial; trial.TRIAL_S = 2.0\n"
    said = broker.refused(before=hurry + mistake, key_file=str(keys.file) if keyed else None)
    assert "maitred: the self-test failed" in said
    assert words in said
    assert "Traceback" not in said


def test_the_trial_is_no_event(broker: BrokerAlone, keys: Keys) -> None:
    keys.authorise("alice", new_key())
    broker.start(key_file=str(keys.file))
    broker.stop()
    assert "auth.refused" not in broker.log.read_text()


# --- another user of this host ---

AS_SOMEBODY_ELSE = """
import os, sys
from handshakes import outcome
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(outcome(sys.argv[1]))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
def test_another_user_is_refused_where_the_file_lets_him(broker: BrokerAlone, tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:3]):  # up to that of all runs
        directory.chmod(0o755)
    bound = broker.start(clients=f"ipc://{tmp_path}/c")
    os.chmod(tmp_path / "c", 0o666)
    done = subprocess.run(
        [sys.executable, "-c", AS_SOMEBODY_ELSE, bound.clients[-1]],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "cli")},
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert done.stdout == "400\n", done.stderr
    broker.stop()
    assert "it belongs to another user" in broker.log.read_text()
    assert f"localhost:{NOBODY}:{NOBODY}:" in broker.log.read_text()


# --- the secret ---


def test_the_secret_outlives_the_broker_and_is_for_its_owner(broker: BrokerAlone) -> None:
    bound = broker.start()
    secret = bound.secret
    assert len(secret) == 64
    assert connection(broker).secret == secret
    path = broker.run_dir / "secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() == secret
    assert secret not in repr(bound) + repr(connection(broker))
    broker.signal(signal.SIGKILL)
    broker.end()
    assert broker.start().secret == secret
    broker.stop()
    assert secret not in broker.log.read_text()
    path.chmod(0o644)
    assert f"others may read {path}" in broker.refused()
    path.chmod(0o600)
    path.write_text("short")
    assert f"{path} is damaged: delete it" in broker.refused()
    path.unlink()
    assert broker.start().secret not in ("", secret)


# --- reading again ---


def test_a_reload_lets_in_who_is_new_and_not_who_is_gone(shell: Shell, keys: Keys) -> None:
    alice, bob = new_key(keys.broker.public), new_key(keys.broker.public)
    keys.authorise("alice", alice)
    house = shell.start(*ANY_PORT, "--set", f"broker.key={keys.file}", "broker")
    endpoint = ready(house).split("clients ")[1].split()[0]
    assert (outcome(endpoint, alice), outcome(endpoint, bob)) == (IN, 400)
    keys.authorise("bob", bob)
    assert outcome(endpoint, bob) == 400
    assert shell.json("reload", "--json") == {"keys": 2, "added": ["bob"], "removed": [], "changed": []}
    assert outcome(endpoint, bob) == IN
    right = keys.authorized.read_text()
    keys.authorized.write_text(right + "\n[keys.carol]\n")
    refused = shell.maitred("reload")
    assert refused.returncode == 1
    assert "nothing was changed" in refused.stderr
    assert "keys.carol.public" in refused.stderr
    assert outcome(endpoint, bob) == IN
    keys.authorized.write_text(right.replace("alice", "anna"))
    said = shell.maitred("reload").stdout.splitlines()
    assert said[:3] == ["2 keys are authorised", "added: anna", "removed: alice"]
    keys.authorized.write_text("")
    house.send_signal(signal.SIGHUP)
    wait_for(lambda: outcome(endpoint, bob) == 400)
    assert outcome(endpoint, alice) == 400
    house.send_signal(signal.SIGTERM)
    assert ended(house)[0] == 0


def test_without_keys_there_is_nothing_to_read_again(shell: Shell) -> None:
    broker = shell.start(*ANY_PORT, "broker")
    ready(broker)
    refused = shell.maitred("reload")
    assert refused.returncode == 1
    assert "asks for no keys" in refused.stderr
    broker.send_signal(signal.SIGHUP)
    assert shell.maitred("status").returncode == 0
    broker.send_signal(signal.SIGTERM)
    code, said = ended(broker)
    assert code == 0
    assert "keys.unchanged" in said


def test_a_house_passes_it_on(shell: Shell, keys: Keys) -> None:
    alice = new_key(keys.broker.public)
    (shell.directory / "maitred.toml").write_text("[pools.elsewhere]\n")
    house = shell.start(*ANY_PORT, "--set", f"broker.key={keys.file}", "up")
    endpoint = next(word for word in ready(house).split() if word.startswith("tcp://"))
    assert outcome(endpoint, alice) == 400
    keys.authorise("alice", alice)
    house.send_signal(signal.SIGHUP)
    wait_for(lambda: outcome(endpoint, alice) == IN)
    house.send_signal(signal.SIGTERM)
    code, said = ended(house)
    assert code == 0
    assert "keys.reloaded" in said


@pytest.mark.parametrize("command", ["broker", "up"])
def test_the_end_of_a_terminal_ends_what_runs_there(shell: Shell, command: str) -> None:
    (shell.directory / "maitred.toml").write_text("[pools.elsewhere]\n")
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "maitred.cli", *ANY_PORT, command], cwd=shell.directory, env=shell.environment,
        stdin=end, stdout=end, stderr=end,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    shell.started.append(process)
    os.close(end)
    try:
        said = b""
        while not (b"listens" in said or b"ready" in said):
            said += os.read(terminal, 4096)
        process.send_signal(signal.SIGHUP)
        while b"keys.unchanged" not in said:
            said += os.read(terminal, 4096)
    finally:
        os.close(terminal)
    assert process.wait(20) == 0


# --- HTTP ---


def get(address: str, path: str, *tokens: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.putrequest("GET", path)
        for token in tokens:
            connection.putheader("Authorization", token)
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("WWW-Authenticate", "")
    finally:
        connection.close()


def test_http_asks_for_its_token(broker: BrokerAlone, tmp_path: Path) -> None:
    token, path = "0123456789abcdef0123", tmp_path / "token"
    path.write_text(token + "\n")
    path.chmod(0o644)
    assert f"others may read {path}" in broker.refused(http="127.0.0.1:0", http_token_file=str(path))
    path.chmod(0o600)
    address = broker.start(http="0.0.0.0:0", http_token_file=str(path)).http.replace("0.0.0.0", "127.0.0.1")
    assert get(address, "/healthz") == (200, "")
    for tokens in ((), ("Bearer wrong",), (token,), (f"Basic {token}",), ("Bearer ",), (f"Bearer {token}",) * 2):
        for path_asked in ("/metrics", "/api/v1/pools", "/nothing", "/healthz/", "//healthz", "/readyzz"):
            assert get(address, path_asked, *tokens) == (401, "Bearer")
        for path_asked in ("/readyz", "/readyz/x"):  # a probe shows none; a wrong one is refused here, too
            assert get(address, path_asked, *tokens) == ((401, "Bearer") if tokens else (503, ""))
    assert get(address, "/readyz", f"Bearer {token}")[0] == 503
    assert get(address, "/readyz/x", f"bearer {token}")[0] == 404
    broker.stop()
    assert token not in broker.log.read_text()
