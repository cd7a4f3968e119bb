"""The bundled adapters: `general` (small commands), `optimizer` (hyperparameters), `neural` (training).

Applications like any other: they use what `maitred.worker` gives to every author. Importing them imports no library
of the `[ml]` extra; a command that needs one says so when it is called without it.
"""
