"""`maitred bench tune`: which settings are worth changing, on this machine, for this adapter.

- `knobs`: what can be tuned, as a table.
- `target`: what is tuned, and the settings in force.
- `trial`: a house with some settings, and a load on it.
- `sweep`: each candidate against what is in force, in turns; then what was found together.
- `advice`: what the ratios say, and the configuration that follows.
- `show`, `command`: the table, and the options.
"""
