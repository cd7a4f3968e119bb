"""`maitred doctor`: what it finds where all is well, and where something is missing."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from user_shell import ANY_PORT, Shell, ended, ready

from maitred.config import cpus

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ONE_POOL = f'[pools.app]\nadapter = "{HERE / "app.py"}:service"\n'


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    (tmp_path / "maitred.toml").write_text(ONE_POOL)
    yield shell
    shell.end()


def doctor(shell: Shell, *words: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """The exit code, and the findings by what was looked at."""
    done = shell.maitred(*words, "doctor", "--json")
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert said["fine"] is (done.returncode == 0)
    found: dict[str, list[dict[str, str]]] = {}
    for each in said["checks"]:
        found.setdefault(each["check"], []).append(each)
    return done.returncode, found


def broken(found: dict[str, list[dict[str, str]]]) -> dict[str, Any]:
    return {check: each for check, those in found.items() for each in those if each["state"] == "broken"}


def test_where_all_is_well_each_check_has_a_line(shell: Shell) -> None:
    code, found = doctor(shell, *ANY_PORT)
    assert code == 0, broken(found)
    assert found.keys() >= {
        "configuration", "python", "zeromq", "curve", "gpu", "descriptors", "memory", "memory limits", "processes",
        "token of HTTP", "clock",
        "run directory", "port for clients", "port for workers", "port for http", "broker", "adapter",
    }  # fmt: skip
    assert "maitred up" in found["broker"][0]["todo"]
    done = shell.maitred(*ANY_PORT, "doctor")
    assert done.returncode == 0
    assert "✓ python" in done.stdout
    assert "! broker" in done.stdout
    assert "✗" not in done.stdout


def test_where_spans_go_if_they_are_to_go_anywhere(shell: Shell) -> None:
    shell.environment |= {"MAITRED_TRACING": "on", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    code, found = doctor(shell, *ANY_PORT)
    assert (code, found["tracing"][0]["found"]) == (0, "spans go to http://127.0.0.1:1")
    shell.environment["OTEL_TRACES_EXPORTER"] = "zipkin"
    code, found = doctor(shell, *ANY_PORT)
    assert code == 1
    assert 'accepted: "otlp" or "console"' in found["tracing"][0]["found"]


def test_without_a_driver_it_says_what_was_looked_for(shell: Shell) -> None:
    _, found = doctor(shell, *ANY_PORT)
    if any("none" in each["found"] for each in found["gpu"]):
        assert any("nvml" in each["found"].lower() or "nvidia" in each["found"].lower() for each in found["gpu"])


def test_adapters_are_imported_beside_one_another_and_their_faults_named(shell: Shell) -> None:
    names = [f"slow{number}" for number in range(min(4, max(2, cpus())))]
    for name in names:
        (shell.directory / f"{name}.py").write_text(
            "import time\ntime.sleep(1.5)\nfrom maitred.worker import Service\nservice = Service()\n"
        )
    (shell.directory / "bad.py").write_text("x = 1\nraise ValueError('the model is missing')\n")
    pools = [f'[pools.{name}]\nadapter = "{name}:service"\n' for name in [*names, "bad"]]
    (shell.directory / "maitred.toml").write_text("".join(pools))
    began = time.monotonic()
    code, found = doctor(shell, *ANY_PORT)
    assert time.monotonic() - began < 1.5 * len(names) + 5
    assert code == 1
    (bad,) = [each for each in found["adapter"] if each["state"] == "broken"]
    assert "bad:service does not import: ValueError: the model is missing" in bad["found"]
    assert "bad.py:2" in bad["found"]
    took = {each["found"] for each in found["adapter"]} - {bad["found"]}
    assert len(took) == len(names)
    assert all(float(each.rpartition(" in ")[2].removesuffix(" s")) >= 1.5 for each in took)


def test_a_configuration_that_is_wrong_is_a_finding_and_the_rest_is_checked_still(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text('[pools.app]\nadapter = "app"\ntimeout = "5 parsecs"\n')
    code, found = doctor(shell)
    assert code == 1
    assert len(found["configuration"]) == 2
    assert "parsecs" in str(found["configuration"])
    assert found["python"][0]["state"] == "fine"


def test_a_port_that_is_taken_and_by_whom(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        code, found = doctor(shell, *ANY_PORT, "--set", f"broker.clients={where}")
    assert code == 1
    (finding,) = found["port for clients"]
    assert where in finding["found"]
    assert f"(pid {os.getpid()})" in finding["found"]
    assert "broker.clients" in finding["todo"]


def test_a_run_directory_that_cannot_be_used(shell: Shell) -> None:
    shell.environment["MAITRED_RUN_DIR"] = str(shell.directory / ("long" * 30))
    code, found = doctor(shell, *ANY_PORT)
    assert code == 1
    assert "too long" in found["run directory"][0]["found"]
    assert "MAITRED_RUN_DIR" in found["run directory"][0]["todo"]
    shell.environment["MAITRED_RUN_DIR"] = str(shell.directory / "open")
    (shell.directory / "open").mkdir(mode=0o755)
    code, found = doctor(shell, *ANY_PORT)
    assert code == 1
    assert "others may enter" in found["run directory"][0]["found"]


def test_a_broker_that_runs_is_no_fault(shell: Shell) -> None:
    house = shell.start(*ANY_PORT, "up")
    endpoint = ready(house).split("clients ")[1].split()[0]
    code, found = doctor(shell, "--set", f"broker.clients={endpoint}", "--set", "broker.workers=tcp://127.0.0.1:0")
    assert code == 0, broken(found)
    for check in ("run directory", "port for clients"):
        assert "held by the broker that runs (pid " in found[check][0]["found"]
    assert "answers at" in found["broker"][0]["found"]
    house.terminate()
    assert ended(house)[0] == 0


def test_a_broker_that_was_named_and_does_not_answer_is_a_fault(shell: Shell) -> None:
    began = time.monotonic()
    code, found = doctor(shell, *ANY_PORT, "--endpoint", "tcp://127.0.0.1:9")
    assert time.monotonic() - began < 10
    assert code == 1
    assert broken(found).keys() == {"broker"}
    assert "tcp://127.0.0.1:9" in found["broker"][0]["found"]


def test_too_few_descriptors(shell: Shell) -> None:
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))  # noqa: E731
    done = subprocess.run(
        [sys.executable, "-m", "maitred.cli", *ANY_PORT, "doctor"],
        env=shell.environment, cwd=shell.directory, capture_output=True, text=True, timeout=50, preexec_fn=few,
    )  # fmt: skip
    assert done.returncode == 1
    assert "✗ descriptors" in done.stdout
    assert "ulimit -n" in done.stdout


def test_limits_that_can_only_be_polled_are_a_note_with_what_to_do(shell: Shell) -> None:
    shell.environment["MAITRED_MEMORY_MODE"] = "polling"
    (shell.directory / "maitred.toml").write_text(ONE_POOL + 'memory_limit = "512MB"\n')
    code, found = doctor(shell, *ANY_PORT)
    (limits,) = found["memory limits"]
    assert (code, limits["state"]) == (0, "note")
    assert "Delegate=yes" in limits["todo"]


def test_a_token_that_is_absent_or_open_to_others(shell: Shell) -> None:
    token = shell.directory / "token"
    words = [*ANY_PORT, "--set", f"broker.http_token={token}"]
    code, found = doctor(shell, *words)
    assert code == 1
    assert "openssl rand -hex 32" in found["token of HTTP"][0]["todo"]
    token.write_text("secret" * 8 + "\n")
    token.chmod(0o644)
    assert doctor(shell, *words)[0] == 1
    token.chmod(0o600)
    code, found = doctor(shell, *words)
    assert (code, found["token of HTTP"][0]["state"]) == (0, "fine"), found["token of HTTP"]
    assert "secret" not in str(found)
