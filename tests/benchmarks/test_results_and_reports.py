"""Results as files, and what the reports make of them: nothing here measures."""

from __future__ import annotations

import xml.dom.minidom
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from maitred.benchmarks import results
from maitred.benchmarks.method.environment import environment
from maitred.benchmarks.method.recorder import durations
from maitred.benchmarks.method.statistics import latency
from maitred.benchmarks.report import page, terminal
from maitred.benchmarks.report.compare import compare
from maitred.benchmarks.report.words import figure_name, figure_text, number, setting_text, size, varying
from maitred.benchmarks.results import Comparison, Measurement, Result, ResultError, Skipped, SubjectNote


def comparison(figure: str, ratio: float, outstanding: int, *, is_noise: bool = False) -> Comparison:
    subject = "zmq-proxy" if is_noise else "maitred"
    return Comparison(
        figure=figure, subject=subject, baseline="zmq-proxy", setting={"outstanding": outstanding}, ratio=ratio,
        low=ratio * 0.9, high=ratio * 1.1, pairs=5, is_noise=is_noise,
    )  # fmt: skip


def result(ratio: float = 1.5, **changes: Any) -> Result:
    measurements = [
        Measurement(
            subject=subject, setting={"transport": "tcp", "outstanding": outstanding},
            latency=latency(durations(range(100_000, 100_000 * (outstanding + 1), 1000))),
            values={"throughput_per_s": 100.0 * outstanding}, failures={"PoolSaturated": 2},
        )
        for outstanding in (1, 8, 64)
        for subject in ("maitred", "zmq-proxy")
    ]  # fmt: skip
    measurements.append(Measurement(subject="<odd>", setting={"transport": "tcp"}, void="<late>"))
    comparisons = [comparison("p50", ratio, n, is_noise=noise) for n in (1, 8, 64) for noise in (False, True)]
    found = Result(
        scenario="throughput", began="2026-01-01T00:00:00+00:00", took_s=1.5, parameters={"rounds": 5},
        environment=environment(), subjects={"maitred": SubjectNote("a <broker>", {"maitred": "0"})},
        measurements=measurements, comparisons=comparisons, skipped=[Skipped("nats", "no <nats-server>")],
        notes=["a <note>"],
    )  # fmt: skip
    return replace(found, **changes)


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    results.write([result()], tmp_path / "run.json")
    assert results.read(tmp_path / "run.json") == [result()]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"schema": 1}]'])
def test_another_file_is_refused_by_its_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ResultError, match=r"run\.json"):
        results.read(tmp_path / "run.json")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    results.write([result(schema=results.SCHEMA + 1)], tmp_path / "run.json")
    with pytest.raises(ResultError, match="newer version"):
        results.read(tmp_path / "run.json")


def test_the_environment_says_what_it_ran_on_and_not_where() -> None:
    found = environment()
    assert found.cores >= 1
    assert {"pyzmq", "libzmq"} <= set(found.libraries)
    assert not any("/" in str(value) for value in (found.kernel, found.machine, found.python))


def test_the_page_is_one_file_with_sound_plots() -> None:
    text = page.render([result()])
    plots = text.split("<svg")[1:]
    assert len(plots) == 1 + 2 + 3  # ratios; throughput and p50 by what is outstanding; latency of each setting
    for plot in plots:
        xml.dom.minidom.parseString("<svg" + plot.partition("</svg>")[0] + "</svg>")
    assert not any(word in text for word in ("http://", "https://", "<script", "<broker>", "<late>", "<odd>", "<note>"))
    assert "no &lt;nats-server&gt;" in text


def test_the_terminal_shows_figures_ratios_and_what_is_missing() -> None:
    console = Console(record=True, width=200, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    terminal.print_result(console, result())
    shown = console.export_text()
    console.file.close()
    for text in ("outstanding 64", "2 PoolSaturated", "noise floor", "skipped nats", "void: <odd>: <late>", "a <note>"):
        assert text in shown


def test_more_figures_than_a_line_has_room_for_stand_below_of_those_who_have_them() -> None:
    found = result()
    many = found.measurements[0].values | {f"figure_{number}_ms": float(number) for number in range(20)}
    measurements = [replace(found.measurements[0], values=many), *found.measurements[1:]]
    console = Console(record=True, width=400, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    terminal.print_result(console, replace(found, measurements=measurements))
    shown = " ".join(console.export_text().split())
    console.file.close()
    assert shown.count("FAILED") == 1
    assert shown.count("zmq-proxy outstanding 8 ") == 1 + 1  # in the first table, and below the line of a ratio
    assert shown.count("maitred outstanding 1 ") == 2


def test_two_runs_differ_where_intervals_of_ratios_lie_apart() -> None:
    changes = compare([result(1.5)], [result(1.6)])
    assert [it.is_beyond for it in changes.changes if it.judged] == [False] * 3
    changes = compare([result(1.5)], [result(3.0)])
    assert [it.is_beyond for it in changes.changes if it.judged] == [True] * 3
    assert not any(it.is_beyond for it in changes.changes if not it.judged)


def test_a_comparison_says_what_does_not_compare() -> None:
    other = replace(environment(), kernel="0.0", load_average=99.0)
    changes = compare([result()], [result(environment=other), result(scenario="latency")])
    assert changes.only_after == ["latency"]
    assert [warning.partition(":")[0] for warning in changes.warnings] == ["kernel"]


def test_words() -> None:
    assert varying([{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1, "b": 2, "c": 1}]) == ["b", "c"]
    assert (
        setting_text({"payload_bytes": 65536, "task_s": 0.01, "workers": 2}) == "payload 64 KiB, task 10 ms, workers 2"
    )
    assert setting_text({"workers": 2}, []) == ""
    assert [number(value) for value in (0, 0.01234, 1.234, 123.4, 123456.0)] == [
        "0",
        "0.0123",
        "1.23",
        "123",
        "123,456",
    ]
    assert size(3 * 1024**3) == "3 GiB"


def test_a_figure_is_written_with_its_unit() -> None:
    assert [figure_name(name) for name in ("parts_per_s", "first_part_us", "late_blocks", "kept_bytes")] == [
        ("parts", "1/s"),
        ("first part", "µs"),
        ("late blocks", ""),
        ("kept", ""),
    ]
    values = {"kept_bytes": -2048.0, "moved_bytes_per_s": 3 * 1024.0**2, "refused_share": 0.25, "late_blocks": 2.0}
    assert [figure_text(name, value) for name, value in values.items()] == ["-2 KiB", "3 MiB/s", "25.0%", "2"]
    assert setting_text({"rate_per_s": 1000.0, "pause_s": 0.001}) == "rate 1,000/s, pause 1 ms"


def test_columns_of_times_are_there_only_where_something_was_timed() -> None:
    found = result(measurements=[Measurement(subject="it", setting={"n": 1}, values={"kept_bytes": 2048.0})])
    console = Console(record=True, width=200, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    terminal.print_result(console, found)
    shown = console.export_text()
    console.file.close()
    assert "KEPT" in shown
    assert "2 KiB" in shown
    assert "P99" not in shown
    table = page.render([found]).partition("<table>")[2].partition("</table>")[0]
    assert "2 KiB" in table
    assert "p99" not in table
