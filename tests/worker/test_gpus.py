"""GPUs through the real binding, over a library of ours in place of the driver's; each in a process of its own, as the
binding loads its library once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMPILER = shutil.which("cc")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the driver's library is found in another way elsewhere"),
    pytest.mark.skipif(COMPILER is None, reason="a fake libnvidia-ml.so.1 needs a C compiler (cc)"),
]

Look = Callable[..., Any]

PREAMBLE = """
import json, os, sys, time
from maitred.worker.gpus import GpuError, describe, environment, finding, find, found, namespaces
namespaces.are_ours = lambda: True  # also where these tests run in a container
found.CALL_LIMIT_S = finding.INIT_LIMIT_S = 40.0  # on a machine with more to do
ANSWERS = []
"""

GIB = 1 << 30


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    built = {"no": tmp_path_factory.mktemp("none")}
    for name, options in (("new", []), ("old", ["-DOLD"])):
        folder = built[name] = tmp_path_factory.mktemp(name)
        target = str(folder / "libnvidia-ml.so.1")
        source = str(Path(__file__).parent / "fake_nvml.c")
        subprocess.run([str(COMPILER), "-shared", "-fPIC", "-w", *options, "-o", target, source], check=True)
    return built


@pytest.fixture
def look(libraries: dict[str, Path]) -> Look:
    """Runs Python over one of the libraries, with some of the fake's settings; returns what it appended to ANSWERS."""

    def run(script: str, library: str = "new", visible: str | None = None, **settings: str) -> Any:
        environment = {name: text for name, text in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        environment |= {"LD_LIBRARY_PATH": str(libraries[library])}
        environment |= {f"FAKE_NVML_{name.upper()}": text for name, text in settings.items()}
        if visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = visible
        code = f"{PREAMBLE}\n{script}\nprint(json.dumps(ANSWERS))"
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


FIND = """
gpus = find("auto")
ANSWERS += [gpus.words, [one.uuid for one in gpus.devices]]
gpus.close()
gpus.close()
"""


def test_without_a_driver_there_are_none_and_it_is_said_why(look: Look) -> None:
    script = "from maitred.worker.gpus.nvml import LIBRARY; import maitred.worker.gpus.nvml as n; import ctypes\n"
    script += "real = ctypes.CDLL.__init__\n"
    script += "def missing(self, name, *rest, **more):\n"
    script += "    if name == LIBRARY: raise OSError(name)\n"
    script += "    return real(self, name, *rest, **more)\n"
    script += "ctypes.CDLL.__init__ = missing  # where these tests run on a machine that has it\n"
    script += FIND + "ANSWERS += [gpus.place(None, {}), gpus.usage(), gpus.free('GPU-0')]"
    assert look(script, "no") == ["none: NVML says: NVML Shared Library Not Found", [], None, {}, 0]


def test_off_looks_for_nothing(look: Look) -> None:
    script = "gpus = find('off'); ANSWERS += [gpus.words, gpus.place(None, {}), 'pynvml' in sys.modules]; gpus.close()"
    assert look(script, gpus="pp") == ["off", None, False]


def test_two_are_found(look: Look) -> None:
    words, uuids = look(FIND, gpus="pp")
    assert words == "2 × NVIDIA H100, driver 550.54"  # noqa: RUF001 - as it is printed
    assert uuids == ["GPU-00000000-aaaa", "GPU-10000000-aaaa"]


def test_of_one_in_mig_mode_its_slices_are_found(look: Look) -> None:
    script = FIND + "ANSWERS += [[one.mig for one in gpus.devices], [one.of for one in gpus.devices]]"
    words, uuids, migs, wholes = look(script, gpus="mp")
    assert words == "2 × NVIDIA H100 MIG 3g.40gb, 1 × NVIDIA H100, driver 550.54"  # noqa: RUF001 - as it is printed
    assert uuids == ["MIG-00000000-bbbb", "MIG-01000000-bbbb", "GPU-10000000-aaaa"]
    assert (migs, wholes[0]) == ([True, True, False], "GPU-00000000-aaaa")


def test_mig_mode_without_a_slice_is_no_gpu(look: Look) -> None:
    words, uuids = look(FIND, gpus="e")
    assert (words, uuids) == ("none: MIG mode is on, and no slice has been made, driver 550.54", [])


def test_one_that_is_lost_does_not_take_the_others_along(look: Look) -> None:
    words, uuids = look(FIND, gpus="lp")
    assert words == "1 × NVIDIA H100, driver 550.54; GPU 0: GPU is lost"  # noqa: RUF001 - as it is printed
    assert uuids == ["GPU-10000000-aaaa"]
    script = "gpus = find('auto'); ANSWERS += [gpus.place(None, {}), gpus.place(1, {}), gpus.usage(), gpus.words]"
    first, second, usage, words = look(script, gpus="gp", process="1:42:7:0")
    assert (first, second, usage) == ("GPU-10000000-aaaa", "GPU-10000000-aaaa", {"42": [7, 0.0]})
    assert words.endswith("driver 550.54; NVML says of GPU-00000000-aaaa: GPU is lost")


def test_a_library_of_another_version_than_the_driver_is_said_to_be(look: Look) -> None:
    words, uuids = look(FIND, gpus="p", init="18")
    assert (words, uuids) == ("none: NVML says: RM has detected an NVML/RM version mismatch.", [])


REQUIRE = """
try:
    find("required")
except GpuError as error:
    ANSWERS.append(str(error))
"""


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"gpus": "p", "init": "18"}, "no GPU can be used: NVML says: RM has detected an NVML/RM version mismatch."),
        ({"gpus": ""}, "no GPU can be used: the driver 550.54 has no GPU."),
        ({"gpus": "l"}, "no GPU can be used: driver 550.54; GPU 0: GPU is lost."),
        ({"gpus": "pp", "visible": ""}, "no GPU can be used: CUDA_VISIBLE_DEVICES= leaves none of 2, driver 550.54."),
    ],
)
def test_required_and_none_is_refused_with_what_was_said(look: Look, settings: dict[str, str], reason: str) -> None:
    (told,) = look(REQUIRE, **settings)
    assert told.startswith(reason)
    assert "Looked for: libnvidia-ml.so.1 by the dynamic loader (LD_LIBRARY_PATH: /" in told
    assert "CUDA_VISIBLE_DEVICES: " in told


