"""Finding an application's service by its name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maitred.worker.loading import AdapterError, extend_path, load_service

SERVICE = "from maitred.worker import Service\nservice = Service()\n\nclass Holder:\n    inner = Service()\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def test_a_module_on_the_path(folder: Path) -> None:
    (folder / "loading_found.py").write_text(SERVICE)
    extend_path([str(folder)])
    assert load_service("loading_found:service") is not load_service("loading_found:Holder.inner")


def test_a_file_is_imported_once(folder: Path) -> None:
    file = folder / "loading_file.py"
    file.write_text(SERVICE)
    assert load_service(f"{file}:service") is load_service(f"{file}:service")


def test_a_file_that_raises_is_imported_anew(folder: Path) -> None:
    file = folder / "loading_raises.py"
    file.write_text("raise LookupError('not yet')")
    with pytest.raises(LookupError):
        load_service(f"{file}:service")
    file.write_text(SERVICE + "# and now it works\n")
    load_service(f"{file}:service")


@pytest.mark.parametrize("adapter", ["", "service", ":service", "module:", "nowhere.py:service"])
def test_what_is_no_adapter_is_refused(adapter: str) -> None:
    with pytest.raises(AdapterError, match="adapter"):
        load_service(adapter)


def test_a_wrong_attribute_is_told_what_there_is(folder: Path) -> None:
    file = folder / "loading_wrong.py"
    file.write_text(SERVICE)
    with pytest.raises(AdapterError, match="has no 'servise'; it has service"):
        load_service(f"{file}:servise")
    with pytest.raises(AdapterError, match="found type"):
        load_service(f"{file}:Holder")


def test_the_path_has_the_directories_first_in_their_order_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/a", "/b", "/c"])
    extend_path(["/c", "/new"])
    assert sys.path == ["/c", "/new", "/a", "/b"]
