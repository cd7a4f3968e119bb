"""`maitred scale | recycle | drain | pause | resume | workers`: against a scripted broker, then the real one."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from scripted_broker import ScriptedBroker, free_endpoint
from user_shell import ANY_PORT, Shell, ended, ready, wait_for

from maitred.client import Client
from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.body import encode_body

pytestmark = pytest.mark.slow

OLD = [f"{number}" * 32 for number in "1234"]
NEW = "a" * 32
STDERR = "Traceback (most recent call last):\n  File [red]\nMemoryError: no more\n"
DEATH: dict[str, Any] = {
    "worker": "dead" * 8, "pool": "app", "host": "ada", "pid": 77, "cause": "oom", "signal": "SIGKILL", "exit_code": None,
    "peak_rss": 620_000_000, "memory": 612_000_000, "memory_limit": 512_000_000, "gpu_bytes": 3_000_000_000,
    "age": 184.5, "served": 17, "stderr": STDERR, "ended": 12.5,
}  # fmt: skip
BRIEF: dict[str, Any] = {"worker": "beef" * 8, "pool": "app", "cause": "exit", "exit_code": 3, "served": 1, "age": 1.0}


def row(worker: str, state: str = "idle") -> dict[str, Any]:
    return {"id": worker, "pool": "app", "host": "ada", "pid": 7, "state": state, "rss": 5_000_000, "requests": 3,
            "request": None, "request_age": None, "age": 5.0, "agent": True}  # fmt: skip


class Scene:
    """What the scripted broker answers: each look at the workers shows the next of `acts`, the last one for good."""

    def __init__(self) -> None:
        self.pool: dict[str, Any] = {
            "name": "app",
            "available": 2,
            "busy": 0,
            "total": 2,
            "queued": 0,
            "degraded": None,
            "reason": None,
        }
        self.acts: list[list[dict[str, Any]]] = [[row(OLD[0]), row(OLD[1])]]
        self.told: list[tuple[str, str]] = []

    def answer(self, message: Any, _: Any) -> Iterable[frames.Frames]:
        if isinstance(message, m.Operate):
            self.told.append((message.verb, message.target))
            if message.target.startswith("nobody"):
                text = "no pool 'nobody'. There are: app"
                return [
                    frames.encode(m.Error(message.id, "invalid_argument", text), encode_body({"argument": "target"}))
                ]
            return [frames.encode(m.Reply(message.id), encode_body(self.done(message.verb, message.target)))]
        if not isinstance(message, m.Query):
            return []
        return [frames.encode(m.Reply(message.id), encode_body(self.table(message.what)))]

    def done(self, verb: str, target: str) -> dict[str, Any]:
        """As the broker says it."""
        workers = [row["id"] for row in self.acts[0] if target in ("app", row["id"][:4])]
        match verb:
            case "recycle":
                return {"workers": workers}
            case "drain" if target not in ("", "app"):
                return {"worker": workers[0], "pool": "app"}
            case "drain" | "resume":
                return {"pools": ["app"]}
            case _:
                return {"pool": "app"}

    def table(self, what: str) -> Any:
        match what:
            case "workers":
                return self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
            case "pools":
                return [self.pool]
            case "deaths":
                return [DEATH, BRIEF]
            case _:
                return {"software": "scripted", "draining": False, "uptime": 5.0, "requests": 2, "clients": 1}


@pytest.fixture(scope="module")
def broker() -> Iterator[ScriptedBroker]:
    broker = ScriptedBroker(free_endpoint())
    yield broker
    broker.close()


@pytest.fixture
def scene(broker: ScriptedBroker) -> Scene:
    scene = Scene()
    broker.answers = scene.answer
    return scene


def maitred(broker: ScriptedBroker, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "maitred.cli", "--endpoint", broker.clients, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=50)


def printed(broker: ScriptedBroker, *words: str) -> str:
    done = maitred(broker, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["scale", "app", "2"], ("scale", "app=2")),
        (["scale", "app", "9", "--no-wait"], ("scale", "app=9")),
        (["recycle", "app", "--no-wait"], ("recycle", "app")),
        (["recycle", "1111", "--no-wait"], ("recycle", "1111")),
        (["drain", "app"], ("drain", "app")),
        (["drain"], ("drain", "")),
        (["drain", "2222", "--no-wait"], ("drain", "2222")),
        (["pause", "app"], ("pause", "app")),
        (["resume", "app", "--wait"], ("resume", "app")),
        (["resume"], ("resume", "")),
    ],
)
def test_each_verb_is_told_to_the_broker(
    broker: ScriptedBroker, scene: Scene, words: list[str], told: tuple[str, str]
) -> None:
    assert json.loads(printed(broker, *words)) == scene.done(*told)
    assert scene.told == [told]


def test_scaling_is_over_when_the_workers_are_ready(broker: ScriptedBroker, scene: Scene) -> None:
    both = scene.acts[0]
    scene.acts = [both, [*both, row(NEW, "starting")], [*both, row(NEW)]]
    printed(broker, "scale", "app", "3")
    assert len(scene.acts) == 1


def test_recycling_is_over_when_the_old_are_gone(broker: ScriptedBroker, scene: Scene) -> None:
    scene.acts = [
        [row(OLD[0])],
        [row(OLD[0])],
        [row(OLD[0]), row(NEW)],
        [row(OLD[0], "draining"), row(NEW)],
        [row(NEW)],
    ]
    printed(broker, "recycle", "app")
    assert len(scene.acts) == 1


def test_a_terminal_is_told_how_far_it_is(broker: ScriptedBroker, scene: Scene) -> None:
    both = scene.acts[0]
    scene.acts = [[*both, row(NEW, "starting")]] * 8 + [[*both, row(NEW)]]
    here, there = pty.openpty()
    command = [sys.executable, "-m", "maitred.cli", "--endpoint", broker.clients, "scale", "app", "3"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=there, env=environment, timeout=50)
    os.close(there)
    said = os.read(here, 65536).decode()
    os.close(here)
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"pool": "app"}
    assert "2 of 3 workers are ready (aaaaaaaa is starting)" in said


def test_what_is_not_done_in_time_is_said_and_what_it_waits_for(broker: ScriptedBroker, scene: Scene) -> None:
    done = maitred(broker, "recycle", "1111", "--timeout", "300ms")
    assert (done.returncode, json.loads(done.stdout)) == (1, {"workers": [OLD[0]]})
    assert "after 300ms 0 of 1 workers are replaced (11111111 is idle)" in done.stderr
    assert "it goes on without this command" in done.stderr
    assert len(done.stderr.splitlines()) == 1, "no progress where there is no terminal"


def test_a_degraded_pool_is_not_waited_for(broker: ScriptedBroker, scene: Scene) -> None:
    scene.pool["degraded"] = "ImportError: no module named x"
    done = maitred(broker, "scale", "app", "4")
    assert done.returncode == 1
    assert "the pool is degraded: ImportError: no module named x" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["recycle", "nobody"], 1, "no pool 'nobody'. There are: app"),
        (["drain", "nobody"], 1, "no pool 'nobody'. There are: app"),
        (["pause", "nobody"], 1, "no pool 'nobody'. There are: app"),
        (["resume", "nobody"], 1, "no pool 'nobody'. There are: app"),
        (["scale", "nobody", "3"], 1, "no pool 'nobody'. There are: app"),
        (["scale", "app", "-1"], 2, "N"),
        (["scale", "app", "many"], 2, "integer"),
        (["scale", "app"], 2, "Missing argument"),
        (["recycle", "app", "--timeout", "5 parsecs"], 2, "--timeout"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    broker: ScriptedBroker, scene: Scene, words: list[str], code: int, said: str
) -> None:
    done = maitred(broker, *words)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_dead_are_listed(broker: ScriptedBroker, scene: Scene) -> None:
    header, first, second = printed(broker, "workers", "--dead").splitlines()
    assert "CAUSE" in header
    assert "deaddead" in first
    assert "620 MB" in first
    assert "beefbeef" in second
    assert json.loads(printed(broker, "workers", "--dead", "--json")) == [DEATH, BRIEF]


def test_a_death_certificate_says_all_that_is_known(broker: ScriptedBroker, scene: Scene) -> None:
    shown = printed(broker, "workers", "show", "dead")
    for words in (
        "of pool 'app': oom", "more memory than it may have", "12 s ago", "SIGKILL", "pid 77 on ada", "3 min 4 s",
        "17 requests", "612 MB, 512 MB allowed", "620 MB", "3,000 MB", "  MemoryError: no more", "  File [red]",
    ):  # fmt: skip
        assert words in shown
    assert json.loads(printed(broker, "workers", "show", "dead", "--json")) == DEATH


def test_what_a_certificate_does_not_say_is_not_shown(broker: ScriptedBroker, scene: Scene) -> None:
    shown = printed(broker, "workers", "show", "BEEF")
    assert "exit code 3" in shown
    assert "1 request\n" in re.sub(" +\n", "\n", shown)
    for word in ("None", "GPU", "memory", "last words", "ago"):
        assert word not in shown


def test_one_that_lives_is_shown(broker: ScriptedBroker, scene: Scene) -> None:
    assert "state: idle\n" in printed(broker, "workers", "show", "1111")
    assert json.loads(printed(broker, "workers", "show", "2222", "--json")) == row(OLD[1])
    done = maitred(broker, "workers", "show", "cafe")
    assert done.returncode == 1
    assert "no id of workers begins with 'cafe'" in done.stderr


def test_status_tells_what_keeps_a_pool_and_how_its_limits_are_kept(broker: ScriptedBroker, scene: Scene) -> None:
    assert "SIZE" not in printed(broker, "status"), "a broker that does not say"
    scene.pool |= {
        "agents": 1,
        "size": 2,
        "least": 1,
        "most": 8,
        "reason": "paused",
        "degraded": "ImportError: x (app.py:3)",
    }
    scene.pool |= {"memory": "cgroup1", "gpus": "2 x H100"}
    shown = printed(broker, "status")
    for words in (
        "2 (1 to 8)", "pool 'app' is not ready: paused\n", "pool 'app' is degraded: ImportError: x (app.py:3)\n",
        "pool 'app': memory limits by cgroup1\n", "pool 'app': GPUs: 2 x H100\n",
    ):  # fmt: skip
        assert words in shown
    scene.pool |= {"reason": "degraded: ImportError: x (app.py:3)", "memory": None, "gpus": None, "most": 1, "size": 1}
    shown = printed(broker, "status")
    assert shown.count("ImportError") == 1
    for word in ("memory", "GPUs", "1 to"):
        assert word not in shown


# --- the real broker ---

APP = Path(__file__).with_name("app.py")


Run = Callable[..., subprocess.CompletedProcess[str]]


@contextlib.contextmanager
def house(directory: Path, configuration: str) -> Iterator[Run]:
    """Runs `maitred up` and gives the commands. They skip the test where the broker does not know a verb yet."""
    shell = Shell(directory)
    (directory / "maitred.toml").write_text(configuration)
    process = shell.start(*ANY_PORT, "up")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        done = shell.maitred(*words)
        missing = re.search(r"no verb '\w+'|no table '\w+'", done.stderr)
        if missing:
            pytest.skip(f"the broker says: {missing[0]}")
        return done

    try:
        ready(process)
        yield run
        process.send_signal(signal.SIGTERM)
        code, errors = ended(process)
        assert code == 0, errors
    finally:
        shell.end()


@pytest.fixture
def operate(tmp_path: Path) -> Iterator[Run]:
    """The commands, on a house of one pool "app" of 2 workers, which may have 4."""
    with house(tmp_path, f'[pools.app]\nadapter = "{APP}:service"\nsize = {{ min = 2, max = 4 }}\n') as run:
        yield run


def workers(operate: Run) -> list[dict[str, Any]]:
    return json.loads(operate("workers", "--json").stdout)


def test_a_pool_is_scaled(operate: Run) -> None:
    done = operate("scale", "app", "4", "--timeout", "30s")
    assert done.returncode == 0, done.stderr
    assert len(workers(operate)) == 4
    done = operate("scale", "app", "2", "--timeout", "30s")
    assert done.returncode == 0, done.stderr
    assert len(workers(operate)) == 2


def test_a_pool_is_recycled_under_load(operate: Run, tmp_path: Path) -> None:
    before = {each["id"] for each in workers(operate)}
    over = threading.Event()
    endpoint = json.loads((tmp_path / "run" / "broker.json").read_text())["clients"][0]
    with ThreadPoolExecutor(2) as callers:
        calls = [callers.submit(call_until, over, endpoint) for _ in range(2)]
        try:
            done = operate("recycle", "app", "--timeout", "40s")
        finally:
            over.set()
        assert all(each.result() > 0 for each in calls), "and none of them has failed"
    assert done.returncode == 0, done.stderr
    after = {each["id"] for each in workers(operate)}
    assert len(after) == 2
    assert not after & before
    dead = json.loads(operate("workers", "--dead", "--json").stdout)
    assert {each["worker"] for each in dead} == before
    assert {each["cause"] for each in dead} == {"operator"}
    shown = operate("workers", "show", min(before)[:8])
    assert shown.returncode == 0, shown.stderr


def call_until(over: threading.Event, endpoint: str) -> int:
    """Call again and again; returns how often."""
    with Client(endpoint) as client:
        for number in itertools.count(1):
            client.execute("app", "nap", {"seconds": 0.01})
            if over.is_set():
                return number
    raise AssertionError


def test_a_pool_is_paused_and_resumed(operate: Run) -> None:
    assert operate("pause", "app", "--wait").returncode == 0
    assert "paused" in operate("status").stdout
    assert operate("call", "app", "pid", "--timeout", "300ms").returncode == 1
    assert operate("resume", "app", "--wait").returncode == 0
    assert operate("call", "app", "pid").returncode == 0


def test_a_worker_is_drained_and_replaced(operate: Run) -> None:
    first = workers(operate)[0]["id"]
    done = operate("drain", first[:8], "--timeout", "30s")
    assert done.returncode == 0, done.stderr
    assert first not in {each["id"] for each in workers(operate)}
    wait_for(lambda: [each["state"] for each in workers(operate)] == ["idle", "idle"])


def test_a_pool_is_drained(operate: Run) -> None:
    done = operate("drain", "app", "--timeout", "30s")
    assert done.returncode == 0, done.stderr
    assert operate("call", "app", "pid", "--timeout", "300ms").returncode == 1
    assert operate("resume", "app").returncode == 0
    give_up = time.monotonic() + 20
    while operate("call", "app", "pid", "--timeout", "5s").returncode != 0:
        assert time.monotonic() < give_up


def test_workers_follow_their_code_where_that_is_asked_for(tmp_path: Path) -> None:
    if importlib.util.find_spec("maitred.worker.reloading") is None:
        pytest.skip("agents do not look at files yet")
    shell = Shell(tmp_path)
    code = "from maitred.worker import Service\nservice = Service()\nservice.command('version')(lambda: {})\n"
    (tmp_path / "changing.py").write_text(code.format(1))
    (tmp_path / "maitred.toml").write_text('[pools.app]\nadapter = "changing:service"\n')
    process = shell.start(*ANY_PORT, "up", "--reload")
    try:
        ready(process)
        assert shell.json("call", "app", "version") == 1
        (tmp_path / "changing.py").write_text(code.format("20 + 2"))
        wait_for(lambda: shell.json("call", "app", "version") == 22)
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0
    finally:
        shell.end()
