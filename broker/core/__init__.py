"""The broker's decisions, without any I/O: `router.BrokerCore` is the entry, `model` the vocabulary.

No trio, zmq, time, random, logging or os in here (a contract in pyproject.toml holds that), so that every decision can be
tested as data in, data out.
"""
