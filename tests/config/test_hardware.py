"""Processors and GPUs: affinity, quotas of both cgroup versions, and that no GPU is an answer and no error."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from maitred.config.hardware import Hardware, cpus, gpus, memory_bytes


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def _host(root: Path, cgroup: str, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in {"proc/self/cgroup": cgroup, **{f"cgroup/{name}": text for name, text in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root / "cgroup", root / "proc"


@pytest.mark.parametrize(
    ("cgroup", "files", "count"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, 8),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "200000 100000\n", "a/cpu.max": "300000 100000\n"}, 2),
        ("0::/gone\n", {"cpu.max": "400000 100000\n"}, 4),
        (
            "4:cpu,cpuacct:/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        ("1:cpu:/docker/x\n", {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ("1:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ("3:cpuset:/\n", {"cpu.max": "1 1"}, 8),
        ("0::/\n", {"cpu.max": "nonsense"}, 8),
        ("0::/\n", {"cpu.max": "100000 0"}, 8),
        ("", {}, 8),
    ],
)
def test_the_smaller_of_affinity_and_quota(cgroup: str, files: dict[str, str], count: int, tmp_path: Path) -> None:
    assert cpus(*_host(tmp_path, cgroup, files)) == count


def test_without_cgroups_it_is_the_affinity(tmp_path: Path) -> None:
    assert cpus(tmp_path / "none", tmp_path / "none") == 8


def test_there_is_at_least_one_here() -> None:
    assert cpus() >= 1


def _nvml(monkeypatch: pytest.MonkeyPatch, count: int | Exception) -> list[str]:
    calls: list[str] = []

    def answer() -> int:
        if isinstance(count, Exception):
            raise count
        return count

    nvml = types.ModuleType("pynvml")
    nvml.nvmlInit = lambda: calls.append("init")  # type: ignore[attr-defined]
    nvml.nvmlShutdown = lambda: calls.append("shutdown")  # type: ignore[attr-defined]
    nvml.nvmlDeviceGetCount = answer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return calls


def test_gpus_are_what_nvml_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _nvml(monkeypatch, 3)
    assert gpus() == 3
    assert calls == ["init", "shutdown"]


def test_whatever_fails_means_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _nvml(monkeypatch, OSError("no driver"))
    assert gpus() == 0
    assert calls == ["init", "shutdown"]
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpus() == 0


def test_it_is_looked_up_when_asked_for_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _nvml(monkeypatch, 2)
    hardware = Hardware(cpus=3)
    assert (hardware.cpus, calls) == (3, [])
    assert (hardware.gpus, hardware.gpus, len(calls)) == (2, 2, 2)


@pytest.mark.parametrize(
    ("cgroup", "files", "limit"),
    [
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/\n", {"memory.max": "104857600\n"}, 104857600),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "300000\n"}, 300000),
        ("9:memory:/x\n", {"memory/x/memory.limit_in_bytes": "200000\n"}, 200000),
        ("9:memory:/x\n", {"memory/x/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("0::/nowhere\n", {}, None),
    ],
)
def test_memory_is_the_hosts_or_the_groups(
    tmp_path: Path, cgroup: str, files: dict[str, str], limit: int | None
) -> None:
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory_bytes(*_host(tmp_path, cgroup, files)) == (limit or host)
