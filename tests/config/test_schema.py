"""The one table: each key has a sentence and a default that it accepts; the JSON Schema and `show` agree with `load`."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

import maitred.config
from maitred.config import (
    BrokerConfig,
    Config,
    ConfigError,
    Hardware,
    PoolConfig,
    as_toml,
    built_in_text,
    json_schema,
    load,
    show,
)
from maitred.config.schema import keys_of
from maitred.config.toml_text import inline

HERE = Hardware(cpus=4, gpus=1)
TYPES: dict[str, Any] = {
    "object": dict,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "array": list,
}


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _load(text: str) -> Config:
    Path("my.toml").write_text(text)
    return load(Path("my.toml"), environ={}, hardware=HERE)


def _valid(schema: dict[str, Any], value: Any) -> bool:
    """The part of JSON Schema that ours uses; a word that is not known here is an error."""
    judges = {
        "type": lambda kind: isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool)),
        "anyOf": lambda options: any(_valid(option, value) for option in options),
        "enum": lambda words: value in words,
        "pattern": lambda pattern: not isinstance(value, str) or re.search(pattern, value) is not None,
        "maxItems": lambda most: not isinstance(value, list) or len(value) <= most,
        "items": lambda inner: not isinstance(value, list) or all(_valid(inner, item) for item in value),
        "minLength": lambda least: not isinstance(value, str) or len(value) >= least,
        "maxLength": lambda most: not isinstance(value, str) or len(value) <= most,
        "minimum": lambda least: not isinstance(value, int | float) or value >= least,
        "maximum": lambda most: not isinstance(value, int | float) or value <= most,
        "maxProperties": lambda most: len(value) <= most,
        "required": lambda names: all(name in value for name in names),
        "propertyNames": lambda inner: all(_valid(inner, name) for name in value),
        "properties": lambda inner: all(_valid(inner[name], value[name]) for name in inner if name in value),
        "additionalProperties": lambda inner: all(
            inner is not False and _valid(inner, value[name])
            for name in value
            if name not in schema.get("properties", {})
        ),
    }
    notes = ("$schema", "title", "description", "default")
    if "type" in schema and not judges["type"](schema["type"]):
        return False
    return all(judges[word](rule) for word, rule in schema.items() if word not in notes)


@pytest.mark.parametrize("table", [BrokerConfig, PoolConfig])
def test_each_field_comes_from_a_documented_key(table: type[Struct]) -> None:
    keys = keys_of(table)
    assert {"name", *keys} == {"name", *table.__struct_fields__}
    assert len({key.name for key in keys.values()}) == len(keys)
    for field, key in keys.items():
        assert field in (key.name, f"{key.name}_s", f"{key.name}_bytes", f"{key.name}_file")
        assert key.doc.endswith(".")
        assert key.kind.accepts
        if key.default is not None:
            value = key.kind.read(key.default, HERE)
            assert key.kind.read(key.kind.write(value), HERE) == value
            assert _valid(key.kind.schema(), key.default)


def test_the_json_schema_is_json_and_describes_each_key() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["additionalProperties"] is False
    broker, pool = schema["properties"]["broker"], schema["properties"]["pools"]["additionalProperties"]
    assert list(broker["properties"]) == [key.name for key in keys_of(BrokerConfig).values()]
    assert list(pool["properties"]) == [key.name for key in keys_of(PoolConfig).values()]
    for table in (broker, pool):
        assert table["additionalProperties"] is False
        assert all(described["description"] for described in table["properties"].values())
    assert pool["properties"]["timeout"]["default"] == "30s"


def test_the_json_schema_accepts_the_default_and_refuses_slips() -> None:
    document = tomllib.loads(built_in_text())
    assert _valid(json_schema(), document)
    for slip in (
        {"brker": {}},
        {"pools": {"a": {"siz": 1}}},
        {"pools": {"a": {"timeout": "5 parsecs"}}},
        {"pools": {"-": {}}},
    ):
        assert not _valid(json_schema(), slip), slip


VALUES = st.sampled_from(
    [0, 1, 3, 1024, 1.5, -1, True, "1s", "5min", "0.5h", "512MB", "1GiB", "2 * cpus", "auto", "spawn", "", "a:b",
     "x/y.py:s.t", "tcp://127.0.0.1:9", "ipc:///run/x", "127.0.0.1:80", "/run/maitred", "~/run", {"min": 1, "max": "cpus"}]
)  # fmt: skip
POOLS = st.dictionaries(st.sampled_from([key.name for key in keys_of(PoolConfig).values()]), VALUES, max_size=4)
BROKERS = st.dictionaries(st.sampled_from([key.name for key in keys_of(BrokerConfig).values()]), VALUES, max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(BROKERS, POOLS)
def test_what_is_accepted_is_valid_and_what_is_shown_loads_to_the_same(
    broker: dict[str, Any], pool: dict[str, Any]
) -> None:
    document = {"broker": broker, "pools": {"a.b": pool}}
    text = "".join(f"{name} = {inline(table)}\n" for name, table in document.items())
    try:
        config = _load(text)
    except ConfigError:
        return
    assert _valid(json_schema(), document)
    again = _load(as_toml(config))
    assert (again.broker, again.pools, again.routing) == (config.broker, config.pools, config.routing)
    assert show(again) == show(config)


def test_show_is_plain_and_for_people() -> None:
    shown = show(load(None, environ={}, hardware=HERE))
    assert msgspec.json.decode(msgspec.json.encode(shown)) == shown
    assert shown["source"] is None
    assert shown["broker"]["run_dir"] is None
    assert shown["broker"]["max_message"] == "256MiB"
    general = shown["pools"]["general"]
    assert (general["size"], general["memory_limit"], general["timeout"]) == (8, "512MB", "30s")
    assert shown["routing"] == {"optimize_*": "optimizer", "train_*": "neural", "*": "general"}


def test_shown_text_says_where_it_is_from() -> None:
    assert as_toml(load(None, environ={})).startswith("# from the built-in configuration\n\n[broker]\nclients = ")
    assert as_toml(_load("[pools.a]")).startswith(f"# from {Path.cwd() / 'my.toml'}\n")


def test_the_public_names_are_there() -> None:
    for name in maitred.config.__all__:
        assert hasattr(maitred.config, name)
