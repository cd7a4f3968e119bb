"""`maitred bench` as typed, with real subjects in a tiny form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maitred.benchmarks import results
from maitred.benchmarks.scenarios.registry import SCENARIOS, UnknownScenario, load, parameters
from maitred.benchmarks.subjects import registry as subjects
from maitred.cli.main import app


def bench_process(*words: str) -> tuple[int, str, str]:
    """In a process of its own, as its children take its standard error."""
    done = subprocess.run([sys.executable, "-m", "maitred.cli", "bench", *words], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def bench(*words: str) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, ["bench", *words])
    return found.exit_code, found.stdout, found.stderr


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_latency_gives_ratios_with_intervals_and_a_noise_floor(transport: str, tmp_path: Path) -> None:
    code, shown, _ = bench_process("latency", "--transport", transport, "--rounds", "2", "--set", "requests=10",
                           "--ours", "maitred,maitred-async", "--json", str(tmp_path / "a.json"),
                           "--html", str(tmp_path / "a.html"))  # fmt: skip
    assert code == 0
    assert "noise floor" in shown
    (found,) = results.read(tmp_path / "a.json")
    assert [(it.subject, it.latency.count if it.latency else 0) for it in found.measurements] == [
        ("maitred", 20), ("maitred-async", 20), ("zmq-proxy", 20), ("zmq-direct", 20)
    ]  # fmt: skip
    assert {it.setting["transport"] for it in found.measurements} == {transport}
    pairs = {(it.figure, it.subject, it.baseline, it.is_noise) for it in found.comparisons}
    assert ("p50", "maitred", "zmq-proxy", False) in pairs
    assert ("p50", "zmq-proxy", "zmq-proxy", True) in pairs
    assert ("p99", "maitred-async", "maitred", False) in pairs
    assert "<svg" in (tmp_path / "a.html").read_text()
    code, shown, _ = bench("compare", str(tmp_path / "a.json"), str(tmp_path / "a.json"))
    assert code == 0
    assert "the intervals overlap" in shown


@pytest.mark.slow
def test_throughput_goes_through_its_settings() -> None:
    code, shown, _ = bench_process("throughput", "--rounds", "1", "--set", "outstanding=1,4", "--set", "tasks_s=0,0.001",
                           "--set", "seconds=0.02", "--workers", "1", "--json", "-")  # fmt: skip
    assert code == 0
    assert shown.startswith("[")
    assert all(f'"outstanding": {n}' in shown for n in (1, 4))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["latency", "--peers", "nothing"], "no subject is called 'nothing'"),
        (["latency", "--set", "speed=1"], "latency has no parameter 'speed'"),
        (["latency", "--set", "rounds"], "--set takes NAME=VALUE"),
        (["latency", "--rounds", "many"], "Expected `int`"),
        (["--set", "speed=1"], "has no parameter 'speed'"),
        (["compare", "/nowhere/a", "/nowhere/b"], "/nowhere/a"),
        (["nothing"], "No such command"),
    ],
)
def test_wrong_usage_is_said_before_anything_starts(words: list[str], said: str) -> None:
    code, _, error = bench(*words)
    assert (code, said in error) == (2, True), error


def test_list_names_scenarios_and_subjects() -> None:
    code, shown, _ = bench("list")
    assert code == 0
    assert all(name in shown for name in [*SCENARIOS, *subjects.OURS, *subjects.PEERS])


def test_help_is_the_suites() -> None:
    code, shown, _ = bench("--help")
    assert code == 0
    assert "compare" in shown


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_has_a_question_and_a_long_form(name: str) -> None:
    scenario = load(name)
    assert scenario.question.endswith("?")
    assert parameters(scenario, {}, long=True) != parameters(scenario, {})


def test_parameters_are_read_by_their_types() -> None:
    throughput = load("throughput")
    found = parameters(throughput, {"outstanding": "1, 2", "seconds": "0.5", "transport": "ipc"})
    assert (found.outstanding, found.seconds, found.transport) == ((1, 2), 0.5, "ipc")  # type: ignore[attr-defined]
    with pytest.raises(UnknownScenario, match="no scenario"):
        load("nothing")


def test_peers_are_chosen_by_name_all_or_none() -> None:
    assert [it.name for it in subjects.chosen(peers="none")] == ["maitred"]
    assert [it.name for it in subjects.chosen()] == ["maitred", *subjects.FLOOR]
    assert [it.name for it in subjects.chosen("maitred-async", "zmq-direct")] == ["maitred-async", "zmq-direct"]
    assert [it.name for it in subjects.chosen(peers="all")] == ["maitred", *subjects.PEERS]
