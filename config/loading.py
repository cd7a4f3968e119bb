"""From what was written to a `Config`: the file, the environment, the options, in this order, each over the one before.

Nothing stops at the first thing that is wrong: all of it is collected into one `ConfigError`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from maitred.config import coherence
from maitred.config.document import Document, apply_environment, apply_overrides, given, read, read_text
from maitred.config.hardware import Hardware
from maitred.config.problems import ConfigError, Problem
from maitred.config.resolve import resolve
from maitred.config.schema import Config

__all__ = ["FILE_NAME", "built_in_text", "load"]

FILE_NAME = "maitred.toml"
"""Looked for in the working directory where no file is named."""

BUILT_IN = f"built-in {FILE_NAME}"
"""What messages call the default."""


def load(
    source: Path | Mapping[str, Any] | None,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    hardware: Hardware | None = None,
) -> Config:
    """Read, override, check and resolve a configuration.

    Args:
        source: the file, or its tables; None takes `maitred.toml` in the working directory, or else the built-in one.
        overrides: `KEY=VALUE`, as given to `--set`; they win over the environment, later ones over earlier ones.
        environ: instead of the process's environment.
        hardware: what `cpus` and `gpus` stand for, instead of this host's.

    Raises:
        ConfigError: with everything that is wrong.
    """
    default = read_text(built_in_text(), BUILT_IN)
    if isinstance(source, Mapping):
        path, document = None, given(source)
    else:
        path = source or _in_working_directory()
        document = read(path) if path else default
    _complete(document, default)
    named = list(document.table("pools"))
    problems = apply_environment(document, os.environ if environ is None else environ)
    problems += apply_overrides(document, overrides)
    problems += _unknown_pools(document, named)
    hardware = hardware or Hardware()
    config, found = resolve(document, hardware, path.absolute() if path else None)
    problems += found
    problems += coherence.check(config, document, hardware)
    if problems:
        raise ConfigError(problems)
    return config


def built_in_text() -> str:
    """The built-in configuration as TOML text, with its comments: a file to start from."""
    return resources.files("maitred.config").joinpath(FILE_NAME).read_text(encoding="utf-8")


def _in_working_directory() -> Path | None:
    here = Path(FILE_NAME)
    return here if here.exists() else None


def _complete(document: Document, default: Document) -> None:
    """A file that names no pool has the three built-in ones, and their routing where it has none of its own."""
    if document.tables.get("pools", {}) == {}:
        document.adopt(default, "pools")
        if "routing" not in document.tables:
            document.adopt(default, "routing")


def _unknown_pools(document: Document, named: list[str]) -> list[Problem]:
    """A pool that only overrides name is a slip, unless they give it an adapter, or a whole table."""
    meant = {path[1] for path in document.overridden if path[0] == "pools" and path[2:] in ((), ("adapter",))}
    problems: list[Problem] = []
    for path in document.overridden:
        if path[0] == "pools" and len(path) > 2 and path[1] not in {*named, *meant}:
            value = document.table(*path[:-1]).get(path[-1])
            problems.append(coherence.unknown_pool(document.origin(path), path, value, named))
    for name in [name for name in document.table("pools") if name not in {*named, *meant}]:
        del document.table("pools")[name]
    return problems
