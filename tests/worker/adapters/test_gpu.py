"""Whether the neural adapter's GPU works. PyTorch is played by NumPy here, as GPUs cannot be had everywhere, nor broken."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from worker_peers import Broker, run

from maitred.worker.adapters.gpu import UsedGpu
from maitred.worker.adapters.neural import service


class Torch:
    """As much of it as is used, with a GPU that may break."""

    def __init__(self, gpus: int, broken: str = "", wrong: int = 0) -> None:
        self.cuda = SimpleNamespace(is_available=lambda: gpus > 0)
        self.broken = broken
        self.wrong = wrong

    def arange(self, count: int, *, device: str) -> Any:
        assert device == "cuda:0"
        if self.broken:
            raise RuntimeError(self.broken)
        return np.arange(count) + self.wrong


@pytest.fixture
def gpu() -> UsedGpu:
    return UsedGpu()


def test_without_pytorch_there_is_nothing_to_check(gpu: UsedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    gpu.look()
    assert gpu.check() == ""


def test_without_a_gpu_there_is_nothing_to_check(gpu: UsedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", Torch(gpus=0, broken="never asked"))
    gpu.look()
    assert gpu.check() == ""


def test_a_gpu_is_well_until_it_breaks(gpu: UsedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = Torch(gpus=1)
    monkeypatch.setitem(sys.modules, "torch", torch)
    gpu.look()
    assert gpu.check() == ""
    torch.wrong = 1
    assert gpu.check() == "cuda:0 computes 0 + 1 + 4 + 9 = 30"
    torch.broken = "CUDA error: unspecified launch failure"
    with pytest.raises(RuntimeError, match="unspecified launch failure"):
        gpu.check()


def test_a_real_one(gpu: UsedGpu) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU that PyTorch can use")
    gpu.look()
    assert gpu.check() == ""


def test_the_adapter_is_asked() -> None:
    problems: list[str] = []

    def script(broker: Broker) -> None:
        broker.check(1)
        problems.append(broker.checked().problem)

    assert [hook.function.__name__ for hook in service.startups] == ["look"]
    run("plain", service, script)
    assert problems == [""]
