"""The commands as a user types them: real processes, their output and their exit codes."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import psutil
import pytest
from user_shell import ANY_PORT, Shell, ended, left, ready, wait_for

from maitred.client import Client
from maitred.client.errors import Unavailable

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """`maitred up` with the built-in configuration."""
    shell = Shell(tmp_path_factory.mktemp("up"))
    process = shell.start(*ANY_PORT, "up")
    try:
        assert "maitred ready" in ready(process)
        yield shell
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        code, errors = ended(process)
        assert code == 0, errors
        assert not left(family, 5.0), "somebody is left"
    finally:
        process.kill()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Nothing runs."""
    shell = Shell(tmp_path)
    yield shell
    shell.end()


def test_call_prints_the_result_as_json(up: Shell) -> None:
    done = up.maitred("call", "general", "echo", '{"message":"Hello from Python"}')
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"message": "Hello from Python"}\n', "")


def test_call_reads_its_arguments_from_standard_input(up: Shell) -> None:
    assert up.maitred("call", "-", "square", "-", text='{"x": 12}').stdout == "144\n"


def test_call_streams_a_line_for_each_part(up: Shell) -> None:
    done = up.maitred("call", "general", "compute", '{"n": 3000000}', "--stream", "--timeout", "20s")
    *parts, result = [json.loads(line) for line in done.stdout.splitlines()]
    assert all("progress" in part for part in parts)
    assert result["primes"] == 216_816


def test_errors_say_what_would_have_been_right(up: Shell) -> None:
    done = up.maitred("call", "general", "ecko")
    assert done.returncode == 1
    assert "did you mean 'echo'" in done.stderr
    assert "Traceback" not in done.stderr
    for words in (
        ["call", "general", "echo", "{bad"],
        ["call", "general", "echo", "[1]"],
        ["call", "general"],
        ["nonsense"],
    ):
        done = up.maitred(*words)
        assert done.returncode == 2, words
        assert "Traceback" not in done.stderr
    assert up.maitred("call", "general", "sleep", '{"seconds": 9}', "--timeout", "100ms").returncode == 1


def test_status_has_a_row_for_each_pool(up: Shell) -> None:
    status = up.json("status", "--json")
    assert [row["name"] for row in status["pools"]] == ["general", "optimizer", "neural"]
    for row in status["pools"]:
        assert {"name", "available", "busy", "total", "queued", "max_queue", "level", "retry_after"} <= row.keys()
        assert row["available"] + row["busy"] <= row["total"]
    assert status["broker"]["draining"] is False
    assert "general" in up.maitred("status").stdout


def test_workers_are_the_processes_that_run(up: Shell) -> None:
    rows = up.json("workers", "--json")
    assert {row["pool"] for row in rows} == {"general", "optimizer", "neural"}
    for row in rows:
        assert {"id", "pool", "host", "pid", "state", "rss", "requests", "request", "request_age"} <= row.keys()
        assert psutil.pid_exists(row["pid"])
    assert len(up.maitred("workers").stdout.splitlines()) == len(rows) + 1


def test_what_is_unanswered_is_listed_and_cancelled(up: Shell) -> None:
    assert up.json("requests", "--json") == up.json("quarantine", "ls", "--json") == []
    call = up.start("call", "general", "sleep", '{"seconds": 25}', "--priority", "high")
    (row,) = wait_for(lambda: up.json("requests", "--json"))
    assert (row["command"], row["priority"]) == ("sleep", "high")
    up.json("requests", "cancel", row["id"])
    code, errors = ended(call)
    assert code == 1
    assert "RequestCancelled" in errors


def test_a_second_broker_in_the_same_directory_is_refused(up: Shell) -> None:
    done = up.maitred(*ANY_PORT, "up")
    assert done.returncode == 1
    assert "MAITRED_RUN_DIR" in done.stderr
    assert "Traceback" not in done.stderr
    assert up.maitred("call", "general", "ping").returncode == 0


@pytest.mark.parametrize("verb", ["up", "broker"])
def test_a_port_that_is_taken_is_one_line(shell: Shell, verb: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        done = shell.maitred(*ANY_PORT, "--set", f"broker.clients={where}", verb)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith(f"maitred: cannot listen on {where}: ")
    assert "Traceback" not in done.stderr


def test_each_console_script_is_there() -> None:
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())
    for name, target in project["project"]["scripts"].items():
        assert callable(EntryPoint(name, target, "console_scripts").load()), name


