"""The benchmark suite: `maitred bench`. Measures maitred beside its peers in one run, and keeps what it measured as data.

- `subjects`: what is measured, each behind one protocol.
- `scenarios`: the questions, a file each.
- `method`: how anything is measured: raw nanoseconds, loads, warm-up, interleaved pairs, statistics, the environment.
- `results`: what a run found, as JSON with a stable schema.
- `tuning`: `maitred bench tune`, which settings are worth changing here.
- `report`: a table, a page, a comparison of two runs.
"""
