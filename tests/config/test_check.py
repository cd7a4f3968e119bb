"""Adapters are imported in processes of their own, and whatever one of them does there comes back as one line."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from maitred.config import Config, check_adapters, import_path, load

pytestmark = pytest.mark.slow

GOOD = """
import threading, time
from maitred.worker import Service
print("noise")
threading.Thread(target=time.sleep, args=(60,)).start()
service = Service()
other = 3
"""

MODULES = {
    "good": GOOD,
    "needy": "import not_installed_anywhere",
    "wrong": "def f(:\n",
    "failing": "raise RuntimeError('first\\nlast words')",
    "leaving": "import sys; sys.exit(3)",
    "dying": "import os, sys; print('help', file=sys.stderr, flush=True); os._exit(9)",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "hanging": "import time; time.sleep(60)",
}


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "application"
    directory.mkdir()
    for name, text in MODULES.items():
        (directory / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return directory


def _config(directory: Path, **adapters: str) -> Config:
    text = "".join(f"[pools.{name}]\nadapter = '{adapter}'\n" for name, adapter in adapters.items())
    (directory / "maitred.toml").write_text(text + "[pools.outside]\n")
    return load(directory / "maitred.toml", environ={})


def test_the_file_s_directory_is_searched_before_the_working_one(application: Path, tmp_path: Path) -> None:
    config = _config(application)
    assert import_path(config) == [str(application), str(tmp_path)]
    assert import_path(load(None, environ={})) == [str(tmp_path)]
    (tmp_path / "good.py").write_text("raise RuntimeError('the wrong one')")
    (tmp_path / "here.py").write_text("from maitred.worker import Service; service = Service()")
    assert check_adapters(_config(application, a="good:service", b="here:service", c="here.py:service")) == []


def test_the_built_in_adapters_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert check_adapters(load(None, environ={}), pools=["general"]) == []


def test_each_that_does_not_import_is_said_with_its_last_words(application: Path) -> None:
    config = _config(
        application,
        fine="good:service",
        fine_too="good:service",
        absent="absent:service",
        missing="good:servce",
        kind="good:other",
        needy="needy:service",
        wrong="wrong:service",
        failing="failing:service",
        leaving="leaving:service",
        dying="dying:service",
        killed="killed:service",
        again="failing:service",
    )
    said = {problem.key: str(problem) for problem in check_adapters(config)}
    expected = {
        "absent": "ModuleNotFoundError: No module named 'absent'",
        "missing": "has no 'servce'; it has service",
        "kind": "expected a maitred.worker.Service, found int",
        "needy": "ModuleNotFoundError: No module named 'not_installed_anywhere'",
        "wrong": f"({application / 'wrong.py'}:1)",
        "failing": f"last words ({application / 'failing.py'}:1)",
        "leaving": "SystemExit: 3",
        "dying": "exit code 9: help",
        "killed": "signal 9 (Killed)",
        "again": "last words",
    }
    assert list(said) == [f"pools.{name}.adapter" for name in expected]
    for name, words in expected.items():
        line = said[f"pools.{name}.adapter"]
        assert words in line
        assert len(line.splitlines()) == 1
    place = f'{application / "maitred.toml"}:6: pools.absent.adapter = "absent:service": does not import: '
    assert said["pools.absent.adapter"].startswith(place)
    assert f"looked for in {application}, {os.getcwd()}" in said["pools.absent.adapter"]


def test_one_that_hangs_is_killed(application: Path) -> None:
    began = time.monotonic()
    (problem,) = check_adapters(_config(application, a="hanging:service"), timeout_s=0.3)
    assert "longer than 0.3 s" in str(problem)
    assert time.monotonic() - began < 10


def test_only_the_pools_asked_for(application: Path) -> None:
    config = _config(application, a="absent:service", b="good:service")
    assert check_adapters(config, pools=["b", "outside"]) == []
    assert len(check_adapters(config, sys.executable, pools=["a"])) == 1
