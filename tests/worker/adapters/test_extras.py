"""The adapters start without the `[ml]` extra, and say so when they need it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from maitred.worker.adapters.extras import MissingExtra, require

HEAVY = ("numpy", "scipy", "sklearn", "optuna", "torch")

BLOCKED = f"""
import sys
sys.modules.update(dict.fromkeys({HEAVY!r}))  # None: an import of it fails, as where it is not installed
from maitred.worker import Context
from maitred.worker.adapters import general, neural, optimizer
from maitred.worker.invoke import invoke, start
for service in (general.service, neural.service, optimizer.service):
    start(service, Context())
for service, name in ((neural.service, "train_model"), (optimizer.service, "optimize_model")):
    try:
        invoke(service.find(name), {{}}, Context(), print)
    except Exception as error:
        print(type(error).__name__, error)
print(invoke(general.service.find("square"), {{"x": 3}}, Context(), print))
"""

LAZY = f"""
import sys
from maitred.worker.adapters import general, neural, optimizer
print(sorted(name for name in {HEAVY!r} if name in sys.modules))
optimizer.preload()
neural.preload()
print(sorted(name for name in {HEAVY[:4]!r} if name in sys.modules))
"""


def outcome(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.slow
def test_without_the_extra_the_commands_name_it() -> None:
    train, optimize, square = outcome(BLOCKED)
    assert train.startswith('MissingExtra train_model needs NumPy and scikit-learn: pip install "maitred[ml]" (')
    assert optimize.startswith('MissingExtra optimize_model needs Optuna and scikit-learn: pip install "maitred[ml]" (')
    assert square == "9"


@pytest.mark.slow
def test_nothing_heavy_is_imported_before_it_is_asked_for() -> None:
    assert outcome(LAZY) == ["[]", "['numpy', 'optuna', 'scipy', 'sklearn']"]


def test_the_module_that_is_missing_is_kept() -> None:
    with pytest.raises(MissingExtra, match="run needs more") as caught:
        require("run", "more", ["math", "no_such_module.inner"])
    assert caught.value.name == "no_such_module"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
