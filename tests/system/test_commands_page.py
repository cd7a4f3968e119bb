"""The examples of `docs/commands.md`, typed into a real shell, one house for all of them."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from user_shell import ANY_PORT, Shell, ended, ready

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()

NOT_HERE = {
    "maitred up": "runs already",
    "maitred broker": "goes on until it is told to end",
    "maitred pool": "needs a broker elsewhere",
    "maitred bench": "takes minutes; tests/benchmarks runs it",
    "maitred doctor": "its ports are taken, by the house; tests/system/test_doctor.py runs it",
    "maitred workers show": "an id of the page's own",
    "maitred requests show": "the same",
    "maitred requests cancel": "the same",
    "maitred quarantine show": "the same",
    "maitred sessions show": "the same",
    "maitred sessions close": "the same",
    "maitred reload": "needs keys; tests/system/test_who_may.py has them",
    "maitred keys list": "follows on `keys new`, in tests/cli/test_keys.py",
    "maitred keys revoke": "the same",
}
"""Examples that are not run here, and why."""

FAILS = {"maitred map": 1}
"""Those that show a failure, and with which code they end."""


def sections() -> Iterator[tuple[str, str]]:
    for section in PAGE.split("\n## ")[1:]:
        path, _, text = section.partition("\n")
        if path.startswith("maitred ") and path not in NOT_HERE:
            yield path, text.split("```console\n")[1].split("```")[0]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("page"))
    (shell.directory / "maitred.toml").write_text(
        '[pools.general]\nadapter = "maitred.worker.adapters.general:service"\nsize = { min = 1, max = 3 }\n'
    )
    house = shell.start(*ANY_PORT, "up")
    ready(house)
    yield shell
    house.send_signal(signal.SIGTERM)
    code, _ = ended(house)
    shell.end()
    assert code == 0


def test_what_is_not_run_is_on_the_page() -> None:
    assert all(f"\n## {path}\n" in PAGE for path in NOT_HERE)


@pytest.mark.parametrize(("path", "example"), [pytest.param(*each, id=each[0]) for each in sections()])
def test_an_example(shell: Shell, path: str, example: str) -> None:
    for typed in example.split("$ ")[1:]:
        line, _, said = typed.partition("\n")
        words = f'maitred() {{ {shlex.quote(sys.executable)} -m maitred.cli "$@"; }}; {line}'
        done = subprocess.run(
            ["bash", "-c", words],
            env=shell.environment,
            cwd=shell.directory,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == FAILS.get(path, 0), done.stderr
        if said:
            assert done.stdout == said
