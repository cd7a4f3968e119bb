"""A worker process before it registers and when it is dismissed: warm-up, gate, environment, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from process_peers import APP, WorkerProcess, a_process, eventually, socket_of
from worker_peers import Broker

from maitred.protocol import messages
from maitred.worker.process import EXIT_LOAD

pytestmark = pytest.mark.slow

both = pytest.mark.parametrize("service", ["plain", "under_trio"])

Calls = tuple[tuple[str, dict[str, Any]], ...]


def imported(gpu: str | None = None) -> str:
    return f"imported with GPU {gpu}"


# --- warm-up ---


@pytest.mark.parametrize(
    ("service", "slots", "where"), [("plain", 1, "here"), ("plain", 2, "in a thread"), ("under_trio", 1, "here")]
)
def test_warm_up_runs_the_commands_as_for_a_caller_before_it_registers(
    tmp_path: Path, service: str, slots: int, where: str
) -> None:
    calls: Calls = (
        ("embed", {"text": "warm", "times": 2}),
        ("parts", {"count": 3}),
        ("several", {"text": "one"}),
        ("embed", {"text": "again"}),
    )
    with a_process(tmp_path, service, slots=slots, warm_up=calls) as worker:
        worker.broker.receive()
        assert worker.broker.register is not None
        assert worker.notes() == [
            imported(),
            "startup",
            f"embed warm 2 general {where}",
            *("part 0", "part 1", "part 2"),
            "several ['one']",
            f"embed again 1 general {where}",
        ]
        assert worker.page.loaded
        worker.broker.meet()
        worker.broker.dispatch(1, "embed", {"text": "real"})
        assert worker.broker.answers(1) == {1: "real"}
        eventually(lambda: worker.page.served)
        assert worker.page.served == 1


@both
@pytest.mark.parametrize(
    ("call", "said", "ran"),
    [
        (("fails", {"how": "no weights"}), "warm-up with 'fails' failed: LookupError: no weights", True),
        (("several", {"text": "bad"}), "warm-up with 'several' failed: KeyError: 'bad'", True),
        (("embed", {"txt": "a"}), "warm-up with 'embed': ", False),
        (("embed", {"text": 3}), "warm-up with 'embed': ", False),
        (("embedd", {}), "warm-up with 'embedd': no command 'embedd' here; did you mean 'embed'?", False),
    ],
    ids=["raises", "in a batch", "unknown argument", "wrong argument", "unknown command"],
)
def test_a_warm_up_that_fails_ends_it(
    tmp_path: Path, service: str, call: tuple[str, dict[str, Any]], said: str, ran: bool
) -> None:
    calls = (("embed", {"text": "first"}), call, ("embed", {"text": "last"}))
    with a_process(tmp_path, service, warm_up=calls) as worker:
        assert worker.ends_with() == EXIT_LOAD
        assert not worker.page.loaded
        printed = worker.output()
        assert said in printed.splitlines()[-1]  # the line that its agent gives as the reason
        assert ("Traceback" in printed) == ran
        notes = " ".join(worker.notes())
        assert "last" not in notes
        assert ("first" in notes) == ran  # what is not possible is refused before anything slow is done


@both
def test_sigterm_ends_a_warm_up(tmp_path: Path, service: str) -> None:
    with a_process(tmp_path, service, warm_up=(("hang", {"seconds": 300.0}),)) as worker:
        eventually(lambda: "hang" in worker.notes())
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.ends_with() == 0
        assert worker.output() == ""


def test_sigterm_ends_a_warm_up_in_a_thread(tmp_path: Path) -> None:
    with a_process(tmp_path, slots=2, warm_up=(("hang", {"seconds": 300.0}),)) as worker:
        eventually(lambda: "hang" in worker.notes())
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.ends_with() == 0
        assert worker.output() == ""


# --- the gate ---


def at_the_gate(worker: WorkerProcess) -> None:
    eventually(lambda: worker.page.loaded)
    assert worker.broker.is_silent(0.2)  # it may be about to register: shorter than that, and a bug is missed at worst
    assert not worker.page.ready


@both
def test_a_spare_waits_at_its_gate_until_it_is_let_through(tmp_path: Path, service: str) -> None:
    with a_process(tmp_path, service, gated=True, warm_up=(("embed", {"text": "warm"}),)) as worker:
        at_the_gate(worker)
        assert len(worker.notes()) == 3
        os.write(worker.gate, b".")
        worker.broker.meet()
        worker.broker.dispatch(1, "embed", {"text": "a"})
        assert worker.broker.answers(1) == {1: "a"}
        os.close(worker.gate)  # it does not look there any more
        worker.broker.dispatch(2, "embed", {"text": "b"})
        assert worker.broker.answers(1) == {2: "b"}


@both
@pytest.mark.parametrize("how", ["the end of its gate", "SIGTERM"])
def test_a_spare_that_is_not_needed_ends_quietly(tmp_path: Path, service: str, how: str) -> None:
    with a_process(tmp_path, service, gated=True) as worker:
        at_the_gate(worker)
        if how == "SIGTERM":
            os.kill(worker.pid, signal.SIGTERM)
        else:
            os.close(worker.gate)
        assert worker.ends_with() == 0
        assert worker.output() == ""


def test_one_that_no_broker_answers_has_loaded(tmp_path: Path) -> None:
    """So that nobody kills it for that."""
    with a_process(tmp_path) as worker:
        eventually(lambda: worker.page.loaded)
        assert not worker.page.ready


# --- its end ---


@both
@pytest.mark.parametrize("over_control", [False, True], ids=["requests", "control"])
def test_dismissed_it_finishes_what_runs_and_leaves(tmp_path: Path, service: str, over_control: bool) -> None:
    with a_process(tmp_path, service) as worker:
        worker.broker.meet()
        worker.broker.dispatch(1, "hang", {"seconds": 0.5})
        eventually(lambda: "hang" in worker.notes())
        worker.broker.dismiss(over_control=over_control)
        assert worker.broker.answers(1) == {1: "done"}
        while not worker.broker.left:
            worker.broker.heard(1.0)
        assert worker.ends_with() == 0
        assert worker.output() == ""


@both
def test_dismissed_while_it_is_idle_it_leaves_at_once(tmp_path: Path, service: str) -> None:
    with a_process(tmp_path, service) as worker:
        worker.broker.meet()
        worker.broker.dismiss(over_control=True)
        assert worker.ends_with() == 0


@both
def test_who_tells_it_to_end_twice_does_not_shorten_what_runs(tmp_path: Path, service: str) -> None:
    with a_process(tmp_path, service) as worker:
        worker.broker.meet()
        worker.broker.dispatch(1, "hang", {"seconds": 1.0})
        eventually(lambda: "hang" in worker.notes())
        for _ in range(3):
            os.kill(worker.pid, signal.SIGTERM)
            time.sleep(0.05)  # or they would be one signal
        assert worker.broker.answers(1) == {1: "done"}
        assert worker.ends_with() == 0


# --- the rest ---


def test_the_environment_is_there_when_the_adapter_is_imported(tmp_path: Path) -> None:
    with a_process(tmp_path, environment=(("CUDA_VISIBLE_DEVICES", "GPU-1"), ("OTHER", "x"))) as worker:
        worker.broker.meet()
        assert worker.notes()[0] == imported("GPU-1")


def test_an_error_of_maitred_in_a_startup_is_no_refusal_by_the_broker(tmp_path: Path) -> None:
    with a_process(tmp_path, "refusing") as worker:
        assert worker.ends_with() == EXIT_LOAD
        assert "no broker for the startup's own call" in worker.output().splitlines()[-1]


def test_one_from_outside_has_no_agent_and_obeys_the_broker_all_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "maitred.worker", "--pool", "general", "--connect", f"ipc://{tmp_path}/broker"]
    command += ["--concurrency", "2", "--prefetch", "3", "--gc-threshold", "0", "--out-of-band", "64KiB"]
    with socket_of(tmp_path) as router:
        environment = {**os.environ, "PROCESS_APP_NOTES": str(tmp_path / "notes")}
        worker = subprocess.Popen([*command, f"{APP}:plain"], env=environment, cwd=tmp_path)
        try:
            broker = Broker(router)
            broker.meet()
            assert broker.register is not None
            assert (broker.register.slots, broker.register.prefetch) == (2, 3)
            broker.check(1)
            assert broker.checked() == messages.Checked(1, "")
            broker.dismiss(over_control=False)
            assert worker.wait(30) == 0
        finally:
            worker.kill()
            worker.wait()


def test_one_from_outside_that_finds_no_broker_says_so_once_and_comes_in_when_there_is_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "maitred.worker", "--pool", "general", "--connect", f"ipc://{tmp_path}/broker"]
    environment = {**os.environ, "PROCESS_APP_NOTES": str(tmp_path / "notes")}
    worker = subprocess.Popen(
        [*command, f"{APP}:plain"], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        assert worker.stderr is not None
        said = worker.stderr.readline()
        assert f"no broker answered at ipc://{tmp_path}/broker within 5 s" in said
        assert "it goes on trying" in said
        with socket_of(tmp_path) as router:
            broker = Broker(router)
            broker.meet()
            broker.dismiss(over_control=False)
            assert worker.communicate(timeout=30) == (None, "")
    finally:
        worker.kill()
        worker.communicate()


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--concurrency", "0"], "from 1 to 1024"), (["--prefetch", "many"], "from 0"), (["--out-of-band", "1"], "1KiB")],
    ids=str,
)
def test_what_it_cannot_take_is_refused_in_the_words_of_the_configuration(words: list[str], said: str) -> None:
    command = [sys.executable, "-m", "maitred.worker", "--pool", "general", *words, "app:service"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"argument {words[0]}" in done.stderr
    assert said in done.stderr
