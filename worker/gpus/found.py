"""The GPUs that were found, for one agent: where there is room, who has what, and what to do while NVML is silent."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from maitred.worker.gpus import namespaces
from maitred.worker.gpus.lane import Blocked, Lane
from maitred.worker.gpus.nvml import Device, Nvml, NvmlFailure
from maitred.worker.gpus.placing import place
from maitred.worker.gpus.visible import VARIABLE

__all__ = ["CALL_LIMIT_S", "RETRY_S", "Gpus", "environment"]

CALL_LIMIT_S = 1.0
"""For an answer of NVML, which takes a millisecond or a few: shorter than what would make the broker miss an agent."""

RETRY_S = 60.0
"""After NVML has not answered, nothing is asked of it for so long: a driver that hangs seldom comes back by itself."""

_T = TypeVar("_T")


class Gpus:
    """What `find` found. Any method may wait up to `CALL_LIMIT_S`; none raises.

    Args:
        devices: that may be used.
        words: of what was found, or why nothing was.
        lane: where NVML is called.
        nvml: None: there is none.
        clock: seconds.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        words: str,
        lane: Lane | None = None,
        nvml: Nvml | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.devices = tuple(devices)
        self._words = words
        self._lane = lane
        self._nvml = nvml
        self._clock = clock
        self._retry_at = float("-inf")
        self._trouble = ""
        self._given: Counter[str] = Counter()
        self._pids_are_ours = namespaces.are_ours()

    @property
    def words(self) -> str:
        """One line for status: what there is, and what is the matter with it."""
        return f"{self._words}; {self._trouble}" if self._trouble else self._words

    def free(self, uuid: str) -> int:
        """Bytes of a device that nobody has; 0 where NVML does not say."""
        return (self._of_each([uuid], Nvml.free) or {}).get(uuid, 0)

    def place(
        self, needed_bytes: int | None, taken: Mapping[str, int], workers: Mapping[str, int] | None = None
    ) -> str | None:
        """Choose the device of the next worker: the one with most room; in turn, where it is not known what is needed.

        Args:
            needed_bytes: free memory that it must have; None: it does not matter.
            taken: of each device, bytes promised to workers that have not loaded yet.
            workers: of each device, how many there are now, which makes turns fair after deaths; None: how often each
                was chosen here counts.

        Returns:
            Its UUID; None where none has room, or there is none.
        """
        uuids = [device.uuid for device in self.devices]
        free = self._of_each(uuids, Nvml.free)
        if free is None:
            free = dict.fromkeys(uuids, 0)
        chosen = place(free, needed_bytes, taken, self._given if workers is None else workers)
        if chosen is not None:
            self._given[chosen] += 1
        return chosen

    def usage(self) -> dict[int, tuple[int, float]]:
        """Of each process on the devices: bytes of GPU memory on all of them, and the most of one's time, 0 to 1.

        Processes of other containers are left out; in a container whose driver tells ids of the host, so are our own.
        """
        devices = self._of_each([device.uuid for device in self.devices], _processes) or {}
        found: dict[int, tuple[int, float]] = {}
        for processes in devices.values():
            for pid, (bytes_, time_) in processes.items():
                so_far, most = found.get(pid, (0, 0.0))
                found[pid] = so_far + bytes_, max(most, time_)
        if self._pids_are_ours:
            return found
        return {pid: one for pid, one in found.items() if namespaces.computes(pid)}

    def _of_each(self, uuids: Sequence[str], question: Callable[[Nvml, str], _T]) -> dict[str, _T] | None:
        """The answers, without devices that NVML refuses to speak of; None: it does not answer at all."""
        nvml, lane = self._nvml, self._lane
        if nvml is None or lane is None or self._clock() < self._retry_at:
            return None
        answers: dict[str, _T] = {}
        troubles: list[str] = []

        def ask() -> None:
            for uuid in uuids:
                try:
                    answers[uuid] = question(nvml, uuid)
                except NvmlFailure as failure:
                    troubles.append(f"NVML says of {uuid}: {failure}")

        try:
            lane.call(ask, CALL_LIMIT_S)
        except Blocked:
            self._trouble = f"NVML has not answered within {CALL_LIMIT_S:g} s and is left alone for {RETRY_S:g} s"
            self._retry_at = self._clock() + RETRY_S
            return None
        self._trouble = "; ".join(troubles)
        return answers

    def close(self) -> None:
        """Let go of NVML. Repeatable."""
        nvml, lane = self._nvml, self._lane
        if nvml is not None and lane is not None:
            with contextlib.suppress(Blocked):
                lane.call(nvml.close, CALL_LIMIT_S)
            lane.close()
        self._nvml = None


def _processes(nvml: Nvml, uuid: str) -> dict[int, tuple[int, float]]:
    times = nvml.utilisation(uuid)
    return {pid: (bytes_, times.get(pid, 0.0)) for pid, bytes_ in nvml.processes(uuid).items()}


def environment(uuid: str | None, gpu: str) -> dict[str, str]:
    """What a worker's environment must have before anything in it imports CUDA.

    Args:
        uuid: of its device; None: it is given none, and shall not help itself.
        gpu: the pool's "off", "auto" or "required"; "off" leaves the environment alone.
    """
    return {} if gpu == "off" else {VARIABLE: uuid or ""}
