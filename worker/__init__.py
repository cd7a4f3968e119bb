"""The worker's side: what an application author writes (`Service`), and what its functions are given (`Context`).

    from maitred.worker import Context, Service

    service = Service()

    @service.command
    def echo(message: str) -> dict: ...

Importing this imports no trio, no zmq and no numpy: an application's module stays cheap to import.
"""

from maitred.worker.context import Cancelled, Context
from maitred.worker.service import Service
from maitred.worker.session import Session

__all__ = ["Cancelled", "Context", "Service", "Session"]
