"""`maitred bench tune`: what ratios lead to, what is asked of the command line, and a sweep that finds a planted fault."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import typer
from typer.testing import CliRunner

from maitred.benchmarks import results
from maitred.benchmarks.results import Comparison
from maitred.benchmarks.subjects.maitred_ import ADAPTER
from maitred.benchmarks.tuning import advice, command, knobs, sweep, target
from maitred.benchmarks.tuning.advice import Trial
from maitred.benchmarks.tuning.knobs import KNOBS, Knob, UnknownKnob
from maitred.benchmarks.tuning.target import InForce, Target
from maitred.benchmarks.tuning.trial import FirstCall, TryError
from maitred.cli.main import app
from maitred.config import load

PREFETCH, BATCH, TRANSPORT, OUT_OF_BAND = (
    next(knob for knob in KNOBS if knob.field == field)
    for field in ("prefetch", "receive_batch", "transport", "out_of_band_bytes")
)


def ratio(figure: str, median: float, spread: float = 0.01, *, is_noise: bool = False) -> Comparison:
    subject = "as it is" if is_noise else "maitred"
    return Comparison(
        figure=figure, subject=subject, baseline="as it is", setting={}, ratio=median, low=median - spread,
        high=median + spread, pairs=9, is_noise=is_noise,
    )  # fmt: skip


QUIET = [ratio("p50", 1.0, is_noise=True), ratio("throughput", 1.0, is_noise=True)]


@pytest.mark.parametrize(
    ("p50", "throughput", "verdict"),
    [
        (0.8, 1.0, "gain"),
        (1.0, 1.2, "gain"),
        (0.8, 1.2, "gain"),
        (1.2, 1.0, "loss"),
        (1.0, 0.8, "loss"),
        (0.8, 0.8, "mixed"),
        (1.0, 1.0, "none"),
        (0.975, 1.025, "none"),  # apart from 1, and too small to matter
    ],
)
def test_a_gain_is_better_in_a_figure_and_worse_in_none(p50: float, throughput: float, verdict: str) -> None:
    found = [ratio("p50", p50), ratio("throughput", throughput)]
    assert advice.outcome(found, [*found, *QUIET]) == verdict


def test_what_the_noise_makes_of_nothing_is_no_gain() -> None:
    found = [ratio("p50", 0.8), ratio("throughput", 1.0)]
    noisy = [ratio("p50", 0.9, 0.15, is_noise=True), ratio("throughput", 1.0, is_noise=True)]
    assert advice.outcome(found, [*found, *noisy]) == "none"


def trial(knob: Knob, value: Any, p50: float, verdict: Any = "gain") -> Trial:
    return Trial(knob, value, [ratio("p50", p50), ratio("throughput", 1.0)], verdict)


def test_of_each_setting_the_best_value_counts_and_the_largest_gain_comes_first() -> None:
    trials = [
        trial(PREFETCH, 4, 0.9), trial(PREFETCH, 31, 0.8), trial(PREFETCH, 0, 0.5, "mixed"), trial(BATCH, 16, 0.7),
        trial(TRANSPORT, "ipc", 1.0, "none"),
    ]  # fmt: skip
    assert [(it.knob.name, it.value) for it in advice.best_of_each(trials)] == [("receive_batch", 16), ("prefetch", 31)]


def test_the_advice_is_toml_that_a_configuration_takes(tmp_path: Path) -> None:
    trials = [
        trial(PREFETCH, 31, 0.8),
        trial(BATCH, 16, 0.7),
        trial(OUT_OF_BAND, 8192, 0.9),
        trial(TRANSPORT, "ipc", 0.9),
    ]
    text = advice.toml_text(trials, "mine")
    assert tomllib.loads(text) == {
        "broker": {"receive_batch": 16},
        "pools": {"mine": {"prefetch": 31, "out_of_band": "8KiB"}},
    }
    assert "prefetch = 31  # p50 -20 % (-21 … -19), throughput +0 % (-1 … +1)" in text
    (tmp_path / "maitred.toml").write_text(text.replace("[pools.mine]", f'[pools.mine]\nadapter = "{ADAPTER}"'))
    config = load(tmp_path / "maitred.toml", environ={})
    assert (config.broker.receive_batch, config.pools["mine"].out_of_band_bytes) == (16, 8192)
    assert [line.partition(":")[0] for line in advice.caller_lines(trials)] == [
        "at their start", "connect with Client() or by the ipc"
    ]  # fmt: skip
    assert advice.recommended(trials, "mine") == {
        "broker": {"receive_batch": 16},
        "caller": {"transport": "ipc", "out_of_band_bytes": 8192},
        "pools.mine": {"prefetch": 31, "out_of_band": "8KiB"},
    }


def test_without_a_change_there_is_no_text() -> None:
    assert advice.toml_text([trial(TRANSPORT, "ipc", 0.9)], "mine") == ""


def test_every_candidate_is_one_that_the_configuration_takes() -> None:
    for knob in KNOBS:
        assert knob.text(InForce().value(knob))
        if knob.key is not None:
            for value in knob.values:
                assert knob.key.kind.read(knob.key.kind.write(value), None) == value  # type: ignore[arg-type]


def test_settings_are_named_as_in_the_file() -> None:
    assert [knob.name for knob in knobs.chosen("prefetch, out_of_band")] == ["prefetch", "out_of_band"]
    assert [knob.name for knob in knobs.chosen("gc_threshold")] == ["broker.gc_threshold", "pool.gc_threshold"]
    assert knobs.chosen("") == list(KNOBS)
    with pytest.raises(UnknownKnob, match="there are transport, prefetch"):
        knobs.chosen("speed")


def test_a_change_is_to_one_setting() -> None:
    now = InForce("tcp", {"io_threads": 2}, {"prefetch": 3})
    changed = now.changed(PREFETCH, 9).changed(BATCH, 1).changed(TRANSPORT, "ipc")
    assert changed == InForce("ipc", {"io_threads": 2, "receive_batch": 1}, {"prefetch": 9})
    assert (now.value(PREFETCH), InForce().value(PREFETCH), now.value(TRANSPORT)) == (3, 15, "tcp")


CONFIGURATION = f"""
[broker]
io_threads = 2
[pools.mine]
adapter = "{ADAPTER}"
size = 1
prefetch = 0
[routing]
"*" = "mine"
"""


def test_a_pool_is_tuned_with_the_settings_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "maitred.toml").write_text(CONFIGURATION)
    found = target.target_of_pool(load(tmp_path / "maitred.toml", environ={}), "mine", "echo", None, "ipc", None)
    assert (found.pool, found.adapter, found.workers, found.in_force.transport) == ("mine", ADAPTER, 1, "ipc")
    assert [found.in_force.value(knob) for knob in (PREFETCH, *knobs.chosen("io_threads"))] == [0, 2]


ECHO = Target("mine", ADAPTER, "echo", {"payload": b"x"}, 1, InForce(pool={"prefetch": 0}))


def test_slow_calls_have_fewer_rounds_or_are_refused() -> None:
    parameters = sweep.Parameters()
    fitting = sweep._fitting  # type: ignore[reportPrivateUsage]
    assert fitting(parameters, FirstCall(0.001, 10), 1).rounds == parameters.rounds
    assert sweep.FEWEST_ROUNDS <= fitting(parameters, FirstCall(0.05, 10), 8).rounds < parameters.rounds
    with pytest.raises(sweep.TooLong, match="--only names fewer"):
        fitting(parameters, FirstCall(2.0, 10), 8)
    long = sweep.Parameters(**sweep.LONG)
    assert fitting(long, FirstCall(2.0, 10), 8).rounds == long.rounds


@pytest.mark.slow
def test_a_setting_that_costs_half_of_the_throughput_is_found() -> None:
    slow = msgspec.structs.replace(ECHO, in_force=InForce("ipc", pool={"prefetch": 0}))
    parameters = sweep.Parameters(transport="ipc", rounds=6, block_s=0.05, values=1)
    said: list[str] = []
    found = sweep.sweep(slow, knobs.chosen("prefetch,out_of_band"), parameters, said.append)
    (only,) = found.trials
    assert (only.knob, only.value) == (PREFETCH, 31)
    throughput = next(it for it in only.comparisons if it.figure == "throughput")
    assert throughput.ratio > 1.0
    assert any("out_of_band: not tried" in note for note in found.result.notes)
    assert "prefetch = 31" in said
    labels = [it.setting["tried"] for it in found.result.measurements]
    assert labels[0] == "prefetch = 31"
    assert all(str(label).startswith("again: ") for label in labels[1:])
    assert set(advice.recommended(found.accepted, "mine")) <= {"pools.mine"}


def bench(*words: str, before: tuple[str, ...] = ()) -> tuple[int, str]:
    found = CliRunner().invoke(app, [*before, "bench", "tune", *words])
    return found.exit_code, found.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "speed"], "no setting 'speed' is tuned"),
        (["--arguments", "[1]"], "takes a JSON object"),
        (["--command", "echo"], "name it by --adapter"),
        (["--adapter", ADAPTER], "--command is missing"),
        (["--adapter", ADAPTER, "--pool", "mine"], "exclude each other"),
        (["--pool", "other", "--command", "echo"], "there are: mine"),
    ],
)
def test_wrong_usage_is_said_before_anything_starts(words: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "maitred.toml").write_text(CONFIGURATION)
    code, error = bench(*words, before=("-c", str(tmp_path / "maitred.toml")))
    assert (code, said in error) == (2, True), error


@pytest.mark.slow
def test_the_command_shows_and_writes_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "QUICK", {"rounds": 2, "block_s": 0.01})
    context = typer.Context(click.Command("tune"))
    command.tune(context, only="transport", quick=True, workers=1, json=tmp_path / "a", html=tmp_path / "b")
    shown = capfd.readouterr().out
    assert "transport  tcp       ipc" in shown
    assert "as it is" in shown
    (found,) = results.read(tmp_path / "a")
    assert found.measurements[0].setting["tried"] == "transport = ipc"
    assert {(it.figure, it.is_noise) for it in found.comparisons} >= {("p50", True), ("throughput", False)}
    assert set(found.recommended) <= {"caller"}
    assert "<svg" in (tmp_path / "b").read_text()


@pytest.mark.slow
def test_a_load_that_fails_ends_it() -> None:
    with pytest.raises(TryError, match="has no command 'nothing'"):
        sweep.sweep(
            msgspec.structs.replace(ECHO, command="nothing"), knobs.chosen("transport"), sweep.Parameters(), str
        )
