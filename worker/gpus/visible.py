"""Which of the host's GPUs may be used: CUDA's own rule, for the agent's own `CUDA_VISIBLE_DEVICES`. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from maitred.worker.gpus.nvml import Device

__all__ = ["VARIABLE", "visible"]

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible(value: str | None, gpus: Sequence[Sequence[Device]]) -> list[Device]:
    """Those that may be used, in the order named.

    As in CUDA, a name may be the beginning of one UUID alone, and the first entry that names nothing ends the list, and
    whoever names one twice gets none. A number is the place of a whole GPU on the PCI bus; of one in MIG mode, it means
    all slices.

    Args:
        value: of the variable; None: it is not set, so all may.
        gpus: of each whole GPU, what can be used of it.
    """
    if value is None:
        return [device for gpu in gpus for device in gpu]
    chosen: list[Device] = []
    for entry in value.split(","):
        named = _named(entry.strip(), gpus)
        if not named:
            break
        if named[0] in chosen:
            return []
        chosen.extend(named)
    return chosen


def _named(entry: str, gpus: Sequence[Sequence[Device]]) -> Sequence[Device]:
    if entry.isdecimal():
        return gpus[int(entry)] if int(entry) < len(gpus) else ()
    if not entry.startswith(("GPU-", "MIG-")):
        return ()
    found = [[device] for gpu in gpus for device in gpu if device.uuid.startswith(entry)]
    whole = [gpu for gpu in gpus if any(device.mig and device.of.startswith(entry) for device in gpu)]
    matches = found + [list(gpu) for gpu in whole]
    return matches[0] if len(matches) == 1 else ()
