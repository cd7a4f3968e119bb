"""For tests of applications: a running broker, pool and client in one line (`running`; pytest: the fixture `maitred`)."""

from maitred.testing.house import House, Pool, running

__all__ = ["House", "Pool", "running"]
