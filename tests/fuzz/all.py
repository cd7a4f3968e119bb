"""Fuzz every decoder, one after the other: `python tests/fuzz/all.py RUNS [SECONDS]`, for each so many cases and so long.

Ends with 1 where one was broken. What broke it, and what was explored, is kept under `.fuzz/`, and gone on from next time.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from harnesses import HARNESSES
from seeds import write

WHERE = Path(".fuzz")


def main(runs: int, seconds: int) -> int:
    """All of them; returns the exit code."""
    total, broken = 0, list[str]()
    for name in HARNESSES:
        executed, code = one(name, runs, seconds)
        total += executed
        print(f"{name:15} {executed:>10,} cases{'' if not code else ': broken, see ' + str(WHERE / name)}", flush=True)
        if code:
            broken.append(name)
    print(f"{total:,} cases in all; {', '.join(broken) or 'nothing'} broken")
    return bool(broken)


def one(name: str, runs: int, seconds: int) -> tuple[int, int]:
    """Fuzz one; how many cases, and the exit code."""
    corpus = WHERE / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    write(corpus, name)
    script = Path(__file__).with_name("fuzz.py").absolute()
    options = [f"-runs={runs}", f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-print_final_stats=1"]
    with open(WHERE / name / "log", "w") as log:
        code = subprocess.run(
            [sys.executable, str(script), name, "corpus", *options], cwd=WHERE / name, stderr=log, stdout=log
        ).returncode
    found = re.findall(r"number_of_executed_units: (\d+)", (WHERE / name / "log").read_text(errors="replace"))
    return int(found[-1]) if found else 0, code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
