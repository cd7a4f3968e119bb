"""What of the GPUs needs no library: whose turn it is, what CUDA_VISIBLE_DEVICES means, calls that do not return."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from maitred.worker.gpus.lane import Blocked, Lane
from maitred.worker.gpus.nvml import Device
from maitred.worker.gpus.placing import place
from maitred.worker.gpus.traces import looked_for
from maitred.worker.gpus.visible import visible


def whole(uuid: str) -> list[Device]:
    return [Device(uuid, "H100", 80, False, uuid)]


GPUS = [
    whole("GPU-aa11"),
    [Device("MIG-cc33", "1g", 10, True, "GPU-aa22"), Device("MIG-cc44", "1g", 10, True, "GPU-aa22")],
    whole("GPU-bb55"),
]


@pytest.mark.parametrize(
    ("value", "uuids"),
    [
        (None, "GPU-aa11 MIG-cc33 MIG-cc44 GPU-bb55"),
        ("", ""),
        ("-1", ""),
        ("NoDevFiles", ""),
        ("2, 0", "GPU-bb55 GPU-aa11"),
        ("1", "MIG-cc33 MIG-cc44"),
        ("GPU-b", "GPU-bb55"),
        ("GPU-aa22", "MIG-cc33 MIG-cc44"),
        ("GPU-aa", ""),  # of two
        ("MIG-cc44,GPU-aa11", "MIG-cc44 GPU-aa11"),
        ("MIG-cc", ""),
        ("2,7,0", "GPU-bb55"),
        ("2,-1,0", "GPU-bb55"),
        ("2,2", ""),
    ],
)
def test_what_may_be_used(value: str | None, uuids: str) -> None:
    assert [device.uuid for device in visible(value, GPUS)] == uuids.split()


@pytest.mark.parametrize(
    ("needed", "taken", "workers", "chosen"),
    [
        (10, {}, {}, "b"),
        (10, {"b": 30}, {}, "a"),
        (50, {"b": 15}, {}, None),
        (60, {}, {}, "b"),
        (61, {}, {}, None),
        (10, {"b": 20}, {"a": 1}, "b"),  # as much room, fewer workers
        (None, {}, {}, "b"),
        (None, {}, {"b": 1}, "a"),
        (None, {"b": 30}, {"a": 1, "b": 1}, "a"),
        (None, {"a": 99, "b": 99}, {}, "b"),
    ],
)
def test_who_has_room(needed: int | None, taken: dict[str, int], workers: dict[str, int], chosen: str | None) -> None:
    assert place({"a": 40, "b": 60}, needed, taken, workers) == chosen


def test_no_device_is_chosen_of_none() -> None:
    assert place({}, None, {}, {}) is None
    assert place({}, 1, {}, {}) is None


def test_a_call_returns_or_raises_what_it_would_anywhere() -> None:
    lane = Lane("test")
    assert lane.call(lambda: 7, 10.0) == 7
    with pytest.raises(ZeroDivisionError):
        lane.call(lambda: 1 // 0, 10.0)
    assert lane.call(threading.current_thread, 10.0).name == "test"
    lane.close()


def test_a_call_that_hangs_costs_its_limit_once_and_one_thread() -> None:
    lane, hang = Lane("test"), threading.Event()
    with pytest.raises(Blocked):
        lane.call(hang.wait, 0.01)
    for _ in range(3):
        with pytest.raises(Blocked):
            lane.call(lambda: None, 60.0)  # at once: the test's own limit is shorter
    assert sum(thread.name == "test" for thread in threading.enumerate()) == 1
    hang.set()
    while True:
        try:
            assert lane.call(lambda: 7, 10.0) == 7
            break
        except Blocked:  # it is on its way
            continue
    lane.close()
    lane.close()


def test_traces_of_a_driver_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    lines = looked_for(tmp_path)
    assert lines[:4] == [
        "libnvidia-ml.so.1 by the dynamic loader (LD_LIBRARY_PATH: /opt/lib)",
        "/proc/driver/nvidia/version: missing: the kernel has no NVIDIA driver loaded",
        "/dev/nvidia*: none",
        "CUDA_VISIBLE_DEVICES: 3",
    ]
    for name, text in (("proc/driver/nvidia/version", "NVRM version: 550.54\nGCC\n"), ("dev/nvidia0", "")):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    assert looked_for(tmp_path)[1:3] == ["/proc/driver/nvidia/version: NVRM version: 550.54", "/dev/nvidia*: nvidia0"]