def test_maitred_broker_is_the_broker_alone(shell: Shell) -> None:
    command = [sys.executable, "-c", "from maitred.cli.broker_main import main; main()"]
    broker = subprocess.Popen(
        [*command, *ANY_PORT], env=shell.environment, cwd=shell.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert "listens" in ready(broker)
    assert shell.json("status", "--json")["broker"]["clients"] == 1
    broker.send_signal(signal.SIGTERM)
    assert ended(broker)[0] == 0


def test_the_last_answers_of_a_broker_that_ends_arrive(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text("[pools.nobody]\n")
    broker = shell.start(*ANY_PORT, "broker")
    endpoint = ready(broker).split("clients ")[1].split()[0]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(endpoint)) for _ in range(40)]
        futures = [client.submit("nobody", "wait", timeout=30) for client in clients]
        wait_for(lambda: shell.json("status", "--json")["pools"][0]["queued"] == len(clients))
        broker.send_signal(signal.SIGTERM)
        for future in futures:
            with pytest.raises(Unavailable, match="the broker is shutting down"):
                future.result(5)
    assert ended(broker)[0] == 0


def test_what_takes_long_is_named(shell: Shell) -> None:
    (shell.directory / "slow.py").write_text(
        "import time; from maitred.worker import Service; service = Service(); time.sleep(2.5)\n"
        "service.startup(lambda: time.sleep(9))\n"
    )
    (shell.directory / "maitred.toml").write_text('[pools.a]\nadapter = "slow:service"\nsize = 1\n')
    house = shell.start(*ANY_PORT, "up")
    assert house.stderr is not None
    assert "importing slow:service" in house.stderr.readline()
    while "waiting for workers: a 0 of 1" not in (line := house.stderr.readline()):
        assert line
    house.send_signal(signal.SIGTERM)
    assert ended(house)[0] == 0


@pytest.mark.parametrize("option", ["--connect", "--clients"])
def test_what_is_no_endpoint_is_refused(shell: Shell, option: str) -> None:
    ends = ["--connect", "tcp://127.0.0.1:9", option, "nowhere"]
    done = shell.maitred("pool", "general", *ends)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    words = [
        sys.executable,
        "-m",
        "maitred.worker",
        "--pool",
        "general",
        *ends,
        "maitred.worker.adapters.general:service",
    ]
    worker = subprocess.run(words, capture_output=True, text=True)
    assert worker.returncode == 2
    assert "Traceback" not in worker.stderr


def test_without_a_broker_the_exit_code_is_3(shell: Shell) -> None:
    for words in (["status"], ["workers"], ["call", "general", "ping"]):
        done = shell.maitred(*words)
        assert done.returncode == 3
        assert "maitred up" in done.stderr
    done = shell.maitred("--endpoint", "tcp://127.0.0.1:9", "status")
    assert done.returncode == 3
    assert "tcp://127.0.0.1:9" in done.stderr


