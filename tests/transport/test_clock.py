"""Processes of one host read one clock, and say so; nobody says so who does not know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maitred.transport import clock

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux names its clock")


@linux
def test_another_process_of_this_host_calls_it_the_same() -> None:
    code = "from maitred.transport import clock; print(clock.name())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other.strip() == clock.name() != ""


@linux
def test_the_name_has_the_boot_and_the_time_namespace() -> None:
    boot, namespace = clock.name().split()
    assert len(boot) == 36
    assert namespace.startswith("time:[")


def test_a_kernel_without_time_namespaces_is_named_by_its_boot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    boot = tmp_path / "boot_id"
    boot.write_text("one\n")
    monkeypatch.setattr(clock, "BOOT_ID", boot)
    monkeypatch.setattr(clock, "TIME_NAMESPACE", tmp_path / "absent")
    assert clock.name() == "one"


def test_where_the_boot_is_not_known_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clock, "BOOT_ID", tmp_path / "absent")
    assert clock.name() == ""
