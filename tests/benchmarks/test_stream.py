"""`stream`: streams that are read and timed, by hand and from real subjects."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator

import anyio
import pytest

from maitred.benchmarks.method.streams import (
    MIN_PART_BYTES,
    StreamFlow,
    StreamLoad,
    drive_async_streams,
    drive_streams,
    made_parts,
)
from maitred.benchmarks.scenarios import stream
from maitred.benchmarks.subjects.protocol import Setup, Streaming, has_streams
from maitred.benchmarks.subjects.registry import chosen, load
from maitred.benchmarks.subjects.zmq_plain import direct

Make = Callable[[], Iterator[bytes | None]]


def in_a_loop(make: Make, load: StreamLoad) -> StreamFlow:
    async def parts() -> AsyncIterator[bytes | None]:
        for part in make():
            await anyio.lowlevel.checkpoint()
            yield part

    return anyio.run(drive_async_streams, parts, load, backend="trio")


DRIVES = [drive_streams, in_a_loop]


def with_result(parts: int, part_bytes: int = 16) -> Iterator[bytes | None]:
    yield from made_parts(parts, part_bytes)
    yield None


def test_parts_have_their_size() -> None:
    assert [len(part) for part in made_parts(3, 100)] == [100] * 3
    assert [len(part) for part in made_parts(1, MIN_PART_BYTES)] == [MIN_PART_BYTES]


@pytest.mark.parametrize("drive", DRIVES)
def test_every_part_is_read_once_and_the_result_is_none(drive: Callable[[Make, StreamLoad], StreamFlow]) -> None:
    flow = drive(lambda: with_result(5), StreamLoad(parts=5, part_bytes=16, streams=3))
    assert (len(flow.latency), len(flow.first), len(flow.age)) == (3, 3, 15)
    assert all(0 <= age <= flow.ended_ns - flow.began_ns for age in flow.age)
    assert not flow.failed


@pytest.mark.parametrize("drive", DRIVES)
def test_a_stream_that_ends_early_or_fails_is_a_failure(drive: Callable[[Make, StreamLoad], StreamFlow]) -> None:
    flow = drive(lambda: with_result(4), StreamLoad(parts=5, part_bytes=16))
    assert ([*flow.failed], len(flow.latency)) == (["EOFError"], 0)

    def fails() -> Iterator[bytes | None]:
        yield from made_parts(1, 16)
        raise LookupError("no")

    flow = drive(fails, StreamLoad(parts=5, part_bytes=16))
    assert [*flow.failed] == ["LookupError"]


@pytest.mark.parametrize("drive", DRIVES)
def test_a_slow_reader_rests_after_each_part(drive: Callable[[Make, StreamLoad], StreamFlow]) -> None:
    flow = drive(lambda: with_result(4), StreamLoad(parts=4, part_bytes=16, pause_s=0.002))
    assert flow.latency[0] >= 4 * 2_000_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maitred", "maitred-async", "maitred-asyncio", "zmq-proxy", "zmq-direct"])
@pytest.mark.parametrize("part_bytes", [100, 100_000])
def test_a_subject_gives_the_parts_that_were_asked_for(name: str, part_bytes: int) -> None:
    subject = load(name)
    assert has_streams(subject)
    with subject.start(Setup()) as running:
        caller = running.caller()
        try:
            assert isinstance(caller, Streaming)
            flow = caller.drive_streams(StreamLoad(parts=150, part_bytes=part_bytes, streams=2))
        finally:
            caller.close()
    assert (len(flow.latency), len(flow.age), flow.failed) == (2, 300, {})


@pytest.mark.slow
def test_a_run_has_its_figures_and_leaves_out_who_has_no_streams() -> None:
    mute = dataclasses.replace(direct, name="mute", has_streams=False)
    parameters = stream.Parameters(rounds=1, parts=(2, 20), part_bytes=(64,), slow_parts=100, block_parts=40)
    found = stream.run([*chosen("maitred", "zmq-proxy"), mute], parameters, lambda _: None)
    assert [skipped.subject for skipped in found.skipped] == ["mute"]
    assert [(it.subject, it.setting["parts"]) for it in found.measurements] == [
        ("maitred", 2), ("zmq-proxy", 2), ("maitred", 20), ("zmq-proxy", 20), ("maitred", 100), ("zmq-proxy", 100)
    ]  # fmt: skip
    assert [it.latency.count for it in found.measurements if it.latency] == [20, 20, 2, 2, 1, 1]
    slow = {it.subject: it.values["part_age_us"] for it in found.measurements if it.setting["pause_s"]}
    assert slow["maitred"] > 1000  # parts wait for their reader
    assert {it.figure for it in found.comparisons} == {"first part", "part rate", "part age"}