def test_required_and_there_is_one(look: Look) -> None:
    assert look("ANSWERS.append(find('required').words)", gpus="p")[0].startswith("1 ")


def test_the_agents_own_choice_is_obeyed(look: Look) -> None:
    assert look(FIND, gpus="ppp", visible="2,0")[1] == ["GPU-20000000-aaaa", "GPU-00000000-aaaa"]
    assert look(FIND, gpus="ppp", visible="GPU-1")[1] == ["GPU-10000000-aaaa"]


def test_a_worker_goes_where_there_is_most_room(look: Look) -> None:
    script = """
gpus, G = find("auto"), 1 << 30
one, two = (device.uuid for device in gpus.devices)
ANSWERS += [gpus.free(one) // G, gpus.free(two) // G]
ANSWERS += [gpus.place(20 * G, {}) == one, gpus.place(20 * G, {one: 50 * G}) == two, gpus.place(71 * G, {})]
ANSWERS += [gpus.place(25 * G, {one: 50 * G, two: 10 * G})]
"""
    assert look(script, gpus="pp", free="70,30") == [70, 30, True, True, None, None]


def test_where_the_need_is_not_known_they_are_given_in_turn(look: Look) -> None:
    script = """
gpus = find("auto")
uuids = [device.uuid for device in gpus.devices]
ANSWERS += [[uuids.index(gpus.place(None, {})) for _ in range(4)]]
ANSWERS += [uuids.index(gpus.place(None, {}, {uuids[0]: 3, uuids[1]: 1}))]
"""
    assert look(script, gpus="pp", free="30,70") == [[1, 0, 1, 0], 1]


def test_one_with_no_memory_of_its_own_is_given_in_turn_and_fits_no_need(look: Look) -> None:
    script = "gpus = find('auto'); ANSWERS += [gpus.devices[0].total, gpus.place(None, {}), gpus.place(1, {})]"
    assert look(script, gpus="n") == [0, None, None]


