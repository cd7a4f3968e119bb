"""The questions, a file each: `Parameters` with short defaults, `LONG` with what a long run changes, `run`."""
