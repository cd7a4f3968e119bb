"""Whether an adapter's files have changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maitred.worker.agent_settings import AgentSettings
from maitred.worker.reloading import Sources, stamps


def sources(adapter: str, *path: Path) -> Sources:
    return Sources(AgentSettings("general", adapter, "tcp://x", 1, path=tuple(map(str, path))))


def write(file: Path, text: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    before = file.stat().st_mtime_ns if file.exists() else 0
    file.write_text(text)
    os.utime(file, ns=(before + 10**9, before + 10**9))  # however coarse the file system's clock is


@pytest.mark.parametrize(
    ("adapter", "beside"),
    [("app.main:service", "app/deep/part.py"), ("plain:service", "other.py"), ("{}/plain.py:service", "other.py")],
)
def test_what_lies_around_the_adapter_counts(tmp_path: Path, adapter: str, beside: str) -> None:
    for name in ("app/__init__.py", "app/main.py", "plain.py", beside):
        write(tmp_path / name)
    it = sources(adapter.format(tmp_path), tmp_path)
    assert it.changed() is None
    write(tmp_path / beside, "new")
    assert it.changed() == str(tmp_path / beside)
    assert it.changed() is None


def test_so_does_what_was_imported_as_it_was_then(tmp_path: Path) -> None:
    write(tmp_path / "app.py")
    write(tmp_path / "lib" / "part.py")
    imported = stamps([str(tmp_path / "lib" / "part.py"), None, "native.so"])
    write(tmp_path / "lib" / "part.py", "changed before it was noted")
    it = sources("app:service", tmp_path)
    it.note(imported)
    assert it.changed() == str(tmp_path / "lib" / "part.py")


def test_a_file_that_goes_has_changed_and_so_has_one_that_comes_back(tmp_path: Path) -> None:
    write(tmp_path / "app.py")
    it = sources("app:service", tmp_path)
    (tmp_path / "app.py").unlink()
    assert it.changed() is not None
    assert it.changed() is None
    write(tmp_path / "app.py")
    assert it.changed() is not None


def test_an_adapter_that_is_nowhere_has_no_files(tmp_path: Path) -> None:
    assert sources("no_such_thing_anywhere:service", tmp_path).changed() is None