@pytest.mark.parametrize("library", ["new", "old"])
def test_what_processes_have_is_told(look: Look, library: str) -> None:
    script = "gpus = find('auto'); ANSWERS += [gpus.usage(), gpus.usage(), gpus.words]"
    processes = f"0:42:{GIB}:30,1:42:{GIB}:70,1:43:5:0"
    first, second, words = look(script, library, gpus="pp", process=processes)
    assert first == {"42": [2 * GIB, 0.7], "43": [5, 0.0]}
    assert second == {"42": [2 * GIB, 0.0], "43": [5, 0.0]}  # nothing was sampled since
    assert words.endswith("driver 550.54")


def test_slices_tell_memory_and_not_time(look: Look) -> None:
    script = "gpus = find('auto'); ANSWERS += [gpus.usage()]"
    assert look(script, gpus="m", process=f"1:42:{GIB}:30") == [{"42": [GIB, 0.0]}]


def test_in_a_container_ids_of_the_host_are_not_taken_for_ours(look: Look) -> None:
    script = """
namespaces.are_ours = lambda: False
os.environ["FAKE_NVML_PROCESS"] = f"0:{os.getpid()}:5:0,0:4194305:5:0"
gpus = find("auto")
ANSWERS += [gpus.usage()]
"""
    assert look(script, gpus="p") == [{}]


def test_a_library_that_does_not_start_is_given_up(look: Look) -> None:
    script = "finding.INIT_LIMIT_S = 0.2\n" + FIND
    assert look(script, gpus="p", init="hang") == ["none: NVML has not answered within 0.2 s", []]


def test_one_that_stops_answering_is_left_alone_for_a_while(look: Look) -> None:
    script = """
now = [100.0]
gpus = find("auto")
gpus._clock = lambda: now[0]
uuid = gpus.devices[0].uuid
ANSWERS.append(gpus.free(uuid))
os.environ["FAKE_NVML_HANG"] = "1"
found.CALL_LIMIT_S = 0.2
ANSWERS += [gpus.free(uuid), gpus.words]
found.CALL_LIMIT_S = 40.0           # whoever waited now would outlast the test
ANSWERS += [gpus.usage(), gpus.place(None, {}), gpus.place(1, {})]
now[0] += 61
ANSWERS += [gpus.free(uuid)]        # still hangs: nobody else is sent after it
os.unsetenv("FAKE_NVML_HANG")
while not gpus._lane._last.done():
    time.sleep(0.01)
ANSWERS += [gpus.free(uuid)]        # not asked
now[0] += 61
ANSWERS += [gpus.free(uuid), gpus.words]
gpus.close()
"""
    before, hanging, words, usage, turn, fit, still, alone, after, later = look(script, gpus="p", free="7")
    assert (before, hanging, usage, turn, fit) == (7 * GIB, 0, {}, "GPU-00000000-aaaa", None)
    assert words.endswith("driver 550.54; NVML has not answered within 0.2 s and is left alone for 60 s")
    assert (still, alone, after) == (0, 0, 7 * GIB)
    assert later.endswith("driver 550.54")


def test_doctor_tells_all(look: Look) -> None:
    lines = look("ANSWERS += describe()", gpus="mp", free="10,20,30", visible="1,0")
    assert lines[0].startswith("GPUs: 1 ")
    assert lines[1:4] == [
        "  GPU-10000000-aaaa: NVIDIA H100, 20.0 of 80.0 GiB free",
        "  MIG-00000000-bbbb: NVIDIA H100 MIG 3g.40gb, 10.0 of 80.0 GiB free, a slice of GPU-00000000-aaaa",
        "  MIG-01000000-bbbb: NVIDIA H100 MIG 3g.40gb, 20.0 of 80.0 GiB free, a slice of GPU-00000000-aaaa",
    ]
    assert [line.split()[2] for line in lines[4:8]] == [
        "libnvidia-ml.so.1", "/proc/driver/nvidia/version:", "/dev/nvidia*:", "CUDA_VISIBLE_DEVICES:",
    ]  # fmt: skip


def test_what_a_worker_is_told_of_its_gpu(look: Look) -> None:
    script = "ANSWERS += [environment('GPU-1', 'auto'), environment(None, 'required'), environment(None, 'off')]"
    assert look(script) == [{"CUDA_VISIBLE_DEVICES": "GPU-1"}, {"CUDA_VISIBLE_DEVICES": ""}, {}]
