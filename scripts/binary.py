"""Build `maitred-broker` as one file that needs no Python, and try it: python scripts/binary.py [FOLDER], else dist.

It is the broker alone. What runs workers starts them with an interpreter, which is not in it; it is left out, so that a
mistake shows here. libzmq is pyzmq's own, which has CURVE.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "binary"
NAME = "maitred-broker"

START = """\
import os
import sys

from maitred.cli.broker_main import main
from maitred.transport.lifeline import die_with_parent

# What unpacks the file stays as its parent and passes signals on to it: a terminal's Ctrl-C is to come once, not twice.
os.setpgid(0, 0)
die_with_parent(os.getppid())
main()
"""

LEFT_OUT = (
    *("maitred.benchmarks", "maitred.launcher.embedded", "maitred.launcher.house", "maitred.launcher.processes"),
    *("maitred.testing", "maitred.worker"),
    *("IPython", "PIL", "_pytest", "babel", "cffi", "cryptography", "docutils", "gevent", "hypothesis", "jinja2"),
    *("lib2to3", "markdown_it", "matplotlib", "numpy", "pandas", "pkg_resources", "pycparser", "pydoc_data"),
    *("pytest", "readline", "requests", "setuptools", "snowballstemmer", "sphinx", "sqlite3", "tkinter", "tornado"),
    *("unittest", "urllib3", "uvloop", "xmlrpc", "yaml"),
)
"""Ours that a broker never imports, and what other packages could use if it were there: this folder's environment is not
to decide what is in the file."""


def build(folder: Path) -> Path:
    """Build it; returns the file."""
    import PyInstaller.__main__  # here: a test looks at what is left out, where only `make binary` has this

    WORK.mkdir(parents=True, exist_ok=True)
    script = WORK / "maitred_broker.py"
    script.write_text(START)
    folder.mkdir(parents=True, exist_ok=True)
    PyInstaller.__main__.run(
        [
            str(script),
            "--onefile",
            "--strip",
            "--clean",
            "--noconfirm",
            "--log-level=WARN",
            f"--name={NAME}",
            f"--distpath={folder}",
            f"--workpath={WORK}",
            f"--specpath={WORK}",
            f"--paths={ROOT / 'typings'}",  # where the folders are `maitred.…` without being installed
            f"--add-data={ROOT / 'broker' / 'web' / 'page'}{os.pathsep}maitred/broker/web/page",
            f"--add-data={ROOT / 'config' / 'maitred.toml'}{os.pathsep}maitred/config",
            "--copy-metadata=maitred",
            *(f"--exclude-module={name}" for name in LEFT_OUT),
        ]
    )
    return folder / NAME


def start_s(binary: Path) -> float:
    """How long it takes until it listens, its second start: in an environment that has nothing, it is ended again."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {"MAITRED_RUN_DIR": f"{directory}/run", "TMPDIR": directory}
        addresses = {"clients": "tcp://127.0.0.1:0", "workers": "tcp://127.0.0.1:0", "http": "127.0.0.1:0"}
        words = [word for key, address in addresses.items() for word in ("--set", f"broker.{key}={address}")]
        took_s = 0.0
        for _ in range(2):
            began = time.monotonic()
            process = subprocess.Popen([binary, *words], env=environment, cwd=directory, stdout=subprocess.PIPE)
            assert process.stdout is not None
            line = process.stdout.readline()
            took_s = time.monotonic() - began
            process.terminate()
            process.stdout.close()
            if process.wait(20) != 0 or b"listens" not in line:
                sys.exit(f"{binary} does not serve, or does not end: {process.returncode}, {line!r}")
    return took_s


if __name__ == "__main__":
    made = build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist").resolve()
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB, listens {start_s(made):.2f} s after it was started")