def test_a_bad_configuration_starts_nothing_and_names_every_problem(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text(
        '[broker]\nheartbeat_intervall = "1s"\n[pools.a]\nadapter = "no_such_module:service"\ntimeout = "5 parsecs"\n'
    )
    for verb in (["up"], ["config", "check"], ["broker"]):
        done = shell.maitred(*verb)
        assert done.returncode == 2
        assert "heartbeat_interval" in done.stderr
        assert "parsecs" in done.stderr
        assert len(done.stderr.splitlines()) == 2
    (shell.directory / "maitred.toml").write_text('[pools.a]\nadapter = "no_such_module:service"\n')
    done = shell.maitred("up")
    assert done.returncode == 2
    assert "no_such_module" in done.stderr
    assert "Traceback" not in done.stderr


def test_config_shows_what_is_in_force(shell: Shell) -> None:
    shown = shell.json("--set", "pools.general.size=3", "config", "show", "--json")
    assert shown["pools"]["general"]["size"] == 3
    assert shell.json("config", "schema")["$schema"].startswith("https://json-schema.org/")
    assert shell.maitred("config", "check").returncode == 0


def test_version() -> None:
    done = subprocess.run([sys.executable, "-m", "maitred.cli", "--version"], capture_output=True, text=True)
    assert re.match(r"maitred \d+\.\d+\.\d+ \(pyzmq .*, libzmq 4", done.stdout)


ONE_POOL = f"""
[pools.app]
adapter = "{HERE / "app.py"}:service"
size = 1
[routing]
"*" = "app"
"""


def test_sigterm_lets_what_runs_finish(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text(ONE_POOL)
    house = shell.start(*ANY_PORT, "up")
    ready(house)
    call = shell.start("call", "app", "busy", '{"seconds": 4}')
    wait_for(lambda: any(row["state"] == "busy" for row in shell.json("workers", "--json")))
    house.send_signal(signal.SIGTERM)
    out, _ = call.communicate(timeout=20)
    assert (call.returncode, out) == (0, "4.0\n")
    assert ended(house)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_call_that_is_told_to_end_stops_its_work(shell: Shell, number: signal.Signals) -> None:
    (shell.directory / "maitred.toml").write_text(ONE_POOL)
    house = shell.start(*ANY_PORT, "up")
    ready(house)
    call = shell.start("call", "app", "nap", '{"seconds": 25}')
    wait_for(lambda: any(row["state"] == "busy" for row in shell.json("workers", "--json")))
    call.send_signal(number)
    text = "maitred: interrupted: the request is cancelled, and told to stop where it runs\n"
    assert ended(call) == (128 + number, text)
    wait_for(lambda: all(row["state"] == "idle" for row in shell.json("workers", "--json")), patience_s=5)
    house.send_signal(signal.SIGTERM)
    assert ended(house)[0] == 0


def test_a_second_signal_ends_it_at_once(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text(ONE_POOL)
    house = shell.start(*ANY_PORT, "up")
    ready(house)
    family = psutil.Process(house.pid).children(recursive=True)
    call = shell.start("call", "app", "busy", '{"seconds": 25}')
    wait_for(lambda: any(row["state"] == "busy" for row in shell.json("workers", "--json")))
    assert house.stderr is not None
    house.send_signal(signal.SIGINT)
    while "stopping" not in house.stderr.readline():
        pass
    house.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert ended(house)[0] == 1
    assert time.monotonic() - began < 5
    assert not left(family, 5.0), "somebody is left"
    code, errors = ended(call)
    assert code == 1
    assert "broker" in errors or "worker" in errors
    assert time.monotonic() - began < 7, "its caller was left to wait"


@pytest.mark.parametrize("entry", ["main", "broker"])
def test_ctrl_c_while_it_imports_is_no_error(entry: str) -> None:
    """It comes amid an import, wherever: here of what every command needs."""
    planted = f"""
import os, signal, sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
from maitred.cli.entry import {entry}
{entry}()
"""
    done = subprocess.run([sys.executable, "-c", planted], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_broker_alone_that_is_told_twice_tells_its_callers(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text(ONE_POOL)
    broker = shell.start(*ANY_PORT, "broker")
    assert ", workers tcp://" in ready(broker)
    pool = shell.start("pool", "app")
    wait_for(lambda: any(row["state"] == "idle" for row in shell.json("workers", "--json")))
    call = shell.start("call", "app", "busy", '{"seconds": 25}')
    wait_for(lambda: any(row["state"] == "busy" for row in shell.json("workers", "--json")))
    broker.send_signal(signal.SIGTERM)
    wait_for(lambda: shell.json("status", "--json")["broker"]["draining"])
    broker.send_signal(signal.SIGTERM)
    began = time.monotonic()
    code, errors = ended(call)
    assert (code, errors.strip()) == (1, "maitred: Unavailable: the broker shut down before it was done")
    assert ended(broker)[0] == 1
    assert time.monotonic() - began < 5
    pool.send_signal(signal.SIGTERM)
    ended(pool)


def test_broker_and_pool_apart(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text(ONE_POOL)
    broker = shell.start(*ANY_PORT, "broker")
    ready(broker)
    pool = shell.start("pool", "app")
    wait_for(lambda: any(row["state"] == "idle" for row in shell.json("workers", "--json")))
    assert shell.json("call", "app", "echo", '{"message": "apart"}') == {"message": "apart"}
    pool.send_signal(signal.SIGTERM)
    code, said = ended(pool)
    assert code == 0
    assert said.count("stopping: what runs is finished first") == 1
    broker.send_signal(signal.SIGTERM)
    assert ended(broker)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_without_an_agent_ends_at_ctrl_c(shell: Shell, number: signal.Signals) -> None:
    (shell.directory / "maitred.toml").write_text("[pools.app]\n")
    broker = shell.start(*ANY_PORT, "broker")
    ready(broker)
    words = [sys.executable, "-m", "maitred.worker", "--pool", "app"]
    refused = subprocess.run([*words, "json:dumps"], env=shell.environment, cwd=shell.directory, capture_output=True)
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    worker = subprocess.Popen([*words, f"{HERE / 'app.py'}:service"], env=shell.environment, cwd=shell.directory)
    wait_for(lambda: any(row["state"] == "idle" for row in shell.json("workers", "--json")))
    worker.send_signal(number)
    assert worker.wait(10) == 0
    assert shell.json("workers", "--json") == []
    broker.send_signal(signal.SIGTERM)
    assert ended(broker)[0] == 0
