"""The keys that `maitred bench tune` varies: what the file says is what the processes are told, and do."""

from __future__ import annotations

import gc
from collections.abc import Generator
from pathlib import Path

import pytest

from maitred.config import load
from maitred.launcher import settings
from maitred.protocol import limits
from maitred.protocol.body import decode_body, encode_body, set_out_of_band
from maitred.testing import Pool, running
from maitred.transport.drain import DEFAULT_BATCH
from maitred.transport.sockets import DEFAULT_HWM
from maitred.worker import Service

service = Service()


@service.command
def collector() -> int:
    return gc.get_threshold()[0]


@service.command
def blob(size: int) -> bytes:
    return bytes(size)


def test_the_file_s_defaults_are_the_libraries_own(tmp_path: Path) -> None:
    (tmp_path / "maitred.toml").write_text("")
    config = load(tmp_path / "maitred.toml", environ={})
    broker, pool = config.broker, config.pools["general"]
    assert (broker.receive_batch, broker.high_water_mark, broker.io_threads) == (DEFAULT_BATCH, DEFAULT_HWM, 1)
    assert (broker.gc_threshold, pool.gc_threshold) == (None, None)
    assert settings.of_broker(config, "info", "text", parent=None).busy_poll_s == broker.busy_poll_s == 0.0003
    assert pool.out_of_band_bytes == limits.OUT_OF_BAND_BYTES


def test_what_the_file_says_is_what_processes_are_told(tmp_path: Path) -> None:
    (tmp_path / "maitred.toml").write_text(
        '[broker]\nbusy_poll = "50us"\nreceive_batch = 8\nhigh_water_mark = 9\nio_threads = 2\ngc_threshold = 0\n'
        '[pools.general]\nadapter = "maitred.worker.adapters.general:service"\ngc_threshold = 10\nout_of_band = "2KiB"\n'
        '[routing]\n"*" = "general"\n'
    )
    config = load(tmp_path / "maitred.toml", environ={})
    broker = settings.of_broker(config, "info", "text", parent=None)
    agent = settings.of_agent(config, "general", "tcp://127.0.0.1:1", None, parent=None)
    assert (broker.receive_batch, broker.high_water_mark, broker.io_threads, broker.gc_threshold) == (8, 9, 2, 0)
    assert broker.busy_poll_s == pytest.approx(50e-6)
    assert (agent.gc_threshold, agent.out_of_band_bytes) == (10, 2048)


@pytest.fixture
def small_frames() -> Generator[None]:
    set_out_of_band(1024)
    yield
    set_out_of_band(limits.OUT_OF_BAND_BYTES)


@pytest.mark.usefixtures("small_frames")
def test_a_process_may_put_smaller_buffers_into_frames_of_their_own() -> None:
    assert len(encode_body({"it": bytes(1023)})) == 1
    body = encode_body({"it": bytes(1024), "more": [bytes(1024)]})
    assert len(body) == 2  # one level deep is where large ones are looked for first
    assert decode_body(body) == {"it": bytes(1024), "more": [bytes(1024)]}


@pytest.mark.slow
def test_broker_and_workers_do_as_they_are_told() -> None:
    pool = Pool(service, settings={"gc_threshold": 12_345, "out_of_band_bytes": 1024})
    broker = {"receive_batch": 1, "high_water_mark": 4, "io_threads": 2, "gc_threshold": 0}
    with running(pool, broker=broker) as house:
        assert house.client.execute("general", "collector") == 12_345
        futures = [house.client.submit("general", "blob", {"size": 2048}) for _ in range(200)]
        assert {len(future.result(30)) for future in futures} == {2048}
