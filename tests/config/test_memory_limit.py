"""A pool's memory limit reaches its agent, which keeps it, and the broker, which tells of it."""

from __future__ import annotations

from pathlib import Path

from maitred.config import load
from maitred.launcher import settings


def test_both_are_told_of_it(tmp_path: Path) -> None:
    text = '[pools.general]\nadapter = "maitred.worker.adapters.general:service"\nmemory_limit = "512MB"\n'
    (tmp_path / "maitred.toml").write_text(text + '[pools.other]\n[routing]\n"*" = "general"\n')
    config = load(tmp_path / "maitred.toml", environ={})
    agent = settings.of_agent(config, "general", "tcp://127.0.0.1:1", None, parent=None)
    general, other = settings.of_broker(config, "info", "text", parent=None).pools
    assert general.memory_limit_bytes == agent.memory_limit_bytes == 512_000_000
    assert (other.majordomo_body, other.memory_limit_bytes) == ("msgpack", None)
