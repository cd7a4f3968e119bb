"""What a command says of an error: the sentence, and what its details add to it."""

from __future__ import annotations

import pytest
import typer

from maitred.cli.failures import report
from maitred.cli.output import Exit
from maitred.client.errors import MaitredError, PoolSaturated, RemoteError, Unavailable, WorkerLost


def said(error: MaitredError, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(typer.Exit) as ended:
        report(error)
    assert ended.value.exit_code == (Exit.NO_BROKER if isinstance(error, Unavailable) else Exit.FAILED)
    return capsys.readouterr().err.splitlines()


def test_a_full_pool_says_when_to_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(PoolSaturated("it is full", retry_after=0.25), capsys)[1:] == ["  retry after: 0.25 s"]
    assert said(PoolSaturated("it is full", retry_after=None), capsys)[1:] == []


def test_a_death_is_told_with_its_figures_as_in_tables(capsys: pytest.CaptureFixture[str]) -> None:
    certificate = {"cause": "exit", "exit_code": 3, "pid": 7, "age": 2.0338105680002627, "served": 0, "stderr": "a\nb"}
    assert said(WorkerLost("lost", certificate=certificate), capsys) == [
        "maitred: WorkerLost: lost", "  cause: exit", "  exit_code: 3", "  pid: 7", "  age: 2.03 s", "  served: 0",
        "  its last words:", "    a", "    b",
    ]  # fmt: skip


def test_a_traceback_is_shown_where_it_says_more_than_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    raised = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\nValueError: no\n'
    assert len(said(RemoteError("ValueError: no", traceback=raised), capsys)) == 4
    assert said(RemoteError("ValueError: no", traceback="ValueError: no\n"), capsys) == [
        "maitred: RemoteError: ValueError: no"
    ]
    assert said(RemoteError("ValueError: no"), capsys) == ["maitred: RemoteError: ValueError: no"]


def test_no_broker_has_an_exit_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = said(Unavailable("nobody there", reason="no_broker"), capsys)
    assert line.startswith("maitred: no broker runs here")
