"""Fuzz one harness with atheris: `python tests/fuzz/fuzz.py HARNESS [libFuzzer's options and directories]`.

Input that breaks it is written to the working directory as `crash-…`; keep it under `corpus/HARNESS/` once it is mended.
"""

from __future__ import annotations

import atexit
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["maitred.protocol", "maitred.config", "maitred.transport.zap"]):
    import harnesses

    import maitred.protocol.majordomo
    import maitred.transport.zap  # noqa: F401 - it is imported for its instrumentation


def main() -> None:
    """Run until libFuzzer has had enough; its exit code is this process's."""
    name, *options = sys.argv[1:]
    atexit.register(harnesses.clean_up)
    atheris.Setup([sys.argv[0], *options], harnesses.HARNESSES[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
