"""The GPUs of this host, as NVML tells of them: which there are, which one a worker is given, what it has on it.

    gpus = find("auto")
    uuid = gpus.place(needed_bytes, taken)
    environment(uuid, "auto")       # for the worker, before anything in it imports CUDA
    gpus.usage()                    # of every process on them
    gpus.close()

NVML is the driver's own library; it can be missing, be of another version than the driver, or not answer. None of this
stops a pool that does not require a GPU. What is looked for, and placed how: docs/limits.md.
"""

from maitred.worker.gpus.finding import GpuError, find
from maitred.worker.gpus.found import Gpus, environment
from maitred.worker.gpus.nvml import Device
from maitred.worker.gpus.report import describe

__all__ = ["Device", "GpuError", "Gpus", "describe", "environment", "find"]
