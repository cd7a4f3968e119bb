"""What is asked of NVML, and in which words it fails. Every function here may block: `lane` is for that.

`pynvml` has no types, and takes 20 ms to import: only this file has it, and only where GPUs are wanted.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Generator
from typing import Any

from msgspec import Struct

__all__ = ["LIBRARY", "Device", "Nvml", "NvmlFailure"]

LIBRARY = "libnvidia-ml.so.1"
"""What `pynvml` asks the dynamic loader for."""


class NvmlFailure(Exception):
    """NVML cannot be had, or has refused; the message is what it said."""


class Device(Struct, frozen=True):
    """One GPU that a worker can be given, or one slice of it.

    Attributes:
        uuid: what `CUDA_VISIBLE_DEVICES` takes: "GPU-…" or "MIG-…".
        name: of the product.
        total: bytes of memory; 0 where it has none of its own.
        mig: whether it is a slice (Multi-Instance GPU).
        of: UUID of the whole GPU.
    """

    uuid: str
    name: str
    total: int
    mig: bool
    of: str


class Nvml:
    """NVML, loaded and initialised.

    Attributes:
        driver: version of the driver.
        gpus: of each whole GPU, in the order of the PCI bus, what a worker can be given of it: itself; or its slices,
            where it is in MIG mode, in which the whole cannot be used; nothing, where NVML refuses.
        refused: what it said of those, in words.

    Raises:
        NvmlFailure: no library, no driver, or not of one version.
    """

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}
        self._seen_at: dict[str, int] = {}
        with _failures():
            self._nvml: Any = importlib.import_module("pynvml")
            self._nvml.nvmlInit()
        with _failures():
            self.driver = str(self._nvml.nvmlSystemGetDriverVersion())
            count = int(self._nvml.nvmlDeviceGetCount())
        self.refused: list[str] = []
        self.gpus = [self._enumerate(index) for index in range(count)]

    def _enumerate(self, index: int) -> list[Device]:
        try:
            return self._devices(self._nvml.nvmlDeviceGetHandleByIndex(index))
        except self._refusals as error:  # lost, or not this container's: the others are none the worse
            self.refused.append(f"GPU {index}: {error}")
            return []

    def _devices(self, handle: Any) -> list[Device]:
        uuid = str(self._nvml.nvmlDeviceGetUUID(handle))
        slices = self._slices(handle)
        if slices is None:
            return [self._device(handle, uuid, of=None)]
        return [self._device(one, str(self._nvml.nvmlDeviceGetUUID(one)), of=uuid) for one in slices]

    def _slices(self, handle: Any) -> list[Any] | None:
        """None: it is not in MIG mode."""
        try:
            mode, _pending = self._nvml.nvmlDeviceGetMigMode(handle)
        except self._refusals:  # it has no such mode
            return None
        if not mode:
            return None
        slices: list[Any] = []
        for index in range(self._nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            with contextlib.suppress(*self._refusals):  # that place is empty
                slices.append(self._nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
        return slices

    def _device(self, handle: Any, uuid: str, of: str | None) -> Device:
        self._handles[uuid] = handle
        total = 0
        with contextlib.suppress(*self._refusals):  # integrated GPUs share the host's memory
            total = int(self._nvml.nvmlDeviceGetMemoryInfo(handle).total)
        return Device(uuid, str(self._nvml.nvmlDeviceGetName(handle)), total, of is not None, of or uuid)

    @property
    def _refusals(self) -> tuple[type[Exception], ...]:
        return self._nvml.NVMLError, self._nvml.NVMLLibraryMismatchError

    def free(self, uuid: str) -> int:
        """Bytes that nobody has.

        Raises:
            NvmlFailure: it does not say.
        """
        with _failures():
            return int(self._nvml.nvmlDeviceGetMemoryInfo(self._handles[uuid]).free)

    def processes(self, uuid: str) -> dict[int, int]:
        """Of each process that computes on it: bytes of GPU memory; 0 where NVML does not say.

        Raises:
            NvmlFailure: it does not say.
        """
        handle = self._handles[uuid]
        with _failures():
            try:
                found = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            except self._nvml.NVMLLibraryMismatchError:  # a driver before 510
                found = self._nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle)
            return {int(one.pid): int(one.usedGpuMemory or 0) for one in found}

    def utilisation(self, uuid: str) -> dict[int, float]:
        """Of each process, the share of the GPU's time in the newest sample since the last call, 0 to 1.

        Empty where nothing was sampled, or where it is not told, as of slices.
        """
        since = self._seen_at.get(uuid, 0)
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(self._handles[uuid], since)
        except self._refusals:
            return {}
        newest = sorted(
            ((int(one.timeStamp), int(one.pid), int(one.smUtil)) for one in samples), key=lambda one: one[0]
        )
        if newest:
            self._seen_at[uuid] = newest[-1][0]
        return {pid: min(1.0, percent / 100) for _, pid, percent in newest}

    def close(self) -> None:
        """Let go of the driver."""
        with contextlib.suppress(*self._refusals):
            self._nvml.nvmlShutdown()


@contextlib.contextmanager
def _failures() -> Generator[None]:
    """Say anything that NVML or its binding raises in one way: the binding's mismatch is none of NVML's errors."""
    try:
        yield
    except Exception as error:
        raise NvmlFailure(str(error) or type(error).__name__) from error
