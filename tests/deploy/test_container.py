"""`deploy/container/Containerfile`, as far as it goes without an engine: its instructions, what it copies, that it can be
built from that alone, and that its commands are there and do what they are for.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from user_shell import ANY_PORT, Shell, ended, ready

from maitred.config import load

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "container" / "Containerfile"
KNOWN = {
    *(
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
        "RUN",
        "STOPSIGNAL",
        "USER",
        "WORKDIR",
    )
}


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", FILE.read_text(), flags=re.M)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


def last(name: str) -> str:
    return [value for instruction, value in instructions() if instruction == name][-1]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for instruction, value in instructions():
        if instruction == "FROM":
            found.append([])
        if found:
            found[-1].append((instruction, value))
    return found


def copied() -> list[str]:
    sources = [shlex.split(value) for instruction, value in stages()[0] if instruction == "COPY"]
    return [source for words in sources for source in words[:-1]]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.end()


def test_it_has_instructions_that_there_are_in_an_order_that_counts() -> None:
    assert {name for name, _ in instructions()} <= KNOWN
    build, final = stages()
    assert build[0] == ("FROM", "python:${PYTHON}-slim AS build")
    assert ("COPY", "--from=build /opt/maitred /opt/maitred") in final
    assert not [value for name, value in final if name == "COPY" and not value.startswith("--from=build ")]
    names = [name for name, _ in final]
    assert names.index("USER") > max(index for index, name in enumerate(names) if name == "RUN")
    assert last("USER") == "10001:10001"  # a number: whoever refuses root has to see that it is none


def test_it_copies_what_there_is_and_all_that_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert all((ROOT / name).exists() for name in copied())
    folders = {folder.partition("/")[0] for folder in project["tool"]["setuptools"]["package-dir"].values()}
    assert folders <= {name.rstrip("/") for name in copied()}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == set(copied())
    assert project["project"]["optional-dependencies"].keys() >= {"ml"}


def test_its_ports_are_the_brokers() -> None:
    broker = load(None, environ={}).broker
    found = [address.rpartition(":")[2] for address in (broker.clients, broker.workers, broker.http)]
    assert last("EXPOSE").split() == found


@pytest.mark.slow
def test_its_commands_serve_are_seen_to_and_end(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text("[pools.app]\n")
    command = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]
    check = json.loads(re.sub(r"^.*? CMD ", "", last("HEALTHCHECK")))
    assert command == ["maitred", "up"]
    assert check[0] == "maitred"
    assert shell.maitred(*check[1:]).returncode == 3
    process = shell.start(*ANY_PORT, *command[1:])
    ready(process)
    assert shell.maitred(*check[1:]).returncode == 0
    process.send_signal(getattr(signal, last("STOPSIGNAL")))
    assert ended(process)[0] == 0


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_it_can_be_built_from_what_it_copies(tmp_path: Path) -> None:
    """The build's own command, with another folder in the place of /opt; it takes its packages from the registry."""
    source, target = tmp_path / "source", tmp_path / "opt"
    source.mkdir()
    for name in copied():
        one = ROOT / name
        if one.is_dir():
            shutil.copytree(one, source / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        else:
            shutil.copy(one, source / name)
    venv.create(tmp_path / "python", symlinks=True)
    (run,) = [value for instruction, value in stages()[0] if instruction == "RUN"]
    environment = {
        "EXTRAS": "",
        "PATH": f"{Path(sys._base_executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
    }
    environment |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    command = run.replace("/opt/maitred", str(target)).replace("python -m", f"{tmp_path}/python/bin/python -m")
    subprocess.run(["sh", "-c", command], cwd=source, env=environment, check=True)
    version = subprocess.run([target / "bin" / "maitred", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("maitred ")
    page = "import importlib.resources as r; print(r.files('maitred.broker.web').joinpath('page/index.html').is_file())"
    shown = subprocess.run([target / "bin" / "python", "-c", page], cwd="/", capture_output=True, text=True, check=True)
    assert shown.stdout == "True\n"
